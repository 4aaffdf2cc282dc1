"""The points of interest of a curve, in the paper's order (sections 3.1, 3.2).

Idea: fit the model of the curve once, then read every point off it: the minimum, the half-loss
crossing, the knee, the steepest slope. Cost: one fit, two where there is noise; some milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.fit import FORM_ERROR
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.fit import RepeatNoise
from optuna_lrss._method.fit import fit_curve
from optuna_lrss._method.knee import knee_of_fit
from optuna_lrss._method.levels import HALF
from optuna_lrss._method.levels import PLATEAU
from optuna_lrss._method.levels import QUIET
from optuna_lrss._method.levels import before_half


#: The points that a search can be asked to pin down; ``midpoint`` follows from the first two.
POINT_NAMES = ("min_lr", "max_lr", "half_loss", "steepest")
#: Loss drops of fewer noise deviations than this are taken for noise: the lowest of a few dozen
#: losses of pure noise lies two to three deviations below their mean.
_DROP_OVER_NOISE = 4.0
#: A stretch of the range without a known loss that is wider than this, in decades, has not been
#: searched: twice the usual first look.
_UNSEARCHED = 1.0


class NoWindowError(ValueError):
    """The known losses have no viable window; the message says what to change."""


class TooFewPointsError(NoWindowError):
    """Fewer than three learning rates have a finite loss."""


class NothingLearnsError(NoWindowError):
    """No learning rate brings the loss below the untrained model's by more than noise."""


class AllDivergedError(NoWindowError):
    """Every short trial diverged."""


@dataclass(frozen=True, eq=False)
class PointsOfInterest:
    """Window and picks of one curve; learning rates, not their logarithms.

    Attributes:
        min_lr: The knee, lower end of the viable window (paper 3.1).
        max_lr: The minimum of the curve, upper end of the window (paper 3.1).
        half_loss: Method 2: half of the possible loss reduction (paper 3.2.2).
        steepest: Method 3: the most negative slope (paper 3.2.3).
        baseline: Loss of the untrained model that the curve was normalised with.
        lowest: Loss at ``max_lr`` on the fitted curve.
        noise: Estimated standard deviation of one loss, as a share of ``baseline - lowest``.
        fit: The model that the points were read from.
    """

    min_lr: float
    max_lr: float
    half_loss: float
    steepest: float
    baseline: float
    lowest: float
    noise: float
    fit: CurveFit

    @property
    def midpoint(self) -> float:
        """Method 1: the log-midpoint of the window (paper 3.2.1)."""
        return float(np.sqrt(self.min_lr * self.max_lr))


def points_of_interest(
    curve: LRCurve,
    baseline: float | None = None,
    *,
    normalize: bool = True,
    search_range: tuple[float, float] | None = None,
) -> PointsOfInterest:
    """Takes every point of interest of a curve.

    Args:
        curve: The known losses.
        baseline: Loss of the untrained model (lr = 0). ``None``: the loss on the lowest plateau
            stands in.
        normalize: Whether the curvature is taken on the loss scaled to 1 (untrained) .. 0
            (lowest), over decades. ``False`` takes it on the raw loss, where the knee moves when
            the loss is multiplied by a constant.
        search_range: Lowest and highest learning rate that may be tried, which errors name;
            ``None``: those of the curve.

    Returns:
        The points, all within the range of the known learning rates.

    Raises:
        TooFewPointsError: If fewer than three learning rates have a finite loss.
        AllDivergedError: If no learning rate has.
        NothingLearnsError: If no loss lies below the baseline by more than noise.
    """
    _require_points(curve, search_range)
    if baseline is None:
        baseline = plateau_level(curve)
    fit, lowest = _fitted(curve, baseline, search_range)
    # Step 1: max_lr, the minimum of the curve.
    at_max = _minimum(curve, fit, baseline - lowest)
    # Step 2: half of the possible loss reduction, first met going left from max_lr.
    left = before_half(fit.value, at_max)
    at_half = float(fit.x[0]) if left is None else _crossing(fit.x, fit.value, left)
    # Step 3: min_lr, the knee: least curvature at or left of the half-loss point (footnote 1).
    at_knee = knee_of_fit(fit, at_half, 1.0 if normalize else baseline - lowest)
    # Step 6 (method 3): the most negative slope between the left end and max_lr.
    slope = np.gradient(fit.value, fit.x)[: at_max + 1]
    at_steepest = float(fit.x[int(np.argmin(slope))])
    return PointsOfInterest(
        min_lr=10.0**at_knee,
        max_lr=float(10.0 ** fit.x[at_max]),
        half_loss=10.0**at_half,
        steepest=10.0**at_steepest,
        baseline=baseline,
        lowest=lowest,
        noise=fit.noise,
        fit=fit,
    )


def noise_of(curve: LRCurve, baseline: float | None = None) -> float:
    """The noise of :func:`points_of_interest` alone, for half of its time.

    Args:
        curve: The known losses.
        baseline: Loss of the untrained model (lr = 0), if known.

    Raises:
        NoWindowError: If there is no viable window.
    """
    _require_points(curve, None)
    fit, _ = _fitted(curve, plateau_level(curve) if baseline is None else baseline, None)
    return fit.noise


def plateau_level(curve: LRCurve) -> float:
    """The loss on the lowest plateau, which stands in for a missing baseline.

    The leftmost finite loss, averaged with the ones next to it that differ by less than 3 % of
    the drop.
    """
    loss = curve.loss[curve.finite]
    lowest = int(np.argmin(loss))
    first, drop = loss[0], loss[0] - loss[lowest]
    level = np.abs(loss[: lowest + 1] - first) < (1.0 - PLATEAU) * drop
    end = int(np.argmin(level)) if not level.all() else level.size
    return float(np.mean(loss[: max(end, 1)]))


