"""analyze() and LRAnalysis: any study in, picks, doubts, JSON and a report out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import GridSampler
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from optuna_lrss import AllDivergedError
from optuna_lrss import Diagnostic
from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import NothingLearnsError
from optuna_lrss import TooFewPointsError
from optuna_lrss import analyze
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._result import diagnostics
from optuna_lrss._result import pick_doubts
from tests.curves import CURVES
from tests.curves import NAMES
from tests.curves import Curve
from tests.curves import Quadratic
from tests.studies import PLAIN
from tests.studies import new_study
from tests.studies import objective_of
from tests.studies import searched


INF = math.inf
LOW, HIGH = PLAIN.range
SPACE = FloatDistribution(LOW, HIGH, log=True)
POINTS = ("min_lr", "max_lr", "half_loss", "steepest", "midpoint")
FOR_TRAINING = ("recommended", "peak")
PICKS = (*FOR_TRAINING, "midpoint", "half_loss", "steepest")


def _study_of(
    losses: dict[float, float],
    *,
    baseline: float | None = 2.3,
    space: FloatDistribution = SPACE,
    **attrs: Any,
) -> optuna.Study:
    """A study with given losses, by log10 of the learning rate."""
    study = optuna.create_study(sampler=LRStepSampler())
    if baseline is not None:
        study.set_user_attr("lrss:baseline", baseline)
    for key, value in attrs.items():
        study.set_user_attr(f"lrss:{key}", value)
    for x, loss in losses.items():
        study.add_trial(
            optuna.create_trial(
                params={"lr": 10.0**x},
                distributions={"lr": space},
                value=None if math.isnan(loss) else loss,
                state=TrialState.FAIL if math.isnan(loss) else TrialState.COMPLETE,
            )
        )
    return study


def _sampled(curve: Curve = PLAIN, spacing: float = 0.25) -> dict[float, float]:
    x = np.arange(curve.low, curve.high + 1e-9, spacing)
    return {float(v): curve.loss(10.0**v) for v in x}


def _codes(result: LRAnalysis) -> set[str]:
    return {d.code for d in result.diagnostics}


def _add_longer(study: optuna.Study, steps: int, curve: Curve) -> None:
    """Six longer trials around a curve's lowest point, as a sampler claims them."""
    for k in range(-4, 2):
        x = curve.truth().max_lr + 0.25 * k
        claim = {"x": x, "role": "longer", "leader": 0, "horizon": steps}
        study.add_trial(
            optuna.create_trial(
                params={"lr": 10.0**x},
                distributions={"lr": SPACE},
                value=curve.loss(10.0**x),
                system_attrs={"lrss:claim": claim},
            )
        )


def _with_longer(curve: Curve, steps: int = 80, **attrs: Any) -> optuna.Study:
    """The plain curve after 20 steps, and another after more."""
    study = _study_of(_sampled(), steps=20, **attrs)
    _add_longer(study, steps, curve)
    return study


def _on_plateau() -> optuna.Study:
    """Nothing learns within 20 steps; the plain curve after 80."""
    study = _study_of(dict.fromkeys(_sampled(), 2.4), steps=20)
    _add_longer(study, 80, PLAIN)
    return study


@pytest.fixture(scope="module")
def clean() -> LRAnalysis:
    return analyze(searched())


# --- Any study ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "cliff", "negative losses", "moved left", "above one"])
def test_picks_of_a_searched_study_are_the_curves(name: str) -> None:
    curve = CURVES[NAMES.index(name)]
    result, truth = analyze(searched(curve)), curve.truth()
    for point in POINTS:
        assert math.log10(getattr(result, point)) == pytest.approx(getattr(truth, point), abs=0.1)
    assert result.resolved
    assert result.baseline == curve.baseline
    assert result.diagnostics == ()


