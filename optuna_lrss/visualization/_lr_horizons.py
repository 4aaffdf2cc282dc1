"""The picks at each snapshot step: how much they depend on the horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._read import read
from optuna_lrss.visualization._source import Source
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import PICKS
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


#: Title of the axis of steps.
STEPS_LABEL = "horizon (optimizer steps)"
_NO_HORIZONS = (
    "the trials report no losses at several steps: pass snapshots=(5, 10, 20, 40) to "
    "StepObjective, or call trial.report(loss, step) at them"
)


class _LRHorizonsInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    steps: list[int]
    picks: dict[str, list[float]]
    window: tuple[list[float], list[float]]
    reason: str


def plot_lr_horizons(
    study_or_result: Study | LRAnalysis,
    *,
    param_name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> Figure:
    """Plots the window and the picks over the number of steps they were measured after.

    Args:
        study_or_result: A study whose trials report at several steps, or its analysis.
        param_name: Name of the learning rate in a study; default ``"lr"``.
        configuration: In a study, values of the other parameters; default the best configuration.

    Returns:
        A plotly figure; empty, with a warning, where trials report at fewer than two steps.

    Raises:
        ValueError: If options come with an analysis, or the study has several objectives or no
            such configuration.
    """
    info = _get_lr_horizons_info(read(study_or_result, param_name, configuration))
    return _get_lr_horizons_plot(info)


def _get_lr_horizons_info(source: Source) -> _LRHorizonsInfo:
    result = source.result
    horizons = {} if result is None else {s: p for s, p in result.horizons.items() if s > 0}
    drift = None if result is None else result.drift.get("recommended")
    subtitle = (
        "no snapshot steps" if drift is None else f"drift {drift:+.2f} decades per 10x steps"
    )
    return _LRHorizonsInfo(
        title="Picks over the horizon",
        subtitle=subtitle,
        lr_label=source.lr_label,
        steps=list(horizons),
        picks={name: [p[name] for p in horizons.values()] for name in PICKS if horizons},
        window=(
            [p["min_lr"] for p in horizons.values()],
            [p["max_lr"] for p in horizons.values()],
        ),
        reason="" if horizons else source.reason or _NO_HORIZONS,
    )


# --- plotly -----------------------------------------------------------------------------------


def _get_lr_horizons_plot(info: _LRHorizonsInfo) -> Figure:
    go = _plotly.graph_objects()
    figure = _plotly.figure(info.title, info.subtitle)
    if not info.steps:
        warn_empty("plot_lr_horizons", info.reason)
        _plotly.note(figure, info.reason)
        return figure
    figure.update_xaxes(
        title_text=STEPS_LABEL, type="log", tickvals=info.steps,
        ticktext=[str(s) for s in info.steps],
    )  # fmt: skip
    figure.update_yaxes(title_text=info.lr_label, type="log", exponentformat="power", dtick=1)
    low, high = info.window
    figure.add_trace(
        go.Scatter(
            x=info.steps + info.steps[::-1], y=high + low[::-1], fill="toself", mode="none",
            fillcolor="rgba(59,130,196,0.2)", hoverinfo="skip", name="window",
        )
    )  # fmt: skip
    for name, lrs in info.picks.items():
        style = POINTS[name]
        figure.add_trace(
            go.Scatter(
                x=info.steps,
                y=lrs,
                mode="lines+markers",
                line={"color": style.color, "dash": style.dash, "width": 1.8},
                marker={"symbol": style.symbol, "size": 10},
                name=style.label,
                text=[short(lr) for lr in lrs],
                hovertemplate=f"{style.label} %{{text}}<br>%{{x}} steps<extra></extra>",
            )
        )
    return figure
