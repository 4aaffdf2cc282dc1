"""``recommended`` and ``peak``, the picks for a full training (the method page, section 7).

Not in the paper. Idea: the upper end of the window is the landmark, since it hardly moves with the
horizon, where the knee sinks as 1 / steps. It is read off the longest trials that there are, under
a Gaussian, so that distance from the cliff counts and not only the lowest point; times the share
of its steady step that momentum delivers there. A longer training wants less by a power of its
length, a schedule that decays bears more by a constant factor. Cost: one filter over a grid, well
under a millisecond.

The three constants (``SMOOTHING``, ``PER_LENGTH``, ``RISE``) come from the landscapes
(docs/results/advice.md, which holds what each loses when it is
moved); left out task by task they come out the same within a step of the grid that was searched.
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve


#: Width of the Gaussian that the curve is smoothed with, in decades.
SMOOTHING = 0.2
#: Losses are capped as far above the untrained model's as the lowest lies below it, so that the
#: height of a diverged loss does not reach over to the window.
_CAP = 2.0
#: Spacing of the smoothed curve's grid, in decades: a tenth of the smoothing.
_STEP = 0.02
#: Decades that the best learning rate falls by when the training takes ten times as many steps.
PER_LENGTH = 0.3
#: Decades that the best peak of a schedule which decays to 0 lies above the best constant rate.
RISE = 0.25
#: The same of one that is held for most of the training and decays at its end (WSD): half of it.
HELD_RISE = RISE / 2.0
#: Steps of a training whose length nobody says: taken too short or too long by a factor of ten
#: the pick is off by 0.3 decades, and too high costs more.
TOTAL_STEPS = 1000
#: Below this share of the untrained loss the trials have not gained enough to say where a training
#: goes: they find the output's level, or sit on a plateau.
ENOUGH = 0.1


def recommended_lr(
    curve: LRCurve,
    baseline: float,
    lowest: float,
    *,
    steps: int,
    total_steps: int = TOTAL_STEPS,
    momentum: float = 0.0,
    lag: float | None = None,
) -> float:
    """The constant learning rate for a whole training (the method page, section 7).

    Args:
        curve: The known losses, at least one of them finite.
        baseline: Loss of the untrained model.
        lowest: Lowest loss of the curve, below ``baseline``.
        steps: Horizon of the curve.
        total_steps: Optimizer steps of the training.
        momentum: Heavy-ball beta of SGD; 0 for plain SGD and for Adam.
        lag: Share of its steady step that the optimizer delivered; ``None`` for that of an
            optimizer that starts at rest.

    Returns:
        A learning rate.
    """
    share = momentum_lag(momentum, steps) if lag is None else lag
    return upper_end(curve, baseline, lowest) * share * length_factor(steps, total_steps)


def peak_lr(recommended: float, *, held: bool = False) -> float:
    """The highest rate of a schedule that decays to 0, from the constant rate for as long.

    Args:
        recommended: The constant learning rate.
        held: Whether the schedule holds its rate for most of the training before it decays.
    """
    return float(recommended * 10.0 ** (HELD_RISE if held else RISE))


def length_factor(steps: int, total_steps: int) -> float:
    """What a training of ``total_steps`` wants of a learning rate that is right for ``steps``."""
    return min(1.0, float((steps / total_steps) ** PER_LENGTH))


def share_gained(baseline: float, lowest: float) -> float:
    """Share of the untrained loss that was gained."""
    return (baseline - lowest) / max(abs(baseline), 1e-300)


def upper_end(curve: LRCurve, baseline: float, lowest: float) -> float:
    """Learning rate of the lowest point of the capped, smoothed curve.

    The losses are capped at ``baseline + (baseline - lowest)``, a diverged trial counts as that
    cap, and the curve is smoothed with a Gaussian of 0.2 decades.

    Args:
        curve: The known losses, at least one of them finite.
        baseline: Loss of the untrained model.
        lowest: Lowest loss of the curve, below ``baseline``.

    Returns:
        A learning rate, within the known range.
    """
    x, smooth = smoothed(curve, baseline, lowest)
    return float(10.0 ** np.clip(x[int(np.argmin(smooth))], curve.x[0], curve.x[-1]))


def smoothed(curve: LRCurve, baseline: float, lowest: float) -> tuple[FloatArray, FloatArray]:
    """Grid in decades over the known range, and the capped, smoothed losses on it, normalised."""
    from scipy.ndimage import gaussian_filter1d  # here, since it takes 0.1 s to import

    with np.errstate(over="ignore"):
        yn = np.minimum((curve.loss - lowest) / (baseline - lowest), _CAP)
    pad = 5.0 * SMOOTHING  # the ends continue level, as far as the Gaussian reaches
    grid = np.arange(curve.x[0] - pad, curve.x[-1] + pad + _STEP, _STEP)
    smooth = gaussian_filter1d(np.interp(grid, curve.x, yn), SMOOTHING / _STEP, mode="nearest")
    known = (grid >= curve.x[0] - _STEP / 2) & (grid <= curve.x[-1] + _STEP / 2)
    return grid[known], smooth[known]


def momentum_lag(momentum: float, steps: int) -> float:
    """Share of its steady step that heavy-ball momentum delivers in a short trial, on average.

    ``c = 1 - beta (1 - beta^n) / (n (1 - beta))``: in n steps the velocity is still building up,
    so a short trial tolerates a learning rate 1/c too high for a long training.

    Args:
        momentum: beta, in [0, 1).
        steps: n, at least 1.

    Returns:
        c, in (0, 1]; 1 without momentum.

    Raises:
        ValueError: If ``momentum`` or ``steps`` is out of range.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum={momentum!r} must lie in [0, 1): it is SGD's heavy-ball beta.")
    if steps < 1:
        raise ValueError(f"steps={steps!r} must be at least 1: the optimizer steps of a trial.")
    return 1.0 - momentum * (1.0 - momentum**steps) / (steps * (1.0 - momentum))


def lag_at(steps: int, lag: float, known_at: int, momentum: float) -> float:
    """The lag at another horizon: what is missing at the start decays like ``beta^t``.

    Args:
        steps: The horizon that is asked about.
        lag: The lag at the horizon ``known_at``.
        known_at: That horizon, in steps.
        momentum: beta, in [0, 1).

    Returns:
        The lag at ``steps``, in (0, 1].
    """
    if momentum == 0.0:
        return lag
    at_rest, at_rest_there = momentum_lag(momentum, steps), momentum_lag(momentum, known_at)
    return 1.0 - (1.0 - lag) * (1.0 - at_rest) / (1.0 - at_rest_there)
