"""LRStepPruner: stops what diverges, and nothing that could still be the minimum."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.testing.pruners import DeterministicPruner
from optuna.trial import TrialState

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from tests.curves import Curve
from tests.curves import Quadratic
from tests.studies import rates


INF = math.inf
STEPS = 20
SNAPSHOTS = (2, 5, 10, 15, 20)
Trajectory = Callable[[float], list[float]]


# --- Simulated trainings ------------------------------------------------------------------------


def quadratic(lr: float) -> list[float]:
    """Gradient descent on a quadratic: the loss before step 1 and after each step."""
    curvatures, parts = (50.0, 20.0, 5.0, 1.0), (0.4, 0.3, 0.2, 0.1)
    with np.errstate(over="ignore"):
        return [
            float(np.sum(np.multiply(parts, (1.0 - lr * np.array(curvatures)) ** (2 * k))))
            for k in range(STEPS + 1)
        ]


def catapult(lr: float) -> list[float]:
    """A two-layer linear network, f = u v: above the stable rate its loss rises, then falls."""
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 60)) / math.sqrt(60.0)
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS + 1):
            error = u @ v
            losses.append(float(0.5 * error**2))
            u, v = u - lr * error * v, v - lr * error * u
    return losses


def negative(lr: float) -> list[float]:
    """A log-likelihood that may lie below zero."""
    return [loss - 4.0 for loss in quadratic(lr)]


TRAININGS = {"quadratic": quadratic, "catapult": catapult, "negative": negative}


def _objective(training: Trajectory, counter: list[int]) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        losses = training(trial.suggest_float("lr", 1e-6, 1e2, log=True))
        for step, loss in enumerate(losses[1:], start=1):
            counter[0] += 1
            if step not in SNAPSHOTS:
                continue
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return losses[-1] if math.isfinite(losses[-1]) else INF

    return objective


def _run(
    training: Trajectory,
    pruner: optuna.pruners.BasePruner,
    *,
    sampler: LRStepSampler | None = None,
) -> tuple[optuna.Study, int]:
    """The study and the number of steps that it took."""
    study = optuna.create_study(
        sampler=LRStepSampler() if sampler is None else sampler, pruner=pruner
    )
    study.set_user_attr("lrss:baseline", training(0.0)[0])
    counter = [0]
    study.optimize(_objective(training, counter), n_trials=100)
    return study, counter[0]


def test_the_catapult_rises_before_it_falls() -> None:
    """Otherwise the tests below would show nothing."""
    baseline = catapult(0.0)[0]
    grid = 10.0 ** np.arange(-3.0, 1.0, 0.01)
    risen = [lr for lr in grid if max(catapult(lr)) > 4.0 * baseline > 400.0 * catapult(lr)[-1]]
    assert len(risen) > 5


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("strategy", ["frugal", "paper"])
def test_the_analysis_is_the_same_with_and_without(name: str, strategy: str) -> None:
    results = []
    for pruner in (LRStepPruner(), DeterministicPruner(is_pruning=False)):
        study, steps = _run(TRAININGS[name], pruner, sampler=LRStepSampler(strategy=strategy))
        results.append((analyze(study), rates(study), steps, study))
    (pruned, pruned_rates, fewer, study), (whole, whole_rates, all_steps, _) = results
    assert pruned.picks == whole.picks
    assert (pruned.min_lr, pruned.max_lr) == (whole.min_lr, whole.max_lr)
    assert pruned_rates == whole_rates
    assert fewer < all_steps == STEPS * len(whole_rates)
    assert TrialState.PRUNED in {t.state for t in study.trials}


@pytest.mark.parametrize("name", TRAININGS)
def test_no_trial_that_ends_below_the_baseline_is_pruned(name: str) -> None:
    training = TRAININGS[name]
    baseline = training(0.0)[0]
    study = optuna.create_study(pruner=LRStepPruner())
    study.set_user_attr("lrss:baseline", baseline)
    for lr in 10.0 ** np.arange(-6.0, 2.0, 0.05):
        study.enqueue_trial({"lr": float(lr)})
    n = len(study.get_trials(deepcopy=False))
    study.optimize(_objective(training, [0]), n_trials=n)
    learned = [t for t in study.trials if training(t.params["lr"])[-1] < baseline]
    assert len(learned) > 20
    assert {t.state for t in learned} == {TrialState.COMPLETE}
    assert TrialState.PRUNED in {t.state for t in study.trials}


# --- Single judgements --------------------------------------------------------------------------


def _asked(
    baseline: float | None = 2.0, *, direction: str = "minimize", best: float | None = None
) -> optuna.Trial:
    study = optuna.create_study(pruner=LRStepPruner(), direction=direction)
    if baseline is not None:
        study.set_user_attr("lrss:baseline", baseline)
    if best is not None:
        study.enqueue_trial({"lr": 1e-3})
        study.optimize(
            lambda t: best + 0.0 * t.suggest_float("lr", 1e-7, 1.0, log=True), n_trials=1
        )
    trial = study.ask()
    trial.suggest_float("lr", 1e-7, 1.0, log=True)
    return trial


@pytest.mark.parametrize("baseline", [2.0, None])
@pytest.mark.parametrize("report", [INF, math.nan, -INF])
def test_what_is_not_finite_is_pruned(baseline: float | None, report: float) -> None:
    trial = _asked(baseline)
    trial.report(1.9, 1)
    assert not trial.should_prune()
    trial.report(report, 2)
    assert trial.should_prune()


@pytest.mark.parametrize("baseline", [2.0, -2.0, 0.01])
@pytest.mark.parametrize("best", [None, -5.0])
def test_what_has_run_away_is_pruned(baseline: float, best: float | None) -> None:
    trial = _asked(baseline, best=best)
    trial.report(baseline + 1e8 * abs(baseline), 1)
    assert trial.should_prune()


@pytest.mark.parametrize("baseline", [2.0, -2.0, 0.01])
@pytest.mark.parametrize("best", [None, -5.0, -2.5])
def test_what_rises_a_hundredfold_may_fall_again(baseline: float, best: float | None) -> None:
    trial = _asked(baseline, best=best)
    for step, loss in enumerate((1.0, 10.0, 100.0, 10.0, 0.5), start=1):
        trial.report(baseline + loss * abs(baseline), step)
        assert not trial.should_prune()


def test_only_the_last_report_counts() -> None:
    trial = _asked()
    trial.report(1.5, 10)
    trial.report(1e12, 3)  # an earlier step, reported late
    assert not trial.should_prune()


def test_without_reports_nothing_is_pruned() -> None:
    assert not _asked().should_prune()


@pytest.mark.parametrize("report", [1e3, 1e30])
def test_without_a_baseline_there_is_no_scale(report: float) -> None:
    trial = _asked(None)
    trial.report(report, 1)
    assert not trial.should_prune()


def test_a_baseline_of_zero_is_no_scale_either() -> None:
    trial = _asked(0.0)
    trial.report(1e6, 1)
    assert not trial.should_prune()


def test_maximizing_turns_the_rule_around() -> None:
    trial = _asked(-2.0, direction="maximize")
    trial.report(1e8, 1)  # better than anything
    assert not trial.should_prune()
    trial.report(-1e8, 2)
    assert trial.should_prune()


def test_being_worse_than_others_is_no_reason() -> None:
    trial = _asked(2.0, best=0.01)
    for step in range(1, STEPS):
        trial.report(2.0, step)
        assert not trial.should_prune()


def test_a_configuration_has_a_baseline_of_its_own() -> None:
    trial = _asked(1e-9)
    trial.set_user_attr("lrss:trial", {"steps": 1, "diverged": False, "baseline": 5.0})
    trial.report(6.0, 1)
    assert not trial.should_prune()


def test_the_pruner_pickles() -> None:
    trial = _asked()
    trial.study.pruner = pickle.loads(pickle.dumps(trial.study.pruner))
    trial.report(1e12, 1)
    assert trial.should_prune()


def test_what_the_pruner_stops_counts_as_diverged() -> None:
    study, _ = _run(quadratic, LRStepPruner())
    result = analyze(study)
    for trial in study.trials:
        if trial.state == TrialState.PRUNED:
            at = int(np.argmin(np.abs(np.log(result.curve.lr) - math.log(trial.params["lr"]))))
            assert math.isinf(result.curve.loss[at])
    assert "pruned-early" not in {d.code for d in result.diagnostics}


def test_the_simulated_quadratic_is_the_exact_one() -> None:
    exact = Quadratic(
        "same",
        curvatures=(50.0, 20.0, 5.0, 1.0),
        parts=(0.4, 0.3, 0.2, 0.1),
        baseline=1.0,
        depth=1.0,
    )
    assert isinstance(exact, Curve)
    for lr in (1e-4, 0.01, 0.03):
        assert quadratic(lr)[-1] == pytest.approx(exact.loss(lr), rel=1e-9)
