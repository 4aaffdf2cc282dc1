"""Which diverged learning rate to evaluate again before it is believed (not in the paper).

A loss that is not finite may be an accident: a node that failed, a mount that was lost, a bad
batch. One such trial moves the picks by a decade where it hides the basin. So a divergence that
decides something is evaluated again, once, on the same batches: one to the left of learning rates
that learn, at once; and the first one beyond the lowest loss, where the curve has not turned up
before it, at the end. Cost: one trial where the wall is abrupt, none elsewhere
(the results on faults).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.divergence import contradicted
from optuna_lrss._method.search.strategy import Proposal
from optuna_lrss._method.search.strategy import Search


#: A learning rate has diverged for good when it did so this often.
BELIEVED = 2


def lone_divergence(
    search: Search, count: NDArray[np.int64], pending: Sequence[float] = ()
) -> Proposal | None:
    """A learning rate that diverged left of better ones, and was evaluated once.

    Args:
        search: What is known.
        count: Evaluations of each ``search.x``, shape ``(m,)``.
        pending: log10 of the learning rates under way.

    Returns:
        The proposal, or ``None`` if there is none.
    """
    lone = np.flatnonzero(contradicted(search.loss, search.baseline))
    return _first_open(search, lone, count, pending)


def abrupt_wall(
    search: Search, count: NDArray[np.int64], pending: Sequence[float] = ()
) -> Proposal | None:
    """The divergence right beside the lowest loss, if it was evaluated once.

    Args:
        search: What is known.
        count: Evaluations of each ``search.x``, shape ``(m,)``.
        pending: log10 of the learning rates under way.

    Returns:
        The proposal, or ``None`` if the lowest loss has another neighbour.
    """
    if not np.isfinite(search.loss).any():
        return None
    beside = int(np.argmin(search.loss)) + 1
    at_wall = beside < search.x.size and not np.isfinite(search.loss[beside])
    return _first_open(search, np.array([beside] if at_wall else [], dtype=int), count, pending)


def _first_open(
    search: Search,
    candidates: NDArray[np.intp],
    count: NDArray[np.int64],
    pending: Sequence[float],
) -> Proposal | None:
    for i in candidates:
        under_way = any(abs(search.x[i] - x) <= SAME_LR for x in pending)
        if count[i] < BELIEVED and not under_way:
            return Proposal.at_once(search.x[i], "recheck")
    return None
