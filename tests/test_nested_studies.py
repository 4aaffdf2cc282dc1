"""Studies with other parameters: what others tried, what is not allowed, what is still open."""

from __future__ import annotations

import collections
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import configurations
from optuna_lrss._study.claims import Lifetime
from optuna_lrss._study.claims import Pending
from optuna_lrss._study.history import StudyHistory
from tests.studies import PLAIN
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


# --- Constraints ------------------------------------------------------------------------------


def _tight(trial: optuna.Trial) -> float:
    """The lowest losses are not allowed: width and loss pull in opposite directions."""
    width = trial.suggest_float("width", 0.0, 1.0)
    loss = objective_of()(trial) - width
    if hasattr(trial, "set_constraint"):
        trial.set_constraint("width", width - 0.5)
    trial.set_user_attr("excess", width - 0.5)
    return loss


def _excess(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    return (trial.user_attrs["excess"],)


def _with_function(kind: type[optuna.samplers.BaseSampler]) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in Optuna 5, experimental before
        return kind(seed=0, constraints_func=_excess)


def _inner_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """What the base sampler sees."""
    return study.sampler._workers.of(study).configurations._study.trials


def _violations(trial: optuna.trial.FrozenTrial) -> list[float]:
    attrs = trial.system_attrs
    named = [v for k, v in attrs.items() if k.startswith("constraints:")]
    return [*(attrs.get("constraints") or ()), *named]


HAS_SET_CONSTRAINT = hasattr(optuna.Trial, "set_constraint")
BASES = {
    "set_constraint": lambda: TPESampler(seed=0, n_startup_trials=4),
    "constraints_func of TPE": lambda: _with_function(TPESampler),
    "constraints_func of NSGA-II": lambda: _with_function(optuna.samplers.NSGAIISampler),
}


@pytest.mark.parametrize("base", BASES)
def test_constraints_reach_the_base_sampler_and_the_ranking(base: str) -> None:
    if base == "set_constraint" and not HAS_SET_CONSTRAINT:
        pytest.skip("Optuna has constraints_func alone")
    study = new_study(LRStepSampler(base_sampler=BASES[base](), max_configurations=6))
    study.optimize(_tight, n_trials=120)
    told = [t for t in _inner_trials(study) if t.state == TrialState.COMPLETE]
    assert len(told) >= 4
    for trial in told:
        assert trial.params["width"] - 0.5 in _violations(trial)
    widths = {t.params["width"] for t in study.trials}
    assert max(widths) > 0.5  # where the lowest losses are
    assert analyze(study).configuration["width"] == max(w for w in widths if w <= 0.5)


# --- Several workers --------------------------------------------------------------------------


def test_the_base_sampler_sees_what_others_have_open_as_running() -> None:
    study = new_study(LRStepSampler(seed=1))
    low, high = PLAIN.range
    opened = study.ask()
    mine = LRStepSampler(seed=0)._workers.of(study)

    def seen() -> list[dict[str, object]]:
        mine._update(mine.look())
        inner = mine.configurations._study.trials
        return [t.params for t in inner if t.state == TrialState.RUNNING]

    assert seen() == []
    width = opened.suggest_categorical("width", [16, 32, 64])
    assert seen() == [{"width": width}]
    decay = opened.suggest_float("decay", 1e-6, 1e-2, log=True)
    opened.suggest_float("lr", low, high, log=True)
    assert seen() == [{"width": width, "decay": decay}]
    study.tell(opened, 1.0)  # a first result: the curve is still open
    assert seen() == [{"width": width, "decay": decay}]
    study.optimize(_two_others, n_trials=20)
    assert {"width": width, "decay": decay} not in seen()
    done = [t.params for t in mine.configurations._study.trials if t.state.is_finished()]
    assert {"width": width, "decay": decay} in done


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set")
@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("started", "now", "alive"),
    [
        (datetime(2026, 3, 29, 1, 59), datetime(2026, 3, 29, 3, 1), True),  # two minutes
        (datetime(2026, 3, 29, 1, 0), datetime(2026, 3, 29, 3, 20), False),
        (datetime(2026, 10, 25, 2, 50), datetime(2026, 10, 25, 3, 5), True),  # 15 or 75 minutes
        (datetime(2026, 10, 25, 1, 50), datetime(2026, 10, 25, 3, 5), False),
        (datetime(2026, 10, 24, 12, 0), datetime(2026, 10, 24, 12, 10), True),
        (datetime(2026, 10, 24, 12, 0), datetime(2026, 10, 24, 12, 40), False),
    ],
)
def test_a_trial_is_not_taken_for_dead_when_the_clocks_change(
    started: datetime, now: datetime, alive: bool
) -> None:
    lifetime = Lifetime(grace_period=1800.0, longest=1.0)
    pending = Pending(0, -1.0, (), 0, started, True)
    assert bool(lifetime.alive([pending], now)) == alive


