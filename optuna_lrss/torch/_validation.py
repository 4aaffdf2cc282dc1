"""The validation loss of a model in the middle or at the end of a short trial."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import halves
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._snapshot import Snapshot
from optuna_lrss.torch._statistics import MOST_BATCHES
from optuna_lrss.torch._statistics import RunningStatistics
from optuna_lrss.torch._statistics import averaging
from optuna_lrss.torch._updates import Updates


_BATCHES_FOR_STDERR = 4
#: A sum over samples equals the sum of two halves up to rounding, also in bfloat16; a mean is half
#: of it.
_SAME = 0.01
_AS_SUM, _AS_MEAN, _NOT = "sum", "mean", "not"
VALIDATION, STATISTICS = 3, 4  # a seed's purpose, see _short_trial


class Validation:
    """Validates a model as its training goes on, without a trace in the training.

    Args:
        updates: The model and its loss.
        batches: Validation batches, on the device.
        objects: Modules and other objects that a forward pass may change.
        parameters: All parameters; forward passes do not change them.
        seed: The trials' seed.
    """

    def __init__(
        self,
        updates: Updates,
        batches: list[Any],
        objects: list[Any],
        parameters: list[nn.Parameter],
        seed: int,
    ) -> None:
        self._updates = updates
        self._model = updates.model
        self._batches = batches
        self._sizes = [batch_size(batch) for batch in batches]
        self._objects = objects
        self._parameters = parameters
        self._seed = seed
        self._adds: str | None = None  # how, is not known before the first validation
        self.start()

    def start(self) -> None:
        """To be called before the first step of a trial, with the model in train mode."""
        self._modes = [(module, module.training) for module in self._model.modules()]
        self._statistics = RunningStatistics(self._model)

    def move_buffers(self, batches: list[Any]) -> None:
        """What a short trial without a single update does to the model."""
        buffers = {id(b) for b in self._model.buffers()}
        if not buffers:
            return
        if buffers <= self._statistics.buffers:  # one batch shows which of them are live
            batches = batches[:1]
        seed_everything(derived_seed(self._seed, STATISTICS))
        self._updates.forward(batches)

    def __call__(self, training: list[Any]) -> tuple[float, float | None]:
        """Mean loss over the validation samples, and its standard error.

        In eval mode, under no_grad (tensors of inference_mode that a module keeps would break its
        training), with random numbers of its own: it neither sees nor moves the training's.

        Args:
            training: The trial's training batches, for running statistics.
        """
        return _mean_over_samples(self.each(training), self._sizes)

    def each(self, training: list[Any]) -> list[float]:
        """Mean loss over the samples of each validation batch, as in a call."""
        with preserved_random_state(), self._measured_statistics(training), self._evaluating():
            seed_everything(derived_seed(self._seed, VALIDATION))
            losses = [self._loss_of(batch) for batch in self._batches]
            if self._adds is None:
                self._adds = self._kind_of_loss(self._batches[0], losses[0])
        return self._means(losses)

    @property
    def sizes(self) -> list[int]:
        """Samples of each validation batch."""
        return self._sizes

    @property
    def needs_whole_batches(self) -> bool:
        """Whether the loss of a batch does not follow from those of its parts."""
        return self._adds == _NOT

    def of_guessing(self) -> float | None:
        """The loss of the best output that does not look at its input, if that can be told."""
        with preserved_random_state(), self._evaluating():
            weights = [1] * len(self._sizes) if self._adds == _AS_SUM else self._sizes
            losses = self._updates.guessing(self._batches, weights)
        if losses is None:
            return None
        guess, _ = self._mean(losses)
        return guess if math.isfinite(guess) else None

    def _mean(self, losses: list[float]) -> tuple[float, float | None]:
        return _mean_over_samples(self._means(losses), self._sizes)

    def _means(self, losses: list[float]) -> list[float]:
        if self._adds != _AS_SUM:
            return losses
        return [loss / max(n, 1) for loss, n in zip(losses, self._sizes, strict=True)]

    def _loss_of(self, batch: Any) -> float:
        return self._updates.loss(batch).item()

    def _kind_of_loss(self, batch: Any, loss: float) -> str:
        """How the loss of a batch follows from those of its halves: as their sum or their mean."""
        parts = halves(batch)
        if parts is None or not math.isfinite(loss) or loss == 0.0:
            return _NOT
        try:
            seed_everything(derived_seed(self._seed, VALIDATION))
            losses = [self._loss_of(part) for part in parts]
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError):
            return _NOT  # a loss that cannot do without the whole batch
        if math.isclose(sum(losses), loss, rel_tol=_SAME):
            return _AS_SUM
        sizes = [batch_size(part) for part in parts]
        mean = sum(n * part for n, part in zip(sizes, losses, strict=True)) / sum(sizes)
        return _AS_MEAN if math.isclose(mean, loss, rel_tol=_SAME) else _NOT

    @contextmanager
    def _measured_statistics(self, batches: list[Any]) -> Iterator[None]:
        """Inside, live running statistics are those of these weights on the training batches.

        The same batches at every snapshot, as for the baseline; what the training has made of the
        model's buffers comes back for its next step.
        """
        live = self._statistics.live()
        if not live:
            yield
            return
        training = Snapshot(self._objects, leave=self._parameters)
        seed_everything(derived_seed(self._seed, STATISTICS))
        with averaging(live):
            self._updates.forward(batches[:MOST_BATCHES])
        yield
        training.restore()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self._model.eval()
        call_if_there(self._updates.optimizer, "eval")
        with torch.no_grad():
            yield
        # train() first: a model may have more to do on it than to set flags (merged adapters).
        self._model.train()
        for module, training in self._modes:
            module.training = training
        call_if_there(self._updates.optimizer, "train")


def _mean_over_samples(losses: list[float], sizes: list[int]) -> tuple[float, float | None]:
    """Batch means weighted by batch size, and the standard error of that.

    The error comes from how batch means scatter, so it needs a few batches; ``None`` else. A mean
    that is not finite is ``inf``.
    """
    count = sum(sizes)
    if count == 0:
        raise ValueError("the validation batches hold no sample: give batches that are not empty.")
    mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / count
    if not math.isfinite(mean):
        return math.inf, None
    if len(losses) < _BATCHES_FOR_STDERR:
        return mean, None
    # Var(batch mean) = Var(sample) / size, so this sum estimates (batches - 1) * Var(sample).
    scatter = sum(size * (loss - mean) ** 2 for size, loss in zip(sizes, losses, strict=True))
    return mean, math.sqrt(scatter / (len(losses) - 1) / count)


def call_if_there(optimizer: Optimizer, name: str) -> None:
    """Schedule-free optimizers have modes of their own."""
    method = getattr(optimizer, name, None)
    if callable(method):
        method()
