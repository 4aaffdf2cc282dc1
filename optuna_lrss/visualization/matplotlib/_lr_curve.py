"""The learning-rate/loss curve with its window and picks, in matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_lrss.visualization._lr_curve_info import BAND
from optuna_lrss.visualization._lr_curve_info import MARGIN
from optuna_lrss.visualization._lr_curve_info import _get_lr_curve_info
from optuna_lrss.visualization._lr_curve_info import _LRCurveInfo
from optuna_lrss.visualization._lr_curve_info import _Mark
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import GREY
from optuna_lrss.visualization._style import INFERRED
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import TRIALS
from optuna_lrss.visualization.matplotlib import _axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_lrss._result.lr_analysis import LRAnalysis


def plot_lr_curve(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Axes:
    """Plots the losses of the short trials with the viable window and the picks.

    See :func:`optuna_lrss.visualization.plot_lr_curve` for what is drawn, the
    arguments and the errors.

    Returns:
        The axes.
    """
    info = _get_lr_curve_info(read(study_or_result, param_name, configuration))
    return _get_lr_curve_axes(info)


def _get_lr_curve_axes(info: _LRCurveInfo) -> Axes:
    (ax,) = _axes.axes(info.title, info.subtitle)
    if not info.points:
        warn_empty("plot_lr_curve", info.reason)
        return ax  # type: ignore[no-any-return]
    low, high = info.loss_range
    ax.set(
        xscale="log",
        xlabel=info.lr_label,
        ylabel=info.loss_label,
        ylim=(low, high + MARGIN * (high - low)),
    )
    _axes.window(ax, info.window)
    if info.baseline is not None:
        ax.axhline(info.baseline, color=GREY, ls=":", lw=1)
        ax.annotate(
            "untrained", (1, info.baseline), xycoords=("axes fraction", "data"), ha="right",
            va="bottom", fontsize="small", xytext=(-3, 2), textcoords="offset points",
        )  # fmt: skip
    _draw_line(ax, info)
    if info.inferred:
        _draw_inferred(ax, info)
    _draw_trials(ax, info)
    for mark in info.marks:
        _draw_mark(ax, mark)
    if info.reason:
        _axes.note(ax, info.reason)
    _axes.legend(ax)
    return ax  # type: ignore[no-any-return]


def _draw_line(ax: Axes, info: _LRCurveInfo) -> None:
    lr, loss = (np.asarray(v) for v in info.line)
    if info.noise is not None:
        band = (loss - info.noise, loss + info.noise)
        ax.fill_between(lr, *band, color=GREY, alpha=0.3, lw=0, label=BAND)
    ax.plot(lr, loss, "-", color=GREY, lw=1.5, label="curve")
    for longer in info.longer:
        style = longer.style
        look: dict[str, Any] = {"ls": style.linestyle, "marker": style.marker, "ms": 5}
        ax.plot(longer.lr, longer.loss, color=style.color, lw=1.5, label=longer.label, **look)


def _draw_inferred(ax: Axes, info: _LRCurveInfo) -> None:
    lr, loss, error = np.asarray(info.inferred).T
    ax.errorbar(lr, loss, yerr=error, fmt="none", ecolor=INFERRED.color, elinewidth=0.8)
    ax.scatter(
        lr,
        loss,
        s=22,
        marker=INFERRED.marker,
        facecolors="none",
        edgecolors=INFERRED.color,
        zorder=2.5,
        label=INFERRED.label,
    )


def _draw_trials(ax: Axes, info: _LRCurveInfo) -> None:
    numbers = [p.number for p in info.points]
    scale: dict[str, Any] = {"cmap": "cividis", "vmin": min(numbers), "vmax": max(numbers)}
    drawn = None
    for pinned, style in TRIALS.items():
        points = [p for p in info.points if p.pinned == pinned]
        if points:
            drawn = ax.scatter(
                [p.lr for p in points],
                [p.y for p in points],
                c=[p.number for p in points],
                s=45 if pinned else 28,
                marker=style.marker,
                edgecolors=GREY,
                linewidths=0.8,
                zorder=3,
                label=style.label,
                **scale,
            )
    if drawn is not None and len(numbers) > 1:
        ax.figure.colorbar(drawn, ax=ax, label="trial", aspect=30, pad=0.02)


def _draw_mark(ax: Axes, mark: _Mark) -> None:
    style = POINTS[mark.name]
    _axes.vertical(ax, mark.lr, style)
    ax.errorbar(
        mark.lr,
        mark.loss,
        xerr=[[mark.lr - mark.low], [mark.high - mark.lr]],
        color=style.color,
        marker=style.marker,
        ms=11 if style.marker == "*" else 7,
        **_axes.outline(style),
        ls=style.linestyle,
        elinewidth=1.2,
        capsize=3,
        zorder=4,
        label=style.at(mark.lr),
    )
