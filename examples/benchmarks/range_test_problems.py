"""The three models of the comparison with other packages' range tests."""

from __future__ import annotations

import csv
import gzip
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from digits_tasks import batch_norm_cnn
from digits_tasks import digits
from real_range_tests import Problem
from torch import Tensor
from torch import nn
from torch.utils.data import TensorDataset


ROOT = Path(__file__).parents[2]
#: Laid out as docs/paper/index.md says.
AG_NEWS = ROOT.parent / "shared" / "data" / "ag_news"
VOCABULARY, LENGTH, HIDDEN = 8192, 32, 256


def seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same weights each time."""

    def built() -> nn.Module:
        torch.manual_seed(0)
        return build()

    return built


def mlp() -> Problem:
    """64-64-10 on scikit-learn's digits, batches of 64, Adam."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    data = digits()
    parts = TensorDataset(*data.train), TensorDataset(*data.validation)
    return Problem(seeded(build), torch.optim.Adam, {}, *parts, batch_size=64)


def batch_norm() -> Problem:
    """16 and 32 channels on scikit-learn's digits, batches of 64, SGD with momentum 0.9."""
    data = digits()
    parts = TensorDataset(*data.train), TensorDataset(*data.validation)
    return Problem(
        seeded(batch_norm_cnn), torch.optim.SGD, {"momentum": 0.9}, *parts, batch_size=64
    )


class Classifier(nn.Module):
    """A BERT with random weights that returns the logits of four topics."""

    def __init__(self) -> None:
        super().__init__()
        transformers = importlib.import_module("transformers")
        config = transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=4 * HIDDEN,
            max_position_embeddings=LENGTH,
            num_labels=4,
        )
        self.bert = transformers.BertForSequenceClassification(config)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.bert(tokens, attention_mask=(tokens != 0).long()).logits
        return logits


def bert() -> Problem:
    """BERT of 4 layers, 256 wide, with random weights, on AG News, batches of 8, AdamW."""
    sys.path.insert(0, str(ROOT))
    data: Any = importlib.import_module("examples.paper._data")
    texts: dict[str, list[str]] = {}
    labels: dict[str, Tensor] = {}
    for part, limit in (("train", 2400), ("val", 64)):
        with gzip.open(AG_NEWS / f"{part}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))[:limit]
        texts[part] = [f"{row['title']} {row['text']}" for row in rows]
        labels[part] = torch.tensor([int(row["label"]) for row in rows])
    words = data.Words(texts["train"], VOCABULARY)
    parts = [TensorDataset(words.encode(texts[p], LENGTH), labels[p]) for p in texts]
    return Problem(
        seeded(Classifier),
        torch.optim.AdamW,
        {"weight_decay": 0.01},
        parts[0],
        parts[1],
        batch_size=8,
        lanes=False,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "MLP": mlp,
    "CNN with batch normalisation": batch_norm,
    "BERT-mini": bert,
}
