"""Where a search stands between two trials: what is known by now, and how much is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.search.longer import FEW
from optuna_lrss._result.analysis import analysis_of
from optuna_lrss._result.analysis import search_of
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.keys import AUTO
from optuna_lrss._study.keys import search_key
from optuna_lrss._study.known import Known
from optuna_lrss._study.trials import baseline_of


if TYPE_CHECKING:
    from optuna.study import Study

    from optuna_lrss._study.curves import Observations
    from optuna_lrss._study.history import StudyHistory


@dataclass(frozen=True)
class Standing:
    """Where a search stands.

    Attributes:
        left: Trials that it will probably still take, 0 where it is resolved; ``None`` where
            nobody knows: with other parameters, and in a study of another sampler.
        window: ``(min_lr, max_lr)``; ``None`` while there is none.
        recommended: The pick; ``None`` while there is no window.
    """

    left: int | None = None
    window: tuple[float, float] | None = None
    recommended: float | None = None


def standing(study: Study, history: StudyHistory) -> Standing:
    """Where a study's search stands: that of its best configuration, if it has several.

    Args:
        study: The study.
        history: Its trials, kept from call to call; what is new is read.
    """
    observations = best_of(history.refresh(study).curves.values())
    if observations is None:
        return Standing()
    known = Known(observations, baseline_of(study))
    left = None
    searched = study._storage.get_study_user_attrs(study._study_id)
    if search_key(history.param_name) in searched and not history.is_nested:
        search, resolved = search_of(study, history, observations, known.baseline, None)
        over = resolved or searched.get(AUTO) is not True
        longer = 0 if over else _longer_left(observations, history)
        left = search.trials_left() + longer
    try:
        result = analysis_of(study, history, observations)
    except NoWindowError:
        return Standing(left)
    return Standing(left, (result.min_lr, result.max_lr), result.recommended)


def _longer_left(observations: Observations, history: StudyHistory) -> int:
    """Longer trials that will probably follow: as many as a horizon usually takes."""
    tried = history.longer_of(observations.configuration)
    return max(1, FEW - len(tried[max(tried)].items)) if tried else FEW


def lowest_loss(history: StudyHistory) -> float:
    """The lowest loss of all trials that were read; ``inf`` before the first."""
    lows = [c.lowest for c in history.curves.values()]
    return min((low for low in lows if low is not None), default=math.inf)
