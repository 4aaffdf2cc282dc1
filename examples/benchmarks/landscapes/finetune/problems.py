"""Fine-tuning that is trained one learning rate after the other: MiniLM, LoRA, EfficientNet.

MiniLM reads 16 word pieces and has no dropout, and the embeddings keep those pieces alone that
occur, which changes nothing: the others would never be read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import nn

from examples.benchmarks.landscapes.finetune import weights
from examples.benchmarks.landscapes.tasks import Parts
from examples.benchmarks.landscapes.tasks import text
from examples.benchmarks.landscapes.tasks._base import mislabelled
from examples.benchmarks.landscapes.tasks._base import parts


_HEAD = "a fresh head"
#: Word pieces of a row, both ends included.
PIECES = 16
#: Pixels along a side.
SIDE = 64


@dataclass(frozen=True)
class Problem:
    """A cell whose trainings run one by one, with cross-entropy and accuracy.

    Attributes:
        task: A name in `tasks.names()`; its source and licence are the cell's.
        model: Word of the cell's name.
        optimizer: "momentum" (SGD, .9) or "adamw".
        rows: Gives them as the model takes them.
        make: Makes the model, which gives logits; a fresh head and LoRA come from torch's
            generator.
        decades: Exponents of the lowest and the highest rate that are trained.
        pretrained: What the weights are.
        batch_norm: "live" (training mode), "frozen" (its statistics stay) or "" (none).
    """

    task: str
    model: str
    optimizer: str
    rows: Callable[[], Parts]
    make: Callable[[], nn.Module]
    decades: tuple[float, float]
    pretrained: str
    batch_norm: str = ""

    @property
    def name(self) -> str:
        return f"{self.task}-{self.model}-{self.optimizer}-b8"


# --- MiniLM --------------------------------------------------------------------------------------


@functools.cache
def _encoded() -> list[tuple[Tensor, Tensor]]:
    """Word pieces of titles and texts in the encoder's own numbers, and topics, of each part."""
    texts, topics = text.news({"train": 1_000, "val": 128, "test": 300})
    return [
        (weights.minilm_tokens(found, PIECES), torch.from_numpy(y))
        for found, y in zip(texts.values(), topics, strict=True)
    ]


@functools.cache
def _pieces() -> Tensor:
    """The pieces that occur, ascending; 0, which fills, comes first."""
    filler = torch.zeros(1, dtype=torch.int64)
    occurring: Tensor = torch.cat([filler, *(t.flatten() for t, _ in _encoded())]).unique()
    return occurring


@functools.cache
def _news() -> Parts:
    """Pieces as places among those that occur, and topics."""
    places = [(torch.searchsorted(_pieces(), tokens), y) for tokens, y in _encoded()]
    return parts(places, n_classes=4)


class _Classifier(nn.Module):
    """From word pieces to logits."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.net(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
        return out


def _whole() -> nn.Module:
    """All of MiniLM, its embeddings cut to the pieces that occur."""
    net = weights.minilm(4)
    table = net.bert.embeddings.word_embeddings
    with torch.no_grad():
        kept = table.weight[_pieces()].clone()
    net.bert.embeddings.word_embeddings = nn.Embedding.from_pretrained(
        kept, freeze=False, padding_idx=0
    )
    return _Classifier(net)


#: Layers of six that stay frozen where only the top is trained.
FROZEN = 4


@functools.cache
def _states() -> Parts:
    """What the fifth layer sees of each row: computed once, which is exact."""
    encoder, made = weights.minilm(4).bert, []
    for tokens, y in _encoded():
        with torch.no_grad():
            made.append((torch.cat([_lower(encoder, piece) for piece in tokens.split(64)]), y))
    return parts(made, n_classes=4)


def _noisy_states() -> Parts:
    return mislabelled(_states(), 1 / 3)


def _lower(encoder: Any, tokens: Tensor) -> Tensor:
    states = encoder(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True
    )  # the few pieces that fill are read, here and by the layers above
    kept: Tensor = states.hidden_states[FROZEN]
    return kept


class _Top(nn.Module):
    """The upper layers, the pooler and the head."""

    def __init__(self) -> None:
        super().__init__()
        net = weights.minilm(4)
        self.layers = net.bert.encoder.layer[FROZEN:]
        self.pooler, self.classifier = net.bert.pooler, net.classifier

    def forward(self, states: Tensor) -> Tensor:
        for layer in self.layers:
            made = layer(states)
            states = made[0] if isinstance(made, tuple) else made
        out: Tensor = self.classifier(self.pooler(states))
        return out


def _lora() -> nn.Module:
    """Rank 8 beside the upper layers' queries and values, as peft does it, and the head."""
    import peft

    top = _Top()
    config = peft.LoraConfig(
        r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )
    adapted: nn.Module = peft.get_peft_model(top, config)
    return adapted


# --- EfficientNet --------------------------------------------------------------------------------


#: Blocks of 16 that stay frozen below, with the stem: most of the time and a tenth of the weights.
FROZEN_BLOCKS = 5


@functools.cache
def _insects() -> Parts:
    """What the sixth block sees of each picture: computed once, which is exact."""
    net, made = weights.lite0(2).eval(), []
    for x, y in weights.insects(SIDE):
        with torch.no_grad():
            states = torch.cat([net.lower(piece, FROZEN_BLOCKS) for piece in x.split(64)])
        made.append((states.contiguous(memory_format=torch.channels_last), y))
    return parts(made, n_classes=2)


class _Upper(nn.Module):
    """The upper blocks and the head."""

    def __init__(self) -> None:
        super().__init__()
        net = weights.lite0(2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What lies below is left out: its weights would count as the net's.
        net._conv_stem = net._bn0 = nn.Identity()
        for i in range(FROZEN_BLOCKS):
            net._blocks[i] = nn.Identity()
        self.net = net

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.net._fc(self.net.upper(states, FROZEN_BLOCKS))
        return out


def _of_lite0(norm: str, optimizer: str, decades: tuple[float, float]) -> Problem:
    return Problem(
        "hymenoptera",
        f"lite0_{norm}",
        optimizer,
        _insects,
        _Upper,
        decades,
        f"{weights.LITE0}, stem and 5 of 16 blocks frozen; above BatchNorm {norm}; {_HEAD}",
        norm,
    )


#: The most telling first: they are trained in this order.
PROBLEMS = {
    p.name: p
    for p in (
        Problem(
            "ag_news",
            "minilm_lora",
            "adamw",
            _states,
            _lora,
            (-4.5, -1.5),
            f"{weights.MINILM}, LoRA of rank 8 on its top two layers' queries, values; {_HEAD}",
        ),
        _of_lite0("live", "momentum", (-4.0, -1.0)),
        _of_lite0("frozen", "momentum", (-5.0, -1.5)),
        Problem(
            "ag_news_noise",
            "minilm_top2",
            "momentum",
            _noisy_states,
            _Top,
            (-4.0, -0.5),
            f"{weights.MINILM}, the lower four of six layers frozen; {_HEAD}",
        ),
        _of_lite0("live", "adamw", (-5.0, -2.0)),
        Problem(
            "ag_news",
            "minilm_full",
            "adamw",
            _news,
            _whole,
            (-5.5, -2.5),
            f"{weights.MINILM}; {_HEAD}",
        ),
        _of_lite0("frozen", "adamw", (-5.5, -2.5)),
    )
}
