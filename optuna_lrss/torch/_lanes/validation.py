"""The validation loss of every lane: a :class:`Validation` whose weights have a lane axis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.batchnorm import _NormBase

from optuna_lrss.torch._lanes.stacked import ModelWithLoss
from optuna_lrss.torch._lanes.stacked import Stacked
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._snapshot import Snapshot
from optuna_lrss.torch._statistics import MOST_BATCHES
from optuna_lrss.torch._statistics import averaging
from optuna_lrss.torch._validation import STATISTICS
from optuna_lrss.torch._validation import VALIDATION
from optuna_lrss.torch._validation import Validation


class LaneValidation(Validation):
    """Validates all lanes as a short trial's own validation would each of them.

    Args:
        validation: The short trial's own, which has validated at least once.
        module: The model, with its loss.
        stacked: The lanes.
        batches: Validate on the first so many batches; ``None`` for all.
    """

    def __init__(
        self,
        validation: Validation,
        module: ModelWithLoss,
        stacked: Stacked,
        batches: int | None = None,
    ) -> None:
        vars(self).update(vars(validation))
        self._batches = self._batches[:batches]
        self._sizes = self._sizes[:batches]
        self._module = module
        self._stacked = stacked

    def of_lanes(self, training: list[Any]) -> list[tuple[float, float | None]]:
        """Mean loss over the validation samples, and its standard error, of each lane."""
        with preserved_random_state(), self._measured_statistics(training), self._evaluating():
            seed_everything(derived_seed(self._seed, VALIDATION))
            losses = torch.stack([self._stacked.losses(batch) for batch in self._batches], dim=1)
        return [self._mean(lane) for lane in losses.tolist()]

    @contextmanager
    def _measured_statistics(self, batches: list[Any]) -> Iterator[None]:
        live = self._live()
        if not live:
            yield
            return
        training = Snapshot(self._objects, leave=self._parameters)
        kept = {name: buffer.clone() for name, buffer in self._stacked.buffers.items()}
        seed_everything(derived_seed(self._seed, STATISTICS))
        with averaging([layer for _, layer in live]):
            for prefix, _ in live:
                self._stacked.buffers[f"{prefix}running_mean"].zero_()
                self._stacked.buffers[f"{prefix}running_var"].fill_(1.0)
            self._stacked.forward(batches[:MOST_BATCHES])
        yield
        training.restore()
        self._stacked.buffers = kept

    def _live(self) -> list[tuple[str, _NormBase]]:
        """The layers whose statistics a training step changes, by the prefix of their buffers."""
        return [
            (f"{name}.", layer)
            for name, layer in self._module.named_modules()
            if isinstance(layer, _NormBase) and f"{name}.running_mean" in self._stacked.buffers
        ]
