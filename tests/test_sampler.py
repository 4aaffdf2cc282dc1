"""LRStepSampler inside Optuna: every way to run a study, and every way for one to go wrong."""

from __future__ import annotations

import collections
import itertools
import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import repeat_index
from tests.curves import CURVES
from tests.curves import NAMES
from tests.curves import Curve
from tests.searching import run_search
from tests.studies import PLAIN
from tests.studies import distinct
from tests.studies import new_study
from tests.studies import objective_of
from tests.studies import rates
from tests.studies import searched


INF = math.inf
STRATEGIES = ("frugal", "paper")
LOW, HIGH = PLAIN.range


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    if request.param == "memory":
        yield InMemoryStorage()
    elif request.param == "journal":
        yield JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    else:
        database = RDBStorage(f"sqlite:///{tmp_path}/lr.db")
        yield database
        database.engine.dispose()


# --- Optimize ----------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_optimize_stops_by_itself_where_the_pure_search_does(curve: Curve, strategy: str) -> None:
    study = searched(curve, LRStepSampler(strategy=strategy))
    known, _ = run_search(
        curve.loss, curve.low, curve.high, strategy=strategy, baseline=curve.baseline
    )
    assert study.sampler.is_resolved(study)
    # The divergence beside an abrupt wall's lowest loss is evaluated twice, nothing else.
    once = [t for t in study.trials if t.system_attrs["lrss:claim"]["role"] != "recheck"]
    assert len(study.trials) - len(once) <= 1
    assert distinct([t.params["lr"] for t in once])
    if len(study.trials) == len(known):  # noise estimates may end the sampler's search earlier
        assert sorted(rates(study)) == pytest.approx(list(known.lr), rel=1e-9)
    assert len(study.trials) <= 1.3 * len(known) + 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_storage_gives_the_same_search(storage: BaseStorage, strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy), storage=storage)
    study.optimize(objective_of(), n_trials=100)
    assert rates(study) == rates(searched(PLAIN, LRStepSampler(strategy=strategy)))


def test_search_from_python_floats_within_the_range() -> None:
    study = searched()
    for lr in rates(study):
        assert type(lr) is float
        assert LOW <= lr <= HIGH


def test_range_ends_are_exact() -> None:
    study = searched(PLAIN, LRStepSampler(strategy="paper"))
    assert min(rates(study)) == LOW
    assert max(rates(study)) == HIGH


def test_n_trials_still_limits() -> None:
    study = new_study()
    study.optimize(objective_of(), n_trials=5)
    assert len(study.trials) == 5
    assert not study.sampler.is_resolved(study)


def test_trials_beyond_the_end_are_finer_and_new() -> None:
    study = searched()
    n = len(study.trials)
    for _ in range(10):
        study.optimize(objective_of(), n_trials=1)
    assert len(study.trials) == n + 10
    assert distinct(rates(study))


def test_resuming_adds_only_what_is_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lr.db"
    expected = rates(searched())
    first = new_study(storage=url, study_name="lr")
    first.optimize(objective_of(), n_trials=6)
    again = optuna.load_study(storage=url, study_name="lr", sampler=LRStepSampler())
    again.optimize(objective_of(), n_trials=100)
    assert rates(again) == expected
    third = optuna.load_study(storage=url, study_name="lr", sampler=LRStepSampler())
    assert third.sampler.is_resolved(third)
    for study in (first, again, third):
        study._storage._backend.engine.dispose()


def test_maximizing_the_negative_is_the_same_search() -> None:
    minimized = searched()
    maximized = new_study(direction="maximize")
    maximized.optimize(objective_of(sign=-1.0), n_trials=100)
    assert rates(maximized) == rates(minimized)
    assert analyze(maximized).picks == analyze(minimized).picks


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_maximized_divergence_is_minus_infinity(direction: str) -> None:
    curve = CURVES[NAMES.index("diverges to inf")]
    sign = 1.0 if direction == "minimize" else -1.0
    study = new_study(curve=curve, direction=direction)
    study.optimize(objective_of(curve, sign=sign), n_trials=100)
    assert sign * INF in [t.value for t in study.trials]
    assert rates(study) == rates(searched(curve))


