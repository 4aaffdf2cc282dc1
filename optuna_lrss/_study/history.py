"""A study's trials as observations of learning-rate curves. The only reader of trials.

Trials are grouped by *configuration*, the values of all parameters except the learning rate:
each configuration has a curve of its own. Finished trials never change, so a history that is
kept reads each of them once, however often it is refreshed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.divergence import divergence_limit


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


#: Study user attributes that StepObjective writes, and that an own objective may write.
BASELINE = "lrss:baseline"
STEPS = "lrss:steps"
MOMENTUM = "lrss:momentum"
LAG = "lrss:lag"
GUESS = "lrss:guess"
#: Trial user attribute of StepObjective: {"steps", "diverged"[, "stderr"]}, and from a factory
#: also {"baseline", "momentum", "lag"}.
TRIAL = "lrss:trial"
#: Trial system attribute of LRStepSampler: {"x", "role", "leader"[, "failed"][, "told"]}. ``x`` is
#: None while a configuration is announced and its learning rate is not chosen; ``failed`` is
#: written when the objective raised or returned NaN, and missing when the worker was killed;
#: ``told`` holds the state and value of a trial after which its worker would end the search.
CLAIM = "lrss:claim"

#: Failed trials at one learning rate that count as divergence: by the objective, by a lost worker.
_FAILURES = 2
_KILLS = 5

#: Stands beside the values of TrialState for a failed trial whose worker was lost.
_LOST = -1

#: More new trials than this are sorted into a curve together.
_MANY = 8
#: Width of a cell that learning rates are looked up by, in decades.
_CELL = 1e-6

Configuration = tuple[tuple[str, Any], ...]
Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Observation(NamedTuple):
    """One finished short trial."""

    number: int
    configuration: Configuration
    lr: float
    state: TrialState
    loss: float  # lower is better; inf = diverged; nan = failed
    steps: int | None
    baseline: float | None
    momentum: float | None  # of the trial's own optimizer, where a factory makes one
    lag: float | None  # the same
    stderr: float | None  # standard error of the validation loss, over the validation set
    leader: int | None  # first trial of the configuration that the sampler had in mind
    role: str | None  # why the sampler proposed this learning rate; None if it did not
    killed: bool  # failed without a word from the objective: its worker was lost
    reports: dict[int, float]  # step -> loss, lower is better
    params: dict[str, Any]
    distributions: dict[str, Any]


class Pending(NamedTuple):
    """A learning rate under way."""

    number: int
    x: float | None  # None: the trial has not asked for its learning rate yet
    configuration: Configuration
    leader: int | None
    started: datetime | None
    committed: bool  # the learning rate is the trial's, not only claimed


class Observations:
    """The finished trials of one configuration.

    Args:
        configuration: Its key.
        leader: Number of the trial that its values come from.
    """

    def __init__(self, configuration: Configuration, leader: int) -> None:
        self.configuration = configuration
        self.leader = leader
        self.items: list[Observation] = []
        self._lr: list[float] = []
        self._loss: list[float] = []
        self._state: list[int] = []
        self._last_step: list[int] = []  # of the reports; -1 without any
        self._horizon = -1  # the last step that a completed trial reported
        self._all_complete = True
        self._plain = LRCurve.from_observations([], [])  # of the first _n_plain trials
        self._n_plain = 0
        self._foreseen: tuple[int, float, float, LRCurve] | None = None  # size, lr, loss, curve
        self._baseline: float | None = None
        self._cells: dict[int, list[float]] = {}  # decades of trials with a loss, by cell
        self._curves: dict[tuple[float | None, bool], LRCurve] = {}
        self._cache: dict[Any, Any] = {}

    def add(self, observation: Observation) -> None:
        """Takes one more finished trial in."""
        self.items.append(observation)
        self._lr.append(observation.lr)
        self._loss.append(observation.loss)
        self._state.append(_LOST if observation.killed else observation.state.value)
        self._last_step.append(max(observation.reports, default=-1))
        if observation.state != TrialState.FAIL:
            x = math.log10(observation.lr)
            self._cells.setdefault(round(x / _CELL), []).append(x)
        if observation.state == TrialState.COMPLETE:
            self._horizon = max(self._horizon, self._last_step[-1])
        self._baseline = observation.baseline if self._baseline is None else self._baseline
        self._curves.clear()
        self._all_complete &= observation.state == TrialState.COMPLETE

    def curve(
        self,
        baseline: float | None = None,
        extra: Observation | None = None,
        *,
        early: bool = False,
    ) -> LRCurve:
        """The curve (cached, since a sampler asks for it in every trial).

        A pruned trial counts as diverged when its last report is beyond the divergence limit
        (the method page, section 6), else with its last report, if that was made at the horizon.
        A failed trial counts for nothing; the second failure at one learning rate counts as
        divergence, so that no search retries for ever. A trial whose worker was killed says
        nothing about its learning rate: it takes five of those.

        Args:
            baseline: Loss of the untrained model, if known.
            extra: An observation to add, of a trial that is being told.
            early: Whether to keep trials that another pruner stopped before the horizon, with
                the loss of that earlier step: tried, but no measurement.
        """
        key = (baseline, early)
        if extra is None and key in self._curves:
            return self._curves[key]
        if self._all_complete and (extra is None or extra.state == TrialState.COMPLETE):
            plain = self._plain_curve()
            if extra is None:
                return plain
            ahead = plain.with_observation(extra.lr, extra.loss)
            self._foreseen = (self._n_plain, extra.lr, extra.loss, ahead)  # likely the next one
            return ahead
        lr, loss, state = self._lr, self._loss, self._state
        last = self._last_step
        if extra is not None:
            lr, loss = [*lr, extra.lr], [*loss, extra.loss]
            state = [*state, _LOST if extra.killed else extra.state.value]
            last = [*last, max(extra.reports, default=-1)]
        horizon = -1 if early else self._horizon
        short = [-1 < step < horizon for step in last] if horizon > 0 else None
        curve = _to_curve(lr, loss, state, baseline, short)
        if extra is None:
            self._curves[key] = curve
        return curve

    def _plain_curve(self) -> LRCurve:
        """The curve while all trials are complete; it takes single new ones in as they come."""
        new = range(self._n_plain, len(self._lr))
        if len(new) > _MANY:
            self._plain = LRCurve.from_observations(self._lr, self._loss)
        else:
            for i in new:
                lr, loss = self._lr[i], self._loss[i]
                if self._foreseen is not None and self._foreseen[:3] == (i, lr, loss):
                    self._plain = self._foreseen[3]
                else:
                    self._plain = self._plain.with_observation(lr, loss)
        self._n_plain = len(self._lr)
        return self._plain

    def curve_of_first(self, n: int, baseline: float | None = None) -> LRCurve:
        """The curve of the first n finished trials."""
        return _to_curve(self._lr[:n], self._loss[:n], self._state[:n], baseline)

    def count_at(self, x: float) -> int:
        """How many trials at x decades finished with a loss."""
        key = round(x / _CELL)
        near = (n for k in (key - 1, key, key + 1) for n in self._cells.get(k, ()))
        return sum(abs(n - x) <= SAME_LR for n in near)

    def params(self, param_name: str) -> dict[str, Any]:
        """Values of the configuration's parameters."""
        return {k: v for k, v in self.items[0].params.items() if k != param_name}

    def cached(self, key: Key, compute: Callable[[Observations, Key], Result]) -> Result:
        """``compute(self, key)``, kept: for figures of trials that no later trial changes."""
        if key not in self._cache:
            self._cache[key] = compute(self, key)
        result: Result = self._cache[key]
        return result

    def copy(self) -> Observations:
        """The same trials, to add others to."""
        new = copy.copy(self)
        for name in ("items", "_lr", "_loss", "_state", "_last_step", "_curves", "_cache"):
            setattr(new, name, getattr(self, name).copy())
        new._cells = {cell: list(xs) for cell, xs in self._cells.items()}
        return new

    @property
    def lowest(self) -> float | None:
        """The lowest finite loss of a completed trial."""
        return min(
            (o.loss for o in self.items if o.state == TrialState.COMPLETE and o.loss < math.inf),
            default=None,
        )

    @property
    def rank(self) -> tuple[bool, float]:
        """The smallest is the best configuration, as ``analyze`` takes it by default.

        With three finite losses a curve can have a window: those go before ones that cannot;
        then the lowest loss.
        """
        lowest = self.lowest
        finite = int(self.curve().finite.sum())
        return finite < 3, math.inf if lowest is None else lowest

    @property
    def baseline(self) -> float | None:
        """Baseline that the configuration's own trials carry (``StepObjective.from_factory``)."""
        return self._baseline


