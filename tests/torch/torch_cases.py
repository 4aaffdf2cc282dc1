"""Small models, optimizers and data, a fingerprint of everything, and the slow obvious trial."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss.torch import StepPieces


Batch = tuple[Tensor, Tensor]


# --- Data: 8 x 8 "images" of four classes that a linear rule tells apart. ------------------------


def make_data(n: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 64, generator=generator)
    rule = torch.randn(64, 4, generator=torch.Generator().manual_seed(99))
    return TensorDataset(x, (x @ rule).argmax(dim=1))


def make_batches(n: int, size: int = 16, seed: int = 0) -> list[Batch]:
    x, y = make_data(n * size, seed).tensors
    return list(zip(x.split(size), y.split(size), strict=True))


def make_loaders(size: int = 16) -> tuple[DataLoader[Any], DataLoader[Any]]:
    train = DataLoader(make_data(160, 1), batch_size=size, shuffle=True)
    return train, DataLoader(make_data(48, 2), batch_size=size)


# --- Models --------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))


def cnn(dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 4),
    )


class Hidden(nn.Module):
    """State that no state_dict shows: a non-persistent buffer, a counter, a list, a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 4)
        self.register_buffer("mean", torch.zeros(64), persistent=False)
        self.mean: Tensor
        self.calls = 0
        self.history: list[int] = []
        self.scale = torch.ones(1)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(dim=0)  # bound anew
            self.scale.mul_(0.99)  # changed in place
            self.calls += 1
            self.history.append(self.calls)
            self.last = x
        out: Tensor = self.inner((x - self.mean) * self.scale / (1 + 0.01 * self.calls))
        return out


class Transformer(nn.Module):
    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.embed(x.view(-1, 8, 8))).mean(dim=1))
        return out


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "hidden": Hidden,
    "transformer": Transformer,
}
NO_DROPOUT: dict[str, Callable[[], nn.Module]] = {
    **MODELS,
    "cnn": lambda: cnn(dropout=0.0),
    "transformer": lambda: Transformer(dropout=0.0),
}


# --- Optimizers ----------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda m: torch.optim.Adam(m.parameters(), lr=0.1),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.1),
    "adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=0.1),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.1),
    "lbfgs": lambda m: torch.optim.LBFGS(m.parameters(), lr=0.1, max_iter=4),
}


def make_pieces(
    model: Callable[[], nn.Module] = mlp,
    optimizer: Callable[[nn.Module], Optimizer] = OPTIMIZERS["sgd"],
    seed: int = 0,
) -> StepPieces:
    torch.manual_seed(seed)
    built = model()
    return StepPieces(built, optimizer(built), F.cross_entropy, *make_loaders())


def warm_up(pieces: StepPieces, steps: int = 3) -> None:
    """Trains a little, so that optimizer state, buffers and gradients are not empty."""
    for batch in make_batches(steps, seed=7):

        def closure(batch: Batch = batch) -> Tensor:
            pieces.optimizer.zero_grad()
            loss: Tensor = F.cross_entropy(pieces.model(batch[0]), batch[1])
            loss.backward()
            return loss

        pieces.optimizer.step(closure)  # type: ignore[arg-type]


def trial_at(lr: float) -> optuna.trial.FixedTrial:
    return optuna.trial.FixedTrial({"lr": lr})


# --- A fingerprint of everything that must not change --------------------------------------------


def fingerprint(*objects: object) -> Any:
    """Plain nested data, equal if and only if the objects are the same bit for bit."""
    return [_plain(value, set()) for value in (*objects, random_states())]


def random_states() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state(),
    }


def _plain(value: Any, seen: set[int]) -> Any:
    if isinstance(value, Tensor):
        grad = None if not value.is_leaf or value.grad is None else _bits(value.grad)
        return ("tensor", _bits(value), value.requires_grad, grad)
    if isinstance(value, torch.Generator):
        return ("generator", _bits(value.get_state()))
    if isinstance(value, (nn.Module, Optimizer)):
        if id(value) in seen:
            return "seen"
        seen.add(id(value))
        return (type(value).__name__, _plain(vars(value), seen))
    if isinstance(value, dict):
        keys = [id(k) if isinstance(k, Tensor) else k for k in value]
        return [(k, _plain(v, seen)) for k, v in zip(keys, value.values(), strict=True)]
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, seen) for item in value]
    if isinstance(value, (int, float, str, bytes, type(None))):
        return repr(value)
    return type(value).__name__


def _bits(tensor: Tensor) -> tuple[Any, ...]:
    plain = tensor.detach().contiguous()
    return (plain.dtype, plain.shape, plain.numpy().tobytes())


def identities(pieces: StepPieces) -> list[tuple[int, int]]:
    """Which objects and which memory the parameters, buffers and optimizer state are."""
    state = [
        v for s in pieces.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)
    ]
    tensors = [*pieces.model.parameters(), *pieces.model.buffers(), *state]
    return [(id(t), t.data_ptr()) for t in tensors]


# --- The slow obvious trial ----------------------------------------------------------------------


def deep_copies(pieces: StepPieces) -> tuple[nn.Module, Optimizer]:
    if not isinstance(pieces.optimizer, torch.optim.LBFGS):
        return copy.deepcopy((pieces.model, pieces.optimizer))
    model = copy.deepcopy(pieces.model)  # a deep copy of LBFGS has lost its parameters
    optimizer = OPTIMIZERS["lbfgs"](model)
    optimizer.load_state_dict(copy.deepcopy(pieces.optimizer.state_dict()))
    return model, optimizer


def reference_trial(
    pieces: StepPieces,
    lr: float,
    train: list[Batch],
    validation: list[Batch],
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> float:
    """Deep copies, a plain loop over the batches, the mean validation loss over samples.

    The statistics of a batch normalisation are measured again before, by torch's own function.
    """
    model, optimizer = deep_copies(pieces)
    first = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = lr * (group["lr"] / first)
    model.train()
    for i in range(0, len(train), accumulate):

        def closure(batches: list[Batch] = train[i : i + accumulate]) -> Tensor:
            optimizer.zero_grad()
            losses = [F.cross_entropy(model(x), y) / len(batches) for x, y in batches]
            for loss in losses:
                loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            return torch.stack([loss.detach() for loss in losses]).sum()

        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    torch.optim.swa_utils.update_bn([x for x, _ in train], model)
    model.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(model(x), y, reduction="none") for x, y in validation]
    return float(torch.cat(losses).double().mean())