# --- Ask and tell ------------------------------------------------------------------------------


def test_ask_and_tell_until_resolved() -> None:
    study = new_study()
    objective = objective_of()
    for _ in range(100):
        if study.sampler.is_resolved(study):
            break
        trial = study.ask()
        study.tell(trial, objective(trial))
    assert rates(study) == rates(searched())


def test_ask_with_fixed_distributions() -> None:
    study = new_study()
    space = {"lr": FloatDistribution(LOW, HIGH, log=True)}
    while not study.sampler.is_resolved(study):
        trial = study.ask(space)
        study.tell(trial, PLAIN.loss(trial.params["lr"]))
    assert rates(study) == rates(searched())


@pytest.mark.parametrize("batch", [3, 8, 20])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_batches_of_asks_get_distinct_learning_rates(batch: int, strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy))
    objective = objective_of()
    n_rounds = 0
    while not study.sampler.is_resolved(study):
        trials = [study.ask() for _ in range(batch)]
        losses = [objective(trial) for trial in trials]
        for trial, loss in zip(trials, losses, strict=True):
            study.tell(trial, loss)
        n_rounds += 1
        assert n_rounds < 20
    assert distinct(rates(study))
    truth, result = PLAIN.truth(), analyze(study)
    assert math.log10(result.max_lr) == pytest.approx(truth.max_lr, abs=0.1)
    assert math.log10(result.min_lr) == pytest.approx(truth.min_lr, abs=0.1)


def test_has_more_says_how_many_to_ask_for_at_once() -> None:
    study = new_study()
    sampler, objective = study.sampler, objective_of()
    assert isinstance(sampler, LRStepSampler)
    sizes = []
    while not sampler.is_resolved(study):
        round_ = []
        while sampler.has_more(study):
            trial = study.ask()
            round_.append((trial, objective(trial)))
            assert len(round_) < 60
        for trial, loss in round_:
            study.tell(trial, loss)
        sizes.append(len(round_))
    assert not sampler.has_more(study)
    assert sizes[0] == round(math.log10(HIGH / LOW) / 0.5) + 1  # the first look
    assert all(0 < size < sizes[0] for size in sizes[1:])


def test_telling_out_of_order_is_no_trouble() -> None:
    study = new_study()
    objective = objective_of()
    while not study.sampler.is_resolved(study):
        trials = [study.ask() for _ in range(4)]
        losses = [objective(trial) for trial in trials]
        for trial, loss in reversed(list(zip(trials, losses, strict=True))):
            study.tell(trial, loss)
        assert len(study.trials) < 60
    assert distinct(rates(study))


def test_enqueued_learning_rates_are_run_and_used() -> None:
    study = new_study()
    wanted = [3e-4, 0.02, 0.2]
    for lr in wanted:
        study.enqueue_trial({"lr": lr})
    study.optimize(objective_of(), n_trials=100)
    assert rates(study)[:3] == wanted
    assert distinct(rates(study))
    assert study.sampler.is_resolved(study)


def test_an_enqueued_rate_is_not_proposed_to_others_meanwhile() -> None:
    study = new_study()
    first = rates(searched())[0]
    study.enqueue_trial({"lr": first})
    trials = [study.ask() for _ in range(4)]
    lrs = [t.suggest_float("lr", LOW, HIGH, log=True) for t in trials]
    assert lrs[0] == first
    assert distinct(lrs)


