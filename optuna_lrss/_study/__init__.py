"""The search inside Optuna: trials, workers, sampler and pruner; no torch."""

from __future__ import annotations
