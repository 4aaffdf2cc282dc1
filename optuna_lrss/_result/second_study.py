"""What a second study takes over from an analysis: a range, and learning rates to try first."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from optuna.distributions import FloatDistribution

from optuna_lrss._result.data import PICKS
from optuna_lrss._result.data import AnalysisData


if TYPE_CHECKING:
    from optuna.study import Study


def window_distribution(data: AnalysisData) -> FloatDistribution:
    """The window as a log-scaled distribution."""
    return FloatDistribution(data.min_lr, max(data.max_lr, data.min_lr), log=True)


def enqueue_picks(
    data: AnalysisData,
    study: Study,
    picks: Sequence[str],
    params: Mapping[str, Any],
    param_name: str,
) -> None:
    """Enqueues learning rates of an analysis in a study.

    Args:
        data: The analysis.
        study: The study to seed.
        picks: Names of picks or window ends.
        params: Other parameters to fix in the enqueued trials.
        param_name: Name of the learning rate in the study.

    Raises:
        ValueError: If a pick is unknown.
    """
    known = (*PICKS, "min_lr", "max_lr")
    unknown = [name for name in picks if name not in known]
    if unknown:
        raise ValueError(f"picks={picks!r} holds {unknown[0]!r}: use names of {known}.")
    for lr in dict.fromkeys(float(getattr(data, pick)) for pick in picks):
        study.enqueue_trial({**params, param_name: lr}, skip_if_exists=True)
