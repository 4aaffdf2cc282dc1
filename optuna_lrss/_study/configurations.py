"""Other hyperparameters: the base sampler sees one trial per configuration.

The base sampler works in an in-memory study of its own. A configuration's first trial asks it
for values; when the configuration's curve is resolved, it is told the loss at its pick. So TPE,
CMA-ES, GP or QMC see neither the many trials of one curve nor the learning rate.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from optuna_lrss._study.curves import Observations
from optuna_lrss._study.keys import CONSTRAINTS
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.keys import others_of
from optuna_lrss._study.known import ConfigurationValue


if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


#: Parameters and their distributions.
Values = tuple[Mapping[str, Any], Mapping[str, Any]]

#: A base sampler that proposes known configurations is asked again, at most this many times.
_MAX_ASKS = 64


class Configurations:
    """The base sampler's study of configurations.

    Args:
        base_sampler: Samples the other hyperparameters. It is copied: a sampler object must not
            serve two studies.
        param_name: Name of the learning rate.

    Attributes:
        known: Configurations that are not to be proposed again where that can be helped.
        exhausted: Whether the base sampler said that it has nothing more to propose.
    """

    def __init__(self, base_sampler: BaseSampler, param_name: str) -> None:
        self._param_name = param_name
        self._base_sampler = base_sampler
        self._asked: dict[int, Trial] = {}
        self._told: set[Configuration] = set()
        self._running: dict[Configuration, int] = {}  # others' open ones: ids of inner trials
        self._foreign: set[int] = set()
        self._is_stale = False
        self.known: set[Configuration] = set()
        self.exhausted = False

    @functools.cached_property
    def _study(self) -> Study:
        sampler = copy.deepcopy(self._base_sampler)
        _read_constraints(sampler)
        return _quiet_study(sampler)

    def reseed_rng(self) -> None:
        """Reseeds the base sampler; a copy that is still to be made is reseeded with it."""
        if "_study" in self.__dict__:
            self._study.sampler.reseed_rng()

    def see_foreign(self, leaders: set[int]) -> None:
        """Configurations that other workers, or this one before a restart, have opened.

        They began with the same random state: what they drew must not be drawn again.
        """
        self._is_stale |= not leaders <= self._foreign
        self._foreign |= leaders

    def see_open(self, values: Mapping[Configuration, Values]) -> None:
        """Configurations that other workers are at work on: running trials of the inner study.

        A sampler that reckons with those (TPE's ``constant_liar``) then keeps away from them.

        Args:
            values: The parameters of each, as far as they are known, with their distributions.
        """
        storage = self._study._storage
        for key in self._running.keys() - values.keys():  # it has more parameters now, or is gone
            storage.set_trial_state_values(self._running.pop(key), TrialState.FAIL)
        for key in values.keys() - self._running.keys() - self._told:
            params, distributions = values[key]
            trial = optuna.trial.create_trial(
                params=dict(params),
                distributions=dict(distributions),
                state=TrialState.RUNNING,
            )
            self._running[key] = storage.create_new_trial(self._study._study_id, trial)

    def ask(self, leader: int, name: str, distribution: BaseDistribution) -> Any:
        """A value of one parameter for the configuration that starts with trial ``leader``."""
        if leader not in self._asked:
            if self._is_stale:
                self._study.sampler.reseed_rng()
                self._is_stale = False
            self._asked[leader] = self._new_trial()
        return self._asked[leader]._suggest(name, distribution)

    def _new_trial(self) -> Trial:
        """An inner trial; where values come jointly (QMC, CMA-ES), not those of a known one."""
        for _ in range(min(len(self.known), _MAX_ASKS)):
            trial = self._study.ask()
            joint = configuration_of(trial.relative_params, self._param_name)
            if not joint or joint not in self.known:
                return trial
            self._study.tell(trial, state=TrialState.FAIL)
        return self._study.ask()

    def has_asked(self, leader: int) -> bool:
        """Whether the base sampler has an open trial of its own for a configuration."""
        return leader in self._asked

    def tell(self, observations: Observations, value: ConfigurationValue) -> None:
        """Tells the base sampler a resolved configuration's loss at its pick, once."""
        key = observations.configuration
        if key in self._told:
            return
        self._told.add(key)
        params = others_of(observations.items[0].params, self._param_name)
        # Where everything diverged there is no loss; pruned tells TPE that it is a bad place.
        diverged = not math.isfinite(value.loss)
        state = TrialState.PRUNED if diverged else TrialState.COMPLETE
        loss = None if diverged else value.loss
        constraints = observations.constraints_at(value.pick)
        asked = self._asked.pop(observations.leader, None)
        if asked is None or asked.params != params:
            if asked is not None:
                with contextlib.suppress(RuntimeError):
                    self._study.tell(asked, state=TrialState.FAIL)
            self._tell_foreign(observations, loss, state, constraints)
            return
        for name, violation in constraints.items():
            self._study._storage.set_trial_system_attr(asked._trial_id, name, violation)
        # A grid or brute-force sampler stops its study when it has seen everything.
        try:
            self._study.tell(asked, loss, state=state)
        except RuntimeError:
            self.exhausted = True

    def _tell_foreign(
        self,
        observations: Observations,
        loss: float | None,
        state: TrialState,
        constraints: dict[str, Any],
    ) -> None:
        """A configuration that the base sampler has not been asked for."""
        running = self._running.pop(observations.configuration, None)
        if running is not None:
            self._study._storage.set_trial_state_values(running, TrialState.FAIL)
        item = observations.items[0]
        self._study.add_trial(
            optuna.trial.create_trial(
                params=others_of(item.params, self._param_name),
                distributions=others_of(item.distributions, self._param_name),
                value=loss,
                state=state,
                system_attrs=constraints,
            )
        )


def has_constraints(sampler: BaseSampler) -> bool:
    """Whether a sampler calls a ``constraints_func`` after each trial."""
    return getattr(sampler, "_constraints_func", None) is not None


def _read_constraints(part: Any) -> None:
    """Lets a sampler, and what it consists of, read constraints instead of calling a function.

    The function reads what the objective wrote into its own trials, which the inner study's lack;
    the results that it gave for those are in the inner trials.
    """
    for inner in vars(part).values():
        if isinstance(inner, BaseSampler) or hasattr(inner, "_constraints_func"):
            _read_constraints(inner)
    if has_constraints(part):
        part._constraints_func = _stored_constraints


def _stored_constraints(trial: FrozenTrial) -> Sequence[float]:
    return tuple(trial.system_attrs.get(CONSTRAINTS) or ())


def _quiet_study(sampler: BaseSampler) -> Study:
    """An in-memory study; Optuna would log its creation."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        return optuna.create_study(sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)
