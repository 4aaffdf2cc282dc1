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
        picks: Names of picks or window ends; a string is one name.
        params: Other parameters to fix in the enqueued trials.
        param_name: Name of the learning rate in the study.

    Raises:
        ValueError: If a pick is unknown.
    """
    wanted = (picks,) if isinstance(picks, str) else tuple(picks)
    for lr in dict.fromkeys(learning_rates(data, wanted, "picks")):
        study.enqueue_trial({**params, param_name: lr}, skip_if_exists=True)


def learning_rates(data: AnalysisData, picks: Sequence[str], argument: str) -> list[float]:
    """The learning rates of picks and window ends, by name.

    Args:
        data: The analysis.
        picks: The names.
        argument: What the caller calls them.

    Raises:
        ValueError: If one is unknown.
    """
    known = (*PICKS, "min_lr", "max_lr")
    for name in picks:
        if name not in known:
            raise ValueError(f"{argument}: {name!r} is unknown, use names of {known}.")
    return [float(getattr(data, name)) for name in picks]
