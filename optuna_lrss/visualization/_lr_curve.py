"""The learning-rate/loss curve with its window and picks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.levels import WALL
from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._source import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import GREY
from optuna_lrss.visualization._style import PICKS
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import TRIALS
from optuna_lrss.visualization._style import rounded
from optuna_lrss.visualization._style import short
from optuna_lrss.visualization._style import window_label


if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


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


class _Mark(NamedTuple):
    """A pick or window edge on the curve, and its known neighbours."""

    name: str
    lr: float
    loss: float
    low: float
    high: float


class _LRCurveInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    loss_label: str
    points: list[_Point]
    line: tuple[list[float], list[float]]  # learning rates, losses; nan = gap
    noise: float | None  # standard deviation of one loss, where it was measured by repeats
    baseline: float | None
    window: tuple[float, float] | None
    marks: list[_Mark]
    loss_range: tuple[float, float]
    reason: str


def plot_lr_curve(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Figure:
    """Plots the losses of the short trials with the viable window and the picks.

    Trials are coloured by their order; what diverged, or lies far above the untrained model, is
    pinned to the top edge. The line is the model that the points of interest were read from, with
    a band of one standard deviation of one loss where repeats have measured it. Horizontal bars
    reach from each pick to its known neighbours.

    Args:
        study_or_result: A study, or an analysis.
        param_name: Name of the learning rate in a study; default ``"lr"``.
        configuration: In a study, values of the other parameters whose curve is wanted; default
            the configuration with the lowest loss.

    Returns:
        A plotly figure; without title and trials a study gives an empty one and a warning.

    Raises:
        ValueError: If options come with an analysis, or the study has several objectives or no
            such configuration.
    """
    info = _get_lr_curve_info(read(study_or_result, param_name, configuration))
    return _get_lr_curve_plot(info)


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
        line=_line(source, high),
        noise=_noise(source),
        baseline=source.baseline,
        window=None if source.result is None else (source.result.min_lr, source.result.max_lr),
        marks=_marks(source),
        loss_range=(low, high),
        reason=source.reason,
    )


def _subtitle(source: Source) -> str:
    result = source.result
    if result is None:
        return "no viable window"
    state = "" if result.resolved else ", not resolved yet"
    window = window_label(result.min_lr, result.max_lr)
    return f"{window}, {result.n_trials} short trials{state}"


def _level(source: Source) -> float:
    """The loss that the drop is measured from: the untrained model's, else the first finite."""
    if source.baseline is not None:
        return source.baseline
    finite = source.curve.loss[source.curve.finite]
    return float(finite[0]) if finite.size else 1.0


def _loss_range(source: Source, level: float) -> tuple[float, float]:
    finite = source.curve.loss[source.curve.finite]
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


def model(result: LRAnalysis, thin: int = _THIN) -> tuple[FloatArray, FloatArray]:
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
    x, loss = model(result, thin=1)
    known = np.isfinite(loss)
    return [
        _Mark(
            name,
            lr := float(getattr(result, name)),
            float(np.interp(math.log10(lr), x[known], loss[known])),
            *result.brackets[name],
        )
        for name in (*PICKS, "min_lr", "max_lr")
    ]


# --- plotly -----------------------------------------------------------------------------------


def _get_lr_curve_plot(info: _LRCurveInfo) -> Figure:
    go = _plotly.graph_objects()
    figure = _plotly.figure(info.title, info.subtitle)
    if not info.points:
        warn_empty("plot_lr_curve", info.reason)
        return figure
    _plotly.lr_axis(figure, info.lr_label)
    low, high = info.loss_range
    figure.update_yaxes(title_text=info.loss_label, range=[low, high + MARGIN * (high - low)])
    _plotly.window(figure, info.window)
    if info.baseline is not None:
        figure.add_hline(info.baseline, line={"color": GREY, "dash": "dot", "width": 1})
        figure.add_annotation(
            text="untrained", x=1, xref="paper", xanchor="right", y=info.baseline,
            yanchor="bottom", showarrow=False, font_size=11,
        )  # fmt: skip
    if info.noise is not None:
        figure.add_trace(_band(go, info))
    lr, loss = info.line
    figure.add_trace(
        go.Scatter(
            x=lr, y=loss, mode="lines", line={"color": GREY, "width": 1.5}, hoverinfo="skip",
            name="curve", connectgaps=False,
        )
    )  # fmt: skip
    for trace in _trials(go, info):
        figure.add_trace(trace)
    for mark in info.marks:
        _plotly.vertical(figure, mark.lr, POINTS[mark.name])
        figure.add_trace(_mark(go, mark))
    if info.reason:
        _plotly.note(figure, info.reason)
    return figure


def _band(go: Any, info: _LRCurveInfo) -> Any:
    lr, loss = (np.asarray(v) for v in info.line)
    lr, loss = lr[np.isfinite(loss)], loss[np.isfinite(loss)]
    edge = np.concatenate([loss + info.noise, (loss - info.noise)[::-1]])
    return go.Scatter(
        x=rounded(np.concatenate([lr, lr[::-1]]).tolist()),
        y=rounded(edge.tolist()),
        fill="toself",
        mode="none",
        fillcolor="rgba(128,128,128,0.3)",
        hoverinfo="skip",
        name=BAND,
    )


def _trials(go: Any, info: _LRCurveInfo) -> list[Any]:
    """Short trials, coloured by order; pinned ones as open triangles at the top edge."""
    numbers = [p.number for p in info.points]
    traces = []
    for pinned, style in TRIALS.items():
        points = [p for p in info.points if p.pinned == pinned]
        if not points:
            continue
        marker = {
            "color": [p.number for p in points],
            "cmin": min(numbers),
            "cmax": max(numbers),
            "colorscale": "Cividis",
            "symbol": style.symbol,
            "size": 9 if pinned else 7,
            "line": {"width": 1, "color": GREY},
            "showscale": not pinned or len(points) == len(numbers),
            "colorbar": {
                "title": {"text": "trial"},
                "thickness": 10,
                "len": 0.8,
                "outlinewidth": 0,
            },
        }
        traces.append(
            go.Scatter(
                x=[p.lr for p in points],
                y=rounded([p.y for p in points]),
                mode="markers",
                marker=marker,
                cliponaxis=False,
                name=style.label,
                text=[_hover(p) for p in points],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return traces


def _hover(point: _Point) -> str:
    loss = "diverged" if math.isinf(point.loss) else f"loss {point.loss:.5g}"
    return f"trial {point.number}<br>learning rate {short(point.lr)}<br>{loss}"


def _mark(go: Any, mark: _Mark) -> Any:
    style = POINTS[mark.name]
    return go.Scatter(
        x=[mark.lr],
        y=rounded([mark.loss]),
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 1.5},
        marker={
            "color": style.color,
            "symbol": style.symbol,
            "size": 12,
            "line": {"width": 1, "color": "#ffffff"},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [mark.high - mark.lr],
            "arrayminus": [mark.lr - mark.low],
            "thickness": 1.2,
            "width": 4,
        },
        name=style.at(mark.lr),
        hovertemplate=(
            f"{style.label}<br>learning rate {short(mark.lr)}<br>"
            f"known neighbours {short(mark.low)} to {short(mark.high)}<extra></extra>"
        ),
    )
