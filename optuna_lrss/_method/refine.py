"""Which learning rate to try next, and when to stop (paper, section 3.3).

A strategy looks at the known losses and gives every gap between known neighbours a *target*: how
wide it may stay, in decades (``inf`` where nothing is to be learned). The next learning rate is
the middle of the gap that is widest for its target. Learning rates under way (pending) split
gaps too, so workers that ask together get different learning rates and the next level of
midpoints comes by itself. When no gap is over its target the curve is resolved; asked further,
the same order goes on below the targets: endless, and never the same learning rate twice.

Everything here is in decades (log10 of the learning rate), a pure function of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import holds
from optuna_lrss._method.points import POINT_NAMES


#: Wider than any target by less than this is not wider: midpoints carry rounding errors.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Search:
    """What a strategy knows about one curve.

    Attributes:
        x: log10 of the evaluated learning rates, ascending, shape ``(m,)``.
        loss: Their losses, ``inf`` where diverged, shape ``(m,)``.
        low: Lower end of the range, in decades.
        high: Upper end of the range, in decades.
        baseline: Loss of the untrained model, if known.
        tolerance: How well every point is to be known, in decades.
        coarse_step: Spacing of the first look, in decades.
        points: The points of interest to refine, of ``POINT_NAMES``.
        start: Interval in decades to begin in, ``None`` for the whole range.
        noise: Standard deviation of one loss as a share of the loss drop, 0 if unknown.
    """

    x: FloatArray
    loss: FloatArray
    low: float
    high: float
    baseline: float | None = None
    tolerance: float = 0.1
    coarse_step: float = 0.5
    points: Collection[str] = POINT_NAMES
    start: tuple[float, float] | None = None
    noise: float = 0.0


class Proposal(NamedTuple):
    """A learning rate to try.

    Attributes:
        x: log10 of the learning rate.
        urgency: Width of the gap it splits over the gap's target; at most 1 when the search is
            resolved without it.
        role: Why: "coarse", or the point of interest whose bracket it narrows.
    """

    x: float
    urgency: float
    role: str

    @property
    def needed(self) -> bool:
        """Whether the search is unresolved without this learning rate."""
        return self.urgency > 1.0 + _SLACK


class _Targets(NamedTuple):
    """Edges of the gaps (known learning rates and range ends), and each gap's target and role."""

    edges: FloatArray
    target: FloatArray
    role: list[str]


Strategy = Callable[[Search], _Targets]


def proposals(
    search: Search, pending: Sequence[float] = (), *, strategy: str = "frugal"
) -> Iterator[Proposal]:
    """Endless order of learning rates to try, the most urgent first, none twice.

    Args:
        search: What is known.
        pending: log10 of the learning rates under way.
        strategy: ``"frugal"`` or ``"paper"``.

    Yields:
        Proposals; each counts as pending for the ones after it.
    """
    taken = np.concatenate([search.x, np.asarray(pending, dtype=float)])
    first_look = _coarse_grid if strategy == "paper" else _start_points
    for proposal in first_look(search, taken):
        taken = np.append(taken, proposal.x)
        yield proposal
    targets = STRATEGIES[strategy](search)
    ends = [e for e in (search.high, search.low) if not holds(search.x, e)]
    yield from _by_urgency(search, targets, taken, ends)


def is_resolved(search: Search, *, strategy: str = "frugal") -> bool:
    """Whether every wanted point of interest is known within the tolerance."""
    if search.x.size == 0:
        return False
    return not next(proposals(search, strategy=strategy)).needed


# --- The common order -------------------------------------------------------------------------


