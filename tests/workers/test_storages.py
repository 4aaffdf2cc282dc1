"""Many workers on one study: nothing twice, the same picks, an end."""

from __future__ import annotations

import functools

import optuna
import pytest

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from tests.workers import fleet


def test_processes_share_a_search(shared: str, name: str) -> None:
    study = fleet.new_study(shared, name)
    fleet.run_fleet(4, shared, name, fleet.plain, LRStepSampler())
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates)
    assert len(rates) <= 40  # one worker takes 16; the rounds of four cannot be as frugal
    fleet.assert_same_picks(analyze(study))


@pytest.mark.parametrize("n_jobs", [4, 16])
def test_threads_share_a_search(n_jobs: int) -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(functools.partial(fleet.plain, seconds=0.005), n_trials=100, n_jobs=n_jobs)
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates) < 100
    fleet.assert_same_picks(analyze(study))


def test_a_search_with_other_parameters_is_shared(shared: str, name: str) -> None:
    study = fleet.new_study(shared, name)
    sampler = LRStepSampler(max_configurations=3, seed=0)
    fleet.run_fleet(3, shared, name, fleet.nested, sampler)
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates) < 120
    configurations = {rate[:-1] for rate in rates}
    # Workers that ask at the same moment may open one each; nobody opens one for every trial.
    assert 3 <= len(configurations) <= 5
    for configuration in configurations:
        analyze(study, configuration=dict(configuration))
    assert sampler.is_resolved(study)


def test_the_same_study_started_twice_at_once(shared: str, name: str) -> None:
    fleet.open_storage(shared)  # the tables, which two processes cannot make at once
    starters = [
        fleet.PROCESSES.Process(target=create_and_run, args=(shared, name)) for _ in range(2)
    ]
    for process in starters:
        process.start()
    fleet.finish(starters)
    study = optuna.load_study(study_name=name, storage=fleet.open_storage(shared))
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates)
    fleet.assert_same_picks(analyze(study))


def create_and_run(spec: str, name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=name,
        storage=fleet.open_storage(spec),
        sampler=LRStepSampler(),
        load_if_exists=True,
    )
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(fleet.plain, n_trials=100)
