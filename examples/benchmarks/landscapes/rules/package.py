"""What the package reads off a curve of 20 steps: the paper's three picks and `recommended`.

The curve is the record's grid of a quarter decade. The sampler's trials are a part of that grid
(half decades) and points between it, so that a real search knows its points better than this.
With BatchNorm the losses are those under statistics that are measured again on the training
batches, as `StepObjective` measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Curve
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import PointsOfInterest
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import recommended_lr


STEPS = 20


@cache
def _points(curve: Curve) -> PointsOfInterest | None:
    try:
        return points_of_interest(_observed(curve), curve.baseline)
    except NoWindowError:
        return None


@cache
def _recommended(curve: Curve, momentum: float) -> float | None:
    points = _points(curve)
    if points is None:
        return None
    return recommended_lr(
        _observed(curve),
        points.baseline,
        points.lowest,
        steps=curve.steps,
        momentum=momentum,
        min_lr=points.min_lr,
    )


def _observed(curve: Curve) -> LRCurve:
    return LRCurve.from_observations(curve.lr, curve.loss)


def recommended(cell: Cell) -> float | None:
    """The smoothed midpoint with the momentum lag, as `analyze` has it."""
    return _recommended(cell.curve(STEPS), cell.beta)


def recommended_running(cell: Cell) -> float | None:
    """The same on losses under BatchNorm's running statistics."""
    return _recommended(cell.curve(STEPS, running=True), cell.beta)


def _pick(name: str) -> Callable[[Cell], float | None]:
    def rule(cell: Cell) -> float | None:
        points = _points(cell.curve(STEPS))
        return None if points is None else float(getattr(points, name))

    return rule


def argmin(cell: Cell) -> float | None:
    """The lowest measured loss."""
    curve = cell.curve(STEPS)
    lowest = int(np.argmin(curve.loss))
    return float(curve.lr[lowest]) if np.isfinite(curve.loss[lowest]) else None


RULES = {
    "recommended": recommended,
    "recommended, running statistics": recommended_running,
    "method 1, log-midpoint": _pick("midpoint"),
    "method 2, half-loss": _pick("half_loss"),
    "method 3, steepest": _pick("steepest"),
    "lowest short loss (argmin)": argmin,
}
