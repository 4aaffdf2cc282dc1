"""No learning rate is given out twice, whatever happens between the look and the claim."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._study.claims import Choice
from optuna_lrss._study.claims import Claim
from optuna_lrss._study.claims import Claims
from optuna_lrss._study.claims import Contest
from optuna_lrss._study.claims import Pending
from optuna_lrss._study.clock import Clock
from tests.workers import fleet


class Interrupted(LRStepSampler):
    """Something happens just before its claims are written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.interruptions: list[Any] = []

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        claims = self._workers.of(study).claims

        def write(trial: FrozenTrial, claim: Claim) -> None:
            if claim.x is not None and self.interruptions:
                self.interruptions.pop()(study)
            Claims.write(claims, trial, claim)

        claims.write = write


def lr_of(study: optuna.Study) -> tuple[optuna.Trial, float]:
    trial = study.ask()
    return trial, trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)


def rival_study(study: optuna.Study) -> optuna.Study:
    """The same study with a sampler of its own, as another process has it."""
    return optuna.load_study(
        study_name=study.study_name, storage=study._storage, sampler=LRStepSampler()
    )


@pytest.mark.parametrize("told", [True, False], ids=["finished", "running"])
@pytest.mark.parametrize("n_before", [0, 3, 8, 14])
def test_a_rival_that_takes_it_first_keeps_it(n_before: int, told: bool) -> None:
    sampler = Interrupted()
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(lambda t: fleet.plain(t, 0.0), n_trials=n_before)
    taken = []

    def rival(study: optuna.Study) -> None:
        other = rival_study(study)
        trial, lr = lr_of(other)
        taken.append(lr)
        if told:
            other.tell(trial, fleet.loss_at(lr))

    sampler.interruptions = [rival]
    _, mine = lr_of(study)
    assert len(taken) == 1
    known = [t.params["lr"] for t in study.get_trials(deepcopy=False) if "lr" in t.params]
    assert len(set(known)) == len(known) == n_before + 2
    assert mine not in taken


def test_a_thousand_claims_of_many_samplers_at_once() -> None:
    """Threads with a sampler each, like processes: no lock is shared."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    barrier = threading.Barrier(8)
    rates: list[float] = []

    def worker() -> None:
        own = rival_study(study)
        barrier.wait()
        for _ in range(25):
            trial, lr = lr_of(own)
            rates.append(lr)
            own.tell(trial, fleet.loss_at(lr))

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rates) == len({round(lr, 15) for lr in rates}) == 200


def test_useful_learning_rates_are_shared_out_at_once() -> None:
    """Eight that ask before anyone has an answer get eight places of the coarse look."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    samplers = [rival_study(study) for _ in range(8)]
    trials = [own.ask() for own in samplers]
    lrs = [t.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True) for t in trials]
    x = sorted(round(math.log10(lr), 6) for lr in lrs)
    assert min(b - a for a, b in itertools.pairwise(x)) >= 0.5


@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_what_a_zombie_holds_is_done_by_another_after_the_grace_period(number: int) -> None:
    study = optuna.create_study(sampler=LRStepSampler(grace_period=0.2))
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(lambda t: fleet.plain(t, 0.0), n_trials=number)
    zombie, held = lr_of(study)
    _, other = lr_of(study)
    assert other != held  # alive, for all that is known
    for trial in study.get_trials(deepcopy=False)[number + 1 :]:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    time.sleep(0.25)
    study.optimize(lambda t: fleet.plain(t, 0.0), n_trials=100)
    rates = [t.params["lr"] for t in study.get_trials(deepcopy=False)]
    assert rates.count(held) == 2
    assert study.trials[zombie.number].state == optuna.trial.TrialState.RUNNING
    fleet.assert_same_picks(analyze(study))


def test_nothing_is_taken_over_while_no_trial_has_finished() -> None:
    """Nothing tells how long a trial takes: the first ones may load data for minutes."""
    study = optuna.create_study(sampler=LRStepSampler(grace_period=0.01))
    rates = []
    for _ in range(6):
        rates.append(lr_of(study)[1])
        time.sleep(0.02)
    assert len(set(rates)) == 6


def test_an_overdue_trial_is_doubled_when_nothing_else_is_useful() -> None:
    """A tenth of the grace period and three times the longest trial."""
    doubled = 0
    for n_before, n_more in itertools.product(range(2, 12), (4, 7, 10)):
        study, held = _with_a_held_rate(n_before, n_more)
        time.sleep(0.25)
        doubled += lr_of(study)[1] == held
    assert doubled > 0


def test_a_trial_is_not_overdue_while_others_are_useful() -> None:
    study, held = _with_a_held_rate(6, n_more=2)
    time.sleep(0.25)
    assert not LRStepSampler().is_resolved(study)
    assert lr_of(study)[1] != held


def _with_a_held_rate(n_before: int, n_more: int) -> tuple[optuna.Study, float]:
    """A study in which one trial goes on for ever, after and before so many finished ones."""
    study = optuna.create_study(sampler=LRStepSampler(grace_period=2.0))
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    for _ in range(n_before):
        trial, lr = lr_of(study)
        study.tell(trial, fleet.loss_at(lr))
    _, held = lr_of(study)
    for _ in range(n_more):
        trial, lr = lr_of(study)
        assert lr != held
        study.tell(trial, fleet.loss_at(lr))
    return study, held


def test_repeats_are_not_overdone(name: str) -> None:
    """Workers that repeat a learning rate count each other's repeats."""
    sampler = Interrupted(repeats=2)
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)

    def rival(study: optuna.Study) -> None:
        own = optuna.load_study(
            study_name=study.study_name, storage=study._storage, sampler=LRStepSampler(repeats=2)
        )
        trial, lr = lr_of(own)
        own.tell(trial, noisy(lr, trial.number))

    for _ in range(40):
        sampler.interruptions = [rival]
        trial, lr = lr_of(study)
        study.tell(trial, noisy(lr, trial.number))
        if sampler.is_resolved(study):
            break
    rates = [round(t.params["lr"], 15) for t in study.trials]
    assert max(rates.count(lr) for lr in rates) == 2


def noisy(lr: float, number: int) -> float:
    return fleet.loss_at(lr) + 0.05 * ((number * 7919) % 13 - 6) / 6


class _Storage:
    def set_trial_system_attr(self, *_: object) -> None:
        pass


class _Clock(Clock):
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.mark.parametrize(("mine", "chosen"), [(3, 1), (5, 2)])
def test_of_two_equal_claims_the_lower_number_keeps_it(mine: int, chosen: int) -> None:
    """It waits until the other has given way; the higher number chooses anew at once."""
    other = Pending(4, -2.0, (), 0, None, committed=False)
    clock = _Clock()
    decided: list[Choice] = []

    def decide() -> Choice:
        decided.append(Choice(-2.0 - len(decided), "coarse", 0, before=0))
        return decided[-1]

    def look(choice: Choice) -> Contest:
        held = choice.x == -2.0 and (mine > 4 or clock.at < 0.1)
        return Contest(int(held), [other] if held else [])

    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    trial.number = mine
    claims = Claims(_Storage(), clock, contextlib.nullcontext())
    assert claims.choose(trial, decide, look).x == -1.0 - chosen
    assert len(decided) == chosen
    assert (clock.at > 0.0) == (mine < 4)
