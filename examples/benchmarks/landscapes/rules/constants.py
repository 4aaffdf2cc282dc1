"""Learning rates that look at nothing: the optimizer's default, and the best of other tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.weighing import Tasks


def default(cell: Cell) -> float:
    return cell.default_lr


def fit(others: Sequence[Solved]) -> dict[str, float]:
    """For each group of optimizers the rate of the grid that loses least on the tasks given."""
    best = {}
    for group in sorted({o.landscape.group for o in others}):
        own = [o.landscape for o in others if o.landscape.group == group]
        tasks = Tasks.of([o.task for o in own])
        lost = np.array([o.lost for o in own])
        mean = [tasks.mean(lost[:, i]) for i in range(lost.shape[1])]
        best[group] = float(10.0 ** own[0].x[int(np.argmin(mean))])
    return best


def best_constant(cell: Cell, fitted: dict[str, float]) -> float | None:
    return fitted.get(cell.group)


RULES = {
    "optimizer's default": default,
    "constant fitted on the other tasks": best_constant,
}
