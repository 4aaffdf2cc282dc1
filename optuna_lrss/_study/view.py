"""What one decision of the sampler sees: the trials at one moment, and who is at work on what."""

from __future__ import annotations

import functools
import threading
from bisect import bisect_left
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._study.history import Configuration
from optuna_lrss._study.history import Observations
from optuna_lrss._study.history import Pending
from optuna_lrss._study.history import StudyHistory


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


#: A running trial is taken for dead after this many times the longest finished trial (and the
#: grace period) ...
_GRACE_FACTOR = 10.0
#: ... or after this many times (and this share of the grace period), when what it holds is the
#: only useful thing left to do.
_OVERDUE_FACTOR = 3.0
_OVERDUE_SHARE = 0.1


@dataclass
class Plan:
    """What a trial is for: the curve of the configuration whose first trial is ``leader``.

    Attributes:
        leader: Number of the trial that opened the configuration.
        params: Values of its parameters where they are known from the start; ``None`` while
            they have to be read from the leader.
        copied: Values read from the leader so far.
        deadline: When to give up waiting for the leader, in ``time.monotonic()`` seconds.
        delegate: No learning rate is in play: the base sampler does everything.
        full: The best configuration is to be resolved as finely as the first.
        given: Other parameters were set before the trial began.
        thread: The thread that asks.
    """

    leader: int
    params: dict[str, Any] | None = None
    copied: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    delegate: bool = False
    full: bool = False
    given: bool = False
    thread: int = field(default_factory=threading.get_ident)


@dataclass
class View:
    """What a decision sees: the study's trials at one moment."""

    study: Study
    history: StudyHistory
    baseline: float | None
    now: datetime
    grace_period: float

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

    def alive(self, trial: FrozenTrial | None = None, *, overdue: bool = True) -> list[Pending]:
        """Trials under way but ``trial``, without those whose worker is taken for dead.

        Args:
            trial: The trial that asks.
            overdue: Whether to include trials that take much longer than any before.
        """
        own = None if trial is None else trial.number
        return [p for p in self._prompt(overdue) if p.number != own]

    def _prompt(self, overdue: bool) -> list[Pending]:
        if self.history.n_finished == 0:  # nothing tells how long a trial takes
            return self.history.pending
        longest = self.history.longest
        limit = max(self.grace_period, _GRACE_FACTOR * longest)
        interval = _heartbeat_interval(self.study)
        if interval is not None:  # the storage itself finds the dead ones, and retries them
            limit = max(limit, 4.0 * interval)
        elif not overdue:
            limit = max(_OVERDUE_SHARE * self.grace_period, _OVERDUE_FACTOR * longest)
        return [
            p
            for p in self.history.pending
            if p.started is None or (self.now - p.started).total_seconds() <= limit
        ]

    def rivals(
        self, plan: Plan, key: Configuration, trial: FrozenTrial, *, overdue: bool = True
    ) -> list[Pending]:
        """Trials under way on the same curve."""
        return [p for p in self.alive(trial, overdue=overdue) if _is_rival(p, plan.leader, key)]

    def curve_of(self, plan: Plan, key: Configuration) -> Observations | None:
        """The finished trials of a trial's configuration."""
        if key in self.history.curves:
            return self.history.curves[key]
        return next((c for c in self.history.curves.values() if c.leader == plan.leader), None)

    def count(self, x: float, plan: Plan, key: Configuration, trial: FrozenTrial) -> int:
        """How often x is known, failures aside, or under way in another trial."""
        curve = self.curve_of(plan, key)
        n = 0 if curve is None else curve.count_at(x)
        return n + sum(is_same(p.x, x) for p in self.rivals(plan, key, trial))


def _heartbeat_interval(study: Study) -> float | None:
    get = getattr(study._storage, "get_heartbeat_interval", None)
    interval = get() if get is not None else None
    return None if interval is None else float(interval)


def _is_rival(pending: Pending, leader: int, configuration: Configuration) -> bool:
    """Whether a trial under way works on the curve of this configuration."""
    if pending.leader is not None:
        same = bool(configuration) and pending.configuration == configuration
        return pending.leader == leader or same
    if pending.x is None:  # it has claimed nothing yet: any one may be for a single curve
        return pending.number == leader or not configuration
    return pending.configuration == configuration


def is_same(x: float | None, y: float) -> bool:
    """Whether a trial's claim, if it has one, is this learning rate (log10)."""
    return x is not None and abs(x - y) <= SAME_LR
