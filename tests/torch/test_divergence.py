"""The divergence limits, and that stopping early never touches a trial that could be the best."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch_cases import OPTIMIZERS
from torch_cases import trial_at

from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import _short_trial


@pytest.mark.parametrize(
    ("baseline", "best", "limit"),
    [
        (2.0, 0.5, 3.5),
        (2.0, None, 10.0),
        (2.0, 2.0, 10.0),
        (2.0, 3.0, 10.0),
        (2.0, math.inf, 10.0),
        (2.0, math.nan, 10.0),
        (-1.0, -3.0, 1.0),
        (-1.0, None, 3.0),
        (0.0, -1.0, 1.0),
        (0.0, None, math.inf),
    ],
)
def test_limit_at_the_end(baseline: float, best: float | None, limit: float) -> None:
    assert divergence_limit(baseline, best) == limit


@pytest.mark.parametrize(
    ("baseline", "first", "limit"),
    [
        (2.0, None, 2002.0),
        (2.0, 3.0, 3003.0),
        (3.0, 2.0, 3003.0),
        (-2.0, -1.0, 1999.0),
        (0.0, 0.5, 500.5),
        (0.0, None, math.inf),
    ],
)
def test_limit_in_the_middle(baseline: float, first: float | None, limit: float) -> None:
    assert runaway_limit(baseline, first) == limit


def digits_objective(net: str, optimizer: str) -> StepObjective:
    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    torch.manual_seed(0)
    order = torch.randperm(len(images))
    batches = [(images[i], labels[i]) for i in order[300:].split(32)]
    held_out = [(images[order[:300]], labels[order[:300]])]
    if net == "mlp":
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    else:
        model = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
    pieces = (model, OPTIMIZERS[optimizer](model), F.cross_entropy, batches, held_out)
    return StepObjective(*pieces)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "rmsprop"])
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_early_stop_spares_whatever_could_be_the_minimum(
    net: str, optimizer: str, monkeypatch: Any
) -> None:
    """Around max_lr, with and without stopping early: the same losses below the baseline."""
    objective = digits_objective(net, optimizer)
    lrs = [10.0 ** (k / 4) for k in range(-12, 5)]
    stopped = [objective(trial_at(lr)) for lr in lrs]
    monkeypatch.setattr(_short_trial, "runaway_limit", lambda *_: math.inf)
    monkeypatch.setattr(_short_trial, "divergence_limit", lambda *_: math.inf)
    full = [objective(trial_at(lr)) for lr in lrs]
    lowest = min(full)
    gain = objective.baseline - lowest
    assert gain > 0.2 * objective.baseline
    near = [(s, f) for s, f in zip(stopped, full, strict=True) if f < lowest + 0.3 * gain]
    assert len(near) >= 2
    assert all(s == f for s, f in near)
    assert all(s in (f, math.inf) for s, f in zip(stopped, full, strict=True))
