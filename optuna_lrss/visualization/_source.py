"""What a plot is about: the analysis, or what is known of a curve that has no window."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from dataclasses import field

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._result.data import AnalysisData
from optuna_lrss.visualization._style import loss_label
from optuna_lrss.visualization._style import lr_label


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

    result: AnalysisData | None
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


def of_result(result: AnalysisData, *, maximize: bool = False) -> Source:
    """What there is to draw of an analysis."""
    return Source(
        result=result,
        reason="",
        curve=result.curve,
        trials=result.trials,
        baseline=result.baseline,
        param_name=result.param_name,
        steps=result.steps if result.steps_known else None,
        maximize=maximize,
        roles=result.roles,
    )


def warn_empty(plot: str, reason: str) -> None:
    """Says why a plot is empty, through the log as Optuna's plots do."""
    _logger.warning("%s has nothing to draw: %s", plot, reason)
