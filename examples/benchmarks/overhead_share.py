"""What one search takes of the processor, and what its training alone would: one tree, one model.

Runs in a process of its own, with the tree to be measured on PYTHONPATH; ``overhead.py`` starts
it. The training alone is a plain loop of as many optimizer steps, and of as many forward passes
over validation batches, as the search made. Clocks inside of the search would count themselves.

    python examples/benchmarks/overhead_share.py MLP
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss.torch import find_lr


sys.path.insert(0, str(Path(__file__).parents[1]))
Pieces = tuple[nn.Module, torch.optim.Optimizer, Any, Any, Any]

#: Searches and plain loops of a process, in turns; the fastest of each counts, since whatever else
#: the machine does can only add.
_TURNS = 4


def mlp() -> Pieces:
    """The README's model."""
    torch.manual_seed(0)
    images, labels = (torch.tensor(a) for a in load_digits(return_X_y=True))
    images = images.float() / 16
    train = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=64, shuffle=True)
    validation = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=64)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters())
    return model, optimizer, nn.CrossEntropyLoss(), train, validation


def cnn() -> Pieces:
    """The quickstart's."""
    quickstart = importlib.import_module("quickstart")
    train, validation, _ = quickstart.load_data()
    model = quickstart.build_model()
    loaders = quickstart.loaders(train, validation)
    return model, quickstart.build_optimizer(model), nn.CrossEntropyLoss(), *loaders


MODELS: dict[str, Callable[[], Pieces]] = {"MLP": mlp, "CNN": cnn}


class Counted:
    """A loss that counts how often it is asked for, in training and in validation."""

    def __init__(self, loss_fn: Callable[[Any, Any], Any]) -> None:
        self._loss_fn = loss_fn
        self.train = self.validation = 0

    def __call__(self, output: Any, target: Any) -> Any:
        if torch.is_grad_enabled():
            self.train += 1
        else:
            self.validation += 1
        return self._loss_fn(output, target)


def search(make: Callable[[], Pieces]) -> tuple[float, Counted]:
    """Processor seconds of a search, and the passes that it made."""
    model, optimizer, loss_fn, train, validation = make()
    counted = Counted(loss_fn)
    started = time.process_time()
    find_lr(model, optimizer, counted, train, validation, progress=False)
    return time.process_time() - started, counted


def plain(make: Callable[[], Pieces], counted: Counted) -> float:
    """Processor seconds of the same passes in a plain loop."""
    model, optimizer, loss_fn, train, validation = make()
    train, validation = list(train), list(validation)
    started = time.process_time()
    for inputs, targets in islice(cycle(train), counted.train):
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for inputs, targets in islice(cycle(validation), counted.validation):
            loss_fn(model(inputs), targets)
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    make = MODELS[sys.argv[1]]
    _, counted = search(make)  # imports, and torch's first calls, are not the search's
    plain(make, counted)
    turns = [(search(make)[0], plain(make, counted)) for _ in range(_TURNS)]
    searches, loops = zip(*turns, strict=True)
    print(
        json.dumps(
            {
                "steps": counted.train,
                "validation_passes": counted.validation,
                "search_s": min(searches),
                "plain_s": min(loops),
            }
        )
    )


if __name__ == "__main__":
    main()
