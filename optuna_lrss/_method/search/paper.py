"""The paper's strategy (section 3.3): an even grid, then midpoints around every point of interest.

Cost over 8 decades at a tolerance of 0.1: 17 learning rates of the grid and about as many
midpoints, 32 in the median (the results on refinement).
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import SLACK
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy
from optuna_lrss._method.search.strategy import Targets


def coarse_grid(search: Search) -> FloatArray:
    """The range in equal steps of at most ``coarse_step`` decades, both ends included."""
    n = max(int(np.ceil((search.high - search.low) / search.coarse_step - SLACK)), 1)
    return np.linspace(search.low, search.high, n + 1)


def _first_look(search: Search, taken: FloatArray) -> list[float]:  # noqa: ARG001
    return [float(x) for x in coarse_grid(search)]


def _targets(search: Search) -> Targets:
    """Log-midpoints between every point of interest and its known neighbours."""
    gaps = Targets.even(search, np.inf)
    shape = Shape.of(search)
    if shape is None:
        return gaps
    brackets = shape.brackets(search.points)
    if "steepest" in brackets:
        brackets["steepest"] = shape.steepest_neighbours()
    for name, bracket in reversed(brackets.items()):  # a gap of two brackets is max_lr's
        gaps.narrow(bracket, search.tolerance, name)
    return gaps


PAPER = Strategy(_targets, _first_look)
