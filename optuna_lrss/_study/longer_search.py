"""The search at longer horizons: which trials are left, once the short ones are resolved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from optuna.distributions import FloatDistribution

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.search import Proposal
from optuna_lrss._method.search.longer import next_horizon
from optuna_lrss._method.search.longer import next_longer
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.known import Known
from optuna_lrss._study.moment import Moment


class LongerSearch(NamedTuple):
    """What is left to do at one longer horizon.

    Attributes:
        horizon: Steps of its trials.
        shorter: Losses at the horizon before.
        longer: Losses at this one.
        search_range: Range of the learning rate, in decades.
        baseline: Loss of the untrained model, if known.
    """

    horizon: int
    shorter: LRCurve
    longer: LRCurve
    search_range: tuple[float, float]
    baseline: float | None

    def proposals(self, pending: Sequence[float] = ()) -> Iterator[Proposal]:
        """Learning rates to try, the needed ones first; none twice.

        Args:
            pending: log10 of the learning rates under way at this horizon.
        """
        under_way = list(pending)
        while (proposal := self._next(under_way)) is not None:
            under_way.append(proposal.x)
            yield proposal

    def is_resolved(self) -> bool:
        """Whether nothing is needed at this horizon."""
        proposal = self._next(())
        return proposal is None or not proposal.needed

    def _next(self, pending: Sequence[float]) -> Proposal | None:
        shorter, longer = self.shorter, self.longer
        return next_longer(shorter, longer, pending, self.search_range, self.baseline)


def open_horizon(
    moment: Moment,
    curve: Observations,
    distribution: FloatDistribution,
    *,
    given: float | None = None,
) -> LongerSearch | None:
    """The first longer horizon of a configuration that is not resolved.

    Args:
        moment: What the decision sees.
        curve: The configuration's short trials, which are resolved.
        distribution: Range of the learning rate.
        given: A baseline that the caller gives.

    Returns:
        What is left there; ``None`` where the objective runs short trials only, or no longer
        horizon is left.
    """
    if moment.horizons is None:
        return None
    known = Known(curve, moment.baseline, given=given)
    baseline, shorter = known.baseline, known.curve
    base = steps = moment.horizons.steps
    ends = math.log10(distribution.low), math.log10(distribution.high)
    while True:
        total = moment.horizons.total_steps
        horizon = next_horizon(shorter, baseline, steps, total, base=base)
        if horizon is None:
            return None
        trials = moment.curve_of(curve.leader, curve.configuration, horizon)
        known = Known(trials, moment.baseline, given=baseline)
        search = LongerSearch(horizon, shorter, known.tried, ends, baseline)
        if not search.is_resolved():
            return search
        steps, shorter = horizon, known.curve
