"""Running statistics are measured again before a validation; frozen ones and the caller's stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import Hidden
from torch_cases import fingerprint
from torch_cases import make_batches
from torch_cases import make_pieces
from torch_cases import trial_at

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch._statistics import MOST_BATCHES
from optuna_lrss.torch._statistics import averaging


def normed(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(64, 8), norm(), nn.ReLU(), nn.Linear(8, 4))


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


def statistics_in_validation(pieces: StepPieces, lr: float = 0.1, **options: Any) -> list[Tensor]:
    """Those of the model's second module, at the baseline and after each snapshot."""
    pieces = pieces._replace(validation_loader=make_batches(1, seed=2))
    layer: Any = pieces.model.get_submodule("1")
    seen: list[Tensor] = []

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        if not model.training:
            seen.append(torch.stack([layer.running_mean, layer.running_var]))
        return F.cross_entropy(model(batch[0]), batch[1])

    before = fingerprint(*pieces[:2])
    objective_for(pieces._replace(loss_fn=loss_fn), **options)(trial_at(lr))
    assert fingerprint(*pieces[:2]) == before
    return seen


def start_of(layer: Any) -> Tensor:
    return torch.stack([layer.running_mean, layer.running_var]).clone()


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
def test_baseline_is_judged_by_statistics_of_the_training_batches(momentum: float | None) -> None:
    train = make_batches(4, seed=1)
    pieces = make_pieces(normed(lambda: nn.BatchNorm1d(8, momentum=momentum)))
    seen = statistics_in_validation(pieces._replace(train_loader=train))
    update_bn([x for x, _ in train], pieces.model)
    torch.testing.assert_close(seen[0], start_of(pieces.model.get_submodule("1")))
    assert not torch.equal(seen[0], seen[-1])  # those of the trained weights


class ByHand(nn.BatchNorm1d):
    """Frozen by what it does, in train mode as in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.BatchNorm1d(8).eval(),
        lambda: nn.BatchNorm1d(8, momentum=0.0),
        lambda: ByHand(8),
    ],
)
def test_frozen_statistics_stay(norm: Callable[[], nn.Module]) -> None:
    pieces = make_pieces(normed(norm))
    layer: Any = pieces.model.get_submodule("1")
    layer.running_mean.uniform_(-1, 1)
    expected = start_of(layer)
    seen = statistics_in_validation(pieces, snapshots=[2])
    assert len(seen) == 1 + 2 + 2  # the baseline, two halves to see a sum by, snapshot, end
    assert all(torch.equal(s, expected) for s in seen)


def test_a_layer_without_gradients_in_train_mode_is_live_as_in_the_training() -> None:
    pieces = make_pieces(normed(lambda: nn.BatchNorm1d(8).requires_grad_(False)))
    expected = start_of(pieces.model.get_submodule("1"))
    assert not torch.allclose(statistics_in_validation(pieces)[0], expected)


@pytest.mark.parametrize("model", ["cnn", "hidden and normed"])
def test_a_learning_rate_near_zero_has_the_baselines_loss_at_every_snapshot(model: str) -> None:
    hidden = nn.Sequential  # a model with state of its own that moves in every forward pass
    build = MODELS.get(model, lambda: hidden(Hidden(), nn.BatchNorm1d(4)))
    pieces = make_pieces(build)
    study = optuna.create_study()
    study.enqueue_trial({"lr": 1e-7})
    objective = objective_for(pieces, snapshots=(1, 2, 3))
    study.optimize(objective, n_trials=1)
    reported = study.trials[0].intermediate_values
    if model == "cnn":
        assert list(reported.values()) == pytest.approx([objective.baseline] * 4, rel=1e-5)
    else:
        assert reported[4] == pytest.approx(objective.baseline, rel=1e-5)


def test_measuring_at_snapshots_does_not_reach_the_training() -> None:
    losses = []
    for snapshots in ((), (1, 2, 3)):
        pieces = make_pieces(lambda: nn.Sequential(Hidden(), nn.BatchNorm1d(4)))
        losses.append(objective_for(pieces, snapshots=snapshots)(trial_at(0.1)))
    assert losses[0] == losses[1]


def test_cost_is_bounded() -> None:
    forwards: list[bool] = []

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        forwards.append(model.training and not torch.is_grad_enabled())
        return F.cross_entropy(model(batch[0]), batch[1])

    objective = objective_for(
        make_pieces(MODELS["cnn"])._replace(loss_fn=loss_fn), steps=30, snapshots=(10, 20)
    )
    objective(trial_at(0.1))
    # Baseline: one batch to see what is live, then the measurement; then three validations; and
    # once the untrained model's loss on the batches of all 30 steps.
    assert sum(forwards) == 1 + 4 * MOST_BATCHES + 30


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_the_average_is_plain_also_over_several_passes_of_one_layer(norm: Any) -> None:
    layer = norm(3, momentum=0.3, track_running_stats=True)
    shape = (5, 3, 7)
    batches = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    layer(batches[0])
    with averaging([layer]):
        for first, second in (batches[:2], batches[2:]):
            layer(first)
            layer(second)
    means = torch.stack([b.mean(dim=(0, 2)) for b in batches])
    torch.testing.assert_close(layer.running_mean, means.mean(dim=0))
    assert layer.momentum == 0.3
    layer(batches[0])  # no hook is left behind
    assert layer.momentum == 0.3


def test_statistics_that_blew_up_give_inf_and_come_back() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["sgd"])
    before = fingerprint(*pieces[:2])
    assert objective_for(pieces, steps=20, high=1e30)(trial_at(1e25)) == float("inf")
    assert fingerprint(*pieces[:2]) == before