def _by_urgency(
    search: Search, targets: _Targets, taken: FloatArray, ends: list[float]
) -> Iterator[Proposal]:
    """Splits gaps, the widest for its target first; a range end where its gap is open to it."""
    edges, target, roles = targets.edges, targets.target, targets.role
    inside = taken[(taken >= edges[0] - SAME_LR) & (taken <= edges[-1] + SAME_LR)]
    x = np.sort(np.concatenate([edges, inside]))
    x = x[np.concatenate([[True], np.diff(x) > SAME_LR])]
    parent = np.clip(
        np.searchsorted(edges, x[:-1] + SAME_LR, side="right") - 1, 0, target.size - 1
    )
    allowed = target[parent]
    open_ends = {e for e in ends if not holds(taken, e)}
    while True:
        width = np.diff(x)
        urgency = np.where(width > 2 * SAME_LR, width / allowed, 0.0)
        i = int(np.argmax(urgency))
        end = _due_end(open_ends, x, allowed, urgency[i], search)
        if end is not None:
            open_ends.discard(end)
            j = 0 if end == search.low else width.size - 1
            yield Proposal(end, max(float(urgency[j]), 1.0 + 1e-3), roles[int(parent[j])])
            continue
        if urgency[i] <= 0.0:  # every gap is closed for good: spread over the whole range
            allowed = np.full_like(allowed, np.inf) if not np.isfinite(allowed).any() else allowed
            i = int(np.argmax(width))
            if width[i] <= 2 * SAME_LR:
                return
        split = _split(search, x, i)
        yield Proposal(split, float(urgency[i]), roles[int(parent[i])])
        x = np.insert(x, i + 1, split)
        allowed = np.insert(allowed, i, allowed[i])
        parent = np.insert(parent, i, parent[i])


def _split(search: Search, x: FloatArray, i: int) -> float:
    """Where to split gap i: in the middle, unless the search has a start.

    A start says where the lowest loss may be: its neighbours are tried at once, one fine target
    away; and beyond the known points the search goes by strides that double, so that an expansion
    that was right ends soon and one that was wrong gets away fast.
    """
    middle = float(0.5 * (x[i] + x[i + 1]))
    if search.start is None or not np.isfinite(search.loss).any():
        return middle
    lowest = float(search.x[int(np.argmin(search.loss))])
    for at, sign, opposite in ((i, 1.0, i - 1), (i + 1, -1.0, i + 1)):
        if abs(x[at] - lowest) <= SAME_LR:
            stride = _FINE * search.tolerance
            if not holds(np.asarray(search.start), lowest) and 0 <= opposite < x.size - 1:
                stride = max(stride, 2.0 * float(x[opposite + 1] - x[opposite]))
            return min(lowest + stride, middle) if sign > 0 else max(lowest - stride, middle)
    low, high = search.start
    if i == 0 and x[1] <= search.x[0] + SAME_LR:
        stride = search.coarse_step * 2.0 ** int(np.sum(search.x < low - 0.4 * search.coarse_step))
        return max(middle, float(x[1]) - stride)
    if i == x.size - 2 and x[-2] >= search.x[-1] - SAME_LR:
        stride = search.coarse_step * 2.0 ** int(
            np.sum(search.x > high + 0.4 * search.coarse_step)
        )
        return min(middle, float(x[-2]) + stride)
    return middle


def _due_end(
    open_ends: set[float], x: FloatArray, allowed: FloatArray, most_urgent: float, search: Search
) -> float | None:
    """A range end to evaluate now: once the gap beside it is small, before others are resolved.

    Ends are tried last; but where the lowest loss is the last known before an end, the end itself
    is worth more than ever closer neighbours of the lowest loss.
    """
    for end in sorted(open_ends, reverse=True):
        i = 0 if end == search.low else x.size - 2
        if not np.isfinite(allowed[i]):
            continue
        width = x[i + 1] - x[i]
        beside_point = allowed[i] < search.coarse_step and width <= search.coarse_step
        if beside_point or most_urgent <= 1.0 + _SLACK:
            return end
    return None


# --- The paper's strategy (section 3.3) -------------------------------------------------------


def coarse_grid(search: Search) -> FloatArray:
    """The range in equal steps of at most ``coarse_step`` decades, both ends included."""
    n = max(int(np.ceil((search.high - search.low) / search.coarse_step - _SLACK)), 1)
    return np.linspace(search.low, search.high, n + 1)


def _coarse_grid(search: Search, known: FloatArray) -> Iterator[Proposal]:
    for x in coarse_grid(search):
        if not holds(known, float(x)):
            yield Proposal(float(x), 2.0, "coarse")


def _paper_targets(search: Search) -> _Targets:
    """Log-midpoints between every point of interest and its known neighbours."""
    edges = _edges(search)
    target = np.full(edges.size - 1, np.inf)
    role = ["coarse"] * target.size
    shape = _Shape.of(search)
    if shape is None:
        return _Targets(edges, target, role)
    brackets = shape.brackets(search.points)
    if "steepest" in brackets:
        brackets["steepest"] = shape.steepest_neighbours()
    for name, (a, b) in brackets.items():
        touched = np.flatnonzero((edges[:-1] >= a - SAME_LR) & (edges[1:] <= b + SAME_LR))
        for i in touched:
            target[i], role[i] = search.tolerance, name
    return _Targets(edges, target, role)


