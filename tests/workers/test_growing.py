"""A curve that grows by one trial at a time is the curve of all of them."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.known import Known
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import observe
from tests.workers import fleet


def _assert_equal(curve: LRCurve | None, expected: LRCurve) -> None:
    assert curve is not None
    for name in ("lr", "loss", "stderr", "count"):
        np.testing.assert_allclose(getattr(curve, name), getattr(expected, name), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_history_that_is_kept_is_a_history_read_anew(seed: int) -> None:
    draw = np.random.default_rng(seed)
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    kept = StudyHistory("lr")
    rates = 10.0 ** draw.uniform(-7, 1, 12)
    for i in range(50):
        again = float(draw.choice(rates)) if i % 3 == 0 else float(10.0 ** draw.uniform(-7, 1))
        study.enqueue_trial({"lr": again})
        trial = study.ask()
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        for step in (5, 20)[: 1 + int(draw.integers(0, 2))]:
            trial.report(min(fleet.loss_at(lr), 9.0) * 20 / step, step)
        if kept.curves:  # what is foreseen may come true, or not
            foreseen = [fleet.loss_at(lr) + i % 2]
            frozen = study._storage.get_trial(trial._trial_id)
            extra = observe(frozen, "lr", study.direction, (TrialState.COMPLETE, foreseen))
            kept.curves[()].curve(fleet.BASELINE, extra)
        kind = int(draw.integers(0, 8)) if i > 25 else 7
        if kind < 2:
            study.tell(trial, state=(TrialState.FAIL, TrialState.PRUNED)[kind])
        else:
            study.tell(trial, fleet.loss_at(lr))
        curves = kept.refresh(study).curves
        if not curves:
            continue
        anew = StudyHistory("lr").refresh(study).curves[()]
        for baseline in (None, fleet.BASELINE):
            for early in (False, True):
                ours = curves[()].curve(baseline, early=early)
                _assert_equal(ours, anew.curve(baseline, early=early))


def _noisy_trials(n: int) -> list[Observation]:
    """Trials of a noisy curve, evenly spread."""
    draw = np.random.default_rng(0)
    study = optuna.create_study()
    for x in np.linspace(-6.0, -0.5, n):
        study.enqueue_trial({"lr": float(10.0**x)})
        trial = study.ask()
        lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
        study.tell(trial, fleet.loss_at(lr) + 0.1 * float(draw.normal()))
    found = [observe(t, "lr", study.direction) for t in study.get_trials()]
    return [o for o in found if o is not None]


def _taken_in(observations: list[Observation]) -> Observations:
    taken = Observations((), 0)
    for observation in observations:
        taken.add(observation)
    return taken


@pytest.mark.parametrize("n", [10, 20])
def test_noise_is_foreseen_as_it_comes_true(n: int) -> None:
    trials = _noisy_trials(n)
    foreseen = Known(_taken_in(trials[:-1]), fleet.BASELINE, trials[-1]).noise(repeats=1)
    assert foreseen == Known(_taken_in(trials), fleet.BASELINE).noise(repeats=1) > 0.0


def test_noise_does_not_depend_on_the_order_of_reading() -> None:
    """A slow trial is read late by a worker that has looked before, and early by a fresh one."""
    trials = _noisy_trials(14)
    late = [*trials[:3], *trials[4:], trials[3]]
    noise = [Known(_taken_in(o), fleet.BASELINE).noise(repeats=1) for o in (trials, late)]
    assert noise[0] == noise[1] > 0.0


def test_a_maximised_trial_carries_a_baseline_of_its_own_sign() -> None:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    trial.set_user_attr("lrss:trial", {"steps": 20, "diverged": False, "baseline": -2.4})
    study.tell(trial, -1.0)
    observation = observe(study.trials[0], "lr", study.direction)
    assert observation is not None
    assert (observation.loss, observation.baseline) == (1.0, 2.4)
