"""How far the training losses of a short trial stand above the untrained model's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna_lrss._method.divergence import is_beyond_wall
from optuna_lrss._method.divergence import rise_scale


class Rise:
    """The paired excess of a trial's training losses: over the same batch's untrained loss.

    Args:
        untrained: Loss of the untrained model on the batches of each step, shape ``(n,)``.
        baseline: Its validation loss.
    """

    def __init__(self, untrained: Sequence[float], baseline: float) -> None:
        self._untrained = untrained
        self._scale = rise_scale(untrained, baseline)
        self._excess: list[float] = []

    def add(self, loss: float) -> None:
        """Takes the training loss of the next step in."""
        if math.isfinite(loss):
            self._excess.append(loss - self._untrained[len(self._excess)])

    @property
    def is_over(self) -> bool:
        """Whether the trial lies beyond the wall for good, so that it may be stopped."""
        return is_beyond_wall(self._excess, self._scale, steps=len(self._untrained))

    @property
    def is_sustained(self) -> bool:
        """Whether the loss had been high for several steps: then a divergence is no accident."""
        return is_beyond_wall(self._excess, self._scale)

    @property
    def is_high(self) -> bool:
        """Whether the last loss alone is: nothing of such a trial's path is of use."""
        return bool(self._excess) and self._excess[-1] > self._scale

    @property
    def highest(self) -> float | None:
        """The largest excess, as a share of what losses are measured by; ``None`` without one."""
        if not self._excess or self._scale == 0.0:
            return None
        return max(self._excess) / self._scale