GRID = {"lr": [float(v) for v in 10.0 ** np.arange(-6.9, 1.0, 0.2)]}
SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "grid": lambda: GridSampler(GRID, seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(seed=0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_studies_of_any_sampler_are_read(name: str) -> None:
    sampler = SAMPLERS[name]()
    study = new_study(sampler)
    study.optimize(objective_of(), n_trials=60)
    result, truth = analyze(study), PLAIN.truth()
    for point in POINTS:
        assert math.log10(getattr(result, point)) == pytest.approx(getattr(truth, point), abs=0.15)
    assert result.n_trials == len(study.trials)


def test_the_analysis_does_not_change_the_study() -> None:
    study = searched()
    before = (study.user_attrs, study.trials)
    analyze(study)
    assert (study.user_attrs, study.trials) == before


def test_brackets_are_known_neighbours(clean: LRAnalysis) -> None:
    assert set(clean.brackets) == set(POINTS)
    for name, (low, high) in clean.brackets.items():
        point = getattr(clean, name)
        assert low in clean.curve.lr
        assert high in clean.curve.lr
        assert low <= point * (1 + 1e-9)
        assert point <= high * (1 + 1e-9)
        inside = [lr for lr in clean.curve.lr if low * (1 + 1e-9) < lr < high * (1 - 1e-9)]
        assert len(inside) <= 1  # the point's own learning rate


def test_the_curve_holds_what_was_measured(clean: LRAnalysis) -> None:
    lrs = clean.curve.lr
    assert np.all(np.diff(lrs) > 0)
    np.testing.assert_array_equal(clean.curve.loss, [PLAIN.loss(lr) for lr in lrs])
    assert [lr for _, lr, _ in clean.trials] == [t.params["lr"] for t in searched().trials]
    assert clean.search_range == (LOW, HIGH)


def test_the_cost_is_counted() -> None:
    study = _study_of(_sampled(), steps=20)
    assert analyze(study).n_steps == 20 * len(study.trials)
    assert analyze(study).steps == 20
    assert analyze(study, steps=7).n_steps == 7 * len(study.trials)
    assert analyze(_study_of(_sampled())).n_steps is None


def test_trials_that_stopped_early_cost_less() -> None:
    study = _study_of(_sampled(), steps=20)
    study.add_trial(
        optuna.create_trial(
            params={"lr": 9.0},
            distributions={"lr": SPACE},
            value=INF,
            user_attrs={"lrss:trial": {"steps": 3, "diverged": True}},
        )
    )
    assert analyze(study).n_steps == 20 * (len(study.trials) - 1) + 3


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_momentum_lowers_the_recommendation_alone(beta: float) -> None:
    study = searched()
    plain, heavy = analyze(study), analyze(study, momentum=beta, steps=20)
    assert heavy.recommended / plain.recommended == pytest.approx(momentum_lag(beta, 20))
    for point in POINTS:
        assert getattr(heavy, point) == getattr(plain, point)
    stored = _study_of(_sampled(), steps=20, momentum=beta)
    assert analyze(stored).momentum == beta
    assert analyze(stored, momentum=0.0).momentum == 0.0


def test_arguments_go_before_what_is_stored() -> None:
    study = _study_of(_sampled(), baseline=2.3)
    assert analyze(study, baseline=3.0).baseline == 3.0
    half = analyze(study, baseline=3.0).half_loss
    assert PLAIN.loss(half) == pytest.approx(0.5 * (3.0 + analyze(study).lowest), abs=0.02)


def test_the_callers_baseline_goes_before_the_trials_and_that_before_the_studys() -> None:
    study = _study_of({}, baseline=2.0)
    for x, loss in _sampled().items():
        study.add_trial(
            optuna.create_trial(
                params={"lr": 10.0**x},
                distributions={"lr": SPACE},
                value=loss,
                user_attrs={"lrss:trial": {"baseline": 2.3}},
            )
        )
    assert analyze(study).baseline == 2.3
    assert analyze(study, baseline=2.5).baseline == 2.5


def test_a_baseline_of_zero_is_a_baseline() -> None:
    losses = {x: y - 2.3 for x, y in _sampled().items()}
    result = analyze(_study_of(losses, baseline=0.0))
    assert result.baseline == 0.0
    assert "no-baseline" not in _codes(result)


def test_raw_curvature_is_an_option() -> None:
    losses = {x: 10.0 * y for x, y in _sampled(spacing=0.1).items()}
    study = _study_of(losses, baseline=23.0)
    raw, scaled = analyze(study, normalize=False), analyze(study)
    assert raw.min_lr < 0.7 * scaled.min_lr
    assert raw.max_lr == scaled.max_lr


def test_maximized_studies_are_turned_around() -> None:
    study = new_study(direction="maximize")
    study.optimize(objective_of(sign=-1.0), n_trials=100)
    result = analyze(study)
    assert result.baseline == PLAIN.baseline
    assert result.curve.loss.min() == pytest.approx(PLAIN.loss(result.max_lr), abs=0.01)


# --- Configurations -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nested() -> optuna.Study:
    """Two widths; the wider one learns better, at a lower learning rate."""
    curves = {16: Curve("16", depth=1.5), 64: Curve("64").shifted(-0.5)}
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.3)
    for width, curve in curves.items():
        for x in np.arange(-7.0, 1.01, 0.25):
            study.add_trial(
                optuna.create_trial(
                    params={"lr": float(10.0**x), "width": width},
                    distributions={
                        "lr": SPACE,
                        "width": optuna.distributions.IntDistribution(1, 128),
                    },
                    value=curve.loss(10.0**x),
                )
            )
    return study


def test_by_default_the_best_configuration_is_analysed(nested: optuna.Study) -> None:
    result = analyze(nested)
    assert result.configuration == {"width": 64}
    assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr - 0.5, abs=0.1)
    assert "width=64" in str(result)