def _require_points(curve: LRCurve, search_range: tuple[float, float] | None) -> None:
    n_finite = int(curve.finite.sum())
    if n_finite == 0 and len(curve) >= 3:
        low = float(curve.lr[0]) if search_range is None else min(search_range[0], curve.lr[0])
        remedy = _unsearched(low, float(curve.lr[0])) or f"lower the lower bound below {low:.2g}"
        raise AllDivergedError(
            f"All {len(curve)} learning rates from {curve.lr[0]:.2g} to {curve.lr[-1]:.2g} "
            f"diverged: {remedy}, or check the loss on the untrained model."
        )
    if n_finite < 3:
        raise TooFewPointsError(
            f"{n_finite} of {len(curve)} known learning rates have a finite loss and a window "
            "needs three: run more trials, or lower the range if most of them diverge."
        )


def _unsearched(low: float, high: float) -> str:
    """What to do about a stretch of the range without a known loss; empty if it is short."""
    if math.log10(high / low) <= _UNSEARCHED:
        return ""
    return f"run more trials, since none was between {low:.2g} and {high:.2g} yet"


def _fitted(
    curve: LRCurve, baseline: float, search_range: tuple[float, float] | None
) -> tuple[CurveFit, float]:
    """The model of the curve, and the lowest loss: the model's minimum where there is noise."""
    lowest = float(curve.loss[curve.finite].min())
    _require_drop(curve, baseline, lowest, curve.repeat_noise or 0.0, search_range)
    fit = _fit_normalised(curve, baseline, lowest)
    _require_drop(curve, baseline, lowest, fit.scatter * (baseline - lowest), search_range)
    if fit.noise > QUIET:
        # The lowest of noisy losses is too low by about the noise: start over from the model's.
        lowest += float(fit.value.min()) * (baseline - lowest)
        fit = _fit_normalised(curve, baseline, lowest)
    return fit, lowest


def _fit_normalised(curve: LRCurve, baseline: float, lowest: float) -> CurveFit:
    drop = baseline - lowest
    noise = curve.repeat_noise
    repeats = None if noise is None else RepeatNoise(noise / drop, curve.repeat_degrees)
    with np.errstate(over="ignore"):  # a loss of 1e300 is as good as diverged
        yn = (curve.loss - lowest) / drop
    return fit_curve(curve.x, yn, _weights(curve), repeats)


def _weights(curve: LRCurve) -> FloatArray:
    """How many measured losses each loss is worth: inferred ones less than one, by their error."""
    weight = curve.independent.astype(float)
    if curve.error is None:
        return weight
    return weight * np.minimum((FORM_ERROR / np.maximum(curve.error, FORM_ERROR)) ** 2, 1.0)


def _require_drop(
    curve: LRCurve,
    baseline: float,
    lowest: float,
    noise: float,
    search_range: tuple[float, float] | None,
) -> None:
    drop = baseline - lowest
    tiny = 1e-12 * max(abs(baseline), abs(lowest))
    if drop > max(_DROP_OVER_NOISE * noise, tiny):
        return
    raise NothingLearnsError(
        f"Nothing learns: the lowest loss is {lowest:.6g}, the untrained model's {baseline:.6g}, "
        f"and the noise about {noise:.2g}. {_where_else(curve, search_range)}take more steps per "
        "trial, or check that the loss depends on the trained weights."
    )


def _where_else(curve: LRCurve, search_range: tuple[float, float] | None) -> str:
    """Other learning rates that may learn: higher ones, unless those diverge."""
    if not curve.finite[-1]:
        return "Higher learning rates diverge: "
    top = float(curve.lr[-1])
    high = top if search_range is None else max(search_range[1], top)
    remedy = _unsearched(top, high) or f"raise the upper bound above {high:.2g}"
    return remedy[0].upper() + remedy[1:] + ", "


def _minimum(curve: LRCurve, fit: CurveFit, drop: float) -> int:
    """Index of max_lr on the grid: the model's minimum, near a loss that may be the lowest.

    Without noise only the lowest measured loss may be; with noise all that lie within one and a
    half standard errors of it. Ties go to the smallest learning rate.
    """
    loss = np.where(curve.finite & curve.measured, curve.loss, np.inf)
    lowest = int(np.argmin(loss))
    ties = np.flatnonzero(loss == loss[lowest])
    if ties.size > 1:
        return int(np.argmin(np.abs(fit.x - curve.x[lowest])))
    n = curve.independent
    error = fit.noise * np.sqrt(1.0 / n + 1.0 / n[lowest])
    with np.errstate(over="ignore"):
        candidates = np.flatnonzero((loss - loss[lowest]) / drop <= 1.5 * error)
    middles = 0.5 * (curve.x[1:] + curve.x[:-1])
    left = np.concatenate([[-np.inf], middles])[candidates]
    right = np.concatenate([middles, [np.inf]])[candidates]
    near = ((fit.x >= left[:, None]) & (fit.x <= right[:, None])).any(axis=0)
    return int(np.argmin(np.where(near, fit.value, np.inf)))


def _crossing(x: FloatArray, value: FloatArray, i: int) -> float:
    """Where the line from grid point i to i + 1 crosses one half."""
    if value[i + 1] == value[i]:  # both one half, where noise leaves hardly a fall
        return float(x[i + 1])
    share = (value[i] - HALF) / (value[i] - value[i + 1])
    return float(x[i] + share * (x[i + 1] - x[i]))