# --- Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [4, 8])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_threads_never_share_a_learning_rate(n_jobs: int, strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy))
    together = threading.Barrier(n_jobs)

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        try:  # as many as possible at the same moment; the last ones find no partners
            together.wait(timeout=0.05)
        except threading.BrokenBarrierError:
            together.reset()
        return loss

    study.optimize(objective, n_trials=100, n_jobs=n_jobs)
    assert distinct(rates(study))
    assert len(study.trials) < 70
    assert study.sampler.is_resolved(study)
    result, truth = analyze(study), PLAIN.truth()
    assert math.log10(result.max_lr) == pytest.approx(truth.max_lr, abs=0.1)


def test_threads_with_other_parameters_share_no_learning_rate_within_a_configuration() -> None:
    study = new_study(LRStepSampler(max_configurations=2, seed=0))

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        decay = trial.suggest_float("decay", 1e-5, 1e-2, log=True)
        time.sleep(0.003)
        return loss + 0.01 * abs(math.log10(decay) + 3.0)

    study.optimize(objective, n_trials=120, n_jobs=4)
    groups = collections.defaultdict(list)
    for trial in study.trials:
        groups[trial.params["decay"]].append(trial.params["lr"])
    assert all(distinct(lrs) for lrs in groups.values())
    assert len(study.trials) < 120


# --- Failures ----------------------------------------------------------------------------------


def _failing(low: float, high: float, times: float = INF) -> Callable[[optuna.Trial], float]:
    """Fails between two learning rates, at each one at most ``times`` times."""
    failures: collections.Counter[float] = collections.Counter()

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        lr = trial.params["lr"]
        if low < lr < high and failures[round(math.log10(lr), 6)] < times:
            failures[round(math.log10(lr), 6)] += 1
            raise OSError("the disk is full")
        return loss

    return objective


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_failed_trial_is_retried_once(strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy))
    study.optimize(_failing(1e-3, 1e-1, times=1), n_trials=100, catch=(OSError,))
    failed = rates(study, states=(TrialState.FAIL,))
    complete = rates(study, states=(TrialState.COMPLETE,))
    assert failed
    assert distinct(failed)
    assert set(failed) <= set(complete)
    assert sorted(complete) == sorted(rates(searched(PLAIN, LRStepSampler(strategy=strategy))))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_fails_twice_counts_as_diverged(strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy))
    study.optimize(_failing(0.05, 1e3), n_trials=150, catch=(OSError,))
    assert len(study.trials) < 120
    failed = collections.Counter(rates(study, states=(TrialState.FAIL,)))
    assert set(failed.values()) == {2}
    result = analyze(study)
    lost = [
        math.isinf(y) for x, y in zip(result.curve.lr, result.curve.loss, strict=True) if x > 0.05
    ]
    assert lost
    assert all(lost)
    assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr, abs=0.1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("how", ["raise", "nan", "none"])
def test_an_objective_that_always_fails_ends(strategy: str, how: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy))

    def objective(trial: optuna.Trial) -> float:
        objective_of()(trial)
        if how == "raise":
            raise OSError("the disk is full")
        return math.nan if how == "nan" else None

    study.optimize(objective, n_trials=150, catch=(OSError,))
    assert len(study.trials) < 80
    assert set(collections.Counter(rates(study)).values()) == {2}


def test_pruned_and_infinite_trials_are_the_same_search() -> None:
    curve = CURVES[NAMES.index("diverges to inf")]

    def pruning(trial: optuna.Trial) -> float:
        loss = objective_of(curve)(trial)
        if math.isinf(loss):
            raise optuna.TrialPruned
        return loss

    def reporting(trial: optuna.Trial) -> float:
        loss = objective_of(curve)(trial)
        if math.isinf(loss):
            trial.report(1e30, 3)
            raise optuna.TrialPruned
        return loss

    expected = rates(searched(curve))
    for objective in (pruning, reporting):
        study = new_study(curve=curve)
        study.optimize(objective, n_trials=100)
        assert rates(study) == expected
        assert analyze(study).picks == analyze(searched(curve)).picks


