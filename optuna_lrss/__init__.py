"""Find a learning rate from a handful of short trials, inside Optuna."""

from __future__ import annotations

from optuna_lrss._method.points import AllDivergedError
from optuna_lrss._method.points import NothingLearnsError
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import TooFewPointsError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.data import Diagnostic
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._result.progress import SearchProgress
from optuna_lrss._result.table import ConfigurationRow
from optuna_lrss._result.table import ConfigurationTable
from optuna_lrss._result.table import configurations
from optuna_lrss._study.horizons import trial_steps
from optuna_lrss._study.pruner import LRStepPruner
from optuna_lrss._study.sampler import LRStepSampler
from optuna_lrss._study.trials import repeat_index


__version__ = "0.2.0"

__all__ = [
    "AllDivergedError",
    "ConfigurationRow",
    "ConfigurationTable",
    "Diagnostic",
    "LRAnalysis",
    "LRStepPruner",
    "LRStepSampler",
    "NoWindowError",
    "NothingLearnsError",
    "SearchProgress",
    "TooFewPointsError",
    "analyze",
    "configurations",
    "repeat_index",
    "trial_steps",
]
