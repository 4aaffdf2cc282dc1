"""The figures of the score: for every group of trainings and every rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import SCHEDULES
from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.score.cell import GROUPS
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.replay import Replay
from examples.benchmarks.landscapes.score.replay import Score
from examples.benchmarks.landscapes.score.weighing import Tasks


#: The rule that the others are held against.
OURS = "recommended"
#: Points lost at which a pick has cost something, and at which it has failed.
COSTLY, FAILED = 1.0, 5.0
FULL_GRID = "full grid, chosen on validation data"

Wanted = Callable[[Landscape], bool]


def groups() -> dict[str, Wanted]:
    """Named groups of trainings. Fine-tuning counts in its own group only."""

    def plain(wanted: Wanted) -> Wanted:
        return lambda t: not t.finetune and wanted(t)

    named: dict[str, Wanted] = {"all": plain(lambda _: True)}
    named |= {s: plain(lambda t, s=s: t.schedule == s) for s in SCHEDULES}  # type: ignore[misc]
    named |= {g: plain(lambda t, g=g: t.group == g) for g in GROUPS}  # type: ignore[misc]
    named["shorter of two"] = plain(lambda t: t.lengths > 1 and t.length == 0)
    named["longer of two"] = plain(lambda t: t.length > 0)
    named["real data"] = plain(lambda t: t.real)
    named["generated data"] = plain(lambda t: not t.real)
    named["fine-tuning"] = lambda t: t.finetune
    return named


def with_full_grid(replay: Replay) -> Replay:
    """Adds what a grid of full trainings gets whose best is chosen on validation data."""
    trainings = replay.trainings
    lost = np.array([t.chosen for t in trainings])
    full = Score(
        FULL_GRID,
        lost=lost,
        decades=np.full(lost.size, np.nan),
        reliable=np.array([t.chosen <= t.one_percent for t in trainings], float),
        cost=np.array([t.x.size * t.steps for t in trainings], float),
    )
    return Replay(trainings, {**replay.scores, FULL_GRID: full})


def figures_of(replay: Replay) -> dict[str, Any]:
    """By group of trainings: its tasks, cells, trainings, and the figures of each rule."""
    out: dict[str, Any] = {}
    for name, wanted in groups().items():
        part = replay.where(wanted)
        if not part.trainings:
            continue
        tasks = part.tasks
        out[name] = {
            "tasks": tasks.number,
            "cells": len({t.cell for t in part.trainings}),
            "trainings": len({(t.cell, t.length, t.schedule) for t in part.trainings}),
            "steps": [f(t.steps for t in part.trainings) for f in (min, max)],
            "rules": {k: f for k in part.scores if (f := _of_rule(part, k))},
        }
    return out


def _of_rule(part: Replay, name: str) -> dict[str, Any] | None:
    """A rule's figures on the rows that it could be replayed on, `None` if there are none."""
    known = part.known_to(name)
    if not known.trainings:
        return None
    figures = _figures(known.scores[name], known.tasks, known.scores.get(OURS))
    return {**figures, "replayed": len(known.trainings) / len(part.trainings)}


#: What rivals that train by themselves are shown beside, on the same trainings.
BESIDE = (OURS, "constant fitted on the other tasks", "optimizer's default", FULL_GRID)
#: Schedules whose best rate a rival's result is held against; a schedule-free optimizer claims to
#: do without any, so it has to stand up to a constant rate and to a cosine.
HELD_AGAINST = {
    "schedule-free AdamW, constant": ("constant", "cosine"),
    "GreedyLR, constant": ("constant", "cosine"),
}


def trained_figures(replay: Replay, trained: dict[str, Any]) -> dict[str, Any]:
    """The figures of rivals that were trained, each with some rules on the same trainings.

    Args:
        replay: All rules, with the full grid.
        trained: What `trained.read` gives.
    """
    out: dict[str, Any] = {}
    for name in sorted({rival for metrics in trained.values() for rival in metrics}):
        for schedule in HELD_AGAINST.get(name, (name.rpartition(", ")[2],)):
            part = replay.where(
                lambda t, s=schedule, n=name: (  # type: ignore[misc]
                    t.length == 0 and t.schedule == s and n in trained.get(t.cell, {})
                )
            )
            if part.trainings:
                out[f"{name.rpartition(', ')[0]} against {schedule}"] = _trained(
                    part, {cell: metrics[name] for cell, metrics in trained.items()}
                )
    return out


def _trained(part: Replay, metrics: dict[str, list[float | None]]) -> dict[str, Any]:
    seen: dict[str, int] = {}
    lost = []
    for t in part.trainings:  # the rows of a training are its seeds, in their order
        seed = seen[t.cell] = seen.get(t.cell, -1) + 1
        metric = metrics[t.cell][seed]
        lost.append(t.points_of(np.nan if metric is None else metric))
    unknown = np.full(len(lost), np.nan)
    one_percent = np.array([t.one_percent for t in part.trainings])
    reliable = (np.array(lost) <= one_percent).astype(float)
    rival = Score("", np.array(lost), unknown, reliable, np.zeros(len(lost)))
    tasks = part.tasks
    return {
        "tasks": tasks.number,
        "cells": len(seen),
        "rival": _figures(rival, tasks, part.scores[OURS]),
        "beside": {k: _figures(part.scores[k], tasks, None) for k in BESIDE},
    }


def _figures(score: Score, tasks: Tasks, ours: Score | None) -> dict[str, Any]:
    lost = score.lost
    failed = (lost > FAILED).astype(float)
    answered = np.isfinite(score.decades)
    figures: dict[str, Any] = {
        "mean": tasks.mean(lost),
        "mean_interval": tasks.interval(lost),
        "p90": tasks.quantile(lost, 0.9),
        "worst": float(lost.max()),
        "over_1": tasks.mean((lost > COSTLY).astype(float)),
        "over_5": tasks.mean(failed),
        "over_5_interval": tasks.interval(failed),
        "reliable": tasks.mean(score.reliable),
        "decades": _median(score.decades[answered]),
        "absolute_decades": _median(np.abs(score.decades[answered])),
        "unanswered": tasks.mean((~answered).astype(float)),
        "steps": float(np.mean(score.cost)),
    }
    if ours is not None and score is not ours:
        figures["minus_ours"] = tasks.mean(lost - ours.lost)
        figures["minus_ours_interval"] = tasks.interval(lost - ours.lost)
    return {k: _finite(v) for k, v in figures.items()}


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _finite(value: Any) -> Any:
    """JSON has no NaN: an interval over one task, or a distance that there is not, is null."""
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return value if np.isfinite(value) else None
