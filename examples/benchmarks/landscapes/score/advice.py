"""What stands behind `recommended` and `peak`: constants, intervals and doubts, on the records.

`python -m examples.benchmarks.landscapes advice [--deepobs FOLDER] [--write]`
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.rules import auto
from examples.benchmarks.landscapes.rules import package
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.summary import COSTLY
from examples.benchmarks.landscapes.score.summary import FAILED
from examples.benchmarks.landscapes.score.weighing import Tasks
from optuna_lrss._method import recommend
from optuna_lrss._method.recommend import ENOUGH
from optuna_lrss._method.search import longer
from optuna_lrss._method.sureness import PROBABILITY
from optuna_lrss._method.sureness import RISKS
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.pick_doubts import pick_doubts


#: A schedule that is held first is between the two kinds, and left to neither.
KINDS = {"constant": "recommended", "cosine": "peak", "onecycle": "peak"}
#: Grid on which right learning rates are looked for, in decades.
_FINE = 0.025


@dataclass(frozen=True, eq=False)
class Row:
    """One seed of one training, with what the package says of it.

    Attributes:
        landscape: The training.
        result: The analysis; `None` where there is no window.
        x: log10 of the pick for its schedule, NaN without one.
        lost: Points that it loses.
        below: Distance from the pick to the lowest of the right learning rates around it, decades.
        above: To the highest.
        doubts: Codes of the doubts about the picks.
    """

    landscape: Landscape
    result: AnalysisData | None
    x: float
    lost: float
    below: float
    above: float
    doubts: frozenset[str]


def rows_of(solved: Sequence[Solved], *, longer: bool = True) -> list[Row]:
    """All rows of these trainings."""
    return [_row(s.landscape, cell, longer=longer) for s in solved for cell in s.cells]


def _row(landscape: Landscape, cell: Cell, *, longer: bool) -> Row:
    result = result_of(cell, longer=longer)
    if result is None:
        never = frozenset({"no window"})
        return Row(landscape, None, np.nan, landscape.floor, np.nan, np.nan, never)
    pick = package.for_schedule(package.advice(cell, longer=longer), cell.schedule)
    assert pick is not None
    x = float(np.log10(pick))
    below, above = _right(landscape, x)
    doubts = frozenset(d.code for d in pick_doubts(result))
    if result.steps > auto.STEPS:
        doubts |= {"plateau"}
    return Row(landscape, result, x, landscape.points_lost(pick), below, above, doubts)


def result_of(cell: Cell, *, longer: bool = True) -> AnalysisData | None:
    """The analysis that a search ends with, as far as the picks are concerned."""
    found, advised = auto.search(cell, longer=longer), package.advice(cell, longer=longer)
    if found.points is None or advised is None:
        return None
    points, steps = found.points, min(found.curves)
    curve = found.curves[steps]
    return AnalysisData(
        curve=curve,
        baseline=points.baseline,
        lowest=points.lowest,
        min_lr=points.min_lr,
        max_lr=points.max_lr,
        midpoint=points.midpoint,
        half_loss=points.half_loss,
        steepest=points.steepest,
        recommended=advised.recommended,
        peak=advised.peak,
        brackets={},
        resolved=True,
        diagnostics=(),
        n_trials=0,
        n_steps=found.cost,
        steps=steps,
        momentum=cell.beta,
        noise=points.noise,
        param_name="lr",
        search_range=(float(curve.lr[0]), float(curve.lr[-1])),
        longer={n: c for n, c in found.curves.items() if n > steps},
        total_steps=cell.steps,
        total_steps_known=True,
        horizon=advised.horizon,
        gained=advised.gained,
    )


def _right(landscape: Landscape, x: float) -> tuple[float, float]:
    """How far the right learning rates nearest to a pick reach below and above it, in decades."""
    grid = np.arange(landscape.x[0], landscape.x[-1] + _FINE / 2, _FINE)
    right = np.interp(grid, landscape.x, landscape.lost) < COSTLY
    first = last = int(np.flatnonzero(right)[np.argmin(np.abs(grid[right] - x))])
    while first > 0 and right[first - 1]:
        first -= 1
    while last < grid.size - 1 and right[last + 1]:
        last += 1
    return float(grid[first] - x), float(grid[last] - x)


# --- How sure -----------------------------------------------------------------------------------


def sureness_figures(rows: Sequence[Row], short: Sequence[Row]) -> dict[str, Any]:
    """The table of `_method/sureness.py`, and its coverage of tasks that it has not seen."""
    table = {
        evidence: {kind: _quantiles(_of_kind(of, kind)) for kind in ("recommended", "peak")}
        for evidence, of in _by_evidence(rows, short).items()
    }
    coverage = {
        evidence: {kind: _coverage(_of_kind(of, kind)) for kind in ("recommended", "peak")}
        for evidence, of in _by_evidence(rows, short).items()
    }
    return {"table": table, "coverage": coverage}


def _by_evidence(rows: Sequence[Row], short: Sequence[Row]) -> dict[str, list[Row]]:
    def gained(of: Sequence[Row], *, enough: bool) -> list[Row]:
        return [r for r in of if r.result is not None and (r.result.gained >= ENOUGH) == enough]

    return {
        "longer": gained(rows, enough=True),
        "short": gained(short, enough=True),
        "little": gained(rows, enough=False),
    }


def _of_kind(rows: Sequence[Row], kind: str) -> list[Row]:
    return [r for r in rows if KINDS.get(r.landscape.schedule) == kind]


def _quantiles(rows: Sequence[Row]) -> dict[str, Any]:
    tasks = _tasks(rows)
    below, above = np.array([r.below for r in rows]), np.array([r.above for r in rows])
    tail = (1.0 - PROBABILITY) / 2.0
    return {
        "low": min(tasks.quantile(above, tail), 0.0),
        "high": max(tasks.quantile(below, 1.0 - tail), 0.0),
        "too_high": [tasks.quantile(above, risk) for risk in RISKS],
    }


def _coverage(rows: Sequence[Row]) -> dict[str, float]:
    """Share of rows whose interval, from the other tasks, holds a right learning rate."""
    names = [r.landscape.task for r in rows]
    held, right, high = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for task in set(names):
        known = _quantiles([r for r in rows if r.landscape.task != task])
        for i in (i for i, name in enumerate(names) if name == task):
            below, above = rows[i].below, rows[i].above
            held[i] = above >= known["low"] and below <= known["high"]
            right[i] = below <= 0.0 <= above
            high[i] = above < known["too_high"][1]
    tasks = _tasks(rows)
    return {
        "tasks": tasks.number,
        "held": tasks.mean(held),
        "pick": tasks.mean(right),
        "too_high": tasks.mean(high),
    }


def _tasks(rows: Sequence[Row]) -> Tasks:
    return Tasks.of([r.landscape.task for r in rows])


# --- Doubts -------------------------------------------------------------------------------------


def doubt_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Every doubt, and any of them, as an announcement of a pick that loses over 5 points."""
    codes = sorted({code for r in rows for code in r.doubts})
    marks = {code: np.array([code in r.doubts for r in rows], float) for code in codes}
    marks["pick outside the window"] = np.array([_outside(r) for r in rows], float)
    marks["any doubt"] = np.array([bool(r.doubts) for r in rows], float)
    tasks, lost = _tasks(rows), np.array([r.lost for r in rows])
    return {name: _classified(tasks, mark, lost) for name, mark in marks.items()}


