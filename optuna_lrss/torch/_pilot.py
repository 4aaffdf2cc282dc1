"""On how many samples trials validate: as many as tell the lowest loss from its neighbours.

The differences that a search lives on are those between trials at neighbouring learning rates on
the same samples. Two trainings show how large their scatter is before there is any trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._study.validated import NEIGHBOURS


#: The paired standard error between neighbours that a sample may have, as a share of the drop: of
#: 0.25, 0.5, 1, 2, 4, 8 and 16 % the largest with which `max_lr` moved by more than a tenth of a
#: decade in at most a tenth of the trainings that it was chosen on; how the others fare is in
#: docs/results/validation_sample.md.
SHARE = 0.02
#: Where nobody measures what is enough, for configurations that a factory builds: they all have
#: to be validated on the same samples, whatever they are. What most trainings of that page need.
UNMEASURED = 512
#: Rows of validation that cost no more than a quarter of the rows of a trial's training, a forward
#: pass being a third of a step: without them a search would be a fifth shorter at most, three
#: trials of sixteen, and a pilot costs as much as two.
FEW = 0.75
#: Rows of validation that cost as much as the training: with more a search would spend most of
#: its time on them.
MOST = 3.0

#: A training whose loss falls by less than this share of the untrained one says nothing of trials
#: near the lowest loss, and one whose loss falls by much more is as good as any.
_LEARNED, _WELL = 0.03, 0.1
#: Most trainings in search of one that learns, and the strides between them in decades: like those
#: of a search that looks where to begin.
_TRAININGS = 4
_LEAST_STRIDE, _MOST_STRIDE = 0.5, 2.0
#: Where a proportional drop is aimed at, as a share of the untrained loss.
_AIM = 0.4


class Scatter(NamedTuple):
    """How losses at neighbouring learning rates differ from sample to sample.

    Attributes:
        ratio: Standard deviation of one sample's difference, as a share of the mean drop.
        steps: Optimizer steps that were taken to find out.
        looks: How often the samples were looked at.
    """

    ratio: float
    steps: int
    looks: int

    def error(self, rows: int, of: int) -> float:
        """Standard error of the difference on so many of all samples, as a share of the drop."""
        return self.ratio * math.sqrt(max(1.0 / rows - 1.0 / of, 0.0)) if rows < of else 0.0

    def enough(self, least: int, of: int, most: float, share: float = SHARE) -> int:
        """The smallest sample whose error is at most a share of the drop.

        Args:
            least: Rows to begin with; they are doubled.
            of: Rows there are.
            most: Rows that a sample may have.
            share: The share.
        """
        rows = least
        while rows < of and 2 * rows <= most and self.error(rows, of) > share:
            rows *= 2
        return min(rows, of)


def scatter(
    train: Callable[[float], Sequence[float] | None],
    untrained: Sequence[float],
    sizes: Sequence[int],
    first: float,
    steps: int,
) -> Scatter:
    """Trains until something is learned, four times at most, and once more beside that.

    Args:
        train: Trains from the start at a learning rate; returns the mean losses of the blocks at
            the end, shape ``(blocks,)``, or ``None`` if a loss becomes non-finite.
        untrained: Mean losses of the blocks at the start, shape ``(blocks,)``.
        sizes: Samples of each block, shape ``(blocks,)``.
        first: The learning rate to begin with.
        steps: Steps of a training.

    Returns:
        The scatter; its ratio is ``inf`` where nothing learns.
    """
    weights = np.asarray(sizes, dtype=float)
    before = np.asarray(untrained, dtype=float)
    level = abs(_mean(before, weights))
    low, high = -math.inf, math.inf  # learning rates known to be too low and too high
    x, best, found, at = math.log10(first), _LEARNED * level, None, 0.0
    trained = 0
    while trained < _TRAININGS and best < _WELL * level:
        trained += 1
        late = train(10.0**x)
        drop = -math.inf if late is None else _mean(before - late, weights)
        if drop > best:
            best, found, at = drop, late, x
        if drop > 0.0:
            low, stride = x, math.log10(_AIM * level / drop)
        else:
            high, stride = x, -_LEAST_STRIDE * trained
        if math.isfinite(low) and math.isfinite(high):
            x = (low + high) / 2.0
        else:
            size = min(max(abs(stride), _LEAST_STRIDE), _MOST_STRIDE)
            x += math.copysign(size, stride)
    beside = None if found is None else train(10.0 ** (at - NEIGHBOURS))
    if found is None or beside is None:
        return Scatter(math.inf, trained * steps, 1 + trained)
    ratio = _deviation(np.subtract(beside, found), weights) / best
    return Scatter(ratio, (trained + 1) * steps, 2 + trained)


def _mean(values: FloatArray, weights: FloatArray) -> float:
    return float(np.average(values, weights=weights))


def _deviation(values: FloatArray, weights: FloatArray) -> float:
    """Standard deviation of one sample, from means over blocks of them."""
    # Var(block mean) = Var(sample) / size, so this sum estimates (blocks - 1) * Var(sample).
    scattered = float((weights * (values - _mean(values, weights)) ** 2).sum())
    return math.sqrt(scattered / max(len(values) - 1, 1))
