"""The protocol between the workers of a study: who is at work on which learning rate.

A worker knows the others by nothing but their trials in the storage. Each trial carries one
*claim*, a system attribute that only its own worker writes. There are no locks: no storage offers
one to all of its clients. Instead every decision is written first and then held against what the
others have written, in this order and no other. Of two workers that decide at the same moment, at
least one then sees the other's decision: the later of the two writes comes before its own
reading. The design page has the states of a claim as a picture, and what always holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._study.attributes import is_number
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.clock import Clock
from optuna_lrss._study.keys import Configuration


if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


#: Trial system attribute that holds the claim.
CLAIM = "lrss:claim"

#: No float is so large or small, in decades.
_MOST_DECADES = 308.0

#: A claim that another worker holds too is given up and made anew, at most this many times.
_ATTEMPTS = 64
#: How long to watch whether a worker with an equal claim gives way, in seconds.
_YIELD_SECONDS = 0.5
#: How long to wait before looking again, in seconds.
LOOK_SECONDS = 0.01

#: A running trial is taken for dead after this many times the longest finished trial (and the
#: grace period) ...
_GRACE_FACTOR = 10.0
#: ... or after this many times (and this share of the grace period), when what it holds is the
#: only useful thing left to do.
_OVERDUE_FACTOR = 3.0
_OVERDUE_SHARE = 0.1
#: Where the storage finds the dead itself, it gets this many heartbeats of time to do so.
_HEARTBEATS = 4.0


# --- What is written --------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """What a trial is for, as its worker has written it.

    Attributes:
        leader: Number of the trial that opened the configuration.
        x: log10 of the learning rate; ``None`` while only the configuration is announced.
        role: Why this learning rate; ``"open"`` while there is none.
        horizon: Steps that the trial is to run; ``None`` for those of the study's short trials.
        failed: The objective raised or returned NaN. A killed worker leaves no such note.
        told: Name of the state and value of a trial after which its worker would end the search;
            the value is ``None`` where it is not finite, which not every storage can hold.
    """

    leader: int | None = None
    x: float | None = None
    role: str = "open"
    horizon: int | None = None
    failed: bool = False
    told: tuple[str, float | None] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> Claim | None:
        """A trial's claim; ``None`` where its sampler was another one, or has not decided yet."""
        return cls.read(trial.system_attrs)

    @classmethod
    def read(cls, system_attrs: dict[str, Any]) -> Claim | None:
        entries = system_attrs.get(CLAIM)
        if not entries:
            return None
        if not _is_claim(entries):
            warn_once(CLAIM, "a claim as LRStepSampler writes it", entries)
            return None
        told = entries.get("told")
        return cls(
            leader=entries.get("leader"),
            x=entries.get("x"),
            role=str(entries.get("role", "coarse")),
            horizon=entries.get("horizon"),
            failed="failed" in entries,
            told=None if told is None else (told[0], told[1]),
        )

    def entries(self) -> dict[str, Any]:
        """As it is stored: in every trial, so what says nothing is left out."""
        entries: dict[str, Any] = {"x": self.x, "role": self.role, "leader": self.leader}
        if self.horizon is not None:
            entries["horizon"] = self.horizon
        if self.failed:
            entries["failed"] = True
        if self.told is not None:
            entries["told"] = list(self.told)
        return entries


def _is_claim(entries: Any) -> bool:
    """Whether what was found says what a claim may say."""
    if not isinstance(entries, dict):
        return False
    leader, x, told, horizon = (entries.get(n) for n in ("leader", "x", "told", "horizon"))
    return (
        (leader is None or type(leader) is int)
        and (horizon is None or (type(horizon) is int and horizon > 0))
        and (x is None or (is_number(x) and abs(x) < _MOST_DECADES))
        and (told is None or _is_result(told))
    )


def _is_result(told: Any) -> bool:
    if not isinstance(told, list | tuple) or len(told) != 2:
        return False
    state, value = told
    known = isinstance(state, str) and state in TrialState.__members__
    return known and (value is None or is_number(value))