# --- What it costs ----------------------------------------------------------------------------


def _accesses(
    sampler: optuna.samplers.BaseSampler, objective: Callable[[optuna.Trial], float], path: str
) -> collections.Counter[str]:
    """How often 12 trials ask an SQLite storage for something."""
    storage = optuna.storages.RDBStorage(path)
    study = new_study(sampler, storage=storage)
    counts: collections.Counter[str] = collections.Counter()

    def counted(name: str) -> Callable[..., object]:
        access = getattr(study._storage, name)

        def method(*args: object, **kwargs: object) -> object:
            counts[name] += 1
            return access(*args, **kwargs)

        return method

    with pytest.MonkeyPatch.context() as patch:
        for name in ACCESSES:
            patch.setattr(study._storage, name, counted(name))
        study.optimize(objective, n_trials=12)
    storage.engine.dispose()
    return counts


ACCESSES = (
    "get_all_trials",
    "get_trial",
    "get_trial_system_attrs",
    "get_study_user_attrs",
    "set_study_user_attr",
    "set_trial_system_attr",
    "set_trial_user_attr",
)
#: A trial chooses, holds its choice against the others', and asks whether the search ends; the
#: first trials are also asked whether they suggest a learning rate at all, and a configuration
#: is opened with three more: for a plan, for others that open one, and for what is to be told.
READINGS = 3


@pytest.mark.parametrize(
    ("objective", "n_opened"), [(objective_of(), 0), (_two_others, 1)], ids=["lr", "nested"]
)
def test_the_storage_is_asked_for_nothing_twice(
    objective: Callable[[optuna.Trial], float], n_opened: int, tmp_path: Path
) -> None:
    bare = _accesses(RandomSampler(seed=0), objective, f"sqlite:///{tmp_path}/bare.db")
    ours = _accesses(LRStepSampler(seed=0), objective, f"sqlite:///{tmp_path}/ours.db")
    own = {name: ours[name] - bare[name] for name in ACCESSES}
    plans = 11 if n_opened else 0  # each nested trial looks for a configuration first
    assert own["get_all_trials"] <= READINGS * 12 + 3 + plans + 3 * n_opened
    assert own["get_trial"] == own["get_trial_system_attrs"] == 0
    assert own["set_trial_system_attr"] == 12 + n_opened  # one claim each; an announcement
    assert own["get_study_user_attrs"] <= 2
    assert own["set_study_user_attr"] == 1
    assert own["set_trial_user_attr"] == 0


def test_a_table_reads_the_study_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study(LRStepSampler(seed=0, max_configurations=3))
    study.optimize(_two_others, n_trials=100)
    read: list[StudyHistory] = []
    refresh = StudyHistory.refresh

    def counted(self: StudyHistory, study: optuna.Study) -> StudyHistory:
        read.append(self)
        return refresh(self, study)

    monkeypatch.setattr(StudyHistory, "refresh", counted)
    assert len(configurations(study)) == 3
    assert len(read) == 1
