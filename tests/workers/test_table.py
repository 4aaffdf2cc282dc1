"""configurations(): the table of a study's configurations."""

from __future__ import annotations

import math

import optuna
import pytest

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._result.table import configurations
from tests.workers import fleet


def two_kinds(trial: optuna.Trial) -> float:
    kind = trial.suggest_categorical("kind", ["good", "flat", "diverged"])
    lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    return {"good": fleet.loss_at(lr), "flat": 2.4, "diverged": math.inf}[kind]


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["minimize", "maximize"])
def test_every_configuration_has_a_row(sign: float) -> None:
    study = optuna.create_study(
        sampler=LRStepSampler(max_configurations=3),
        direction="minimize" if sign > 0 else "maximize",
    )
    study.set_user_attr("lrss:baseline", sign * fleet.BASELINE)
    for kind in ("flat", "good", "diverged"):
        study.enqueue_trial({"kind": kind})
    study.optimize(lambda t: sign * two_kinds(t), n_trials=120)
    table = configurations(study)
    assert [row.params["kind"] for row in table] == ["flat", "good", "diverged"]
    assert sum(row.n_trials for row in table) == len(study.trials) < 120
    flat, good, diverged = table
    assert [row.best for row in table] == [False, True, False]
    result = analyze(study)
    assert result.configuration == good.params
    assert good.window == (result.min_lr, result.max_lr)
    assert good.picks == result.picks
    assert good.value == pytest.approx(sign * fleet.loss_at(result.midpoint), abs=0.1)
    assert flat.window is None
    assert "Nothing learns" in str(flat.problem)
    assert flat.value == pytest.approx(sign * 2.4)
    assert diverged.value is None
    lines = str(table).splitlines()
    assert len(lines) == 4
    head = ["kind", "trials", "value", "min_lr", "max_lr", "recommended", "peak"]
    assert lines[0].split() == head
    assert f"{good.picks['peak']:.3g}" in lines[2].split()
    assert lines[2].endswith("best")
    assert [row["kind"] for row in table.to_dicts()] == ["flat", "good", "diverged"]
    assert table[1:][0] is good


def test_a_study_without_other_parameters_has_one_row() -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    assert len(configurations(study)) == 0
    study.set_user_attr("lrss:baseline", fleet.BASELINE)
    study.optimize(lambda t: fleet.plain(t, 0.0), n_trials=100)
    (row,) = configurations(study)
    assert row.params == {}
    assert row.best
