"""Other hyperparameters: one curve each, a base sampler that sees one trial per configuration."""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.samplers import BruteForceSampler
from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from tests.workers import fleet


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

BASE_SAMPLERS = {
    "tpe": lambda: TPESampler(seed=0),
    "joint-tpe": lambda: TPESampler(seed=0, multivariate=True, n_startup_trials=2),
    "cma": lambda: CmaEsSampler(seed=0, n_startup_trials=1),
    "gp": lambda: GPSampler(seed=0, n_startup_trials=2),
    "qmc": lambda: QMCSampler(seed=0),
    "random": lambda: RandomSampler(seed=0),
}


def floats(trial: optuna.Trial) -> float:
    """Best at width 0.7 and decay 10^-4; the learning rate's curve moves with width."""
    width = trial.suggest_float("width", 0.0, 1.0)
    decay = trial.suggest_float("decay", 1e-6, 1e-2, log=True)
    lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    depth = 1.0 - 0.2 * abs(width - 0.7) - 0.1 * abs(math.log10(decay) + 4.0)
    return fleet.loss_at(lr, width - 0.5, depth)


def search(objective: Any, n: int, base: BaseSampler | None = None, **options: Any) -> Any:
    sampler = LRStepSampler(max_configurations=n, base_sampler=base, seed=0, **options)
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(objective, n_trials=60 * n)
    assert len(study.trials) < 60 * n
    assert sampler.is_resolved(study)
    return study


def per_configuration(study: optuna.Study) -> Counter[Any]:
    return Counter(rate[:-1] for rate in fleet.finished_rates(study))


@pytest.mark.parametrize("kind", BASE_SAMPLERS)
def test_any_base_sampler_may_choose_the_configurations(kind: str) -> None:
    study = search(floats, 6, BASE_SAMPLERS[kind]())
    counts = per_configuration(study)
    assert len(counts) == 6
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates)
    best = analyze(study)
    loss = {c: analyze(study, configuration=dict(c)).lowest for c in counts}
    assert best.lowest == min(loss.values())
    assert best.resolved


def test_the_base_sampler_sees_one_trial_per_configuration_with_its_value() -> None:
    base = Spy(seed=0)
    study = search(floats, 5, base)
    inner = study.sampler._workers.of(study).configurations._study
    told = [t for t in inner.get_trials(deepcopy=False) if t.values is not None]
    counts = per_configuration(study)
    assert len(told) in (len(counts) - 1, len(counts))  # the last one may be told to nobody
    for trial in told:
        assert trial.params.keys() == {"width", "decay"}
        result = analyze(study, configuration=trial.params)
        depth_at_pick = floats(optuna.trial.FixedTrial({**trial.params, "lr": result.midpoint}))
        assert trial.value == pytest.approx(depth_at_pick, abs=0.1)


