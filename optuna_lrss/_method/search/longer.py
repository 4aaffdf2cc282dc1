"""Longer trials: at which horizon, and at which learning rates (not in the paper).

Idea: the upper end of the window is where a longer training breaks first, so four to six trials
of four times the steps around it say how it moves with the horizon; and again of four times as
many, while too little of the loss is gained to tell anything. The two functions here are the
whole rule: the search asks them for the next horizon and for the next learning rate, and nothing
else knows why. Cost: four to six trials a horizon, each of four times the steps of those before,
and a filter over a grid for each question, well under a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.recommend import smoothed
from optuna_lrss._method.search.strategy import Proposal


#: Horizon of the short trials where longer ones may follow (paper, section 2).
BASE_STEPS = 20
#: Each horizon has this many times the steps of the one before.
FACTOR = 4
#: A longer trial takes at most this share of the training that it is to save.
_MOST_OF_TRAINING = 1.0 / 3.0
#: Steps of the training where nobody says: enough for two longer horizons of the paper's 20 steps.
_DEFAULT_TRAINING = 1000
#: A share of the untrained loss: where less is gained, every pick fails in over half of the cells,
#: elsewhere in 2 % (provisional, from a pilot of landscapes).
_LITTLE = 0.1

#: Distance of neighbours, in decades: just above the Gaussian's width.
_SPACING = 0.25
#: The first learning rates, from the lowest point at the horizon before: longer trainings move it
#: down rather than up.
_FIRST_LOOK = (0.0, -_SPACING, _SPACING, -2.0 * _SPACING)
#: What is tried is six neighbours wide at most, in decades.
_WIDEST = 5.0 * _SPACING
#: Half a spacing from a known one nothing new is learned: the lowest point moves a little with
#: every trial of the horizon before.
_NEAR = 0.5 * _SPACING
#: What idle workers look at, between the first four: the gaps are halved so often, which is enough
#: for two dozen workers.
_HALVINGS = 3


def next_horizon(
    curve: LRCurve,
    baseline: float | None,
    steps: int,
    total_steps: int | None,
    *,
    base: int = BASE_STEPS,
) -> int | None:
    """The horizon that follows one that is resolved.

    Args:
        curve: Losses at ``steps``.
        baseline: Loss of the untrained model, if known.
        steps: A horizon that is resolved.
        total_steps: Optimizer steps of the training to come; ``None`` if unknown.
        base: Horizon of the short trials.

    Returns:
        The next horizon in steps, or ``None`` where enough is gained, nothing learns, or a
        longer trial would be too large a part of the training.
    """
    finite = curve.loss[curve.finite]
    longer = FACTOR * steps
    training = _DEFAULT_TRAINING if total_steps is None else total_steps
    if finite.size == 0 or longer > _MOST_OF_TRAINING * training:
        return None
    if baseline is None:
        return longer if steps == base else None
    gained = baseline - float(finite.min())
    if steps == base:
        return longer if gained > 0.0 else None
    return longer if gained < _LITTLE * abs(baseline) else None


def next_longer(
    shorter: LRCurve,
    longer: LRCurve,
    pending: Sequence[float],
    search_range: tuple[float, float],
    baseline: float | None,
) -> Proposal | None:
    """The next learning rate at a longer horizon.

    Args:
        shorter: Losses at the horizon before, at least one of them finite.
        longer: Losses at this horizon, perhaps none yet.
        pending: log10 of the learning rates under way at this horizon.
        search_range: Range of the learning rate, in decades.
        baseline: Loss of the untrained model, if known.

    Returns:
        The proposal, which is ``needed`` until the horizon is resolved and then something for
        workers that have nothing else to do; ``None`` where there is nothing of that either. With
        nothing under way the horizon is resolved when it is not ``needed``.
    """
    low, high = search_range
    lowest = _lowest_of(shorter, baseline)
    tried = np.concatenate([longer.x, np.asarray(pending, dtype=float)])
    first_look = [min(max(lowest + step, low), high) for step in _FIRST_LOOK]
    for x in (*first_look, *_beyond_lowest(longer, tried, search_range)):
        if _is_new(x, tried, _NEAR):
            return Proposal.at_once(x, "longer")
    for x, distance in _between(min(first_look), max(first_look)):
        if _is_new(x, tried, distance):
            return Proposal(x, 0.0, "longer")
    return None


def _lowest_of(curve: LRCurve, baseline: float | None) -> float:
    """The lowest point of the capped and smoothed curve, in decades.

    Of the curve as it is, where nothing on it is lower than the untrained model.
    """
    level = float(curve.loss[curve.finite].max()) if baseline is None else baseline
    lowest = float(curve.loss.min())
    if not lowest < level:
        return float(curve.x[int(np.argmin(curve.loss))])
    x, smooth = smoothed(curve, level, lowest)
    return float(x[int(np.argmin(smooth))])


def _beyond_lowest(
    longer: LRCurve, tried: FloatArray, search_range: tuple[float, float]
) -> list[float]:
    """A step beyond the lowest loss, where it lies at an end of all that is tried."""
    if len(longer) == 0 or tried.max() - tried.min() > _WIDEST - _NEAR:
        return []
    # Where everything diverged, the lowest loss lies further down.
    lowest = float(longer.x[int(np.argmin(longer.loss))]) if longer.finite.any() else -np.inf
    found = []
    if lowest <= tried.min() + SAME_LR:
        found.append(max(float(tried.min()) - _SPACING, search_range[0]))
    if lowest >= tried.max() - SAME_LR:
        found.append(min(float(tried.max()) + _SPACING, search_range[1]))
    return found


def _between(low: float, high: float) -> Iterator[tuple[float, float]]:
    """Learning rates from low to high, ever closer, and how far from others they must lie."""
    for halved in range(1, _HALVINGS + 1):
        spacing = _SPACING / 2**halved
        for x in np.arange(high, low - SAME_LR, -spacing):
            yield float(x), 0.75 * spacing


def _is_new(x: float, tried: FloatArray, distance: float) -> bool:
    """Whether nothing tried lies nearer than a distance, in decades."""
    return bool(tried.size == 0 or np.min(np.abs(tried - x)) > distance - SAME_LR)
