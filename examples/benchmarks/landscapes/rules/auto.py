"""What a search with `steps="auto"` ends with, replayed on a record.

The search's own functions decide which horizon comes next and which learning rate; a loss between
two of the record's learning rates, a quarter decade apart, is taken from the line through them.
A horizon between two of the record's is taken from the line through them, over the logarithm of
the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from examples.benchmarks.landscapes.score.cell import SEARCH_TRIALS
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Curve
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import PointsOfInterest
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.search.longer import next_horizon
from optuna_lrss._method.search.longer import next_longer


STEPS = 20


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search knows.

    Attributes:
        curves: Losses at each horizon, the search's own 20 steps first; from the first horizon on
            that has a window.
        points: What is read off the first; `None` where no horizon has a window.
        cost: Optimizer steps spent.
    """

    curves: dict[int, LRCurve]
    points: PointsOfInterest | None
    cost: int


def search(cell: Cell, *, longer: bool = True) -> Searched:
    """The search on a cell's curves; counts its cost.

    Args:
        cell: One seed of one training.
        longer: Whether longer trials follow the search's own.
    """
    of_steps = {n: cell.curve(n, trials=0) for n in cell.horizons if n >= STEPS}
    found = _search(tuple(of_steps.items()), cell.steps if longer else 0)
    cell.cost += found.cost
    return found


def search_after(cell: Cell, short: LRCurve) -> Searched:
    """The longer trials that follow on short ones at learning rates of one's own."""
    of_steps = {n: cell.curve(n, trials=0) for n in cell.horizons if n >= STEPS}
    return search_curves(of_steps, cell.steps, short)


@cache
def _search(of_steps: tuple[tuple[int, Curve], ...], total_steps: int) -> Searched:
    return search_curves(dict(of_steps), total_steps)


def search_curves(
    curves: dict[int, Curve], total_steps: int, short: LRCurve | None = None
) -> Searched:
    """The search on curves of a training that will take `total_steps`; 0 for no longer trials.

    Args:
        curves: By horizon.
        total_steps: Steps of the training.
        short: The short trials' losses; `None` takes the record's grid.
    """
    baseline = curves[STEPS].baseline
    known = {STEPS: observed(curves[STEPS]) if short is None else short}
    steps, cost = STEPS, SEARCH_TRIALS * STEPS
    while total_steps:
        wanted = next_horizon(known[steps], baseline, steps, total_steps)
        if wanted is None:
            break
        known[wanted] = _longer(known[steps], _at(curves, wanted))
        cost += wanted * len(known[wanted])
        steps = wanted
    points = points_of(curves[STEPS]) if short is None else _points_of(short, baseline)
    steps = STEPS
    for n in sorted(known)[1:] if points is None else ():
        steps, points = n, _points_of(known[n], baseline)
        if points is not None:
            break
    return Searched({n: c for n, c in known.items() if n >= steps}, points, cost)


def _at(curves: dict[int, Curve], steps: int) -> Curve:
    """The curve of a horizon, interpolated where the record lacks it."""
    if steps in curves:
        return curves[steps]
    low = max(n for n in curves if n < steps)
    high = min((n for n in curves if n > steps), default=low)
    share = 0.0 if high == low else np.log(steps / low) / np.log(high / low)
    below, above = curves[low].loss, curves[high].loss
    both = np.isfinite(below) & np.isfinite(above)
    loss = np.where(both, below, np.inf)
    loss[both] += share * (above[both] - below[both])
    return Curve(curves[low].lr, loss, steps, curves[low].baseline)


def _longer(shorter: LRCurve, curve: Curve) -> LRCurve:
    """The longer trials of one horizon, one after the other."""
    x = np.log10(curve.lr)
    ends = (float(x[0]), float(x[-1]))
    tried: list[float] = []
    losses: list[float] = []
    while True:
        longer = LRCurve.from_observations(10.0 ** np.array(tried), np.array(losses))
        proposal = next_longer(shorter, longer, (), ends, curve.baseline)
        if proposal is None or not proposal.needed:
            return longer
        tried.append(proposal.x)
        losses.append(_loss_at(curve, proposal.x))


def _loss_at(curve: Curve, x: float) -> float:
    """On the line between two learning rates; the nearer one's where one of them diverged."""
    grid = np.log10(curve.lr)
    i = int(np.clip(np.searchsorted(grid, x) - 1, 0, grid.size - 2))
    share = (x - grid[i]) / (grid[i + 1] - grid[i])
    low, high = curve.loss[i], curve.loss[i + 1]
    if not (np.isfinite(low) and np.isfinite(high)):
        return float(low if share < 0.5 else high)
    return float(low + share * (high - low))


def observed(curve: Curve) -> LRCurve:
    return LRCurve.from_observations(curve.lr, curve.loss)


@cache
def points_of(curve: Curve) -> PointsOfInterest | None:
    return _points_of(observed(curve), curve.baseline)


def _points_of(curve: LRCurve, baseline: float) -> PointsOfInterest | None:
    try:
        return points_of_interest(curve, baseline)
    except NoWindowError:
        return None
