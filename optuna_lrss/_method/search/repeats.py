"""Which known learning rate to evaluate again: where noise leaves a point undecided.

The paper has no repeats (the method page, section 5). Cost with ``repeats=3``: up to twice the
trials, for errors a quarter smaller at 2 % noise (the results on refinement).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.levels import QUIET
from optuna_lrss._method.search.shape import Shape
from optuna_lrss._method.search.strategy import Proposal
from optuna_lrss._method.search.strategy import Search


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
    shape = Shape.of(search)
    if repeats < 2 or shape is None:
        return None
    if count.max() < 2:
        return Proposal.at_once(search.x[shape.lowest], "noise")
    if search.noise < QUIET:
        return None
    deciding = shape.contenders(search.noise, count) if "max_lr" in search.points else set()
    for name in ("half_loss", "min_lr"):
        if name in search.points:
            deciding |= shape.near(name)
    undecided = [i for i in sorted(deciding) if count[i] < repeats and np.isfinite(search.loss[i])]
    if not undecided:
        return None
    i = min(undecided, key=lambda j: (count[j], search.loss[j]))
    return Proposal.at_once(search.x[i], "repeat")
