"""What the plots say, before anything is drawn."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from optuna_lrss import LRAnalysis
from optuna_lrss import analyze
from optuna_lrss import visualization
from optuna_lrss.visualization import matplotlib as twins
from optuna_lrss.visualization._lr_configurations import _get_lr_configurations_info
from optuna_lrss.visualization._lr_configurations import _results
from optuna_lrss.visualization._lr_curvature import _get_lr_curvature_info
from optuna_lrss.visualization._lr_curve_info import _get_lr_curve_info
from optuna_lrss.visualization._lr_horizons import _get_lr_horizons_info
from optuna_lrss.visualization._lr_refinement import _get_lr_refinement_info
from optuna_lrss.visualization._read import read
from tests.visualization import cases


PLOTS = (
    "plot_lr_curve",
    "plot_lr_curvature",
    "plot_lr_refinement",
    "plot_lr_horizons",
    "plot_lr_configurations",
)
ONE_CURVE = PLOTS[:4]


# --- The curve ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [cases.plain, cases.noisy, cases.random_search])
def test_curve_has_a_point_for_every_trial(make: Callable[[], optuna.Study]) -> None:
    study = make()
    info = _get_lr_curve_info(read(study))
    told = [(t.number, t.params["lr"], t.value) for t in study.trials]
    assert [(p.number, p.lr, p.loss) for p in info.points] == told


def test_curve_pins_what_diverged_to_the_top_edge_and_nothing_else() -> None:
    info = _get_lr_curve_info(read(cases.plain()))
    pinned = [p for p in info.points if p.pinned]
    assert {math.isinf(p.loss) or p.loss > info.loss_range[1] for p in pinned} == {True}
    assert {p.y for p in pinned} == {info.loss_range[1]}
    shown = [p for p in info.points if not p.pinned]
    assert all(info.loss_range[0] < p.y == p.loss <= info.loss_range[1] for p in shown)
    assert len(pinned) == sum(t.value > info.loss_range[1] for t in cases.plain().trials) > 0


def test_curve_tells_inferred_losses_from_measured_ones() -> None:
    info = _get_lr_curve_info(read(cases.with_paths()))
    measured = {p.lr for p in info.points}
    assert len(info.inferred) >= 3
    assert not measured & {p.lr for p in info.inferred}
    for point in info.inferred:
        assert point.loss == pytest.approx(cases.loss_at(math.log10(point.lr)), abs=0.06)
        assert point.error > 0.0
    assert not _get_lr_curve_info(read(cases.plain())).inferred


def test_curve_line_is_the_loss_where_there_is_no_noise() -> None:
    info = _get_lr_curve_info(read(cases.plain()))
    lr, loss = (np.asarray(v) for v in info.line)
    inside = lr < 1.0  # beyond, single trials stand for a wall that rises e-fold per 0.15 decades
    truth = [cases.loss_at(x) for x in np.log10(lr[inside])]
    assert loss[inside] == pytest.approx(truth, abs=0.05 * cases.DROP)


def test_curve_marks_are_the_analysis() -> None:
    result = analyze(cases.plain())
    info = _get_lr_curve_info(read(cases.plain()))
    assert [m.name for m in info.marks] == [
        "recommended", "peak", "midpoint", "half_loss", "steepest", "min_lr", "max_lr",
    ]  # fmt: skip
    for mark in info.marks:
        assert mark.lr == getattr(result, mark.name)
        assert (mark.low, mark.high) == result.intervals[mark.name]
        assert mark.loss == pytest.approx(cases.loss_at(math.log10(mark.lr)), abs=0.05)
    assert info.window == (result.min_lr, result.max_lr)
    assert info.baseline == cases.BASELINE
    assert "14 short trials" in info.subtitle


def test_curve_shows_the_noise_only_where_repeats_measured_it() -> None:
    assert _get_lr_curve_info(read(cases.plain())).noise is None
    assert _get_lr_curve_info(read(cases.random_search())).noise is None
    measured = _get_lr_curve_info(read(cases.noisy())).noise
    assert measured == pytest.approx(0.05, rel=0.4)


def test_curve_without_window_shows_the_losses_and_the_reason() -> None:
    info = _get_lr_curve_info(read(cases.nothing_learns()))
    assert len(info.points) == 10
    assert info.window is None
    assert info.marks == []
    assert info.reason.startswith("Nothing learns")
    assert info.subtitle == "no viable window"


def test_loss_axis_says_what_it_is() -> None:
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("lrss:steps", 7)
    study.set_user_attr("lrss:baseline", -cases.BASELINE)
    study.optimize(lambda t: -min(cases.loss_at(cases.suggest_x(t)), 9.0), n_trials=30)
    assert _get_lr_curve_info(read(study)).loss_label == "negative objective value after 7 steps"
    label = _get_lr_curve_info(read(cases.plain())).loss_label
    assert label == "validation loss after 20 steps"
    unknown = optuna.create_study()
    unknown.add_trials(cases.plain().trials)
    assert _get_lr_curve_info(read(unknown)).loss_label == "validation loss"


# --- Slope and curvature ------------------------------------------------------------------------


def test_slope_and_curvature_are_those_of_the_formula() -> None:
    info = _get_lr_curvature_info(read(cases.plain()))
    x = np.log10(info.lr)
    h = 0.02
    left = (x > -4.0) & (x < -0.9)
    loss, slope, curvature = (np.asarray(row.values)[left] for row in info.rows)
    lowest = min(cases.loss_at(v) for v in np.linspace(-2, 1, 3001))

    def yn(at: np.ndarray) -> np.ndarray:
        return np.array([(cases.loss_at(v) - lowest) / (cases.BASELINE - lowest) for v in at])

    exact_slope = (yn(x[left] + h) - yn(x[left] - h)) / (2 * h)
    bend = (yn(x[left] + h) - 2 * yn(x[left]) + yn(x[left] - h)) / h**2
    exact_loss = yn(x[left])
    assert loss == pytest.approx(exact_loss, abs=0.02)
    assert slope == pytest.approx(exact_slope, abs=0.08)
    flank = np.isfinite(curvature)  # drawn as far as it was fitted, past the half-loss point
    assert flank[exact_loss > 0.5].all()
    exact_curvature = bend / (1 + exact_slope**2) ** 1.5
    assert curvature[flank] == pytest.approx(exact_curvature[flank], abs=0.15)


def test_points_are_marked_where_the_paper_reads_them_off() -> None:
    info = _get_lr_curvature_info(read(cases.plain()))
    curve, slope, curvature = info.rows
    marks = {name: (lr, y) for row in info.rows for name, lr, y in row.marks}
    assert marks["steepest"][1] == pytest.approx(np.nanmin(slope.values), abs=0.01)
    assert marks["min_lr"][1] == pytest.approx(np.nanmin(curvature.values), abs=0.01)
    assert marks["half_loss"][1] == pytest.approx(0.5, abs=0.01)
    assert marks["max_lr"][1] == pytest.approx(np.nanmin(curve.values), abs=0.01)
    for row in info.rows:
        assert all(row.value_range[0] < y < row.value_range[1] for _, _, y in row.marks)


# --- Refinement, horizons, configurations -------------------------------------------------------


def test_refinement_tells_the_claims_of_the_sampler() -> None:
    study = cases.noisy()
    info = _get_lr_refinement_info(read(study))
    told = {t.number: role for role, tries in info.tries.items() for t in tries}
    assert told == {t.number: t.system_attrs["lrss:claim"]["role"] for t in study.trials}
    assert {"coarse", "noise", "repeat"} < set(info.tries)


def test_refinement_of_other_samplers_has_no_roles() -> None:
    info = _get_lr_refinement_info(read(cases.random_search()))
    assert list(info.tries) == [""]
    assert [t.number for t in info.tries[""]] == list(range(40))


def test_horizons_move_as_the_curve_does() -> None:
    info = _get_lr_horizons_info(read(cases.with_horizons()))
    assert info.steps == [5, 10, 20]
    for lrs in info.picks.values():
        assert lrs[0] / lrs[2] == pytest.approx(4.0, rel=0.25)
    assert info.window[0][0] / info.window[0][2] == pytest.approx(4.0, rel=0.25)
    drift = re.fullmatch(r"drift (.*) decades per 10x steps", info.subtitle)
    assert drift is not None
    assert float(drift[1]) == pytest.approx(-1.0, abs=0.1)


def test_configurations_have_a_curve_each_the_best_first() -> None:
    study = cases.with_configurations()
    info = _get_lr_configurations_info(_results(study, None))
    assert {c.label for c in info.curves} == {"width=16", "width=64", "width=256"}
    for curve in info.curves:
        width = int(curve.label.removeprefix("width="))
        result = analyze(study, configuration={"width": width})
        assert curve.recommended == result.recommended
        # the fall moves down by half a decade per decade of width
        middle = cases.CENTRE - 0.5 * math.log10(width / 16)
        left = np.asarray(curve.lr) < 10 ** (middle + 1)
        loss, lr = np.asarray(curve.loss)[left], np.asarray(curve.lr)[left]
        at = lr[np.argmin(np.abs(loss - (cases.BASELINE - cases.DROP / 2)))]
        assert math.log10(at) == pytest.approx(middle, abs=0.06)


def test_configurations_can_be_analyses_of_several_studies() -> None:
    results = [analyze(cases.plain()), analyze(cases.noisy())]
    info = _get_lr_configurations_info(_results(results, None))
    assert sorted(c.recommended for c in info.curves) == sorted(r.recommended for r in results)


# --- All ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "get_info",
    [_get_lr_curve_info, _get_lr_curvature_info, _get_lr_refinement_info, _get_lr_horizons_info],
)
def test_study_analysis_and_its_json_give_the_same_info(get_info: Callable) -> None:
    study = cases.with_paths()
    result = analyze(study)
    of_study = str(get_info(read(study)))
    assert str(get_info(read(result))) == of_study
    assert str(get_info(read(LRAnalysis.from_json(result.to_json())))) == of_study


@pytest.mark.parametrize("module", [visualization, twins], ids=["plotly", "matplotlib"])
@pytest.mark.parametrize("plot", PLOTS)
def test_empty_study_gives_an_empty_titled_figure_and_a_warning(
    module: object, plot: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="optuna_lrss"):
        drawn = getattr(module, plot)(optuna.create_study())
    assert [plot in r.message for r in caplog.records] == [True]
    if module is visualization:
        assert drawn.layout.title.text
        assert not drawn.data
    else:
        ax = np.ravel(drawn)[0]
        assert ax.get_title(loc="left")
        assert not ax.lines


@pytest.mark.parametrize("module", [visualization, twins], ids=["plotly", "matplotlib"])
@pytest.mark.parametrize("plot", PLOTS)
def test_options_that_belong_to_a_study_are_refused_with_an_analysis(
    module: object, plot: str
) -> None:
    result = analyze(cases.plain())
    with pytest.raises(ValueError, match="param_name='eta'"):
        getattr(module, plot)(result, param_name="eta")
    if plot in ONE_CURVE:
        with pytest.raises(ValueError, match="configuration="):
            getattr(module, plot)(result, configuration={"width": 16})


def test_unknown_configuration_is_an_error() -> None:
    with pytest.raises(ValueError, match="width"):
        visualization.plot_lr_curve(cases.with_configurations(), configuration={"width": 3})


def test_several_objectives_are_an_error() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="2 objectives"):
        visualization.plot_lr_curve(study)
