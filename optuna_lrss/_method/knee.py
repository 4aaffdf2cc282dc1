"""The knee, min_lr: two estimators of one point, each for its moment (paper, section 3.1).

The knee is where the signed curvature ``k = y'' / (1 + y'^2)^(3/2)`` of the curve is least, at or
left of the half-loss point (paper, equation 1 and footnote 1). They differ in what they take the
derivatives of:

- :func:`knee_of_secants`, while searching: of three neighbouring losses. Microseconds, so that
  every proposal can afford it; noise moves it, but only to where the search looks next.
- :func:`knee_of_fit`, for the answer: of the model of the curve. Noise hardly moves it; costs the
  fit of the model, some milliseconds, once a curve.
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.levels import WALL


def curvature(slope: FloatArray, bend: FloatArray) -> FloatArray:
    """Signed curvature from first and second derivative, per decade (paper, equation 1)."""
    with np.errstate(over="ignore"):
        return np.asarray(bend / np.hypot(1.0, slope) ** 3)


def knee_of_secants(x: FloatArray, yn: FloatArray, last: int) -> int:
    """The known point with the least three-point curvature, while searching.

    Args:
        x: log10 of known learning rates, ascending, shape ``(m,)``.
        yn: Their normalised losses, ``inf`` where diverged, shape ``(m,)``.
        last: Index of the last point that may be the knee: left of half-loss.

    Returns:
        Index of the knee; ``last`` where no point up to it has two neighbours.
    """
    inner = np.arange(1, min(last, x.size - 2) + 1)
    if inner.size == 0:
        return last
    y = np.minimum(yn, WALL)
    before, after = x[inner] - x[inner - 1], x[inner + 1] - x[inner]
    s1, s2 = (y[inner] - y[inner - 1]) / before, (y[inner + 1] - y[inner]) / after
    bend = 2.0 * (s2 - s1) / (before + after)
    slope = (s1 * after + s2 * before) / (before + after)
    return int(inner[np.argmin(curvature(slope, bend))])


def knee_of_fit(fit: CurveFit, half: float, scale: float = 1.0) -> float:
    """The knee of the model of a curve, for the answer.

    Args:
        fit: The model.
        half: log10 of the half-loss point.
        scale: As in :func:`flank_curvature`.

    Returns:
        log10 of the knee.
    """
    left = fit.x <= half
    return float(fit.x[left][np.argmin(flank_curvature(fit, scale)[left])])


def flank_curvature(fit: CurveFit, scale: float = 1.0) -> FloatArray:
    """Signed curvature of the model's left flank.

    Args:
        fit: The model of the curve.
        scale: Factor from normalised to the wanted loss; 1 keeps the normalised loss.

    Returns:
        Curvature on ``fit.x``, shape ``(g,)``, with x in decades.
    """
    slope = np.gradient(fit.flank * scale, fit.x)
    return curvature(slope, np.gradient(slope, fit.x))
