"""Which learning rate was tried when, and why (the paper's Figure 8), in matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization._lr_refinement import _get_lr_refinement_info
from optuna_lrss.visualization._lr_refinement import _LRRefinementInfo
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import ROLES
from optuna_lrss.visualization.matplotlib import _axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_lrss._result.lr_analysis import LRAnalysis


def plot_lr_refinement(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Axes:
    """Plots which learning rate was tried when, by what it was tried for.

    See :func:`optuna_lrss.visualization.plot_lr_refinement` for what is drawn, the
    arguments and the errors.

    Returns:
        The axes.
    """
    info = _get_lr_refinement_info(read(study_or_result, param_name, configuration))
    return _get_lr_refinement_axes(info)


def _get_lr_refinement_axes(info: _LRRefinementInfo) -> Axes:
    (ax,) = _axes.axes(info.title, info.subtitle)
    if not info.tries:
        warn_empty("plot_lr_refinement", info.reason)
        return ax  # type: ignore[no-any-return]
    ax.set(xscale="log", xlabel=info.lr_label, ylabel="trial")
    ax.yaxis.get_major_locator().set_params(integer=True)
    _axes.window(ax, info.window)
    if info.recommended is not None:
        _axes.vertical(ax, info.recommended, POINTS["recommended"])
    for role, tries in info.tries.items():
        style = ROLES[role]
        ax.plot(
            [t.lr for t in tries],
            [t.number for t in tries],
            ls="none",
            color=style.color,
            marker=style.marker,
            **_axes.outline(style),
            ms=7,
            label=style.label,
        )
    _axes.legend(ax)
    return ax  # type: ignore[no-any-return]
