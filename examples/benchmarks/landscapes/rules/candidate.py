"""Forms that the package does not have: its pick before, and candidates that lost to it.

First the smoothed midpoint, `recommended` of version 0.1. Then the lowest point, measured longer
where little is learnt.

1. Curve of 20 steps. While the relative drop of the loss is under a tenth: four times as many
   steps, for the seven learning rates around the lowest, up to a third of the training.
2. The lowest point of the losses, capped at twice the drop and smoothed by .2 decades.
3. Times the momentum lag of 20 steps.
4. Down by `c log10(T / n)` decades, and up by `rise` where the schedule decays to 0.

The form and its constants were chosen on a pilot of 116 cells, some of whose tasks are among
these, out of about 60 forms tried there; the second rule fits its constants on the other tasks.

The last is its plainest relative: the lowest point of step 2 on a whole curve of 80 steps,
wherever it is, with nothing taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.rules.auto import observed
from examples.benchmarks.landscapes.rules.auto import points_of
from examples.benchmarks.landscapes.rules.package import recommended
from examples.benchmarks.landscapes.score.cell import SEARCH_TRIALS
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Curve
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.weighing import Tasks
from optuna_lrss._method.knee import curvature
from optuna_lrss._method.levels import before_half
from optuna_lrss._method.recommend import SMOOTHING
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._method.recommend import smoothed


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


#: Where `fit` looks.
_RISES = np.arange(0.0, 0.55, 0.1)
_DOWNS = np.arange(0.0, 0.85, 0.05)


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
    """The constants that lose least on these tasks: `rise` for all, `down` for each group."""
    best, total = {}, np.zeros(_RISES.size)
    for group in sorted({o.landscape.group for o in others}):
        own = [o for o in others if o.landscape.group == group and _lost(o) is not None]
        if not own:
            continue
        tasks = Tasks.of([o.landscape.task for o in own])
        mean = np.tensordot(tasks.weights, np.array([_lost(o) for o in own]), 1)
        best[group] = mean.argmin(axis=1)
        total += tasks.number * mean.min(axis=1)
    rise = int(total.argmin())
    down = {group: float(_DOWNS[at[rise]]) for group, at in best.items()}
    return Constants({"adam": PILOT.down["adam"], **down}, float(_RISES[rise]))


@cache
def _lost(solved: Solved) -> Array | None:
    """Points lost by every (rise, down), mean over seeds that have a landmark."""
    landscape = solved.landscape
    rise = _RISES[:, None] * (landscape.schedule != "constant")
    found = [f for f in map(landmark, solved.cells) if f is not None]
    lost = [
        np.interp(
            at + rise - _DOWNS * max(0.0, float(np.log10(landscape.steps / steps))),
            landscape.x,
            landscape.lost,
        )
        for at, steps in found
    ]
    return np.asarray(np.mean(lost, axis=0)) if lost else None


def fitted(cell: Cell, constants: Constants) -> float | None:
    return _pick(cell, constants)


@cache
def _smoothed_midpoint(curve: Curve) -> float | None:
    """Log-midpoint of the window of the capped, smoothed curve, without the lag."""
    points = points_of(curve)
    if points is None:
        return None
    x, smooth = smoothed(observed(curve), points.baseline, points.lowest)
    at_max = int(np.argmin(smooth))
    yn = (smooth - smooth[at_max]) / max(1.0 - smooth[at_max], 1e-12)
    at_half = before_half(yn, at_max) or 0
    from_x = float(np.log10(points.min_lr)) - 2.0 * SMOOTHING
    first = min(int(np.searchsorted(x, from_x)), at_half)
    slope = np.gradient(yn, x)
    bend = curvature(slope, np.gradient(slope, x))
    at_knee = first + int(np.argmin(bend[first : at_half + 1]))
    return float(10.0 ** (0.5 * (x[at_knee] + x[at_max])))


def smoothed_midpoint(cell: Cell) -> float | None:
    """Version 0.1: the smoothed midpoint with the momentum lag, the same for every schedule."""
    return smoothed_midpoint_of(cell.curve(STEPS), cell.beta)


def smoothed_midpoint_of(curve: Curve, beta: float) -> float | None:
    """The same, of a curve."""
    found = _smoothed_midpoint(curve)
    return None if found is None else found * momentum_lag(beta, STEPS)


def confirmed(cell: Cell) -> float | None:
    """`recommended` and `peak`, stepped down while a trial of 160 steps ends in damage there.

    Damage is a loss that gives back half of what the same trials gain at best. At most 160 steps
    and half of the training; a quarter decade at a time, four times at most.
    """
    pick = recommended(cell)
    steps = max(n for n in cell.horizons if n <= min(160, cell.steps / 2))
    if pick is None or steps <= STEPS:
        return pick
    curve = cell.curve(steps, trials=1)
    x, lowest = np.log10(curve.lr), float(curve.loss.min())
    with np.errstate(over="ignore"):
        loss = np.minimum(curve.loss, 2.0 * abs(curve.baseline) + curve.baseline)
    half = 0.5 * (curve.baseline + lowest)
    for _ in range(4):
        if np.interp(np.log10(pick), x, loss) <= half:
            break
        pick *= 10.0**-0.25
        cell.cost += steps
    return pick


def after_80_steps(cell: Cell) -> float | None:
    found = _lowest(cell.curve(80), _EVERYWHERE)
    return None if found is None else float(10.0 ** found[0])


RULES = {
    "smoothed midpoint (version 0.1)": smoothed_midpoint,
    "candidate: recommended, confirmed by a longer trial": confirmed,
    "candidate: lowest point after 80 steps": after_80_steps,
    "candidate: lowest point, pilot's constants": pilot,
    "candidate: lowest point, constants fitted on the other tasks": fitted,
}
