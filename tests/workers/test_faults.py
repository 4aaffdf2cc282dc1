"""Workers that die, storages that fail: nothing completed is lost and the search ends as ever."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import servers
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from tests.workers import fleet


FAST = functools.partial(fleet.plain, seconds=0.0)


def completed(study: optuna.Study) -> dict[int, tuple[float, float | None]]:
    states = (TrialState.COMPLETE,)
    trials = study.get_trials(deepcopy=False, states=states)
    return {t.number: (t.params["lr"], t.value) for t in trials}


def test_killed_workers_are_retried_on_heartbeat(postgres: servers.Postgres, name: str) -> None:
    study = fleet.new_study(postgres.url, name)
    slow = functools.partial(fleet.plain, seconds=0.5)  # the first heartbeat is written meanwhile
    for k in (1, 3, 5):  # one after the other, so that each gets the trial that kills it
        victim = fleet.start(
            postgres.url, name, fleet.kill_in(k, slow), LRStepSampler(), heartbeat=True
        )
        victim.join(60)
    before = completed(study)
    time.sleep(4.0)  # the storage's grace period, after which it fails and retries them
    fleet.run_fleet(2, postgres.url, name, fleet.plain, LRStepSampler(), heartbeat=True)
    assert before.items() <= completed(study).items()
    states = [t.state for t in study.get_trials(deepcopy=False)]
    assert TrialState.FAIL in states
    assert TrialState.RUNNING not in states
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates)
    fleet.assert_same_picks(analyze(study))


@pytest.mark.parametrize("kind", ["journal", "grpc", "postgres"])
def test_zombies_are_taken_over_without_heartbeat(
    kind: str, postgres: servers.Postgres, tmp_path: Path, name: str
) -> None:
    """Nobody ever fails them: they stay RUNNING, and what they held is done by another."""
    with without_heartbeat(kind, postgres, tmp_path) as spec:
        study = fleet.new_study(spec, name)
        sampler = LRStepSampler(grace_period=1.0)
        for k in (2, 4, 6):
            victim = fleet.start(spec, name, fleet.kill_in(k, fleet.plain), sampler)
            victim.join(60)
        before = completed(study)
        running = (TrialState.RUNNING,)
        zombies = study.get_trials(deepcopy=False, states=running)
        assert len(zombies) == 3
        fleet.run_fleet(2, spec, name, fleet.plain, sampler)
        assert before.items() <= completed(study).items()
        assert len(study.get_trials(deepcopy=False, states=running)) == 3
        assert len({round(fleet._x(t), 9) for t in zombies}) == 3
        fleet.assert_same_picks(analyze(study))


@contextlib.contextmanager
def without_heartbeat(kind: str, postgres: servers.Postgres, folder: Path) -> Iterator[str]:
    if kind == "grpc":
        pytest.importorskip("grpc")
        backend = fleet.open_storage(postgres.url)
        with fleet.grpc_server(backend, servers.free_port()) as spec:
            yield spec
    else:
        yield postgres.url if kind == "postgres" else f"journal:{folder}/log"


def test_a_configuration_whose_first_worker_dies_is_not_waited_for(
    postgres: servers.Postgres, name: str
) -> None:
    study = fleet.new_study(postgres.url, name)
    sampler = LRStepSampler(grace_period=1.0, max_configurations=2, seed=1)
    victim = fleet.start(postgres.url, name, die_after_first_parameter, sampler)
    victim.join(60)
    assert [t.state for t in study.get_trials(deepcopy=False)] == [TrialState.RUNNING]
    fleet.run_fleet(2, postgres.url, name, fleet.nested, sampler)
    assert sampler.is_resolved(study)
    assert len(fleet.finished_rates(study)) < 120


def die_after_first_parameter(trial: optuna.Trial) -> float:
    trial.suggest_categorical("batch_size", [16, 32, 64])
    return fleet.kill_in(trial.number, lambda _: 0.0)(trial)


def test_the_database_is_restarted_under_load(name: str) -> None:
    with servers.postgres() as server:
        study = fleet.new_study(server.url, name)
        slow = functools.partial(fleet.plain, seconds=0.1)
        sampler = LRStepSampler(grace_period=2.0)
        workers = [fleet.start(server.url, name, slow, sampler, stubborn=True) for _ in range(3)]
        deadline = time.monotonic() + 30.0
        while len(completed(study)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        before = completed(study)
        assert len(before) >= 4
        server.restart()  # as after a crash: every connection breaks
        fleet.finish(workers)
        study = optuna.load_study(study_name=name, storage=fleet.open_storage(server.url))
        assert before.items() <= completed(study).items()
        fleet.assert_same_picks(analyze(study))


def test_a_study_copied_between_storages_goes_on(tmp_path: Path) -> None:
    first, second = f"sqlite:///{tmp_path}/first.db", f"journal:{tmp_path}/second.log"
    study = fleet.new_study(first)
    study.sampler = LRStepSampler()
    study.optimize(FAST, n_trials=7)
    study.ask().suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)  # never told
    optuna.copy_study(
        from_study_name=fleet.NAME,
        from_storage=fleet.open_storage(first),
        to_storage=fleet.open_storage(second),
        to_study_name="copy",
    )
    copy = optuna.load_study(
        study_name="copy",
        storage=fleet.open_storage(second),
        sampler=LRStepSampler(grace_period=0.2),
    )
    assert completed(copy) == completed(study)
    time.sleep(0.2)  # what was running stays so in the copy, and is nobody's
    copy.optimize(functools.partial(fleet.plain, seconds=0.005), n_trials=100)
    rates = fleet.finished_rates(copy)
    assert len(set(rates)) == len(rates) < 100
    fleet.assert_same_picks(analyze(copy))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[tuple[RDBStorage, dict[str, int]]]:
    """SQLite that may grow to so many pages, as on a full disk."""
    pages = {"max": 2**30}
    storage = RDBStorage(
        f"sqlite:///{tmp_path}/full.db", engine_kwargs={"poolclass": sqlalchemy.pool.NullPool}
    )

    def limit(connection: Any, record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages['max']}")

    sqlalchemy.event.listen(storage.engine, "connect", limit)
    yield storage, pages
    storage.engine.dispose()


def test_a_full_disk_loses_nothing(tiny_disk: tuple[RDBStorage, dict[str, int]]) -> None:
    storage, pages = tiny_disk
    study = optuna.create_study(storage=storage, sampler=LRStepSampler(grace_period=0.1))
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(FAST, n_trials=6)
    before = completed(study)
    with storage.engine.connect() as connection:
        pages["max"] = connection.execute(sqlalchemy.text("PRAGMA page_count")).scalar()
    with pytest.raises(optuna.exceptions.StorageInternalError):
        study.optimize(functools.partial(fill, amount=500), n_trials=100)
    after_failure = completed(study)
    assert before.items() <= after_failure.items()
    assert len(after_failure) < 16
    pages["max"] = 2**30  # somebody makes room; the same script is started again
    time.sleep(0.2)
    again = optuna.load_study(
        study_name=study.study_name, storage=storage, sampler=LRStepSampler(grace_period=0.1)
    )
    again.optimize(functools.partial(fleet.plain, seconds=0.002), n_trials=100)
    assert after_failure.items() <= completed(again).items()
    fleet.assert_same_picks(analyze(again))


def fill(trial: optuna.Trial, amount: int) -> float:
    """Leaves notes in the storage, so that the pages it has are soon used up."""
    value = fleet.plain(trial, 0.0)
    trial.set_user_attr("notes", "x" * amount)
    return value


def test_a_killed_worker_says_nothing_about_its_learning_rate() -> None:
    """Three workers were lost at the best learning rate; its loss counts all the same."""
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    best = fleet.undisturbed().curve.lr[int(fleet.undisturbed().curve.loss.argmin())]
    for _ in range(3):
        study.enqueue_trial({"lr": float(best)})
        trial = study.ask()
        trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        claim = {"x": fleet._x(trial), "role": "coarse", "leader": 0}
        study._storage.set_trial_system_attr(trial._trial_id, "lrss:claim", claim)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    study.optimize(FAST, n_trials=100)
    fleet.assert_same_picks(analyze(study))


def test_a_learning_rate_that_kills_every_worker_is_given_up() -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    for _ in range(100):
        if study.sampler.is_resolved(study):
            break
        trial = study.ask()
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        if lr > 0.5:  # out of memory, say: nobody tells
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        else:
            study.tell(trial, fleet.loss_at(lr))
    assert study.sampler.is_resolved(study)
    fleet.assert_same_picks(analyze(study))


def test_failures_of_the_objective_are_marked() -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    trial = study.ask()
    trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    study.tell(trial, state=TrialState.FAIL)
    assert study.trials[0].system_attrs["lrss:claim"]["failed"] is True
