"""A curve per configuration, in matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna_lrss.visualization._lr_configurations import _get_lr_configurations_info
from optuna_lrss.visualization._lr_configurations import _LRConfigurationsInfo
from optuna_lrss.visualization._lr_configurations import _results
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import SERIES
from optuna_lrss.visualization._style import short
from optuna_lrss.visualization.matplotlib import _axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_lrss._result.lr_analysis import LRAnalysis


def plot_lr_configurations(
    study_or_result: Study | LRAnalysis | Sequence[LRAnalysis],
    *,
    param_name: str | None = None,
) -> Axes:
    """Plots a curve per configuration, with the recommended learning rate of each.

    See :func:`optuna_lrss.visualization.plot_lr_configurations` for what is drawn, the
    arguments and the errors.

    Returns:
        The axes.
    """
    results = _results(study_or_result, param_name)
    return _get_lr_configurations_axes(_get_lr_configurations_info(results))


def _get_lr_configurations_axes(info: _LRConfigurationsInfo) -> Axes:
    (ax,) = _axes.axes(info.title, info.subtitle)
    if not info.curves:
        warn_empty("plot_lr_configurations", info.reason)
        return ax  # type: ignore[no-any-return]
    ax.set(xscale="log", xlabel=info.lr_label, ylabel=info.loss_label, ylim=info.loss_range)
    star = POINTS["recommended"].marker
    for curve, style in zip(info.curves, SERIES, strict=False):
        color, linestyle = style.color, style.linestyle
        ax.plot(curve.lr, curve.loss, color=color, ls=linestyle, lw=1.6)
        ax.plot(curve.trial_lr, curve.trial_loss, style.marker, color=color, ms=4)
        ax.plot(
            curve.recommended,
            curve.recommended_loss,
            color=color,
            ls=linestyle,
            marker=star,
            ms=13,
            mec="white",
            label=f"{curve.label}: {short(curve.recommended)}",
        )
    _axes.legend(ax)
    return ax  # type: ignore[no-any-return]
