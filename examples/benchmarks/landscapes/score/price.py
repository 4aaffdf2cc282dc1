"""The price of being wrong: what a distance from the best rate costs, and what moves the best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import SCHEDULES
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


def what_moves_the_best(trainings: list[Landscape]) -> dict[str, Any]:
    """How far the best learning rate moves, in decades, with an interval over tasks.

    Per factor of ten in the length, the batch size and the width, between trainings that are alike
    in all else; and from the constant rate to the peak of each other schedule.
    """
    plain = [t for t in trainings if not t.finetune]
    moves: dict[str, Any] = {}
    for name, value, alike in (
        ("length", lambda t: t.steps, lambda t: (t.cell, t.schedule)),
        ("batch size", lambda t: t.batch_size, lambda t: _but(t, "batch")),
        ("width", lambda t: t.width, lambda t: _but(t, "width")),
    ):
        for group, part in _by_schedule_and_optimizer(plain).items():
            slopes = _slopes(part, value, alike)
            if slopes:
                moves[f"{name}, {group}"] = _of_tasks(slopes)
    for schedule in SCHEDULES[1:]:
        for group, part in _by_optimizer(plain).items():
            shifts = _shifts(part, schedule)
            if shifts:
                moves[f"constant to {schedule}, {group}"] = _of_tasks(shifts)
    return moves


def _but(t: Landscape, left_out: str) -> Hashable:
    """What trainings share that differ in one thing."""
    batch = None if left_out == "batch" else t.batch_size
    model = t.model_without_width if left_out == "width" else t.model
    return (t.task, model, t.optimizer, batch, t.schedule, t.steps)


def _by_schedule_and_optimizer(part: list[Landscape]) -> dict[str, list[Landscape]]:
    of_schedule = {s: [t for t in part if t.schedule == s] for s in SCHEDULES}
    return {"all": part, **of_schedule, **_by_optimizer(part)}


def _by_optimizer(part: list[Landscape]) -> dict[str, list[Landscape]]:
    names = sorted({t.group for t in part})
    return {"all": part, **{n: [t for t in part if t.group == n] for n in names}}


def _slopes(
    part: Iterable[Landscape],
    value: Callable[[Landscape], float | None],
    alike: Callable[[Landscape], Hashable],
) -> list[tuple[str, float]]:
    """(task, decades of best per decade of value) of each set of alike trainings."""
    sets: dict[Hashable, list[Landscape]] = defaultdict(list)
    for t in part:
        if value(t):
            sets[alike(t)].append(t)
    out = []
    for members in sets.values():
        x = np.log10([float(value(t) or 1) for t in members])
        if np.ptp(x) > 0:
            y = np.array([t.best for t in members])
            out.append((members[0].task, float(np.polyfit(x, y, 1)[0])))
    return out


def _shifts(part: Iterable[Landscape], schedule: str) -> list[tuple[str, float]]:
    constant = {(t.cell, t.length): t.best for t in part if t.schedule == "constant"}
    return [
        (t.task, t.best - constant[t.cell, t.length])
        for t in part
        if t.schedule == schedule and (t.cell, t.length) in constant
    ]


def _of_tasks(rows: list[tuple[str, float]]) -> dict[str, Any]:
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
