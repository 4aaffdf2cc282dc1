"""What one process keeps for one study, and the decisions that it makes there."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.search import Proposal
from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.claims import Choice
from optuna_lrss._study.claims import Claims
from optuna_lrss._study.claims import Contest
from optuna_lrss._study.claims import Lifetime
from optuna_lrss._study.clock import Clock
from optuna_lrss._study.configurations import Configurations
from optuna_lrss._study.configurations import Values
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.horizons import Horizons
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.keys import others_of
from optuna_lrss._study.known import Known
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.plans import Plan
from optuna_lrss._study.plans import Plans
from optuna_lrss._study.resolve import Resolver
from optuna_lrss._study.stored_search import store_search
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import baseline_in
from optuna_lrss._study.trials import result_of
from optuna_lrss._study.warm_start import search_over


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class Worker:
    """One process at work on one study: what it has read, and what it knows by itself.

    All that matters is in the storage: a worker that is thrown away and made anew goes on with
    the same search.

    Args:
        study: The study.
        arguments: The sampler's.
        base_sampler: Samples the other parameters; it is copied when it is needed.
        clock: The time.
        lock: Held while a decision is made; the process's threads share it.
    """

    def __init__(
        self,
        study: Study,
        arguments: Arguments,
        base_sampler: BaseSampler,
        clock: Clock,
        lock: contextlib.AbstractContextManager[Any],
    ) -> None:
        # The storage is kept alive with its worker: ids of dead objects are used again. The
        # study is not: it holds the sampler, which holds this.
        self._storage = study._storage
        self._study_id = study._study_id
        self._direction = study.direction
        self._arguments = arguments
        self._clock = clock
        self._lock = lock
        self._heartbeat = _heartbeat_interval(self._storage)
        self._baseline: float | None = None
        self._horizons: Horizons | None = None
        self._hints = Hints()
        self._has_begun = False
        self._delegated: set[int] = set()
        self.has_ended = False  # and said what to use
        self.has_warned = False  # of trials that never ask for a learning rate
        self.history = StudyHistory(arguments.param_name)
        self.configurations = Configurations(base_sampler, arguments.param_name)
        self.claims = Claims(self._storage, clock, lock)
        self.resolver = Resolver(arguments, self.configurations)
        self.plans = Plans(arguments, self.claims, self.resolver, self.look, clock, lock)

    def begin(self) -> None:
        """Writes into the study how it is searched; the last search to begin counts."""
        if not self._has_begun:
            self._has_begun = True
            store_search(self._storage, self._study_id, self._arguments)

    # --- What is known ------------------------------------------------------------------------

    def look(self, trial: FrozenTrial | None = None, *, at_end: bool = False) -> Moment:
        """Reads what is new in the storage.

        Args:
            trial: The trial that a decision is made for.
            at_end: Whether to ask whether the objective can run longer trials, as it may have
                said since: a search that is continued with ``steps="auto"``, say.
        """
        # Written once, the baseline after the rest, so all are read once.
        if self._baseline is None or (at_end and self._horizons is None):
            attrs = self._storage.get_study_user_attrs(self._study_id)
            self._baseline = baseline_in(attrs, self._direction)
            self._horizons = Horizons.stored(attrs)
            self._hints = Hints.of(attrs)
        history = self._refreshed()
        started = None if trial is None else trial.datetime_start
        return Moment(
            history=history,
            baseline=self._baseline,
            number=None if trial is None else trial.number,
            # A storage server's clock, not this machine's, is in the trials: so its own start.
            now=started if started is not None else self._clock.now(),
            lifetime=Lifetime(
                grace_period=self._arguments.grace_period,
                longest=history.longest if history.n_finished else None,
                heartbeat=self._heartbeat,
                steps=None if self._horizons is None else self._horizons.steps,
            ),
            horizons=self._horizons,
            hints=self._hints,
        )

    def _refreshed(self) -> StudyHistory:
        return self.history.read(self._storage, self._study_id, self._direction)

    def is_resolved(self) -> bool:
        """Whether nothing is left to do."""
        return self._look_at_end() is not None

    def _look_at_end(
        self, trial: FrozenTrial | None = None, told: Sequence[Observation] = ()
    ) -> Moment | None:
        """What is seen where nothing is left to do; ``None`` while something is.

        Args:
            trial: The trial that is being told, if one is.
            told: What it is about to get.
        """
        moment = self.look(trial)
        if not self.resolver.is_study_resolved(moment, told):
            return None
        if moment.horizons is None:
            moment = self.look(trial, at_end=True)
            if moment.horizons is not None and not self.resolver.is_study_resolved(moment, told):
                return None
        return moment

    def has_more(self) -> bool:
        """Whether a useful learning rate is neither known nor under way."""
        moment = self.look()
        if moment.searched:
            short = any(self.resolver.needs_more(moment, curve) for curve in moment.searched)
            return short or self.resolver.needs_longer(moment)
        name = self._arguments.param_name
        for trial in moment.history.unfinished.values():
            if isinstance(asked := trial.distributions.get(name), FloatDistribution):
                under_way = [p.x for p in moment.alive() if p.x is not None]
                return search_over(self._arguments, moment, None, asked).needs_more(under_way)
        return True  # nobody has said yet where to look

    def delegates(self, trial: FrozenTrial) -> bool:
        """Whether the trials so far, of which there are some, never suggest a learning rate."""
        if trial.number in self._delegated:
            return True
        if self.history.curves or self.plans.has(trial):
            return False  # without asking the storage: curves do not vanish
        history = self._refreshed()
        if history.n_finished == 0 or history.curves:
            return False
        if any(p.x is not None for p in history.pending if p.number < trial.number):
            return False
        self._delegated.add(trial.number)
        return True

    def is_delegated(self, trial: FrozenTrial) -> bool:
        """Whether :meth:`delegates` said so when the trial began."""
        return trial.number in self._delegated

    def release(self, trial: FrozenTrial) -> bool:
        """Forgets a trial that is told; whether the base sampler sampled it all by itself."""
        planned = self.plans.forget(trial)
        delegated = trial.number in self._delegated
        self._delegated.discard(trial.number)
        return delegated or not planned

    # --- Decisions ----------------------------------------------------------------------------

    def learning_rate(self, trial: FrozenTrial, distribution: FloatDistribution) -> float:
        """Claims the most urgent learning rate that no other worker has.

        Args:
            trial: The trial that asks.
            distribution: The range.
        """
        self.begin()
        choice = self.claims.choose(
            trial,
            functools.partial(self._choice, trial, distribution),
            functools.partial(self._contest, trial),
        )
        return _to_lr(choice.x, distribution)

    def _choice(self, trial: FrozenTrial, distribution: FloatDistribution) -> Choice:
        """What to try next, beside what the other workers have under way."""
        moment = self.look(trial)
        trial = moment.as_read(trial)
        plan = self.plans.of(moment, trial, self._arguments.param_name)
        key = plan.key(trial, self._arguments.param_name)
        curve = moment.curve_of(plan.leader, key)
        opened = plan.leader == trial.number and not plan.given
        if curve is not None and not opened:
            plan.leader = curve.leader
        proposal, horizon = self._proposal(moment, trial, plan, key, distribution)
        before = moment.contest(proposal.x, plan.leader, key, horizon).times
        return Choice(proposal.x, proposal.role, plan.leader, before, horizon)

    def _contest(self, trial: FrozenTrial, choice: Choice) -> Contest:
        moment = self.look(trial)
        trial = moment.as_read(trial)
        name = self._arguments.param_name
        key = self.plans.of(moment, trial, name).key(trial, name)
        return moment.contest(choice.x, choice.leader, key, choice.horizon)

    def _proposal(
        self,
        moment: Moment,
        trial: FrozenTrial,
        plan: Plan,
        key: Configuration,
        distribution: FloatDistribution,
    ) -> tuple[Proposal, int | None]:
        """A learning rate, why, and the horizon of a longer trial."""
        curve = moment.curve_of(plan.leader, key)
        search = search_over(
            self._arguments, moment, curve, distribution, params=dict(key), full=plan.full
        )
        short = self._most_urgent(moment, trial, plan.leader, key, search.proposals)
        if short is not None and short.needed:
            return short, None
        due = self.resolver.open_horizon(moment)
        if due is not None and due[0] is curve:
            horizon, order = due[1].horizon, due[1].proposals
            longer = self._most_urgent(moment, trial, plan.leader, key, order, horizon)
            if longer is not None:
                return longer, horizon
        assert short is not None  # their order is endless
        return short, None

    def _most_urgent(
        self,
        moment: Moment,
        trial: FrozenTrial,
        leader: int,
        key: Configuration,
        proposals: Callable[[Sequence[float]], Iterator[Proposal]],
        horizon: int | None = None,
    ) -> Proposal | None:
        """Of a curve's proposals the first that is left to this trial, if there is any."""
        rivals = moment.rivals(leader, key, horizon)
        # Those that asked earlier and have no learning rate yet take the first places.
        rank = sum(p.x is None and p.number < trial.number for p in rivals)
        order = proposals([p.x for p in rivals if p.x is not None])
        proposal = next(islice(order, rank, None), None)
        if rivals and (proposal is None or not proposal.needed):
            # Nothing useful is left but what others hold: see whether one of them is overdue.
            prompt = moment.rivals(leader, key, horizon, overdue=False)
            taken_over = next(proposals([p.x for p in prompt if p.x is not None]), None)
            if taken_over is not None and taken_over.needed:
                return taken_over
        return proposal

    def other_value(self, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Another parameter's value, in the trial's configuration.

        Args:
            trial: The trial that asks.
            name: The parameter.
            distribution: Its range.
        """
        with self._lock:
            plan = self.plans.get(trial)
            if plan is None:
                moment = self.look(trial)
                plan = self.plans.of(moment, moment.as_read(trial), name)
        if plan.leader != trial.number and plan.params is None:
            self.plans.await_value(trial, plan, name, self._read)
        if name in plan.known and _contains(distribution, plan.known[name]):
            return plan.known[name]
        with self._lock:
            if not self.configurations.has_asked(trial.number):
                self._update(self.look(trial))
            return self.configurations.ask(trial.number, name, distribution)

    def _read(self, number: int) -> FrozenTrial:
        storage = self._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return storage.get_trial(trial_id)

    def _update(self, moment: Moment) -> None:
        """Tells the base sampler's study of configurations what is new."""
        curves = moment.history.curves
        self.configurations.see_foreign((moment.leaders | moment.opened()) - self.plans.own)
        self.configurations.known = set(curves)
        self.configurations.known.update(p.configuration for p in moment.history.pending)
        for curve in curves.values():
            if curve.configuration and self.resolver.is_resolved(moment, curve):
                value = Known(curve, moment.baseline).value()
                self.configurations.tell(curve, value)
        self.configurations.see_open(self._others_open(moment))

    def _others_open(self, moment: Moment) -> dict[Configuration, Values]:
        """Configurations that other workers have opened and that are not resolved yet."""
        name = self._arguments.param_name
        opened = moment.opened() - self.plans.own
        values: dict[Configuration, Values] = {
            configuration_of(dict(p.params), name): (p.params, p.distributions)
            for p in moment.history.pending
            if p.number in opened and p.params
        }
        for curve in moment.searched:
            if curve.configuration and not self.configurations.has_asked(curve.leader):
                item = curve.items[0]
                values[curve.configuration] = (
                    others_of(item.params, name),
                    others_of(item.distributions, name),
                )
        return values

    def is_last(self, trial: FrozenTrial, last: Observation) -> bool:
        """Whether the search ends with a trial that is being told, and not in the storage yet.

        Args:
            trial: The trial.
            last: What it is about to get.
        """
        moment = self._look_at_end(trial, [last])
        if moment is None:
            return False
        if not moment.alive():
            return True
        result = result_of(last, self._direction)
        return self.claims.tell(trial, result, lambda: self._ends(trial, last))

    def _ends(self, trial: FrozenTrial, last: Observation) -> bool:
        moment = self.look(trial)
        others = [o for o in moment.history.told if o.number != trial.number]
        return self.resolver.is_study_resolved(moment, [last, *others])


class Workers:
    """This process's worker for each study that a sampler serves.

    A copy, pickled or not, is for another process or another sampler: it begins empty.

    Args:
        arguments: The sampler's.
        base_sampler: Samples the other parameters.
        clock: The time.
    """

    def __init__(
        self, arguments: Arguments, base_sampler: BaseSampler, clock: Clock | None = None
    ) -> None:
        self._arguments = arguments
        self._base_sampler = base_sampler
        self.clock = Clock() if clock is None else clock
        self._workers: dict[tuple[int, int], Worker] = {}
        self.lock = threading.RLock()

    @property
    def coarse_step(self) -> float:
        """Spacing of the first look, in decades."""
        return self._arguments.options.coarse_step

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, (self._arguments, self._base_sampler, self.clock)

    def of(self, study: Study) -> Worker:
        """The study's worker."""
        key = (id(study._storage), study._study_id)
        with self.lock:
            if key not in self._workers:
                self._workers[key] = Worker(
                    study, self._arguments, self._base_sampler, self.clock, self.lock
                )
            return self._workers[key]

    def reseed_rng(self) -> None:
        """Reseeds the samplers of the other parameters."""
        self._base_sampler.reseed_rng()
        for worker in self._workers.values():
            worker.configurations.reseed_rng()


def _heartbeat_interval(storage: Any) -> float | None:
    get = getattr(storage, "get_heartbeat_interval", None)
    interval = get() if get is not None else None
    return None if interval is None else float(interval)


def _to_lr(x: float, distribution: FloatDistribution) -> float:
    """The learning rate at x decades; the ends of the range exactly."""
    for end in (distribution.low, distribution.high):
        if abs(math.log10(end) - x) <= SAME_LR:
            return float(end)
    return float(min(max(10.0**x, distribution.low), distribution.high))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False
