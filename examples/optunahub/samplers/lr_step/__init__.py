"""Learning-Rate Step Sampler, for OptunaHub."""

from __future__ import annotations

from optuna_lrss import LRStepSampler


__all__ = ["LRStepSampler"]
