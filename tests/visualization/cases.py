"""Studies to draw, each made once: their losses are known in closed form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import optuna

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import NoWindowError
from optuna_lrss import analyze
from optuna_lrss import trial_steps


BASELINE = 2.3
CENTRE, WIDTH, DROP = -1.5, 0.25, 1.9


def loss_at(x: float, *, centre: float = CENTRE) -> float:
    """Plateau, fall and divergence wall; x = log10(lr)."""
    loss = BASELINE - DROP / (1.0 + math.exp(-(x - centre) / WIDTH))
    loss += math.exp((x - 0.3) / 0.15)
    return math.inf if loss > 30.0 else loss


def new_study(sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    study = optuna.create_study(sampler=LRStepSampler() if sampler is None else sampler)
    study.set_user_attr("lrss:baseline", BASELINE)
    study.set_user_attr("lrss:steps", 20)
    return study


def suggest_x(trial: optuna.Trial) -> float:
    return math.log10(trial.suggest_float("lr", 1e-7, 10.0, log=True))


@functools.cache
def plain() -> optuna.Study:
    study = new_study()
    study.optimize(lambda trial: loss_at(suggest_x(trial)), n_trials=100)
    return study


@functools.cache
def noisy() -> optuna.Study:
    """Three repeats; the noise is 3 % of the drop."""
    random = np.random.default_rng(0)
    study = new_study(LRStepSampler(repeats=3))
    study.optimize(lambda t: loss_at(suggest_x(t)) + 0.05 * random.normal(), n_trials=100)
    return study


@functools.cache
def with_longer() -> optuna.Study:
    """Four times the steps move the curve down by log10(4) decades; one of them diverges."""

    def objective(trial: optuna.Trial) -> float:
        x = suggest_x(trial)
        shift = math.log10(trial_steps(trial, 20) / 20)
        loss = loss_at(x + shift, centre=CENTRE)
        return math.inf if shift and loss > 2.0 else loss - 0.3 * shift

    study = new_study()
    study.set_user_attr("lrss:auto", True)
    study.optimize(objective, n_trials=100)
    return study


@functools.cache
def with_horizons() -> optuna.Study:
    """Reports at 5, 10, 20 steps: the curve moves down by log10(2) decades with each doubling."""

    def objective(trial: optuna.Trial) -> float:
        x = suggest_x(trial)
        for step in (5, 10, 20):
            trial.report(loss_at(x + math.log10(step / 20)), step)
        return loss_at(x)

    study = new_study()
    study.optimize(objective, n_trials=100)
    return study


@functools.cache
def with_paths() -> optuna.Study:
    """The same reports, from which the fall is inferred."""

    def objective(trial: optuna.Trial) -> float:
        x = suggest_x(trial)
        for step in (1, 2, 4, 8, 20):
            trial.report(loss_at(x + math.log10(step / 20)), step)
        return loss_at(x)

    study = new_study(LRStepSampler(strategy="guided"))
    study.optimize(objective, n_trials=100)
    return study


@functools.cache
def with_configurations() -> optuna.Study:
    """Three widths; the wider, the lower the learning rate."""
    study = new_study(LRStepSampler(max_configurations=3, seed=0))

    def objective(trial: optuna.Trial) -> float:
        width = trial.suggest_categorical("width", [16, 64, 256])
        return loss_at(suggest_x(trial), centre=CENTRE - 0.5 * math.log10(width / 16))

    for width in (16, 64, 256):
        study.enqueue_trial({"width": width})
    study.optimize(objective, n_trials=150)
    return study


@functools.cache
def random_search() -> optuna.Study:
    """Another sampler's study: no roles, no baseline."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: loss_at(suggest_x(trial)), n_trials=40)
    return study


@functools.cache
def nothing_learns() -> optuna.Study:
    study = new_study(optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: BASELINE + 0.1 * abs(suggest_x(trial)), n_trials=10)
    return study


@functools.cache
def analysed(make: Callable[[], optuna.Study]) -> LRAnalysis | optuna.Study:
    """The analysis of one of these studies, made once; the study where it has no window."""
    try:
        return analyze(make())
    except NoWindowError:
        return make()
