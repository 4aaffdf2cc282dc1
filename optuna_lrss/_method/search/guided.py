"""The frugal strategy for a search that begins at a guess (the method page, section 9).

Idea: a guess, the optimizer's class say, is mostly within a decade of the lowest loss. So the
search walks from there, by what each trial looks like: on the plateau, learning, or beyond the
wall. Once something learns, the frugal strategy takes over; where trials tell what they passed
through, the fall left of the lowest loss is known without a trial of its own, and only the basin
is split. A guess says nothing about where to stop: one that is wrong costs trials, no result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import holds
from optuna_lrss._method.levels import SIGN_OF_PLATEAU
from optuna_lrss._method.levels import SIGN_OF_WALL
from optuna_lrss._method.levels import WALL
from optuna_lrss._method.search.frugal import COLD
from optuna_lrss._method.search.frugal import FINE
from optuna_lrss._method.search.frugal import MEDIUM
from optuna_lrss._method.search.frugal import WIDE
from optuna_lrss._method.search.frugal import Frugality
from optuna_lrss._method.search.frugal import Width
from optuna_lrss._method.search.frugal import stands_out
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import SLACK
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy
from optuna_lrss._method.search.strategy import Targets
from optuna_lrss._method.search.strategy import middle


#: A drop of this share of the untrained loss is learning; less may be noise.
_LEARNS = 0.03
#: So is one of this share of the highest rise: a loss that hardly moves, moves both ways.
_LEARNS_OF_RISE = 0.3
#: A training loss that rose by this share of the untrained one left the plateau.
_RISES = 0.05
#: After so many trials without one that learns the guess was of no use.
_PATIENCE = 6
#: On the plateau the drop is proportional to the learning rate: a stride to where it would be
#: this share of the untrained loss, within bounds, in decades.
_AIM, _LEAST_STRIDE, _MOST_STRIDE = 0.4, 0.5, 2.0
#: A stride beside the lowest loss, in decades.
_STRIDE = 0.5
#: As long as the rightmost loss is this near the lowest, the basin goes on; from this far, in
#: decades, on it has been looked at.
_LOOKED_AT = 0.75
#: The lowest loss may lie anywhere in a gap wider than this, in decades: a stride and a bit.
_WIDE_GAP = 0.55
#: A trial whose path holds the fall lies this far left of the lowest loss, in decades: nearer a
#: training is no flow, further its path begins too late.
_ANCHOR = (0.3, 0.8)
#: The lowest loss may move left by so much, and leave the trial useful.
_MARGIN = 0.1
#: Left of the last inferred loss, where it is no plateau yet, in decades.
_FURTHER = 0.7
#: A measured loss lies within this distance, in decades, of the half-loss point or left of it.
_NEAR_HALF, _BEFORE_HALF = 0.7, 0.2
#: A loss within this share of the drop of the lowest is nearly as low: what lies beside it may be
#: lower still, since a basin is seldom smooth. A tenth takes a trial more and knows no point
#: better (docs/results/cost.md is on other networks) ...
_NEARLY_AS_LOW = 0.03
#: ... so that the gaps beside it are looked into down to this width.
_BESIDE_LOW = Width(3.0, 1.0)
#: Gaps of the fall beside an inferred loss may stay this wide, in decades: looks at a path lie a
#: factor of two apart, and the fall is smooth between them.
_ON_PATH = 0.36


def _first_look(search: Search, taken: FloatArray) -> Iterator[float]:
    """Walks from the guess until something learns; then what the path of a trial needs."""
    if search.baseline is None or not _is_guided(search):
        return
    while (x := _next(search, taken)) is not None:
        yield x
        taken = np.append(taken, x)


def _is_guided(search: Search) -> bool:
    """Whether there is a guess or a path; else this is the frugal strategy."""
    return search.guess is not None or search.inferred.away is not None


def _next(search: Search, taken: FloatArray) -> float | None:
    if search.x.size and _learns(search).any():
        return _beside(search, taken)
    if search.guess is None or search.x.size >= _PATIENCE:
        return None
    return _towards(search, taken) if search.x.size else _around(search, taken)


def _around(search: Search, taken: FloatArray) -> float | None:
    """The guess, then on either side of it in turn, the lower side first."""
    assert search.guess is not None
    guess = min(max(search.guess, search.low), search.high)
    span = int((search.high - search.low) / _STRIDE) + 1
    for k in range(2 * span):
        x = guess + _STRIDE * ((k + 1) // 2) * (-1.0 if k % 2 else 1.0)
        if search.low <= x <= search.high and not holds(taken, x):
            return x
    return None


def _learns(search: Search) -> NDArray[np.bool_]:
    """Which trials brought the loss down by more than noise may."""
    assert search.baseline is not None
    drop = search.baseline - search.loss
    rise = np.nanmax(search.rise, initial=0.0) if search.rise is not None else 0.0
    enough = _LEARNS * abs(search.baseline)
    if 0.0 < rise < np.inf:
        enough = min(enough, _LEARNS_OF_RISE * rise * abs(search.baseline))
    return np.asarray(drop > max(enough, 0.0))


def _towards(search: Search, taken: FloatArray) -> float | None:
    """Nothing learns yet: between plateau and wall, or away from the one that is known."""
    assert search.baseline is not None
    size = abs(search.baseline)
    dead = ~np.isfinite(search.loss) | (search.loss > search.baseline + _RISES * size)
    if search.rise is not None:
        dead |= np.nan_to_num(search.rise, nan=0.0) > _RISES
    low = search.x[~dead]
    wall = search.x[dead]
    if low.size and wall.size and low[-1] < wall[0]:
        inner = np.sort(np.concatenate([[low[-1], wall[0]], _within(taken, low[-1], wall[0])]))
        i = int(np.argmax(np.diff(inner)))
        return float(0.5 * (inner[i] + inner[i + 1])) if inner[i + 1] - inner[i] > 0.1 else None
    if wall.size:
        x = float(np.min(taken)) - _STRIDE * 2.0 ** min(taken.size - 1, 2)
    else:
        gain = search.baseline - float(search.loss[-1])
        stride = np.log10(_AIM * size / gain) if gain > 0.0 and size > 0.0 else _MOST_STRIDE
        x = float(np.max(taken)) + float(np.clip(stride, _LEAST_STRIDE, _MOST_STRIDE))
    x = min(max(x, search.low), search.high)
    return None if holds(taken, x) else x


def _within(x: FloatArray, low: float, high: float) -> FloatArray:
    return x[(x > low + SLACK) & (x < high - SLACK)]


def _beside(search: Search, taken: FloatArray) -> float | None:
    """Something learns: what lies right of it, and the trial whose path holds the fall."""
    i = int(np.argmin(search.loss))
    lowest, last = float(search.x[i]), float(np.max(taken))
    for x in (_right(search, i, last), _anchor(search, taken, lowest), _left(search, taken)):
        if x is not None and search.low < x < search.high and not _beside_taken(taken, x):
            return x
    return None


def _beside_taken(taken: FloatArray, x: float) -> bool:
    return bool(np.min(np.abs(taken - x)) < 0.05)


def _right(search: Search, i: int, last: float) -> float | None:
    """A stride beyond the last trial, while the basin goes on."""
    assert search.baseline is not None
    lowest = float(search.x[i])
    if last <= lowest + SLACK:
        return last + _STRIDE
    right = (search.loss[i + 1 :] - search.loss[i]) / (search.baseline - search.loss[i])
    level = bool(np.all(right < SIGN_OF_WALL))
    pending = last > float(search.x[-1]) + SLACK
    return last + _STRIDE if level and not pending and last - lowest < _LOOKED_AT else None


def _anchor(search: Search, taken: FloatArray, lowest: float) -> float | None:
    """Half a decade left of the lowest loss, where no trial is in the right distance."""
    if search.inferred.away is None:
        return None
    near = max(search.inferred.away, _ANCHOR[0])
    far = near + _ANCHOR[1] - _ANCHOR[0]
    away = lowest - taken
    if np.any((away >= near - SLACK) & (away <= far + SLACK)):
        return None
    return lowest - max(_STRIDE, near + _MARGIN)


def _left(search: Search, taken: FloatArray) -> float | None:
    """Left of where the paths end, if that is no plateau; and near the half-loss point."""
    assert search.baseline is not None
    x, loss = _filled(search)
    if not len(search.inferred):
        return None
    i = int(np.argmin(loss))
    yn = np.minimum((loss - loss[i]) / (search.baseline - loss[i]), WALL)
    if yn[0] < SIGN_OF_PLATEAU:
        return float(min(x[0], np.min(taken))) - _FURTHER
    above = np.flatnonzero(yn[:i] >= 0.5)
    if not above.size:
        return None
    j = int(above[-1])
    half = x[j] + (x[j + 1] - x[j]) * (yn[j] - 0.5) / (yn[j] - yn[j + 1])
    if np.any((taken <= half + _BEFORE_HALF) & (taken >= half - _NEAR_HALF)):
        return None
    return float(half - _BEFORE_HALF)


def _filled(search: Search) -> tuple[FloatArray, FloatArray]:
    """Known and inferred losses together, ascending."""
    x = np.concatenate([search.x, search.inferred.x])
    order = np.argsort(x)
    return x[order], np.concatenate([search.loss, search.inferred.loss])[order]


def _believes(shape: Shape) -> bool:
    return stands_out(shape, _LEARNS)


def _cuts(shape: Shape) -> tuple[float, float]:
    """Plateau as ever; but the first sign of the wall: the walk has come from below."""
    left, right = shape.cuts()
    after = np.arange(shape.lowest + 1, shape.x.size)
    rising = after[shape.yn[after] >= SIGN_OF_WALL]
    return left, min(right, float(shape.x[rising[0]]) if rising.size else np.inf)


#: Where paths hold the fall, only the basin is split finely.
_ON_PATHS = Frugality(
    widths={"max_lr": FINE, "half_loss": WIDE, "steepest": WIDE, "min_lr": WIDE},
    basin=MEDIUM,
    believes=_believes,
    cuts=_cuts,
    explored=COLD,
)
_WITHOUT_PATHS = replace(_ON_PATHS, widths=COLD.widths)


def _targets(search: Search) -> Targets:
    """Frugal targets, where inferred losses count as known ones on the fall."""
    if not _is_guided(search):
        return COLD.targets(search)
    if search.inferred.away is None:
        return _WITHOUT_PATHS.targets(search)
    x, loss = _filled(search)
    gaps = _ON_PATHS.targets(replace(search, x=x, loss=loss))
    for g in range(gaps.target.size):
        ends = gaps.edges[g], gaps.edges[g + 1]
        if any(holds(search.inferred.x, float(end)) for end in ends):
            gaps.target[g] = max(gaps.target[g], _ON_PATH)
    if "max_lr" in search.points:
        _look_beside_low(search, gaps)
    return gaps


def _look_beside_low(search: Search, gaps: Targets) -> None:
    """The lowest loss may lie in a wide gap beside any that is nearly as low."""
    shape = Shape.of(search)
    if shape is None:
        return
    for i in range(shape.x.size - 1):
        if min(shape.yn[i], shape.yn[i + 1]) <= _NEARLY_AS_LOW:
            beside = float(shape.x[i]), float(shape.x[i + 1])
            gaps.narrow(beside, _BESIDE_LOW.of(search), "max_lr")


def _split(search: Search, x: FloatArray, i: int) -> float:
    """One fine target away from the lowest loss in a narrow gap beside it; else the middle."""
    to_middle = middle(search, x, i)
    if (
        x[i + 1] - x[i] > _WIDE_GAP
        or search.inferred.away is None
        or not np.isfinite(search.loss).any()
    ):
        return to_middle
    lowest = float(search.x[int(np.argmin(search.loss))])
    stride = FINE.tolerances * search.tolerance
    if abs(x[i] - lowest) <= SAME_LR:
        return min(lowest + stride, to_middle)
    if abs(x[i + 1] - lowest) <= SAME_LR:
        return max(lowest - stride, to_middle)
    return to_middle


GUIDED = Strategy(_targets, _first_look, _split)