def _to_curve(
    lrs: list[float],
    losses: list[float],
    states: list[int],
    baseline: float | None,
    early: list[bool] | None = None,
) -> LRCurve:
    lr, loss, state = np.asarray(lrs), np.asarray(losses), np.asarray(states)
    complete, pruned = state == TrialState.COMPLETE.value, state == TrialState.PRUNED.value
    if baseline is not None and pruned.any():
        known = loss[complete & np.isfinite(loss)]
        limit = divergence_limit(baseline, float(known.min()) if known.size else None)
        loss = np.where(pruned & (loss > limit), np.inf, loss)
    if early is not None and pruned.any():
        kept = ~(pruned & np.asarray(early) & np.isfinite(loss))
        lr, loss, state = lr[kept], loss[kept], state[kept]
    lost = state == _LOST
    failed = (state == TrialState.FAIL.value) | lost
    if failed.any():
        share = np.where(lost, 1.0 / _KILLS, 1.0 / _FAILURES)
        given_up = _failed_for_good(lr[failed], share[failed], lr[~failed])
        lr = np.concatenate([lr[~failed], given_up])
        loss = np.concatenate([loss[~failed], np.full(given_up.size, np.inf)])
    return LRCurve.from_observations(lr, loss)


def _failed_for_good(failed: FloatArray, share: FloatArray, alive: FloatArray) -> FloatArray:
    """Learning rates that failed too often (shares sum to 1) and never gave a loss."""
    order = np.argsort(failed)
    x, living = np.log10(failed[order]), np.log10(alive)
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) > SAME_LR)
    often = x[starts][np.add.reduceat(share[order], starts) > 1.0 - 1e-9]
    lost = [t for t in often if not living.size or np.min(np.abs(living - t)) > SAME_LR]
    return np.asarray(10.0 ** np.asarray(lost), dtype=float)