# --- The frugal strategy (the method page, section 5) -----------------------------------------

#: Targets in tolerances: beside the lowest loss and half-loss; around the steepest secant; around
#: the knee, which the model of the curve places within them (see the results on refinement).
_FINE = 1.25
_MEDIUM = 2.5
_WIDE = 5.0
#: Normalised losses above this are plateau, below 1 + _DEAD_ABOVE not yet divergence.
_PLATEAU = 0.97
_WALL = 1.5
#: With a start these are signs enough of plateau and divergence wall.
_SIGN_OF_PLATEAU = 0.8
_SIGN_OF_WALL = 0.3
#: Cuts count only if the loss fell by this share of the baseline and by this many noise widths.
_CREDIBLE_DROP = 0.05
_CREDIBLE_FROM_START = 0.01
_CREDIBLE_NOISE = 5.0


def _frugal_targets(search: Search) -> _Targets:
    """Fine beside the points, coarse in the basin, nothing beyond plateau and divergence wall."""
    edges = _edges(search)
    target = np.full(edges.size - 1, search.coarse_step)
    role = ["coarse"] * target.size
    shape = _Shape.of(search)
    if shape is None or not shape.credible:
        target[edges[:-1] >= _first_dead(search) - SAME_LR] = np.inf
        explored = np.diff(edges) <= target * (1.0 + _SLACK)
        if shape is None or not explored.all():
            return _Targets(edges, target, role)
    floor = float(np.sqrt(search.noise))  # tighter neighbours than this cannot be told apart
    fine = max(_FINE * search.tolerance, 0.5 * floor)
    medium = max(_MEDIUM * search.tolerance, floor)
    wide = max(_WIDE * search.tolerance, floor)
    if search.start is None:
        widths = {"max_lr": fine, "half_loss": fine, "steepest": medium, "min_lr": wide}
    else:  # all but the lowest loss is left to the model of the curve
        medium = wide
        widths = {"max_lr": fine}
    for name, (a, b) in shape.brackets(search.points).items():
        width = min(widths.get(name, wide), search.coarse_step)
        for i in np.flatnonzero((edges[:-1] >= a - SAME_LR) & (edges[1:] <= b + SAME_LR)):
            if width < target[i]:
                target[i], role[i] = width, name
    if search.noise > _QUIET and "max_lr" in search.points:
        a, b = shape.undecided(search.noise)
        basin = (edges[:-1] >= a - SAME_LR) & (edges[1:] <= b + SAME_LR)
        target[basin] = np.minimum(target[basin], medium)
    left, right = shape.cuts() if search.start is None else shape.cuts_from_start()
    target[edges[1:] <= left + SAME_LR] = np.inf
    target[edges[:-1] >= right - SAME_LR] = np.inf
    return _Targets(edges, target, role)


def _start_points(search: Search, known: FloatArray) -> Iterator[Proposal]:
    """The upper end, the middle and the lower end of the interval that the search starts in."""
    if search.start is None:
        return
    low, high = (min(max(end, search.low), search.high) for end in search.start)
    for x in (high, 0.5 * (low + high), low):
        if not holds(known, x) and known.size < 3:
            known = np.append(known, x)
            yield Proposal(float(x), 2.0, "coarse")


def _first_dead(search: Search) -> float:
    """The lowest learning rate that surely diverged while no useful loss is known."""
    limit = np.inf
    if search.baseline is not None:
        limit = search.baseline + 0.5 * abs(search.baseline)
    dead = search.x[(search.loss > limit) | ~np.isfinite(search.loss)]
    return float(dead[0]) if dead.size else np.inf


STRATEGIES: dict[str, Strategy] = {"frugal": _frugal_targets, "paper": _paper_targets}


# --- Repeats: where noise leaves a point undecided ---------------------------------------------

#: Noise below this share of the loss drop cannot move a point.
_QUIET = 0.002


