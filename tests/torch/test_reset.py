"""Nothing of one trial reaches the next, and nothing of any trial reaches the caller."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch_cases import MODELS
from torch_cases import NO_DROPOUT
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import identities
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import reference_trial
from torch_cases import trial_at
from torch_cases import warm_up

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_same_lr_twice_is_bit_identical_and_leaves_no_trace(
    model: str, optimizer: str, warm: bool
) -> None:
    pieces = make_pieces(MODELS[model], OPTIMIZERS[optimizer])
    if warm:
        warm_up(pieces)
    before, memory = fingerprint(*pieces[:2]), identities(pieces)
    objective = objective_for(pieces)
    first = objective(trial_at(0.03))
    between = objective(trial_at(0.3))
    again = objective(trial_at(0.03))
    assert first == again
    assert first != between
    assert fingerprint(*pieces[:2]) == before
    assert identities(pieces) == memory


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", NO_DROPOUT)
def test_loss_is_that_of_a_plain_loop_on_deep_copies(
    model: str, optimizer: str, warm: bool
) -> None:
    train, validation = make_batches(4, seed=1), [*make_batches(2, seed=2), *make_batches(1, 5, 3)]
    pieces = make_pieces(NO_DROPOUT[model], OPTIMIZERS[optimizer])
    pieces = pieces._replace(train_loader=train, validation_loader=validation)
    if warm:
        warm_up(pieces)
    objective = objective_for(pieces)
    for lr in (0.003 if optimizer == "lbfgs" else 0.01, 1e-3):
        expected = reference_trial(pieces, lr, train, validation)
        assert objective(trial_at(lr)) == pytest.approx(expected, rel=1e-6)


def test_modes_flags_gradients_and_frozen_parts_come_back() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["momentum"])
    warm_up(pieces)
    model = pieces.model
    model.get_submodule("2").eval()  # a frozen batch normalisation in a training model
    model.get_submodule("1").requires_grad_(False)
    frozen = model.get_submodule("2").running_mean
    assert isinstance(frozen, Tensor)
    seen: list[tuple[bool, bool, bool]] = []

    def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(
            (model.training, model.get_submodule("2").training, bool((frozen == kept).all()))
        )
        return F.cross_entropy(model(batch[0]), batch[1])

    kept = frozen.clone()
    before = fingerprint(model, pieces.optimizer)
    objective_for(pieces._replace(loss_fn=loss_fn), snapshots=[2])(trial_at(0.1))
    assert fingerprint(model, pieces.optimizer) == before
    training = [entry for entry in seen if entry[0]]
    evaluating = [entry for entry in seen if not entry[0]]
    # A batch of the baseline, three looks of 2 steps, 4 untrained losses, 4 steps.
    assert training == [(True, False, True)] * (1 + 6 + 4 + 4)
    # Baseline, snapshot, end; 3 batches each, and two halves to see a sum by.
    assert evaluating == [(False, False, True)] * (9 + 2)


def test_gradients_of_parameters_that_the_optimizer_does_not_have_come_back() -> None:
    pieces = make_pieces(mlp, lambda m: torch.optim.SGD(list(m.parameters())[:2], lr=0.1))
    warm_up(pieces)
    assert all(p.grad is not None for p in pieces.model.parameters())
    before = fingerprint(*pieces[:2])
    objective_for(pieces)(trial_at(0.1))
    assert fingerprint(*pieces[:2]) == before


def test_a_model_in_eval_mode_is_trained_in_train_mode_and_comes_back_in_eval_mode() -> None:
    pieces = make_pieces(MODELS["cnn"])
    in_train_mode = objective_for(pieces)(trial_at(0.1))
    pieces.model.eval()
    before = fingerprint(*pieces[:2])
    assert objective_for(pieces)(trial_at(0.1)) == in_train_mode
    assert fingerprint(*pieces[:2]) == before


class Interrupting:
    """A loss that raises once, in the second batch of a phase."""

    def __init__(self, phase: str, error: type[BaseException]) -> None:
        self.phase, self.error = phase, error
        self.trained, self.raised, self.count = False, False, 0

    def __call__(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = F.cross_entropy(model(batch[0]), batch[1])
        training = model.training and torch.is_grad_enabled()  # the baseline moves buffers only
        self.trained |= training
        evaluating = "validation" if self.trained else "baseline"
        self.count += self.phase == ("training" if training else evaluating)
        if self.count == 2 and not self.raised:
            self.raised = True
            raise self.error("stop")
        return loss


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("phase", ["baseline", "training", "validation"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("model", MODELS)
def test_an_interrupted_trial_leaves_no_trace(
    model: str, optimizer: str, phase: str, error: type[BaseException]
) -> None:
    pieces = make_pieces(MODELS[model], OPTIMIZERS[optimizer])
    warm_up(pieces)
    undisturbed = objective_for(pieces)(trial_at(0.1))
    before, memory = fingerprint(*pieces[:2]), identities(pieces)
    objective = objective_for(pieces._replace(loss_fn=Interrupting(phase, error)))
    with pytest.raises(error, match="stop"):
        objective(trial_at(0.1))
    assert fingerprint(*pieces[:2]) == before
    assert identities(pieces) == memory
    assert objective(trial_at(0.1)) == undisturbed


def test_ctrl_c_in_optimize_leaves_no_trace() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"])
    warm_up(pieces)
    before = fingerprint(*pieces[:2])
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": [1e-3, 1e-2, 1e-1]}))
    loss_fn = Interrupting("training", KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective_for(pieces._replace(loss_fn=loss_fn)))
    assert [t.state for t in study.trials] == [optuna.trial.TrialState.FAIL]
    assert fingerprint(*pieces[:2]) == before


def test_the_start_is_the_state_at_construction() -> None:
    pieces = make_pieces(MODELS["hidden"], OPTIMIZERS["adam"])
    objective = objective_for(pieces)
    first = objective(trial_at(0.1))
    warm_up(pieces)  # the caller trains on between two trials
    before = fingerprint(*pieces[:2])
    assert objective(trial_at(0.1)) == first
    assert fingerprint(*pieces[:2]) == before  # and keeps what was trained


def test_training_after_a_search_is_the_training_without_it() -> None:
    states = []
    for search in (False, True):
        pieces = make_pieces(MODELS["transformer"], OPTIMIZERS["adam"])
        torch.manual_seed(5)
        if search:
            objective = objective_for(pieces)
            for lr in (1e-3, 10.0):
                objective(trial_at(lr))
        warm_up(pieces, 5)  # its dropout draws from the global random state
        states.append(fingerprint(pieces.model))
    assert states[0] == states[1]


@pytest.mark.parametrize("loader", ["shuffled", "own generator"])
def test_drawing_batches_leaves_random_states_and_generators_alone(loader: str) -> None:
    pieces = make_pieces()
    generator = torch.Generator().manual_seed(3) if loader == "own generator" else None
    train = DataLoader(make_data(160), batch_size=16, shuffle=True, generator=generator)
    state = None if generator is None else generator.get_state()
    before = fingerprint(*pieces[:2])
    objective_for(pieces._replace(train_loader=train))(trial_at(0.1))
    assert fingerprint(*pieces[:2]) == before
    if generator is not None and state is not None:
        assert torch.equal(generator.get_state(), state)


def test_accumulation_clipping_and_groups_match_the_plain_loop() -> None:
    train, validation = make_batches(8, seed=1), make_batches(2, seed=2)

    def two_groups(model: nn.Module) -> torch.optim.Optimizer:
        weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
        biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "lr": 0.7}]
        return torch.optim.SGD(groups, lr=0.1)

    pieces = make_pieces(mlp, two_groups)._replace(
        train_loader=train, validation_loader=validation
    )
    for options in ({"accumulate": 2}, {"accumulate": 2, "clip_norm": 0.05}):
        objective = objective_for(pieces, **options)
        expected = reference_trial(pieces, 0.3, train, validation, **options)
        assert objective(trial_at(0.3)) == pytest.approx(expected, rel=1e-6)
    plain = objective_for(pieces, accumulate=2)(trial_at(0.3))
    assert plain != objective_for(pieces, accumulate=2, clip_norm=0.05)(trial_at(0.3))
    assert [g["lr"] for g in pieces.optimizer.param_groups] == [0.1, 0.7]
