"""The price of being wrong: what a distance from the best rate costs, and what moves the best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import SCHEDULES
from examples.benchmarks.landscapes.score.cell import GROUPS
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.summary import FAILED
from examples.benchmarks.landscapes.score.summary import groups
from examples.benchmarks.landscapes.score.weighing import Tasks


OFFSETS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)


def offsets(trainings: list[Landscape]) -> dict[str, Any]:
    """Points lost at each distance from the best learning rate, by group of trainings."""
    out: dict[str, Any] = {}
    for name, wanted in groups().items():
        part = [t for t in trainings if wanted(t)]
        if not part:
            continue
        tasks = Tasks.of([t.task for t in part])
        rows = {}
        for offset in OFFSETS:
            lost = np.array([t.points_lost(10.0 ** (t.best + offset)) for t in part])
            rows[f"{offset:+g}"] = {
                "mean": tasks.mean(lost),
                "interval": _plain(tasks.interval(lost)),
                "p90": tasks.quantile(lost, 0.9),
                "over_5": tasks.mean((lost > FAILED).astype(float)),
            }
        out[name] = {"tasks": tasks.number, "trainings": len(part), "offsets": rows}
    return out


def what_moves_the_best(trainings: list[Landscape]) -> dict[str, dict[str, Any]]:
    """How far the best learning rate moves, in decades, with an interval over tasks.

    Args:
        trainings: All of them; fine-tuning is left out.

    Returns:
        By cause and group of trainings. "length" and "batch size": decades per factor of ten,
        between trainings that are alike in all else. The name of a schedule: decades from the
        best constant rate to that schedule's best peak.
    """
    plain = [t for t in trainings if not t.finetune]
    constant = [t for t in plain if t.schedule == "constant"]
    parts = {
        "all": plain,
        **{s: [t for t in plain if t.schedule == s] for s in SCHEDULES},
        **{f"constant, {g}": part for g, part in _by_optimizer(constant).items()},
    }
    moves: dict[str, dict[str, Any]] = {
        "length": _by_group(parts, _length_slopes),
        "batch size": _by_group(parts, _batch_slopes),
    }
    whole = {"all": plain, **_by_optimizer(plain)}
    for schedule in SCHEDULES[1:]:
        moves[schedule] = _by_group(whole, partial(_shifts, schedule=schedule))
    return moves


Rows = list[tuple[str, float]]  # task, decades


def _by_group(
    parts: dict[str, list[Landscape]], measure: Callable[[list[Landscape]], Rows]
) -> dict[str, Any]:
    found = {group: measure(part) for group, part in parts.items()}
    return {group: _of_tasks(rows) for group, rows in found.items() if rows}


def _by_optimizer(part: list[Landscape]) -> dict[str, list[Landscape]]:
    return {g: [t for t in part if t.group == g] for g in GROUPS}


def _length_slopes(part: list[Landscape]) -> Rows:
    return _slopes(part, lambda t: t.steps, lambda t: (t.cell, t.schedule))


def _batch_slopes(part: list[Landscape]) -> Rows:
    return _slopes(
        part, lambda t: t.batch_size, lambda t: (t.task, t.model, t.optimizer, t.schedule, t.steps)
    )


def _slopes(
    part: Iterable[Landscape],
    value: Callable[[Landscape], float],
    alike: Callable[[Landscape], Hashable],
) -> Rows:
    """(task, decades of best per decade of value) of each set of alike trainings."""
    sets: dict[Hashable, list[Landscape]] = defaultdict(list)
    for t in part:
        sets[alike(t)].append(t)
    out = []
    for members in sets.values():
        x = np.log10([value(t) for t in members])
        if np.ptp(x) > 0:
            y = np.array([t.best for t in members])
            out.append((members[0].task, float(np.polyfit(x, y, 1)[0])))
    return out


def _shifts(part: Iterable[Landscape], schedule: str) -> Rows:
    constant = {(t.cell, t.length): t.best for t in part if t.schedule == "constant"}
    return [
        (t.task, t.best - constant[t.cell, t.length])
        for t in part
        if t.schedule == schedule and (t.cell, t.length) in constant
    ]


def _of_tasks(rows: Rows) -> dict[str, Any]:
    tasks = Tasks.of([task for task, _ in rows])
    values = np.array([value for _, value in rows])
    return {
        "tasks": tasks.number,
        "pairs": len(rows),
        "mean": tasks.mean(values),
        "interval": _plain(tasks.interval(values)),
        "spread": float(np.std(tasks.means(values))),
    }


def _plain(interval: tuple[float, float]) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in interval]
