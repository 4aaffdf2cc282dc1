"""Several workers on one study that take turns at every reading and writing of the storage.

Each is a greenlet that runs Optuna's own loop and stops before each access to what the workers
share, until the test lets it go on. Time stands still but where a worker sleeps or trains. So a
test chooses one order of events out of all possible ones, and the same order again if it likes.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from typing import Any

import greenlet
import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_lrss import LRStepSampler
from optuna_lrss._study.clock import Clock
from tests.workers import fleet


#: What a short trial takes, in seconds of the simulated time.
TRIAL_SECONDS = 1.0
#: Nobody needs so many turns; a worker that takes more waits or searches for ever.
ENDLESS = 6000


class SimulatedClock(Clock):
    """Time that passes only when somebody sleeps or trains."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        _take_turns()


class SimulatedStorage(InMemoryStorage):
    """Writes the simulated time into the trials."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__()
        self.clock = clock

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is None:
            self._put(trial_id, datetime_start=self.clock.now())
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._put(trial_id, datetime_complete=self.clock.now())
        return done

    def _put(self, trial_id: int, **times: datetime) -> None:
        trial = copy.copy(self._get_trial(trial_id))
        for name, value in times.items():
            setattr(trial, name, value)
        self._set_trial(trial_id, trial)


#: Accesses to what other workers write, or read.
SHARED = (
    "create_new_trial",
    "get_all_trials",
    "get_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_system_attr",
)


def _delegated(name: str) -> Callable[..., Any]:
    def method(self: Gate, *args: Any, **kwargs: Any) -> Any:
        if name in SHARED and not self.is_own(name, args, kwargs):
            _take_turns()
        result = getattr(self.inner, name)(*args, **kwargs)
        if name == "create_new_trial" and _running:
            _running[-1].trial_id = result
        return result

    return method


class _Gate(BaseStorage):
    def __init__(self, inner: SimulatedStorage) -> None:
        self.inner = inner

    def is_own(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Readings that no other worker can change: of the own trial, and of a queue not used."""
        own = name == "get_trial" and _running and args[0] == _running[-1].trial_id
        return bool(own) or kwargs.get("states") is not None


Gate = type(
    "Gate",
    (_Gate,),
    {
        name: _delegated(name)
        for name in dir(BaseStorage)
        if not name.startswith("_") and callable(getattr(BaseStorage, name))
    },
)


