"""A candidate, not part of the package: the lowest point, measured longer where little is learnt.

1. Curve of 20 steps. While the relative drop of the loss is under a tenth: four times as many
   steps, for the seven learning rates around the lowest, up to a third of the training.
2. The lowest point of the losses, capped at twice the drop and smoothed by .2 decades.
3. Times the momentum lag of 20 steps.
4. Down by `c log10(T / n)` decades, and up by `rise` where the schedule decays to 0.

The form and the constants of `R3` were chosen on a pilot of 116 cells, some of whose tasks are
among these; the second rule fits its constants on the other tasks. The form is fitted on nothing
here, and on about 60 forms tried there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.score.cell import SEARCH_TRIALS
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Curve
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.weighing import Tasks
from optuna_lrss._method.points import SMOOTHING
from optuna_lrss._method.points import momentum_lag


ENOUGH = 0.1
STEPS = 20
_NEIGHBOURS = 3
_EVERYWHERE = float("inf")
_STEP = 0.02


@dataclass(frozen=True)
class Constants:
    """`down` in decades per decade of T / n by group of optimizers, `rise` in decades."""

    down: dict[str, float]
    rise: float


#: The pilot's. Groups that it did not have (Adagrad, Lion, Muon) are given Adam's.
PILOT = Constants({"sgd": 0.1, "momentum": 0.3, "adam": 0.4}, 0.2)


def landmark(cell: Cell) -> tuple[float, int] | None:
    """log10 of the lowest point with the lag, and the horizon it was measured at."""
    steps, near = STEPS, _EVERYWHERE
    while True:
        trials = SEARCH_TRIALS if near == _EVERYWHERE else 2 * _NEIGHBOURS + 1
        found = _lowest(cell.curve(steps, trials=trials), near)
        if found is None:
            return None
        at, drop = found
        longer = 4 * steps
        if drop >= ENOUGH or longer > cell.steps / 3 or longer not in cell.horizons:
            return at + float(np.log10(momentum_lag(cell.beta, STEPS))), steps
        steps, near = longer, at


@cache
def _lowest(curve: Curve, near: float) -> tuple[float, float] | None:
    """Where the smoothed losses are lowest, log10, and the relative drop of the loss."""
    x, loss = np.log10(curve.lr), curve.loss
    if near != _EVERYWHERE:
        middle = int(np.argmin(np.abs(x - near)))
        part = slice(max(middle - _NEIGHBOURS, 0), middle + _NEIGHBOURS + 1)
        x, loss = x[part], loss[part]
    lowest = float(np.min(loss))
    if not lowest < curve.baseline:
        return (near, 0.0) if near != _EVERYWHERE else None
    drop = curve.baseline - lowest
    with np.errstate(over="ignore"):
        y = np.minimum((loss - lowest) / drop, 2.0)
    pad = 5 * SMOOTHING
    grid = np.arange(x[0] - pad, x[-1] + pad + _STEP, _STEP)
    smooth = gaussian_filter1d(np.interp(grid, x, y), SMOOTHING / _STEP, mode="nearest")
    at = float(np.clip(grid[int(np.argmin(smooth))], x[0], x[-1]))
    return at, drop / max(abs(curve.baseline), 1e-300)


def _pick(cell: Cell, constants: Constants) -> float | None:
    found = landmark(cell)
    if found is None:
        return None
    at, steps = found
    down = constants.down.get(cell.group, constants.down["adam"])
    at -= down * max(0.0, float(np.log10(cell.steps / steps)))
    return float(10.0 ** (at + (0.0 if cell.schedule == "constant" else constants.rise)))


def pilot(cell: Cell) -> float | None:
    return _pick(cell, PILOT)


def fit(others: Sequence[Solved]) -> Constants:
    """The constants that lose least on these tasks: `rise` for all, then `down` for each group."""
    rows = [(o, found) for o in others for c in o.cells if (found := landmark(c)) is not None]
    at = np.array([found[0] for _, found in rows])
    length = np.array([max(0.0, np.log10(o.landscape.steps / f[1])) for o, f in rows])
    decays = np.array([o.landscape.schedule != "constant" for o, _ in rows])
    group = np.array([o.landscape.group for o, _ in rows])
    task = np.array([o.landscape.task for o, _ in rows])
    lost = np.array([o.landscape.lost for o, _ in rows])
    x = others[0].landscape.x
    best: tuple[float, Constants] | None = None
    for rise in np.arange(0.0, 0.55, 0.1):
        down, total = {}, 0.0
        for name in np.unique(group):
            own = group == name
            tasks = Tasks.of(list(task[own]))
            means = {}
            for c in np.arange(0.0, 0.85, 0.05):
                pick = at[own] - c * length[own] + rise * decays[own]
                means[float(c)] = tasks.mean(_interpolated(pick, x, lost[own]))
            down[str(name)] = min(means, key=lambda c: means[c])
            total += min(means.values()) * tasks.number
        if best is None or total < best[0]:
            best = total, Constants({"adam": 0.4, **down}, float(rise))
    assert best is not None
    return best[1]


def _interpolated(pick: Array, x: Array, lost: Array) -> Array:
    """Points lost at each row's pick, on the even grid x."""
    place = np.clip((pick - x[0]) / (x[1] - x[0]), 0.0, x.size - 1.001)
    left = place.astype(int)
    row = np.arange(pick.size)
    share = place - left
    return np.asarray((1 - share) * lost[row, left] + share * lost[row, left + 1])


def fitted(cell: Cell, constants: Constants) -> float | None:
    return _pick(cell, constants)


RULES = {
    "candidate: lowest point, pilot's constants": pilot,
    "candidate: lowest point, constants fitted on the other tasks": fitted,
}
