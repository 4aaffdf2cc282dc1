"""The data sets as tensors: read, cut to size, turned into batches in a reproducible order."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.benchmarks.landscapes.finetune import lite
from examples.paper._config import Config


#: Where a reader who has none of the prepared files finds the originals.
ORIGINALS = {
    "ag_news": "https://github.com/mhjabreel/CharCnn_Keras (data/ag_news_csv)",
    "scan": "https://github.com/brendenlake/SCAN (tasks.txt)",
    "multi30k_en_de": "https://github.com/multi30k/dataset (data/task1/raw)",
    "hymenoptera": "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
}
#: Ids of the word-level tokenizer, known to the models' configurations too.
PAD, UNKNOWN, BEGIN, END = range(4)
IGNORED = -100  # transformers leaves targets of this value out of the loss

Rows = dict[str, Tensor]


class MissingDataError(Exception):
    """The data are not there; the message is one sentence that says where to get them."""


@dataclass(frozen=True)
class Splits:
    """Tensors of the three parts, first dimension rows; ``vocabulary`` 0 for images."""

    train: Rows
    validation: Rows
    test: Rows
    vocabulary: int


def data_folder(given: Path | None, dataset: str) -> Path:
    """The data set's folder: under ``given``, else beside the clone.

    Raises:
        MissingDataError: If it is in neither place.
    """
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    root = beside if given is None else given
    if (root / dataset).is_dir():
        return root / dataset
    raise MissingDataError(
        f"The data set {dataset} is not in {root}: get the original from {ORIGINALS[dataset]}, "
        "bring it into the form that examples/paper/_data.py reads, and name its parent folder "
        "with --data DIR."
    )


class Batches:
    """An endless, reproducible order of training batches, a new shuffle in each epoch.

    Args:
        rows: The training rows.
        size: Rows per batch; an incomplete batch at an epoch's end is left out.
        seed: Seed of the shuffles.
    """

    def __init__(self, rows: Rows, size: int, seed: int) -> None:
        self._rows = rows
        self._n = len(next(iter(rows.values())))
        self._size = min(size, self._n)
        self._seed = seed

    def __iter__(self) -> Iterator[Rows]:
        return self.starting_at(0)

    def starting_at(self, step: int) -> Iterator[Rows]:
        """The batches from one step on: a resumed training goes on where it was."""
        per_epoch = self._n // self._size
        while True:
            epoch, i = divmod(step, per_epoch)
            generator = torch.Generator().manual_seed(1_000_003 * self._seed + epoch)
            order = torch.randperm(self._n, generator=generator)
            for at in range(i, per_epoch):
                yield _take(self._rows, order[at * self._size : (at + 1) * self._size])
                step += 1


def in_order(rows: Rows, size: int) -> list[Rows]:
    """All rows in batches, in order."""
    n = len(next(iter(rows.values())))
    return [_take(rows, torch.arange(i, min(i + size, n))) for i in range(0, n, size)]


def _take(rows: Rows, index: Tensor) -> Rows:
    return {name: tensor[index] for name, tensor in rows.items()}


def load(config: Config, folder: Path, tokenizer: Any = None) -> Splits:
    """Reads a data set as an experiment wants it.

    Args:
        config: The experiment.
        folder: The data set's folder.
        tokenizer: The pretrained model's tokenizer; ``None`` builds a word-level one from the
            training rows.

    Returns:
        The splits: short trials validate on the second, full trainings are scored on the third.
    """
    if config.dataset == "hymenoptera":
        return _images(config, folder)
    if config.family == "bart":
        return _pairs(config, folder, tokenizer)
    return _topics(config, folder, tokenizer)


# --- text ----------------------------------------------------------------------------------------


def _read(folder: Path, part: str, limit: int | None) -> list[dict[str, str]]:
    with gzip.open(folder / f"{part}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows if limit is None else rows[:limit]


def _parts(config: Config) -> dict[str, int | None]:
    return {"train": config.train_rows, "val": config.validation_rows, "test": config.test_rows}


def _topics(config: Config, folder: Path, tokenizer: Any) -> Splits:
    """AG News: title and text to one of four topics."""
    raw = {part: _read(folder, part, limit) for part, limit in _parts(config).items()}
    texts = {
        part: [f"{row['title']} {row['text']}".strip() for row in rows]
        for part, rows in raw.items()
    }
    words = tokenizer or Words(texts["train"], config.vocabulary)
    parts = [
        {
            **_tokens(words, texts[part], config.length),
            "labels": torch.tensor([int(row["label"]) for row in rows]),
        }
        for part, rows in raw.items()
    ]
    return Splits(parts[0], parts[1], parts[2], len(words))


def _pairs(config: Config, folder: Path, tokenizer: Any) -> Splits:
    """SCAN, Multi30k: source to target sequence; what is too long to fit is left out."""
    raw = {part: _read(folder, part, None) for part in _parts(config)}
    everything = [row[side] for row in raw["train"] for side in ("src", "tgt")]
    words = tokenizer or Words(everything, config.vocabulary)
    parts = []
    for part, limit in _parts(config).items():
        source = _tokens(words, [row["src"] for row in raw[part]], config.length + 1)
        target = _tokens(words, [row["tgt"] for row in raw[part]], config.target_length + 1)
        fits = (source["attention_mask"].sum(1) <= config.length) & (
            target["attention_mask"].sum(1) <= config.target_length
        )
        keep = fits.nonzero().squeeze(1)[:limit]
        labels = target["input_ids"].masked_fill(target["attention_mask"] == 0, IGNORED)
        rows = {name: tensor[:, : config.length] for name, tensor in source.items()}
        rows["labels"] = labels[:, : config.target_length]
        parts.append(_take(rows, keep))
    return Splits(parts[0], parts[1], parts[2], len(words))


def _tokens(words: Any, texts: Sequence[str], length: int) -> Rows:
    if isinstance(words, Words):
        ids = words.encode(texts, length)
        return {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    encoded = words(
        list(texts), truncation=True, padding="max_length", max_length=length, return_tensors="pt"
    )
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


class Words:
    """A word-level tokenizer: the most frequent lower-case words of some texts.

    Args:
        texts: The training texts.
        size: Ids to give out, the four special ones included.
    """

    _PATTERN = re.compile(r"\w+|[^\w\s]")

    def __init__(self, texts: Iterable[str], size: int) -> None:
        counts = Counter(word for text in texts for word in self._split(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._ids = {word: END + 1 + i for i, word in enumerate(ranked[: size - END - 1])}

    def __len__(self) -> int:
        return len(self._ids) + END + 1

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Ids, begin and end included, padded or cut to shape ``(len(texts), length)``."""
        rows = torch.full((len(texts), length), PAD)
        for row, text in zip(rows, texts, strict=True):
            known = [self._ids.get(word, UNKNOWN) for word in self._split(text)]
            ids = [BEGIN, *known, END][:length]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def _split(self, text: str) -> list[str]:
        return self._PATTERN.findall(text.lower())


