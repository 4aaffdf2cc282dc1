"""What a task is, and the few steps that every task takes: split, scale, spoil."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.paper._data import MissingDataError as MissingDataError
from examples.paper._data import data_folder


#: Names a folder with the data sets that no package ships, as ``--data DIR`` does.
DATA_VARIABLE = "LANDSCAPES_DATA"
#: Targets of this value are left out of a token loss.
IGNORED = -100
#: Id that fills token rows up to their common length.
PAD = 0

Array = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """A task's tensors; rows come first in each, and no row is in two parts.

    Inputs are float32 of shape ``(rows, features)``, ``(rows, steps, channels)`` or ``(rows,
    channels, height, width)``, or int64 tokens of shape ``(rows, steps)`` filled with 0. A
    contrastive task's inputs carry the two views at axis 1. Targets are int64 classes of shape
    ``(rows,)``, int64 tokens of shape ``(rows, steps)`` with -100 where nothing is asked, or
    float32 whose axes after the first are those of the model's output.

    Attributes:
        n_classes: Classes to tell apart (for token targets the vocabulary); 0 for a regression.
        vocab: Token ids that the inputs use; 0 if they are not tokens.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int = 0
    vocab: int = 0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is known of a task before its data are read.

    Attributes:
        name: The task's name, that of its function.
        kind: classification, regression, sequence, language, autoencoder, embedding,
            contrastive, segmentation, restoration or factorisation.
        real: Whether the data were observed rather than generated.
        loss: cross_entropy, token_cross_entropy (mean over the targets that are not -100), mse
            (mean over all entries), bce (mean over all entries, from logits), gaussian_nll (the
            model gives means, then log-variances: twice as many outputs as targets) or info_nce
            (a batch's rows of view 1 against those of view 2, cosine similarity over .5).
        metric: accuracy (share of right classes, or of right tokens, in [0, 1]) or loss.
        source: Where the data come from.
        licence: Terms of the data.
        label_smoothing: Share of the target spread over all classes in the training loss.
    """

    name: str
    kind: str
    real: bool
    loss: str
    metric: str
    source: str
    licence: str
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class TaskData(Spec, Parts):
    """A task: its tensors (see `Parts`) and what they are (see `Spec`)."""


Builder = Callable[[], Parts]
REGISTRY: dict[str, tuple[Spec, Builder]] = {}


def task(
    *,
    kind: str,
    loss: str,
    source: str,
    licence: str,
    real: bool = True,
    metric: str = "loss",
    label_smoothing: float = 0.0,
) -> Callable[[Builder], Builder]:
    """Registers the function below it as a task of the function's name; see `Spec`."""

    def register(builder: Builder) -> Builder:
        name = builder.__name__
        if name in REGISTRY:
            raise ValueError(f"There is a task {name!r} already: name this one differently.")
        spec = Spec(
            name=name,
            kind=kind,
            real=real,
            loss=loss,
            metric=metric,
            source=source,
            licence=licence,
            label_smoothing=label_smoothing,
        )
        # The seeds of a cell load a task one after another.
        REGISTRY[name] = (spec, lru_cache(maxsize=1)(builder))
        return builder

    return register


# --- where data are ------------------------------------------------------------------------------


def shared(dataset: str) -> Path:
    """The folder of a data set that no package ships.

    Raises:
        MissingDataError: If it is neither in ``$LANDSCAPES_DATA`` nor beside the clone.
    """
    given = os.environ.get(DATA_VARIABLE)
    return data_folder(Path(given) if given else None, dataset)


def package_file(package: str, *inside: str, install: str) -> Path:
    """A data file that a package ships, found without importing the package.

    Raises:
        MissingDataError: If the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingDataError(f"The data of this task come with a package: {install}")
    return Path(found.origin).parent.joinpath(*inside)


# --- steps ---------------------------------------------------------------------------------------


def generator(seed: int) -> np.random.Generator:
    """The source of every random choice of a task."""
    return np.random.default_rng(seed)


def split(
    x: Array, y: Array, train: int, val: int, test: int, *, n_classes: int = 0, vocab: int = 0
) -> Parts:
    """Shuffles rows by a fixed seed and deals them out; a row seen before is dropped.

    Args:
        x: Inputs, rows first.
        y: Targets, rows first.
        train: Rows to train on.
        val: Rows to validate on.
        test: Rows to test on, or fewer if no more are left.
        n_classes: As in `Parts`.
        vocab: As in `Parts`.

    Raises:
        ValueError: If rows do not suffice for the first two parts and one row of the third.
    """
    _, first = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)
    order = generator(0).permutation(np.sort(first))
    if len(order) <= train + val:
        raise ValueError(
            f"train + val is {train + val}, but there are {len(order)} distinct rows: "
            "ask for fewer."
        )
    cuts = (order[:train], order[train : train + val], order[train + val :][:test])
    return parts([(x[cut], y[cut]) for cut in cuts], n_classes=n_classes, vocab=vocab)


def parts(
    pairs: Sequence[tuple[Array, Array]] | Sequence[tuple[Tensor, Tensor]],
    *,
    n_classes: int = 0,
    vocab: int = 0,
) -> Parts:
    """Training, validation and test rows, inputs and targets of each."""
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = (
        (_tensor(x), _tensor(y)) for x, y in pairs
    )
    return Parts(x_train, y_train, x_val, y_val, x_test, y_test, n_classes, vocab)


def _tensor(rows: Array | Tensor) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.from_numpy(np.ascontiguousarray(rows))


def standardised(given: Parts, *, targets: bool = False) -> Parts:
    """Inputs (and targets) with mean 0 and deviation 1 per column of the training rows."""
    fields = {}
    for side in ("x", "y") if targets else ("x",):
        train = getattr(given, f"{side}_train")
        mean, deviation = train.mean(0), train.std(0)
        for part in ("train", "val", "test"):
            rows = getattr(given, f"{side}_{part}")
            # A constant column stays 0 instead of being divided by 0.
            fields[f"{side}_{part}"] = (rows - mean) / deviation.clamp_min(1e-6)
    return replace(given, **fields)


def mislabelled(given: Parts, share: float) -> Parts:
    """Training labels, a share of which is drawn anew from all classes."""
    rng = torch.Generator().manual_seed(1)
    labels = given.y_train
    drawn = torch.randint(given.n_classes, labels.shape, generator=rng)
    chosen = torch.rand(labels.shape, generator=rng) < share
    return replace(given, y_train=torch.where(chosen, drawn, labels))


def imbalanced(given: Parts, ratio: float) -> Parts:
    """Training rows thinned so that class k keeps the share ``ratio ** -(k / (classes - 1))``."""
    rng = torch.Generator().manual_seed(1)
    chance = ratio ** -(torch.arange(given.n_classes) / (given.n_classes - 1))
    kept = torch.rand(given.y_train.shape, generator=rng) < chance[given.y_train]
    return replace(given, x_train=given.x_train[kept], y_train=given.y_train[kept])
