"""A smooth model of a learning-rate/loss curve, for slopes and curvatures that noise cannot fool.

Finite differences over tight, uneven neighbours amplify noise: the error of a second difference
grows with ``noise / spacing**2``. The model here has two layers.

1. A form: ``1 - A * S(x) + W(x)``, a generalised logistic ``S`` from the plateau (1, the untrained
   loss) down to the floor and an exponential divergence wall ``W``. Weak priors keep it defined
   with few points.
2. What the form leaves over is smoothed with a bandwidth that grows with the noise, so that
   without noise the model passes through every measured loss whatever its true form, and with
   noise it falls back on the form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.levels import HALF
from optuna_lrss._method.levels import WALL
from optuna_lrss._method.levels import before_half


#: Spacing of the evaluation grid, in decades.
STEP = 0.005
#: Residuals below this (share of the loss drop) are the form's error, not noise.
FORM_ERROR = 0.004
#: Bounds of the form: least width in decades, largest |ln(asymmetry)|.
_LEAST_WIDTH = 0.06
_MOST_ASYMMETRY = 2.0
#: Priors of the form: centre and width of A, ln(width / decades), ln(asymmetry).
_FLANK_PRIOR = (np.array([1.0, np.log(0.25), 0.0]), np.array([0.1, 0.7, 1.0]))
#: Priors of the wall: width of its position around the first high loss (decades), centre and
#: width of ln(wall width / decades).
_WALL_PRIOR = (0.5, np.log(0.15), 0.8)
#: Starting values of (width / decades, ln(asymmetry)); the best of the fits is kept.
_STARTS = ((0.15, 0.0), (0.35, 0.0), (0.25, -0.8), (0.25, 0.8))
#: Mean squared residual, in noise deviations, of a fit that needs no other start.
_GOOD_FIT = 0.5
#: Median of |a standard normal variable| is 1 over this.
_MAD = 1.4826
#: Of so many points, or distances of residuals to their neighbours' line, noise is estimated.
_ENOUGH = 5
#: Share of neighbouring distances of opposite sign from which on they are noise: 0.73 for normal
#: noise, whose second differences are correlated by -2/3; a form that fits badly errs in runs.
_ALTERNATING = 0.5
#: Degrees of freedom of the noise per such distance: the median of 8 to 40 of them, overlapping as
#: they are, scatters like a sample variance of a third as many (simulated, normal noise).
_DEGREES = 1.0 / 3.0
#: Noise that the form is first fitted with, where nothing has measured any.
_FIRST_GUESS = 0.01
#: Fits that are kept, of some 50 kB each: a search looks at its curve as it was and as it will be,
#: and a study with snapshots at one for each of its six horizons, twice where there is noise.
_KEPT = 32
#: Least bandwidth that a curvature is taken with, in decades.
_LEAST_BANDWIDTH = 0.1


class RepeatNoise(NamedTuple):
    """What repeats say of the noise.

    Attributes:
        deviation: Standard deviation of one normalised loss.
        degrees: Degrees of freedom of that estimate, at least 1.
    """

    deviation: float
    degrees: int


class _Left(NamedTuple):
    """The losses up to the end of the left flank, and the form fitted to all."""

    x: FloatArray
    y: FloatArray
    weight: FloatArray
    form: FloatArray


@dataclass(frozen=True, eq=False)
class CurveFit:
    """The model on a grid over the known range.

    Attributes:
        x: Grid, log10 of learning rates, ascending, shape ``(g,)``, at most
            ``STEP`` decades apart.
        value: Normalised loss on the grid (1 = untrained, 0 = lowest), shape ``(g,)``.
        flank_end: log10 of the last learning rate that the flank was fitted to.
        noise: Estimated standard deviation of one normalised loss where the model has learned.
        scatter: The same of any loss of the curve: what a drop has to stand out from.
    """

    x: FloatArray
    value: FloatArray
    flank_end: float
    noise: float
    scatter: float
    _left: _Left

    @cached_property
    def flank(self) -> FloatArray:
        """The left flank on the grid, smooth enough for a curvature, shape ``(g,)``.

        Right of the fall it goes on without the wall. Fitted when it is asked for: of two fits to
        a noisy curve the first is not.
        """
        flank = _flank(self._left, self.noise, self.x)
        flank.flags.writeable = False
        return flank


def fit_curve(
    x: FloatArray, yn: FloatArray, weight: FloatArray, repeats: RepeatNoise | None = None
) -> CurveFit:
    """Fits the model to normalised losses.

    Args:
        x: log10 of learning rates, ascending, shape ``(m,)``, m >= 3.
        yn: Normalised losses, shape ``(m,)``; ``inf`` where diverged. At least 3 are finite.
        weight: Number of repeats behind each loss, shape ``(m,)``.
        repeats: The noise that repeats have measured, if any did: it is pooled with what the
            residuals say.

    Returns:
        The model over ``[x[0], x[-1]]``, the part beyond the last finite loss set to ``WALL``. Its
        arrays cannot be written to: who asks for the same again gets the same.
    """
    x, yn, weight = (np.asarray(v, dtype=float) for v in (x, yn, weight))
    return _kept_fit(x.tobytes(), yn.tobytes(), weight.tobytes(), repeats)


@lru_cache(maxsize=_KEPT)
def _kept_fit(x: bytes, yn: bytes, weight: bytes, repeats: RepeatNoise | None) -> CurveFit:
    """Sampler, analysis and plots look at one curve: it is fitted once."""
    fit = _fit(np.frombuffer(x), np.frombuffer(yn), np.frombuffer(weight), repeats)
    fit.x.flags.writeable = fit.value.flags.writeable = False
    return fit


def _fit(
    x: FloatArray, yn: FloatArray, weight: FloatArray, repeats: RepeatNoise | None
) -> CurveFit:
    y = np.minimum(yn, WALL)
    assumed = max(_FIRST_GUESS if repeats is None else repeats.deviation, FORM_ERROR)
    form = _fit_form(x, y, np.sqrt(weight) / assumed)
    known = yn < WALL
    level = np.minimum(_form(form, x[known]), WALL)
    scatter, noise = _noise_of(x[known], (y[known] - level) * np.sqrt(weight[known]), level)
    if repeats is not None:
        scatter, noise = (_pooled(n, int(known.sum()), repeats) for n in (scatter, noise))
    form = _fit_form(x, y, np.sqrt(weight) / max(noise, FORM_ERROR))
    grid = np.linspace(x[0], x[-1], max(int(np.ceil((x[-1] - x[0]) / STEP)), 2) + 1)
    residual = y[known] - np.minimum(_form(form, x[known]), WALL)
    value = np.minimum(_form(form, grid), WALL) + _remainder(
        x[known], residual, weight[known], noise, grid, bandwidth=0.35 * noise**0.25
    )
    last = x[np.isfinite(yn)][-1]
    value = np.where(grid <= last + STEP, value, np.maximum(value, WALL))
    end = _flank_end(x, y)
    left = _Left(x[:end], y[:end], weight[:end], form)
    return CurveFit(grid, value, float(x[end - 1]), noise, scatter, left)


def _flank(left: _Left, noise: float, grid: FloatArray) -> FloatArray:
    """The flank's points on the grid: their own logistic, and what that leaves over, smoothed.

    Curvature needs a wider bandwidth than values do: as wide as the points lie apart, and twice
    the root of the noise (the method page, section 5).
    """
    x, y, weight, form = left
    logistic = _fit_flank(x, y, np.sqrt(weight) / max(noise, FORM_ERROR), form)
    apart = float(np.median(np.diff(x)[-4:])) if x.size > 1 else 0.0
    remainder = _remainder(
        x,
        y - _logistic(logistic, x),
        weight,
        noise,
        grid,
        bandwidth=max(apart, 2.0 * np.sqrt(noise), _LEAST_BANDWIDTH),
    )
    return _logistic(logistic, grid) + remainder


def _remainder(
    x: FloatArray,
    residual: FloatArray,
    weight: FloatArray,
    noise: float,
    grid: FloatArray,
    bandwidth: float,
) -> FloatArray:
    """What a form leaves over, smoothed, less the share that noise explains; level outside."""
    if x.size < 2:
        return np.zeros_like(grid)
    kept = _signal_share(residual * np.sqrt(weight), noise)
    return kept * _smooth(x, residual, weight, bandwidth)(np.clip(grid, x[0], x[-1]))


def _logistic(p: FloatArray, x: FloatArray) -> FloatArray:
    """Plateau to floor: ``1 - A (1 + exp(-(x - c) / w)) ** -a``; p = (A, c, q, r).

    Width and asymmetry are bounded, ``w = 0.06 + exp(q)`` and ``|ln a| < 2``: a kink would fit
    long tails well and have its curvature in the wrong place.
    """
    return np.asarray(1.0 - p[0] * _sigmoid(p, x)[0])


def _sigmoid(p: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """S, the logistic from 0 to 1, and its derivatives by (c, q, r), shape ``(3, m)``."""
    growth = np.exp(np.minimum(p[2], 3.0))
    width = _LEAST_WIDTH + growth
    bound = np.tanh(p[3] / _MOST_ASYMMETRY)
    power = np.exp(_MOST_ASYMMETRY * bound)
    z = np.minimum(np.maximum((x - p[1]) / width, -60.0), 60.0)
    tail = np.log1p(np.exp(-z))  # -ln of the plain logistic
    value = np.exp(-power * tail)
    by_z = power * value * -np.expm1(-tail)
    slope = np.empty((3, x.size))
    slope[0] = -by_z / width
    slope[1] = -by_z * z * growth / width
    slope[2] = -tail * value * power * (1.0 - bound**2)
    return value, slope


def _form(p: FloatArray, x: FloatArray) -> FloatArray:
    """The logistic and the wall ``exp((x - d) / v)``; p = (A, c, q, r, d, ln v)."""
    wall = np.exp(np.minimum((x - p[4]) / np.exp(p[5]), 20.0))
    return np.asarray(_logistic(p, x) + wall)


def _fit_form(x: FloatArray, y: FloatArray, scale: FloatArray) -> FloatArray:
    """Least squares with priors for the whole form; soft-l1, so that one bump cannot bend it."""
    half, wall = _landmarks(x, y)
    d_width, v_centre, v_width = _WALL_PRIOR
    centre = np.concatenate([_FLANK_PRIOR[0], [wall, v_centre]])
    width = np.concatenate([_FLANK_PRIOR[1], [d_width, v_width]])

    def cost(p: FloatArray) -> tuple[FloatArray, FloatArray]:
        jacobian = np.empty((6, x.size))
        value = _logistic_with_slope(p, x, jacobian)
        rise = np.exp(p[5])
        steps = np.minimum((x - p[4]) / rise, 20.0)
        high = np.exp(steps)
        jacobian[4] = -high / rise
        jacobian[5] = -high * steps
        value += high
        jacobian[:, ~(value < WALL)] = 0.0  # where the form is cut off
        jacobian *= scale
        return _soft_l1((np.minimum(value, WALL) - y) * scale, jacobian)

    starts = [[1.0, half, np.log(w), a, wall, np.log(0.15)] for w, a in _STARTS]
    return _best_fit(cost, starts, (centre, width), [0, 2, 3, 4, 5])


def _flank_end(x: FloatArray, y: FloatArray) -> int:
    """Number of points up to the first loss well past half-loss.

    Nothing right of the fall reaches the knee.
    """
    lowest = int(np.argmin(y))
    half, _ = _landmarks(x, y)
    below = np.flatnonzero((x > half) & (y < 0.2))
    return min(lowest, int(below[0]) if below.size else lowest) + 1


def _fit_flank(x: FloatArray, y: FloatArray, scale: FloatArray, form: FloatArray) -> FloatArray:
    """Least squares with priors for the logistic alone."""

    def cost(p: FloatArray) -> tuple[FloatArray, FloatArray]:
        jacobian = np.empty((4, x.size))
        value = _logistic_with_slope(p, x, jacobian)
        jacobian *= scale
        return (value - y) * scale, jacobian

    starts = [[1.0, float(form[1]), np.log(w), a] for w, a in _STARTS]
    return _best_fit(cost, [list(form[:4]), *starts], _FLANK_PRIOR, [0, 2, 3])


def _logistic_with_slope(p: FloatArray, x: FloatArray, jacobian: FloatArray) -> FloatArray:
    """The logistic; its derivatives by p go into the first four rows of a matrix."""
    value, slope = _sigmoid(p, x)
    np.negative(value, out=jacobian[0])
    np.multiply(-p[0], slope, out=jacobian[1:4])
    return np.asarray(1.0 - p[0] * value)


def _soft_l1(r: FloatArray, jacobian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals whose squares grow like |r| where r is large, and their derivatives."""
    root = np.sqrt(1.0 + r * r)
    soft = np.sign(r) * np.sqrt(2.0 * (root - 1.0))
    small = np.abs(r) < 1e-6
    slope = root * soft
    slope[small] = 1.0
    slope = r / slope
    slope[small] = 1.0
    jacobian *= slope
    return soft, jacobian


