"""Rounds of a study: ask for several trials, train them in one pass, tell each its result."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

import optuna
import torch
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import TrialState

from optuna_lrss._study.horizons import trial_steps
from optuna_lrss._study.sampler import LRStepSampler
from optuna_lrss.torch._lanes.one_pass import LaneTrials
from optuna_lrss.torch._lanes.one_pass import Recorded
from optuna_lrss.torch._lanes.one_pass import Recording
from optuna_lrss.torch._objective import _ONE_AT_A_TIME
from optuna_lrss.torch._objective import StepObjective


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


Callback = Callable[["Study", "FrozenTrial"], None]

#: Fewer learning rates than this are trained one after the other: vectorising costs as much as a
#: step of a small model, so that one in a pass takes about twice as long and two a tenth to a
#: third longer than one after the other, on an MLP and a CNN.
LEAST = 3

_log = optuna.logging.get_logger("optuna.optuna_lrss")  # seen and silenced with Optuna's own lines


@dataclass
class Budget:
    """How many trials may still begin, and until when.

    Attributes:
        n_trials: Trials left; ``None`` for no limit.
        timeout: Seconds from the start; ``None`` for no limit.
    """

    n_trials: int | None
    timeout: float | None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float | None:
        """Seconds left."""
        if self.timeout is None:
            return None
        return self.started + self.timeout - time.monotonic()

    @property
    def is_spent(self) -> bool:
        """Whether no further trial may begin."""
        seconds = self.seconds
        return self.n_trials == 0 or (seconds is not None and seconds <= 0.0)

    def take(self, count: int) -> int:
        """How many of so many trials may begin."""
        return count if self.n_trials is None else min(count, self.n_trials)

    def spend(self) -> None:
        """One trial has begun."""
        if self.n_trials is not None:
            self.n_trials -= 1


class Rounds:
    """Trials of a study, several at a time.

    Args:
        study: The study.
        objective: What one trial is.
        trials: The same, several at a time.
        width: Most trials at a time.
        catch: Exceptions of a trial that do not end the study.
        callbacks: Called with the study and each trial, after the trials of a round are told.
        short_alone: Whether short trials go one after the other, and only longer ones together.
    """

    def __init__(
        self,
        study: Study,
        objective: StepObjective,
        trials: LaneTrials,
        width: int,
        catch: tuple[type[Exception], ...],
        callbacks: list[Callback],
        *,
        short_alone: bool = False,
    ) -> None:
        self._study = study
        self._objective = objective
        self._trials = trials
        self._width = width
        self._catch = catch
        self._callbacks = callbacks
        # A pass does not look at its trials on the way.
        self._short_alone = short_alone or objective._settings.paths
        self._recorded = Recorded(trials)

    def run(self, budget: Budget) -> str | None:
        """Goes on until the study is stopped or resolved, or the budget is spent.

        Returns:
            Why it ended before that: what went wrong in a pass, whose trials have then been run
            one after the other.
        """
        with _ONE_AT_A_TIME:  # before the first learning rate is asked for, as one trial would
            self._objective._introduce(self._study, self._trials)
        self._replayed = copy.copy(self._objective)
        self._replayed._source = self._recorded
        failure: str | None = None
        with _as_optimize(self._study):
            while failure is None and not budget.is_spent and not self._study._stop_flag:
                failure = self._round(budget)
        return failure

    def _round(self, budget: Budget) -> str | None:
        """Runs one round; says what went wrong in its pass, if something did."""
        study = self._study
        running: list[Trial] = []
        if is_heartbeat_enabled(study._storage):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(study)
        with ExitStack() as heartbeats:
            try:
                self._ask(running, budget, heartbeats)
                return self._finish_all(running)
            finally:
                self._abandon(running)

    def _ask(self, running: list[Trial], budget: Budget, heartbeats: ExitStack) -> None:
        """Asks for as many trials as the search can use at the same time, one at least."""
        study, sampler = self._study, self._study.sampler
        for _ in range(budget.take(self._width)):
            if running and isinstance(sampler, LRStepSampler) and not sampler.has_more(study):
                return
            trial = study.ask()
            running.append(trial)
            budget.spend()
            beat: Any = get_heartbeat_thread(trial._trial_id, study._storage)
            heartbeats.enter_context(beat)
            self._rate(trial)
            if self._goes_alone(trial_steps(trial, self._objective._settings.steps)):
                return

    def _finish_all(self, running: list[Trial]) -> str | None:
        """Trains, tells each trial; why the pass did not work, if it did not."""
        failure: str | None = None
        recordings: dict[int, Recording] = {}
        try:
            with _ONE_AT_A_TIME:
                recordings = self._recordings(running)
        except Exception as error:  # noqa: BLE001 - it may be of one trial's making: see which
            failure = f"{type(error).__name__}: {error}"
        done = []
        for i, trial in enumerate(list(running)):
            if i in recordings:
                self._recorded.recording = recordings[i]
            objective = self._replayed if i in recordings else self._objective
            done.append(self._finish(trial, objective))
            running.remove(trial)
        if isinstance(self._study.sampler, LRStepSampler):
            # It has judged each trial as if the next ones of the round were still under way.
            self._study._stop_flag = self._study.sampler.is_resolved(self._study)
        for told in done:
            for callback in self._callbacks:
                callback(self._study, copy.deepcopy(told))
        return failure

    def _rate(self, trial: Trial) -> float:
        space = self._objective._space
        return trial.suggest_float(space.param_name, space.low, space.high, log=True)

    def _goes_alone(self, steps: int) -> bool:
        return self._short_alone and steps == self._objective._settings.steps

    def _recordings(self, running: list[Trial]) -> dict[int, Recording]:
        """Those of each trial, by its place, but of trials that are better run alone.

        Other batches, of a repeat or a longer trial, take another pass.
        """
        short = self._objective._settings.steps
        kinds = [(self._objective._repeat(t), trial_steps(t, short)) for t in running]
        found: dict[int, Recording] = {}
        for kind in sorted(set(kinds)):
            rows = [i for i, k in enumerate(kinds) if k == kind]
            if len(rows) < LEAST or self._goes_alone(kind[1]):
                continue
            lrs = [self._rate(running[i]) for i in rows]
            found |= dict(zip(rows, self._trained(lrs, *kind), strict=True))
        return found

    def _trained(self, lrs: list[float], repeat: int, steps: int) -> list[Recording]:
        try:
            return self._trials.train(lrs, repeat, steps)
        except torch.cuda.OutOfMemoryError:
            if len(lrs) == 1:
                raise
        # Outside the handler, whose traceback would hold the first attempt's tensors.
        self._width = half = (len(lrs) + 1) // 2
        first, rest = (self._trained(part, repeat, steps) for part in (lrs[:half], lrs[half:]))
        return first + rest

    def _finish(self, trial: Trial, objective: StepObjective) -> FrozenTrial:
        """As `study.optimize` does for one trial."""
        value: float | None = None
        state: TrialState | None = None
        error: Exception | None = None
        try:
            value = objective(trial)
        except optuna.TrialPruned as pruned:
            state = TrialState.PRUNED
            _log.info("Trial %d pruned. %s", trial.number, pruned)
        except Exception as raised:  # noqa: BLE001 - raised again below, unless it is to be caught
            state, error = TrialState.FAIL, raised
            _log.warning("Trial %d failed: %r", trial.number, raised)
        told = self._study.tell(trial, value, state=state)
        if error is not None and not isinstance(error, self._catch):
            raise error
        if state is None:
            _log.info(
                "Trial %d finished with value: %s and parameters: %s.",
                trial.number,
                value,
                trial.params,
            )
        return told

    def _abandon(self, running: list[Trial]) -> None:
        """Marks trials that were interrupted, past the sampler: no learning rate is to blame."""
        for trial in running:
            frozen = self._study._storage.get_trial(trial._trial_id)
            if not frozen.state.is_finished():
                self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


@contextmanager
def _as_optimize(study: Study) -> Iterator[None]:
    """Inside, `study.stop()` works as in `study.optimize`, and samplers and storages see one."""
    local = study._thread_local
    if local.in_optimize_loop:
        raise RuntimeError("optimize_lanes cannot be called inside study.optimize.")
    study._stop_flag = False
    local.in_optimize_loop = True
    try:
        yield
    finally:
        local.in_optimize_loop = False
        study._storage.remove_session()
