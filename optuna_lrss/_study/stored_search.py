"""How a study is searched, kept in the study: every reader then judges it as its sampler does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.arguments import checked_options
from optuna_lrss._study.arguments import checked_start
from optuna_lrss._study.arguments import require_count
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.keys import search_key


if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def store_search(storage: BaseStorage, study_id: int, arguments: Arguments) -> None:
    """Writes how the study is searched, where something else or nothing is stored.

    Args:
        storage: The study's storage.
        study_id: The study's id there.
        arguments: The sampler's.
    """
    key, value = search_key(arguments.param_name), _entries(arguments)
    if storage.get_study_user_attrs(study_id).get(key) != value:
        storage.set_study_user_attr(study_id, key, value)


def stored_search(user_attrs: Mapping[str, Any], param_name: str) -> Arguments | None:
    """How a study was searched last; ``None`` where no sampler of this package has searched it.

    Args:
        user_attrs: The study's.
        param_name: Name of the learning rate.
    """
    key = search_key(param_name)
    if key not in user_attrs:
        return None
    try:
        return _arguments(user_attrs[key], param_name)
    except (KeyError, TypeError, ValueError) as error:
        warn_once(key, f"what LRStepSampler writes ({error})", user_attrs[key])
        return None


def _entries(arguments: Arguments) -> dict[str, Any]:
    """As it is stored: plain JSON, since a storage gives nothing else back."""
    options = arguments.options
    return {
        "tolerance": options.tolerance,
        "coarse_step": options.coarse_step,
        "points": list(options.points),
        "strategy": options.strategy,
        "repeats": options.repeats,
        "start": None if arguments.start is None else list(arguments.start),
        "max_configurations": arguments.max_configurations,
    }


def _arguments(entries: Any, param_name: str) -> Arguments:
    names = ("tolerance", "coarse_step", "points", "strategy", "repeats")
    options = checked_options(**{name: entries[name] for name in names})
    limit = entries["max_configurations"]
    if limit is not None:
        require_count("max_configurations", limit)
    return Arguments(param_name, options, checked_start(entries["start"]), limit)
