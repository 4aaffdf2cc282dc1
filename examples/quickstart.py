"""Find a learning rate for a small CNN on scikit-learn's digits, and see whether it is right.

    python examples/quickstart.py

The search is an ordinary Optuna study in quickstart.db: stop it at any time and start it again,
and it goes on where it was. A second run finds it finished and adds no trial.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset
from torch.utils.data import random_split

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


STORAGE = "sqlite:///quickstart.db"
BATCH_SIZE, EPOCHS = 64, 20
Batches = DataLoader[tuple[torch.Tensor, ...]]


# --- Your side: data, a model, an optimizer, a loss. Nothing here knows about the search. --------


def load_data() -> tuple[TensorDataset, ...]:
    """1,797 images of 8 x 8 pixels: 1,000 to train, 297 to validate, 500 to test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    dataset = TensorDataset(images, torch.tensor(digits.target))
    generator = torch.Generator().manual_seed(0)
    parts = random_split(dataset, [1000, 297, 500], generator)
    return tuple(TensorDataset(*dataset[part.indices]) for part in parts)


def build_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 4 * 4, 10),
    )


def build_optimizer(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)


def loaders(train: TensorDataset, validation: TensorDataset) -> tuple[Batches, Batches]:
    generator = torch.Generator().manual_seed(0)
    train_loader = DataLoader(train, BATCH_SIZE, shuffle=True, generator=generator)
    return train_loader, DataLoader(validation, batch_size=297)


# --- The search: 20 steps at each learning rate, always from the same start; then some of 80. ----


def search(storage: str | None = STORAGE) -> LRAnalysis:
    train, validation, _ = load_data()
    model = build_model()
    train_loader, validation_loader = loaders(train, validation)
    objective = StepObjective(
        model,
        build_optimizer(model),
        nn.CrossEntropyLoss(),
        train_loader,
        validation_loader,
        total_steps=EPOCHS * len(train_loader),  # how long the training will be
    )
    sampler = LRStepSampler()
    study = optuna.create_study(
        storage=storage,
        study_name="quickstart",
        load_if_exists=True,  # resume, if it was begun before
        sampler=sampler,
        pruner=LRStepPruner(),
    )
    if not sampler.is_resolved(study):
        study.optimize(objective)  # stops by itself
    return analyze(study)


# --- The picture: the loss curve, the window of viable learning rates and the picks. -------------


def draw(result: LRAnalysis, path: Path) -> None:
    mpl.use("agg")
    figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
    ax.axvspan(result.min_lr, result.max_lr, color="tab:blue", alpha=0.12, label="window")
    ax.axhline(result.baseline, color="0.5", ls=":", label="untrained model")
    lr, loss = result.curve.lr, result.curve.loss
    top = 1.6 * result.baseline
    shown = loss <= top
    ax.plot(lr[shown], loss[shown], "o-", color="0.25", ms=4, lw=1, label="20-step trials")
    ax.plot(
        lr[~shown], np.full((~shown).sum(), top), "^", color="0.25", label="higher or diverged"
    )
    for steps, longer in result.longer.items():
        near = longer.loss <= top
        label = f"{steps}-step trials"
        ax.plot(
            longer.lr[near], longer.loss[near], "d-", color="tab:cyan", ms=4, lw=1, label=label
        )
    for name, color, line in (
        ("midpoint", "tab:orange", "--"),
        ("half_loss", "tab:green", "-."),
        ("steepest", "tab:purple", ":"),
        ("peak", "tab:pink", "-"),
        ("recommended", "tab:red", "-"),
    ):
        pick = getattr(result, name)
        ax.axvline(pick, color=color, ls=line, lw=1.8, label=f"{name} {pick:.2g}")
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="validation loss after 20 steps",
        ylim=(0, 1.05 * top),
        title="Digits: small CNN, SGD with momentum 0.9",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


# --- Was it right? Train to the end with the recommended learning rate and a decade off. ---------


def train_fully(lr: float, epochs: int = EPOCHS) -> float:
    """Test accuracy in percent after a full training at a constant learning rate."""
    train, validation, test = load_data()
    model = build_model()
    optimizer = build_optimizer(model, lr)
    loss_fn = nn.CrossEntropyLoss()
    train_loader, _ = loaders(train, validation)
    for _ in range(epochs):
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss_fn(model(inputs), targets).backward()
            optimizer.step()
    model.eval()
    inputs, targets = test.tensors
    with torch.no_grad():
        hits = model(inputs).argmax(dim=1) == targets
    return 100 * float(hits.float().mean())


def main() -> None:
    torch.set_num_threads(1)  # on a model this small, threads wait more than they work
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    result = search()
    print(result)
    draw(result, Path("quickstart.png"))
    print("\nThe curve is drawn in quickstart.png.\n")

    lr = result.recommended
    for name, rate in (
        ("a decade below", lr / 10),
        ("recommended", lr),
        ("a decade above", lr * 10),
    ):
        print(f"{name:>15}  lr {rate:<8.2g}  test accuracy {train_fully(rate):5.1f} %")


if __name__ == "__main__":
    main()
