"""What the plot of a curve shows, before anything is drawn."""

from __future__ import annotations

import math
from itertools import cycle
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.levels import WALL
from optuna_lrss._result.data import AnalysisData
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._style import LONGER
from optuna_lrss.visualization._style import PICKS
from optuna_lrss.visualization._style import Style
from optuna_lrss.visualization._style import rounded
from optuna_lrss.visualization._style import window_label


#: Every so manieth point of the model is drawn: it has one per 0.005 decades.
_THIN = 4
#: Free space at the edges of the loss axis, as a share of the drop.
MARGIN = 0.06
#: Name of the band of one standard deviation.
BAND = "± noise of one trial"
#: The model levels off at its cap, where a loss has diverged: that part is not drawn.
_NEAR_WALL = 0.98 * WALL


class _Point(NamedTuple):
    """One short trial; ``y`` is where it is drawn, the top edge if its loss is beyond it."""

    number: int
    lr: float
    loss: float
    y: float

    @property
    def pinned(self) -> bool:
        return self.y != self.loss


class _Inferred(NamedTuple):
    """A loss that no trial measured but others passed through, and its expected error."""

    lr: float
    loss: float
    error: float


class _Mark(NamedTuple):
    """A pick or window edge on the curve, and its interval."""

    name: str
    lr: float
    loss: float
    low: float
    high: float


class _Longer(NamedTuple):
    """Losses of the longer trials at one horizon; nan where they diverged, or lie too high."""

    label: str
    lr: list[float]
    loss: list[float]
    style: Style


class _LRCurveInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    loss_label: str
    points: list[_Point]
    inferred: list[_Inferred]
    line: tuple[list[float], list[float]]  # learning rates, losses; nan = gap
    noise: float | None  # standard deviation of one loss, where it was measured by repeats
    baseline: float | None
    window: tuple[float, float] | None
    marks: list[_Mark]
    loss_range: tuple[float, float]
    reason: str
    longer: list[_Longer]


def _get_lr_curve_info(source: Source) -> _LRCurveInfo:
    level = _level(source)
    low, high = _loss_range(source, level)
    return _LRCurveInfo(
        title="Learning-rate curve",
        subtitle=_subtitle(source),
        lr_label=source.lr_label,
        loss_label=source.loss_label,
        points=[
            _Point(number, lr, loss, loss if loss <= high else high)
            for number, lr, loss in source.trials
            if not math.isnan(loss)
        ],
        inferred=_inferred(source),
        line=_line(source, high),
        noise=_noise(source),
        baseline=source.baseline,
        window=None if source.result is None else (source.result.min_lr, source.result.max_lr),
        marks=_marks(source),
        loss_range=(low, high),
        reason=source.reason,
        longer=_longer(source, high),
    )


def _inferred(source: Source) -> list[_Inferred]:
    result = source.result
    if result is None:
        return []
    drop = result.baseline - result.lowest
    return [_Inferred(lr, loss, error * drop) for lr, loss, error in result.inferred]


def _subtitle(source: Source) -> str:
    result = source.result
    if result is None:
        return "no viable window"
    state = "" if result.resolved else ", not resolved yet"
    window = window_label(result.min_lr, result.max_lr)
    trials = "trials" if result.longer else "short trials"
    return f"{window}, {result.n_trials} {trials}{state}"


def _level(source: Source) -> float:
    """The loss that the drop is measured from: the untrained model's, else the first finite."""
    if source.baseline is not None:
        return source.baseline
    finite = source.curve.loss[source.curve.finite]
    return float(finite[0]) if finite.size else 1.0


def _loss_range(source: Source, level: float) -> tuple[float, float]:
    longer = () if source.result is None else source.result.longer.values()
    finite = np.concatenate([curve.loss[curve.finite] for curve in (source.curve, *longer)])
    lowest = float(finite.min()) if finite.size else level
    drop = max(level - lowest, 0.05 * abs(level), 1e-12)
    return min(lowest, level) - MARGIN * drop, level + (WALL - 1.0) * drop


def _line(source: Source, high: float) -> tuple[list[float], list[float]]:
    """The model of the curve, or straight lines between the losses where there is none."""
    result = source.result
    if result is None:
        loss = np.where(source.curve.loss <= high, source.curve.loss, np.nan)
        return source.curve.lr.tolist(), loss.tolist()
    x, value = model(result)
    loss = np.where(value < high, value, np.nan)
    return rounded((10.0**x).tolist()), rounded(loss.tolist())


def _longer(source: Source, high: float) -> list[_Longer]:
    result = source.result
    if result is None:
        return []
    return [
        _Longer(
            f"after {steps} steps",
            rounded(curve.lr.tolist()),
            rounded(np.where(curve.loss <= high, curve.loss, np.nan).tolist()),
            style,
        )
        for (steps, curve), style in zip(result.longer.items(), cycle(LONGER), strict=False)
    ]


def model(result: AnalysisData, thin: int = _THIN) -> tuple[FloatArray, FloatArray]:
    """The fitted curve in units of the loss: log10 of learning rates, losses (nan = diverged)."""
    fit = result.fit
    loss = result.lowest + fit.value * (result.baseline - result.lowest)
    loss = np.where(fit.value < _NEAR_WALL, loss, np.nan)
    return fit.x[::thin], loss[::thin]


def _noise(source: Source) -> float | None:
    result = source.result
    if result is None or result.curve.repeat_noise is None:
        return None
    return result.noise * (result.baseline - result.lowest)


def _marks(source: Source) -> list[_Mark]:
    result = source.result
    if result is None:
        return []
    intervals = result.intervals
    x, loss = model(result, thin=1)
    known, intervals = np.isfinite(loss), result.intervals
    return [
        _Mark(
            name,
            lr := float(getattr(result, name)),
            float(np.interp(math.log10(lr), x[known], loss[known])),
            *intervals[name],
        )
        for name in (*PICKS, "min_lr", "max_lr")
    ]
