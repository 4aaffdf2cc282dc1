"""Which horizons a study's objective can run, and which one a trial is to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import BaseTrial
from optuna.trial import FrozenTrial

from optuna_lrss._method.search.longer import BASE_STEPS
from optuna_lrss._study.attributes import count_in
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.claims import CLAIM
from optuna_lrss._study.claims import Claim
from optuna_lrss._study.keys import AUTO
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import TOTAL_STEPS


@dataclass(frozen=True)
class Horizons:
    """What a study says of longer trials, where its objective can run them.

    Attributes:
        steps: Horizon of the short trials.
        total_steps: Optimizer steps of the training to come, if known.
    """

    steps: int
    total_steps: int | None

    @classmethod
    def stored(cls, user_attrs: Mapping[str, Any]) -> Horizons | None:
        """As the objective has written it; ``None`` where it runs short trials only."""
        auto = user_attrs.get(AUTO)
        if auto is not True:
            if auto not in (None, False):
                warn_once(AUTO, "True or False", auto)
            return None
        steps = count_in(user_attrs, STEPS)
        return cls(BASE_STEPS if steps is None else steps, count_in(user_attrs, TOTAL_STEPS))


def trial_steps(trial: BaseTrial, default: int = BASE_STEPS) -> int:
    """How many optimizer steps a trial is to run.

    For an objective of one's own that can run longer trials. It says so with
    ``study.set_user_attr("lrss:auto", True)``, beside ``lrss:steps`` and ``lrss:baseline``; then
    :class:`LRStepSampler` proposes, after the search with short trials, some with more steps.

    Example:
        .. code-block:: python

            def objective(trial):
                lr = trial.suggest_float("lr", 1e-7, 10, log=True)
                return train_from_the_start(lr, steps=trial_steps(trial, 20))

    Args:
        trial: The trial; its learning rate has been suggested, which is when the sampler decides.
        default: Steps of a short trial, the study's ``lrss:steps``.

    Returns:
        ``default``, or the steps of a longer trial. Its first batches are to be those of the
        short trials.

    Raises:
        ValueError: If nothing has been suggested to the trial yet, or ``default`` is no positive
            whole number.
    """
    _require_steps(default)
    if not trial.params:
        raise ValueError(
            f"trial {trial.number} has no learning rate yet, with which its steps are chosen: "
            "call trial.suggest_float('lr', low, high, log=True) first."
        )
    horizon = claimed_horizon(trial)
    return default if horizon is None else horizon


def _require_steps(default: object) -> None:
    if isinstance(default, bool) or not isinstance(default, int) or default < 1:
        raise ValueError(
            f"default={default!r} must be a whole number of at least 1: a short trial's steps."
        )


def claimed_horizon(trial: BaseTrial) -> int | None:
    """The horizon of a longer trial; ``None`` for a short one, and where no sampler has chosen."""
    if isinstance(trial, optuna.Trial):  # whose own system attributes are deprecated
        attrs = trial.study._storage.get_trial_system_attrs(trial._trial_id)
    else:
        attrs = trial.system_attrs if isinstance(trial, FrozenTrial) else {}
    claim = Claim.read(attrs) if CLAIM in attrs else None
    return None if claim is None else claim.horizon
