"""The learning rate by a callback of a trainer that keeps its callbacks in a dictionary.

    python examples/recipes/ultralytics_callback.py

`find_learning_rate` is written for a trainer like that of Ultralytics, whose callbacks are lists
under the names of events, each called with the trainer. With that package it is

    model = YOLO("yolo11n.pt")
    model.add_callback("on_pretrain_routine_end", find_learning_rate)
    model.train(data="coco8.yaml", ...)

The event comes when model, optimizer, schedule and loaders are made and no step has been taken.
Here a small trainer of the same build stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from optuna_lrss.torch import find_lr


Batch = dict[str, Tensor]


# --- The recipe ----------------------------------------------------------------------------------


def find_learning_rate(trainer: Any) -> None:
    """Searches with what the trainer has, and gives its optimizer and its schedule the result."""

    def loss_of(model: nn.Module, batch: Batch) -> Tensor:
        loss, _ = model(trainer.preprocess_batch(batch))
        total: Tensor = loss.sum()  # as the trainer does
        return total

    trainer.lr_result = find_lr(
        trainer.model,
        trainer.optimizer,
        loss_of,
        trainer.train_loader,
        trainer.test_loader,
        accumulate=trainer.accumulate,
        clip_norm=10.0,
        progress=False,
    )
    trainer.lr_result.apply(trainer.optimizer)
    # A schedule and a warm-up start from the learning rate that they were made with.
    for group in trainer.optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    trainer.scheduler.base_lrs = [group["lr"] for group in trainer.optimizer.param_groups]


# --- A trainer to show it with -------------------------------------------------------------------


class Detector(nn.Module):
    """Takes a batch as a dictionary, and gives the loss and its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = nn.functional.cross_entropy(self.layers(batch["img"]), batch["cls"])
        return loss, {"cls_loss": loss.detach()}


class Digits(Dataset[Batch]):
    def __init__(self, rows: slice) -> None:
        bunch = load_digits()
        self.images = torch.tensor(bunch.images[rows], dtype=torch.uint8)[:, None]
        self.labels = torch.tensor(bunch.target[rows])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return {"img": self.images[index], "cls": self.labels[index]}


class Trainer:
    """The bones of a trainer with a dictionary of callbacks."""

    def __init__(self, lr0: float = 0.01, epochs: int = 3) -> None:
        self.callbacks: dict[str, list[Callable[[Any], None]]] = {}
        self.lr0, self.epochs = lr0, epochs
        self.accumulate = 1  # batches to a step
        self.accuracy = 0.0

    def add_callback(self, event: str, callback: Callable[[Any], None]) -> None:
        self.callbacks.setdefault(event, []).append(callback)

    def run_callbacks(self, event: str) -> None:
        for callback in self.callbacks.get(event, []):
            callback(self)

    def preprocess_batch(self, batch: Batch) -> Batch:
        return {**batch, "img": batch["img"].float() / 16.0}

    def setup(self) -> None:
        torch.manual_seed(0)
        self.model = Detector()
        self.train_loader = DataLoader(Digits(slice(0, 1200)), batch_size=32, shuffle=True)
        self.test_loader = DataLoader(Digits(slice(1200, None)), batch_size=64)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": 5e-4},
            {"params": rest},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=self.lr0, momentum=0.9, nesterov=True)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda epoch: 1.0 - 0.99 * epoch / self.epochs
        )

    def train(self) -> None:
        self.setup()
        self.run_callbacks("on_pretrain_routine_end")
        for _ in range(self.epochs):
            self.model.train()
            for batch in self.train_loader:
                loss, _ = self.model(self.preprocess_batch(batch))
                loss.sum().backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.scheduler.step()
        self.validate()

    def validate(self) -> None:
        self.model.eval()
        hits = 0
        with torch.no_grad():
            for batch in self.test_loader:
                guess = self.model.layers(self.preprocess_batch(batch)["img"]).argmax(dim=1)
                hits += int((guess == batch["cls"]).sum())
        self.accuracy = 100.0 * hits / len(self.test_loader.dataset)  # type: ignore[arg-type]


def main() -> None:
    torch.set_num_threads(1)
    as_it_comes = Trainer()
    as_it_comes.train()
    print(f"lr0 of the trainer   {as_it_comes.lr0:<8.2g} {as_it_comes.accuracy:.1f} %")

    trainer = Trainer()
    trainer.add_callback("on_pretrain_routine_end", find_learning_rate)
    trainer.train()
    found = trainer.lr_result.recommended  # type: ignore[attr-defined]
    print(f"lr0 of the callback  {found:<8.2g} {trainer.accuracy:.1f} %")


if __name__ == "__main__":
    main()
