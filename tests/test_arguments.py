"""What the sampler is given is refused with a named error; what it finds, with one warning."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._study import attributes
from tests.studies import PLAIN
from tests.studies import new_study
from tests.studies import objective_of
from tests.studies import rates
from tests.studies import searched


#: For each argument, values of a wrong type or out of its range.
WRONG: dict[str, list[Any]] = {
    "coarse_step": ["0.5", None, [0.5], True, 1j, np.complex64(1), np.array([0.5, 1.0])],
    "tolerance": ["0.1", None, (0.1,), True, np.array([0.1, 0.2])],
    "grace_period": ["60", None, [60], True, math.nan],
    "points": [3, [3], [None], [["max_lr"]], 1.5],
    "strategy": [None, 3, ["frugal"], np.array(["frugal", "paper"])],
    "repeats": ["2", None, [2], True, 2.0],
    "max_configurations": ["2", [2], True, 2.0],
    "start": [
        True,
        "0.1",
        ["a", "b"],
        [[1e-3], [1e-2, 1e-1]],
        {"min_lr": 1e-3},
        np.array([1e-3, 1e-2, 1e-1]),
        np.array([[1e-3, 1e-2]]),
        np.array(math.nan),
        (1e-3, None),
    ],
    "base_sampler": ["tpe", optuna.samplers.TPESampler, 3],
    "param_name": [None, 3, "", ["lr"]],
}


@pytest.mark.parametrize(
    ("argument", "value"),
    [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda v: repr(v)[:30],
)
def test_wrong_types_are_named_errors(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{argument}=.*(must|is unknown: use)"):
        LRStepSampler(**{argument: value})


@pytest.mark.parametrize(
    ("start", "interval"),
    [
        (np.float32(0.1), (0.1, 0.1)),
        (np.array(0.1), (0.1, 0.1)),
        (np.array([0.01, 0.1]), (0.01, 0.1)),
        ([0.01, 0.1], (0.01, 0.1)),
        (1, (1.0, 1.0)),
        (np.int64(1), (1.0, 1.0)),
    ],
)
def test_numbers_and_arrays_are_starts(start: Any, interval: tuple[float, float]) -> None:
    given = LRStepSampler(start=start)._workers._arguments.start
    assert given == pytest.approx(interval)
    assert all(type(end) is float for end in given)


def test_numpy_numbers_are_numbers() -> None:
    sampler = LRStepSampler(coarse_step=np.float32(0.5), tolerance=np.float64(0.25))
    assert rates(searched(PLAIN, sampler)) == rates(searched(PLAIN, LRStepSampler(tolerance=0.25)))


@pytest.mark.parametrize(
    ("low", "high", "coarse_step"),
    [
        (1e-3, 1e-3, 0.5),
        (1e-3, 1.0001e-3, 0.5),
        (1e-3, math.nextafter(1e-3, 1.0), 0.5),
        (1e-3, 2e-3, 0.5),
        (1e-7, 10.0, 8.5),
    ],
)
def test_a_range_without_room_is_refused_at_once(
    low: float, high: float, coarse_step: float
) -> None:
    study = new_study(LRStepSampler(coarse_step=coarse_step))
    with pytest.raises(ValueError, match=r"'lr' has the range .*coarse_step=.*widen it"):
        study.optimize(lambda t: PLAIN.loss(t.suggest_float("lr", low, high, log=True)), 5)
    assert len(study.trials) == 1


# --- Attributes that others have written -------------------------------------------------------

CORRUPT: list[Any] = ["x", [], [1], {"a": 1}, True, {"steps": "x", "baseline": [], "stderr": {}}]
CLAIMS: list[Any] = [
    "x",
    7,
    [1],
    {"x": "high", "role": "coarse", "leader": 0},
    {"x": 1e9, "role": "coarse", "leader": 0},
    {"x": -3.0, "role": "coarse", "leader": "zero"},
    {"x": -3.0, "role": None, "leader": 0, "told": "COMPLETE"},
    {"x": -3.0, "role": None, "leader": 0, "told": ["GONE", 1.0]},
    {"x": -3.0, "role": None, "leader": 0, "told": ["COMPLETE", "low"]},
]


def _study_attribute(key: str, value: object) -> Callable[[optuna.Study], None]:
    return lambda study: study.set_user_attr(key, value)


def _trial_attribute(value: object) -> Callable[[optuna.Study], None]:
    def spoil(study: optuna.Study) -> None:
        study._storage.set_trial_user_attr(study.ask()._trial_id, "lrss:trial", value)
        trial = study.ask()
        trial.suggest_float("lr", *PLAIN.range, log=True)
        trial.set_user_attr("lrss:trial", value)
        study.tell(trial, PLAIN.loss(trial.params["lr"]))

    return spoil


def _claim(value: object) -> Callable[[optuna.Study], None]:
    def spoil(study: optuna.Study) -> None:
        for _ in range(2):  # one that goes on running, and one that is told
            trial = study.ask()
            study._storage.set_trial_system_attr(trial._trial_id, "lrss:claim", value)
        lr = {"lr": optuna.distributions.FloatDistribution(*PLAIN.range, log=True)}
        study.add_trial(
            optuna.create_trial(
                params={"lr": 1e-4},
                distributions=lr,
                value=PLAIN.loss(1e-4),
                system_attrs={"lrss:claim": value},
            )
        )

    return spoil


SPOILED = {
    f"{key} {value!r}": (key, _study_attribute(key, value))
    for key, value in itertools.product(("lrss:baseline", "lrss:steps", "lrss:momentum"), CORRUPT)
}
SPOILED |= {
    f"lrss:trial {value!r}": ("lrss:trial", _trial_attribute(value))
    for value in CORRUPT
    if value != {"a": 1}  # steps may be left out
}
SPOILED |= {f"lrss:claim {v!r}": ("lrss:claim", _claim(v)) for v in CLAIMS}


@pytest.mark.parametrize("name", SPOILED)
def test_corrupt_attributes_are_ignored_with_one_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, spoil = SPOILED[name]
    attributes._warned.clear()
    study = new_study(baseline=key != "lrss:baseline")
    with caplog.at_level(logging.WARNING, logger="optuna_lrss"):
        spoil(study)
        study.optimize(objective_of(), n_trials=60)
        result = analyze(study)
    assert len(study.trials) < 60
    assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr, abs=0.15)
    messages = [r.getMessage() for r in caplog.records if r.name.startswith("optuna_lrss")]
    assert messages
    assert all(key in message and "is ignored" in message for message in messages)
    assert len(messages) == len({m.split(" is ignored")[0] for m in messages})