@pytest.mark.parametrize("value", [INF, PLAIN.baseline])
@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_searches_without_a_window_end(value: float, baseline: bool, strategy: str) -> None:
    study = new_study(LRStepSampler(strategy=strategy), baseline=baseline)

    def objective(trial: optuna.Trial) -> float:
        objective_of()(trial)
        return value

    study.optimize(objective, n_trials=100)
    assert len(study.trials) <= 40
    assert study.sampler.is_resolved(study)


@pytest.mark.parametrize("name", ["one", "two", "three", "four"])  # decides the brackets
def test_hyperband_may_prune(name: str) -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=20)
    study = new_study(pruner=pruner, study_name=name)

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        for step in (1, 3, 9, 20):
            trial.report(PLAIN.baseline + (loss - PLAIN.baseline) * step / 20, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    study.optimize(objective, n_trials=100)
    assert len(study.trials) < 100
    assert distinct(rates(study))
    assert TrialState.PRUNED in {t.state for t in study.trials}
    result = analyze(study)
    assert "pruned-early" in {d.code for d in result.diagnostics}
    # What was pruned at step 3 has no loss at step 20: it must not bend the curve.
    assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr, abs=0.3)


# --- Studies that others have used -------------------------------------------------------------


def test_trials_of_another_sampler_are_taken_in() -> None:
    study = new_study(RandomSampler(seed=1))
    study.optimize(objective_of(), n_trials=25)
    study.sampler = LRStepSampler()
    study.optimize(objective_of(), n_trials=100)
    assert study.sampler.is_resolved(study)
    assert len(study.trials) - 25 <= len(searched().trials)
    assert distinct(rates(study))
    errors = analyze(study).max_lr / 10.0 ** PLAIN.truth().max_lr
    assert abs(math.log10(errors)) <= 0.1


def test_trials_outside_the_range_are_no_trouble() -> None:
    study = new_study()
    for x in (-9.0, 3.0):
        study.add_trial(
            optuna.create_trial(
                params={"lr": 10.0**x},
                distributions={"lr": FloatDistribution(1e-10, 1e4, log=True)},
                value=PLAIN.loss(10.0**x),
            )
        )
    study.optimize(objective_of(), n_trials=100)
    assert len(study.trials) < 40
    assert all(LOW <= lr <= HIGH for lr in rates(study)[2:])


def test_trials_without_a_learning_rate_are_left_out() -> None:
    study = new_study()
    study.add_trial(optuna.create_trial(value=0.0))
    study.optimize(objective_of(), n_trials=100)
    assert len(study.trials) - 1 == len(searched().trials)


# --- Other parameters --------------------------------------------------------------------------


def _nested(where: str) -> Callable[[optuna.Trial], float]:
    """The learning rate first, between or after a float, a category and what that opens."""

    def objective(trial: optuna.Trial) -> float:
        def learn() -> float:
            return PLAIN.loss(trial.suggest_float("lr", LOW, HIGH, log=True))

        loss = learn() if where == "first" else 0.0
        decay = trial.suggest_float("decay", 1e-6, 1e-2, log=True)
        loss += learn() if where == "middle" else 0.0
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            loss += 0.01 * trial.suggest_int("warmup", 1, 5)
        loss += learn() if where == "last" else 0.0
        return loss + 0.1 * abs(math.log10(decay) + 4.0)

    return objective


def _configurations(study: optuna.Study) -> dict[str, list[optuna.trial.FrozenTrial]]:
    groups = collections.defaultdict(list)
    for trial in study.trials:
        others = {k: v for k, v in trial.params.items() if k != "lr"}
        groups[json.dumps(others, sort_keys=True)].append(trial)
    return dict(groups)


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_each_configuration_gets_a_curve_of_its_own(where: str) -> None:
    study = new_study(LRStepSampler(max_configurations=4, seed=3))
    study.optimize(_nested(where), n_trials=150)
    groups = _configurations(study)
    assert len(groups) == 4
    for key, trials in groups.items():
        assert distinct([t.params["lr"] for t in trials])
        assert len(trials) <= 30
        result = analyze(study, configuration=json.loads(key))
        # Later configurations are searched less finely, but around the right window.
        assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr, abs=0.3)
    assert study.sampler.is_resolved(study)


