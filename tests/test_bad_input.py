"""What public functions cannot use is a ValueError that names the argument and the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import optuna
import pytest
import torch

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import SearchProgress
from optuna_lrss import analyze
from optuna_lrss import dashboard
from optuna_lrss import trial_steps
from optuna_lrss import visualization
from optuna_lrss.torch import apply_learning_rate
from tests.studies import PLAIN
from tests.studies import searched


mpl.use("Agg")


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return searched(PLAIN, LRStepSampler(tolerance=0.5))


@pytest.fixture(scope="module")
def result(study: optuna.Study) -> LRAnalysis:
    return analyze(study)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)


Call = Callable[..., Any]
CALLS: dict[str, tuple[Call, dict[str, list[Any]]]] = {
    "SearchProgress": (
        lambda study, result, **bad: SearchProgress(**bad),
        {
            "param_name": [3, None, "", ["lr"]],
            "n_trials": [-1, "3", 1.5, True],
            "timeout": [0, -1.0, "3", math.nan, True],
        },
    ),
    "LRStepSampler": (
        lambda study, result, **bad: LRStepSampler(**bad),
        {"seed": ["x", 1.5, math.nan, {}]},
    ),
    "analyze": (
        lambda study, result, **bad: analyze(study, **bad),
        {"configuration": [3, "width", [1, 2]]},
    ),
    "trial_steps": (
        lambda study, result, **bad: trial_steps(study.trials[0], **bad),
        {"default": [0, -1, "20", None, 1.5, True]},
    ),
    "apply_learning_rate": (
        lambda study, result, **bad: apply_learning_rate(lr=0.1, **bad),
        {"optimizer": [3, None, "adam", torch.nn.Linear(2, 1)]},
    ),
    "apply": (
        lambda study, result, **bad: result.apply(optimizer(), **bad),
        {"pick": ["", 0, "lowest"]},
    ),
    "one_cycle": (
        lambda study, result, **bad: result.one_cycle(optimizer(), 10, **bad),
        {"peak": ["high", [0.1], -1.0, True]},
    ),
    "wsd": (
        lambda study, result, **bad: result.wsd(total_steps=10, **bad),
        {"optimizer": [3, None, "adam"]},
    ),
    "pick": (
        lambda study, result, **bad: result.pick(risk=0.1, **bad),
        {"schedule": [["decay"], {}, 3]},
    ),
    "sureness": (
        lambda study, result, **bad: result.sureness(**bad),
        {"pick": ["max_lr", 3, ["peak"]]},
    ),
    "enqueue_picks": (
        lambda study, result, **bad: result.enqueue_picks(optuna.create_study(), **bad),
        {"picks": [3, None, [3]], "params": [3, "width"], "param_name": [3, "", ["lr"]]},
    ),
    "plot_lr_configurations": (
        lambda study, result, **bad: visualization.plot_lr_configurations(**bad),
        {"study_or_result": [3, "study", [], [3], None]},
    ),
    "plot_lr_configurations of a study": (
        lambda study, result, **bad: visualization.plot_lr_configurations(study, **bad),
        {"param_name": [3, "", ["lr"]]},
    ),
    "publish": (
        lambda study, result, **bad: dashboard.publish(study, **bad),
        {"min_interval": ["10", None, [], -1.0, True]},
    ),
    "with_columns": (
        lambda study, result, **bad: dashboard.with_columns(**bad),
        {"objective": [3, None, "loss"]},
    ),
}


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        (name, argument, value)
        for name, (_, wrong) in CALLS.items()
        for argument, values in wrong.items()
        for value in values
    ],
    ids=lambda v: repr(v)[:30],
)
def test_it_is_refused_by_name(
    name: str, argument: str, value: Any, study: optuna.Study, result: LRAnalysis
) -> None:
    with pytest.raises(ValueError, match=f"^{argument}(=|: )"):
        CALLS[name][0](study, result, **{argument: value})
