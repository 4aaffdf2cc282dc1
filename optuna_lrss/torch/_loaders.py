"""What trials train and validate on: batches of two loaders, or of one."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import IterableDataset

from optuna_lrss.torch._batches import draw_batches
from optuna_lrss.torch._batches import read_batches
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._sample import Pool
from optuna_lrss.torch._settings import Settings


#: Four batches give a standard error at all; eight know it to about a quarter of its size,
#: 1 / sqrt(2 (n - 1)), and cost each trial less than half of what its steps do.
_BATCHES = 8
#: Of a loader that ends before there are enough, one batch in so many: most is to be trained on.
_ONE_IN = 4


#: Of a stream that does not say how long it is, and may have no end, so many batches are read for
#: each of a trial's: ten times as many as the largest sample holds.
_OF_A_STREAM = 30


# What a seed is for, so that no two purposes share a stream.
_TRAIN_BATCHES, _VALIDATION_BATCHES = range(2)  # the others: _short_trial, _validation, _objective


class Loaders:
    """The batches of a configuration's trials.

    Args:
        train: The training loader.
        validation: The validation loader; ``None`` holds batches of the other one out.
        settings: How many batches, with which seed.

    Raises:
        ValueError: If a loader is empty or cannot be read, or is too short to hold batches out.
    """

    def __init__(
        self, train: Iterable[Any], validation: Iterable[Any] | None, settings: Settings
    ) -> None:
        self._train = train
        self._validation = validation
        self._settings = settings
        self._hold_out = None if validation is not None else self._held_out()

    @property
    def held_out(self) -> int:
        """Batches of the training loader that validate."""
        return 0 if self._hold_out is None else len(self._hold_out.validation)

    def validation(self, most: int) -> Pool:
        """What trials are validated on, all of it or a sample.

        Args:
            most: Rows of the largest sample.
        """
        if self._hold_out is not None:
            held_out = self._hold_out.validation
            return Pool(lambda: (batch for batch in held_out), by_rows=False)
        if self._settings.validation_batches != "auto":  # then there is no sample
            return Pool(self._read_validation, by_rows=False)
        return Pool(self._read_validation, most)

    def _read_validation(self) -> Generator[Any, None, None]:
        assert self._validation is not None
        count = self._settings.validation_batches
        if count == "auto":
            steps = self._settings.steps * self._settings.accumulate
            count = _OF_A_STREAM * steps if _may_not_end(self._validation) else None
        return read_batches(
            self._validation,
            count,
            name="validation_loader",
            seed=derived_seed(self._settings.seed, _VALIDATION_BATCHES),
            start_over=False,
        )

    def training(self, repeat: int, steps: int) -> list[Any]:
        """The batches that a repeat trains on in so many steps."""
        count = steps * self._settings.accumulate
        if self._hold_out is not None:
            return self._hold_out.training(repeat, count)
        return draw_batches(
            self._train,
            count,
            name="train_loader",
            seed=derived_seed(self._settings.seed, _TRAIN_BATCHES, repeat),
            repeat=repeat,
            window=self._settings.steps * self._settings.accumulate,
        )

    def _held_out(self) -> HoldOut:
        wanted = self._settings.validation_batches
        return HoldOut(
            self._train,
            count=self._settings.steps * self._settings.accumulate,
            group=self._settings.accumulate,
            wanted=None if wanted == "auto" else wanted,
            seed=derived_seed(self._settings.seed, _TRAIN_BATCHES, 0),
        )


class TrainingBatches:
    """The training batches of each repeat, drawn at their first use and kept.

    Those of the short trials are on the device. A longer trial begins with them; its others
    would not always fit there, and stay where the loader has them.

    Args:
        loaders: Where they come from.
        settings: How many.
        on_device: Moves batches.
    """

    def __init__(
        self, loaders: Loaders, settings: Settings, on_device: Callable[[list[Any]], list[Any]]
    ) -> None:
        self._loaders = loaders
        self._steps = settings.steps
        self._size = settings.accumulate
        self._on_device = on_device
        self._short: dict[int, list[Any]] = {}
        self._more: dict[int, list[Any]] = {}  # of longer trials

    def of(self, repeat: int, steps: int | None = None) -> list[Any]:
        """Those of a repeat.

        Args:
            repeat: Which one.
            steps: Steps of a longer trial; ``None`` for a short one.
        """
        if repeat not in self._short:
            drawn = self._loaders.training(repeat, self._steps)
            self._short[repeat] = self._on_device(drawn)
        batches = self._short[repeat]
        if steps is None or steps <= self._steps:
            return batches
        batches = self._more.get(repeat, batches)
        if len(batches) < steps * self._size:
            drawn = self._loaders.training(repeat, steps)
            self._more[repeat] = batches = [*batches, *drawn[len(batches) :]]
        return batches

    def of_step(self, batches: list[Any], step: int) -> list[Any]:
        """Those of one optimizer step, counted from 1; those of longer trials are moved here."""
        drawn = batches[(step - 1) * self._size : step * self._size]
        return self._on_device(drawn) if step > self._steps else drawn


def _may_not_end(loader: object) -> bool:
    if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, IterableDataset):
        return False
    try:
        len(loader)
    except TypeError:
        return True
    return False


class HoldOut:
    """One pass over a training loader, of which some batches are not trained on.

    All batches come from the same pass, since in another one a loader that shuffles would deal
    the held-out rows anew. The first repeat trains on the batches that it would get with a
    validation loader; those held out come after them, or from the end of a loader that is short.

    Args:
        loader: The training loader.
        count: Batches that a short trial trains on.
        group: Batches of one optimizer step, which stay together.
        wanted: Batches to hold out; ``None`` for 8, or a quarter of a short loader.
        seed: Seed of the pass.

    Raises:
        ValueError: If the loader cannot be read, or has too few batches for both.
    """

    def __init__(
        self, loader: Iterable[Any], *, count: int, group: int, wanted: int | None, seed: int
    ) -> None:
        self._loader = loader
        self._count = count
        self._group = group
        self._seed = seed
        size = _in_groups(_BATCHES if wanted is None else wanted, group)
        found = self._pass(count + size)
        if len(found) < count + size:  # the loader ends here
            usable = len(found) // group * group
            if wanted is None:
                size = min(size, max(usable // _ONE_IN // group, 1) * group)
            if usable <= size:
                raise ValueError(
                    f"there is no validation_loader and train_loader gives {len(found)} "
                    f"batch{'es' if len(found) > 1 else ''} of which {size} would be held out for "
                    "validation, with none left to train on: give a validation_loader (it may be "
                    "the same loader), smaller batches, or fewer validation_batches."
                )
            found = found[:usable]
        self._start = min(count, len(found) - size)
        self._end = self._start + size
        #: The batches that no trial trains on.
        self.validation = found[self._start : self._end]
        self._first: list[Any] | None = found

    def training(self, repeat: int, count: int) -> list[Any]:
        """Batches of a repeat: other ones, or in another order where the loader is short.

        Args:
            repeat: Which one.
            count: How many; more than a short trial takes begin with those of the short trial.
        """
        start = repeat * self._count
        drawn = self._first if count == self._count else None
        if drawn is None or repeat > 0:
            drawn = self._pass(start + count + self._end - self._start)
        self._first = None  # not kept: the caller has moved them to the device
        rest, group = drawn[: self._start] + drawn[self._end :], self._group
        steps = [rest[i : i + group] for i in range(0, len(rest) - group + 1, group)]
        first = start // group
        if repeat > 0 and len(steps) * group < start + self._count:
            random.Random(derived_seed(self._seed, repeat)).shuffle(steps)
            first = 0
        chosen = [steps[(first + i) % len(steps)] for i in range(count // group)]
        return [batch for step in chosen for batch in step]

    def _pass(self, count: int) -> list[Any]:
        return draw_batches(
            self._loader, count, name="train_loader", seed=self._seed, start_over=False
        )


def _in_groups(count: int, group: int) -> int:
    """The least multiple of a group that is not below a number."""
    return -(-count // group) * group