def test_a_base_sampler_may_be_chosen() -> None:
    grid = {"width": [16, 64]}
    sampler = LRStepSampler(
        base_sampler=optuna.samplers.GridSampler(grid, seed=0), max_configurations=2
    )
    study = new_study(sampler)

    def objective(trial: optuna.Trial) -> float:
        width = trial.suggest_categorical("width", grid["width"])
        return objective_of()(trial) + 1.0 / width

    study.optimize(objective, n_trials=100)
    assert {t.params["width"] for t in study.trials} == {16, 64}
    assert len(study.trials) < 60


def test_a_fixed_configuration_is_one_curve() -> None:
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["sgd"])
        return objective_of()(trial)

    study.optimize(objective, n_trials=60)
    assert sorted(rates(study))[0] >= LOW
    assert distinct(rates(study))


# --- Warnings and errors -----------------------------------------------------------------------


def test_an_objective_without_a_learning_rate_is_told_what_to_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    with caplog.at_level(logging.WARNING, logger="optuna_lrss"):
        study.optimize(lambda t: t.suggest_float("x", 0, 1) ** 2, n_trials=8)
    ours = [r for r in caplog.records if r.name.startswith("optuna_lrss")]
    assert len(ours) == 1  # once, not eight times
    assert "trial.suggest_float('lr', 1e-7, 10, log=True)" in ours[0].getMessage()
    assert "param_name" in ours[0].getMessage()


def test_the_end_of_a_search_names_what_to_use_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where Optuna's own lines are: with them it is seen, with them it is silenced."""
    handler = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("optuna")
    logger.addHandler(handler)
    verbosity = optuna.logging.get_verbosity()
    try:
        for level, times in ((optuna.logging.INFO, 1), (optuna.logging.WARNING, 0)):
            optuna.logging.set_verbosity(level)
            study = searched()
            study.optimize(objective_of(), n_trials=2)  # is over, and ends again
            said = [line for line in capsys.readouterr().out.splitlines() if "best_params" in line]
            assert len([line for line in said if line.startswith("The search")]) == times
            assert all("analyze(study).recommended" in line for line in said)
    finally:
        logger.removeHandler(handler)
        optuna.logging.set_verbosity(verbosity)


def test_a_search_with_a_learning_rate_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        searched()
    assert not [r for r in caplog.records if r.name.startswith("optuna_lrss")]


@pytest.mark.parametrize(
    "suggest",
    [
        lambda t: t.suggest_float("lr", 0.0, 1.0),
        lambda t: t.suggest_float("lr", 1e-5, 1.0),
        lambda t: t.suggest_float("lr", 0.1, 1.0, step=0.1),
        lambda t: t.suggest_int("lr", 1, 10),
        lambda t: t.suggest_int("lr", 1, 10, log=True),
        lambda t: t.suggest_categorical("lr", [1e-3, 1e-2]),
    ],
)
def test_other_distributions_are_refused_with_the_remedy(
    suggest: Callable[[optuna.Trial], float],
) -> None:
    study = new_study()
    with pytest.raises(ValueError, match=r"suggest_float\('lr', 1e-7, 10, log=True\)"):
        study.optimize(suggest, n_trials=1)


