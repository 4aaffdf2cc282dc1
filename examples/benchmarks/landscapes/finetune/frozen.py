"""A fresh head on a frozen pretrained net: its outputs are computed once, which is exact."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.finetune import weights
from examples.benchmarks.landscapes.tasks import Parts
from examples.benchmarks.landscapes.tasks import TaskData
from examples.benchmarks.landscapes.tasks import text
from examples.benchmarks.landscapes.tasks._base import parts


@functools.cache
def _sentences() -> Parts:
    """Mean of MiniLM's last states over the first 24 pieces, of length 1, as it was trained."""
    encoder = weights.minilm(2).bert
    texts, topics = text.news({"train": 1_500, "val": 400, "test": 600})
    made = []
    for found, y in zip(texts.values(), topics, strict=True):
        tokens = weights.minilm_tokens(found, 24)
        with torch.no_grad():
            made.append((_embedded(encoder, tokens), torch.from_numpy(y)))
    return parts(made, n_classes=4)


def _embedded(encoder: torch.nn.Module, tokens: Tensor) -> Tensor:
    rows = []
    for piece in tokens.split(64):
        mask = (piece != 0).long()
        states = encoder(input_ids=piece, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        rows.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(rows)


@functools.cache
def _pictures() -> Parts:
    """EfficientNet-Lite0's 1,280 features of pictures of 96 x 96."""
    net = weights.lite0(2).eval()
    made = []
    for x, y in weights.insects(96):
        with torch.no_grad():
            made.append((torch.cat([net.features(piece) for piece in x.split(64)]), y))
    return parts(made, n_classes=2)


def load(name: str, seed: int) -> TaskData:
    """Features of "ag_news" or "hymenoptera" in place of its texts or pictures."""
    whole = {"ag_news": _sentences, "hymenoptera": _pictures}[name]()
    order = torch.randperm(len(whole.x_train), generator=torch.Generator().manual_seed(seed))
    shuffled = replace(whole, x_train=whole.x_train[order], y_train=whole.y_train[order])
    return TaskData(**vars(tasks.spec(name)), **vars(shuffled))
