"""A study says how it was searched, and whoever reads it judges it by that."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import cli
from optuna_lrss import configurations
from optuna_lrss import dashboard
from optuna_lrss._study import attributes
from tests.studies import PLAIN
from tests.studies import new_study
from tests.studies import objective_of
from tests.studies import searched


KEY = "lrss:search:lr"
WINDOW = (10.0 ** PLAIN.truth().min_lr, 10.0 ** PLAIN.truth().max_lr)
SETTINGS: dict[str, dict[str, Any]] = {
    "start at a window": {"start": WINDOW},
    "start at a learning rate": {"start": WINDOW[1]},
    "start far off": {"start": (1e-6, 1e-5)},
    "tolerance 0.2": {"tolerance": 0.2},
    "tolerance 0.3": {"tolerance": 0.3},
    "tolerance 0.5": {"tolerance": 0.5},
    "max_lr alone": {"points": ["max_lr"]},
    "midpoint alone": {"points": "midpoint"},
    "paper": {"strategy": "paper", "points": ["steepest"]},
    "several": {"start": WINDOW, "tolerance": 0.2, "points": ["half_loss"], "coarse_step": 1.0},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_reader_finds_a_search_resolved_that_stopped_by_itself(
    name: str, tmp_path: Path
) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "lr.log")))
    study = new_study(LRStepSampler(**SETTINGS[name]), storage=storage, study_name="a")
    study.optimize(objective_of(), n_trials=100)
    assert study.sampler.is_resolved(study)
    assert analyze(study).resolved
    assert "unresolved" not in {d.code for d in analyze(study).diagnostics}
    dashboard.publish(study)
    assert study.user_attrs["lrss:status"] == "resolved"
    command = ["analyze", "--storage", f"{tmp_path}/lr.log", "--format", "json"]
    assert json.loads(CliRunner().invoke(cli.app, command).stdout)["resolved"]


def test_a_tolerance_of_the_caller_goes_before_the_stored_one() -> None:
    study = searched(PLAIN, LRStepSampler(tolerance=0.5))
    assert not analyze(study, tolerance=0.01).resolved
    assert "0.01 decades" in str(analyze(study, tolerance=0.01))


def test_the_last_search_to_begin_counts() -> None:
    study = searched(PLAIN, LRStepSampler(tolerance=0.5))
    study.sampler = LRStepSampler(tolerance=0.05)
    study.optimize(objective_of(), n_trials=1)
    assert study.user_attrs[KEY]["tolerance"] == 0.05
    assert not analyze(study).resolved
    study.optimize(objective_of(), n_trials=100)
    assert analyze(study).resolved


def test_each_learning_rate_has_a_search_of_its_own() -> None:
    study = searched(PLAIN, LRStepSampler(tolerance=0.5))
    study.sampler = LRStepSampler(param_name="eta", tolerance=0.3)
    low, high = PLAIN.range
    study.optimize(lambda t: PLAIN.loss(t.suggest_float("eta", low, high, log=True)), 100)
    assert study.user_attrs[KEY]["tolerance"] == 0.5
    assert analyze(study).resolved
    assert analyze(study, param_name="eta").resolved


def test_it_is_written_once_and_not_by_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study(LRStepSampler())
    written: list[str] = []
    write = study._storage.set_study_user_attr
    monkeypatch.setattr(
        study._storage,
        "set_study_user_attr",
        lambda study_id, key, value: (written.append(key), write(study_id, key, value)),
    )
    study.sampler.is_resolved(study)
    assert written == []
    study.optimize(objective_of(), n_trials=8)
    study.sampler = LRStepSampler()
    study.optimize(objective_of(), n_trials=100)
    assert written == [KEY]


def _nested(trial: optuna.Trial) -> float:
    width = trial.suggest_categorical("width", [16, 32, 64])
    return objective_of(PLAIN.shifted(0.2 * math.log2(width / 32)))(trial) + abs(width - 64) / 100


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.2}, {"strategy": "paper"}])
def test_all_configurations_are_judged_as_the_sampler_judges_them(options: dict[str, Any]) -> None:
    sampler = LRStepSampler(
        base_sampler=optuna.samplers.GridSampler({"width": [16, 32, 64]}, seed=0),
        max_configurations=3,
        **options,
    )
    study = new_study(sampler)
    study.optimize(_nested, n_trials=150)
    assert sampler.is_resolved(study)
    assert analyze(study).resolved
    for row in configurations(study):
        assert analyze(study, configuration=row.params).resolved


@pytest.mark.parametrize(
    "value",
    [
        3,
        "paper",
        [],
        {},
        {"tolerance": 0.1},
        {"tolerance": "wide", "coarse_step": 0.5},
    ],
)
def test_a_corrupt_attribute_is_ignored_with_one_warning(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    attributes._warned.clear()
    study = searched()
    study.set_user_attr(KEY, value)
    with caplog.at_level(logging.WARNING, logger="optuna_lrss"):
        assert analyze(study).resolved
        assert analyze(study).resolved
    assert [KEY in record.getMessage() for record in caplog.records] == [True]
