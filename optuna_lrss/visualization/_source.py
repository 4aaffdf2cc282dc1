"""What a plot is about: the analysis, or what is known of a curve that has no window."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from optuna.study import Study
from optuna.study import StudyDirection

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.known import Known
from optuna_lrss._study.trials import baseline_of
from optuna_lrss.visualization._style import loss_label
from optuna_lrss.visualization._style import lr_label


if TYPE_CHECKING:
    from optuna_lrss._study.curves import Observations


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Source:
    """What there is to draw.

    Attributes:
        result: The analysis; ``None`` where there is no viable window.
        reason: Why there is none, else empty.
        curve: The measured curve, possibly without points.
        trials: Finished trials, ``(number, learning rate, loss)``.
        baseline: Loss of the untrained model, if known.
        param_name: Name of the learning rate.
        steps: Horizon of the trials, if known.
        maximize: Whether losses are negative objective values.
        roles: Why the sampler tried each learning rate, by trial number; empty for others'.
    """

    result: LRAnalysis | None
    reason: str
    curve: LRCurve
    trials: tuple[tuple[int, float, float], ...]
    baseline: float | None
    param_name: str
    steps: int | None
    maximize: bool
    roles: dict[int, str] = field(default_factory=dict)

    @property
    def lr_label(self) -> str:
        """Title of the learning-rate axis."""
        return lr_label(self.param_name)

    @property
    def loss_label(self) -> str:
        """Title of the loss axis."""
        loss = "negative objective value" if self.maximize else "validation loss"
        return loss_label(self.steps, loss)


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
        return _of_result(study_or_result, maximize=False)
    study = study_or_result
    name = "lr" if param_name is None else param_name
    try:
        result = analyze(study, param_name=name, configuration=configuration)
    except NoWindowError as error:
        return _without_window(study, name, configuration, str(error))
    return _of_result(result, maximize=study.direction == StudyDirection.MAXIMIZE)


def _of_result(result: LRAnalysis, *, maximize: bool) -> Source:
    return Source(
        result=result,
        reason="",
        curve=result.curve,
        trials=result.trials,
        baseline=result.baseline,
        param_name=result.param_name,
        steps=result.steps,
        maximize=maximize,
        roles=result.roles,
    )


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


def warn_empty(plot: str, reason: str) -> None:
    """Says why a plot is empty, through the log as Optuna's plots do."""
    _logger.warning("%s has nothing to draw: %s", plot, reason)
