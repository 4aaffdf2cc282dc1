"""Short trials of torch models; the only part of optuna_lrss that imports torch."""

from __future__ import annotations

from optuna_lrss.torch._find_lr import find_lr
from optuna_lrss.torch._lanes.optimize import optimize_lanes
from optuna_lrss.torch._objective import StepObjective
from optuna_lrss.torch._pieces import StepPieces
from optuna_lrss.torch._together import apply_learning_rate


__all__ = ["StepObjective", "StepPieces", "apply_learning_rate", "find_lr", "optimize_lanes"]
