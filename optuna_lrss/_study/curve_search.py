"""The search over one curve: where the method meets a study, and the only place where it does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from optuna.distributions import FloatDistribution

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.points import POINT_NAMES
from optuna_lrss._method.search import STRATEGIES
from optuna_lrss._method.search import Proposal
from optuna_lrss._method.search import Search
from optuna_lrss._method.search import proposals
from optuna_lrss._method.search import repeat_proposal
from optuna_lrss._method.search.outlook import foresight
from optuna_lrss._method.search.recheck import BELIEVED
from optuna_lrss._method.search.recheck import abrupt_wall
from optuna_lrss._method.search.recheck import lone_divergence
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._study.known import Known


#: The strategy that asks what trials passed through.
GUIDED = "guided"
#: What ``SearchOptions.strategy`` may be.
STRATEGY_NAMES = tuple(sorted(STRATEGIES))
#: Nobody looks further ahead: no search of the results pages takes half as many trials.
_HORIZON = 200


@dataclass(frozen=True)
class SearchOptions:
    """How to search one curve; see LRStepSampler for the arguments."""

    coarse_step: float = 0.5
    tolerance: float = 0.1
    points: Collection[str] = POINT_NAMES
    strategy: str = "frugal"
    repeats: int = 1


class CurveSearch:
    """Proposals for one curve, over one range.

    Args:
        options: How to search.
        known: What is known of the configuration.
        distribution: Range of the learning rate.
        start: Interval of learning rates to begin in.
    """

    def __init__(
        self,
        options: SearchOptions,
        known: Known,
        distribution: FloatDistribution,
        start: tuple[float, float] | None = None,
    ) -> None:
        self._options = options
        self._curve = known.tried
        low = math.log10(distribution.low)
        # What rose for steps before it diverged met no accident, and is not evaluated again.
        believed = np.where(known.sure(self._curve), BELIEVED, 0)
        self._count = np.maximum(self._curve.count, believed)
        first, guided = known.hints.first, options.strategy == GUIDED
        self._search = Search(
            x=self._curve.x,
            loss=self._curve.loss,
            low=low,
            high=math.log10(distribution.high),
            baseline=known.baseline,
            tolerance=options.tolerance,
            coarse_step=options.coarse_step,
            points=options.points,
            start=None if start is None else (math.log10(start[0]), math.log10(start[1])),
            noise=known.noise(options.repeats),
            guess=None if first is None else math.log10(first),
            rise=known.rises(self._curve) if guided else None,
            inferred=known.inferred(self._curve, low) if guided else Inferred(),
        )

    @property
    def tolerance(self) -> float:
        """How well the wanted points are to be known, in decades."""
        return self._options.tolerance

    def proposals(self, pending: Sequence[float] = ()) -> Iterator[Proposal]:
        """Learning rates to try, the most urgent first; needed repeats before unneeded ones.

        Args:
            pending: log10 of the learning rates under way.
        """
        under_way = list(pending)
        count = self._count
        while (again := lone_divergence(self._search, count, under_way)) is not None:
            under_way.append(again.x)
            yield again
        for proposal in proposals(self._search, under_way, strategy=self._options.strategy):
            while not proposal.needed and (again := self._again(under_way)) is not None:
                under_way.append(again.x)
                yield again
            yield proposal

    def _again(self, pending: Sequence[float]) -> Proposal | None:
        """A known learning rate to evaluate once more when all gaps are narrow enough."""
        wall = abrupt_wall(self._search, self._count, pending)
        return wall if wall is not None else self._repeat(pending)

    def is_resolved(self) -> bool:
        """Whether every wanted point is known within the tolerance, or as well as noise allows."""
        if len(self._curve) == 0:
            return False
        return not next(self.proposals()).needed

    def needs_more(self, pending: Sequence[float]) -> bool:
        """Whether a useful learning rate is neither known nor under way."""
        return next(self.proposals(pending)).needed

    def trials_left(self) -> int:
        """How many trials the search will probably still take.

        It is played to its end on losses as they are foreseen: which gaps are still too wide, and
        how they fall when they are split, is what the strategy itself says. The noise stays as it
        is, and what is tried twice gives the same loss twice.
        """
        loss, ahead = foresight(self._search), self
        for n in range(_HORIZON):
            proposal = next(ahead.proposals())
            if not proposal.needed and len(ahead._curve):
                return n
            ahead = ahead._with(proposal.x, loss)
        return _HORIZON

    def _with(self, x: float, foreseen: Callable[[float], float]) -> CurveSearch:
        """The search as it will be once x, in decades, has been tried."""
        known = np.flatnonzero(np.abs(self._curve.x - x) <= SAME_LR)
        loss = float(self._curve.loss[known[0]]) if known.size else foreseen(x)
        ahead = copy.copy(self)
        ahead._curve = self._curve.with_observation(10.0**x, loss)
        rise, count = self._search.rise, self._count.copy()
        if known.size:
            count[known[0]] += 1
        else:  # nobody foresees how far its training losses rise
            at = int(np.searchsorted(self._curve.x, x))
            count = np.insert(count, at, 1)
            rise = None if rise is None else np.insert(rise, at, np.nan)
        ahead._count = count
        ahead._search = replace(self._search, x=ahead._curve.x, loss=ahead._curve.loss, rise=rise)
        return ahead

    def _repeat(self, pending: Sequence[float]) -> Proposal | None:
        if self._options.repeats < 2 or len(self._curve) == 0:
            return None
        count = self._curve.count.copy()
        for x in pending:
            i = int(np.argmin(np.abs(self._curve.x - x)))
            count[i] += bool(abs(self._curve.x[i] - x) <= SAME_LR)
        return repeat_proposal(self._search, count, self._options.repeats)
