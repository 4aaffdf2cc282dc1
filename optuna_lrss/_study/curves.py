"""Finished trials of one configuration as a learning-rate curve.

Trials are grouped by *configuration*, the values of all parameters except the learning rate:
each configuration has a curve of its own.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from typing import Any
from typing import TypeVar

import numpy as np
from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.keys import others_of
from optuna_lrss._study.trials import Observation


#: Failed trials at one learning rate that count as divergence: by the objective, by a lost worker.
_FAILURES = 2
_KILLS = 5

#: Stand beside the values of TrialState: a failed trial whose worker was lost, and a diverged one
#: whose learning rate was evaluated again and did not diverge.
_LOST, _REFUTED = -1, -2

#: More new trials than this are sorted into a curve together.
_MANY = 8
#: Width of a cell that learning rates are looked up by, in decades.
_CELL = 1e-6

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


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
        self._is_foreign = False  # its first trial is another sampler's
        self._n_reopened = 0
        self._by_number: list[Observation] = []
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
        self._lowest = self._lowest_feasible = math.inf  # of completed trials
        self._cells: dict[int, list[tuple[float, int]]] = {}  # trials with a loss: decades, index
        self._curves: dict[tuple[float | None, bool], LRCurve] = {}
        self._cache: dict[Any, Any] = {}

    def add(self, observation: Observation) -> None:
        """Takes one more finished trial in."""
        self.items.append(observation)
        if observation.number == self.leader:
            self._is_foreign = observation.leader is None
        self._n_reopened += observation.leader == observation.number != self.leader
        bisect.insort(self._by_number, observation, key=_number)
        self._lr.append(observation.lr)
        self._loss.append(observation.loss)
        self._state.append(_LOST if observation.killed else observation.state.value)
        self._last_step.append(max(observation.reports, default=-1))
        if observation.state != TrialState.FAIL:
            x = math.log10(observation.lr)
            self._refute(observation, x)
            self._cells.setdefault(round(x / _CELL), []).append((x, len(self.items) - 1))
        if observation.state == TrialState.COMPLETE:
            self._horizon = max(self._horizon, self._last_step[-1])
            self._lowest = min(self._lowest, observation.loss)
            if observation.is_feasible:
                self._lowest_feasible = min(self._lowest_feasible, observation.loss)
        self._baseline = observation.baseline if self._baseline is None else self._baseline
        self._curves.clear()
        self._all_complete &= observation.state == TrialState.COMPLETE

    def _refute(self, observation: Observation, x: float) -> None:
        """Takes earlier divergences at x decades back when a later trial has a loss there.

        A learning rate that diverged is evaluated again on the same batches (``repeat_index``
        counts losses, not divergences), so the later trial's word replaces the earlier one's.
        """
        refuted = self._refuted_by(observation, x)
        for i in refuted:
            self._state[i] = _REFUTED
        self._all_complete &= not refuted

    def _refuted_by(self, observation: Observation, x: float) -> list[int]:
        """Indices of the diverged trials that an observation at x decades takes back."""
        if not math.isfinite(observation.loss):
            return []
        same = self._at(x)
        return [
            i
            for i in same
            if self._loss[i] == math.inf and self.items[i].number < observation.number
        ]

    def _at(self, x: float) -> list[int]:
        """Indices of the trials at x decades that finished with a loss."""
        key = round(x / _CELL)
        near = (n for k in (key - 1, key, key + 1) for n in self._cells.get(k, ()))
        return [i for z, i in near if abs(z - x) <= SAME_LR]

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
        divergence, and each further one as another, so that no search retries for ever. A trial
        whose worker was killed says nothing about its learning rate: it takes five of those. A
        divergence counts no longer when a later trial at the same learning rate has a loss.

        Args:
            baseline: Loss of the untrained model, if known.
            extra: An observation to add, of a trial that is being told.
            early: Whether to keep trials that another pruner stopped before the horizon, with
                the loss of that earlier step: tried, but no measurement.
        """
        key = (baseline, early)
        if extra is None and key in self._curves:
            return self._curves[key]
        refuted = [] if extra is None else self._refuted_by(extra, math.log10(extra.lr))
        simple = extra is None or (extra.state == TrialState.COMPLETE and not refuted)
        if self._all_complete and simple:
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
            state = [_REFUTED if i in refuted else s for i, s in enumerate(state)]
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

    def first(self, n: int, extra: Observation | None = None) -> list[Observation]:
        """The first n trials by number, whatever the order in which a worker came to read them.

        Args:
            n: How many.
            extra: An observation to count in, of a trial that is being told.
        """
        first = self._by_number[:n]
        if extra is not None:
            bisect.insort(first, extra, key=_number)
        return first[:n]

    def count_at(self, x: float) -> int:
        """How many trials at x decades finished with a loss."""
        return len(self._at(x))

    def params(self, param_name: str) -> dict[str, Any]:
        """Values of the configuration's parameters."""
        return others_of(self.items[0].params, param_name)

    def cached(self, key: Key, compute: Callable[[Observations, Key], Result]) -> Result:
        """``compute(self, key)``, kept: for figures of trials that no later trial changes."""
        if key not in self._cache:
            self._cache[key] = compute(self, key)
        result: Result = self._cache[key]
        return result

    def copy(self) -> Observations:
        """The same trials, to add others to."""
        new = copy.copy(self)
        for name in (
            "items",
            "_by_number",
            "_lr",
            "_loss",
            "_state",
            "_last_step",
            "_curves",
            "_cache",
        ):
            setattr(new, name, getattr(self, name).copy())
        new._cells = {cell: list(xs) for cell, xs in self._cells.items()}
        return new

    @property
    def n_openings(self) -> int:
        """How often this package's sampler opened the configuration; 0 if only others did."""
        return (not self._is_foreign) + self._n_reopened

    @property
    def lowest(self) -> float | None:
        """The lowest finite loss of a completed trial, of feasible ones where there are any."""
        lowest = self._lowest_feasible if self.is_feasible else self._lowest
        return lowest if lowest < math.inf else None

    @property
    def is_feasible(self) -> bool:
        """Whether a completed trial with a loss meets its constraints."""
        return self._lowest_feasible < math.inf

    @property
    def _measured(self) -> list[Observation]:
        return [o for o in self.items if o.state == TrialState.COMPLETE and o.loss < math.inf]

    def constraints_at(self, lr: float | None) -> dict[str, Any]:
        """The constraints of the measured trial nearest to a learning rate.

        Args:
            lr: The learning rate; ``None`` takes the trial with the lowest loss.

        Returns:
            As Optuna keeps them; empty where nothing was measured.
        """
        if not self._measured:
            return {}
        if lr is None:
            return min(self._measured, key=lambda o: o.loss).constraints
        x = math.log(lr)
        return min(self._measured, key=lambda o: abs(math.log(o.lr) - x)).constraints

    @property
    def baseline(self) -> float | None:
        """Baseline that the configuration's own trials carry (``StepObjective.from_factory``)."""
        return self._baseline


