"""The frugal strategy (the method page, section 5; not in the paper).

Idea: fine beside the points, coarse in the basin, nothing beyond plateau and divergence wall. No
first look: splitting the range itself finds the basin sooner than a grid does. Cost over 8 decades
at a tolerance of 0.1: 14 learning rates in the median where the paper's strategy takes 32 (the
results on refinement).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.levels import QUIET
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import SLACK
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy
from optuna_lrss._method.search.strategy import Targets


class Width(NamedTuple):
    """How wide a gap may stay.

    Attributes:
        tolerances: In tolerances.
        floors: At least so many times the root of the noise, in decades: tighter neighbours
            cannot be told apart (the method page, section 5).
    """

    tolerances: float
    floors: float

    def of(self, search: Search) -> float:
        """In decades."""
        return max(self.tolerances * search.tolerance, self.floors * float(np.sqrt(search.noise)))


#: Beside the lowest loss and half-loss, which are read off known losses: a gap of 1.25 tolerances,
#: split where needed, ends with the point within one tolerance of a known loss.
FINE = Width(1.25, 0.5)
#: Around the steepest secant, which lies between two known losses anyway.
MEDIUM = Width(2.5, 1.0)
#: Around the knee, which the model of the curve places within it (the results on refinement).
WIDE = Width(5.0, 1.0)
#: A drop of fewer plateau noises than this may be noise itself: the lowest of many is believed.
_CREDIBLE_NOISE = 5.0
#: While no useful loss is known, one this share of the untrained loss above it has diverged.
_DEAD_ABOVE = 0.5


@dataclass(frozen=True)
class Frugality:
    """What a frugal strategy refines, and what it believes.

    Attributes:
        widths: Of the gaps in each point's bracket.
        basin: Of the gaps in the stretch that noise cannot tell from the lowest loss.
        believes: Whether the drop is more than the losses' scatter; until then the whole range is
            looked at in coarse steps, up to what surely diverged.
        cuts: Where plateau (left) and divergence (right) begin, in decades.
        explored: What goes on once the whole range was looked at and no drop is believed;
            ``None``: this one.
    """

    widths: Mapping[str, Width]
    basin: Width
    believes: Callable[[Shape], bool]
    cuts: Callable[[Shape], tuple[float, float]]
    explored: Frugality | None = None

    def targets(self, search: Search) -> Targets:
        """Fine beside the points, coarse in the basin, infinite beyond the cuts."""
        gaps = Targets.even(search, search.coarse_step)
        shape = Shape.of(search)
        if shape is None or not self.believes(shape):
            gaps.close_beyond(-np.inf, _first_dead(search))
            explored = np.diff(gaps.edges) <= gaps.target * (1.0 + SLACK)
            if shape is None or not explored.all():
                return gaps
            if self.explored is not None:
                return self.explored.targets(search)
        for name, bracket in shape.brackets(search.points).items():
            gaps.narrow(bracket, self.widths[name].of(search), name)
        if search.noise > QUIET and "max_lr" in search.points:
            basin = gaps.within(*shape.undecided(search.noise))
            gaps.target[basin] = np.minimum(gaps.target[basin], self.basin.of(search))
        gaps.close_beyond(*self.cuts(shape))
        return gaps


def stands_out(shape: Shape, least: float) -> bool:
    """Whether a drop is more than the plateau's scatter.

    Args:
        shape: What the losses look like.
        least: The smallest drop that may count, as a share of the baseline's size.
    """
    enough = shape.drop >= least * abs(shape.level)
    return enough and _CREDIBLE_NOISE * shape.noise <= 1.0


def _believes(shape: Shape) -> bool:
    """Before the basin is found a plateau's ups and downs look like one: a drop of 5 %."""
    return stands_out(shape, 0.05)


def _first_dead(search: Search) -> float:
    """The lowest learning rate that surely diverged while no useful loss is known."""
    limit = np.inf
    if search.baseline is not None:
        limit = search.baseline + _DEAD_ABOVE * abs(search.baseline)
    dead = search.x[(search.loss > limit) | ~np.isfinite(search.loss)]
    return float(dead[0]) if dead.size else np.inf


COLD = Frugality(
    widths={"max_lr": FINE, "half_loss": FINE, "steepest": MEDIUM, "min_lr": WIDE},
    basin=MEDIUM,
    believes=_believes,
    cuts=Shape.cuts,
)
FRUGAL = Strategy(COLD.targets)