def test_a_linear_range_from_zero_is_told_about_zero() -> None:
    with pytest.raises(ValueError, match="low above 0"):
        new_study().optimize(lambda t: t.suggest_float("lr", 0.0, 1.0), n_trials=1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("tolerance", 0.0),
        ("tolerance", -0.1),
        ("tolerance", math.nan),
        ("tolerance", 0.6),
        ("coarse_step", 0.0),
        ("coarse_step", INF),
        ("strategy", "greedy"),
        ("repeats", 0),
        ("repeats", 1.5),
        ("max_configurations", 0),
        ("points", ("minimum",)),
        ("points", ()),
        ("start", -1.0),
        ("start", 0.0),
        ("start", (1e-2, 1e-3)),
        ("start", (1e-3, 1e-2, 1e-1)),
        ("start", "auto"),
    ],
)
def test_arguments_are_checked_by_name(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{argument}="):
        LRStepSampler(**{argument: value})


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=LRStepSampler())
    with pytest.raises(ValueError, match="multi-objective"):
        study.sampler.is_resolved(study)


# --- Options -----------------------------------------------------------------------------------


def test_another_parameter_name() -> None:
    study = new_study(LRStepSampler(param_name="eta"))
    study.optimize(lambda t: PLAIN.loss(t.suggest_float("eta", LOW, HIGH, log=True)), n_trials=100)
    assert [t.params["eta"] for t in study.trials] == rates(searched())


def test_points_limit_the_search() -> None:
    whole = searched(PLAIN, LRStepSampler(strategy="paper"))
    part = searched(PLAIN, LRStepSampler(strategy="paper", points=["max_lr"]))
    assert len(part.trials) < len(whole.trials)
    assert set(rates(part)) < set(rates(whole))
    assert analyze(part).max_lr == pytest.approx(analyze(whole).max_lr, rel=0.1)


def test_midpoint_means_both_ends_of_the_window() -> None:
    midpoint = searched(PLAIN, LRStepSampler(strategy="paper", points="midpoint"))
    ends = searched(PLAIN, LRStepSampler(strategy="paper", points=["min_lr", "max_lr"]))
    assert rates(midpoint) == rates(ends)


def test_an_earlier_result_is_a_start() -> None:
    result = analyze(searched())
    moved = PLAIN.shifted(-0.5)
    study = new_study(LRStepSampler(start=result), curve=moved)
    study.optimize(objective_of(moved), n_trials=100)
    first = sorted(rates(study)[:3])
    assert first == pytest.approx([result.min_lr, result.midpoint, result.max_lr], rel=1e-6)
    assert math.log10(analyze(study).max_lr) == pytest.approx(moved.truth().max_lr, abs=0.1)


def test_repeats_are_needed_only_with_noise() -> None:
    study = searched(PLAIN, LRStepSampler(repeats=3))
    counts = collections.Counter(rates(study))
    assert sorted(counts.values())[-2:] == [1, 2]  # one repeat, which found no noise


def _repeated(seed: int) -> tuple[optuna.Study, list[tuple[float, int]]]:
    """A search with repeats under noise of 2 % of the drop, the same whenever it is run."""
    seen: list[tuple[float, int]] = []

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        k = repeat_index(trial)
        seen.append((trial.params["lr"], k))
        decades = round(1e6 * (math.log10(trial.params["lr"]) + 20.0))
        return loss + 0.04 * float(np.random.default_rng([seed, k, decades]).normal())

    study = new_study(LRStepSampler(repeats=3))
    study.optimize(objective, n_trials=150)
    return study, seen


def test_repeats_are_numbered_at_each_learning_rate() -> None:
    for seed in range(4):
        study, seen = _repeated(seed)
        assert len(study.trials) < 150
        counts = collections.Counter(lr for lr, _ in seen)
        assert min(counts.values()) == 1
        assert max(counts.values()) in (2, 3)
        for lr, n in counts.items():
            assert [k for rate, k in seen if rate == lr] == list(range(n))


def test_noise_is_not_missed_by_an_accident_of_one_pair() -> None:
    repeated = 0
    for seed in range(20):
        _, seen = _repeated(seed)
        repeated += max(k for _, k in seen) == 2
    assert repeated >= 19


