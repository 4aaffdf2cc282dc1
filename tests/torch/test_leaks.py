"""State outside the model: put back where that is exact, said where it is not."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch_cases import OPTIMIZERS
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import trial_at
from torch_cases import warm_up

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


class Average:
    """A moving average of the weights, as people write it."""

    def __init__(self, model: nn.Module) -> None:
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.updates = 0

    def update(self, model: nn.Module) -> None:
        self.updates += 1
        for name, p in model.named_parameters():
            self.shadow[name].mul_(0.9).add_(p.detach(), alpha=0.1)

    def look(self) -> str:
        return repr((self.shadow, self.updates))


@dataclass
class Progress:
    calls: int = 0
    seen: list[float] = field(default_factory=list)

    def move(self) -> None:
        self.calls += 1
        self.seen.append(0.5 * self.calls)

    def look(self) -> str:
        return repr((self.calls, self.seen))


class Slots:
    __slots__ = ("array", "counts", "late")

    def __init__(self) -> None:
        self.array, self.counts = np.zeros(3), Counter(a=2)

    def move(self) -> None:
        self.array += 1.0
        self.counts["a"] += 1
        self.late = 1

    def look(self) -> str:
        return repr((self.array, self.counts, hasattr(self, "late")))


class Locked(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Holding(nn.Module):
    """Its output depends on what its helper has counted."""

    def __init__(self, helper: Any) -> None:
        super().__init__()
        self.inner, self.helper = mlp(), helper

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.helper.move()
        calls = getattr(self.helper, "calls", 0)
        out: Tensor = self.inner(x) * (1 + 0.1 * calls)
        return out


@pytest.mark.parametrize("helper", [Progress, Slots])
def test_small_objects_of_plain_classes_are_put_back(helper: Any) -> None:
    own = helper()
    before = own.look()
    objective = objective_for(make_pieces(lambda: Holding(own)))
    first = objective(trial_at(0.1))
    assert own.look() == before
    objective(trial_at(0.3))
    assert objective(trial_at(0.1)) == first
    assert own.look() == before


def test_an_average_in_the_model_is_put_back_in_its_own_tensors() -> None:
    pieces = make_pieces(mlp, OPTIMIZERS["momentum"])
    average = Average(pieces.model)
    pieces.model.average = average  # type: ignore[assignment]
    pieces.optimizer.register_step_post_hook(lambda *_: average.update(pieces.model))
    tensors, before = list(average.shadow.values()), average.look()
    objective_for(pieces)(trial_at(0.1))
    assert average.look() == before
    assert all(a is b for a, b in zip(average.shadow.values(), tensors, strict=True))


def test_what_holds_a_lock_is_left_alone_and_named() -> None:
    helper = Locked()
    objective = objective_for(make_pieces(lambda: Holding(helper)))
    with pytest.warns(UserWarning, match=r"changed model\.helper\.calls.*cannot be compared.*ext"):
        objective(trial_at(0.1))
    assert helper.calls > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        objective(trial_at(0.1))


def teacher_pieces() -> tuple[StepPieces, Average]:
    """The loss leans on an average of the weights that only a closure knows."""
    pieces = make_pieces(mlp, OPTIMIZERS["momentum"])
    average = Average(pieces.model)
    pieces.optimizer.register_step_post_hook(lambda *_: average.update(pieces.model))

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        own = F.cross_entropy(model(batch[0]), batch[1])
        pull = [(p - average.shadow[n]).square().sum() for n, p in model.named_parameters()]
        return own + 10 * torch.stack(pull).sum()

    return pieces._replace(loss_fn=loss_fn), average


def test_state_that_only_a_closure_knows_is_named_and_extra_state_is_the_remedy() -> None:
    pieces, average = teacher_pieces()
    with pytest.warns(UserWarning, match=r"average \(of .*shadow.*cannot be compared.*extra_sta"):
        objective_for(pieces)(trial_at(0.1))

    pieces, average = teacher_pieces()
    before = average.look()
    objective = objective_for(pieces, extra_state=[average])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = objective(trial_at(0.1))
        objective(trial_at(0.3))
        assert objective(trial_at(0.1)) == first
    assert average.look() == before


def test_state_that_stays_changed_is_named_though_losses_do_not_depend_on_it() -> None:
    pieces = make_pieces()
    total = np.zeros(2)
    logged: list[float] = []

    def hook(*_: Any) -> None:
        total[0] += 1
        logged.append(1.0)

    pieces.optimizer.register_step_post_hook(hook)
    with pytest.warns(
        UserWarning, match=r"changed total \(of hook\), which.*after the search"
    ) as w:
        objective_for(pieces)(trial_at(0.1))
    assert "logged" not in str(w[0].message)  # a log that grows is what a log does
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective_for(pieces, extra_state=[total])(trial_at(0.1))


def test_extra_state_takes_generators_tensors_arrays_and_containers() -> None:
    generator, tensor, array = torch.Generator().manual_seed(1), torch.zeros(2), np.zeros(2)
    numpy, log = np.random.default_rng(1), [1]
    pieces = make_pieces()

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            tensor.add_(1)
            array[:] += 1
            log.append(1)
        noise = torch.rand((), generator=generator).item() + numpy.random() + array[0]
        return F.cross_entropy(model(batch[0]) * (1 + noise) + tensor.sum(), batch[1])

    held = [generator, tensor, array, numpy, log]
    objective = objective_for(pieces._replace(loss_fn=loss_fn), extra_state=held)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = objective(trial_at(0.1))
        objective(trial_at(0.01))
        assert objective(trial_at(0.1)) == first
    assert (tensor.sum(), array.sum(), log) == (0, 0, [1])
    with pytest.raises(ValueError, match=r"extra_state holds a lock, which cannot be reset"):
        objective_for(pieces, extra_state=[threading.Lock()])


# --- Learning rates that do not matter -----------------------------------------------------------


def test_an_optimizer_that_ignores_its_learning_rate_is_refused() -> None:
    pieces = make_pieces(optimizer=lambda m: torch.optim.Rprop(m.parameters(), lr=1e-3))
    assert objective_for(pieces)(trial_at(0.01)) != objective_for(pieces)(trial_at(0.001))
    warm_up(pieces)  # from here on it has step sizes of its own
    with pytest.raises(ValueError, match=r"optimizer=Rprop ignores its learning rate.*new opt"):
        objective_for(pieces)(trial_at(0.1))


class Free(torch.optim.SGD):
    """Steps by a fixed amount."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p -= 0.01 * p.grad


def test_an_optimizer_without_use_for_a_learning_rate_is_refused() -> None:
    pieces = make_pieces(optimizer=lambda m: Free(m.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="optimizer=Free ignores its learning rate"):
        objective_for(pieces)(trial_at(0.1))


@pytest.mark.parametrize("lr", [1e-12, 1e30])
def test_a_learning_rate_that_tells_nothing_refuses_nothing(lr: float) -> None:
    pieces = make_pieces(optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=lr))
    expected = objective_for(make_pieces())(trial_at(0.1))
    assert objective_for(pieces)(trial_at(0.1)) == expected
