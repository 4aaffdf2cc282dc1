"""Learning-Rate Step Pruner, for OptunaHub."""

from __future__ import annotations

from optuna_lrss import LRStepPruner


__all__ = ["LRStepPruner"]