def test_repeat_index_wants_the_learning_rate_first() -> None:
    study = new_study()
    trial = study.ask()
    with pytest.raises(ValueError, match="suggest_float"):
        repeat_index(trial)
    with pytest.raises(ValueError, match="study=None"):
        repeat_index(study.trials[0])


# --- Reproducible, reseeded, pickled -----------------------------------------------------------


def _drawn(seed: int | None, *, reseed: bool = False) -> list[dict[str, float]]:
    sampler = LRStepSampler(seed=seed, max_configurations=2)
    if reseed:
        sampler.reseed_rng()
    study = new_study(sampler)
    study.optimize(_nested("last"), n_trials=80)
    return [t.params for t in study.trials]


def test_a_seed_repeats_the_whole_search() -> None:
    assert _drawn(7) == _drawn(7)
    assert _drawn(7) != _drawn(8)


def test_a_seed_repeats_it_in_another_process() -> None:
    code = (
        "import json, optuna; optuna.logging.set_verbosity(40)\n"
        "from tests.test_sampler import _drawn\n"
        "print(json.dumps(_drawn(7)))"
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env=environment,
        )
        assert json.loads(done.stdout) == _drawn(7)


def test_reseeding_changes_the_other_parameters() -> None:
    base = TPESampler(seed=1)
    sampler = LRStepSampler(base_sampler=base)
    before = pickle.dumps(base._rng.rng.get_state())
    sampler.reseed_rng()
    assert pickle.dumps(base._rng.rng.get_state()) != before
    assert _drawn(7, reseed=True)[0]["decay"] != _drawn(7)[0]["decay"]


def test_the_learning_rates_do_not_depend_on_the_seed() -> None:
    assert rates(searched(PLAIN, LRStepSampler(seed=1))) == rates(
        searched(PLAIN, LRStepSampler(seed=2))
    )


def test_pickling_in_the_middle_of_a_search() -> None:
    study = new_study()
    study.optimize(objective_of(), n_trials=6)
    copy = pickle.loads(pickle.dumps(study.sampler))
    assert isinstance(copy, LRStepSampler)
    study.sampler = copy
    study.optimize(objective_of(), n_trials=100)
    assert rates(study) == rates(searched())


def test_one_sampler_may_serve_two_studies() -> None:
    sampler = LRStepSampler()
    moved = PLAIN.shifted(-1.0)
    one, two = new_study(sampler), new_study(sampler, curve=moved)
    for _ in range(100):
        if sampler.is_resolved(one) and sampler.is_resolved(two):
            break
        for study, curve in ((one, PLAIN), (two, moved)):
            if not sampler.is_resolved(study):
                trial = study.ask()
                study.tell(trial, objective_of(curve)(trial))
    assert rates(one) == rates(searched())
    assert rates(two) == rates(searched(moved))


def test_dead_trials_do_not_hold_their_learning_rates_for_ever() -> None:
    study = new_study(LRStepSampler(grace_period=0.05, strategy="paper"))
    dead = study.ask()
    held = dead.suggest_float("lr", LOW, HIGH, log=True)
    time.sleep(0.06)
    study.optimize(objective_of(), n_trials=100)
    assert study.sampler.is_resolved(study)
    assert held in rates(study, states=(TrialState.COMPLETE,))


def test_claims_are_one_small_attribute() -> None:
    study = searched()
    for trial in study.trials:
        ours = {k: v for k, v in trial.system_attrs.items() if k.startswith("lrss:")}
        assert len(ours) <= 1
        assert len(json.dumps(ours)) < 200
    assert all(set(t.user_attrs) == set() for t in study.trials)


def test_suggesting_twice_in_a_trial_gives_the_same() -> None:
    study = new_study()
    trial = study.ask()
    pairs = itertools.pairwise(trial.suggest_float("lr", LOW, HIGH, log=True) for _ in range(3))
    assert all(a == b for a, b in pairs)
