"""The package's picks: `recommended` and `peak`, and the paper's three.

A training at a constant rate gets `recommended`, one whose rate decays from the beginning `peak`,
and one that holds its rate first (WSD) what `LRAnalysis.wsd` takes. The curve of 20 steps is the
record's grid of a quarter decade. The sampler's trials are a part of that grid (half decades) and
points between it, so that a real search knows its points better than this. With BatchNorm the
losses are those under statistics that are measured again on the training batches, as
`StepObjective` measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import cache

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.rules.auto import STEPS
from examples.benchmarks.landscapes.rules.auto import Searched
from examples.benchmarks.landscapes.rules.auto import points_of
from examples.benchmarks.landscapes.rules.auto import search
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.weighing import Tasks
from optuna_lrss._method.recommend import HELD_RISE
from optuna_lrss._method.recommend import PER_LENGTH
from optuna_lrss._method.recommend import RISE
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._result.advice import Advice
from optuna_lrss._result.advice import advice_of


#: How far a schedule's peak lies above the constant rate, as a share of RISE.
RISES = {"constant": 0.0, "wsd": HELD_RISE / RISE, "cosine": 1.0, "onecycle": 1.0}
#: Where the constants are looked for when a task is left out: decades per decade, and decades.
PER_LENGTHS = np.arange(0.0, 0.61, 0.05)
RISE_GRID = np.arange(0.0, 0.51, 0.05)


def advice(cell: Cell, *, longer: bool = True, total_steps: int | None = None) -> Advice | None:
    """What a search ends with; `None` where there is no window.

    Args:
        cell: One seed of one training.
        longer: Whether longer trials follow the search's own.
        total_steps: What the user says of the length; by default the truth.
    """
    return advice_from(search(cell, longer=longer), cell, total_steps=total_steps)


def advice_from(found: Searched, cell: Cell, *, total_steps: int | None = None) -> Advice | None:
    """What is advised after a search; `None` where there is no window."""
    if found.points is None:
        return None
    return advice_of(
        found.curves,
        {min(found.curves): found.points.lowest},
        found.points.baseline,
        lambda n: momentum_lag(cell.beta, n),
        cell.steps if total_steps is None else total_steps,
    )


def for_schedule(found: Advice | None, schedule: str) -> float | None:
    """The pick for a schedule."""
    if found is None:
        return None
    if schedule == "constant":
        return found.recommended
    return peak_lr(found.recommended, held=schedule == "wsd")


def recommended(cell: Cell) -> float | None:
    """A search with `steps="auto"` that is told the length of the training."""
    return for_schedule(advice(cell), cell.schedule)


def untold(cell: Cell) -> float | None:
    """The same, not told: a training of 1,000 steps is assumed."""
    return for_schedule(advice(cell, total_steps=1000), cell.schedule)


def short_only(cell: Cell) -> float | None:
    """`steps=20`: no longer trials."""
    return for_schedule(advice(cell, longer=False), cell.schedule)


def fit(others: Sequence[Solved]) -> tuple[float, float]:
    """PER_LENGTH and RISE that lose least on these tasks."""
    known = [o for o in others if _lost(o) is not None]
    if not known:
        return PER_LENGTH, RISE
    tasks = Tasks.of([o.landscape.task for o in known])
    mean = np.tensordot(tasks.weights, np.array([_lost(o) for o in known]), 1)
    i, j = np.unravel_index(int(np.argmin(mean)), mean.shape)
    return float(PER_LENGTHS[i]), float(RISE_GRID[j])


@cache
def _lost(solved: Solved) -> Array | None:
    """Points lost by every (per length, rise), mean over the seeds that have a window."""
    landscape = solved.landscape
    rises = RISE_GRID[None, :] * RISES[landscape.schedule]
    lost = []
    for cell in solved.cells:
        if (found := advice(cell)) is not None:
            at = np.log10(found.recommended) - PER_LENGTH * _length(cell, found)
            wanted = at + PER_LENGTHS[:, None] * _length(cell, found) + rises
            lost.append(np.interp(wanted, landscape.x, landscape.lost))
    return np.mean(lost, axis=0) if lost else None


def _length(cell: Cell, found: Advice) -> float:
    """Decades by which the training is longer than the trials, at most 0."""
    return min(0.0, float(np.log10(found.horizon / cell.steps)))


def left_out(cell: Cell, constants: tuple[float, float]) -> float | None:
    """`recommended` and `peak` with constants from the other tasks."""
    found = advice(cell)
    if found is None:
        return None
    per_length, rise = constants
    x = np.log10(found.recommended) + (per_length - PER_LENGTH) * _length(cell, found)
    return float(10.0 ** (x + rise * RISES[cell.schedule]))


def _pick(name: str) -> Callable[[Cell], float | None]:
    def rule(cell: Cell) -> float | None:
        points = points_of(cell.curve(STEPS))
        return None if points is None else float(getattr(points, name))

    return rule


def argmin(cell: Cell) -> float | None:
    """The lowest measured loss."""
    curve = cell.curve(STEPS)
    lowest = int(np.argmin(curve.loss))
    return float(curve.lr[lowest]) if np.isfinite(curve.loss[lowest]) else None


RULES: dict[str, Callable[..., float | None]] = {
    "recommended": recommended,
    "recommended, constants fitted on the other tasks": left_out,
    "recommended, not told the length": untold,
    "recommended, steps=20": short_only,
    "method 1, log-midpoint": _pick("midpoint"),
    "method 2, half-loss": _pick("half_loss"),
    "method 3, steepest": _pick("steepest"),
    "lowest short loss (argmin)": argmin,
}