def repeat_proposal(search: Search, count: NDArray[np.int64], repeats: int) -> Proposal | None:
    """A known learning rate to evaluate once more, where that decides a point.

    First the lowest loss is repeated, to measure the noise. Then the learning rates whose mean
    cannot be told from the lowest, and the neighbours of half-loss and knee, each until it has
    ``repeats`` evaluations or the noise no longer matters.

    Args:
        search: What is known; ``noise`` is measured from repeats, 0 if there are none.
        count: Evaluations of each ``search.x``, those under way included, shape ``(m,)``.
        repeats: Most evaluations of one learning rate.

    Returns:
        The proposal, or ``None`` if no repeat is needed.
    """
    shape = _Shape.of(search)
    n = count
    if repeats < 2 or shape is None:
        return None
    if n.max() < 2:
        return Proposal(float(search.x[shape.lowest]), 2.0, "noise")
    if search.noise < _QUIET:
        return None
    deciding = shape.contenders(search.noise, n) if "max_lr" in search.points else set()
    for name in ("half_loss", "min_lr"):
        if name in search.points:
            deciding |= shape.near(name)
    open_points = [i for i in sorted(deciding) if n[i] < repeats and np.isfinite(search.loss[i])]
    if not open_points:
        return None
    i = min(open_points, key=lambda j: (n[j], search.loss[j]))
    return Proposal(float(search.x[i]), 2.0, "repeat")


# --- What the known losses look like ----------------------------------------------------------


def _edges(search: Search) -> FloatArray:
    """Known learning rates inside the range, and the ends of the range."""
    inner = search.x[(search.x > search.low + SAME_LR) & (search.x < search.high - SAME_LR)]
    return np.concatenate([[search.low], inner, [search.high]])


def _plateau_noise(yn: FloatArray) -> float:
    """Scatter of the losses about the untrained one, as a share of the drop.

    Noise lifts about half of a plateau's losses above the untrained one; a curve without noise has
    hardly any there but those on its wall, however many lie on its fall.
    """
    near = yn[np.abs(yn - 1.0) < 0.5]
    above = near[near > 1.0] - 1.0
    if near.size < 5 or above.size < max(2.0, 0.25 * near.size):
        return 0.0
    return float(1.4826 * np.median(above))


