"""Studies with other parameters: what others tried, what is not allowed, what is still open."""

from __future__ import annotations

import collections
import time
import warnings
from collections.abc import Iterator
from datetime import datetime

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._study.claims import Lifetime
from optuna_lrss._study.claims import Pending
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
        inner = mine._updated(mine.look())._study.trials
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