def _outside(row: Row) -> bool:
    result = row.result
    return result is not None and not result.min_lr <= result.recommended <= result.max_lr


def _classified(tasks: Tasks, mark: Array, lost: Array) -> dict[str, float]:
    failed = (lost > FAILED).astype(float)
    flagged, failures = tasks.mean(mark), tasks.mean(failed)
    hit = tasks.mean(mark * failed)
    return {
        "flagged": flagged,
        "announced": hit / failures,
        "right": hit / max(flagged, 1e-12),
        "mean_rest": tasks.mean((1.0 - mark) * lost) / max(1.0 - flagged, 1e-12),
        "fails_rest": (failures - hit) / max(1.0 - flagged, 1e-12),
    }


# --- Constants ----------------------------------------------------------------------------------

#: What is moved, where it lives, and to which values; the middle one is the package's.
MOVED: tuple[tuple[str, tuple[ModuleType, ...], tuple[float, ...]], ...] = (
    ("PER_LENGTH", (recommend,), (0.2, 0.25, 0.3, 0.35, 0.4)),
    ("RISE", (recommend,), (0.15, 0.2, 0.25, 0.3, 0.35)),
    ("SMOOTHING", (recommend,), (0.1, 0.15, 0.2, 0.25, 0.3)),
    ("_CAP", (recommend,), (1.25, 1.5, 2.0, 3.0, 4.0)),
    ("ENOUGH", (longer,), (0.02, 0.05, 0.1, 0.15, 0.2)),
    ("FEW", (longer,), (3, 4, 5, 6, 7)),
    ("_MANY", (longer,), (5, 6, 8, 10, 12)),
    ("_MOST_OF_TRAINING", (longer,), (0.2, 0.25, 1 / 3, 0.5, 0.7)),
)


def sensitivity(solved: Sequence[Solved]) -> dict[str, dict[str, Any]]:
    """Points lost, and steps, with one constant moved at a time."""
    return {
        name.strip("_"): {f"{value:.3g}": _with(name, modules, value, solved) for value in values}
        for name, modules, values in MOVED
    }


def _with(
    name: str, modules: Sequence[ModuleType], value: float, solved: Sequence[Solved]
) -> dict[str, float]:
    with _moved(name, modules, value):
        return mean_lost(solved, package.recommended)


@contextmanager
def _moved(name: str, modules: Sequence[ModuleType], value: float) -> Iterator[None]:
    before = [getattr(m, name) for m in modules]
    for module in modules:
        setattr(module, name, value)
    auto._search.cache_clear()
    try:
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            setattr(module, name, was)
        auto._search.cache_clear()


def mean_lost(solved: Sequence[Solved], rule: Callable[[Cell], float | None]) -> dict[str, float]:
    """Mean points and share over 5 of a rule, and its steps."""
    lost, cost, names = [], [], []
    for s in solved:
        for cell in s.cells:
            cell.cost = 0
            lost.append(s.landscape.points_lost(rule(cell)))
            cost.append(cell.cost)
            names.append(s.landscape.task)
    tasks = Tasks.of(names)
    return {
        "mean": tasks.mean(np.array(lost)),
        "over_5": tasks.mean((np.array(lost) > FAILED).astype(float)),
        "steps": float(np.mean(cost)),
    }
