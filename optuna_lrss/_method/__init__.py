"""The mathematics: NumPy and SciPy only, no Optuna and no torch."""

from __future__ import annotations