class StudyHistory:
    """Observations and pending trials of one study, refreshed incrementally.

    Args:
        param_name: Name of the learning rate.
    """

    def __init__(self, param_name: str) -> None:
        self.param_name = param_name
        self.curves: dict[Configuration, Observations] = {}
        self.pending: list[Pending] = []
        self.told: list[Observation] = []  # of trials under way whose result is announced
        self.n_reopened = 0  # configurations that were proposed again
        self.n_finished = 0
        self.n_without_lr = 0
        self.longest = 0.0  # seconds
        self._seen = 0
        self._open: list[int] = []
        self._direction = StudyDirection.MINIMIZE

    @property
    def is_nested(self) -> bool:
        """Whether the trials have parameters beside the learning rate."""
        return any(self.curves)

    def refresh(self, study: Study) -> StudyHistory:
        """Reads the trials that are new or were unfinished at the last reading."""
        # The storage is asked directly: under HyperbandPruner `study` is one bracket's view.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        self._direction = study.direction
        fresh = [trials[n] for n in self._open] + trials[self._seen :]
        self._seen = len(trials)
        self._open = [t.number for t in fresh if not t.state.is_finished()]
        for trial in fresh:
            if trial.state.is_finished():
                self._ingest(trial)
        unfinished = [t for t in fresh if not t.state.is_finished()]
        self.pending = [p for t in unfinished if (p := self._pending(t)) is not None]
        self.told = [o for t in unfinished if (o := self._told(t)) is not None]
        return self

    def foresee(self, told: Iterable[Observation]) -> StudyHistory:
        """The history as it will be when trials that are being told are in the storage."""
        ahead = copy.copy(self)
        ahead.curves = dict(self.curves)
        for observation in told:
            key = observation.configuration
            if key in ahead.curves:
                ahead.curves[key] = ahead.curves[key].copy()
            ahead._take(observation)
            ahead.pending = [p for p in ahead.pending if p.number != observation.number]
        return ahead

    def _ingest(self, trial: FrozenTrial) -> None:
        self.n_finished += 1
        observation = observe(trial, self.param_name, self._direction)
        if observation is None:
            self.n_without_lr += 1
            return
        self._take(observation)
        if trial.duration is not None:
            self.longest = max(self.longest, trial.duration.total_seconds())

    def _take(self, observation: Observation) -> None:
        key = observation.configuration
        known = self.curves.get(key)
        if known is not None and observation.leader == observation.number != known.leader:
            self.n_reopened += 1
        if key not in self.curves:
            taken = {c.leader for c in self.curves.values()}
            leader = observation.leader
            if leader is None or leader in taken:
                leader = observation.number
            self.curves[key] = Observations(key, leader)
        self.curves[key].add(observation)

    def _told(self, trial: FrozenTrial) -> Observation | None:
        claim = trial.system_attrs.get(CLAIM)
        if not isinstance(claim, dict) or "told" not in claim:
            return None
        state, value = claim["told"]
        values = None if value is None else [value]
        return observe(trial, self.param_name, self._direction, (TrialState[state], values))

    def _pending(self, trial: FrozenTrial) -> Pending | None:
        fixed = trial.system_attrs.get("fixed_params", {})
        claim = trial.system_attrs.get(CLAIM)
        lr = trial.params.get(self.param_name, fixed.get(self.param_name))
        leader = None
        distribution = trial.distributions.get(self.param_name)
        if distribution is not None and not getattr(distribution, "log", False):
            return None
        committed = isinstance(lr, (int, float))
        if isinstance(claim, dict):
            leader = claim.get("leader")
            if lr is None and claim.get("x") is not None:
                lr = 10.0 ** claim["x"]
        if trial.state == TrialState.WAITING and lr is None:
            return None
        x = math.log10(lr) if isinstance(lr, (int, float)) and lr > 0 else None
        params = {**fixed, **trial.params}
        key = configuration_of(params, self.param_name)
        return Pending(trial.number, x, key, leader, trial.datetime_start, committed)


