"""Runs a search over a curve of :mod:`tests.curves` without Optuna: one trial at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.search import Proposal
from optuna_lrss._method.search import Search
from optuna_lrss._method.search import proposals
from tests.curves import Curve


#: More than any search here needs; one that takes more has not ended.
ENDLESS = 200


def search_of(curve: LRCurve, low: float, high: float, **options: Any) -> Search:
    """What a strategy is given; low and high in decades."""
    return Search(x=curve.x, loss=curve.loss, low=low, high=high, **options)


def is_resolved(search: Search, *, strategy: str = "frugal") -> bool:
    """Whether every wanted point of interest is known within the tolerance."""
    if search.x.size == 0:
        return False
    return not next(proposals(search, strategy=strategy)).needed


def run_search(
    loss: Callable[[float], float],
    low: float,
    high: float,
    *,
    strategy: str,
    workers: int = 1,
    **options: Any,
) -> tuple[LRCurve, list[list[Proposal]]]:
    """Evaluates rounds of up to ``workers`` needed proposals until none is needed.

    Returns:
        The curve, and the proposals of each round.
    """
    lrs: list[float] = []
    losses: list[float] = []
    rounds: list[list[Proposal]] = []
    while len(lrs) < ENDLESS:
        known = search_of(LRCurve.from_observations(lrs, losses), low, high, **options)
        order = proposals(known, strategy=strategy)
        batch = [next(order) for _ in range(workers)]
        if lrs and not batch[0].needed:
            return LRCurve.from_observations(lrs, losses), rounds
        batch = [p for i, p in enumerate(batch) if p.needed or i == 0]
        rounds.append(batch)
        lrs += [10.0**p.x for p in batch]
        losses += [loss(10.0**p.x) for p in batch]
    raise AssertionError(
        f"not resolved after {ENDLESS} trials: log10(lr)={sorted(map(math.log10, lrs))}"
    )


def search_curve(curve: Curve, **options: Any) -> tuple[LRCurve, list[list[Proposal]]]:
    """:func:`run_search` over a curve's own range, from its own baseline."""
    return run_search(curve.loss, curve.low, curve.high, **{"baseline": curve.baseline, **options})
