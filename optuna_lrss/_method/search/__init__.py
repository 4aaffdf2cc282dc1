"""Which learning rate to try next, and when to stop (paper, section 3.3).

A strategy looks at the known losses and gives every gap between known neighbours a *target*: how
wide it may stay, in decades (``inf`` where nothing is to be learned). The next learning rate is
the middle of the gap that is widest for its target. When no gap is over its target the curve is
resolved; asked further, the same order goes on below the targets: endless, and never the same
learning rate twice.

==========  ===================================================================
strategy    what is known goes in, what is wanted comes out: the types
shape       what the known losses look like: points of interest by secants
gaps        the order that all strategies share
paper       the paper's strategy: a grid, then midpoints
frugal      fine beside the points, nothing beyond plateau and divergence wall
warm_start  the same for a search that was told where to begin
guided      the same for a search that begins at a guess, and sees what its trials passed through
repeats     which learning rate to evaluate again, for noise
recheck     which diverged learning rate to evaluate again before it is believed
==========  ===================================================================

To add a strategy write a module beside ``paper``, which is the shortest, and enter its
:class:`~optuna_lrss._method.search.strategy.Strategy` in ``STRATEGIES``.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from optuna_lrss._method.curve import holds
from optuna_lrss._method.search.frugal import FRUGAL
from optuna_lrss._method.search.gaps import by_urgency
from optuna_lrss._method.search.guided import GUIDED
from optuna_lrss._method.search.paper import PAPER
from optuna_lrss._method.search.repeats import repeat_proposal
from optuna_lrss._method.search.strategy import Proposal
from optuna_lrss._method.search.strategy import Search
from optuna_lrss._method.search.strategy import Strategy
from optuna_lrss._method.search.warm_start import WARM_START


__all__ = [
    "STRATEGIES",
    "Proposal",
    "Search",
    "proposals",
    "repeat_proposal",
]

#: What ``LRStepSampler(strategy=...)`` takes.
STRATEGIES: Mapping[str, Strategy] = {
    "guided": replace(GUIDED, from_start=WARM_START),
    "frugal": replace(FRUGAL, from_start=WARM_START),
    "paper": PAPER,
}


def proposals(
    search: Search, pending: Sequence[float] = (), *, strategy: str = "frugal"
) -> Iterator[Proposal]:
    """Endless order of learning rates to try, the most urgent first, none twice.

    Args:
        search: What is known.
        pending: log10 of the learning rates under way.
        strategy: A name in ``STRATEGIES``.

    Yields:
        Proposals; each counts as pending for the ones after it.
    """
    chosen = STRATEGIES[strategy]
    if search.start is not None and chosen.from_start is not None:
        chosen = chosen.from_start
    taken = np.concatenate([search.x, np.asarray(pending, dtype=float)])
    for x in chosen.first_look(search, taken):
        if not holds(taken, x):
            taken = np.append(taken, x)
            yield Proposal.at_once(x, "coarse")
    yield from by_urgency(search, chosen, taken)
