"""The search over one curve: what a strategy needs, gathered from observations."""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import FloatDistribution

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import POINT_NAMES
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.search import Proposal
from optuna_lrss._method.search import Search
from optuna_lrss._method.search import proposals
from optuna_lrss._method.search import repeat_proposal
from optuna_lrss._study.history import Observation
from optuna_lrss._study.history import Observations


#: Numbers of learning rates at which the noise of unrepeated losses is estimated anew.
_NOISE_AT = (10, 20, 40, 80)


@dataclass(frozen=True)
class Settings:
    """How to search; see LRStepSampler for the arguments."""

    coarse_step: float = 0.5
    tolerance: float = 0.1
    points: Collection[str] = POINT_NAMES
    strategy: str = "frugal"
    repeats: int = 1


class CurveSearch:
    """Proposals for one curve, over one range.

    Args:
        settings: How to search.
        observations: The configuration's finished trials; ``None`` before the first.
        distribution: Range of the learning rate.
        baseline: Loss of the untrained model, if known.
        start: Interval of learning rates to begin in.
        extra: A trial that is being told, not among the observations yet.
    """

    def __init__(
        self,
        settings: Settings,
        observations: Observations | None,
        distribution: FloatDistribution,
        baseline: float | None,
        start: tuple[float, float] | None = None,
        extra: Observation | None = None,
    ) -> None:
        self._settings = settings
        if observations is None:
            observations = Observations((), 0)
        if observations.baseline is not None:
            baseline = observations.baseline
        self._curve = observations.curve(baseline, extra, early=True)
        self._search = Search(
            x=self._curve.x,
            loss=self._curve.loss,
            low=math.log10(distribution.low),
            high=math.log10(distribution.high),
            baseline=baseline,
            tolerance=settings.tolerance,
            coarse_step=settings.coarse_step,
            points=settings.points,
            start=None if start is None else (math.log10(start[0]), math.log10(start[1])),
            noise=_noise(self._curve, observations, baseline, settings),
        )

    def proposals(self, pending: Sequence[float] = ()) -> Iterator[Proposal]:
        """Learning rates to try, the most urgent first; needed repeats before unneeded ones.

        Args:
            pending: log10 of the learning rates under way.
        """
        order = proposals(self._search, pending, strategy=self._settings.strategy)
        under_way = list(pending)
        for proposal in order:
            while not proposal.needed and (repeat := self._repeat(under_way)) is not None:
                under_way.append(repeat.x)
                yield repeat
            yield proposal

    def is_resolved(self) -> bool:
        """Whether every wanted point is known within the tolerance, or as well as noise allows."""
        if len(self._curve) == 0:
            return False
        return not next(self.proposals()).needed

    def needs_more(self, pending: Sequence[float]) -> bool:
        """Whether a useful learning rate is neither known nor under way."""
        return next(self.proposals(pending)).needed

    def _repeat(self, pending: Sequence[float]) -> Proposal | None:
        if self._settings.repeats < 2 or len(self._curve) == 0:
            return None
        count = self._curve.count.copy()
        for x in pending:
            i = int(np.argmin(np.abs(self._curve.x - x)))
            count[i] += bool(abs(self._curve.x[i] - x) <= SAME_LR)
        return repeat_proposal(self._search, count, self._settings.repeats)


def _noise(
    curve: LRCurve, observations: Observations, baseline: float | None, settings: Settings
) -> float:
    """Noise of one loss as a share of the drop: from repeats, else from the model's residuals.

    Without repeats the model is fitted rarely, to the first 10, 20, 40 or 80 trials: the answer
    is then the same in every worker and after a restart.
    """
    repeat_noise = curve.repeat_noise
    if repeat_noise is not None:
        finite = curve.loss[curve.finite]
        level = float(finite.max()) if baseline is None else baseline
        drop = level - float(finite.min())
        return repeat_noise / drop if drop > 0.0 else 0.0
    sizes = [n for n in _NOISE_AT if n <= len(observations.items)]
    if settings.repeats > 1 or not sizes:
        return 0.0
    return observations.cached(("noise", sizes[-1], baseline), _noise_of_first)


def _noise_of_first(observations: Observations, key: tuple[str, int, float | None]) -> float:
    _, n, baseline = key
    try:
        return points_of_interest(observations.curve_of_first(n, baseline), baseline).noise
    except NoWindowError:
        return 0.0