class Pending(NamedTuple):
    """A trial under way, as other workers see it."""

    number: int
    x: float | None  # None: the trial has not asked for its learning rate yet
    configuration: Configuration
    leader: int | None
    started: datetime | None
    committed: bool  # the learning rate is the trial's, not only claimed
    horizon: int | None = None  # of a longer trial
    params: Mapping[str, Any] = MappingProxyType({})  # of the others those that it has
    distributions: Mapping[str, Any] = MappingProxyType({})

    def holds(self, x: float) -> bool:
        """Whether its claim is this learning rate (log10)."""
        return self.x is not None and abs(self.x - x) <= SAME_LR

    def is_rival(
        self, leader: int, configuration: Configuration, horizon: int | None = None
    ) -> bool:
        """Whether it works on the curve of this configuration at this horizon."""
        if self.x is not None and self.horizon != horizon:
            return False
        if self.leader is not None:
            same = bool(configuration) and self.configuration == configuration
            return self.leader == leader or same
        if self.x is None:  # it has claimed nothing yet: any one may be for a single curve
            return self.number == leader or not configuration
        return self.configuration == configuration


class Choice(NamedTuple):
    """A learning rate that a worker is about to claim."""

    x: float
    role: str
    leader: int
    before: int  # how often it was known or under way when it was chosen
    horizon: int | None = None  # of a longer trial


class Contest(NamedTuple):
    """What has become of a choice since it was written."""

    times: int  # how often it is known, failures aside, or under way in another trial
    same: list[Pending]  # the rivals that hold it too


# --- Who is taken for dead --------------------------------------------------------------------


@dataclass(frozen=True)
class Lifetime:
    """How long a trial may run before its worker is taken for dead.

    Attributes:
        grace_period: Least time, in seconds.
        longest: The longest finished short trial, in seconds; ``None`` before the first.
        heartbeat: Interval of the storage's own heartbeat, in seconds, if it has one.
        steps: Horizon of the short trials, if known: a longer trial may take as much longer.
    """

    grace_period: float
    longest: float | None
    heartbeat: float | None = None
    steps: int | None = None

    def alive(
        self, pending: Sequence[Pending], now: datetime, *, overdue: bool = True
    ) -> list[Pending]:
        """Trials under way without the dead.

        Args:
            pending: Trials under way.
            now: The time by the storage's clock.
            overdue: Whether to include trials that take much longer than any before.
        """
        limit = self._limit(overdue)
        if limit is None:
            return list(pending)
        return [
            p
            for p in pending
            if p.started is None or _age(p.started, now) <= limit * self._times_longer(p)
        ]

    def _times_longer(self, pending: Pending) -> float:
        if pending.horizon is None or self.steps is None:
            return 1.0
        return max(pending.horizon / self.steps, 1.0)

    def _limit(self, overdue: bool) -> float | None:
        if self.longest is None:
            return None  # nothing tells how long a trial takes: the first may load data for long
        limit = max(self.grace_period, _GRACE_FACTOR * self.longest)
        if self.heartbeat is not None:  # the storage itself finds the dead ones, and retries them
            return max(limit, _HEARTBEATS * self.heartbeat)
        if not overdue:
            return max(_OVERDUE_SHARE * self.grace_period, _OVERDUE_FACTOR * self.longest)
        return limit


def _age(started: datetime, now: datetime) -> float:
    """Seconds since a trial began, at the least.

    Optuna gives local times without an offset, so those of one hour in autumn may be either of
    two, and the difference of two of them is an hour off when the clocks change between them.
    """
    began = max(started.replace(fold=fold).timestamp() for fold in (0, 1))
    return min(now.replace(fold=fold).timestamp() for fold in (0, 1)) - began


# --- Write, then read -------------------------------------------------------------------------


