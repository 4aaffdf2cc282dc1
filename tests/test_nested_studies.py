"""Studies with other parameters: what others tried, what is not allowed, what is still open."""

from __future__ import annotations

import collections

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from tests.studies import new_study
from tests.studies import objective_of


def _two_others(trial: optuna.Trial) -> float:
    width = trial.suggest_categorical("width", [16, 32, 64])
    decay = trial.suggest_float("decay", 1e-6, 1e-2, log=True)
    return objective_of()(trial) + 0.01 * width**0.5 + decay


def _sizes(study: optuna.Study) -> dict[tuple[object, ...], int]:
    """How many trials each configuration has."""
    return collections.Counter((t.params["width"], t.params["decay"]) for t in study.trials)


@pytest.mark.parametrize("limit", [1, 2])
def test_old_configurations_of_another_sampler_are_observations(limit: int) -> None:
    study = new_study(TPESampler(seed=0))
    study.optimize(_two_others, n_trials=20)
    old = _sizes(study)
    study.sampler = LRStepSampler(max_configurations=limit, seed=0)
    study.optimize(_two_others, n_trials=150)
    assert study.sampler.is_resolved(study)
    sizes = _sizes(study)
    assert len(sizes.keys() - old.keys()) == limit
    # The best old one is resolved too, since a configuration is to be better than that.
    grown = [key for key in old if sizes[key] > old[key]]
    best = min(study.trials[:20], key=lambda t: t.value).params
    assert grown == [(best["width"], best["decay"])]
    assert analyze(study).resolved


def test_without_a_limit_new_configurations_are_opened_after_the_best_old_one() -> None:
    study = new_study(RandomSampler(seed=0))
    study.optimize(_two_others, n_trials=20)
    old = _sizes(study)
    study.sampler = LRStepSampler(seed=0)
    study.optimize(_two_others, n_trials=60)
    sizes = _sizes(study)
    assert sum(sizes[key] > old[key] for key in old) == 1
    assert len(sizes) - len(old) >= 2


def test_configurations_that_the_sampler_opened_are_gone_on_with_after_a_restart() -> None:
    study = new_study(LRStepSampler(max_configurations=2, seed=0))
    study.optimize(_two_others, n_trials=8)
    study.sampler = LRStepSampler(max_configurations=2, seed=1)
    study.optimize(_two_others, n_trials=100)
    assert study.sampler.is_resolved(study)
    assert len(_sizes(study)) == 2
    assert all(size >= 5 for size in _sizes(study).values())
