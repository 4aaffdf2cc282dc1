"""When a curve is resolved, and when a study is: nothing that is left would tell more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.configurations import Configurations
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.longer_search import LongerSearch
from optuna_lrss._study.longer_search import open_horizon
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.warm_start import search_over


class Resolver:
    """Judges curves and the study, and keeps what it found of each curve.

    Args:
        arguments: The sampler's.
        configurations: Says whether the base sampler has anything more to propose.
    """

    def __init__(self, arguments: Arguments, configurations: Configurations) -> None:
        self._arguments = arguments
        self._configurations = configurations
        self._kept: WeakKeyDictionary[Observations, tuple[Any, bool]] = WeakKeyDictionary()

    def is_study_resolved(self, moment: Moment, told: Sequence[Observation] = ()) -> bool:
        """Whether nothing is left to do, once the trials that are being told are known too.

        Args:
            moment: What the decision sees.
            told: Trials that are being told, and not in the storage yet.
        """
        extra = None
        single = len(told) == 1 and not told[0].configuration and not moment.history.is_nested
        if single and moment.horizons is None:
            extra = told[0]  # the common case, for which nothing is copied
        elif told:
            # From here on everything, the best configuration too, is judged with them.
            moment = moment.foresee(told)
        curves = moment.searched
        if not curves and extra is not None:
            curves = [Observations(extra.configuration, extra.number)]
        if not curves:
            return False
        if moment.history.is_nested:
            endless = self._arguments.max_configurations is None and not told
            if not endless and not self.is_limit_reached(moment):
                return False  # optimize goes on to the next configuration
            if moment.opened():
                return False  # another worker has just opened one
        best = self._to_know_fully(moment)
        if not all(self.is_resolved(moment, c, extra, full=c is best) for c in curves):
            return False
        return self.open_horizon(moment) is None

    def _to_know_fully(self, moment: Moment) -> Observations | None:
        """With max_configurations the best of them is resolved as finely as the first."""
        return self.best(moment) if self._arguments.max_configurations is not None else None

    def open_horizon(self, moment: Moment) -> tuple[Observations, LongerSearch] | None:
        """The curve that longer trials are due on, and what is left to do at their horizon.

        That is the only curve, or at the end the best one, once all short trials are done.
        """
        curves = moment.searched
        if moment.horizons is None or not curves:
            return None
        nested = moment.history.is_nested
        curve = self._to_know_fully(moment) if nested else curves[-1]
        if curve is None or (nested and (not self.is_limit_reached(moment) or moment.opened())):
            return None
        if not all(self.is_resolved(moment, c, full=nested and c is curve) for c in curves):
            return None
        distribution = curve.items[-1].range_of(self._arguments.param_name)
        search = open_horizon(moment, curve, distribution)
        return None if search is None else (curve, search)

    def is_resolved(
        self,
        moment: Moment,
        curve: Observations,
        extra: Observation | None = None,
        *,
        full: bool = False,
    ) -> bool:
        """Whether every wanted point of a curve is known within the tolerance.

        Args:
            moment: What the decision sees.
            curve: The configuration's finished trials.
            extra: A trial of it that is being told.
            full: Whether a later configuration is to be known as well as the first.
        """
        # A later configuration is searched around the windows of those before it: when these
        # get trials, what was found of it holds no longer.
        version = (len(curve.items), moment.baseline, full, moment.n_before(curve))
        kept = self._kept.get(curve)
        if extra is None and kept is not None and kept[0] == version:
            return kept[1]
        last = extra if extra is not None else curve.items[-1]
        search = search_over(
            self._arguments,
            moment,
            curve,
            last.range_of(self._arguments.param_name),
            extra=extra,
            params=None if extra is None else dict(extra.configuration),
            full=full,
        )
        resolved = search.is_resolved()
        if extra is None:
            self._kept[curve] = (version, resolved)
        return resolved

    def needs_more(self, moment: Moment, curve: Observations) -> bool:
        """Whether a useful learning rate of the curve is neither known nor under way."""
        distribution = curve.items[-1].range_of(self._arguments.param_name)
        rivals = moment.rivals(curve.leader, curve.configuration)
        pending = [p.x for p in rivals if p.x is not None]
        return search_over(self._arguments, moment, curve, distribution).needs_more(pending)

    def needs_longer(self, moment: Moment) -> bool:
        """Whether a longer trial is needed that is not under way."""
        due = self.open_horizon(moment)
        if due is None:
            return False
        curve, search = due
        rivals = moment.rivals(curve.leader, curve.configuration, search.horizon)
        proposal = next(search.proposals([p.x for p in rivals if p.x is not None]), None)
        return proposal is not None and proposal.needed

    def has_room(self, moment: Moment, leader: int) -> bool:
        """Whether a curve without results yet can use one more worker."""
        known = [c.items[-1] for c in moment.history.curves.values()]
        if not known:
            return True
        distribution = known[-1].range_of(self._arguments.param_name)
        pending = [p.x for p in moment.alive() if p.leader == leader and p.x is not None]
        return search_over(self._arguments, moment, None, distribution).needs_more(pending)

    def best(self, moment: Moment) -> Observations | None:
        """The configuration that ``analyze`` takes by default; ``None`` if not nested."""
        return best_of(moment.history.curves.values()) if moment.history.is_nested else None

    def is_limit_reached(self, moment: Moment) -> bool:
        """Whether no further configuration is to be opened."""
        if self._configurations.exhausted:
            return True
        limit = self._arguments.max_configurations
        if limit is None:
            return False
        return moment.n_opened >= limit