def test_a_configuration_can_be_chosen(nested: optuna.Study) -> None:
    result = analyze(nested, configuration={"width": 16})
    assert result.configuration == {"width": 16}
    assert result.n_trials == 33
    assert math.log10(result.max_lr) == pytest.approx(PLAIN.truth().max_lr, abs=0.1)


def test_an_unknown_configuration_is_named(nested: optuna.Study) -> None:
    with pytest.raises(ValueError, match=r"configuration=\{'width': 5\}.*'width': 16"):
        analyze(nested, configuration={"width": 5})


def test_a_configuration_without_a_window_does_not_hide_one_that_has(nested: optuna.Study) -> None:
    study = optuna.create_study()
    study.add_trials(nested.trials)
    study.set_user_attr("lrss:baseline", 2.3)
    study.add_trial(
        optuna.create_trial(
            params={"lr": 1e-3, "width": 8},
            distributions=nested.trials[0].distributions,
            value=-10.0,
        )
    )
    assert analyze(study).configuration == {"width": 64}


# --- Horizons -----------------------------------------------------------------------------------


def _snapshots(drift: float) -> optuna.Study:
    """Reports at steps 5, 20 and 80 of a curve that moves by ``drift`` decades per 10x."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.3)
    study.set_user_attr("lrss:steps", 80)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", LOW, HIGH, log=True)
        loss = 0.0
        for step in (5, 20, 80):
            loss = PLAIN.shifted(drift * math.log10(step / 20)).loss(lr)
            trial.report(loss, step)
        return loss

    for x in np.arange(-6.5, 0.51, 0.25):
        study.enqueue_trial({"lr": float(10.0**x)})
    study.optimize(objective, n_trials=29)
    return study


@pytest.mark.parametrize("drift", [0.0, -0.3, 0.4])
def test_horizons_and_their_drift(drift: float) -> None:
    study = _snapshots(drift)
    result = analyze(study)
    assert sorted(result.horizons) == [5, 20, 80]
    truth = PLAIN.truth()
    for step, picks in result.horizons.items():
        moved = drift * math.log10(step / 20)
        for name in ("min_lr", "max_lr", "half_loss"):
            assert math.log10(picks[name]) == pytest.approx(getattr(truth, name) + moved, abs=0.1)
    for name in ("midpoint", "half_loss"):
        assert result.drift[name] == pytest.approx(drift, abs=0.1)
    # Ten times the steps are a tenth of the way to the training, which takes 0.3 decades off.
    for name in FOR_TRAINING:
        assert result.drift[name] == pytest.approx(drift + 0.3, abs=0.1)


def test_a_step_can_be_analysed_alone() -> None:
    study = _snapshots(-0.5)
    early, late = analyze(study, step=5), analyze(study)
    assert early.steps == 5
    assert late.steps == 80
    shift = math.log10(late.half_loss / early.half_loss)
    assert shift == pytest.approx(-0.5 * math.log10(16), abs=0.05)
    picks = late.horizons[5]
    assert early.half_loss == picks["half_loss"]
    assert early.recommended == picks["recommended"]


def test_an_unreported_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step=7 .*\[5, 20, 80\]"):
        analyze(_snapshots(0.0), step=7)


def test_without_reports_there_are_no_horizons(clean: LRAnalysis) -> None:
    assert clean.horizons == {}
    assert clean.drift == {}


# --- Errors -------------------------------------------------------------------------------------


def test_an_empty_study_says_what_to_run() -> None:
    with pytest.raises(TooFewPointsError, match=r"suggest_float\('lr'"):
        analyze(optuna.create_study())


def test_a_wrong_parameter_name_is_told() -> None:
    with pytest.raises(TooFewPointsError, match=r"param_name=\.\.\."):
        analyze(searched(), param_name="learning_rate")


@pytest.mark.parametrize("low", [0.0, 1e-5, -1.0])
def test_a_linear_learning_rate_is_no_curve(low: float) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.set_user_attr("lrss:baseline", 2.3)
    study.optimize(lambda t: PLAIN.loss(abs(t.suggest_float("lr", low, 0.1))), n_trials=12)
    with pytest.raises(TooFewPointsError, match="log-scaled"):
        analyze(study)
    assert not LRStepSampler().is_resolved(study)


def test_several_objectives_have_no_curve() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="2 objectives"):
        analyze(study)


@pytest.mark.parametrize(
    ("losses", "error"),
    [
        ({-3: 1.0, -2: 0.5}, TooFewPointsError),
        ({-3: INF, -2: INF, -1: INF}, AllDivergedError),
        ({-5: 2.3, -4: 2.3, -3: 2.3, -2: 2.3}, NothingLearnsError),
        ({-5: math.nan, -4: math.nan, -3: math.nan}, TooFewPointsError),
    ],
)
def test_studies_without_a_window_raise_the_named_error(
    losses: dict[float, float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        analyze(_study_of(losses))


def test_an_error_names_the_end_of_the_range_and_not_the_last_learning_rate() -> None:
    with pytest.raises(NothingLearnsError, match=r"none was between 0\.01 and 10 yet"):
        analyze(_study_of({-5: 2.3, -4: 2.3, -3: 2.3, -2: 2.3}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"momentum=1\.0"),
        ({"momentum": "0.9"}, r"momentum='0\.9' must"),
        ({"momentum": math.nan}, "momentum=nan"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, r"steps=2\.5"),
        ({"steps": True}, "steps=True"),
        ({"step": "last"}, "step='last'"),
        ({"baseline": "2.3"}, r"baseline='2\.3'"),
        ({"baseline": math.nan}, "baseline=nan"),
        ({"baseline": math.inf}, "baseline=inf"),
        ({"tolerance": 0.0}, r"tolerance=0\.0"),
        ({"tolerance": "fine"}, "tolerance='fine'"),
        ({"param_name": None}, "param_name=None must be a string"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        analyze(_study_of(_sampled()), **arguments)


@pytest.mark.parametrize("study", [None, "sqlite:///lr.db", 3])
def test_what_is_no_study_is_named(study: Any) -> None:
    with pytest.raises(ValueError, match=r"study=.*must be an optuna\.Study"):
        analyze(study)


def test_numpy_numbers_are_numbers() -> None:
    result = analyze(
        _study_of(_sampled()),
        baseline=np.float32(2.3),
        steps=np.int64(20),
        momentum=np.float64(0.0),
        tolerance=np.float32(0.1),
    )
    assert LRAnalysis.from_json(result.to_json()).steps == 20


def test_an_unknown_horizon_is_not_made_up() -> None:
    unknown, known = (str(analyze(_study_of(_sampled(), **a))) for a in ({}, {"steps": 20}))
    assert "short trials of 20 steps" not in unknown
    assert "short trials of 20 steps" in known
    study = _study_of(_sampled())
    assert "of 30 steps" in str(analyze(study, steps=30))
    momentum = analyze(_study_of(_sampled(), momentum=0.99))
    assert _codes(momentum) & {"short-horizon", "no-steps"} == {"no-steps"}


def test_a_study_that_changes_other_parameters_each_time_says_so() -> None:
    study = new_study(RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("wd", 1e-5, 1e-2, log=True)
        return objective_of()(trial)

    study.optimize(objective, n_trials=60)
    with pytest.raises(TooFewPointsError, match=r"60 different values.*'wd'.*base_sampler"):
        analyze(study)


def test_the_report_says_whose_learning_rate_was_searched() -> None:
    result = analyze(_study_of(_sampled(), groups=[1.0, 0.1, 3]))
    assert result.groups == (1.0, 0.1, 3.0)
    assert LRAnalysis.from_json(result.to_json()).groups == result.groups
    report = " ".join(str(result).split())
    assert "first param group; the others have 0.1, 3 times as much" in report
    assert "param group" not in str(analyze(_study_of(_sampled())))


# --- JSON ---------------------------------------------------------------------------------------


def _strictly(text: str) -> Any:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _same(one: Any, other: Any) -> None:
    """Equal, bit for bit; nan equals nan."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert type(one) is type(other)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _same(a, b)
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
    else:
        assert type(one) is type(other)
        assert one == other


