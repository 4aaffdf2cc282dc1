"""Longer trials: at which horizon, and at which learning rates (not in the paper).

Idea: the upper end of the window is where a longer training breaks first, so a few trials of four
times the steps around it say how it moves with the horizon; and again of four times as many, while
too little of the loss is gained to tell anything. Where the shorter trials gained enough, the
lowest point is looked for near theirs, further down than up, since that is where it moves. Where
they did not, their lowest point is worth nothing, and it is looked for from the cliff down.

The two functions here are the whole rule: the search asks them for the next horizon and for the
next learning rate, and nothing else knows why. Their constants come from the landscapes
(docs/results/advice.md). Cost: five trials a horizon, eight from
the cliff down, and a filter over a grid for each question, well under a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.recommend import ENOUGH
from optuna_lrss._method.recommend import TOTAL_STEPS
from optuna_lrss._method.recommend import share_gained
from optuna_lrss._method.recommend import upper_end
from optuna_lrss._method.search.strategy import Proposal


#: Horizon of the short trials where longer ones may follow (paper, section 2).
BASE_STEPS = 20
#: Each horizon has this many times the steps of the one before, at most.
FACTOR = 4
#: A longer trial takes at most this share of the training that it is to save. A third costs a
#: tenth less and loses a tenth more, over trainings of 200 to 1,000 steps.
_MOST_OF_TRAINING = 0.5
#: A horizon that is less than this many times the one before says nothing new.
_LEAST_FACTOR = 1.5

#: The lowest loss is known when no neighbour is farther than this, in decades: just above the
#: Gaussian's width that `recommended` smooths with.
_SPACING = 0.25
#: Half a spacing from a known one nothing new is learned: the lowest point moves a little with
#: every trial of the horizon before.
_NEAR = 0.5 * _SPACING
#: What idle workers look at, within the first look: the gaps are halved so often, which is enough
#: for two dozen workers.
_HALVINGS = 3


#: Where to look first, in decades from the lowest point of shorter trials that gained enough ...
_NEAR_LOWEST = (0.0, _SPACING, -2.0 * _SPACING, -4.0 * _SPACING)
#: ... and from the cliff, where they did not: in half decades, as the search's own first look.
_FROM_CLIFF = (0.0, -0.5, 0.5, -1.0, -1.5)
#: How many trials to spend in all, for the one and for the other.
FEW, _MANY = 5, 8


def gained(curve: LRCurve, baseline: float) -> float:
    """Share of the untrained loss that the lowest of these trials gained."""
    return share_gained(baseline, float(curve.loss.min()))


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
    training = TOTAL_STEPS if total_steps is None else total_steps
    longer = min(FACTOR * steps, int(_MOST_OF_TRAINING * training))
    if not curve.finite.any() or longer < _LEAST_FACTOR * steps:
        return None
    if baseline is None:
        return longer if steps == base else None
    if steps == base:
        return longer
    return longer if 0.0 < gained(curve, baseline) < ENOUGH else None


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
    first, most = _first_look(shorter, baseline, search_range)
    tried = np.concatenate([longer.x, np.asarray(pending, dtype=float)])
    more = _around_lowest(longer, search_range) if tried.size < most else []
    for x in (*first, *more):
        if _is_new(x, tried, _NEAR):
            return Proposal.at_once(x, "longer")
    for x, distance in _between(min(first), max(first)):
        if _is_new(x, tried, distance):
            return Proposal(x, 0.0, "longer")
    return None


def _first_look(
    shorter: LRCurve, baseline: float | None, search_range: tuple[float, float]
) -> tuple[list[float], int]:
    """Learning rates to begin with, in decades, and how many to try in all."""
    level = float(shorter.loss[shorter.finite].max()) if baseline is None else baseline
    least = float(shorter.loss.min())
    x = shorter.x
    learns = least < level
    lowest = float(np.log10(upper_end(shorter, level, least)) if learns else x[0])
    if learns and (baseline is None or gained(shorter, baseline) >= ENOUGH):
        wanted, most = [lowest + step for step in _NEAR_LOWEST], FEW
    else:
        stands = shorter.loss <= level + abs(level)  # twice the untrained loss is over the cliff
        cliff = float(x[np.flatnonzero(stands)[-1]])
        wanted, most = [cliff + step for step in _FROM_CLIFF], _MANY
        wanted += [lowest] if learns else []
    return [min(max(w, search_range[0]), search_range[1]) for w in wanted], most


def _around_lowest(longer: LRCurve, search_range: tuple[float, float]) -> list[float]:
    """Beyond the lowest loss, where it lies at an end; else into the gaps beside it, if wide."""
    if len(longer) == 0:
        return []
    x = longer.x
    if not longer.finite.any():  # the lowest loss lies further down
        return [max(float(x[0]) - _SPACING, search_range[0])]
    i = int(np.argmin(longer.loss))
    found = []
    if i == 0:
        found.append(max(float(x[0]) - _SPACING, search_range[0]))
    if i == len(x) - 1:
        found.append(min(float(x[-1]) + _SPACING, search_range[1]))
    for j in (i, i - 1):  # a rate that is too high costs more: the upper side first
        if 0 <= j < len(x) - 1 and x[j + 1] - x[j] > _SPACING + _NEAR:
            found += [float(0.5 * (x[j] + x[j + 1]))]
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
