"""Eight small tasks from scikit-learn's digits, and their full training at many learning rates.

An MLP and a CNN, each with SGD, SGD with momentum 0.9, Adam and AdamW. A full training is 600
steps at a constant learning rate. To judge a learning rate by its outcome takes thousands of such
trainings, so `train_lanes` does many at once: one lane per (learning rate, seed), all parameters
stacked, the gradients taken with torch.func. `train_plainly` is the ordinary loop that it is held
to (`largest_difference`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.func import grad_and_value
from torch.func import vmap
from torch.nn import functional as F


FULL_STEPS = 600
BATCH_SIZE = 64
N_TRAIN, N_VALIDATION = 1000, 297  # of 1,797; the other 500 are the test set
BETA1, BETA2, EPS, WEIGHT_DECAY = 0.9, 0.999, 1e-8, 0.01  # torch's own defaults

Params = dict[str, Tensor]


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, 8, 8) scaled to zero mean and unit variance, and labels, split once."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@functools.cache
def digits() -> Digits:
    bunch = load_digits()
    x = torch.tensor(bunch.images, dtype=torch.float32)[:, None]
    y = torch.tensor(bunch.target)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(y)))
    cut = (N_TRAIN, N_TRAIN + N_VALIDATION)
    mean, std = x[order[: cut[0]]].mean(), x[order[: cut[0]]].std()
    x = (x - mean) / std
    parts = [(x[i], y[i]) for i in (order[: cut[0]], order[cut[0] : cut[1]], order[cut[1] :])]
    return Digits(*parts)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def batch_norm_cnn() -> nn.Module:
    """16 and 32 channels with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


@dataclass(frozen=True)
class Task:
    model: str
    optimizer: str

    @property
    def name(self) -> str:
        return f"{self.model.upper()}, {OPTIMIZER_NAMES[self.optimizer]}"

    def build_model(self, seed: int) -> nn.Module:
        """The model with the initial weights of a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MODELS[self.model]()

    def build_optimizer(self, model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
        return OPTIMIZERS[self.optimizer](model.parameters(), lr)


MODELS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "cnn": cnn}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr),
    "momentum": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=BETA1),
    "adam": lambda params, lr: torch.optim.Adam(params, lr=lr),
    "adamw": lambda params, lr: torch.optim.AdamW(params, lr=lr),
}
OPTIMIZER_NAMES = {
    "sgd": "SGD",
    "momentum": "SGD with momentum 0.9",
    "adam": "Adam",
    "adamw": "AdamW",
}
TASKS = [Task(model, optimizer) for model in MODELS for optimizer in OPTIMIZERS]


def batch_order(seed: int, steps: int) -> Tensor:
    """Rows of the training set for every step, shape (steps, BATCH_SIZE), epoch after epoch."""
    generator = torch.Generator().manual_seed(1000 + seed)
    per_epoch = N_TRAIN // BATCH_SIZE
    epochs = [
        torch.randperm(N_TRAIN, generator=generator)[: per_epoch * BATCH_SIZE].view(per_epoch, -1)
        for _ in range(-(-steps // per_epoch))
    ]
    return torch.cat(epochs)[:steps]


def train_plainly(task: Task, lr: float, seed: int, steps: int = FULL_STEPS) -> Tensor:
    """The loss of every step, shape (steps,), of an ordinary training loop."""
    model = task.build_model(seed)
    optimizer = task.build_optimizer(model, lr)
    inputs, targets = digits().train
    losses = torch.empty(steps)
    for step, rows in enumerate(batch_order(seed, steps)):
        loss = F.cross_entropy(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def train_lanes(
    task: Task, lrs: Sequence[float], seeds: Sequence[int], steps: int = FULL_STEPS
) -> tuple[Tensor, Tensor]:
    """Trains one lane per (lrs[i], seeds[i]) and returns test accuracies and losses.

    Returns:
        Test accuracy of each lane in percent, shape (lanes,), where a lane whose weights are no
        longer finite guesses; and the loss of each step, shape (steps, lanes).
    """
    model = task.build_model(0)  # only its structure
    lane_params = [dict(task.build_model(seed).named_parameters()) for seed in seeds]
    params = {k: torch.stack([p[k].detach() for p in lane_params]) for k in lane_params[0]}
    lr = {
        k: torch.tensor(lrs, dtype=p.dtype).view(-1, *[1] * (p.dim() - 1))
        for k, p in params.items()
    }
    state = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in params.items()}
    orders = {seed: batch_order(seed, steps) for seed in set(seeds)}
    rows = torch.stack([orders[seed] for seed in seeds], dim=1)  # (steps, lanes, batch)
    inputs, targets = digits().train

    def loss_of(p: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, p, (x,)), y)

    gradients = vmap(grad_and_value(loss_of))
    losses = torch.empty(steps, len(lrs))
    for step in range(steps):
        grads, losses[step] = gradients(params, inputs[rows[step]], targets[rows[step]])
        for k, p in params.items():
            params[k] = _update(task.optimizer, p, grads[k], lr[k], state[k], step + 1)
    return _test_accuracy(model, params), losses


def _update(
    optimizer: str, p: Tensor, g: Tensor, lr: Tensor, state: tuple[Tensor, Tensor], t: int
) -> Tensor:
    """One step of an optimizer with torch's defaults; state changes in place."""
    first, second = state
    if optimizer == "sgd":
        return p - lr * g
    if optimizer == "momentum":
        return p - lr * first.mul_(BETA1).add_(g)
    if optimizer == "adamw":
        p = p * (1 - lr * WEIGHT_DECAY)
    first.mul_(BETA1).add_(g, alpha=1 - BETA1)
    second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    scale = (second / (1 - BETA2**t)).sqrt_().add_(EPS)
    return p - lr / (1 - BETA1**t) * first / scale


def _test_accuracy(model: nn.Module, params: Params) -> Tensor:
    x, y = digits().test

    def hits(p: Params) -> Tensor:
        output: Tensor = functional_call(model, p, (x,))
        return (output.argmax(dim=1) == y).float().mean()

    with torch.no_grad():
        accuracy: Tensor = 100 * vmap(hits)(params)
    finite = torch.stack([p.flatten(1).isfinite().all(dim=1) for p in params.values()]).all(dim=0)
    return torch.where(finite, accuracy, torch.full_like(accuracy, 10.0))


def largest_difference(task: Task, lrs: Sequence[float], steps: int) -> float:
    """Largest relative difference of a loss between the lanes and the ordinary loop."""
    seeds = list(range(len(lrs)))
    _, lanes = train_lanes(task, lrs, seeds, steps)
    plain = torch.stack(
        [train_plainly(task, lr, s, steps) for lr, s in zip(lrs, seeds, strict=True)], dim=1
    )
    return float(((lanes - plain).abs() / plain.abs().clamp(min=1e-3)).max())