def observe(
    trial: FrozenTrial,
    param_name: str,
    direction: StudyDirection,
    result: tuple[TrialState, Sequence[float] | None] | None = None,
) -> Observation | None:
    """A trial as an observation.

    Args:
        trial: A trial.
        param_name: Name of the learning rate.
        direction: The study's; losses of a maximised study are the negative values.
        result: State and values that the trial is about to get (``after_trial``); ``None`` takes
            what it holds.

    Returns:
        The observation, or ``None`` where the trial has no log-scaled learning rate.
    """
    lr = trial.params.get(param_name)
    distribution = trial.distributions.get(param_name)
    if lr is None or not isinstance(distribution, FloatDistribution) or not distribution.log:
        return None
    state, values = result if result is not None else (trial.state, trial.values)
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    value = values[0] if values else None
    if state == TrialState.FAIL:
        loss = math.nan
    elif value is None and state == TrialState.PRUNED and trial.intermediate_values:
        loss = sign * trial.intermediate_values[max(trial.intermediate_values)]
    else:
        loss = math.inf if value is None else sign * value
    if state != TrialState.FAIL and not math.isfinite(loss):
        loss = math.inf
    claim = trial.system_attrs.get(CLAIM)
    claim = claim if isinstance(claim, dict) else {}
    # A trial that is being told now was not lost, whatever its attributes say.
    killed = state == TrialState.FAIL and result is None and bool(claim) and "failed" not in claim
    info = trial.user_attrs.get(TRIAL)
    info = info if isinstance(info, dict) else {}
    return Observation(
        number=trial.number,
        configuration=configuration_of(trial.params, param_name),
        lr=float(lr),
        state=state,
        loss=loss,
        steps=info.get("steps"),
        baseline=info.get("baseline"),
        momentum=info.get("momentum"),
        lag=info.get("lag"),
        stderr=info.get("stderr"),
        leader=claim.get("leader"),
        role=_role(claim, float(lr)),
        killed=killed,
        reports={k: sign * v for k, v in trial.intermediate_values.items()},
        params=trial.params,
        distributions=trial.distributions,
    )


