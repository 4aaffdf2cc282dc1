"""Trials that fail or diverge by accident: a lone one is evaluated again before it is believed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import repeat_index
from optuna_lrss._method.divergence import contradicted
from tests.curves import CURVES
from tests.curves import Curve
from tests.studies import PLAIN
from tests.studies import new_study


INF = math.inf
#: A curve with a cliff: the losses fall up to the wall of divergence.
CLIFF = next(c for c in CURVES if c.name == "stiff quadratic")


def _fail() -> float:
    raise RuntimeError("an accident")


def _with_accident(
    accident: Callable[[], float], which: int, curve: Curve = PLAIN, times: int = 1
) -> optuna.Study:
    """A search in which the learning rate of trial ``which`` meets an accident."""
    study = new_study(LRStepSampler(), curve=curve)
    met: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *curve.range, log=True)
        if trial.number == which or (lr in met and len(met) < times):
            met.append(lr)
            return accident()
        return curve.loss(lr)

    study.optimize(objective, n_trials=80, catch=(RuntimeError,))
    assert len(study.trials) < 80
    return study


@pytest.mark.parametrize("accident", [lambda: INF, _fail], ids=["inf", "error"])
@pytest.mark.parametrize("curve", [PLAIN, CLIFF], ids=lambda c: c.name)
def test_one_accident_moves_no_pick(accident: Callable[[], float], curve: Curve) -> None:
    clean = analyze(_with_accident(accident, -1, curve))
    for which in range(clean.n_trials):
        result = analyze(_with_accident(accident, which, curve))
        assert result.resolved
        for name, lr in clean.picks.items():
            off = abs(math.log10(getattr(result, name) / lr))
            assert off <= 0.1, (which, name)


@pytest.mark.parametrize("accident", [lambda: INF, _fail], ids=["inf", "error"])
def test_an_accident_that_comes_back_is_doubted(accident: Callable[[], float]) -> None:
    n_doubted = 0
    for which in range(12):
        result = analyze(_with_accident(accident, which, times=9))
        first = result.curve.lr[~result.curve.finite].min()
        right = result.curve.loss[(result.curve.lr > first) & result.curve.finite]
        doubted = "lone-divergence" in {d.code for d in result.diagnostics}
        if (right < result.baseline).any():
            assert doubted
            n_doubted += 1
        elif right.size == 0:
            assert not doubted
    assert n_doubted >= 3


def test_a_divergence_is_evaluated_again_at_most_once() -> None:
    study = _with_accident(lambda: INF, 5, times=9)
    lrs = [t.params["lr"] for t in study.trials if t.value == INF]
    assert max(lrs.count(lr) for lr in lrs) == 2


def test_a_recheck_sees_the_batches_of_the_trial_that_diverged() -> None:
    study = new_study(LRStepSampler())
    for value, expected in ((INF, 0), (1.0, 0), (1.1, 1), (INF, 2), (1.2, 2)):
        study.enqueue_trial({"lr": 0.01})
        trial = study.ask()
        trial.suggest_float("lr", *PLAIN.range, log=True)
        assert repeat_index(trial) == expected
        study.tell(trial, value)


def test_a_later_loss_takes_a_divergence_back_and_an_earlier_one_does_not() -> None:
    study = new_study()
    space = {"lr": optuna.distributions.FloatDistribution(*PLAIN.range, log=True)}
    for x in np.arange(-6.0, 0.0, 0.25):
        lr = 10.0**x
        study.add_trial(
            optuna.create_trial(params={"lr": lr}, distributions=space, value=PLAIN.loss(lr))
        )
    for value, finite in ((INF, False), (0.9, True), (INF, False)):
        study.add_trial(optuna.create_trial(params={"lr": 2e-3}, distributions=space, value=value))
        curve = analyze(study).curve
        assert curve.finite[np.argmin(np.abs(curve.lr - 2e-3))] == finite


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ([1.0, INF, 0.5, INF], [False, True, False, False]),
        ([1.0, INF, INF, 0.9, 5.0], [False, True, True, False, False]),
        ([1.0, 0.5, INF, 1.9, INF], [False] * 5),  # a loss beyond the wall is no better one
        ([INF, INF], [False, False]),
        ([INF, 0.9], [True, False]),
    ],
)
def test_what_contradicts_the_shape_of_a_curve(loss: list[float], expected: list[bool]) -> None:
    assert contradicted(np.array(loss), 1.0).tolist() == expected


def test_without_a_baseline_every_finite_loss_is_better() -> None:
    assert contradicted(np.array([INF, 7.0, INF]), None).tolist() == [True, False, False]
