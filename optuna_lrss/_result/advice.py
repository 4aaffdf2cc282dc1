"""The picks for a training, read off the longest trials that gained something."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._method.recommend import recommended_lr
from optuna_lrss._method.recommend import share_gained


#: Fewest losses at a horizon that show a lowest one with something on both sides.
_FEWEST = 3


@dataclass(frozen=True)
class Advice:
    """What to train with.

    Attributes:
        recommended: Learning rate to hold constant.
        peak: Highest learning rate of a schedule that decays to 0.
        horizon: Steps of the trials that they were read from.
        gained: Share of the untrained loss that these trials gained.
    """

    recommended: float
    peak: float
    horizon: int
    gained: float


def advice_of(
    curves: Mapping[int, LRCurve],
    lowest: Mapping[int, float],
    baseline: float,
    lag: Callable[[int], float],
    total_steps: int,
) -> Advice:
    """The picks for a training of ``total_steps``.

    Args:
        curves: Losses at each horizon, the search's own and longer ones.
        lowest: Lowest loss of the model of a curve, where there is one; else the lowest measured.
        baseline: Loss of the untrained model.
        lag: Share of its steady step that the optimizer delivers within so many steps.
        total_steps: Optimizer steps of the training.
    """
    horizon = max(n for n, c in curves.items() if n == min(curves) or _tells(c, baseline))
    curve = curves[horizon]
    least = lowest.get(horizon, float(curve.loss[curve.finite].min()))
    recommended = recommended_lr(
        curve, baseline, least, steps=horizon, total_steps=total_steps, lag=lag(horizon)
    )
    gained = share_gained(baseline, least)
    return Advice(recommended, peak_lr(recommended), horizon, gained)


def _tells(curve: LRCurve, baseline: float) -> bool:
    """Whether a curve of longer trials has a lowest loss that means something."""
    finite = curve.loss[curve.finite]
    return len(curve) >= _FEWEST and finite.size > 0 and float(finite.min()) < baseline