class Spy(RandomSampler):
    """A base sampler that must never be asked for the learning rate."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any
    ) -> Any:
        assert name != "lr"
        return super().sample_independent(study, trial, name, distribution)


def test_later_configurations_are_warm_started() -> None:
    study = search(floats, 8, RandomSampler(seed=1))
    result = analyze(study)
    best = tuple(sorted(result.configuration.items()))
    counts = per_configuration(study)
    first = next(iter(counts))
    later = sorted(n for c, n in counts.items() if c not in (first, best))
    assert later[len(later) // 2] <= 9 < counts[first]
    for configuration in counts:  # found with less, but found
        warm = analyze(study, configuration=dict(configuration))
        alone = search(with_fixed(dict(configuration)), 1)
        cold = analyze(alone)
        assert abs(math.log10(warm.midpoint / cold.midpoint)) <= 0.2
        assert abs(math.log10(warm.recommended / cold.recommended)) <= 0.2


def with_fixed(params: dict[str, Any]) -> Any:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        return floats(optuna.trial.FixedTrial({**params, "lr": lr}))

    return objective


def test_warm_starts_find_windows_that_have_moved_far() -> None:
    """Three decades either way: the range grows until it holds them."""

    def moved(trial: optuna.Trial) -> float:
        shift = trial.suggest_categorical("shift", [0.0, -3.0, 1.5, -1.5])
        return fleet.loss_at(trial.suggest_float("lr", 1e-8, 1e3, log=True), shift)

    study = search(moved, 4, BruteForceSampler(seed=0))
    for shift in (0.0, -3.0, 1.5, -1.5):
        result = analyze(study, configuration={"shift": shift})
        off = math.log10(result.midpoint / fleet.undisturbed().midpoint) - shift
        assert abs(off) <= 0.2


def test_conditional_spaces() -> None:
    def conditional(trial: optuna.Trial) -> float:
        lr_first = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            depth = 1.0 - 0.1 * trial.suggest_float("momentum", 0.0, 1.0)
            return fleet.loss_at(lr_first, 0.0, depth)
        return fleet.loss_at(lr_first, -1.0, 0.9 - 0.1 * trial.suggest_float("beta2", 0.0, 1.0))

    study = search(conditional, 6, RandomSampler(seed=3))
    counts = per_configuration(study)
    assert len(counts) == 6
    assert {frozenset(dict(c)) for c in counts} == {
        frozenset({"optimizer", "momentum"}),
        frozenset({"optimizer", "beta2"}),
    }
    assert min(counts.values()) >= 4


def test_a_finite_space_that_is_searched_through_ends_the_search() -> None:
    def finite(trial: optuna.Trial) -> float:
        size = trial.suggest_categorical("batch_size", [16, 32, 64])
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        return fleet.loss_at(lr, 0.3 * math.log2(size / 32))

    study = search(finite, 20, BruteForceSampler(seed=0))
    assert len(per_configuration(study)) == 3
    study = search(finite, 6, RandomSampler(seed=0))  # draws some of them again
    assert 2 <= len(per_configuration(study)) <= 3


def test_configurations_that_learn_nothing_or_diverge_do_not_stop_it() -> None:
    def often_bad(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["good", "flat", "diverged"])
        trial.suggest_float("decay", 0.0, 1.0)
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        return {"good": fleet.loss_at(lr), "flat": 2.4, "diverged": math.inf}[kind]

    study = search(often_bad, 8, RandomSampler(seed=5))
    kinds = {dict(c)["kind"] for c in per_configuration(study)}
    assert kinds == {"good", "flat", "diverged"}
    assert analyze(study).configuration["kind"] == "good"


def test_enqueued_configurations_get_curves_of_their_own() -> None:
    study = optuna.create_study(sampler=LRStepSampler(max_configurations=2, seed=0))
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.enqueue_trial({"width": 0.7, "decay": 1e-4})
    study.optimize(floats, n_trials=100)
    best = analyze(study)
    assert best.configuration == {"width": 0.7, "decay": 1e-4}
    assert best.resolved


def test_single_valued_parameters_split_nothing() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["sgd"])
        return fleet.plain(trial, 0.0)

    study = search(objective, 1)
    assert len(per_configuration(study)) == 1
    fleet.assert_same_picks(analyze(study))


def test_resumed_in_another_process_nothing_is_drawn_again(tmp_path: Any) -> None:
    """Every process gets the sampler with the same seed, and no configuration comes twice."""
    spec = f"sqlite:///{tmp_path}/study.db"
    study = fleet.new_study(spec)
    for n in (1, 2, 3):
        again = optuna.load_study(
            study_name=study.study_name,
            storage=fleet.open_storage(spec),
            sampler=LRStepSampler(
                max_configurations=n, base_sampler=RandomSampler(seed=0), grace_period=0.1
            ),
        )
        again.optimize(floats, n_trials=60)
    assert len(per_configuration(study)) == 3


def test_ask_and_tell_in_batches() -> None:
    sampler = LRStepSampler(max_configurations=3, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    for _ in range(40):
        trials = [study.ask() for _ in range(4)]
        values = [floats(t) for t in trials]
        for trial, value in zip(trials, values, strict=True):
            study.tell(trial, value)
        if sampler.is_resolved(study):
            break
    assert sampler.is_resolved(study)
    rates = fleet.finished_rates(study)
    assert len(set(rates)) == len(rates)
    assert len(per_configuration(study)) <= 4


def test_undisturbed_search_takes_few_trials() -> None:
    study = search(functools.partial(fleet.plain, seconds=0.0), 1)
    assert len(study.trials) <= 20
