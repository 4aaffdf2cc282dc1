"""Nets over steps or tokens: GRU, LSTM, transformer with the norm before or after, small GPT."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.benchmarks.landscapes.engine.layers import Ops
from examples.benchmarks.landscapes.models._base import Layers
from examples.benchmarks.landscapes.models._base import Model
from examples.benchmarks.landscapes.models._base import n_outputs
from examples.benchmarks.landscapes.models._base import per_token
from examples.benchmarks.landscapes.tasks import TaskData


#: Lanes through these nets at once.
CHUNK = 66


def _entrance(layers: Layers, task: TaskData, width: int, std: float) -> None:
    if task.vocab:
        layers.embedding("embed", task.vocab, width, std)
    else:
        layers.linear("first", task.x_train.shape[-1], width)


def _enter(ops: Ops, x: Tensor, task: TaskData) -> Tensor:
    return ops.embedding(x, "embed") if task.vocab else ops.linear(x, "first")


def recurrent(task: TaskData, kind: str = "gru", width: int = 16) -> Model:
    """A GRU or an LSTM of one layer; the last state, or every one, goes to the head."""
    layers = Layers()
    _entrance(layers, task, width, 1.0)
    layers.recurrent("cells", kind, width, width)
    layers.linear("head", width, n_outputs(task))

    def forward(ops: Ops, x: Tensor) -> Tensor:
        states = (ops.gru if kind == "gru" else ops.lstm)(_enter(ops, x, task), "cells")
        return ops.linear(states if per_token(task) else states[..., -1, :], "head")

    return layers.model(forward, CHUNK)


def gru(task: TaskData, width: int = 16) -> Model:
    return recurrent(task, "gru", width)


def lstm(task: TaskData, width: int = 16) -> Model:
    return recurrent(task, "lstm", width)


def transformer(
    task: TaskData,
    width: int = 16,
    blocks: int = 2,
    heads: int = 2,
    pre_norm: bool = True,
    causal: bool | None = None,
    std: float = 0.02,
) -> Model:
    """Attention and a two-layer net per block; mean over steps unless every token is asked.

    Args:
        task: What to fit.
        width: Of the residual stream.
        blocks: How many.
        heads: Of each attention.
        pre_norm: LayerNorm before each branch (and one at the end), or after each sum.
        causal: By default where every token is asked.
        std: Deviation of the embeddings at first.
    """
    layers = Layers()
    causal = per_token(task) if causal is None else causal
    _entrance(layers, task, width, std)
    layers.positions("positions", task.x_train.shape[1], width, std)
    for i in range(blocks):
        layers.attention(f"attention{i}", width)
        layers.linear(f"wide{i}", width, 2 * width)
        layers.linear(f"back{i}", 2 * width, width)
        layers.layer_norm(f"norm{i}0", width)
        layers.layer_norm(f"norm{i}1", width)
    if pre_norm:
        layers.layer_norm("norm", width)
    layers.linear("head", width, n_outputs(task))

    def branches(ops: Ops, i: int, x: Tensor, branch: int) -> Tensor:
        if branch == 0:
            return ops.attention(x, f"attention{i}", heads, causal)
        return ops.linear(torch.relu(ops.linear(x, f"wide{i}")), f"back{i}")

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = _enter(ops, x, task) + ops.param("positions")
        for i in range(blocks):
            for j in range(2):
                if pre_norm:
                    x = x + branches(ops, i, ops.layer_norm(x, f"norm{i}{j}"), j)
                else:
                    x = ops.layer_norm(x + branches(ops, i, x, j), f"norm{i}{j}")
        if pre_norm:
            x = ops.layer_norm(x, "norm")
        return ops.linear(x if per_token(task) else x.mean(-2), "head")

    return layers.model(forward, CHUNK)


def post_norm(task: TaskData, width: int = 16, blocks: int = 2) -> Model:
    return transformer(task, width, blocks, pre_norm=False)
