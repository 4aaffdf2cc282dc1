"""The picks of a curve, at the horizon and at every earlier step that the trials report."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping

import numpy as np

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import PointsOfInterest
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import length_factor
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._result.advice import advice_of
from optuna_lrss._result.data import POINTS
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import at_step
from optuna_lrss._study.curves import snapshot_steps


#: Most horizons that are analysed: an objective may report every step, and each takes a fit.
_MOST_HORIZONS = 6


def picks_of(
    curve: LRCurve,
    points: PointsOfInterest,
    steps: int,
    lag: Callable[[int], float],
    total_steps: int,
) -> dict[str, float]:
    """Every pick and window end by name, as this curve alone gives them.

    Args:
        curve: The known losses.
        points: What was read off them.
        steps: Horizon of the short trials.
        lag: Share of its steady step that the optimizer delivers within so many steps.
        total_steps: Optimizer steps of the training that the picks are for.
    """
    advice = advice_of({steps: curve}, {steps: points.lowest}, points.baseline, lag, total_steps)
    of_training = {"recommended": advice.recommended, "peak": advice.peak}
    return {**of_training, **{name: getattr(points, name) for name in POINTS}}


def picks_at_each_step(
    observations: Observations,
    baseline: float | None,
    lag: Callable[[int], float],
    normalize: bool,
    total_steps: int,
) -> dict[int, dict[str, float]]:
    """The picks at every snapshot step that has a window."""
    found: dict[int, dict[str, float]] = {}
    steps = _spread(snapshot_steps(observations))
    for step in steps if len(steps) > 1 else []:
        curve = at_step(observations, step).curve(baseline)
        try:
            points = points_of_interest(curve, baseline, normalize=normalize)
        except NoWindowError:
            continue
        found[step] = picks_of(curve, points, max(step, 1), lag, total_steps)
    return found


def for_length(
    picks: Mapping[str, float], steps: int, was: int, total_steps: int
) -> dict[str, float]:
    """Picks that were read at a horizon, for a training of another length.

    Args:
        picks: The picks by name.
        steps: The horizon.
        was: Optimizer steps of the training that they are for.
        total_steps: Those of the other training.
    """
    factor = length_factor(steps, total_steps) / length_factor(steps, was)
    recommended = picks["recommended"] * factor
    return {**picks, "recommended": recommended, "peak": peak_lr(recommended)}


def _spread(steps: list[int]) -> list[int]:
    """At most six of the steps, evenly spread over their logarithms, the last among them."""
    if len(steps) <= _MOST_HORIZONS:
        return steps
    wanted = np.geomspace(max(steps[0], 1), steps[-1], _MOST_HORIZONS)
    known = np.asarray(steps)
    return sorted({int(known[np.argmin(np.abs(known - w))]) for w in wanted})


def drift_of(horizons: dict[int, dict[str, float]]) -> dict[str, float]:
    """Slope of each pick over log10(steps) by least squares: decades per factor of ten."""
    steps = [s for s in horizons if s > 0]
    if len(steps) < 2:
        return {}
    t = np.log10(steps)
    return {
        name: float(np.polyfit(t, np.log10([horizons[s][name] for s in steps]), 1)[0])
        for name in horizons[steps[0]]
    }
