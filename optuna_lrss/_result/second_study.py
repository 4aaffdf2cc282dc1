"""What a second study takes over from an analysis: a range, and learning rates to try first."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._result.data import PICKS
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.pick_doubts import is_narrow
from optuna_lrss._study.arguments import checked_name
from optuna_lrss._study.arguments import checked_values


if TYPE_CHECKING:
    from optuna.study import Study


def training_window(data: AnalysisData, what: str) -> tuple[float, float]:
    """The window for a whole training: widened, with a warning, where that of short trials fails.

    It fails where it is too narrow for anybody to train in, or leaves ``recommended`` out. It is
    then widened to the intervals of ``recommended`` and ``peak``.

    Args:
        data: The analysis.
        what: Who asks, for the warning.
    """
    low, high = data.min_lr, max(data.max_lr, data.min_lr)
    if low <= data.recommended <= high and not is_narrow(data):
        return low, high
    intervals = data.intervals
    wide = min(low, intervals["recommended"][0]), max(high, intervals["peak"][1])
    why = "leaves recommended out" if not is_narrow(data) else "is too narrow to train in"
    warnings.warn(
        f"{what}: the window {low:.2g} .. {high:.2g} of {data.steps} steps {why}; it is widened "
        f"to {wide[0]:.2g} .. {wide[1]:.2g}, which holds recommended and peak. Search with longer "
        "trials, steps=80 say, for a window that holds.",
        stacklevel=3,  # the line that called the analysis
    )
    return wide


def enqueue_picks(
    data: AnalysisData,
    study: Study,
    picks: Any,
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
        ValueError: If a pick is unknown, the name is none, or ``params`` is no dict.
    """
    listed = isinstance(picks, Iterable) and not isinstance(picks, str)
    others, name = checked_values("params", params), checked_name(param_name)
    for lr in dict.fromkeys(learning_rates(data, picks if listed else [picks], "picks")):
        study.enqueue_trial({**others, name: lr}, skip_if_exists=True)


def learning_rates(data: AnalysisData, picks: Iterable[str], argument: str) -> list[float]:
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
