"""Slope and curvature under the curve (the paper's Figures 4 and 7), in matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization._lr_curvature import _get_lr_curvature_info
from optuna_lrss.visualization._lr_curvature import _LRCurvatureInfo
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import GREY
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization.matplotlib import _axes


if TYPE_CHECKING:
    from optuna.study import Study

    from optuna_lrss._result.lr_analysis import LRAnalysis


def plot_lr_curvature(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Any:
    """Plots the curve, its slope and its curvature, and the points that are read off each.

    See :func:`optuna_lrss.visualization.plot_lr_curvature` for what is drawn, the
    arguments and the errors.

    Returns:
        An array of three axes, shape ``(3,)``: curve, slope, curvature.
    """
    info = _get_lr_curvature_info(read(study_or_result, param_name, configuration))
    return _get_lr_curvature_axes(info)


def _get_lr_curvature_axes(info: _LRCurvatureInfo) -> Any:
    axes = _axes.axes(info.title, info.subtitle, rows=3, height=7.0)
    if not info.rows:
        warn_empty("plot_lr_curvature", info.reason)
        _axes.note(axes[0], info.reason)
        return axes
    axes[0].plot(*zip(*info.trials, strict=True), "o", color=GREY, ms=4, label="short trials")
    for ax, row in zip(axes, info.rows, strict=True):
        ax.plot(info.lr, row.values, "-", color=GREY, lw=1.8)
        _axes.window(ax, info.window)
        for name, lr, value in row.marks:
            style = POINTS[name]
            ax.plot(
                lr,
                value,
                color=style.color,
                marker=style.marker,
                **_axes.outline(style),
                ls=style.linestyle,
                ms=8,
                label=style.at(lr),
            )
            for other in axes:
                _axes.vertical(other, lr, style)
        ax.set(xscale="log", ylim=row.value_range, ylabel=row.label.replace("<br>", "\n"))
    axes[-1].set_xlabel(info.lr_label)
    _axes.legend(*axes)
    return axes
