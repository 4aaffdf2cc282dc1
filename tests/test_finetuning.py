"""The fine-tuning benchmarks: a search is kept whole, and points lost are scored right."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


@pytest.fixture
def finetuning(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).parents[1] / "examples" / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("finetuning")


def searched(top: float) -> optuna.Study:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("learning_rate", 1e-7, 10, log=True)
        x = math.log10(lr / top)
        return math.inf if x > 0.5 else 1.4 - 1.0 / (1 + math.exp(-4 * (x + 0.7))) + max(x, 0.0)

    study = optuna.create_study(sampler=LRStepSampler(param_name="learning_rate"))
    study.set_user_attr("lrss:baseline", 1.4)
    study.set_user_attr("lrss:steps", 20)
    study.optimize(objective)
    return study


def test_a_stored_search_is_analysed_as_the_study_itself(finetuning: ModuleType) -> None:
    study = searched(1e-3)
    kept = json.loads(json.dumps(finetuning.stored(study), allow_nan=False))
    again = analyze(finetuning.restored(kept), param_name="learning_rate")
    assert math.inf in [loss for *_, loss in again.trials]
    assert again.to_json() == analyze(study, param_name="learning_rate").to_json()


def test_points_are_lost_against_the_best_of_the_grid(finetuning: ModuleType) -> None:
    run: dict[str, Any] = {"grid": {"0.001": 80.0, "0.0001": 70.0, "0.01": 25.0}}
    assert finetuning.lost(run, 1e-3) == 0.0
    assert finetuning.lost(run, 1e-4) == 10.0
    assert finetuning.lost(run, 10**-3.5) == pytest.approx(5.0)
    assert finetuning.lost(run, 10**-2.5) == pytest.approx(27.5)


def test_the_grid_reaches_as_far_as_the_picks_do(finetuning: ModuleType) -> None:
    exponents = [round(3 * math.log10(lr), 3) for lr in finetuning.grid_rates([-9, -8], [], [])]
    assert exponents == [-9, -8]
    rates = finetuning.grid_rates([-9, -8], [2e-4], [1.9e-4, 5e-3])
    assert [round(3 * math.log10(lr), 1) for lr in rates] == [-12, -11.1, -9, -8, -7, -6]


def test_a_run_is_whole_when_its_grid_is(finetuning: ModuleType) -> None:
    run: dict[str, Any] = {"steps": 100, "search": finetuning.stored(searched(1e-3))}
    setting = finetuning.Setting(None, {"3e-4": 3e-4}, exponents=[-10, -9], seeds=1)
    assert not finetuning.is_whole(run, setting)
    run["grid"] = {finetuning.key(lr): 50.0 for lr in finetuning.rates_of(run, setting)}
    assert finetuning.is_whole(run, setting)
    assert not finetuning.is_whole(run, dataclasses.replace(setting, range_test=True))
    assert {"peak", "recommended", "max_lr"} <= set(finetuning.picks_of(run, setting))
    few = dataclasses.replace(setting, shown=("peak",))
    assert set(finetuning.picks_of(run, few)) == {"peak"}


def test_trials_are_counted_by_horizon_over_the_seeds(finetuning: ModuleType) -> None:
    def run(*horizons: int | None) -> dict[str, Any]:
        claims = [{} if h is None else {"lrss:claim": {"horizon": h}} for h in horizons]
        trials = [{"system_attrs": claim} for claim in claims]
        return {"search": {"user_attrs": {"lrss:steps": 20}, "trials": trials}}

    said = finetuning.trials_of([run(None, None, 50), run(None, None, 50, 50)])
    assert said == "2 trials of 20 steps, 1 to 2 trials of 50 steps"


def test_runs_of_another_length_are_not_mixed(finetuning: ModuleType) -> None:
    setting = finetuning.Setting(None, {}, exponents=[-9], seeds=2, steps=400)
    figures: dict[str, Any] = {"runs": [{"seed": 0, "steps": 100, "picks": {}}]}
    made = finetuning._runs_of(figures, setting)
    assert [(r["seed"], r["steps"]) for r in made] == [(0, 400), (1, 400)]
    assert len(figures["runs"]) == 3
    assert finetuning.whole_runs(figures, setting) == []
    made[1]["picks"] = {}
    assert finetuning.whole_runs(figures, setting) == [made[1]]


def test_a_longer_training_takes_the_search_of_its_seed_and_picks_for_its_length(
    finetuning: ModuleType,
) -> None:
    short = finetuning.Setting(None, {}, exponents=[-9], seeds=2)
    long = dataclasses.replace(short, steps=400, search_of=short.steps)
    figures: dict[str, Any] = {"runs": []}
    for run, top in zip(finetuning._runs_of(figures, short), (1e-3, 1e-2), strict=True):
        run["search"] = finetuning.stored(searched(top))
    second = finetuning._runs_of(figures, long)[1]
    finetuning._take_search(figures, long, second)
    assert second["search"] == figures["runs"][1]["search"]
    shorter, longer = (finetuning.picks_of(figures["runs"][i], short)["peak"] for i in (1, 3))
    assert longer < shorter
