"""Plot Learning-Rate Curve, for OptunaHub."""

from __future__ import annotations

from optuna_lrss.visualization import plot_lr_curve


__all__ = ["plot_lr_curve"]
