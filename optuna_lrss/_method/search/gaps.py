"""The order that all strategies share: the gap that is widest for its target is split next.

Learning rates under way split gaps too, so workers that ask together get different learning rates
and the next level of midpoints comes by itself. Cost: a sort for the first proposal, one pass over
the gaps for each further one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import holds
from optuna_lrss._method.search.strategy import SLACK
from optuna_lrss._method.search.strategy import Proposal
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy


#: Urgency of a range end that is due though its gap is not over its target: just needed.
_DUE = 1.0 + 1e-3


def by_urgency(search: Search, strategy: Strategy, taken: FloatArray) -> Iterator[Proposal]:
    """Splits gaps, the widest for its target first; a range end where its gap is open to it.

    Args:
        search: What is known.
        strategy: Gives the targets, and where a gap is split.
        taken: log10 of the learning rates known, under way or proposed already.

    Yields:
        Proposals, endless: when no gap is over its target the same order goes on below them.
    """
    edges, target, roles = strategy.targets(search)
    within = taken[(taken >= edges[0] - SAME_LR) & (taken <= edges[-1] + SAME_LR)]
    x = np.sort(np.concatenate([edges, within]))
    x = x[np.concatenate([[True], np.diff(x) > SAME_LR])]
    parent = np.clip(
        np.searchsorted(edges, x[:-1] + SAME_LR, side="right") - 1, 0, target.size - 1
    )
    allowed = target[parent]
    open_ends = {end for end in (search.high, search.low) if not holds(taken, end)}
    while True:
        width = np.diff(x)
        urgency = np.where(width > 2 * SAME_LR, width / allowed, 0.0)
        i = int(np.argmax(urgency))
        end = _due_end(open_ends, x, allowed, urgency[i], search)
        if end is not None:
            open_ends.discard(end)
            j = 0 if end == search.low else width.size - 1
            yield Proposal(end, max(float(urgency[j]), _DUE), roles[int(parent[j])])
            continue
        if urgency[i] <= 0.0:  # every gap is closed for good: spread over the whole range
            allowed = np.full_like(allowed, np.inf) if not np.isfinite(allowed).any() else allowed
            i = int(np.argmax(width))
            if width[i] <= 2 * SAME_LR:
                return
        split = strategy.split(search, x, i)
        yield Proposal(split, float(urgency[i]), roles[int(parent[i])])
        x = np.insert(x, i + 1, split)
        allowed = np.insert(allowed, i, allowed[i])
        parent = np.insert(parent, i, parent[i])


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
        if beside_point or most_urgent <= 1.0 + SLACK:
            return end
    return None
