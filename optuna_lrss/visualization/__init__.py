"""Plots of a learning-rate search with plotly.

:mod:`optuna_lrss.visualization.matplotlib` is its twin.

Every plot takes a study or an :class:`~optuna_lrss.LRAnalysis` and draws what the analysis holds.
Importing this module loads neither plotly nor matplotlib.
"""

from __future__ import annotations

from optuna_lrss.visualization._lr_configurations import plot_lr_configurations
from optuna_lrss.visualization._lr_curvature import plot_lr_curvature
from optuna_lrss.visualization._lr_curve import plot_lr_curve
from optuna_lrss.visualization._lr_horizons import plot_lr_horizons
from optuna_lrss.visualization._lr_refinement import plot_lr_refinement


__all__ = [
    "plot_lr_configurations",
    "plot_lr_curvature",
    "plot_lr_curve",
    "plot_lr_horizons",
    "plot_lr_refinement",
]
