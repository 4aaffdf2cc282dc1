"""Plots of a learning-rate search with matplotlib, as :mod:`optuna_lrss.visualization`."""

from __future__ import annotations

from optuna_lrss.visualization.matplotlib._lr_configurations import plot_lr_configurations
from optuna_lrss.visualization.matplotlib._lr_curvature import plot_lr_curvature
from optuna_lrss.visualization.matplotlib._lr_curve import plot_lr_curve
from optuna_lrss.visualization.matplotlib._lr_horizons import plot_lr_horizons
from optuna_lrss.visualization.matplotlib._lr_refinement import plot_lr_refinement


__all__ = [
    "plot_lr_configurations",
    "plot_lr_curvature",
    "plot_lr_curve",
    "plot_lr_horizons",
    "plot_lr_refinement",
]
