"""Find a learning rate from a handful of short trials, inside Optuna."""

from __future__ import annotations

from optuna_lrss._analysis import LRAnalysis
from optuna_lrss._analysis import analyze
from optuna_lrss._diagnostics import Diagnostic
from optuna_lrss._history import repeat_index
from optuna_lrss._points import AllDivergedError
from optuna_lrss._points import NothingLearnsError
from optuna_lrss._points import NoWindowError
from optuna_lrss._points import TooFewPointsError
from optuna_lrss._pruner import LRStepPruner
from optuna_lrss._sampler import LRStepSampler
from optuna_lrss._table import ConfigurationRow
from optuna_lrss._table import ConfigurationTable
from optuna_lrss._table import configurations


__version__ = "0.1.0"

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
    "TooFewPointsError",
    "analyze",
    "configurations",
    "repeat_index",
]
