"""Studies and objectives over the curves of :mod:`tests.curves`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from tests.curves import CURVES
from tests.curves import Curve


PLAIN = CURVES[0]


def objective_of(curve: Curve = PLAIN, *, sign: float = 1.0) -> Callable[[optuna.Trial], float]:
    """A short trial: suggests the learning rate, returns the exact loss."""

    def objective(trial: optuna.Trial) -> float:
        low, high = curve.range
        return sign * curve.loss(trial.suggest_float("lr", low, high, log=True))

    return objective


def new_study(
    sampler: optuna.samplers.BaseSampler | None = None,
    *,
    curve: Curve = PLAIN,
    baseline: bool = True,
    **options: Any,
) -> optuna.Study:
    """A study with the curve's baseline stored."""
    study = optuna.create_study(sampler=LRStepSampler() if sampler is None else sampler, **options)
    if baseline:
        sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        study.set_user_attr("lrss:baseline", sign * curve.baseline)
    return study


def searched(curve: Curve = PLAIN, sampler: LRStepSampler | None = None) -> optuna.Study:
    """A study that has been optimized until it stopped by itself."""
    study = new_study(sampler, curve=curve)
    study.optimize(objective_of(curve), n_trials=150)
    assert len(study.trials) < 150
    return study


def rates(study: optuna.Study, *, states: tuple[TrialState, ...] | None = None) -> list[float]:
    """Learning rates in the order of the trials."""
    return [t.params["lr"] for t in study.get_trials(deepcopy=False, states=states)]


def distinct(lrs: list[float]) -> bool:
    """Whether no two are the same learning rate, a billionth of a decade apart or nearer."""
    x = sorted(map(math.log10, lrs))
    return all(b - a > 1e-9 for a, b in itertools.pairwise(x))
