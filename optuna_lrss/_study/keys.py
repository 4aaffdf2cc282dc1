"""Names of what is stored in a study, and the key that its trials are grouped by."""

from __future__ import annotations

from typing import Any


#: Study user attributes that StepObjective writes, and that an own objective may write.
BASELINE = "lrss:baseline"
STEPS = "lrss:steps"
MOMENTUM = "lrss:momentum"
LAG = "lrss:lag"
GUESS = "lrss:guess"
GROUPS = "lrss:groups"
#: ``True`` where the objective runs trials of the horizon that ``trial_steps`` names.
AUTO = "lrss:auto"
#: Optimizer steps of the training that the search is for.
TOTAL_STEPS = "lrss:total_steps"
HELD_OUT = "lrss:held_out"
#: On how much trials validate, see ``_study/validated.py``.
VALIDATION = "lrss:validation"
FIRST = "lrss:first"
TAU = "lrss:tau"
#: Study user attribute of LRStepSampler, one for each learning rate: how it is searched.
SEARCH = "lrss:search"
#: Trial user attribute of StepObjective: {"steps", "diverged"}, where they are known "stderr",
#: "rise", "path" and "sure", of a longer trial also {"horizon"}, and from a factory also
#: {"baseline", "momentum", "lag"}.
TRIAL = "lrss:trial"

#: Trial system attribute in which Optuna keeps what a ``constraints_func`` returned; what
#: ``trial.set_constraint`` sets has this, a colon and its name.
CONSTRAINTS = "constraints"

Configuration = tuple[tuple[str, Any], ...]


def search_key(param_name: str) -> str:
    """The attribute that says how the learning rate of this name is searched."""
    return f"{SEARCH}:{param_name}"


def others_of(params: dict[str, Any], param_name: str) -> dict[str, Any]:
    """Values of all parameters except the learning rate."""
    return {k: v for k, v in params.items() if k != param_name}


def constraints_of(system_attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes in which Optuna keeps a trial's constraints; empty without any."""
    prefix = f"{CONSTRAINTS}:"
    return {k: v for k, v in system_attrs.items() if k == CONSTRAINTS or k.startswith(prefix)}


def configuration_of(params: dict[str, Any], param_name: str) -> Configuration:
    """Values of all parameters except the learning rate, as a hashable key.

    Floats are rounded to 12 digits, so that a database with other precision does not split a
    configuration.
    """
    items = sorted(others_of(params, param_name).items())
    return tuple((k, float(f"{v:.12g}") if isinstance(v, float) else v) for k, v in items)
