"""What an objective writes into a study, and what it must agree with there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from typing import Any

import optuna

from optuna_lrss._study.keys import AUTO
from optuna_lrss._study.keys import BASELINE
from optuna_lrss._study.keys import FIRST
from optuna_lrss._study.keys import GROUPS
from optuna_lrss._study.keys import GUESS
from optuna_lrss._study.keys import HELD_OUT
from optuna_lrss._study.keys import LAG
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import TOTAL_STEPS
from optuna_lrss._study.keys import TRIAL
from optuna_lrss._study.keys import VALIDATION
from optuna_lrss._study.validated import Validated
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._short_trial import ShortTrial


if TYPE_CHECKING:
    from optuna.study import Study


#: Two baselines of one study may differ by this much of their size: the float noise between
#: machines. Other weights or data differ by more.
_SAME_BASELINE = 1e-4
#: The same with autocast, whose types have 8 to 11 bits.
_SAME_BASELINE_AUTOCAST = 1e-2
#: Attributes that every objective of a study must agree on; the others follow from these.
_CHECKED = (BASELINE, STEPS, MOMENTUM)


class StudyAttributes:
    """What an objective writes into a study and checks there.

    Args:
        settings: How its trials are trained.
        several: Whether they differ by configuration.
    """

    def __init__(self, settings: Settings, *, several: bool) -> None:
        self._settings = settings
        self._several = several

    def settle(self, study: Study | None, short_trial: ShortTrial) -> None:
        """Has a short trial validate on the samples that the study's other trials validate on.

        The first worker decides, and writes that down before anything that was validated; the
        others read it. Two that begin at the same time decide alike, since nothing is random.
        """
        if study is None or self._settings.validation_batches != "auto":
            return
        stored = Validated.stored(study.user_attrs)
        if stored is None and _was_begun(study):  # before there were samples
            short_trial.validate_on(None)
            return
        if stored is None:
            own = short_trial.validated
            stored = Validated.stored(study.user_attrs)
            if stored is None:
                study.set_user_attr(VALIDATION, own.as_attribute())
                return
        samples = None if stored.is_all else stored.samples
        short_trial.validate_on(samples, whole=stored.whole)

    def write_or_check(self, study: Study, short_trial: ShortTrial) -> None:
        """Writes all that a study should know before a learning rate is asked for.

        Raises:
            ValueError: If the study was begun from another start.
        """
        self._write_or_check(study, self._all(short_trial))

    def begin(self, study: Study) -> None:
        """Writes what is known without an evaluation.

        Raises:
            ValueError: If the study was begun with other steps.
        """
        self._write_or_check(study, self._plain())

    def _all(self, short_trial: ShortTrial) -> dict[str, Any]:
        attrs: dict[str, Any] = {FIRST: short_trial.first_guess, **self._plain()}
        if short_trial.held_out:
            attrs[HELD_OUT] = short_trial.held_out
        attrs[VALIDATION] = short_trial.validated.as_attribute()
        if self._several:  # then the rest differs from trial to trial
            return attrs
        attrs |= {
            BASELINE: short_trial.baseline,
            MOMENTUM: short_trial.momentum,
            LAG: short_trial.lag,
        }
        if short_trial.guess is not None:
            attrs[GUESS] = short_trial.guess
        if any(ratio != 1.0 for ratio in short_trial.ratios):
            attrs[GROUPS] = short_trial.ratios
        return attrs

    def _plain(self) -> dict[str, Any]:
        """What needs no evaluation; first, since samplers read all at the baseline."""
        attrs: dict[str, Any] = {STEPS: self._settings.steps}
        if self._settings.auto:
            attrs[AUTO] = True
        if self._settings.total_steps is not None:
            attrs[TOTAL_STEPS] = self._settings.total_steps
        return attrs

    def _write_or_check(self, study: Study, attrs: dict[str, Any]) -> None:
        stored = study.user_attrs
        for key, value in attrs.items():
            if key not in stored or (key == TOTAL_STEPS and stored[key] != value):
                study.set_user_attr(key, value)
            elif key in _CHECKED and not self._same(key, float(stored[key]), value):
                raise ValueError(_other_start(study.study_name, key, stored[key], value))

    def _same(self, key: str, stored: float, value: float) -> bool:
        if key != BASELINE:
            return stored == value
        rough = self._settings.autocast is not None
        tolerance = _SAME_BASELINE_AUTOCAST if rough else _SAME_BASELINE
        return math.isclose(stored, value, rel_tol=tolerance, abs_tol=1e-12)


def refuse_study(study: Study | None) -> None:
    """Refuses a study that has no single loss to minimise.

    Raises:
        ValueError: If it has several objectives or maximises.
    """
    if study is None:
        return
    if len(study.directions) > 1:
        raise ValueError(
            f"the study has {len(study.directions)} objectives, but a short trial has one loss: "
            "create the study with a single direction."
        )
    if study.direction == optuna.study.StudyDirection.MAXIMIZE:
        raise ValueError(
            "the study maximises, but a short trial returns a loss: create the study with "
            "direction='minimize'."
        )


def _was_begun(study: Study) -> bool:
    """Whether something was validated in it already."""
    if BASELINE in study.user_attrs:
        return True
    return any(TRIAL in trial.user_attrs for trial in study.get_trials(deepcopy=False))


def _other_start(study_name: str, key: str, stored: Any, value: float) -> str:
    what = {
        BASELINE: "the untrained model's validation loss: it was begun from other weights or "
        "validation data (or validation_batches). Build the model after torch.manual_seed with a "
        "fixed seed (or load its weights from a file)",
        STEPS: "steps. Use the same number",
        MOMENTUM: "momentum: it was begun with another optimizer. Use the same optimizer",
    }[key]
    return (
        f"study {study_name!r} holds {key}={stored!r}, but this objective has {value!r} as {what}"
        ", or give the study another study_name: losses from different starts make no curve."
    )
