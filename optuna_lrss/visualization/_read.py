"""From what a user passes to a plot to what there is to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna.study import Study
from optuna.study import StudyDirection

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.known import Known
from optuna_lrss._study.trials import baseline_of
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._source import of_result


if TYPE_CHECKING:
    from optuna_lrss._study.curves import Observations


def read(
    study_or_result: Study | LRAnalysis,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Source:
    """Analyses a study, or takes an analysis as it is.

    Args:
        study_or_result: A study or an analysis.
        param_name: Name of the learning rate in a study; ``None`` for ``"lr"``.
        configuration: Values of the other parameters; ``None`` takes the best configuration.

    Returns:
        What there is to draw. A study without viable window is no error here.

    Raises:
        ValueError: If options come with an analysis, or the study has no such configuration.
    """
    if isinstance(study_or_result, LRAnalysis):
        if param_name is not None or configuration is not None:
            raise ValueError(
                f"param_name={param_name!r}, configuration={configuration!r}: an LRAnalysis is of "
                "one learning rate and configuration already; pass these to analyze(), or pass "
                "the study."
            )
        return of_result(study_or_result)
    study = study_or_result
    name = "lr" if param_name is None else param_name
    try:
        result = analyze(study, param_name=name, configuration=configuration)
    except NoWindowError as error:
        return _without_window(study, name, configuration, str(error))
    return of_result(result, maximize=study.direction == StudyDirection.MAXIMIZE)


def _without_window(
    study: Study, param_name: str, configuration: Mapping[str, Any] | None, reason: str
) -> Source:
    """The bare losses: they often show why there is no window."""
    curves = StudyHistory(param_name).refresh(study).curves
    observations: Observations | None = None
    if configuration is not None:
        observations = curves.get(configuration_of(dict(configuration), param_name))
    elif curves:
        observations = max(curves.values(), key=lambda c: len(c.items))
    known = Known(observations, baseline_of(study))
    steps = study.user_attrs.get(STEPS)
    items = observations.items if observations is not None else []
    return Source(
        result=None,
        reason=reason,
        curve=known.curve,
        trials=tuple((o.number, o.lr, o.loss) for o in items),
        baseline=known.baseline,
        param_name=param_name,
        steps=int(steps) if isinstance(steps, (int, float)) else None,
        maximize=study.direction == StudyDirection.MAXIMIZE,
        roles={o.number: o.role for o in items if o.role is not None},
    )
