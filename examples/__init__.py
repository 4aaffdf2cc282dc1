"""Programs that use optuna_lrss; they run from a clone and are not installed."""

from __future__ import annotations
