"""What a learning rate that was not tried yet probably loses, to look ahead in a search.

Not in the paper, and no part of any answer: :func:`foresight` only says how long a search will
probably go on. Cost: microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.levels import WALL
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import Search


#: An ordinary curve, in decades, by the centres of the priors that the model of a curve has: the
#: width of its fall, the distance from half-loss to the wall (which stands 0.7 right of the
#: minimum there, and the minimum as far right of half-loss), and the width of the wall.
_FALL, _TO_WALL, _RISE = 0.25, 1.4, 0.15


def foresight(search: Search) -> Callable[[float], float]:
    """The losses that further short trials will probably have.

    Between known learning rates on the line that joins them, outside as an ordinary curve goes on;
    while nothing learns, an ordinary curve in the middle of what may still learn.

    Args:
        search: What is known.

    Returns:
        From log10 of a learning rate to a loss, in units of the known ones; ``inf`` where it is
        expected to diverge.
    """
    shape = Shape.of(search)
    level, drop = _level(search) if shape is None else (shape.level, shape.drop)
    middle = 0.0 if shape is not None else _unexplored_middle(search, level)

    def loss(x: float) -> float:
        value = _ordinary(x - middle) if shape is None else _continued(shape, x)
        return level - drop * (1.0 - value) if value <= WALL else math.inf

    return loss


def _continued(shape: Shape, x: float) -> float:
    """The normalised loss at x by the known ones."""
    known, y = shape.x, np.minimum(shape.yn, 2.0 * WALL)
    if x < known[0]:
        return float(1.0 - (1.0 - y[0]) * np.exp((x - known[0]) / _FALL))
    if x > known[-1]:
        return float(y[-1] + np.exp(min((x - known[-1] - 0.5 * _TO_WALL) / _RISE, 20.0)))
    return float(np.interp(x, known, y))


def _ordinary(x: float) -> float:
    """The normalised loss of an ordinary curve at x decades right of its half-loss point."""
    fall = 1.0 / (1.0 + np.exp(-np.clip(x / _FALL, -60.0, 60.0)))
    return float(1.0 - fall + np.exp(min((x - _TO_WALL) / _RISE, 20.0)))


def _level(search: Search) -> tuple[float, float]:
    """The untrained loss and an ordinary drop, where none is known."""
    finite: FloatArray = search.loss[np.isfinite(search.loss)]
    level = search.baseline
    if level is None:
        level = float(finite.min()) if finite.size else 1.0
    return level, max(abs(level), 1.0e-300)


def _unexplored_middle(search: Search, level: float) -> float:
    """The half-loss point of a curve that is nowhere known to learn.

    In the middle of the widest gap between what does not learn yet and what learns no more.
    """
    edges = np.concatenate([[search.low], search.x, [search.high]])
    dead = search.x[~(search.loss <= level + 0.5 * abs(level))]
    top = float(dead[0]) if dead.size else search.high
    edges = np.unique(np.clip(edges, search.low, top))
    if edges.size < 2:
        return 0.5 * (search.low + search.high)
    i = int(np.argmax(np.diff(edges)))
    return float(0.5 * (edges[i] + edges[i + 1] - _TO_WALL))
