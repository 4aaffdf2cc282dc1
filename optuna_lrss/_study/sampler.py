"""LRStepSampler: the search for a learning rate as an Optuna sampler."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import threading
import time
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING
from typing import Any
from weakref import WeakKeyDictionary

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.search import STRATEGIES
from optuna_lrss._method.search import Proposal
from optuna_lrss._study.arguments import checked_distribution
from optuna_lrss._study.arguments import checked_points
from optuna_lrss._study.arguments import checked_start
from optuna_lrss._study.arguments import require_count
from optuna_lrss._study.arguments import require_positive
from optuna_lrss._study.configurations import ConfigurationSearch
from optuna_lrss._study.configurations import outcome_of
from optuna_lrss._study.history import CLAIM
from optuna_lrss._study.history import Configuration
from optuna_lrss._study.history import Observation
from optuna_lrss._study.history import Observations
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.history import baseline_of
from optuna_lrss._study.history import configuration_of
from optuna_lrss._study.history import observe
from optuna_lrss._study.search import CurveSearch
from optuna_lrss._study.search import Settings
from optuna_lrss._study.view import Plan
from optuna_lrss._study.view import View
from optuna_lrss._study.view import is_same
from optuna_lrss._study.warm_start import narrowed
from optuna_lrss._study.warm_start import nearest_window


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_lrss._result.lr_analysis import LRAnalysis


_logger = logging.getLogger(__name__)

#: A claim that another worker holds too is given up and made anew, at most this many times.
_CLAIM_ATTEMPTS = 64
#: Configurations after the first are resolved within this many tolerances, enough to compare them.
_LATER_TOLERANCE = 2.0
#: How long to watch whether a worker with an equal claim gives way, in seconds.
_YIELD_SECONDS = 0.5
#: How long to wait for the values of a configuration that another worker is opening, in seconds.
_LEADER_SECONDS = 1.0


#: What belongs to one process and is built anew after unpickling.
_PROCESS_STATE = (
    "_lock",
    "_histories",
    "_baselines",
    "_inner",
    "_plans",
    "_resolved",
    "_own",
    "_silent",
    "_patience",
    "_warned",
)


class LRStepSampler(BaseSampler):
    """Chooses learning rates for short trials until every point of interest is known.

    Each trial trains a fixed small number of steps at ``trial.suggest_float("lr", low, high,
    log=True)`` from the same initial weights on the same batches and returns the validation
    loss. The sampler looks at the losses so far and proposes the learning rate that tells most
    about the viable window and the picks (paper, section 3.3). ``study.optimize(objective)``
    stops by itself when all of them are known within the tolerance. Everything the sampler knows
    comes from the storage: threads, processes and restarts continue the same search.

    Example:
        .. code-block:: python

            study = optuna.create_study(sampler=LRStepSampler(), pruner=LRStepPruner())
            study.optimize(objective)
            print(analyze(study))

    Args:
        param_name: Name of the learning rate in the objective.
        coarse_step: Spacing of the first look, in decades.
        tolerance: How well the points of interest are to be known, in decades.
        points: The points to refine, any of ``"min_lr"``, ``"max_lr"``, ``"half_loss"``,
            ``"steepest"``; ``None`` for all.
        strategy: ``"frugal"`` looks where something is to be learned; ``"paper"`` evaluates the
            full coarse grid and both neighbours of every point (paper, section 3.3).
        repeats: Most evaluations of one learning rate. Above 1, learning rates that noise leaves
            undecided are evaluated again; see :func:`optuna_lrss.repeat_index`.
        base_sampler: Samples all other parameters; default TPE. With other parameters each
            configuration gets a curve of its own, one after the other.
        start: Where to begin: an earlier :class:`~optuna_lrss.LRAnalysis`, an interval
            ``(low, high)`` or a learning rate. The search expands when it was wrong.
        max_configurations: With other parameters, stop after this many resolved configurations
            (one that the base sampler proposes again counts again); ``None`` goes on until
            ``n_trials`` or ``timeout``.
        grace_period: A trial that is running for longer than this, in seconds, and for ten times
            as long as any trial took, is taken for dead: its learning rate is given to another
            worker. When nothing else is left to do, a tenth of it and three times as long.
        seed: Seed of the default base sampler. The search for the learning rate has no
            randomness.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        param_name: str = "lr",
        coarse_step: float = 0.5,
        tolerance: float = 0.1,
        points: Iterable[str] | None = None,
        strategy: str = "frugal",
        repeats: int = 1,
        base_sampler: BaseSampler | None = None,
        start: LRAnalysis | tuple[float, float] | float | None = None,
        max_configurations: int | None = None,
        grace_period: float = 60.0,
        seed: int | None = None,
    ) -> None:
        require_positive("coarse_step", coarse_step, "a spacing in decades, such as 0.5")
        require_positive("tolerance", tolerance, "a width in decades, such as 0.1")
        if tolerance > coarse_step:
            raise ValueError(
                f"tolerance={tolerance!r} is above coarse_step={coarse_step!r}: the first look "
                "would already be finer than asked for; lower the tolerance."
            )
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy={strategy!r} is unknown: use one of {sorted(STRATEGIES)}.")
        require_count("repeats", repeats)
        require_count("max_configurations", max_configurations)
        require_positive("grace_period", grace_period, "a time in seconds, such as 60")
        self._param_name = param_name
        self._grace_period = float(grace_period)
        self._settings = Settings(
            coarse_step=float(coarse_step),
            tolerance=float(tolerance),
            points=checked_points(points),
            strategy=strategy,
            repeats=int(repeats),
        )
        self._start = checked_start(start)
        self._max_configurations = max_configurations
        self._base_sampler = base_sampler if base_sampler is not None else TPESampler(seed=seed)
        self._template = copy.deepcopy(self._base_sampler)
        self._reset_process_state()

    def _reset_process_state(self) -> None:
        self._lock = threading.RLock()
        self._histories: dict[tuple[int, int], tuple[Any, StudyHistory]] = {}
        self._baselines: dict[tuple[int, int], float | None] = {}
        self._inner: dict[tuple[int, int], ConfigurationSearch] = {}
        self._plans: dict[tuple[int, int, int], Plan] = {}
        self._resolved: WeakKeyDictionary[Observations, tuple[Any, bool]] = WeakKeyDictionary()
        self._own: set[tuple[int, int, int]] = set()
        self._silent: set[tuple[int, int, int]] = set()
        self._patience = _LEADER_SECONDS
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in _PROCESS_STATE:
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset_process_state()

    def reseed_rng(self) -> None:
        """Reseeds the base sampler; the search for the learning rate has no randomness."""
        with self._lock:
            self._base_sampler.reseed_rng()
            self._template.reseed_rng()
            for inner in self._inner.values():
                inner.reseed_rng()

    def is_resolved(self, study: Study) -> bool:
        """Whether every point of interest is known within the tolerance, for ask-and-tell loops.

        With other parameters: whether that holds for every configuration tried, and there are
        ``max_configurations`` of them if that is given.

        Args:
            study: The study.

        Raises:
            ValueError: If the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        with self._lock:
            return self._all_resolved(self._view(study))

    # --- Optuna's interface -------------------------------------------------------------------

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passes on to the base sampler where no learning rate is in play."""
        with self._lock:
            if self._delegates(study, trial):
                self._base_sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The base sampler's space where no learning rate is in play, else empty."""
        self._raise_error_if_multi_objective(study)
        with self._lock:
            if not self._delegates(study, trial):
                return {}
            space = self._base_sampler.infer_relative_search_space(study, trial)
        return {k: v for k, v in space.items() if k != self._param_name}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Passes on to the base sampler."""
        self._raise_error_if_multi_objective(study)
        space = {k: v for k, v in search_space.items() if k != self._param_name}
        return self._base_sampler.sample_relative(study, trial, space) if space else {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The next learning rate, or another parameter's value in the trial's configuration.

        Raises:
            ValueError: If the study has several objectives, or the learning rate is not a
                log-scaled float.
        """
        self._raise_error_if_multi_objective(study)
        if param_name == self._param_name:
            distribution = checked_distribution(param_name, param_distribution)
            return self._sample_lr(study, trial, distribution)
        return self._sample_other(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stops ``optimize`` when every point of interest is known."""
        with self._lock:
            plan = self._plans.pop(_trial_key(study, trial), None)
            if plan is None or plan.delegate:
                self._base_sampler.after_trial(study, trial, state, values)
            if state == TrialState.FAIL:
                self._mark_failed(study, trial)
            last = observe(trial, self._param_name, study.direction, (state, values))
            if last is None:
                self._warn_without_lr(trial, state)
                return
            if self._is_last(study, trial, last):
                # Outside optimize (ask-and-tell) there is no loop to stop: see is_resolved.
                with contextlib.suppress(RuntimeError):
                    study.stop()

    def _mark_failed(self, study: Study, trial: FrozenTrial) -> None:
        """Notes that the objective failed; a killed worker leaves no such note."""
        if isinstance(trial.system_attrs.get(CLAIM), dict):
            self._add_to_claim(study, trial, failed=True)

    def _add_to_claim(self, study: Study, trial: FrozenTrial, **entries: Any) -> None:
        storage = study._storage
        claim = storage.get_trial_system_attrs(trial._trial_id).get(CLAIM, {})
        storage.set_trial_system_attr(trial._trial_id, CLAIM, {**claim, **entries})

    def _is_last(self, study: Study, trial: FrozenTrial, last: Observation) -> bool:
        """Whether the search ends with a trial that is being told, and not in the storage yet.

        Two workers that tell their trials at the same moment would not know of each other's, and
        together these can leave open what each alone resolves. So a worker that would stop while
        others are at work announces its result and then reads theirs: the last one to announce
        sees all.
        """
        view = self._view(study, trial)
        if not self._all_resolved(view, last):
            return False
        if not view.alive(trial):
            return True
        value = last.loss if study.direction == StudyDirection.MINIMIZE else -last.loss
        told = [last.state.name, value if math.isfinite(value) else None]
        self._add_to_claim(study, trial, told=told)
        view = self._view(study, trial)
        others = [o for o in view.history.told if o.number != trial.number]
        return self._all_resolved(view, last, others)

    def _delegates(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trials so far, of which there are some, never suggest a learning rate."""
        key = _trial_key(study, trial)
        if key in self._plans:
            return self._plans[key].delegate
        known = self._histories.get(key[:2])
        if known is not None and known[1].curves:
            return False  # without asking the storage: curves do not vanish
        history = self._history(study)
        if history.n_finished == 0 or history.curves:
            return False
        if any(p.x is not None for p in history.pending if p.number < trial.number):
            return False
        self._plans[key] = Plan(trial.number, delegate=True)
        return True

    # --- The learning rate --------------------------------------------------------------------

    def _sample_lr(
        self, study: Study, trial: FrozenTrial, distribution: FloatDistribution
    ) -> float:
        """Claims the most urgent learning rate that no other worker has.

        Every worker writes its claim and then reads all of them. Of two equal claims one at least
        is always seen, since each is written before it is compared: nobody goes on with a claim
        that it saw twice.
        """
        for _ in range(_CLAIM_ATTEMPTS):
            with self._lock:
                view = self._view(study, trial)
                plan = self._plan(view, trial, self._param_name)
                key = _key(plan, trial, self._param_name)
                curve = view.curve_of(plan, key)
                opened = plan.leader == trial.number and not plan.given
                if curve is not None and not opened:
                    plan.leader = curve.leader
                proposal = self._proposal(view, plan, key, trial, distribution)
                before = view.count(proposal.x, plan, key, trial)
                self._claim(study, trial, plan, proposal)
            if self._is_mine(study, trial, plan, proposal, before):
                break
        return _to_lr(proposal.x, distribution)

    def _proposal(
        self,
        view: View,
        plan: Plan,
        key: Configuration,
        trial: FrozenTrial,
        distribution: FloatDistribution,
    ) -> Proposal:
        """What to try next, beside what the other workers have under way."""
        search = self._curve_search(
            view, view.curve_of(plan, key), distribution, params=dict(key), full=plan.full
        )
        rivals = view.rivals(plan, key, trial)
        # Those that asked earlier and have no learning rate yet take the first places.
        rank = sum(p.x is None and p.number < trial.number for p in rivals)
        order = search.proposals([p.x for p in rivals if p.x is not None])
        proposal = next(islice(order, rank, None))
        if proposal.needed or not rivals:
            return proposal
        # Nothing useful is left but what others hold: see whether one of them is overdue.
        prompt = [p.x for p in view.rivals(plan, key, trial, overdue=False) if p.x is not None]
        taken_over = next(search.proposals(prompt))
        return taken_over if taken_over.needed else proposal

    def _claim(
        self, study: Study, trial: FrozenTrial, plan: Plan, proposal: Proposal | None
    ) -> None:
        """Writes what the trial is for, for the other workers; without a proposal, its leader."""
        claim: dict[str, Any] = {"x": None, "role": "open", "leader": plan.leader}
        if proposal is not None:
            claim.update(x=proposal.x, role=proposal.role)
        study._storage.set_trial_system_attr(trial._trial_id, CLAIM, claim)

    def _is_mine(
        self, study: Study, trial: FrozenTrial, plan: Plan, proposal: Proposal, before: int
    ) -> bool:
        """Whether nobody else took the learning rate between the look and the claim.

        The lower trial number keeps it, once the other was seen to give way; whoever sees an
        equal claim of a lower number, or that the other did not see this one, gives way itself.
        """
        deadline = time.monotonic() + _YIELD_SECONDS
        while True:
            with self._lock:
                view = self._view(study, trial)
                key = _key(plan, trial, self._param_name)
                if view.count(proposal.x, plan, key, trial) <= before:
                    return True
                same = [p for p in view.rivals(plan, key, trial) if is_same(p.x, proposal.x)]
            if any(p.committed or p.number < trial.number for p in same) or not same:
                return False
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)

    def _curve_search(
        self,
        view: View,
        observations: Observations | None,
        distribution: FloatDistribution,
        *,
        extra: Observation | None = None,
        params: dict[str, Any] | None = None,
        full: bool = False,
    ) -> CurveSearch:
        """The search over one curve.

        Configurations after the first are searched around the window of the one most like them
        and resolved within twice the tolerance: enough to compare them. ``full`` searches like
        the first one.
        """
        start, settings = self._start, self._settings
        window = None if full else self._known_window(view, observations, params)
        if window is not None:
            start = window
            tolerance = min(_LATER_TOLERANCE * settings.tolerance, settings.coarse_step)
            settings = replace(settings, tolerance=tolerance)
            baseline, curve = view.baseline, Observations((), 0)
            if observations is not None:
                curve = observations
                baseline = baseline if curve.baseline is None else curve.baseline
            distribution = narrowed(curve.curve(baseline, extra), baseline, window, distribution)
        return CurveSearch(settings, observations, distribution, view.baseline, start, extra)

    def _known_window(
        self, view: View, observations: Observations | None, params: dict[str, Any] | None
    ) -> tuple[float, float] | None:
        """The window of the earlier configuration most like this one."""
        if not view.history.is_nested:
            return None
        leader = math.inf
        if observations is not None:
            leader = observations.leader
            if observations.items:
                params = observations.params(self._param_name)
        earlier = [c for c in view.history.curves.values() if c.leader < leader]
        return nearest_window(earlier, params or {}, self._param_name, view.baseline)

    # --- Other parameters ---------------------------------------------------------------------

    def _sample_other(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        with self._lock:
            view = self._view(study, trial)
            plan = self._plan(view, trial, name)
            if plan.delegate:
                return self._base_sampler.sample_independent(study, trial, name, distribution)
        if plan.leader != trial.number and plan.params is None:
            self._await_leader(study, trial, plan, name)
        known = {**(plan.params or {}), **plan.copied}
        if name in known and _contains(distribution, known[name]):
            return known[name]
        with self._lock:
            return self._configurations(view).ask(trial.number, name, distribution)

    def _await_leader(self, study: Study, trial: FrozenTrial, plan: Plan, name: str) -> None:
        """Reads a parameter from the trial that opened the configuration.

        That trial is suggesting its parameters just now, so the value is there in a moment. If
        it is not, its worker is gone or busy, and this trial opens a configuration of its own.
        """
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(
            study._study_id, plan.leader
        )
        if plan.deadline is None:
            plan.deadline = time.monotonic() + self._patience
            asked = self._plans.get((id(study._storage), study._study_id, plan.leader))
            if asked is not None and asked.thread == plan.thread:
                plan.deadline = 0.0  # the one that is waited for would have to go on first
        while True:
            leader = study._storage.get_trial(trial_id)
            if name in leader.params:
                plan.copied[name] = leader.params[name]
                self._patience = _LEADER_SECONDS
                return
            if leader.state.is_finished() or time.monotonic() > plan.deadline:
                with self._lock:
                    self._patience /= 10.0
                    self._silent.add((id(study._storage), study._study_id, plan.leader))
                    plan.leader, plan.params = trial.number, {}
                    self._claim(study, trial, plan, None)
                return
            time.sleep(0.01)

    def _plan(self, view: View, trial: FrozenTrial, first: str) -> Plan:
        """Decides once per trial which configuration it serves."""
        key = _trial_key(view.study, trial)
        if key not in self._plans:
            self._plans[key] = self._new_plan(view, trial, first)
            self._own.add(key)
        return self._plans[key]

    def _new_plan(self, view: View, trial: FrozenTrial, first: str) -> Plan:
        if _given(trial, self._param_name):
            return Plan(trial.number, params={}, given=True)
        curves = list(view.history.curves.values())
        if curves and not view.history.is_nested:
            return Plan(curves[-1].leader, params={})  # there is one curve to go on with
        open_curves = [c for c in curves if not self._is_curve_resolved(view, c)]
        for curve in open_curves:
            if self._needs_more(view, curve, trial):
                return Plan(curve.leader, params=curve.params(self._param_name))
        nested = view.history.is_nested or (not curves and first != self._param_name)
        if nested and not self._is_limit_reached(view):
            return self._open_configuration(view, trial)
        if curves:
            best = None if open_curves else self._best(view)
            last = open_curves[0] if open_curves else best or curves[-1]
            return Plan(last.leader, last.params(self._param_name), full=best is not None)
        return Plan(min([p.number for p in view.alive(trial)] + [trial.number]))

    def _open_configuration(self, view: View, trial: FrozenTrial) -> Plan:
        """Joins a configuration that another worker has just opened, or opens one."""
        plan = self._joined(view, trial)
        if plan is not None:
            return plan
        plan = Plan(trial.number, params={})
        self._claim(view.study, trial, plan, None)
        # Of workers that open one at the same moment, the first is followed by the others.
        other = self._joined(self._view(view.study, trial), trial)
        if other is not None and other.leader < trial.number:
            self._claim(view.study, trial, other, None)
            return other
        return plan

    def _joined(self, view: View, trial: FrozenTrial) -> Plan | None:
        leaders = {c.leader for c in view.history.curves.values()}
        for p in sorted(view.alive(trial), key=lambda p: p.number):
            opened = p.leader == p.number and p.number not in leaders
            key = (id(view.study._storage), view.study._study_id, p.number)
            if not opened or key in self._silent:
                continue
            if self._has_room(view, p.number, trial):
                return Plan(p.number)
        return None

    def _has_room(self, view: View, leader: int, trial: FrozenTrial) -> bool:
        """Whether a curve without results yet can use one more worker."""
        known = [c.items[-1] for c in view.history.curves.values()]
        if not known:
            return True
        pending = [p.x for p in view.alive(trial) if p.leader == leader and p.x is not None]
        search = self._curve_search(view, None, _range_of(known[-1], self._param_name))
        return search.needs_more(pending)

    def _is_limit_reached(self, view: View) -> bool:
        """Whether no further configuration is to be opened."""
        inner = self._inner.get((id(view.study._storage), view.study._study_id))
        if inner is not None and inner.exhausted:
            return True
        if self._max_configurations is None:
            return False
        n = len(view.history.curves) + len(self._opened(view)) + view.history.n_reopened
        return n >= self._max_configurations

    def _opened(self, view: View) -> set[int]:
        """Trials under way that opened a configuration of which no result is known yet."""
        leaders = {c.leader for c in view.history.curves.values()}
        alive = view.alive(overdue=False)
        return {p.number for p in alive if p.leader == p.number} - leaders

    def _configurations(self, view: View) -> ConfigurationSearch:
        """The base sampler's study of configurations, up to date."""
        key = (id(view.study._storage), view.study._study_id)
        if key not in self._inner:
            self._inner[key] = ConfigurationSearch(self._template, self._param_name)
        inner = self._inner[key]
        opened = {c.leader for c in view.history.curves.values()} | self._opened(view)
        inner.see_foreign({n for n in opened if (*key, n) not in self._own})
        inner.known = set(view.history.curves)
        inner.known.update(p.configuration for p in view.history.pending)
        for curve in view.history.curves.values():
            if curve.configuration and self._is_curve_resolved(view, curve):
                inner.tell(curve, outcome_of(curve, view.baseline))
        return inner

    # --- The state of the search --------------------------------------------------------------

    def _history(self, study: Study) -> StudyHistory:
        key = (id(study._storage), study._study_id)
        if key not in self._histories:
            # The storage is kept alive with its history: ids of dead objects are used again.
            self._histories[key] = (study._storage, StudyHistory(self._param_name))
        return self._histories[key][1].refresh(study)

    def _view(self, study: Study, trial: FrozenTrial | None = None) -> View:
        now = None if trial is None else trial.datetime_start
        key = (id(study._storage), study._study_id)
        if self._baselines.get(key) is None:
            self._baselines[key] = baseline_of(study)  # written once, so it is read once
        return View(
            study=study,
            history=self._history(study),
            baseline=self._baselines[key],
            # A storage server's clock, not this machine's, is in the trials: so its own start.
            now=now if now is not None else datetime.now(),
            grace_period=self._grace_period,
        )

    def _all_resolved(
        self, view: View, last: Observation | None = None, others: Sequence[Observation] = ()
    ) -> bool:
        """Whether nothing is left to do, once the trials that are being told are known too."""
        told = [*others] if last is None else [last, *others]
        extra = None
        if len(told) == 1 and not told[0].configuration and not view.history.is_nested:
            extra = last  # the common case, for which nothing is copied
        elif told:
            view = replace(view, history=view.history.foresee(told))
        curves = list(view.history.curves.values())
        if not curves and extra is not None:
            curves = [Observations(extra.configuration, extra.number)]
        if not curves:
            return False
        if view.history.is_nested:
            endless = self._max_configurations is None and last is None
            if not endless and not self._is_limit_reached(view):
                return False  # optimize goes on to the next configuration
            if self._opened(view):
                return False  # another worker has just opened one
        # With max_configurations the best of them is resolved as finely as the first.
        best = self._best(view) if self._max_configurations is not None else None
        return all(self._is_curve_resolved(view, c, extra, full=c is best) for c in curves)

    def _best(self, view: View) -> Observations | None:
        """The configuration that ``analyze`` takes by default; ``None`` if not nested."""
        if not view.history.is_nested:
            return None
        return min(view.history.curves.values(), key=lambda c: c.rank, default=None)

    def _is_curve_resolved(
        self,
        view: View,
        curve: Observations,
        extra: Observation | None = None,
        *,
        full: bool = False,
    ) -> bool:
        # A later configuration is searched around the windows of those before it.
        version = (len(curve.items), view.baseline, full, view.n_before(curve))
        known = self._resolved.get(curve)
        if extra is None and known is not None and known[0] == version:
            return known[1]
        distribution = _range_of(extra if extra is not None else curve.items[-1], self._param_name)
        params = None if extra is None else dict(extra.configuration)
        search = self._curve_search(
            view, curve, distribution, extra=extra, params=params, full=full
        )
        resolved = search.is_resolved()
        if extra is None:
            self._resolved[curve] = (version, resolved)
        return resolved

    def _needs_more(self, view: View, curve: Observations, trial: FrozenTrial) -> bool:
        """Whether a useful learning rate of the curve is neither known nor under way."""
        distribution = _range_of(curve.items[-1], self._param_name)
        rivals = view.rivals(Plan(curve.leader), curve.configuration, trial)
        pending = [p.x for p in rivals if p.x is not None]
        return self._curve_search(view, curve, distribution).needs_more(pending)

    def _warn_without_lr(self, trial: FrozenTrial, state: TrialState) -> None:
        if self._warned or state != TrialState.COMPLETE:
            return
        self._warned = True
        name = self._param_name
        _logger.warning(
            "Trial %d never asked for the learning rate %r, so LRStepSampler has nothing to "
            "search and will not stop by itself. Write trial.suggest_float(%r, 1e-7, 10, "
            "log=True) in the objective, or pass param_name=... if it has another name.",
            trial.number,
            name,
            name,
        )


def _trial_key(study: Study, trial: FrozenTrial) -> tuple[int, int, int]:
    return id(study._storage), study._study_id, trial.number


def _given(trial: FrozenTrial, param_name: str) -> dict[str, Any]:
    """Other parameters that were set for the trial: enqueued, or kept from a lost trial."""
    fixed = trial.system_attrs.get("fixed_params", {})
    kept = {k: v for k, v in trial.params.items() if not trial.distributions[k].single()}
    return {k: v for k, v in {**fixed, **kept}.items() if k != param_name}


def _key(plan: Plan, trial: FrozenTrial, param_name: str) -> Configuration:
    """The configuration of a running trial, as far as it is known."""
    fixed = trial.system_attrs.get("fixed_params", {})
    known = {**(plan.params or {}), **plan.copied, **fixed, **trial.params}
    return configuration_of(known, param_name)


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


def _range_of(observation: Observation, param_name: str) -> FloatDistribution:
    distribution = observation.distributions[param_name]
    if not isinstance(distribution, FloatDistribution):
        raise ValueError(f"{param_name!r} is not a float in trial {observation.number}.")
    return distribution