class SimulatedWorker:
    """One worker, at work until its search ends by itself or it is killed.

    Args:
        study: The study, with a sampler and a storage of its own.
        objective: What to evaluate.
        most: Most trials, so that a search that never ends fails a test.

    Attributes:
        told: What is called after each trial, with whether the worker stops.
    """

    def __init__(self, study: optuna.Study, objective: Callable[..., float], most: int) -> None:
        self.told: Callable[[bool], None] = lambda stopped: None
        self.study = study
        self.trial_id: int | None = None
        self.n_trials = 0
        self.is_killed = False
        self._objective = objective
        self._most = most
        self._greenlet = greenlet.greenlet(self._run)

    @property
    def is_done(self) -> bool:
        return bool(self._greenlet.dead)

    def advance(self) -> None:
        """Lets the worker go on to its next access."""
        self._let(self._greenlet.switch)

    def kill(self) -> None:
        """Ends the worker without a word, wherever it is."""
        self.is_killed = True
        self._let(self._greenlet.throw)

    def _let(self, go_on: Callable[[], Any]) -> None:
        _running.append(self)
        try:
            go_on()
        finally:
            _running.pop()

    def _run(self) -> None:
        try:
            self.study.optimize(self._short_trial, self._most, callbacks=[self._has_told])
        except UnboundLocalError:  # Optuna's own, on the way out of what killed it
            if not self.is_killed:
                raise

    def _has_told(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.told(study._stop_flag)

    def _short_trial(self, trial: optuna.Trial) -> float:
        self.n_trials += 1
        value = self._objective(trial)
        _take_turns()
        return value


#: The worker that is going on just now, if any.
_running: list[SimulatedWorker] = []


def _take_turns() -> None:
    """Lets the test decide who goes on; outside of a worker there is nobody to wait for."""
    if not _running:
        return
    if _running[-1].is_killed:  # Optuna would still write on its way out
        raise greenlet.GreenletExit
    greenlet.getcurrent().parent.switch()


# --- A study, begun by one worker and gone on with by several ---------------------------------


def _wave(lr: float, seed: int) -> float:
    """Between -1 and 1, as if by chance, but the same at every evaluation."""
    return math.sin(1e4 * (seed + 1.3) * math.log10(lr))


def plain(trial: optuna.Trial, seed: int, height: float = 0.2) -> float:
    """Losses are off by up to 9 % of the drop, so that late trials often open a point anew."""
    lr = trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    return fleet.loss_at(lr) + height * _wave(lr, seed)


def calm(trial: optuna.Trial, seed: int) -> float:
    """Half as far off: of the last trials, two told at once open a point that neither opens."""
    return plain(trial, seed, 0.1)


def nested(trial: optuna.Trial, seed: int) -> float:
    """The curve moves and is lowered by the other parameters, which the seed chooses."""
    return fleet.nested(trial, 0.0)


#: So high above 0 lie the losses of which too little is gained at the first longer horizon.
HEIGHT = 30.0


def auto(trial: optuna.Trial, seed: int) -> float:
    """As ``calm``, with longer trials at two horizons."""
    return HEIGHT + calm(trial, seed) + fleet.longer(trial)


def nested_auto(trial: optuna.Trial, seed: int) -> float:
    """As ``nested``; the best configuration gets longer trials, at one horizon."""
    return nested(trial, seed) + fleet.longer(trial)


OBJECTIVES = {
    "plain": plain,
    "calm": calm,
    "nested": nested,
    "auto": auto,
    "nested auto": nested_auto,
}
#: Few, since each is searched once by a worker alone. In the nested ones the best configuration
#: changes late, and later windows depend on earlier ones that still move.
SEEDS = {
    "plain": (0, 1, 2, 3, 5, 6),
    "calm": (0, 1),
    "nested": (5, 11, 26),
    "auto": (0, 1, 2, 3),
    "nested auto": (5,),
}


def new_sampler(kind: str, seed: int, grace_period: float) -> LRStepSampler:
    limit = 4 if "nested" in kind else None
    return LRStepSampler(max_configurations=limit, seed=seed, grace_period=grace_period)


@functools.cache
def undisturbed(kind: str, seed: int) -> tuple[FrozenTrial, ...]:
    """The trials of one worker that searches alone, in simulated time."""
    study = new_study(kind, seed)
    study.sampler = new_sampler(kind, seed, 1e9)
    study.optimize(functools.partial(OBJECTIVES[kind], seed=seed), n_trials=150)
    return tuple(study.get_trials())


def new_study(kind: str, seed: int, n_before: int = 0) -> optuna.Study:
    """A study whose first trials one worker has done already."""
    storage = SimulatedStorage(SimulatedClock())
    study = optuna.create_study(storage=storage, study_name=fleet.NAME)
    height = HEIGHT if kind == "auto" else 0.0
    study.set_user_attr("lrss:baseline", height + fleet.BASELINE)
    if "auto" in kind:
        fleet.allow_longer(study)
    if n_before:
        study.add_trials(undisturbed(kind, seed)[:n_before])
    return study


def start_worker(
    study: optuna.Study, kind: str, seed: int, *, grace_period: float, most: int
) -> SimulatedWorker:
    """One more worker, as another process has it: with a sampler and a storage of its own."""
    clock = study._storage.clock
    sampler = new_sampler(kind, seed, grace_period)
    sampler._workers.clock = clock
    storage = Gate(study._storage)
    own = optuna.load_study(study_name=fleet.NAME, storage=storage, sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        clock.seconds += TRIAL_SECONDS
        return OBJECTIVES[kind](trial, seed)

    return SimulatedWorker(own, objective, most)
