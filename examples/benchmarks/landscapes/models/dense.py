"""Nets of matrices: linear, MLP with and without norms, autoencoder, two towers, tables."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.benchmarks.landscapes.engine.layers import Ops
from examples.benchmarks.landscapes.models._base import ACTIVATIONS
from examples.benchmarks.landscapes.models._base import Layers
from examples.benchmarks.landscapes.models._base import Model
from examples.benchmarks.landscapes.models._base import n_outputs
from examples.benchmarks.landscapes.tasks import PAD
from examples.benchmarks.landscapes.tasks import TaskData


def linear(task: TaskData) -> Model:
    """Linear or logistic regression."""
    layers = Layers()
    layers.linear("head", task.x_train[0].numel(), n_outputs(task))
    return layers.model(lambda ops, x: ops.linear(_rows(x, task), "head"))


def mlp(
    task: TaskData,
    width: int = 24,
    depth: int = 2,
    activation: str = "relu",
    norm: str = "",
    gain: float = 1.0,
    bottleneck: int = 0,
) -> Model:
    """Hidden layers of one width.

    Args:
        task: What to fit.
        width: Of the hidden layers.
        depth: How many hidden layers.
        activation: A name in `ACTIVATIONS`.
        norm: "", "layer" or "batch", before the activation.
        gain: Factor on torch's initial weights of every hidden layer.
        bottleneck: Width of the middle layer, if it is another (an autoencoder).
    """
    layers, act = Layers(), ACTIVATIONS[activation]
    widths = [task.x_train[0].numel(), *[width] * depth]
    if bottleneck:
        widths[1 + depth // 2] = bottleneck
    for i in range(depth):
        name = f"hidden{i}" if i else "first"
        layers.linear(name, widths[i], widths[i + 1], gain, bias=norm != "batch")
        if norm:
            (layers.layer_norm if norm == "layer" else layers.batch_norm)(
                f"norm{i}", widths[i + 1]
            )
    layers.linear("head", widths[-1], n_outputs(task))

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = _rows(x, task)
        for i in range(depth):
            x = ops.linear(x, f"hidden{i}" if i else "first")
            if norm:
                x = (ops.layer_norm if norm == "layer" else ops.batch_norm)(x, f"norm{i}")
            x = act(x)
        return ops.linear(x, "head")

    return layers.model(forward)


def two_towers(task: TaskData, width: int = 24, outputs: int = 16) -> Model:
    """One MLP on either view of a row."""
    layers = Layers()
    layers.linear("first", task.x_train[0, 0].numel(), width)
    layers.linear("hidden", width, width)
    layers.linear("head", width, outputs)

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = x.flatten(-task.x_train.dim() + 2)
        x = torch.relu(ops.linear(x, "first"))
        x = torch.relu(ops.linear(x, "hidden"))
        return ops.linear(x, "head")

    return layers.model(forward)


def bag(task: TaskData, width: int = 16, hidden: int = 0) -> Model:
    """Mean of the tokens' embeddings, then a linear layer or a small MLP."""
    layers = Layers()
    layers.embedding("embed", task.vocab, width)
    if hidden:
        layers.linear("hidden", width, hidden)
    layers.linear("head", hidden or width, n_outputs(task))

    def forward(ops: Ops, tokens: Tensor) -> Tensor:
        kept = (tokens != PAD).unsqueeze(-1).float()
        x = (ops.embedding(tokens, "embed") * kept).sum(-2) / kept.sum(-2).clamp_min(1)
        if hidden:
            x = torch.relu(ops.linear(x, "hidden"))
        return ops.linear(x, "head")

    return layers.model(forward)


def pair(task: TaskData, width: int = 16, hidden: int = 32) -> Model:
    """Embeddings of a row's tokens beside each other, then a hidden layer."""
    layers = Layers()
    layers.embedding("embed", task.vocab, width)
    layers.linear("hidden", width * task.x_train.shape[1], hidden)
    layers.linear("head", hidden, n_outputs(task))

    def forward(ops: Ops, tokens: Tensor) -> Tensor:
        x = ops.embedding(tokens, "embed").flatten(-2)
        return ops.linear(torch.relu(ops.linear(x, "hidden")), "head")

    return layers.model(forward)


def factors(task: TaskData, rank: int = 6, std: float = 0.1) -> Model:
    """Matrix factorisation: the inner product of a row's two embeddings."""
    layers = Layers()
    layers.embedding("table", task.vocab, rank, std)

    def forward(ops: Ops, tokens: Tensor) -> Tensor:
        return ops.embedding(tokens, "table").prod(-2).sum(-1, keepdim=True)

    return layers.model(forward)


def _rows(x: Tensor, task: TaskData) -> Tensor:
    """Inputs as vectors: all axes of a row in one."""
    return x if task.x_train.dim() == 2 else x.flatten(-task.x_train.dim() + 1)