# --- images --------------------------------------------------------------------------------------


def _images(config: Config, folder: Path) -> Splits:
    """Hymenoptera: ants and bees. The official second part is the test set.

    Validation rows are taken out of the training part, unless all of that is trained on: then
    they come from the test set. What is trained on is doubled by mirroring.
    """
    with np.load(folder / "hymenoptera_96.npz") as file:
        names = ("x_train", "y_train", "x_val", "y_val")
        x, y, x_test, y_test = (torch.from_numpy(file[name]) for name in names)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = _pixels(x, config)[order], y[order]
    n = 0 if config.all_images else config.validation_rows
    train_x, train_y = x[n:][: config.train_rows], y[n:][: config.train_rows]
    mirrored = torch.cat([train_x, train_x.flip(3)])
    keep = torch.randperm(len(x_test), generator=torch.Generator().manual_seed(0))
    test = {"pixel_values": _pixels(x_test, config)[keep], "labels": y_test[keep]}
    validation = {"pixel_values": x[:n], "labels": y[:n]}
    if config.all_images:
        validation = {name: rows[: config.validation_rows] for name, rows in test.items()}
    return Splits(
        train={"pixel_values": mirrored, "labels": torch.cat([train_y, train_y])},
        validation=validation,
        test={name: rows[: config.test_rows] for name, rows in test.items()},
        vocabulary=0,
    )


def _pixels(images: Tensor, config: Config) -> Tensor:
    """From uint8, rows x height x width x channel, to float, rows x channel x side x side."""
    pixels = images.permute(0, 3, 1, 2).float()
    side = config.length
    if config.family == "lite0":  # scaled as its weights were trained
        scaled = lite.scaled(pixels)
        return F.interpolate(scaled, size=(side, side), mode="bilinear", antialias=True)
    pixels = pixels / 255.0
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, size=(side, side), mode="area")
    return (pixels - 0.45) / 0.25
