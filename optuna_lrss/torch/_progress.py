"""The steps of a short trial, shown as they go."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tqdm import tqdm

from optuna_lrss._result.progress import SearchProgress


class Steps:
    """The numbers of a trial's steps, 1 to the last; iterating shows them.

    Args:
        lr: Learning rate of the trial.
        steps: How many steps.
        show: Whether to show them in a bar of their own, in a terminal; or where they go.

    Attributes:
        loss: Training loss of the step under way, for whoever shows it.
    """

    def __init__(self, lr: float, steps: int, show: bool | SearchProgress) -> None:
        self.loss = math.nan
        self._lr = lr
        self._steps = steps
        self._show = show

    def __iter__(self) -> Iterator[int]:
        numbers = range(1, self._steps + 1)
        if isinstance(self._show, SearchProgress):
            for step in numbers:
                yield step
                self._show.step(self._lr, step, self._steps, self.loss)
            return
        # disable=None: off when standard error is not a terminal.
        disable = None if self._show else True
        yield from tqdm(
            numbers, desc=f"lr {self._lr:.2e}", unit="step", leave=False, disable=disable
        )