def _role(claim: dict[str, Any], lr: float) -> str | None:
    """The claim's role, if the trial ran at the learning rate that it claimed."""
    x = claim.get("x")
    if x is None or abs(math.log10(lr) - x) > SAME_LR:
        return None
    return str(claim.get("role", "coarse"))


def snapshot_steps(observations: Observations) -> list[int]:
    """Steps that at least three trials have reported a loss at, ascending."""
    counts: dict[int, int] = {}
    for observation in observations.items:
        for step in observation.reports:
            counts[step] = counts.get(step, 0) + 1
    return sorted(step for step, count in counts.items() if count >= 3)


def at_step(observations: Observations, step: int) -> Observations:
    """The same trials with the losses that they reported at one step.

    A trial that diverged before that step counts as diverged; one that never reported there is
    left out.

    Raises:
        ValueError: If no trial has a report at ``step``.
    """
    known = snapshot_steps(observations)
    if not any(step in o.reports for o in observations.items):
        raise ValueError(
            f"step={step!r} was never reported; reported steps: {known}. Let the objective call "
            "trial.report(loss, step) there, or pass snapshots=... to StepObjective."
        )
    view = Observations(observations.configuration, observations.leader)
    for o in observations.items:
        if step in o.reports:
            loss = o.reports[step] if math.isfinite(o.reports[step]) else math.inf
            view.add(o._replace(loss=loss, state=TrialState.COMPLETE))
        elif o.loss == math.inf or o.state == TrialState.PRUNED:
            view.add(o._replace(loss=math.inf, state=TrialState.COMPLETE))
        elif o.state == TrialState.FAIL:
            view.add(o)
    return view


def baseline_of(study: Study, trial: FrozenTrial | None = None) -> float | None:
    """The stored loss of the untrained model, as a loss to be minimised.

    Args:
        study: The study.
        trial: A trial whose own baseline goes before the study's.
    """
    value = None
    if trial is not None and isinstance(info := trial.user_attrs.get(TRIAL), dict):
        value = info.get("baseline")
    if value is None:
        # The storage is asked: under HyperbandPruner `study` has no user attributes.
        value = study._storage.get_study_user_attrs(study._study_id).get(BASELINE)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return -float(value) if study.direction == StudyDirection.MAXIMIZE else float(value)


def configuration_of(params: dict[str, Any], param_name: str) -> Configuration:
    """Values of all parameters except the learning rate, as a hashable key.

    Floats are rounded to 12 digits, so that a database with other precision does not split a
    configuration.
    """
    items = ((k, v) for k, v in sorted(params.items()) if k != param_name)
    return tuple((k, float(f"{v:.12g}") if isinstance(v, float) else v) for k, v in items)


def repeat_index(
    trial: Trial | FrozenTrial, *, param_name: str = "lr", study: Study | None = None
) -> int:
    """Which repeat of its learning rate a short trial is: 0 for the first.

    Repeat k of every learning rate is to use the same seed k and the same batches, so that
    comparisons between learning rates stay paired.

    Args:
        trial: The running trial; its learning rate has been suggested.
        param_name: Name of the learning rate.
        study: The study, where ``trial`` is a FrozenTrial, which does not know it.

    Returns:
        Number of earlier trials with the same parameters that finished with a loss or are running.

    Raises:
        ValueError: If the trial has no learning rate yet, or its study is unknown.
    """
    study = study if study is not None else getattr(trial, "study", None)
    if study is None:
        raise ValueError("study=None: repeat_index needs the study of a FrozenTrial.")
    if param_name not in trial.params:
        raise ValueError(
            f"param_name={param_name!r} has no value in trial {trial.number} yet: call "
            f"trial.suggest_float({param_name!r}, low, high, log=True) first."
        )
    mine = configuration_of(trial.params, param_name)
    x = math.log10(trial.params[param_name])
    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    earlier = study.get_trials(deepcopy=False, states=counted)
    return sum(
        t.number < trial.number
        and param_name in t.params
        and abs(math.log10(t.params[param_name]) - x) <= SAME_LR
        and configuration_of(t.params, param_name) == mine
        for t in earlier
    )
