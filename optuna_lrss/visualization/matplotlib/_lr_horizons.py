"""The picks at each snapshot step, in matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization._lr_horizons import STEPS_LABEL
from optuna_lrss.visualization._lr_horizons import _get_lr_horizons_info
from optuna_lrss.visualization._lr_horizons import _LRHorizonsInfo
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import WINDOW_COLOR
from optuna_lrss.visualization.matplotlib import _axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_lrss._result.lr_analysis import LRAnalysis


def plot_lr_horizons(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Axes:
    """Plots the window and the picks over the number of steps they were measured after.

    See :func:`optuna_lrss.visualization.plot_lr_horizons` for what is drawn, the
    arguments and the errors.

    Returns:
        The axes.
    """
    info = _get_lr_horizons_info(read(study_or_result, param_name, configuration))
    return _get_lr_horizons_axes(info)


def _get_lr_horizons_axes(info: _LRHorizonsInfo) -> Axes:
    (ax,) = _axes.axes(info.title, info.subtitle)
    if not info.steps:
        warn_empty("plot_lr_horizons", info.reason)
        _axes.note(ax, info.reason)
        return ax  # type: ignore[no-any-return]
    ax.set(xscale="log", yscale="log", xlabel=STEPS_LABEL, ylabel=info.lr_label)
    ax.set_xticks(info.steps, labels=[str(s) for s in info.steps])
    ax.set_xticks([], minor=True)
    ax.fill_between(info.steps, *info.window, color=WINDOW_COLOR, alpha=0.2, lw=0, label="window")
    for name, lrs in info.picks.items():
        style = POINTS[name]
        ax.plot(
            info.steps,
            lrs,
            color=style.color,
            ls=style.linestyle,
            marker=style.marker,
            **_axes.outline(style),
            ms=8,
            label=style.label,
        )
    _axes.legend(ax)
    return ax  # type: ignore[no-any-return]