class _Shape(NamedTuple):
    """Points of interest located between known losses, by secants: cheap, for every trial."""

    x: FloatArray
    yn: FloatArray  # inf where diverged
    lowest: int
    credible: bool
    noise: float
    has_baseline: bool

    @classmethod
    def of(cls, search: Search) -> _Shape | None:
        """The shape, or ``None`` while nothing is lower than the untrained model."""
        finite = np.isfinite(search.loss)
        if not finite.any():
            return None
        lowest = int(np.argmin(search.loss))
        level = search.baseline
        if level is None:
            left = search.loss[: lowest + 1]
            level = float(left[np.isfinite(left)].max())
        drop = level - float(search.loss[lowest])
        if drop <= 1e-12 * max(abs(level), 1e-300):
            return None
        yn = (search.loss - search.loss[lowest]) / drop
        noise = _plateau_noise(yn)
        least = _CREDIBLE_DROP if search.start is None else _CREDIBLE_FROM_START
        credible = drop >= least * abs(level) and _CREDIBLE_NOISE * noise <= 1.0
        return cls(search.x, yn, lowest, credible, noise, search.baseline is not None)

    def cuts(self) -> tuple[float, float]:
        """Beyond these, in decades, lie only plateau (left) and divergence (right)."""
        plateau = 1.0 - max(1.0 - _PLATEAU, 2.0 * self.noise)
        flat = np.flatnonzero(self.yn[: self.lowest] >= plateau)
        if not self.has_baseline and flat.size:
            # The highest known loss stands in for the baseline: a second one must confirm it.
            flat = flat[self.x[flat] - self.x[flat[0]] >= 0.25]
        left = float(self.x[flat[-1]]) if flat.size else -np.inf
        after = np.arange(self.lowest + 1, self.x.size)
        wall = after[self.yn[after] > _WALL]
        dead = after[self.yn[after] >= _PLATEAU]
        right = float(self.x[wall[0]]) if wall.size else np.inf
        if dead.size:  # two dead points a decade apart, and nothing alive between or beyond
            alive = after[self.yn[after] < _PLATEAU]
            dead = dead[dead > alive[-1]] if alive.size else dead
            far = dead[self.x[dead] - self.x[dead[0]] >= 1.0] if dead.size else dead
            right = min(right, float(self.x[far[0]]) if far.size else np.inf)
        return left, right

    def cuts_from_start(self) -> tuple[float, float]:
        """Cuts where a start has said what lies beyond: the first signs of plateau and wall."""
        left, right = self.cuts()
        if self.has_baseline:
            flat = np.flatnonzero(self.yn[: self.lowest] >= _SIGN_OF_PLATEAU)
            left = max(left, float(self.x[flat[-1]]) if flat.size else -np.inf)
        after = np.arange(self.lowest + 1, self.x.size)
        rising = after[self.yn[after] >= _SIGN_OF_WALL]
        return left, min(right, float(self.x[rising[0]]) if rising.size else np.inf)

    def brackets(self, points: Collection[str]) -> dict[str, tuple[float, float]]:
        """Known neighbours of each wanted point, in decades (paper, section 3.3)."""
        found = {}
        if "min_lr" in points:
            found["min_lr"] = self._neighbours(self._knee())
        if "steepest" in points and self.lowest > 0:
            i = int(np.argmin(self._secants()))
            found["steepest"] = (float(self.x[i]), float(self.x[i + 1]))
        if "half_loss" in points and (half := self._half()) is not None:
            found["half_loss"] = (float(self.x[half]), float(self.x[half + 1]))
        if "max_lr" in points:
            found["max_lr"] = self._neighbours(self.lowest)
        return found

    def steepest_neighbours(self) -> tuple[float, float]:
        """Neighbours of the known point with the most negative central difference."""
        finite = np.flatnonzero(np.isfinite(self.yn))
        if finite.size < 3:
            return self._neighbours(self.lowest)
        slope = np.gradient(self.yn[finite], self.x[finite])[finite <= self.lowest]
        return self._neighbours(int(finite[np.argmin(slope)]))

    def contenders(self, noise: float, count: NDArray[np.int64]) -> set[int]:
        """Points whose loss cannot be told from the lowest at two standard errors."""
        error = noise * np.sqrt(1.0 / count + 1.0 / count[self.lowest])
        return {int(i) for i in np.flatnonzero(self.yn <= 2.0 * error)}

    def undecided(self, noise: float) -> tuple[float, float]:
        """The stretch around the lowest loss, in decades, that noise cannot tell from it."""
        alike = self.yn <= 3.0 * noise
        unlike = np.flatnonzero(~alike)
        before, after = unlike[unlike < self.lowest], unlike[unlike > self.lowest]
        low = float(self.x[before[-1]]) if before.size else -np.inf
        high = float(self.x[after[0]]) if after.size else np.inf
        return low, high

    def near(self, name: str) -> set[int]:
        """The known points in the bracket of a point."""
        if name not in (brackets := self.brackets((name,))):
            return set()
        a, b = brackets[name]
        return {int(i) for i in np.flatnonzero((self.x >= a) & (self.x <= b))}

    def _neighbours(self, i: int) -> tuple[float, float]:
        """The known points beside point i; beyond the outermost lies the end of the range."""
        return (
            float(self.x[i - 1]) if i > 0 else -np.inf,
            float(self.x[i + 1]) if i + 1 < self.x.size else np.inf,
        )

    def _secants(self) -> FloatArray:
        """Slopes between neighbours up to the lowest loss, per decade; diverged ones are level."""
        y = np.minimum(self.yn[: self.lowest + 1], _WALL)
        return np.diff(y) / np.diff(self.x[: self.lowest + 1])

    def _half(self) -> int | None:
        """Index left of the half-loss crossing, first met going left from the lowest loss."""
        above = np.flatnonzero(self.yn[: self.lowest] >= 0.5)
        return int(above[-1]) if above.size else None

    def _knee(self) -> int:
        """Index of the least curvature by three-point differences at or left of half-loss."""
        half = self._half()
        last = self.lowest if half is None else half
        inner = np.arange(1, min(last, self.x.size - 2) + 1)
        if inner.size == 0:
            return last
        y = np.minimum(self.yn, _WALL)
        before, after = self.x[inner] - self.x[inner - 1], self.x[inner + 1] - self.x[inner]
        s1, s2 = (y[inner] - y[inner - 1]) / before, (y[inner + 1] - y[inner]) / after
        bend = 2.0 * (s2 - s1) / (before + after)
        slope = (s1 * after + s2 * before) / (before + after)
        return int(inner[np.argmin(bend / (1.0 + slope**2) ** 1.5)])