def _number(observation: Observation) -> int:
    return observation.number


def curve_of(observations: list[Observation], baseline: float | None = None) -> LRCurve:
    """The curve of single trials."""
    return _to_curve(
        [o.lr for o in observations],
        [o.loss for o in observations],
        [_LOST if o.killed else o.state.value for o in observations],
        baseline,
    )


def ranked(curves: Iterable[Observations]) -> list[Observations]:
    """Configurations, the best first, which is the one that ``analyze`` takes by default.

    With three finite losses a curve can have a window: those go before ones that cannot; then
    feasible ones before others; then the lowest loss; of equals, the one that was opened first.
    """
    return sorted(curves, key=_rank)


def best_of(curves: Iterable[Observations]) -> Observations | None:
    """The first of :func:`ranked`; ``None`` where there are no curves."""
    return min(curves, key=_rank, default=None)


def _rank(observations: Observations) -> tuple[bool, bool, float]:
    lowest = observations.lowest
    finite = int(observations.curve().finite.sum())
    return finite < 3, not observations.is_feasible, math.inf if lowest is None else lowest


def _to_curve(
    lrs: list[float],
    losses: list[float],
    states: list[int],
    baseline: float | None,
    early: list[bool] | None = None,
) -> LRCurve:
    lr, loss, state = np.asarray(lrs), np.asarray(losses), np.asarray(states)
    if early is not None:
        early = [e for e, s in zip(early, states, strict=True) if s != _REFUTED]
    stands = state != _REFUTED
    lr, loss, state = lr[stands], loss[stands], state[stands]
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
    """Learning rates that failed too often (shares sum to 1) and never gave a loss.

    Once for the sum of 1, and once more for each further failure: so often they have diverged.
    """
    order = np.argsort(failed)
    x, living = np.log10(failed[order]), np.log10(alive)
    starts = np.flatnonzero(np.diff(x, prepend=-np.inf) > SAME_LR)
    times = 1 + np.floor((np.add.reduceat(share[order], starts) - 1.0) * _FAILURES + 1e-9)
    lost = [
        (t, int(n))
        for t, n in zip(x[starts], times, strict=True)
        if n > 0 and (not living.size or np.min(np.abs(living - t)) > SAME_LR)
    ]
    return np.asarray([10.0**t for t, n in lost for _ in range(n)], dtype=float)


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
