"""The learning-rate/loss curve with its window and picks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._lr_curve_info import BAND
from optuna_lrss.visualization._lr_curve_info import MARGIN
from optuna_lrss.visualization._lr_curve_info import _get_lr_curve_info
from optuna_lrss.visualization._lr_curve_info import _Longer
from optuna_lrss.visualization._lr_curve_info import _LRCurveInfo
from optuna_lrss.visualization._lr_curve_info import _Mark
from optuna_lrss.visualization._lr_curve_info import _Point
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import GREY
from optuna_lrss.visualization._style import INFERRED
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import TRIALS
from optuna_lrss.visualization._style import rounded
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


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
    are the intervals of the picks. Longer trials, which ``recommended`` and ``peak`` are read
    from, have a line of their own for each horizon.

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
    for longer in info.longer:
        figure.add_trace(_longer(go, longer))
    if info.inferred:
        figure.add_trace(_inferred(go, info))
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


def _longer(go: Any, longer: _Longer) -> Any:
    style = longer.style
    return go.Scatter(
        x=longer.lr,
        y=longer.loss,
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 1.5},
        marker={"color": style.color, "symbol": style.symbol, "size": 7},
        name=longer.label,
        hovertemplate="learning rate %{x:.3g}<br>loss %{y:.5g}<extra></extra>",
    )


def _inferred(go: Any, info: _LRCurveInfo) -> Any:
    return go.Scatter(
        x=rounded([p.lr for p in info.inferred]),
        y=rounded([p.loss for p in info.inferred]),
        error_y={"type": "data", "array": rounded([p.error for p in info.inferred])},
        mode="markers",
        marker={"color": INFERRED.color, "symbol": INFERRED.symbol, "size": 6},
        name=INFERRED.label,
        hovertemplate="inferred from trials right of it<br>learning rate %{x:.3g}<br>"
        "loss %{y:.5g}<extra></extra>",
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
            # narrow: what it takes from the plot's width, the legend's two columns lack
            "colorbar": {
                "title": {"text": "trial", "side": "right", "font": {"size": 11}},
                "tickfont": {"size": 10},
                "thickness": 8,
                "xpad": 4,
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
            f"interval {short(mark.low)} to {short(mark.high)}<extra></extra>"
        ),
    )
