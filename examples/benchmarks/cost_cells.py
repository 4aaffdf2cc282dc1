"""Small trainings of many kinds: models, data and optimizers for the benchmark of a search's cost.

Everything comes with scikit-learn or is drawn from a seed. A cell is a model, an optimizer and a
seed, which the weights, the batches and drawn data follow from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss.torch import StepPieces


BATCH_SIZE = 32
N_VALIDATION = 320

Loss = Callable[[Tensor, Tensor], Tensor]


class Cell(NamedTuple):
    """One training; its name is what figures are kept under."""

    model: str
    optimizer: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.optimizer}-{self.seed}"

    def pieces(self) -> StepPieces:
        """Model, optimizer, loss and loaders, the same each time."""
        build, loss, data = MODELS[self.model]
        torch.manual_seed(1000 + self.seed)
        x, y = data(self.seed)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(self.seed))
        n_validation = min(N_VALIDATION, len(y) // 3)
        train, valid = order[n_validation:], order[:n_validation]
        model = build()
        if self.model == "pretrained":
            _pretrain(model, x[train], y[train])
        optimizer = OPTIMIZERS[self.optimizer](model.parameters())
        shuffle = torch.Generator().manual_seed(self.seed)
        return StepPieces(
            model,
            optimizer,
            loss,
            DataLoader(
                TensorDataset(x[train], y[train]), BATCH_SIZE, shuffle=True, generator=shuffle
            ),
            DataLoader(TensorDataset(x[valid], y[valid]), 160),
        )


# --- Data ---------------------------------------------------------------------------------------


@functools.cache
def _images() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(bunch.target)


def _digits(seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _images()


def _autoencoding(seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    x, _ = _images()
    return x, x


def _parity(seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    x, y = _images()
    return x, (y % 2).float()[:, None]


def _diabetes(seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    bunch = load_diabetes()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target, dtype=torch.float32)[:, None]
    return x / x.std(), (y - y.mean()) / y.std()


def _cancer(seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    bunch = load_breast_cancer()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0), torch.tensor(bunch.target, dtype=torch.float32)[:, None]


def _teacher(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1200, 20, generator=generator)
    first = torch.randn(20, 16, generator=generator) / 20**0.5
    second = torch.randn(16, 1, generator=generator) / 4
    y = torch.tanh(2 * x @ first) @ second
    return x, y + 0.05 * torch.randn(y.shape, generator=generator)


def _words(seed: int) -> tuple[Tensor, Tensor]:
    """Texts of four topics: 30 words of 2,000, a fifth of them the topic's own."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (1500,), generator=generator)
    common = (2000 * torch.rand(1500, 30, generator=generator) ** 3).long()
    own = 100 * y[:, None] + torch.randint(100, (1500, 30), generator=generator)
    return torch.where(torch.rand(1500, 30, generator=generator) < 0.2, own, common), y


# --- Models -------------------------------------------------------------------------------------


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def _convolution(norm: bool) -> nn.Module:
    def block(a: int, b: int) -> list[nn.Module]:
        inner = [nn.BatchNorm2d(b)] if norm else []
        return [nn.Conv2d(a, b, 3, padding=1), *inner, nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *block(1, 8),
        *block(8, 16),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.place = nn.Parameter(0.02 * torch.randn(8, 32))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.embed(x.view(-1, 8, 8)) + self.place).mean(1))
        return out


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(x.view(-1, 8, 8))[0][:, -1])
        return out


def _zero_head() -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    nn.init.zeros_(model[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model[-1].bias)  # type: ignore[arg-type]
    return model


def _dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


def _deep() -> nn.Module:
    inner = [layer for _ in range(7) for layer in (nn.Linear(48, 48), nn.Tanh())]
    return nn.Sequential(nn.Linear(64, 48), nn.Tanh(), *inner, nn.Linear(48, 10))


def _regressor(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 1))


def _gaussian() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))


def _bag() -> nn.Module:
    return nn.Sequential(nn.EmbeddingBag(2000, 32), nn.Linear(32, 4))


def _autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 64)
    )


def _pretrain(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """On other labels: the digits counted from seven."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        rows = torch.randint(len(y), (64,), generator=generator)
        loss = F.cross_entropy(model(x[rows]), (y[rows] + 7) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Mean negative log likelihood of a normal distribution; passes through zero as it learns."""
    mean, log_deviation = output[:, :1], output[:, 1:].clamp(-5.0, 5.0)
    return (0.5 * ((target - mean) / log_deviation.exp()) ** 2 + log_deviation).mean()


MODELS: dict[str, tuple[Callable[[], nn.Module], Loss, Callable[[int], tuple[Tensor, Tensor]]]] = {
    "mlp": (_mlp, F.cross_entropy, _digits),
    "cnn": (lambda: _convolution(norm=False), F.cross_entropy, _digits),
    "cnn_batch_norm": (lambda: _convolution(norm=True), F.cross_entropy, _digits),
    "transformer": (_Transformer, F.cross_entropy, _digits),
    "diabetes": (lambda: _regressor(10), F.mse_loss, _diabetes),
    "words": (_bag, F.cross_entropy, _words),
    "lstm": (_Recurrent, F.cross_entropy, _digits),
    "zero_head": (_zero_head, F.cross_entropy, _digits),
    "dropout": (_dropout, F.cross_entropy, _digits),
    "deep_tanh": (_deep, F.cross_entropy, _digits),
    "teacher": (lambda: _regressor(20), F.mse_loss, _teacher),
    "likelihood": (_gaussian, _likelihood, _teacher),
    "autoencoder": (_autoencoder, F.mse_loss, _autoencoding),
    "cancer": (lambda: nn.Linear(30, 1), F.binary_cross_entropy_with_logits, _cancer),
    "parity": (lambda: _regressor(64), F.binary_cross_entropy_with_logits, _parity),
    "pretrained": (_mlp, F.cross_entropy, _digits),
}
#: Kinds that the rules were developed on; the others were first seen when they were measured.
DEVELOPED_ON = ("mlp", "cnn", "cnn_batch_norm", "transformer", "diabetes", "words")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda p: torch.optim.SGD(p, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def cells(models: tuple[str, ...], seeds: tuple[int, ...]) -> list[Cell]:
    """Every model with every optimizer and seed."""
    return [Cell(m, o, s) for s in seeds for m in models for o in OPTIMIZERS]
