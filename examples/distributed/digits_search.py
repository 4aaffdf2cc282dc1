"""What the examples in this folder search for: the learning rate of an MLP on digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss.torch import StepObjective


STEPS = 20
Loader = DataLoader[tuple[torch.Tensor, ...]]


def pieces() -> tuple[nn.Module, torch.optim.Optimizer, Loader, Loader]:
    """Model, optimizer, training and validation batches; the same in every process."""
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32) / 8.0 - 1.0
    y = torch.tensor(bunch.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train = TensorDataset(x[order[:1200]], y[order[:1200]])
    validation = TensorDataset(x[order[1200:]], y[order[1200:]])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(train, batch_size=50, shuffle=True, generator=generator)
    return model, optimizer, loader, DataLoader(validation, batch_size=597)


def make_objective() -> StepObjective:
    """Short trials of 20 steps; each worker makes its own."""
    torch.set_num_threads(1)
    model, optimizer, train, validation = pieces()
    return StepObjective(model, optimizer, nn.CrossEntropyLoss(), train, validation, steps=STEPS)
