"""A study's trials, read as they come: finished ones as curves, the others as under way.

Finished trials never change, so a history that is kept reads each of them once, however often it
is refreshed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from optuna.study import StudyDirection

from optuna_lrss._study.claims import Pending
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import observe
from optuna_lrss._study.trials import pending_of
from optuna_lrss._study.trials import told_of


if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class StudyHistory:
    """Observations and pending trials of one study, refreshed incrementally.

    Args:
        param_name: Name of the learning rate.
    """

    def __init__(self, param_name: str) -> None:
        self.param_name = param_name
        self.curves: dict[Configuration, Observations] = {}  # of short trials
        self.longer: dict[tuple[Configuration, int], Observations] = {}  # by their horizons too
        self.unfinished: dict[int, FrozenTrial] = {}  # by their numbers
        self.pending: list[Pending] = []
        self.told: list[Observation] = []  # of trials under way whose result is announced
        self.n_finished = 0
        self.longest = 0.0  # seconds that a short trial took
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
        return self.read(study._storage, study._study_id, study.direction)

    def read(self, storage: BaseStorage, study_id: int, direction: StudyDirection) -> StudyHistory:
        """As :meth:`refresh`, where the study itself is not at hand."""
        trials = storage.get_all_trials(study_id, deepcopy=False)
        self._direction = direction
        fresh = [trials[n] for n in self._open] + trials[self._seen :]
        self._seen = len(trials)
        self._open = [t.number for t in fresh if not t.state.is_finished()]
        for trial in fresh:
            if trial.state.is_finished():
                self._ingest(trial)
        unfinished = [t for t in fresh if not t.state.is_finished()]
        self.unfinished = {t.number: t for t in unfinished}
        self.pending = [p for t in unfinished if (p := pending_of(t, self.param_name))]
        announced = (told_of(t, self.param_name, direction) for t in unfinished)
        self.told = [o for o in announced if o is not None]
        return self

    def longer_of(self, configuration: Configuration) -> dict[int, Observations]:
        """The finished longer trials of a configuration, by their horizons, ascending."""
        found = {horizon: o for (key, horizon), o in self.longer.items() if key == configuration}
        return dict(sorted(found.items()))

    def foresee(self, told: Iterable[Observation]) -> StudyHistory:
        """The history as it will be when trials that are being told are in the storage."""
        ahead = copy.copy(self)
        ahead.curves, ahead.longer = dict(self.curves), dict(self.longer)
        for observation in told:
            key, horizon = observation.configuration, observation.horizon
            if horizon is None and key in ahead.curves:
                ahead.curves[key] = ahead.curves[key].copy()
            elif horizon is not None and (key, horizon) in ahead.longer:
                ahead.longer[key, horizon] = ahead.longer[key, horizon].copy()
            ahead._take(observation)
            ahead.pending = [p for p in ahead.pending if p.number != observation.number]
        return ahead

    def _ingest(self, trial: FrozenTrial) -> None:
        self.n_finished += 1
        observation = observe(trial, self.param_name, self._direction)
        if observation is None:
            return
        self._take(observation)
        if trial.duration is not None and observation.horizon is None:
            self.longest = max(self.longest, trial.duration.total_seconds())

    def _take(self, observation: Observation) -> None:
        key, horizon = observation.configuration, observation.horizon
        leader = observation.number if observation.leader is None else observation.leader
        if horizon is not None:
            longer = self.longer.setdefault((key, horizon), Observations(key, leader))
            longer.add(observation)
            return
        if key not in self.curves:
            taken = {c.leader for c in self.curves.values()}
            self.curves[key] = Observations(key, observation.number if leader in taken else leader)
        self.curves[key].add(observation)
