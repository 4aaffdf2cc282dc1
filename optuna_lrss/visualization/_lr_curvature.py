"""Slope and curvature under the curve (the paper's Figures 4 and 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.fit import STEP
from optuna_lrss._method.knee import flank_curvature
from optuna_lrss._method.levels import WALL
from optuna_lrss._result.data import AnalysisData
from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import GREY
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import rounded
from optuna_lrss.visualization._style import short
from optuna_lrss.visualization._style import window_label


if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


#: How far right of max_lr slopes still set the range of their axis, in decades: beyond, the
#: divergence wall would flatten everything else.
_BEYOND = 0.25
#: The points that are read off each row.
_READ_OFF = (("max_lr", "half_loss"), ("steepest",), ("min_lr",))


class _Row(NamedTuple):
    """One function of the learning rate."""

    label: str
    values: list[float]
    marks: list[tuple[str, float, float]]  # name, learning rate, value
    value_range: tuple[float, float]


class _LRCurvatureInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    lr: list[float]
    rows: list[_Row]
    trials: list[tuple[float, float]]  # learning rate, normalised loss
    window: tuple[float, float] | None
    reason: str


def plot_lr_curvature(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Figure:
    """Plots the curve, its slope and its curvature, and the points that are read off each.

    The minimum of the curve is max_lr and its middle half-loss; the minimum of the slope is the
    steepest pick (paper, Figure 7); the minimum of the left flank's curvature is min_lr (paper,
    Figure 4).

    Args:
        study_or_result: A study, or an analysis.
        param_name: Name of the learning rate in a study; default ``"lr"``.
        configuration: In a study, values of the other parameters; default the best configuration.

    Returns:
        A plotly figure of three rows; empty, with a warning, where there is no viable window.

    Raises:
        ValueError: If options come with an analysis, or the study has several objectives or no
            such configuration.
    """
    info = _get_lr_curvature_info(read(study_or_result, param_name, configuration))
    return _get_lr_curvature_plot(info)


def _get_lr_curvature_info(source: Source) -> _LRCurvatureInfo:
    info = _LRCurvatureInfo(
        title="Slope and curvature of the learning-rate curve",
        subtitle="no viable window",
        lr_label=source.lr_label,
        lr=[],
        rows=[],
        trials=[],
        window=None,
        reason=source.reason,
    )
    result = source.result
    if result is None:
        return info
    scale = 1.0 if result.normalize else result.baseline - result.lowest
    fit = result.fit
    value = np.where(fit.value < WALL, fit.value, np.nan)
    slope = np.gradient(value, fit.x)
    near = fit.x <= math.log10(result.max_lr) + _BEYOND
    # Where the flank ends its remainder stops short, a kink that says nothing about the curve.
    curvature = np.where(fit.x < fit.flank_end - STEP, flank_curvature(fit, scale), np.nan)
    labels = (
        "loss, share<br>of the drop",
        "slope<br>per decade",
        "curvature of<br>the left flank",
    )
    rows = zip(labels, (value, slope, curvature), _READ_OFF, strict=True)
    yn = (result.curve.loss - result.lowest) / (result.baseline - result.lowest)
    return info._replace(
        subtitle=window_label(result.min_lr, result.max_lr),
        lr=rounded((10.0**fit.x).tolist()),
        rows=[_row(label, y, fit.x, near, result, names) for label, y, names in rows],
        trials=[
            (float(lr), float(y)) for lr, y in zip(result.curve.lr, yn, strict=True) if y < WALL
        ],
        window=(result.min_lr, result.max_lr),
    )


def _row(
    label: str,
    values: FloatArray,
    x: FloatArray,
    near: Any,
    result: AnalysisData,
    names: tuple[str, ...],
) -> _Row:
    known = np.isfinite(values)
    shown = values[known & near]
    margin = 0.12 * float(np.ptp(shown)) + 1e-12
    lrs = [float(getattr(result, name)) for name in names]
    at = [float(np.interp(math.log10(lr), x[known], values[known])) for lr in lrs]
    return _Row(
        label=label,
        values=rounded(values.tolist()),
        marks=list(zip(names, lrs, at, strict=True)),
        value_range=(float(shown.min()) - margin, float(shown.max()) + margin),
    )


# --- plotly -----------------------------------------------------------------------------------


def _get_lr_curvature_plot(info: _LRCurvatureInfo) -> Figure:
    go = _plotly.graph_objects()
    figure = _plotly.figure(info.title, info.subtitle)
    if not info.rows:
        warn_empty("plot_lr_curvature", info.reason)
        _plotly.note(figure, info.reason)
        return figure
    _plotly.stack(figure, len(info.rows), info.lr_label)
    for i, row in enumerate(info.rows, start=1):
        axis = {"yaxis": f"y{i}", "xaxis": "x"}
        if i == 1:
            figure.add_trace(_dots(go, info).update(axis))
        figure.add_trace(
            go.Scatter(
                x=info.lr, y=row.values, mode="lines", line={"color": GREY, "width": 1.8},
                showlegend=False, connectgaps=False, **axis,
                hovertemplate="learning rate %{x:.3g}<br>%{y:.3g}<extra></extra>",
            )
        )  # fmt: skip
        for name, lr, value in row.marks:
            figure.add_trace(_mark(go, name, lr, value).update(axis))
            _plotly.vertical(figure, lr, POINTS[name])
        figure.update_layout(
            {f"yaxis{i}": {"title": {"text": row.label}, "range": list(row.value_range)}}
        )
    _plotly.window(figure, info.window)
    figure.update_layout(height=600)
    return figure


def _dots(go: Any, info: _LRCurvatureInfo) -> Any:
    return go.Scatter(
        x=[lr for lr, _ in info.trials],
        y=rounded([y for _, y in info.trials]),
        mode="markers",
        marker={"color": GREY, "size": 5, "symbol": "circle"},
        name="short trials",
        hovertemplate="learning rate %{x:.3g}<br>%{y:.3g} of the drop<extra></extra>",
    )


def _mark(go: Any, name: str, lr: float, value: float) -> Any:
    style = POINTS[name]
    return go.Scatter(
        x=[lr],
        y=rounded([value]),
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 1.2},
        marker={"color": style.color, "symbol": style.symbol, "size": 11},
        name=style.at(lr),
        hovertemplate=f"{style.label}<br>learning rate {short(lr)}<extra></extra>",
    )