def _with_everything() -> optuna.Study:
    """Repeats, divergence, a failure, snapshots, and parameters whose text looks like a number."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.3)
    study.set_user_attr("lrss:steps", 20)
    rng = np.random.default_rng(0)
    others = {"inf": "inf", "name": "nan", "count": 3, "flag": True, "none": None, "rate": 0.1}
    space = {
        "lr": SPACE,
        **{k: optuna.distributions.CategoricalDistribution([v]) for k, v in others.items()},
    }
    for x in np.repeat(np.arange(-6.5, 0.6, 0.25), 2):
        loss = CURVES[NAMES.index("diverges to inf")].loss(10.0**x)
        loss += 0.01 * rng.normal()
        study.add_trial(
            optuna.create_trial(
                params={"lr": float(10.0**x), **others},
                distributions=space,
                value=loss,
                intermediate_values={5: 0.5 * (loss + 2.3), 20: loss},
            )
        )
    study.add_trial(
        optuna.create_trial(
            params={"lr": 0.5, **others}, distributions=space, state=TrialState.FAIL
        )
    )
    return study


@pytest.mark.parametrize("study", [searched, _with_everything])
def test_json_round_trip_is_exact(study: Callable[[], optuna.Study]) -> None:
    result = analyze(study())
    text = result.to_json()
    _strictly(text)
    again = LRAnalysis.from_json(text)
    _same(result.to_dict(), again.to_dict())
    assert again.to_json() == text
    assert str(again) == str(result)
    for mine, theirs in ((result.curve.lr, again.curve.lr), (result.curve.loss, again.curve.loss)):
        np.testing.assert_array_equal(mine, theirs)
    assert again.curve.count.dtype == result.curve.count.dtype
    assert isinstance(again.diagnostics, tuple)
    np.testing.assert_array_equal(again.fit.value, result.fit.value)


def test_everything_is_in_the_round_trip() -> None:
    result = analyze(_with_everything())
    assert np.isinf(result.curve.loss).any()
    assert np.isfinite(result.curve.stderr).any()
    assert result.horizons
    assert any(math.isnan(loss) for _, _, loss in result.trials)
    assert result.configuration["inf"] == "inf"
    assert result.configuration["none"] is None


def test_the_indent_is_for_the_eye_alone(clean: LRAnalysis) -> None:
    assert _strictly(clean.to_json(indent=2)) == _strictly(clean.to_json())
    assert "\n  " in clean.to_json(indent=2)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"curve": 3}', "null", "7"])
def test_what_is_no_analysis_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        LRAnalysis.from_json(text)


# --- The report ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [searched, _with_everything, lambda: _study_of(_sampled(), baseline=None, momentum=0.99)],
)
def test_the_report_fits_a_terminal(make: Callable[[], optuna.Study]) -> None:
    lines = str(analyze(make())).splitlines()
    assert max(map(len, lines)) <= 79
    assert all(line == line.rstrip() for line in lines)


def test_the_report_names_what_matters(clean: LRAnalysis) -> None:
    text = str(clean)
    for number in (clean.min_lr, clean.max_lr, *clean.picks.values()):
        assert f"{number:.2e}" in text
    for low, high in clean.intervals.values():
        assert f"{low:.2e} .. {high:.2e}" in text
    assert f"{clean.n_trials} short trials" in text
    assert "resolved" in text
    assert "not resolved" not in text
    assert "Resolved: the other points are read off a curve" in text  # beside wide neighbours
    assert "viable window" in text
    for name in (*PICKS, "min_lr", "max_lr"):
        assert name in text
    assert "'lr'" in text


def test_the_report_gives_every_doubt_with_its_remedy() -> None:
    result = analyze(_study_of(_sampled(spacing=0.5), baseline=None))
    assert not result.resolved
    text = " ".join(str(result).split())
    assert "not resolved yet" in text
    assert "Resolved:" not in text
    for doubt in result.diagnostics:
        assert doubt.message in text
        assert doubt.remedy in text
        assert str(doubt) == f"{doubt.message}: {doubt.remedy}"


def test_the_report_tells_of_the_horizons() -> None:
    result = analyze(_snapshots(0.0))
    text = str(result)
    for picks in result.horizons.values():
        assert f"{picks['recommended']:.2e}" in text
    assert f"{result.drift['recommended']:+.2f} decades" in text


def test_steps_are_in_the_report_where_they_are_known() -> None:
    assert "660 optimizer steps" in str(analyze(_study_of(_sampled(), steps=20)))
    assert "optimizer steps" not in str(analyze(_study_of(_sampled())))


# --- Diagnostics --------------------------------------------------------------------------------


def _noisy(sigma: float) -> optuna.Study:
    rng = np.random.default_rng(0)
    return _study_of(
        {x: y + sigma * rng.normal() for x, y in _sampled(spacing=0.125).items() if x < -0.5}
    )


def _two_minima() -> optuna.Study:
    losses = _sampled(spacing=0.125)
    return _study_of({x: y - 1.8 * math.exp(-(((x + 4.0) / 0.2) ** 2)) for x, y in losses.items()})


def _pruned() -> optuna.Study:
    study = _study_of(_sampled(spacing=0.125), steps=20)
    study.add_trial(
        optuna.create_trial(
            params={"lr": 10.0**-4.03},
            distributions={"lr": SPACE},
            state=TrialState.PRUNED,
            intermediate_values={3: 2.29},
        )
    )
    return study


def _guessed() -> optuna.Study:
    return _study_of(_sampled(), guess=0.3)


#: One direction falls at once, the others slowly: more steps bring more of the drop.
SLOW = Quadratic("slow", curvatures=(1.0, 0.002), parts=(0.02, 0.98), depth=1.2)
SLOW = replace(SLOW, limit=2.0, low=-4.0, high=1.0)


def _uncertain_validation() -> optuna.Study:
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.3)
    for x, loss in _sampled().items():
        study.add_trial(
            optuna.create_trial(
                params={"lr": 10.0**x},
                distributions={"lr": SPACE},
                value=loss,
                user_attrs={"lrss:trial": {"steps": 20, "diverged": False, "stderr": 0.6}},
            )
        )
    return study


NO_WALL = Curve("no wall", centre=-1.0, wall=20.0)
#: A third of a decade from the knee to the lowest loss.
NARROW = Curve("narrow", centre=-3.0, width=0.03, wall=-2.65, steep=0.03)
TRIGGERS: dict[str, tuple[Callable[[], optuna.Study], str]] = {
    "minimum-at-top": (lambda: _study_of(_sampled(NO_WALL)), r"raise the upper bound above 10\b"),
    "minimum-at-bottom": (
        lambda: _study_of({-3.0: 0.5, -2.5: 0.6, -2.0: 0.9, -1.5: 2.0, -1.0: INF}),
        "lower the lower bound below 1e-07",
    ),
    "no-plateau": (
        lambda: _study_of({-3.0: 1.0, -2.75: 0.8, -2.5: 0.6, -2.25: 0.5, -2.0: 0.9, -1.5: 2.0}),
        "lower the lower bound below 1e-07",
    ),
    "lone-divergence": (lambda: _study_of({**_sampled(), -2.6: INF}), "enqueue_trial"),
    "several-minima": (_two_minima, "repeats=3"),
    "noise": (lambda: _noisy(0.25), "repeats=3"),
    "short-horizon": (lambda: _study_of(_sampled(), momentum=0.99, steps=20), "steps=100"),
    "drift": (lambda: _snapshots(-0.9), "more steps"),
    "small-validation-set": (_uncertain_validation, "validation_batches"),
    "guessing": (_guessed, "inputs and targets"),
    "small-drop": (
        lambda: _study_of(_sampled(SLOW), baseline=SLOW.baseline, steps=20),
        "steps=80",
    ),
    "plateau": (_on_plateau, "steps=80"),
    "upper-end-moved": (lambda: _with_longer(PLAIN.shifted(-1.2)), "steps=80"),
    "cliff": (
        lambda: _study_of(
            {-4.0: 2.3, -3.0: 2.1, -2.5: 1.5, -2.0: 0.8, -1.9: 0.7, -1.8: 0.6, -1.7: INF},
            steps=20,
            total_steps=20,
        ),
        r"risk=0\.05",
    ),
    "narrow-window": (
        lambda: _study_of(_sampled(NARROW, spacing=0.05), steps=20),
        'steps="auto", or steps=80',
    ),
    "long-training": (
        lambda: _study_of(_sampled(), steps=20, total_steps=13_000),
        'steps="auto"',
    ),
    "exhausted": (
        lambda: _study_of({x: y - 0.326 for x, y in _sampled().items()}, baseline=1.974),
        "fewer steps",
    ),
    "no-baseline": (
        lambda: _study_of(_sampled(), baseline=None),
        r'set_user_attr\("lrss:baseline"',
    ),
    "no-steps": (lambda: _study_of(_sampled(), momentum=0.9), r'set_user_attr\("lrss:steps"'),
    "failed-trials": (lambda: _study_of({**_sampled(), -3.1: math.nan}), "errors"),
    "pruned-early": (_pruned, "LRStepPruner"),
    "unresolved": (lambda: _study_of(_sampled(spacing=0.5)), "run more trials"),
}


@pytest.mark.parametrize("code", TRIGGERS)
def test_each_diagnostic_is_triggered_and_has_a_remedy(code: str) -> None:
    make, remedy = TRIGGERS[code]
    found = {d.code: d for d in analyze(make()).diagnostics}
    assert code in found
    assert isinstance(found[code], Diagnostic)
    assert re.search(remedy, found[code].remedy)


def test_every_code_of_the_module_has_a_trigger() -> None:
    sources = [Path(m.__file__).read_text(encoding="utf-8") for m in (diagnostics, pick_doubts)]
    codes = set(re.findall(r'Diagnostic\(\s*"([a-z-]+)"', "".join(sources)))
    assert codes == set(TRIGGERS)


def test_a_clean_curve_raises_no_doubts(clean: LRAnalysis) -> None:
    assert clean.diagnostics == ()
    dense = _study_of(_sampled(spacing=0.0625), steps=20, momentum=0.0)
    assert _codes(analyze(dense)) == set()


def test_a_failure_that_was_made_up_for_is_no_doubt() -> None:
    study = _study_of({**_sampled(), -3.1: math.nan})
    assert "failed-trials" in _codes(analyze(study))
    study.add_trial(
        optuna.create_trial(params={"lr": 10.0**-3.1}, distributions={"lr": SPACE}, value=2.3)
    )
    assert "failed-trials" not in _codes(analyze(study))


def test_the_remedy_of_a_lone_divergence_works() -> None:
    study = _study_of({**_sampled(), -2.6: INF})
    doubt = next(d for d in analyze(study).diagnostics if d.code == "lone-divergence")
    call = re.search(r'enqueue_trial\(\{"lr": (\S+)\}\)', doubt.remedy)
    assert call is not None
    study.enqueue_trial({"lr": float(call[1])})
    study.optimize(lambda t: PLAIN.loss(t.suggest_float("lr", 1e-7, 10, log=True)), n_trials=1)
    assert "lone-divergence" not in _codes(analyze(study))


def test_the_remedy_of_a_small_drop_works() -> None:
    longer = replace(SLOW, steps=80)
    study = _study_of(_sampled(longer), baseline=longer.baseline, steps=80)
    assert "small-drop" not in _codes(analyze(study))


@pytest.mark.parametrize("depth", [0.004, 0.1, 0.25, 0.45, 0.5])
def test_a_drop_below_a_fifth_of_the_loss_is_doubted(depth: float) -> None:
    curve = replace(PLAIN, depth=depth)
    result = analyze(searched(curve))
    assert result.gained == pytest.approx((2.3 - result.lowest) / 2.3)
    assert ("small-drop" in _codes(result)) == (result.gained < 0.2) == (depth < 0.47)


@pytest.mark.parametrize(
    ("short", "longer", "said"),
    [
        (0.5, 1.0, None),
        (0.25, 1.0, None),
        (0.2, 1.0, "Trials of 20 steps gain"),  # under a tenth: what followed was no near look
        (0.5, 0.4, "The trials of 80 steps gain"),
    ],
)
def test_a_drop_is_judged_after_the_longest_trials(
    short: float, longer: float, said: str | None
) -> None:
    study = _study_of(_sampled(replace(PLAIN, depth=short)), steps=20)
    _add_longer(study, 80, replace(PLAIN, depth=longer))
    result = analyze(study)
    assert result.horizon == 80
    found = [d for d in result.diagnostics if d.code == "small-drop"]
    assert [d.message.startswith(str(said)) for d in found] == ([True] if said else [])
    assert all("steps=80, or with 320" in d.remedy for d in found)


@pytest.mark.parametrize(
    ("total", "remedy"), [(50, "steps=50,"), (200, 'steps="auto", or steps=80'), (10, "steps=80")]
)
def test_longer_trials_than_the_training_are_no_remedy(total: int, remedy: str) -> None:
    study = _study_of(_sampled(SLOW), baseline=SLOW.baseline, steps=20, total_steps=total)
    (found,) = [d for d in analyze(study).diagnostics if d.code == "small-drop"]
    assert remedy in found.remedy


def test_one_word_about_a_small_drop_is_enough() -> None:
    study = _study_of(_sampled(SLOW), baseline=SLOW.baseline, guess=2.0)
    assert _codes(analyze(study)) & {"guessing", "small-drop"} == {"guessing"}


def test_diagnostics_do_not_come_without_their_cause() -> None:
    """What triggers one of these says nothing about the others."""
    related = {
        "minimum-at-top": {"unresolved"},
        "no-baseline": {"unresolved"},
        "short-horizon": {"unresolved"},
        "no-steps": {"unresolved"},
        "small-validation-set": {"unresolved"},
        "unresolved": set(),
        "failed-trials": {"unresolved"},
        "exhausted": {"unresolved"},
        "drift": {"unresolved"},
        "several-minima": {"unresolved"},
        "small-drop": {"unresolved"},
        "plateau": {"unresolved"},
        "upper-end-moved": {"unresolved"},
        "cliff": {"unresolved"},
        "narrow-window": {"unresolved"},
        "long-training": {"unresolved"},
    }
    for code, allowed in related.items():
        assert _codes(analyze(TRIGGERS[code][0]())) <= {code, *allowed}, code


# --- What follows -------------------------------------------------------------------------------


def test_the_distribution_is_the_window(clean: LRAnalysis) -> None:
    distribution = clean.distribution()
    assert distribution == FloatDistribution(clean.min_lr, clean.max_lr, log=True)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    trial = study.ask({"lr": distribution})
    assert clean.min_lr <= trial.params["lr"] <= clean.max_lr


def test_picks_are_enqueued_once_each(clean: LRAnalysis) -> None:
    study = optuna.create_study()
    clean.enqueue_picks(study)
    clean.enqueue_picks(study)
    waiting = [t.system_attrs["fixed_params"]["lr"] for t in study.trials]
    assert sorted(waiting) == sorted(set(clean.picks.values()))
    study.optimize(objective_of(), n_trials=len(waiting))
    assert [t.params["lr"] for t in study.trials] == waiting


def test_enqueued_picks_take_other_parameters_and_names(clean: LRAnalysis) -> None:
    study = optuna.create_study()
    clean.enqueue_picks(
        study, picks=("max_lr", "recommended"), params={"width": 64}, param_name="eta"
    )
    fixed = [t.system_attrs["fixed_params"] for t in study.trials]
    assert fixed == [
        {"width": 64, "eta": clean.max_lr},
        {"width": 64, "eta": clean.recommended},
    ]


def test_one_pick_may_be_a_plain_string(clean: LRAnalysis) -> None:
    study = optuna.create_study()
    clean.enqueue_picks(study, picks="recommended")
    assert [t.system_attrs["fixed_params"]["lr"] for t in study.trials] == [clean.recommended]


def test_an_unknown_pick_is_refused(clean: LRAnalysis) -> None:
    with pytest.raises(ValueError, match=r"'best'.*recommended"):
        clean.enqueue_picks(optuna.create_study(), picks=("best",))


def test_picks_are_named(clean: LRAnalysis) -> None:
    assert tuple(clean.picks) == PICKS
    assert clean.midpoint == pytest.approx(math.sqrt(clean.min_lr * clean.max_lr))
    assert all(type(v) is float for v in clean.picks.values())
