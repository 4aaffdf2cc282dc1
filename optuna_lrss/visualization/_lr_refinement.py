"""Which learning rate was tried when, and why (the paper's Figure 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import ROLES
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


class _Try(NamedTuple):
    """One short trial; ``loss`` is inf where it diverged, nan where it failed."""

    number: int
    lr: float
    loss: float


class _LRRefinementInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    tries: dict[str, list[_Try]]  # by role, in the order of ROLES
    window: tuple[float, float] | None
    recommended: float | None
    reason: str


def plot_lr_refinement(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Figure:
    """Plots which learning rate was tried when, by what it was tried for.

    Time goes up; the trials close in on the window's ends and the picks (paper, Figure 8).

    Args:
        study_or_result: A study, or an analysis.
        param_name: Name of the learning rate in a study; default ``"lr"``.
        configuration: In a study, values of the other parameters; default the best configuration.

    Returns:
        A plotly figure; empty, with a warning, where there are no trials.

    Raises:
        ValueError: If options come with an analysis, or the study has several objectives or no
            such configuration.
    """
    info = _get_lr_refinement_info(read(study_or_result, param_name, configuration))
    return _get_lr_refinement_plot(info)


def _get_lr_refinement_info(source: Source) -> _LRRefinementInfo:
    result = source.result
    tries: dict[str, list[_Try]] = {role: [] for role in ROLES}
    for number, lr, loss in source.trials:
        role = source.roles.get(number, "")
        tries[role if role in ROLES else ""].append(_Try(number, lr, loss))
    return _LRRefinementInfo(
        title="Which learning rate was tried when",
        subtitle=f"{len(source.trials)} short trials" if source.trials else "no short trials",
        lr_label=source.lr_label,
        tries={role: found for role, found in tries.items() if found},
        window=None if result is None else (result.min_lr, result.max_lr),
        recommended=None if result is None else result.recommended,
        reason=source.reason,
    )


def _hover(trial: _Try) -> str:
    loss = f"loss {trial.loss:.5g}"
    if math.isinf(trial.loss):
        loss = "diverged"
    elif math.isnan(trial.loss):
        loss = "failed"
    return f"trial {trial.number}<br>learning rate {short(trial.lr)}<br>{loss}"


# --- plotly -----------------------------------------------------------------------------------


def _get_lr_refinement_plot(info: _LRRefinementInfo) -> Figure:
    go = _plotly.graph_objects()
    figure = _plotly.figure(info.title, info.subtitle)
    if not info.tries:
        warn_empty("plot_lr_refinement", info.reason)
        return figure
    _plotly.lr_axis(figure, info.lr_label)
    figure.update_yaxes(title_text="trial", tickformat="d", zeroline=False)
    _plotly.window(figure, info.window)
    if info.recommended is not None:
        _plotly.vertical(figure, info.recommended, POINTS["recommended"])
    for role, tries in info.tries.items():
        style = ROLES[role]
        figure.add_trace(
            go.Scatter(
                x=[t.lr for t in tries],
                y=[t.number for t in tries],
                mode="markers",
                marker={"color": style.color, "symbol": style.symbol, "size": 9},
                name=style.label,
                text=[_hover(t) for t in tries],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return figure
