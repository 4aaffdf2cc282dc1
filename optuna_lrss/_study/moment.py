"""What one decision of the sampler sees: the trials at one moment, and who is at work on what."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from optuna_lrss._study.claims import Contest
from optuna_lrss._study.claims import Lifetime
from optuna_lrss._study.claims import Pending
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.hints import NO_HINTS
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.horizons import Horizons
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.trials import Observation


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass
class Moment:
    """A study's trials at one moment, as the worker of one trial sees them.

    Attributes:
        history: The trials.
        baseline: The study's loss of the untrained model, if known.
        number: The trial that asks; ``None`` where none does.
        now: The time by the storage's clock.
        lifetime: When others are taken for dead.
        horizons: What the study says of longer trials; ``None`` where its objective has none.
        hints: What the study says of its search.
    """

    history: StudyHistory
    baseline: float | None
    number: int | None
    now: datetime
    lifetime: Lifetime
    horizons: Horizons | None = None
    hints: Hints = NO_HINTS

    @classmethod
    def of_finished(
        cls,
        history: StudyHistory,
        baseline: float | None,
        horizons: Horizons | None = None,
        hints: Hints = NO_HINTS,
    ) -> Moment:
        """What is known to a reader who waits for nobody."""
        now = datetime.now()
        return cls(history, baseline, None, now, Lifetime(0.0, None), horizons, hints)

    def foresee(self, told: Iterable[Observation]) -> Moment:
        """The moment when trials that are being told are in the storage."""
        return replace(self, history=self.history.foresee(told))

    def as_read(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial under way as it was just read.

        Optuna hands samplers trials that ask the storage for their attributes, once for each
        access.
        """
        return self.history.unfinished.get(trial.number, trial)

    # --- Finished trials ----------------------------------------------------------------------

    @functools.cached_property
    def leaders(self) -> set[int]:
        """The trials that opened the configurations with results."""
        return {c.leader for c in self.history.curves.values()}

    @functools.cached_property
    def searched(self) -> list[Observations]:
        """The curves that are to be resolved, in the order in which they were opened.

        Of configurations that another sampler tried only the best: the others are observations.
        """
        curves = list(self.history.curves.values())
        best = best_of(c for c in curves if not c.n_openings)
        return [c for c in curves if c.n_openings or c is best]

    @functools.cached_property
    def n_opened(self) -> int:
        """Configurations that this package's sampler opened; one opened twice counts twice."""
        known = sum(c.n_openings for c in self.history.curves.values())
        return known + len(self.opened())

    @functools.cached_property
    def _in_order(self) -> tuple[list[int], list[int]]:
        """Leaders of the configurations, ascending, and how many trials those before have."""
        curves = sorted(self.history.curves.values(), key=lambda c: c.leader)
        sizes = [len(c.items) for c in curves]
        return [c.leader for c in curves], list(accumulate(sizes, initial=0))

    def n_before(self, curve: Observations) -> int:
        """Number of finished trials of the configurations before a configuration."""
        if not self.history.is_nested:
            return 0
        leaders, before = self._in_order
        return before[bisect_left(leaders, curve.leader)]

    def curve_of(
        self, leader: int, key: Configuration, horizon: int | None = None
    ) -> Observations | None:
        """The finished trials of a configuration, by its values or its first trial.

        Args:
            leader: Its first trial.
            key: Its values.
            horizon: That of longer trials; ``None`` for the short ones.
        """
        if horizon is not None:
            return self.history.longer.get((key, horizon))
        if key in self.history.curves:
            return self.history.curves[key]
        return next((c for c in self.history.curves.values() if c.leader == leader), None)

    # --- Trials under way ---------------------------------------------------------------------

    def alive(self, *, overdue: bool = True) -> list[Pending]:
        """The other trials under way, without those whose worker is taken for dead.

        Args:
            overdue: Whether to include trials that take much longer than any before.
        """
        alive = self.lifetime.alive(self.history.pending, self.now, overdue=overdue)
        return [p for p in alive if p.number != self.number]

    def opened(self) -> set[int]:
        """Trials under way that opened a configuration of which no result is known yet."""
        alive = self.lifetime.alive(self.history.pending, self.now, overdue=False)
        return {p.number for p in alive if p.leader == p.number} - self.leaders

    def rivals(
        self,
        leader: int,
        key: Configuration,
        horizon: int | None = None,
        *,
        overdue: bool = True,
    ) -> list[Pending]:
        """Trials under way on the same curve."""
        return [p for p in self.alive(overdue=overdue) if p.is_rival(leader, key, horizon)]

    def contest(
        self, x: float, leader: int, key: Configuration, horizon: int | None = None
    ) -> Contest:
        """How often x is known, failures aside, or under way in another trial; and in which."""
        curve = self.curve_of(leader, key, horizon)
        same = [p for p in self.rivals(leader, key, horizon) if p.holds(x)]
        return Contest((0 if curve is None else curve.count_at(x)) + len(same), same)
