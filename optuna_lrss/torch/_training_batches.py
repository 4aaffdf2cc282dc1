"""The training batches of short trials and of longer ones, which begin with the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from optuna_lrss.torch._batches import draw_batches
from optuna_lrss.torch._batches import to_device
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._settings import Settings


_TRAIN_BATCHES = 0  # a seed's purpose, see _short_trial


class TrainingBatches:
    """Draws batches at their first use and keeps them.

    Those of the short trials are on the device. A longer trial begins with them; its others would
    not always fit there, and stay where the loader has them.

    Args:
        loader: The training loader.
        settings: Steps, batches of a step, seed.
        device: Where the short trials' batches are kept.
    """

    def __init__(self, loader: Iterable[Any], settings: Settings, device: torch.device) -> None:
        self._loader = loader
        self._settings = settings
        self._device = device
        self._short: dict[int, list[Any]] = {}
        self._longer: dict[int, list[Any]] = {}

    def of(self, repeat: int, steps: int | None = None) -> list[Any]:
        """The batches of a repeat, those of a longer trial if so many steps are more.

        Args:
            repeat: Which repeat; each has batches of its own.
            steps: Optimizer steps; ``None`` for those of a short trial.
        """
        if repeat not in self._short:
            drawn = self._drawn(repeat, self._settings.steps)
            self._short[repeat] = on_device(drawn, self._device)
        batches = self._short[repeat]
        if steps is None or steps <= self._settings.steps:
            return batches
        batches = self._longer.get(repeat, batches)
        if len(batches) < steps * self._settings.accumulate:
            # The known ones first: a loader may give others when it is read again.
            drawn = self._drawn(repeat, steps)
            self._longer[repeat] = batches = [*batches, *drawn[len(batches) :]]
        return batches

    def _drawn(self, repeat: int, steps: int) -> list[Any]:
        size = self._settings.accumulate
        return draw_batches(
            self._loader,
            steps * size,
            name="train_loader",
            seed=derived_seed(self._settings.seed, _TRAIN_BATCHES, repeat),
            repeat=repeat,
            window=self._settings.steps * size,
        )


def on_device(batches: list[Any], device: torch.device) -> list[Any]:
    """Batches with their tensors on a device."""
    return [to_device(batch, device) for batch in batches]
