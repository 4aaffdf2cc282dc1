"""``recommended``, the pick for a full training (the method page, section 7; not in the paper).

Idea: the log-midpoint of the window, as the paper's method 1, but of the curve under a Gaussian,
so that distance from the cliff counts and not only the lowest point; times the share of its steady
step that momentum delivers in a short trial. Cost: one filter over a grid, well under a
millisecond.
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.knee import knee_of_smoothed
from optuna_lrss._method.levels import before_half


#: Width of the Gaussian that ``recommended`` smooths the curve with, in decades.
SMOOTHING = 0.2
#: Losses are capped as far above the untrained model's as the lowest lies below it, so that the
#: height of a diverged loss does not reach over to the window.
_CAP = 2.0
#: Spacing of the smoothed curve's grid, in decades: a tenth of the smoothing.
_STEP = 0.02


def recommended_lr(
    curve: LRCurve,
    baseline: float,
    lowest: float,
    *,
    steps: int,
    momentum: float = 0.0,
    lag: float | None = None,
    min_lr: float | None = None,
) -> float:
    """The smoothed midpoint with the momentum lag (the method page, section 7).

    The losses are capped at ``baseline + (baseline - lowest)``, a diverged trial counts as that
    cap, and the curve is smoothed with a Gaussian of 0.2 decades before the log-midpoint of its
    window is taken: distance from the cliff then counts, not only the lowest point. The result
    is multiplied by :func:`momentum_lag`.

    Args:
        curve: The known losses, at least one of them finite.
        baseline: Loss of the untrained model.
        lowest: Lowest loss of the curve, below ``baseline``.
        steps: Horizon of the short trials.
        momentum: Heavy-ball beta of SGD; 0 for plain SGD and for Adam.
        lag: Share of its steady step that the optimizer delivered; ``None`` for that of an
            optimizer that starts at rest.
        min_lr: The knee of the curve as measured. Smoothing moves a knee to the left by about
            its width; one that lies further left is a wiggle of the plateau and not considered.

    Returns:
        A learning rate.
    """
    x, smooth = smoothed(curve, baseline, lowest)
    at_max = int(np.argmin(smooth))
    yn = (smooth - smooth[at_max]) / max(1.0 - smooth[at_max], 1e-12)
    at_half = before_half(yn, at_max) or 0
    from_x = -np.inf if min_lr is None else np.log10(min_lr) - 2.0 * SMOOTHING
    first = min(int(np.searchsorted(x, from_x)), at_half)
    at_knee = knee_of_smoothed(x, yn, first, at_half)
    midpoint = 10.0 ** float(0.5 * (x[at_knee] + x[at_max]))
    return float(midpoint * (momentum_lag(momentum, steps) if lag is None else lag))


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
