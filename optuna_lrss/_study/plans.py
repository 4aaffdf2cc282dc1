"""What a trial is for: which configuration it serves, decided once per trial."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.claims import LOOK_SECONDS
from optuna_lrss._study.claims import Claims
from optuna_lrss._study.clock import Clock
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.keys import others_of
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.resolve import Resolver
from optuna_lrss._study.trials import given_params
from optuna_lrss._study.trials import known_params


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


#: How long to wait for the values of a configuration that another worker is opening, in seconds;
#: a tenth of it after each that never came, and all of it again after one that did.
_LEADER_SECONDS = 1.0
_IMPATIENCE = 0.1


@dataclass
class Plan:
    """What a trial is for: the curve of the configuration whose first trial is ``leader``.

    Attributes:
        leader: Number of the trial that opened the configuration.
        params: Values of its parameters where they are known from the start; ``None`` while
            they have to be read from the leader.
        copied: Values read from the leader so far.
        deadline: When to give up waiting for the leader, in seconds of ``Clock.monotonic``.
        full: The best configuration is to be resolved as finely as the first.
        given: Other parameters were set before the trial began.
        thread: The thread that asks.
    """

    leader: int
    params: dict[str, Any] | None = None
    copied: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    full: bool = False
    given: bool = False
    thread: int = field(default_factory=threading.get_ident)

    @property
    def known(self) -> dict[str, Any]:
        """The configuration's values, as far as they are known."""
        return {**(self.params or {}), **self.copied}

    def key(self, trial: FrozenTrial, param_name: str) -> Configuration:
        """The configuration of a running trial, as far as it is known."""
        return configuration_of({**self.known, **known_params(trial)}, param_name)


class Plans:
    """The plans of one process's trials under way.

    Args:
        arguments: The sampler's.
        claims: Announces what is opened.
        resolver: Says which curves can use one more trial.
        look: Reads the trials anew, for one of them.
        clock: The time.
        lock: Held while something that threads share is changed.
    """

    def __init__(
        self,
        arguments: Arguments,
        claims: Claims,
        resolver: Resolver,
        look: Callable[[FrozenTrial], Moment],
        clock: Clock,
        lock: contextlib.AbstractContextManager[Any],
    ) -> None:
        self._arguments = arguments
        self._claims = claims
        self._resolver = resolver
        self._look = look
        self._clock = clock
        self._lock = lock
        self._plans: dict[int, Plan] = {}
        self._silent: set[int] = set()  # leaders that were waited for in vain
        self._patience = _LEADER_SECONDS
        self.own: set[int] = set()  # trials that this process has made a plan for

    def of(self, moment: Moment, trial: FrozenTrial, first: str) -> Plan:
        """A trial's plan.

        Args:
            moment: What the decision sees.
            trial: The running trial.
            first: The parameter that the objective asks for.
        """
        if trial.number not in self._plans:
            self._plans[trial.number] = self._new(moment, trial, first)
            self.own.add(trial.number)
        return self._plans[trial.number]

    def get(self, trial: FrozenTrial) -> Plan | None:
        """The plan that a trial has, if any."""
        return self._plans.get(trial.number)

    def has(self, trial: FrozenTrial) -> bool:
        """Whether a trial has a plan."""
        return trial.number in self._plans

    def forget(self, trial: FrozenTrial) -> bool:
        """Drops the plan of a trial that is told; whether it had one."""
        return self._plans.pop(trial.number, None) is not None

    def _new(self, moment: Moment, trial: FrozenTrial, first: str) -> Plan:
        name = self._arguments.param_name
        if others_of(given_params(trial), name):
            return Plan(trial.number, params={}, given=True)
        curves = moment.searched
        if curves and not moment.history.is_nested:
            return Plan(curves[-1].leader, params={})  # there is one curve to go on with
        open_curves = [c for c in curves if not self._resolver.is_resolved(moment, c)]
        for curve in open_curves:
            if self._resolver.needs_more(moment, curve):
                return Plan(curve.leader, params=curve.params(name))
        nested = moment.history.is_nested or (not curves and first != name)
        if nested and not self._resolver.is_limit_reached(moment):
            return self._open(moment, trial)
        if curves:
            best = None if open_curves else self._resolver.best(moment)
            last = open_curves[0] if open_curves else best or curves[-1]
            return Plan(last.leader, last.params(name), full=best is not None)
        return Plan(min([p.number for p in moment.alive()] + [trial.number]))

    def _open(self, moment: Moment, trial: FrozenTrial) -> Plan:
        """Joins a configuration that another worker has just opened, or opens one."""
        leader = self._to_join(moment)
        if leader is None:
            leader = self._claims.open(trial, lambda: self._to_join(self._look(trial)))
        return Plan(leader, params={} if leader == trial.number else None)

    def _to_join(self, moment: Moment) -> int | None:
        """The leader of a configuration without results that can use one more worker."""
        for p in sorted(moment.alive(), key=lambda p: p.number):
            opened = p.leader == p.number and p.number not in moment.leaders | self._silent
            if opened and self._resolver.has_room(moment, p.number):
                return p.number
        return None

    def await_value(
        self, trial: FrozenTrial, plan: Plan, name: str, read: Callable[[int], FrozenTrial]
    ) -> None:
        """Reads a parameter from the trial that opened the configuration.

        That trial is suggesting its parameters just now, so the value is there in a moment. If
        it is not, its worker is gone or busy, and this trial opens a configuration of its own.

        Args:
            trial: The trial that waits.
            plan: Its plan, which gets the value.
            name: The parameter.
            read: Reads a trial by its number.
        """
        if plan.deadline is None:
            plan.deadline = self._clock.monotonic() + self._patience
            asked = self._plans.get(plan.leader)
            if asked is not None and asked.thread == plan.thread:
                plan.deadline = 0.0  # the one that is waited for would have to go on first
        while True:
            leader = read(plan.leader)
            if name in leader.params:
                plan.copied[name] = leader.params[name]
                self._patience = _LEADER_SECONDS
                return
            if leader.state.is_finished() or self._clock.monotonic() > plan.deadline:
                with self._lock:
                    self._patience *= _IMPATIENCE
                    self._silent.add(plan.leader)
                    plan.leader, plan.params = trial.number, {}
                    self._claims.announce(trial, trial.number)
                return
            self._clock.sleep(LOOK_SECONDS)
