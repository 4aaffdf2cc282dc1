"""Small nets that this project trains first on other labels, data or aims."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.models import MODELS
from examples.benchmarks.landscapes.models import Model
from examples.benchmarks.landscapes.tasks import TaskData


@dataclass(frozen=True)
class Transfer:
    """From which task to which.

    Attributes:
        before: The task that the weights are from.
        after: The task that they are fine-tuned on.
        model: A name in `MODELS`.
        fresh_head: Whether the last layer starts anew.
        pretrained: What a cell says of its weights.
    """

    before: Callable[[], TaskData]
    after: Callable[[int], TaskData]
    model: str
    fresh_head: bool
    pretrained: str


#: Steps, batch and Adam's rate of the first training: enough for it to level off.
STEPS, BATCH, RATE = 1_500, 32, 3e-3


def _labels(name: str, low: int, high: int, seed: int = 0) -> TaskData:
    """The rows of some of a task's classes, which count from 0."""
    whole = tasks.load(name, seed)
    fields: dict[str, Any] = {"n_classes": high - low}
    for part in ("train", "val", "test"):
        x, y = getattr(whole, f"x_{part}"), getattr(whole, f"y_{part}")
        kept = (y >= low) & (y < high)
        fields |= {f"x_{part}": x[kept], f"y_{part}": y[kept] - low}
    return replace(whole, **fields)


def _first_half(name: str, seed: int) -> TaskData:
    """A token task whose rows are cut to the 32 steps that the language model read."""
    whole = tasks.load(name, seed)
    cut = {f"x_{p}": getattr(whole, f"x_{p}")[:, :32] for p in ("train", "val", "test")}
    return replace(whole, **cut)


TRANSFERS = {
    "letter": Transfer(
        before=lambda: _labels("letter", 0, 13),
        after=lambda seed: _labels("letter", 13, 26, seed),
        model="mlp_wide",
        fresh_head=True,
        pretrained="the letters A to M, fine-tuned on N to Z",
    ),
    "digits": Transfer(
        before=lambda: _labels("digits", 0, 5),
        after=lambda seed: _labels("digits", 5, 10, seed),
        model="cnn_batchnorm",
        fresh_head=True,
        pretrained="the digits 0 to 4, fine-tuned on 5 to 9",
    ),
    "ag_news_characters": Transfer(
        before=lambda: tasks.load("ag_news_language"),
        after=lambda seed: _first_half("ag_news_characters", seed),
        model="gpt",
        fresh_head=True,
        pretrained="the next character of news (causal), fine-tuned on their topics",
    ),
    "hymenoptera_denoising": Transfer(
        before=lambda: tasks.load("photo_denoising"),
        after=lambda seed: tasks.load("hymenoptera_denoising", seed),
        model="unet",
        fresh_head=False,
        pretrained="denoising of two photographs, fine-tuned on weaker noise on insects",
    ),
}


@functools.cache
def _weights(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and running statistics after the first training."""
    transfer = TRANSFERS[name]
    problem = Problem(transfer.before(), MODELS[transfer.model], "adam", BATCH, STEPS, seed=1_000)
    rates = torch.full((STEPS, 1), RATE)
    lanes = problem.advance(problem.lanes(1), rates, 0, STEPS)
    pieces = lanes.theta[0].split([part.shape.numel() for part in problem.parts])
    params = {
        key: piece.view(part.shape).clone()
        for key, piece, part in zip(problem.model.params, pieces, problem.parts, strict=True)
    }
    return params, {key: value[0].clone() for key, value in lanes.buffers.items()}


def load(name: str, seed: int) -> TaskData:
    return TRANSFERS[name].after(seed)


def build(name: str, task: TaskData) -> Model:
    """The model of a transfer with its weights; a fresh head comes from torch's generator."""
    transfer = TRANSFERS[name]
    model = MODELS[transfer.model](task)
    params, buffers = _weights(name)
    for key, value in params.items():
        if not (transfer.fresh_head and key.startswith("head")):
            if model.params[key].shape != value.shape:
                raise ValueError(
                    f"{key} of {name} is {tuple(value.shape)} before and "
                    f"{tuple(model.params[key].shape)} after: cut the rows alike."
                )
            model.params[key] = value.clone()
    for key, value in buffers.items():
        model.buffers[key] = value.clone()
    return model
