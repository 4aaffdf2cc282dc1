"""Replay on trainings of 700 to 47,000 steps that others have made (DeepOBS baselines).

Each cell is one problem and optimizer at 36 constant learning rates, seed 42. The curves are the
minibatch losses of the trainings themselves around a horizon, not validation losses; the trainings
are scored by their last test accuracy or loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.rules import auto
from examples.benchmarks.landscapes.rules.candidate import smoothed_midpoint_of
from examples.benchmarks.landscapes.score.cell import Curve
from examples.benchmarks.landscapes.score.landscape import LOSS_POINTS
from examples.benchmarks.landscapes.score.landscape import middle_of_best
from optuna_lrss._method.recommend import TOTAL_STEPS
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._result.advice import advice_of


HORIZONS = (20, 80, 320)
#: The losses of so large a share of a horizon, to both sides, are averaged: single ones are noise.
_AROUND = 0.25
_BETA = 0.99


def figures(folder: Path) -> dict[str, Any]:
    """Points lost in every cell by the pick, told the length or not, and by version 0.1's."""
    return {path.stem: _cell(path) for path in sorted(folder.glob("*.npz"))}


def _cell(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as data:
        x, lost = np.log10(data["lr"]), _lost(data)
        minibatch, total = data["minibatch_train_loss"], int(data["total_steps"])
    beta = _BETA if "momentum" in path.stem else 0.0
    curves = {n: _curve(10.0**x, minibatch, n) for n in HORIZONS}
    found = auto.search_curves(curves, total)
    picks = {"smoothed midpoint (version 0.1)": smoothed_midpoint_of(curves[20], beta)}
    if found.points is not None:
        for name, steps in (("recommended", total), ("not told the length", TOTAL_STEPS)):
            picks[name] = advice_of(
                found.curves,
                {min(found.curves): found.points.lowest},
                found.points.baseline,
                lambda n: momentum_lag(beta, n),
                steps,
            ).recommended
    best = middle_of_best(x, lost)
    return {
        "steps": total,
        "best": best,
        "lost": {k: float(np.interp(np.log10(p), x, lost)) for k, p in picks.items() if p},
        "decades": {k: float(np.log10(p)) - best for k, p in picks.items() if p},
    }


def _curve(lr: Array, minibatch: Array, steps: int) -> Curve:
    around = max(int(_AROUND * steps), 3)
    with np.errstate(all="ignore"):
        loss = minibatch[:, max(steps - around, 1) : steps + around + 1].mean(axis=1)
    loss = np.where(np.isfinite(loss), loss, np.inf)
    return Curve(lr, loss, steps, float(np.nanmean(minibatch[:, 0])))


def _lost(data: Any) -> Array:
    """Points lost at the end, as in the landscapes: of accuracy, or quarters of a percent."""
    if "test_accuracy" in data:
        accuracy = data["test_accuracy"][:, -1]
        accuracy = np.where(np.isfinite(accuracy), accuracy, np.nanmin(accuracy))
        percent = 100.0 if np.max(accuracy) <= 1.0 else 1.0
        return np.asarray(percent * (accuracy.max() - accuracy))
    untrained = float(np.nanmean(data["test_loss"][:, 0]))
    last = data["test_loss"][:, -1]
    last = np.where(np.isfinite(last), np.minimum(last, untrained), untrained)
    return np.asarray(LOSS_POINTS * (last - last.min()) / (untrained - last.min()))
