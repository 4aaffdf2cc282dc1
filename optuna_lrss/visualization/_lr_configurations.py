"""A curve per configuration, the values of the other hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np
from optuna.study import Study

from optuna_lrss._method.levels import WALL
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.arguments import checked_name
from optuna_lrss._study.curves import ranked
from optuna_lrss._study.history import StudyHistory
from optuna_lrss.visualization import _plotly
from optuna_lrss.visualization._lr_curve_info import MARGIN
from optuna_lrss.visualization._lr_curve_info import model
from optuna_lrss.visualization._source import warn_empty
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import SERIES
from optuna_lrss.visualization._style import loss_label
from optuna_lrss.visualization._style import lr_label
from optuna_lrss.visualization._style import rounded
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from plotly.graph_objects import Figure


#: More lines than styles cannot be told apart: the ones with the lowest loss are drawn.
MOST = len(SERIES)
_NOTHING = "no configuration of the study has a viable window yet"


class _Curve(NamedTuple):
    """One configuration's curve."""

    label: str
    lr: list[float]
    loss: list[float]  # nan = diverged
    trial_lr: list[float]
    trial_loss: list[float]
    recommended: float
    recommended_loss: float


class _LRConfigurationsInfo(NamedTuple):
    title: str
    subtitle: str
    lr_label: str
    loss_label: str
    curves: list[_Curve]
    loss_range: tuple[float, float]
    reason: str


def plot_lr_configurations(
    study_or_result: Study | LRAnalysis | Sequence[LRAnalysis],
    *,
    param_name: str | None = None,
) -> Figure:
    """Plots a curve per configuration, with the recommended learning rate of each.

    Args:
        study_or_result: A study with other hyperparameters, or the analyses to compare. The 8
            configurations with the lowest loss are drawn.
        param_name: Name of the learning rate in a study; default ``"lr"``.

    Returns:
        A plotly figure; empty, with a warning, where no configuration has a viable window.

    Raises:
        ValueError: If ``study_or_result`` is none of these, ``param_name`` is no name, or comes
            with an analysis.
    """
    results = _results(study_or_result, param_name)
    return _get_lr_configurations_plot(_get_lr_configurations_info(results))


def _results(study_or_result: Any, param_name: str | None) -> list[LRAnalysis]:
    """The analyses to draw, of every configuration that has a window."""
    if not isinstance(study_or_result, Study):
        if param_name is not None:
            raise ValueError(
                f"param_name={param_name!r}: an LRAnalysis has one already; pass it to analyze()."
            )
        if isinstance(study_or_result, LRAnalysis):
            return [study_or_result]
        if isinstance(study_or_result, Sequence):
            several = [r for r in study_or_result if isinstance(r, LRAnalysis)]
            if several and len(several) == len(study_or_result):
                return several
        raise ValueError(
            f"study_or_result={study_or_result!r} must be an Optuna study, an LRAnalysis, or a "
            "list of them."
        )
    name = "lr" if param_name is None else checked_name(param_name)
    results: list[LRAnalysis] = []
    curves = StudyHistory(name).refresh(study_or_result).curves.values()
    for observations in ranked(curves):
        if len(results) == MOST:
            break
        configuration: Mapping[str, Any] = dict(observations.configuration)
        try:
            results.append(analyze(study_or_result, param_name=name, configuration=configuration))
        except NoWindowError:
            continue
    return results


def _get_lr_configurations_info(results: Sequence[LRAnalysis]) -> _LRConfigurationsInfo:
    best = sorted(results, key=lambda r: r.lowest)[:MOST]
    top = max((r.baseline + (WALL - 1.0) * (r.baseline - r.lowest) for r in best), default=1.0)
    low = min((r.lowest for r in best), default=0.0)
    steps = {r.steps if r.steps_known else None for r in best}
    name = best[0].param_name if best else "lr"
    return _LRConfigurationsInfo(
        title="Learning-rate curves of the configurations",
        subtitle=f"{len(best)} with the lowest loss" if best else "no viable window",
        lr_label=lr_label(name),
        loss_label=loss_label(steps.pop() if len(steps) == 1 else None),
        curves=[_curve(r, top) for r in best],
        loss_range=(low - MARGIN * (top - low), top),
        reason="" if best else _NOTHING,
    )


def _curve(result: LRAnalysis, top: float) -> _Curve:
    x, loss = model(result)
    known = np.isfinite(loss)
    shown = result.curve.loss <= top
    at = np.interp(np.log10(result.recommended), x[known], loss[known])
    label = ", ".join(f"{k}={_value(v)}" for k, v in result.configuration.items())
    return _Curve(
        label=label or "all trials",
        lr=rounded((10.0**x).tolist()),
        loss=rounded(loss.tolist()),
        trial_lr=result.curve.lr[shown].tolist(),
        trial_loss=result.curve.loss[shown].tolist(),
        recommended=result.recommended,
        recommended_loss=float(at),
    )


def _value(value: Any) -> str:
    return short(value) if isinstance(value, float) else str(value)


# --- plotly -----------------------------------------------------------------------------------


def _get_lr_configurations_plot(info: _LRConfigurationsInfo) -> Figure:
    go = _plotly.graph_objects()
    figure = _plotly.figure(info.title, info.subtitle)
    if not info.curves:
        warn_empty("plot_lr_configurations", info.reason)
        return figure
    _plotly.lr_axis(figure, info.lr_label)
    figure.update_yaxes(title_text=info.loss_label, range=list(info.loss_range))
    figure.update_layout(legend_entrywidth=0)
    star = POINTS["recommended"]
    for i, (curve, style) in enumerate(zip(info.curves, SERIES, strict=False)):
        line = {"color": style.color, "dash": style.dash, "width": 1.8}
        label = f"{curve.label}: {short(curve.recommended)}"
        common = {"legendgroup": str(i), "name": label}
        figure.add_trace(
            go.Scatter(
                x=curve.lr, y=curve.loss, mode="lines", line=line, hoverinfo="skip",
                connectgaps=False, showlegend=False, **common,
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=curve.trial_lr, y=rounded(curve.trial_loss), mode="lines+markers",
                line={**line, "width": 0}, showlegend=False,
                marker={"color": style.color, "symbol": style.symbol, "size": 6}, **common,
                hovertemplate=(
                    f"{curve.label}<br>learning rate %{{x:.3g}}<br>loss %{{y:.5g}}<extra></extra>"
                ),
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[curve.recommended], y=rounded([curve.recommended_loss]), mode="lines+markers",
                line=line, **common,
                marker={"color": style.color, "symbol": star.symbol, "size": 14,
                        "line": {"width": 1, "color": "#ffffff"}},
                hovertemplate=(
                    f"{curve.label}<br>recommended {short(curve.recommended)}<extra></extra>"
                ),
            )
        )  # fmt: skip
    return figure