def _best_fit(
    cost: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    starts: list[list[float]],
    prior: tuple[FloatArray, FloatArray],
    bound: list[int],
) -> FloatArray:
    """The best of the fits from several starts; further starts only while the fit is poor.

    Args:
        cost: Weighted residuals, shape ``(m,)``, and their derivatives, shape ``(k, m)``.
        starts: Starting values.
        prior: Centre and width of the parameters that have a prior.
        bound: Which parameters those are.
    """
    # Here, since it takes 0.1 s to import; and not least_squares, whose checks around the same
    # MINPACK take longer than a fit of so few points.
    from scipy.optimize import leastsq

    centre, width = prior
    pull = np.zeros((len(starts[0]), len(bound)))
    pull[bound, np.arange(len(bound))] = 1.0 / width
    last: tuple[bytes, FloatArray, FloatArray] = (b"", pull, pull)

    def at(p: FloatArray) -> tuple[bytes, FloatArray, FloatArray]:
        """Residuals and derivatives, which MINPACK asks for one after the other."""
        nonlocal last
        key = p.tobytes()
        if key != last[0]:
            r, slope = cost(p)
            r = np.concatenate([r, (p[bound] - centre) / width])
            last = key, r, np.concatenate([slope, pull], axis=1)
        return last

    best, least = None, np.inf
    for start in starts:
        p, _, found, _, _ = leastsq(
            lambda p: at(p)[1],
            start,
            Dfun=lambda p: at(p)[2],
            col_deriv=True,
            full_output=True,
            ftol=1e-6,
            xtol=1e-6,
            gtol=1e-8,
            maxfev=100,
        )
        squares = float(np.dot(found["fvec"], found["fvec"]))
        if best is None or squares < least:
            best, least = p, squares
        if least < _GOOD_FIT * found["fvec"].size:
            break
    return np.asarray(starts[0] if best is None else best, dtype=float)


