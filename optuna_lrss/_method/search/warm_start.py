"""The frugal strategy for a search that was told where to begin (not in the paper).

Idea: a start, the window of an earlier search say, tells where the lowest loss may be. So three
learning rates in it come first; the lowest loss's neighbours are tried at once, one fine target
away; what all other points need is left to the model of the curve; the first signs of plateau and
wall are believed; and where the lowest loss lies outside, the search strides away, each stride
twice the last. As long as the losses go up and down more than they fall, nothing is believed: the
search strides away to both sides and ends as one without a start. Cost: 8 learning rates in the
median where a cold start takes 14 (the results on refinement).
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import holds
from optuna_lrss._method.levels import SIGN_OF_PLATEAU
from optuna_lrss._method.levels import SIGN_OF_WALL
from optuna_lrss._method.search.frugal import COLD
from optuna_lrss._method.search.frugal import FINE
from optuna_lrss._method.search.frugal import WIDE
from optuna_lrss._method.search.frugal import Frugality
from optuna_lrss._method.search.frugal import stands_out
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy
from optuna_lrss._method.search.strategy import middle


#: Learning rates of the first look: two ends and a middle, the fewest that a basin shows in.
_FIRST_LOOK = 3
#: A drop counts from this many times the largest step against the curve's course on: scatter alone
#: seldom goes three times as far down as it goes back up.
_CREDIBLE_WIGGLES = 3.0
#: A known learning rate counts as a stride beyond the start from this share of a coarse step on:
#: strides that a range end cut short count too, the start's own ends do not.
_BEYOND = 0.4


def _first_look(search: Search, taken: FloatArray) -> list[float]:
    """The upper end, the middle and the lower end of the start."""
    if search.start is None:
        return []
    low, high = (min(max(end, search.low), search.high) for end in search.start)
    unknown = [x for x in (high, 0.5 * (low + high), low) if not holds(taken, x)]
    return unknown[: max(_FIRST_LOOK - taken.size, 0)]


def _believes(shape: Shape) -> bool:
    """A drop of 1 %, since a start has said that something learns here, if it is no scatter."""
    return stands_out(shape, 0.01) and _CREDIBLE_WIGGLES * shape.wiggle <= 1.0


def _cuts(shape: Shape) -> tuple[float, float]:
    """The first signs of plateau and wall: a start has said what lies beyond."""
    left, right = shape.cuts()
    if shape.has_baseline:
        flat = np.flatnonzero(shape.yn[: shape.lowest] >= SIGN_OF_PLATEAU)
        left = max(left, float(shape.x[flat[-1]]) if flat.size else -np.inf)
    after = np.arange(shape.lowest + 1, shape.x.size)
    rising = after[shape.yn[after] >= SIGN_OF_WALL]
    return left, min(right, float(shape.x[rising[0]]) if rising.size else np.inf)


def _split(search: Search, x: FloatArray, i: int) -> float:
    """A stride away from the lowest loss, or from the outermost known one; else the middle."""
    if search.start is None or not np.isfinite(search.loss).any():
        return middle(search, x, i)
    shape = Shape.of(search)
    beside = None
    if shape is not None and _believes(shape):
        beside = _beside_lowest(search, x, i)
    return beside if beside is not None else _beyond_known(search, x, i)


def _beside_lowest(search: Search, x: FloatArray, i: int) -> float | None:
    """One fine target away from the lowest loss, where gap i is beside it.

    Where the start was wrong about the lowest loss, twice the gap on its other side: an expansion
    that was right ends soon and one that was wrong gets away fast.
    """
    lowest = float(search.x[int(np.argmin(search.loss))])
    for at, sign, opposite in ((i, 1.0, i - 1), (i + 1, -1.0, i + 1)):
        if abs(x[at] - lowest) <= SAME_LR:
            stride = FINE.tolerances * search.tolerance
            if not holds(np.asarray(search.start), lowest) and 0 <= opposite < x.size - 1:
                stride = max(stride, 2.0 * float(x[opposite + 1] - x[opposite]))
            to_middle = middle(search, x, i)
            return min(lowest + stride, to_middle) if sign > 0 else max(lowest - stride, to_middle)
    return None


def _beyond_known(search: Search, x: FloatArray, i: int) -> float:
    """A stride beyond the outermost known learning rate, twice as long for each one before."""
    to_middle = middle(search, x, i)
    if search.start is None:
        return to_middle
    low, high = search.start
    margin = _BEYOND * search.coarse_step
    if i == 0 and x[1] <= search.x[0] + SAME_LR:
        stride = search.coarse_step * 2.0 ** int(np.sum(search.x < low - margin))
        return max(to_middle, float(x[1]) - stride)
    if i == x.size - 2 and x[-2] >= search.x[-1] - SAME_LR:
        stride = search.coarse_step * 2.0 ** int(np.sum(search.x > high + margin))
        return min(to_middle, float(x[-2]) + stride)
    return to_middle


WARM_START = Strategy(
    Frugality(
        widths={"max_lr": FINE, "half_loss": WIDE, "steepest": WIDE, "min_lr": WIDE},
        basin=WIDE,
        believes=_believes,
        cuts=_cuts,
        explored=COLD,
    ).targets,
    _first_look,
    _split,
)
