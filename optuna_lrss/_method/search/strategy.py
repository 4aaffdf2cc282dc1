"""What a strategy is given, what it answers, and what it consists of.

Everything here is in decades (log10 of the learning rate), a pure function of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.points import POINT_NAMES
from optuna_lrss._method.trajectory import Inferred


#: Wider than any target by less than this is not wider: midpoints carry rounding errors.
SLACK = 1e-6


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
        guess: log10 of the learning rate to try first, ``None`` without one.
        rise: How far each trial's training losses rose above the untrained model's, as a share of
            that, shape ``(m,)``; ``nan`` where it is not known. ``None``: nowhere.
        inferred: Losses that follow from what trials passed through.
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
    guess: float | None = None
    rise: FloatArray | None = None
    inferred: Inferred = field(default_factory=Inferred)


class Proposal(NamedTuple):
    """A learning rate to try.

    Attributes:
        x: log10 of the learning rate.
        urgency: Width of the gap it splits over the gap's target; at most 1 when the search is
            resolved without it.
        role: Why: "coarse", "noise", "repeat" or "recheck", or the point of interest whose
            bracket it narrows.
    """

    x: float
    urgency: float
    role: str

    @classmethod
    def at_once(cls, x: float, role: str) -> Proposal:
        """One that is needed whatever the gaps are."""
        return cls(float(x), 2.0, role)

    @property
    def needed(self) -> bool:
        """Whether the search is unresolved without this learning rate."""
        return self.urgency > 1.0 + SLACK


class Targets(NamedTuple):
    """What a strategy wants: how wide each gap between known learning rates may stay.

    Attributes:
        edges: The gaps' ends, ascending: known learning rates and range ends, shape ``(g + 1,)``.
        target: Largest width that each gap may have, in decades, shape ``(g,)``; ``inf`` where
            nothing is to be learned.
        role: For what each gap is narrowed: "coarse" or a point of interest.
    """

    edges: FloatArray
    target: FloatArray
    role: list[str]

    @classmethod
    def even(cls, search: Search, target: float) -> Targets:
        """The gaps between known learning rates and range ends, with one target for all."""
        inner = search.x[(search.x > search.low + SAME_LR) & (search.x < search.high - SAME_LR)]
        edges = np.concatenate([[search.low], inner, [search.high]])
        n = edges.size - 1
        return cls(edges, np.full(n, target), ["coarse"] * n)

    def within(self, low: float, high: float) -> NDArray[np.bool_]:
        """Which gaps lie within an interval, in decades; shape ``(g,)``."""
        return (self.edges[:-1] >= low - SAME_LR) & (self.edges[1:] <= high + SAME_LR)

    def narrow(self, bracket: tuple[float, float], width: float, role: str) -> None:
        """Lets the gaps of a bracket be no wider than ``width``; narrower targets stay."""
        for i in np.flatnonzero(self.within(*bracket)):
            if width < self.target[i]:
                self.target[i], self.role[i] = width, role

    def close_beyond(self, left: float, right: float) -> None:
        """Lets the gaps left of ``left`` and right of ``right`` be as wide as they are."""
        self.target[self.within(-np.inf, left) | self.within(right, np.inf)] = np.inf


def no_first_look(search: Search, taken: FloatArray) -> Sequence[float]:  # noqa: ARG001
    """The gaps alone say where to begin: with the middle of the range."""
    return ()


def middle(search: Search, x: FloatArray, i: int) -> float:  # noqa: ARG001
    """The middle of gap i, whatever the strategy knows."""
    return float(0.5 * (x[i] + x[i + 1]))


@dataclass(frozen=True)
class Strategy:
    """Where to look first, how wide each gap may stay, and where to split one.

    Attributes:
        targets: From what is known to the gaps' targets.
        first_look: Learning rates, in decades, to try before any gap is looked at, given what is
            known and the learning rates known or under way.
        split: Where to split the gap from ``x[i]`` to ``x[i + 1]`` of all learning rates known or
            under way, in decades.
        from_start: The strategy for a search that knows where to begin (``Search.start``);
            ``None``: the same.
    """

    targets: Callable[[Search], Targets]
    first_look: Callable[[Search, FloatArray], Iterable[float]] = no_first_look
    split: Callable[[Search, FloatArray, int], float] = middle
    from_start: Strategy | None = None
