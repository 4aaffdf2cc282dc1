"""How much of the validation data a configuration's trials validate on, and which part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from optuna_lrss._study.validated import Validated
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._loaders import Loaders
from optuna_lrss.torch._pilot import FEW
from optuna_lrss.torch._pilot import MOST
from optuna_lrss.torch._pilot import UNMEASURED
from optuna_lrss.torch._pilot import scatter
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._validation import Validation


_FORWARD = 1.0 / 3.0  # of a step


class Training(NamedTuple):
    """What a pilot needs of a short trial.

    Attributes:
        set_out: Puts everything at the start, with a learning rate.
        step: Takes the step of this number, from 1; returns the training loss before it.
        validation: A validation on other batches, which are on the host.
        batches: The training batches, for running statistics.
        first: The learning rate to try first.
    """

    set_out: Callable[[float], None]
    step: Callable[[int], float]
    validation: Callable[[list[Any]], Validation]
    batches: list[Any]
    first: float


class Choice:
    """All validation samples, or as many as decide.

    Args:
        loaders: The batches of the trials.
        settings: How they are trained.
        training: The batches that a short trial trains on.
        by_pilot: Whether the size of a sample is measured. If not, it depends on nothing but how
            much there is, so that it is the same for all configurations of a factory.
    """

    def __init__(
        self, loaders: Loaders, settings: Settings, training: list[Any], *, by_pilot: bool
    ) -> None:
        self._steps = settings.steps
        self._by_pilot = by_pilot
        self._counted = not isinstance(settings.validation_batches, int)
        trained = sum(map(batch_size, training))
        self._step_rows = max(trained / settings.steps, 1.0)
        self._most = MOST * trained
        self._pool = loaders.validation(math.ceil(max(self._most, UNMEASURED)))
        few = max(self._pool.for_pilot, FEW * trained) if by_pilot else UNMEASURED
        may_choose = settings.validation_batches == "auto" and not loaders.held_out
        #: Whether a sample would do.
        self.is_open = may_choose and self._pool.rows > few

    def take(self, rows: int | None, *, whole: bool = False) -> tuple[list[Any], Validated]:
        """The batches to validate on, and what they are.

        Args:
            rows: How many samples, of whole batches as many as hold so many; ``None`` for all.
            whole: Whether batches stay whole that could be taken apart.
        """
        if whole and rows is not None:
            self._pool = self._pool.in_whole_batches()
        batches = self._pool.take(rows)
        samples = sum(map(batch_size, batches))
        of = self._pool.rows if self._counted else None
        return batches, Validated(samples, of, self._cost(samples), whole=whole)

    def decide(self, training: Training) -> tuple[list[Any], Validated]:
        """Chooses a sample, and takes it; trains twice for that, five times at most."""
        validation, untrained = self._blocks(training)
        batches, whole = training.batches, validation.needs_whole_batches
        if not self._by_pilot:
            return self.take(max(UNMEASURED, self._pool.least), whole=whole)

        def train(lr: float) -> list[float] | None:
            training.set_out(lr)
            validation.start()
            losses = (training.step(step) for step in range(1, self._steps + 1))
            return validation.each(batches) if all(map(math.isfinite, losses)) else None

        found = scatter(train, untrained, validation.sizes, training.first, self._steps)
        rows = found.enough(self._pool.least, self._pool.rows, self._most)
        error = found.error(rows, self._pool.rows)
        cost = found.steps + found.looks * self._cost(sum(validation.sizes))
        chosen, validated = self.take(rows, whole=whole)
        known = error if math.isfinite(error) else None
        return chosen, validated._replace(error=known, pilot=cost)

    def _blocks(self, training: Training) -> tuple[Validation, list[float]]:
        """A validation on small batches, and what it says of the untrained model."""
        validation = training.validation(self._pool.blocks())
        training.set_out(training.first)
        validation.start()
        validation.move_buffers(training.batches)
        untrained = validation.each(training.batches)
        if self._pool.by_rows and validation.needs_whole_batches:
            self._pool = self._pool.in_whole_batches()
            return self._blocks(training)
        return validation, untrained

    def _cost(self, samples: int) -> float:
        return _FORWARD * samples / self._step_rows