class Claims:
    """Writes the claims of one process's trials, and says which of its decisions stand.

    Args:
        storage: The study's storage.
        clock: The time.
        lock: Held from a look at the trials to the write that follows from it, so that threads
            of one process, which share this object, see each other's claims.
    """

    def __init__(
        self, storage: BaseStorage, clock: Clock, lock: contextlib.AbstractContextManager[Any]
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._lock = lock

    def announce(self, trial: FrozenTrial, leader: int) -> None:
        """Says which configuration a trial serves, before it has a learning rate."""
        self.write(trial, Claim(leader))

    def open(self, trial: FrozenTrial, find: Callable[[], int | None]) -> int:
        """Opens a configuration, unless another worker opens one at the same moment.

        Args:
            trial: The trial that would lead it.
            find: Reads the trials anew for a configuration to join, and names its leader.

        Returns:
            The leader to follow: of those that announce one together, the lowest number.
        """
        # Announced first: of two that open one, the second to write finds the first, at least.
        self.announce(trial, trial.number)
        other = find()
        if other is None or other > trial.number:
            return trial.number
        # Taken back at once: others would wait for the values of a configuration that never comes.
        self.announce(trial, other)
        return other

    def choose(
        self,
        trial: FrozenTrial,
        decide: Callable[[], Choice],
        look: Callable[[Choice], Contest],
    ) -> Choice:
        """Claims a learning rate that no other worker has.

        Args:
            trial: The trial that it is for.
            decide: Reads the trials and chooses, beside what the others hold.
            look: Reads the trials anew and says what has become of a choice.

        Returns:
            The choice that stands. Optuna then commits it: it writes the trial's parameter.
        """
        for _ in range(_ATTEMPTS):
            with self._lock:
                choice = decide()
                # Written before it is compared: of two equal claims one at least is always seen.
                claim = Claim(choice.leader, choice.x, choice.role, choice.horizon)
                self.write(trial, claim)
            if self._stands(trial, choice, look):
                break
        return choice

    def _stands(
        self, trial: FrozenTrial, choice: Choice, look: Callable[[Choice], Contest]
    ) -> bool:
        """Whether nobody else took the learning rate between the look and the claim.

        The lower trial number keeps it, once the other was seen to give way; whoever sees an
        equal claim of a lower number, or that the other did not see this one, gives way itself.
        Giving way is choosing anew: the next claim replaces this one.
        """
        deadline = self._clock.monotonic() + _YIELD_SECONDS
        while True:
            with self._lock:
                contest = look(choice)
            if contest.times <= choice.before:
                return True
            if not contest.same or any(
                p.committed or p.number < trial.number for p in contest.same
            ):
                return False
            # A higher number holds it. It may have committed in the end before it could see
            # this claim, so its giving way is waited for, not taken for granted.
            if self._clock.monotonic() > deadline:
                return False
            self._clock.sleep(LOOK_SECONDS)

    def tell(
        self,
        trial: FrozenTrial,
        result: tuple[str, float | None],
        ends: Callable[[], bool],
    ) -> bool:
        """Announces a result after which its worker would end the search, and asks again.

        Two workers that tell their trials at the same moment would not know of each other's, and
        together these can leave open what each alone resolves.

        Args:
            trial: The trial that is being told; Optuna writes its result only after this.
            result: Name of the state, and the value.
            ends: Reads the trials anew, with what the others have announced.

        Returns:
            Whether the search ends with this trial.
        """
        # Announced before the others' results are read: the last one to announce sees all.
        self._add(trial, told=result)
        return ends()

    def fail(self, trial: FrozenTrial) -> None:
        """Notes that the objective failed, where the sampler has made a claim."""
        # Before Optuna writes the state: a trial that failed without this note was killed.
        if Claim.of(trial) is not None:
            self._add(trial, failed=True)

    def _add(self, trial: FrozenTrial, **entries: Any) -> None:
        # The trial at hand may be older than its claim, so the stored one is read.
        stored = Claim.read(self._storage.get_trial_system_attrs(trial._trial_id))
        self.write(trial, replace(stored if stored is not None else Claim(), **entries))

    def write(self, trial: FrozenTrial, claim: Claim) -> None:
        """Replaces a trial's claim, in one write: readers see the old one or the new one."""
        self._storage.set_trial_system_attr(trial._trial_id, CLAIM, claim.entries())
