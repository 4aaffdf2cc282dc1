"""What an objective writes into its study, and must find there when it goes on with one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._study.keys import BASELINE
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import TOTAL_STEPS


if TYPE_CHECKING:
    from optuna.study import Study


#: Two baselines of one study may differ by this much of their size: the float noise between
#: machines. Other weights or data differ by more.
_SAME_BASELINE = 1e-4
#: The same with autocast, whose types have 8 to 11 bits.
_SAME_BASELINE_AUTOCAST = 1e-2
#: Attributes that every objective of a study must agree on; the others follow from these.
_CHECKED = (BASELINE, STEPS, MOMENTUM)
#: Attributes of which the last objective's word counts.
_REPLACED = (TOTAL_STEPS,)


def write_or_check(study: Study, attrs: Mapping[str, Any], *, rough: bool) -> None:
    """Writes what a study does not hold yet, in this order, and compares the rest.

    Args:
        study: The study.
        attrs: Its user attributes by this objective.
        rough: Whether losses are computed in half precision.

    Raises:
        ValueError: If the study was begun from another start.
    """
    stored = study.user_attrs
    for key, value in attrs.items():
        if key not in stored or (key in _REPLACED and stored[key] != value):
            study.set_user_attr(key, value)
        elif key in _CHECKED and not _same(key, float(stored[key]), value, rough):
            raise ValueError(_other_start(study.study_name, key, stored[key], value))


def _same(key: str, stored: float, value: float, rough: bool) -> bool:
    if key != BASELINE:
        return stored == value
    tolerance = _SAME_BASELINE_AUTOCAST if rough else _SAME_BASELINE
    return math.isclose(stored, value, rel_tol=tolerance, abs_tol=1e-12)


def _other_start(study_name: str, key: str, stored: Any, value: float) -> str:
    what = {
        BASELINE: "the untrained model's validation loss: it was begun from other weights or "
        "validation data. Build the model after torch.manual_seed with a fixed seed (or load "
        "its weights from a file)",
        STEPS: "steps. Use the same number",
        MOMENTUM: "momentum: it was begun with another optimizer. Use the same optimizer",
    }[key]
    return (
        f"study {study_name!r} holds {key}={stored!r}, but this objective has {value!r} as {what}"
        ", or give the study another study_name: losses from different starts make no curve."
    )
