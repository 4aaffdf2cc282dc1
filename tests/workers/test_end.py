"""A search ends when nothing is left to do, and not before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss._study.claims import CLAIM
from optuna_lrss._study.curves import ranked
from optuna_lrss._study.history import StudyHistory
from tests.workers import fleet


class Recording(LRStepSampler):
    """Keeps what it foresees, before a trial's result is in the storage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.foreseen: list[bool] = []

    def _is_last(self, *arguments: Any) -> bool:
        self.foreseen.append(super()._is_last(*arguments))
        return self.foreseen[-1]


def failing(trial: optuna.Trial) -> float:
    value = fleet.nested(trial, 0.0)
    if trial.number % 7 == 3:
        raise ValueError("as it happens")
    return value


def auto(trial: optuna.Trial) -> float:
    return fleet.plain(trial, 0.0) + fleet.longer(trial)


def nested_auto(trial: optuna.Trial) -> float:
    return failing(trial) + fleet.longer(trial)


@pytest.mark.parametrize("seed", [5, 11, 26, 38])
@pytest.mark.parametrize("objective", [fleet.plain, fleet.nested, failing, auto, nested_auto])
def test_what_is_foreseen_comes_true(objective: Callable[..., float], seed: int) -> None:
    options: dict[str, Any] = {"seed": seed}
    if objective not in (fleet.plain, auto):
        options["max_configurations"] = 4
    sampler = Recording(**options)
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    if objective in (auto, nested_auto):
        fleet.allow_longer(study)
    came_true = []

    def compare(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        # A sampler that has seen nothing else has nothing cached.
        came_true.append(LRStepSampler(**options).is_resolved(study))

    study.optimize(objective, n_trials=150, callbacks=[compare], catch=ValueError)
    assert came_true == sampler.foreseen
    assert came_true[-1]
    assert not any(came_true[:-1])


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("seed", [5, 11, 26])
def test_the_best_configuration_is_judged_with_the_trial_that_is_told(
    seed: int, rank: int
) -> None:
    sampler = Recording(seed=seed, max_configurations=4)
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(lambda trial: fleet.nested(trial, 0.0), n_trials=150)
    curves = ranked(StudyHistory("lr").refresh(study).curves.values())

    # A later configuration, known within twice the tolerance, becomes the best one.
    lowest = min(curves[rank].items, key=lambda o: o.loss)
    study.enqueue_trial({**lowest.params, "lr": 0.93 * lowest.lr})
    study.tell(study.ask(lowest.distributions), curves[0].lowest - 1e-3)
    assert not sampler.foreseen[-1]
    assert not Recording(seed=seed, max_configurations=4).is_resolved(study)


def _resolved_study(direction: str) -> tuple[optuna.Study, float]:
    study = optuna.create_study(sampler=LRStepSampler(), direction=direction)
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    study.set_user_attr("lrss:baseline", sign * fleet.BASELINE)
    study.optimize(lambda t: sign * min(fleet.plain(t, 0.0), 50.0), n_trials=60)
    return study, sign


def _ask(study: optuna.Study, lr: float) -> optuna.Trial:
    study.enqueue_trial({"lr": lr})
    trial = study.ask()
    trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    return trial


def _tells(study: optuna.Study, trial: optuna.Trial, value: float) -> bool:
    """Whether a worker of its own would stop with a trial that it is telling just now."""
    worker = Recording()
    other = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=worker)
    frozen = study._storage.get_trial(trial._trial_id)
    worker.after_trial(other, frozen, TrialState.COMPLETE, [value])
    return worker.foreseen[-1]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_last_of_two_that_tell_at_the_same_moment_sees_both(direction: str) -> None:
    study, sign = _resolved_study(direction)
    first, second = _ask(study, 1.1e-6), _ask(study, 1.2e-6)
    assert _tells(study, first, sign * fleet.BASELINE)  # harmless: the plateau is known
    announced = study._storage.get_trial_system_attrs(first._trial_id)[CLAIM]["told"]
    assert announced == ["COMPLETE", sign * fleet.BASELINE]
    assert _tells(study, second, sign * fleet.BASELINE)

    # The first now announces the lowest loss of all, far from where the search has looked.
    study._storage.set_trial_system_attr(
        first._trial_id, CLAIM, {"told": ["COMPLETE", sign * -9.0]}
    )
    assert not _tells(study, second, sign * fleet.BASELINE)
    study.tell(first, sign * -9.0)
    study.tell(second, sign * fleet.BASELINE)
    assert not LRStepSampler().is_resolved(study)


def test_a_diverged_result_is_announced_without_infinity() -> None:
    study, _ = _resolved_study("minimize")
    first, second = _ask(study, 9.0), _ask(study, 8.0)
    assert _tells(study, first, math.inf)
    claim = study._storage.get_trial_system_attrs(first._trial_id)[CLAIM]
    assert claim["told"] == ["COMPLETE", None]
    assert _tells(study, second, math.inf)


def test_nothing_is_announced_without_rivals() -> None:
    study, _ = _resolved_study("minimize")
    assert not any("told" in t.system_attrs[CLAIM] for t in study.trials)
