"""What a trial is told and tells beside its loss: a first guess, its rise, its path."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import make_batches
from torch_cases import mlp
from torch_cases import trial_at

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch._first_guess import first_guess
from optuna_lrss.torch._path import looks
from optuna_lrss.torch._path import measured_reach
from optuna_lrss.torch._path import sample_of
from optuna_lrss.torch._rise import Rise


LANDSCAPES = Path(__file__).parents[2] / "examples" / "benchmarks" / "landscapes" / "data"


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return list(nn.Linear(4, 3).parameters())


# --- The first guess ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "guess"),
    [
        (torch.optim.SGD(weights(), lr=0.07), 0.07),
        (torch.optim.SGD(weights()), 10**-0.5),
        (torch.optim.SGD(weights(), momentum=0.9), 0.1),
        (torch.optim.Adam(weights()), 10**-1.5),
        (torch.optim.Adam(weights(), lr=2e-5), 2e-5),
        (torch.optim.Adam(weights(), lr=torch.tensor(2e-5)), pytest.approx(2e-5)),
        (torch.optim.RMSprop(weights()), 1e-2),
        (torch.optim.ASGD(weights()), 1e-2),  # no kin is known: what its authors thought
    ],
)
def test_first_guess(optimizer: torch.optim.Optimizer, guess: float) -> None:
    assert first_guess(optimizer, float(optimizer.param_groups[0]["lr"])) == guess


@pytest.mark.parametrize(
    ("recorded", "optimizer"),
    [
        ("sgd", torch.optim.SGD(weights())),
        ("momentum", torch.optim.SGD(weights(), momentum=0.9)),
        ("adam", torch.optim.Adam(weights())),
        ("adamw", torch.optim.AdamW(weights())),
        ("rmsprop", torch.optim.RMSprop(weights())),
        ("adagrad", torch.optim.Adagrad(weights())),
    ],
)
def test_guess_of_a_class_is_the_median_over_the_landscapes(
    recorded: str, optimizer: torch.optim.Optimizer
) -> None:
    found = []
    for file in LANDSCAPES.glob(f"*-{recorded}-*.npz"):
        with np.load(file) as cell:
            meta = json.loads(str(cell["meta"]))
            steps = cell["curve_steps"].tolist()
            if meta["optimizer"] != recorded or meta["finetune"] or 20 not in steps:
                continue
            curves = np.nan_to_num(cell["curve"][:, steps.index(20)].astype(float), nan=np.inf)
            for curve, baseline in zip(curves, cell["baseline"], strict=True):
                if curve.min() < baseline - 0.02 * abs(baseline):
                    found.append(math.log10(cell["lr"][np.argmin(curve)]))
    assert len(found) > 30
    own = float(optimizer.param_groups[0]["lr"])
    assert abs(np.median(found) - math.log10(first_guess(optimizer, own))) < 0.13


def test_a_guess_is_in_the_study_before_the_first_learning_rate() -> None:
    batches = make_batches(4)
    torch.manual_seed(0)
    model = mlp()
    objective = StepObjective(
        model,
        torch.optim.SGD(model.parameters(), lr=0.03),
        F.cross_entropy,
        batches,
        batches,
        steps=4,
        paths=True,
        progress=False,
    )
    study = optuna.create_study(sampler=LRStepSampler(strategy="guided"))
    study.optimize(objective, n_trials=1)
    assert study.trials[0].params["lr"] == pytest.approx(0.03)


# --- The rise -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "stops_at"),
    [
        ([2.0] * 20, None),
        ([2.0, 60.0, 90.0, 9.0, 4.0, 2.0] + [1.0] * 14, None),  # comes back in time
        ([2.0, 9.0, 60.0, 90.0, 90.0, 90.0], 6),
        ([2.0] * 8 + [20.0] + [2.0] * 11, None),  # a bad batch
        ([2.0] * 8 + [9.0, 11.0, 13.0, 15.0, 17.0], 11),
        ([2.0, 99.0, 99.0, 60.0, 50.0, 40.0, 30.0, 20.0, 10.0] + [2.0] * 11, None),  # comes back
    ],
)
def test_what_stays_high_is_beyond_the_wall(losses: list[float], stops_at: int | None) -> None:
    rise = Rise([2.0] * 20, 2.0)
    stopped = None
    for step, loss in enumerate(losses, start=1):
        rise.add(loss)
        if rise.is_over and stopped is None:
            stopped = step
    assert stopped == stops_at


def test_a_loss_through_zero_is_measured_by_its_scatter() -> None:
    rise = Rise([-0.5, 0.5] * 10, 0.001)
    for _ in range(8):
        rise.add(1.0)
    assert not rise.is_over  # 1000 untrained losses, but two deviations
    for _ in range(4):
        rise.add(9.0)
    assert rise.is_over


# --- The path -----------------------------------------------------------------------------------


def test_looks_are_a_factor_of_two_apart() -> None:
    assert looks(20) == (1, 2, 4, 7, 14)
    assert looks(100) == (5, 10, 20, 35, 70)
    assert looks(1) == ()


@pytest.mark.parametrize(
    ("optimizer", "reach"),
    [
        (torch.optim.SGD(weights()), lambda k: k),
        (torch.optim.SGD(weights(), momentum=0.9), lambda k: k * momentum_lag(0.9, k)),
        (torch.optim.Adam(weights()), lambda k: k),
        (torch.optim.Adagrad(weights()), lambda k: sum(j**-0.5 for j in range(1, k + 1))),
        (
            torch.optim.RMSprop(weights()),
            lambda k: sum((1 - 0.99**j) ** -0.5 for j in range(1, k + 1)),
        ),
        (torch.optim.LBFGS(weights()), lambda k: k),  # needs a closure: taken for even
    ],
)
def test_reach_of_an_optimizer(optimizer: torch.optim.Optimizer, reach: Any) -> None:
    found = measured_reach(optimizer, 20, [1.0])
    assert {k: v / found[20] for k, v in found.items()} == pytest.approx(
        {k: reach(k) / reach(20) for k in (1, 2, 4, 7, 14, 20)}, rel=2e-3
    )


def test_a_sample_is_about_a_batch() -> None:
    batches = [(torch.zeros(160, 3), torch.zeros(160)), (torch.zeros(160, 3), torch.zeros(160))]
    for size, wanted in ((8, 40), (32, 40), (50, 80), (500, 80)):
        like = (torch.zeros(size, 3), torch.zeros(size))
        assert sum(len(y) for _, y in sample_of(batches, like)) == wanted
    objects: list[Any] = [object(), object()]
    assert sample_of(objects, objects[0]) == objects  # nothing to cut, one sample each


def path_of(lr: float, optimizer: str = "sgd", samples: int = 32) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = mlp()
    own = OPTIMIZERS[optimizer](model)
    valid = make_batches(1, size=samples, seed=5)
    before = fingerprint(model, own)
    objective = StepObjective(
        model, own, F.cross_entropy, make_batches(20), valid, paths=True, progress=False
    )
    trial = trial_at(lr)
    loss = objective(trial)
    assert fingerprint(model, own) == before
    return trial.user_attrs["lrss:trial"], loss - objective.baseline


def test_a_path_ends_where_the_trial_ends() -> None:
    info, excess = path_of(0.01)
    reach, on_the_way = np.asarray(info["path"]).T
    assert reach == pytest.approx([k / 20 for k in (1, 2, 4, 7, 14, 20)], rel=1e-3)
    assert on_the_way[-1] == pytest.approx(excess, rel=1e-5)  # the sample is the whole set
    assert np.all(np.diff(on_the_way) < 0.0)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_path_is_the_curve_left_of_its_trial(optimizer: str) -> None:
    """The law: after k steps at lr as after n at lr tau(k) / tau(n)."""
    lr = {"sgd": 0.03, "momentum": 0.005, "adam": 0.002}[optimizer]
    info, drop = path_of(lr, optimizer)
    for reach, excess in info["path"][1:-1]:
        _, there = path_of(lr * reach, optimizer)
        assert abs(excess - there) < 0.2 * abs(drop)  # a sample's, so near the minimum


def test_what_a_search_takes_with_and_without_paths() -> None:
    torch.manual_seed(0)
    model = mlp()
    results = []
    for strategy in ("frugal", "guided"):
        objective = StepObjective(
            model,
            torch.optim.SGD(model.parameters()),
            F.cross_entropy,
            make_batches(20),
            make_batches(4, seed=5),
            paths=strategy == "guided",
            progress=False,
        )
        study = optuna.create_study(sampler=LRStepSampler(strategy=strategy))
        study.optimize(objective)
        results.append(analyze(study))
    frugal, guided = results
    assert guided.resolved
    assert guided.n_trials <= 0.75 * frugal.n_trials
    assert not frugal.inferred
    assert len(guided.inferred) >= 3
    assert max(lr for lr, *_ in guided.inferred) < guided.max_lr
    assert guided.lowest == pytest.approx(min(y for _, _, y in guided.trials), abs=0.02)
    for name in ("recommended", "min_lr", "half_loss"):
        off = math.log10(getattr(guided, name) / getattr(frugal, name))
        assert abs(off) < 0.2, (name, off)
