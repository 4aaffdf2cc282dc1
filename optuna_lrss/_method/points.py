"""The points of interest of a curve, in the paper's order (sections 3.1, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.fit import fit_curve


#: The points that a search can be asked to pin down; ``midpoint`` follows from the first two.
POINT_NAMES = ("min_lr", "max_lr", "half_loss", "steepest")
#: Width of the Gaussian that ``recommended`` smooths the curve with, in decades.
SMOOTHING = 0.2
#: Below this noise (share of the loss drop) measured losses are taken at their word.
_QUIET = 0.002
#: Loss drops of fewer noise deviations than this are taken for noise.
_DROP_OVER_NOISE = 4.0


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
    curve: LRCurve, baseline: float | None = None, *, normalize: bool = True
) -> PointsOfInterest:
    """Takes every point of interest of a curve.

    Args:
        curve: The known losses.
        baseline: Loss of the untrained model (lr = 0). ``None``: the loss on the lowest plateau
            stands in.
        normalize: Whether the curvature is taken on the loss scaled to 1 (untrained) .. 0
            (lowest), over decades. ``False`` takes it on the raw loss, where the knee moves when
            the loss is multiplied by a constant.

    Returns:
        The points, all within the range of the known learning rates.

    Raises:
        TooFewPointsError: If fewer than three learning rates have a finite loss.
        AllDivergedError: If no learning rate has.
        NothingLearnsError: If no loss lies below the baseline by more than noise.
    """
    _require_points(curve)
    if baseline is None:
        baseline = plateau_level(curve)
    fit, lowest = _fitted(curve, baseline)
    # Step 1: max_lr, the minimum of the curve.
    at_max = _minimum(curve, fit, baseline - lowest)
    # Step 2: half of the possible loss reduction, first met going left from max_lr.
    above = np.flatnonzero(fit.value[:at_max] >= 0.5)
    at_half = _crossing(fit.x, fit.value, int(above[-1])) if above.size else float(fit.x[0])
    # Step 3: min_lr, the knee: least curvature at or left of the half-loss point (footnote 1).
    curvature = flank_curvature(fit, 1.0 if normalize else baseline - lowest)
    left = fit.x <= at_half
    at_knee = float(fit.x[left][np.argmin(curvature[left])])
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


def flank_curvature(fit: CurveFit, scale: float = 1.0) -> FloatArray:
    """Signed curvature k = y'' / (1 + y'^2)^(3/2) of the left flank (paper, equation 1).

    Args:
        fit: The model of the curve.
        scale: Factor from normalised to the wanted loss; 1 keeps the normalised loss.

    Returns:
        Curvature on ``fit.x``, shape ``(g,)``, with x in decades.
    """
    slope = np.gradient(fit.flank * scale, fit.x)
    bend = np.gradient(slope, fit.x)
    with np.errstate(over="ignore"):
        return np.asarray(bend / np.hypot(1.0, slope) ** 3)


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
    from scipy.ndimage import gaussian_filter1d  # here, since it takes 0.1 s to import

    step = 0.02
    with np.errstate(over="ignore"):
        yn = np.minimum((curve.loss - lowest) / (baseline - lowest), 2.0)
    pad = 5.0 * SMOOTHING  # the ends continue level, as far as the Gaussian reaches
    grid = np.arange(curve.x[0] - pad, curve.x[-1] + pad + step, step)
    smooth = gaussian_filter1d(np.interp(grid, curve.x, yn), SMOOTHING / step, mode="nearest")
    known = (grid >= curve.x[0] - step / 2) & (grid <= curve.x[-1] + step / 2)
    grid, smooth = grid[known], smooth[known]
    at_max = int(np.argmin(smooth))
    yn = (smooth - smooth[at_max]) / max(1.0 - smooth[at_max], 1e-12)
    above = np.flatnonzero(yn[: at_max + 1] >= 0.5)
    at_half = int(above[-1]) if above.size else 0
    slope = np.gradient(yn, grid)
    curvature = np.gradient(slope, grid) / (1.0 + slope**2) ** 1.5
    from_x = -np.inf if min_lr is None else np.log10(min_lr) - 2.0 * SMOOTHING
    first = min(int(np.searchsorted(grid, from_x)), at_half)
    at_knee = first + int(np.argmin(curvature[first : at_half + 1]))
    midpoint = 10.0 ** float(0.5 * (grid[at_knee] + grid[at_max]))
    return float(midpoint * (momentum_lag(momentum, steps) if lag is None else lag))


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


def plateau_level(curve: LRCurve) -> float:
    """The loss on the lowest plateau, which stands in for a missing baseline.

    The leftmost finite loss, averaged with the ones next to it that differ by less than 3 % of
    the drop.
    """
    loss = curve.loss[curve.finite]
    lowest = int(np.argmin(loss))
    first, drop = loss[0], loss[0] - loss[lowest]
    level = np.abs(loss[: lowest + 1] - first) < 0.03 * drop
    end = int(np.argmin(level)) if not level.all() else level.size
    return float(np.mean(loss[: max(end, 1)]))


def _require_points(curve: LRCurve) -> None:
    n_finite = int(curve.finite.sum())
    if n_finite == 0 and len(curve) >= 3:
        raise AllDivergedError(
            f"All {len(curve)} learning rates from {curve.lr[0]:.2g} to {curve.lr[-1]:.2g} "
            "diverged: lower the range, or check the loss on the untrained model."
        )
    if n_finite < 3:
        raise TooFewPointsError(
            f"{n_finite} of {len(curve)} known learning rates have a finite loss and a window "
            "needs three: run more trials, or lower the range if most of them diverge."
        )


def _fitted(curve: LRCurve, baseline: float) -> tuple[CurveFit, float]:
    """The model of the curve, and the lowest loss: the model's minimum where there is noise."""
    lowest = float(curve.loss[curve.finite].min())
    noise = curve.repeat_noise
    _require_drop(curve, baseline, lowest, 0.0 if noise is None else noise)
    fit = _fit_normalised(curve, baseline, lowest, noise)
    _require_drop(curve, baseline, lowest, fit.noise * (baseline - lowest))
    if fit.noise > _QUIET:
        # The lowest of noisy losses is too low by about the noise: start over from the model's.
        lowest += float(fit.value.min()) * (baseline - lowest)
        fit = _fit_normalised(curve, baseline, lowest, noise)
    return fit, lowest


def _fit_normalised(
    curve: LRCurve, baseline: float, lowest: float, noise: float | None
) -> CurveFit:
    drop = baseline - lowest
    share = None if noise is None else noise / drop
    with np.errstate(over="ignore"):  # a loss of 1e300 is as good as diverged
        yn = (curve.loss - lowest) / drop
    return fit_curve(curve.x, yn, curve.count.astype(float), share)


def _require_drop(curve: LRCurve, baseline: float, lowest: float, noise: float) -> None:
    drop = baseline - lowest
    tiny = 1e-12 * max(abs(baseline), abs(lowest))
    if drop > max(_DROP_OVER_NOISE * noise, tiny):
        return
    raise NothingLearnsError(
        f"Nothing learns: the lowest loss is {lowest:.6g}, the untrained model's {baseline:.6g}, "
        f"and the noise about {noise:.2g}. Take more steps per trial, raise the upper bound above "
        f"{curve.lr[-1]:.2g}, or check that the loss depends on the trained weights."
    )


def _minimum(curve: LRCurve, fit: CurveFit, drop: float) -> int:
    """Index of max_lr on the grid: the model's minimum, near a loss that may be the lowest.

    Without noise only the lowest measured loss may be; with noise all that lie within one and a
    half standard errors of it. Ties go to the smallest learning rate.
    """
    loss = np.where(curve.finite, curve.loss, np.inf)
    lowest = int(np.argmin(loss))
    ties = np.flatnonzero(loss == loss[lowest])
    if ties.size > 1:
        return int(np.argmin(np.abs(fit.x - curve.x[lowest])))
    error = fit.noise * np.sqrt(1.0 / curve.count + 1.0 / curve.count[lowest])
    with np.errstate(over="ignore"):
        candidates = np.flatnonzero((loss - loss[lowest]) / drop <= 1.5 * error)
    middles = 0.5 * (curve.x[1:] + curve.x[:-1])
    left = np.concatenate([[-np.inf], middles])[candidates]
    right = np.concatenate([middles, [np.inf]])[candidates]
    near = ((fit.x >= left[:, None]) & (fit.x <= right[:, None])).any(axis=0)
    return int(np.argmin(np.where(near, fit.value, np.inf)))


def _crossing(x: FloatArray, value: FloatArray, i: int) -> float:
    """Where the line from grid point i to i + 1 crosses one half."""
    share = (value[i] - 0.5) / (value[i] - value[i + 1])
    return float(x[i] + share * (x[i + 1] - x[i]))