def _landmarks(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Where the fall crosses one half, and the first high loss right of the minimum."""
    lowest = int(np.argmin(y))
    left = before_half(y, lowest)
    half = x[0] if left is None else 0.5 * (x[left] + x[left + 1])
    high = np.flatnonzero((np.arange(x.size) > lowest) & (y > 0.7))
    return float(half), float(x[high[0]] if high.size else x[-1] + 0.7)


def _noise_of(x: FloatArray, residual: FloatArray, level: FloatArray) -> tuple[float, float]:
    """Noise from each residual's distance to the line through its neighbours.

    A bump that the form does not know leaves smooth residuals, noise leaves rough ones: only the
    roughness counts. Losses on the plateau hardly vary with the learning rate, those of a model
    that has learned may (fine-tuning): where enough points below half-loss go up and down,
    the noise there counts if it is larger.

    Args:
        x: log10 of learning rates, shape ``(m,)``.
        residual: Normalised losses less the form, shape ``(m,)``.
        level: The form there, shape ``(m,)``.

    Returns:
        Standard deviation of one normalised loss, over all and of a model that has learned; 0 for
        too few points.
    """
    if x.size < _ENOUGH:
        return 0.0, 0.0
    left = (x[2:] - x[1:-1]) / (x[2:] - x[:-2])
    rough = residual[1:-1] - left * residual[:-2] - (1.0 - left) * residual[2:]
    rough = rough / np.sqrt(1.0 + left**2 + (1.0 - left) ** 2)
    scatter = _MAD * float(np.median(np.abs(rough)))
    learned = rough[level[1:-1] < HALF]  # not on the wall, where every form errs
    if learned.size < _ENOUGH or np.mean(learned[1:] * learned[:-1] < 0.0) < _ALTERNATING:
        return scatter, scatter
    return scatter, max(scatter, _MAD * float(np.median(np.abs(learned))))


def _pooled(noise: float, m: int, repeats: RepeatNoise) -> float:
    """Noise from the residuals of m losses and from repeats, by their degrees of freedom.

    One repeat alone may agree by chance; many know better than residuals, which hold the form's
    error too.
    """
    degrees = _DEGREES * (m - 2) if m >= _ENOUGH else 0.0
    square = degrees * noise**2 + repeats.degrees * repeats.deviation**2
    return float(np.sqrt(square / (degrees + repeats.degrees)))


def _signal_share(residual: FloatArray, noise: float) -> float:
    """Share of the residuals' variance that noise does not explain, in [0, 1] (James-Stein)."""
    power = float(np.mean(residual**2))
    return max(0.0, 1.0 - noise**2 / power) if power > 0.0 else 0.0


def _smooth(
    x: FloatArray, residual: FloatArray, weight: FloatArray, bandwidth: float
) -> Callable[[FloatArray], FloatArray]:
    """A cubic smoothing spline of a bandwidth in decades; through the points where that is tiny.

    Weights are the local spacing: the bandwidth stays in decades however uneven the density.
    """
    if x.size < 5 or bandwidth < 0.1:
        from scipy.interpolate import PchipInterpolator  # here, since it takes 0.1 s to import

        interpolator: Callable[[FloatArray], FloatArray] = PchipInterpolator(x, residual)
        return interpolator
    from scipy.interpolate import make_smoothing_spline

    spacing = np.clip(np.gradient(x), 0.02, 0.5)
    spline: Callable[[FloatArray], FloatArray] = make_smoothing_spline(
        x, residual, w=spacing * weight, lam=bandwidth**4
    )
    return spline
