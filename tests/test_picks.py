"""The picks for a training: its length, what they are read from, how sure, how doubtful."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import warnings
from dataclasses import fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from optuna_lrss import LRAnalysis
from optuna_lrss import analyze
from optuna_lrss._method.recommend import recommended_lr
from optuna_lrss._method.sureness import RISKS
from optuna_lrss._method.sureness import sureness
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.pick_doubts import LONGEST
from optuna_lrss._study import attributes
from tests.curves import Curve
from tests.studies import PLAIN


SPACE = FloatDistribution(*PLAIN.range, log=True)
FOR_TRAINING = ("recommended", "peak")
#: A third of a decade from the knee to the lowest loss.
NARROW = Curve("narrow", centre=-3.0, width=0.03, wall=-2.65, steep=0.03)


def study_of(
    curve: Curve = PLAIN, *, spacing: float = 0.125, longer: dict[int, Curve] | None = None
) -> optuna.Study:
    """A curve of 20 steps, and six longer trials around the lowest point of each other one."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", curve.baseline)
    study.set_user_attr("lrss:steps", 20)
    for x in np.arange(curve.low, curve.high + 1e-9, spacing):
        _add(study, x, curve.loss(10.0**x))
    for steps, other in (longer or {}).items():
        for k in range(-4, 2):
            x = other.truth().max_lr + 0.25 * k
            _add(study, x, other.loss(10.0**x), steps)
    return study


def _add(study: optuna.Study, x: float, loss: float, horizon: int | None = None) -> None:
    claim = {"x": float(x), "role": "longer", "leader": 0, "horizon": horizon}
    study.add_trial(
        optuna.create_trial(
            params={"lr": float(10.0**x)},
            distributions={"lr": SPACE},
            value=loss,
            system_attrs={} if horizon is None else {"lrss:claim": claim},
        )
    )


@pytest.fixture(scope="module")
def plain() -> LRAnalysis:
    return analyze(study_of())


@pytest.fixture(scope="module")
def longer() -> LRAnalysis:
    return analyze(study_of(longer={80: PLAIN.shifted(-0.3), 320: PLAIN.shifted(-0.5)}))


def codes(result: LRAnalysis) -> set[str]:
    return {d.code for d in result.diagnostics}


# --- The length of the training -----------------------------------------------------------------


@pytest.mark.parametrize("total_steps", [50, 1000, 30_000])
def test_peak_lies_a_quarter_decade_above_recommended(total_steps: int) -> None:
    for result in (analyze(study_of(), total_steps=total_steps), analyze(study_of())):
        assert result.peak == pytest.approx(result.recommended * 10**0.25, rel=1e-12)
        again = result.with_total_steps(7 * total_steps)
        assert again.peak == pytest.approx(again.recommended * 10**0.25, rel=1e-12)


def test_ten_times_the_steps_halve_the_picks(plain: LRAnalysis) -> None:
    longer = plain.with_total_steps(10 * plain.total_steps)
    for name in FOR_TRAINING:
        assert getattr(longer, name) / getattr(plain, name) == pytest.approx(10**-0.3)
    assert pytest.approx(0.5, abs=0.005) == 10**-0.3  # as the report and the pages say
    assert longer.total_steps == 10_000
    assert longer.total_steps_known
    for f in fields(plain):
        if f.name not in (*FOR_TRAINING, "total_steps", "total_steps_known", "horizons", "drift"):
            assert getattr(longer, f.name) == getattr(plain, f.name), f.name


@pytest.mark.parametrize("steps", [1, 20, 79, 80, 81, 500, 100_000])
def test_with_total_steps_is_analyze_with_total_steps(steps: int) -> None:
    study = study_of(longer={80: PLAIN.shifted(-0.3)})
    told, changed = analyze(study, total_steps=steps), analyze(study).with_total_steps(steps)
    for f in fields(told):
        one, other = getattr(changed, f.name), getattr(told, f.name)
        if f.name in FOR_TRAINING:
            assert one == pytest.approx(other, rel=1e-12)
        elif f.name not in ("curve", "longer"):
            assert one == other, f.name
    back = changed.with_total_steps(1000)
    assert back.recommended == pytest.approx(analyze(study).recommended, rel=1e-12)


def test_the_picks_at_every_step_are_for_the_same_training() -> None:
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.3)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *PLAIN.range, log=True)
        for step in (0, 5, 20):
            trial.report(PLAIN.shifted(-0.01 * step).loss(lr), step)
        return PLAIN.shifted(-0.2).loss(lr)

    for x in np.arange(-6.5, 0.51, 0.25):
        study.enqueue_trial({"lr": float(10.0**x)})
    study.optimize(objective, n_trials=29)
    told, changed = analyze(study, total_steps=10), analyze(study).with_total_steps(10)
    assert list(told.horizons) == [0, 5, 20]
    for step, picks in told.horizons.items():
        assert changed.horizons[step] == pytest.approx(picks, rel=1e-12)
    assert changed.drift == pytest.approx(told.drift, abs=1e-9)
    assert told.drift != pytest.approx(
        analyze(study).drift, abs=1e-3
    )  # so that it means something


def test_a_training_that_is_shorter_than_its_trials_wants_what_they_want(
    longer: LRAnalysis,
) -> None:
    assert longer.horizon == 320
    picks = [longer.with_total_steps(n).recommended for n in (10, 320, 321)]
    assert picks[0] == picks[1] > picks[2]


@pytest.mark.parametrize("total_steps", [0, -5, 1.5, True, "1000", None, math.nan])
def test_a_length_that_is_none_is_refused(plain: LRAnalysis, total_steps: Any) -> None:
    with pytest.raises(ValueError, match=f"total_steps={total_steps!r}"):
        plain.with_total_steps(total_steps)
    if total_steps is not None:  # which analyze takes for "nobody says"
        with pytest.raises(ValueError, match=f"total_steps={total_steps!r}"):
            analyze(study_of(), total_steps=total_steps)


def test_the_caller_goes_before_the_study_and_that_before_a_thousand_steps() -> None:
    study = study_of()
    assert (analyze(study).total_steps, analyze(study).total_steps_known) == (1000, False)
    study.set_user_attr("lrss:total_steps", 5000)
    stored = analyze(study)
    assert (stored.total_steps, stored.total_steps_known) == (5000, True)
    given = analyze(study, total_steps=300)
    assert (given.total_steps, given.total_steps_known) == (300, True)
    assert given.recommended / stored.recommended == pytest.approx((5000 / 300) ** 0.3)


@pytest.mark.parametrize("stored", ["many", 0, -3, 0.5, True, [5], math.inf])
def test_a_stored_length_that_is_none_is_as_if_nobody_said(
    stored: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of()
    study.set_user_attr("lrss:total_steps", stored)
    monkeypatch.setattr(attributes, "_warned", set())
    optuna.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        result = analyze(study)
    assert (result.total_steps, result.total_steps_known) == (1000, False)
    if not attributes.is_number(stored):
        assert "lrss:total_steps" in caplog.text


# --- What they are read from --------------------------------------------------------------------


def test_the_longest_trials_that_learn_say_where_a_training_goes(longer: LRAnalysis) -> None:
    curve = longer.longer[320]
    assert longer.horizon == 320
    assert longer.gained == pytest.approx((2.3 - curve.loss.min()) / 2.3)
    expected = recommended_lr(curve, 2.3, float(curve.loss.min()), steps=320, total_steps=1000)
    assert longer.recommended == pytest.approx(expected)
    low, high = curve.lr[0] * (320 / 1000) ** 0.3, curve.lr[-1] * (320 / 1000) ** 0.3
    assert low <= longer.recommended <= high


def test_the_window_and_the_papers_picks_are_those_of_the_short_trials(
    plain: LRAnalysis, longer: LRAnalysis
) -> None:
    for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest", "lowest", "steps"):
        assert getattr(longer, name) == getattr(plain, name)


@pytest.mark.parametrize(
    "losses", [[math.inf] * 4, [2.5, 2.4, 2.4, 9.0], [1.0, 0.9]], ids=["inf", "worse", "too few"]
)
def test_longer_trials_that_say_nothing_are_passed_over(
    losses: list[float], plain: LRAnalysis
) -> None:
    study = study_of()
    for k, loss in enumerate(losses):
        _add(study, -2.0 + 0.25 * k, loss, 80)
    result = analyze(study)
    assert result.horizon == 20
    assert result.recommended == plain.recommended
    assert len(result.longer[80]) == len(losses)


# --- How sure they are --------------------------------------------------------------------------


KINDS = [(True, 0.5), (False, 0.5), (True, 0.05), (False, 0.05)]


@pytest.fixture(params=KINDS, ids=["longer", "short", "longer, little", "little"])
def kind(request: pytest.FixtureRequest, plain: LRAnalysis) -> LRAnalysis:
    """The same picks, measured in each of the ways that the table knows."""
    longer, gained = request.param
    return replace(plain, horizon=80 if longer else 20, gained=gained)


def test_every_interval_holds_its_point(kind: LRAnalysis) -> None:
    assert set(kind.intervals) == {*kind.picks, "min_lr", "max_lr"}
    for name, (low, high) in kind.intervals.items():
        assert low < high
        assert low <= getattr(kind, name) <= high


def test_intervals_of_the_picks_are_the_tables(kind: LRAnalysis) -> None:
    for name in FOR_TRAINING:
        known = sureness(name, longer=kind.horizon > 20, enough=kind.gained > 0.1)
        assert kind.intervals[name] == known.interval(getattr(kind, name))
        assert np.log10(kind.intervals[name]) - math.log10(getattr(kind, name)) == pytest.approx(
            [known.low, known.high]
        )


def test_little_gained_is_less_sure_and_longer_trials_are_surer(plain: LRAnalysis) -> None:
    def width(**changes: Any) -> float:
        low, high = replace(plain, **changes).intervals["recommended"]
        return math.log10(high / low)

    assert width(horizon=80) < width() < width(gained=0.05) == width(horizon=80, gained=0.05)


def test_a_point_of_the_curve_is_as_sure_as_bracket_and_noise_leave_it(plain: LRAnalysis) -> None:
    before = replace(plain, noise=0.0).intervals
    for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest"):
        assert before[name] == plain.brackets[name]
    for noise in (0.04, 0.25):
        widened = replace(plain, noise=noise).intervals
        for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest"):
            reach = 10.0 ** (0.5 * math.sqrt(noise))
            point = getattr(plain, name)
            wanted = min(before[name][0], point / reach), max(before[name][1], point * reach)
            assert widened[name] == pytest.approx(wanted, rel=1e-12)
    assert widened["half_loss"][0] < before["half_loss"][0]  # so that the test means something
    for name in FOR_TRAINING:
        assert widened[name] == before[name]


@pytest.mark.parametrize("schedule", ["constant", "decay"])
def test_a_larger_risk_is_a_higher_learning_rate(kind: LRAnalysis, schedule: str) -> None:
    name = "recommended" if schedule == "constant" else "peak"
    known = kind.sureness(name)
    risks = np.linspace(0.05, 0.5, 46)
    picks = [kind.pick(risk=float(r), schedule=schedule) for r in risks]
    assert all(a < b for a, b in itertools.pairwise(picks))
    for risk, decades in zip(RISKS, known.too_high, strict=True):
        pick = kind.pick(risk=risk, schedule=schedule)
        assert math.log10(pick / getattr(kind, name)) == pytest.approx(decades)
    assert kind.pick(risk=0.25) == kind.pick(risk=np.float64(0.25), schedule="constant")


@pytest.mark.parametrize("risk", [0.0, 0.049, 0.51, 1.0, -0.1, math.nan, True, "0.1", None])
def test_a_risk_that_the_table_does_not_know_is_refused(plain: LRAnalysis, risk: Any) -> None:
    with pytest.raises(ValueError, match=r"risk=.* must lie in \[0\.05, 0\.5\]"):
        plain.pick(risk=risk)


def test_a_schedule_that_is_unknown_is_refused(plain: LRAnalysis) -> None:
    with pytest.raises(ValueError, match=r"schedule='cosine' is unknown.*'constant', 'decay'"):
        plain.pick(risk=0.1, schedule="cosine")


# --- Their doubts -------------------------------------------------------------------------------


def test_the_doubt_about_a_long_training_follows_its_length(plain: LRAnalysis) -> None:
    most = int(LONGEST) * 20
    assert codes(plain) == codes(plain.with_total_steps(most)) == set()
    far = plain.with_total_steps(most + 1)
    assert codes(far) == {"long-training"}
    assert codes(far.with_total_steps(1000)) == set()
    assert "18000 steps is 900 times" in str(far.with_total_steps(18_000).diagnostics[0])
    assert len(far.with_total_steps(18_000).diagnostics) == 1


@pytest.mark.parametrize(
    ("total_steps", "remedy"), [(48_000, 'steps="auto"'), (48_001, "steps=81")]
)
def test_the_remedy_of_a_long_training_works(total_steps: int, remedy: str) -> None:
    (doubt,) = analyze(study_of(), total_steps=total_steps).diagnostics
    assert remedy in doubt.remedy
    if "auto" in remedy:
        after = study_of(longer={80: PLAIN.shifted(-0.3)})
    else:
        after = study_of()
        after.set_user_attr("lrss:steps", 81)
    assert codes(analyze(after, total_steps=total_steps)) == set()


@pytest.mark.parametrize("moved", [-1.0, -0.7, 0.7, 1.0])
def test_an_upper_end_that_moves_far_is_doubted(moved: float) -> None:
    result = analyze(study_of(longer={80: PLAIN.shifted(moved)}))
    found = [d for d in result.diagnostics if d.code == "upper-end-moved"]
    assert len(found) == (abs(moved) > 0.8)
    for doubt in found:
        said = re.search(r"moves by (\S+) decades", doubt.message)
        assert said is not None
        assert float(said[1]) == pytest.approx(moved, abs=0.11)


@pytest.mark.parametrize(("width", "narrow"), [(0.35, True), (0.45, False)])
def test_a_window_below_four_tenths_of_a_decade_is_no_window_to_train_in(
    plain: LRAnalysis, width: float, narrow: bool
) -> None:
    result = replace(plain, min_lr=plain.max_lr / 10**width)
    assert (f"narrow window   {result.min_lr:.2e}" in str(result)) == narrow
    assert (f"viable window   {result.min_lr:.2e}" in str(result)) == (not narrow)


def test_a_narrow_window_is_doubted_and_named(plain: LRAnalysis) -> None:
    result = analyze(study_of(NARROW, spacing=0.05))
    assert "narrow-window" in codes(result)
    assert "narrow window" in str(result)
    assert "viable window" not in str(result)
    assert "narrow window" not in str(plain)


# --- The report ---------------------------------------------------------------------------------


def words(result: LRAnalysis) -> str:
    return " ".join(str(result).split())


def test_the_report_says_what_training_the_picks_are_for(plain: LRAnalysis) -> None:
    assert (
        "recommended and peak are for a training of 1000 steps (total_steps=... says how many it "
        "will be); ten times as many want 0.5 times as much."
    ) in words(plain)
    told = words(plain.with_total_steps(5000))
    assert "for a training of 5000 steps; ten times as many" in told
    assert "in 80 % of trainings" in told


def test_the_report_says_why_a_pick_lies_outside_the_window(plain: LRAnalysis) -> None:
    assert "the window is that of" not in words(plain)
    below = plain.with_total_steps(100_000_000)
    assert below.recommended < below.min_lr
    assert (
        "recommended lies below the window: the window is that of 20 steps, the pick is for "
        "100000000, read from trials of 20."
    ) in words(below)
    above = analyze(study_of(longer={80: PLAIN.shifted(1.0)}), total_steps=80)
    assert above.recommended > above.max_lr
    assert "lies above the window: the window is that of 20 steps" in words(above)


def test_the_report_counts_the_longer_trials(longer: LRAnalysis) -> None:
    assert "12 longer" in words(longer)
    assert "6 trials of 80 steps" in words(longer)
    assert "6 trials of 320 steps" in words(longer)
    assert max(map(len, str(longer).splitlines())) <= 79


# --- A second study -----------------------------------------------------------------------------


def test_a_window_that_holds_is_the_range_of_a_second_study(plain: LRAnalysis) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = plain.distribution()
    assert found == FloatDistribution(plain.min_lr, plain.max_lr, log=True)


def test_a_window_that_leaves_recommended_out_is_widened(plain: LRAnalysis) -> None:
    for result in (
        plain.with_total_steps(100_000_000),
        analyze(study_of(longer={80: PLAIN.shifted(1.0)}), total_steps=80),
    ):
        with pytest.warns(UserWarning, match=r"distribution\(\).*leaves recommended out") as seen:
            found = result.distribution()
        assert found.log
        assert Path(seen[0].filename) == Path(__file__)  # whose line it is
        assert found.low == min(result.min_lr, result.intervals["recommended"][0])
        assert found.high == max(result.max_lr, result.intervals["peak"][1])
        assert found.low <= result.recommended <= found.high


def test_a_narrow_window_is_widened() -> None:
    result = analyze(study_of(NARROW, spacing=0.05), total_steps=20)
    with pytest.warns(UserWarning, match="too narrow to train in"):
        found = result.distribution()
    assert found.low <= min(result.min_lr, result.intervals["recommended"][0])
    assert found.high >= max(result.max_lr, result.intervals["peak"][1])
    assert math.log10(found.high / found.low) > 0.4


def test_peak_is_enqueued_beside_recommended(plain: LRAnalysis) -> None:
    study = optuna.create_study()
    plain.enqueue_picks(study)
    waiting = [t.system_attrs["fixed_params"]["lr"] for t in study.trials]
    assert waiting[:2] == [plain.recommended, plain.peak]
    plain.enqueue_picks(study, picks="peak")
    assert len(study.trials) == len(waiting)


# --- JSON ---------------------------------------------------------------------------------------


def test_json_keeps_all_that_the_picks_are_made_of(longer: LRAnalysis) -> None:
    text = longer.with_total_steps(123_456).to_json()
    again = LRAnalysis.from_json(text)
    assert again.to_json() == text
    assert str(again) == str(longer.with_total_steps(123_456))
    assert again.intervals == longer.with_total_steps(123_456).intervals
    assert again.total_steps_known
    assert list(again.longer) == [80, 320]
    for steps, curve in longer.longer.items():
        np.testing.assert_array_equal(again.longer[steps].lr, curve.lr)
        np.testing.assert_array_equal(again.longer[steps].loss, curve.loss)
        assert again.longer[steps].count.dtype == curve.count.dtype
    assert again.pick(risk=0.1) == longer.with_total_steps(123_456).pick(risk=0.1)


def test_a_longer_trial_that_diverged_goes_through_json() -> None:
    study = study_of(longer={80: PLAIN})
    _add(study, 0.9, math.inf, 80)
    result = analyze(study)
    assert result.longer[80].loss[-1] == math.inf
    assert LRAnalysis.from_json(result.to_json()).longer[80].loss[-1] == math.inf


#: Where a field says what there was beside, none is as good as not said.
BESIDE = ("validated", "n_validations", "inferred", "held_out", "groups", "roles")


@pytest.mark.parametrize("name", BESIDE)
def test_what_was_not_there_need_not_be_said(plain: LRAnalysis, name: str) -> None:
    old = {k: v for k, v in plain.to_dict().items() if k != name}
    assert not getattr(LRAnalysis.from_dict(old), name)


@pytest.mark.parametrize("name", [f.name for f in fields(AnalysisData) if f.name not in BESIDE])
def test_an_analysis_of_another_version_says_so(plain: LRAnalysis, name: str) -> None:
    """Version 0.1's picks meant something else, so that no default would be true."""
    old = {k: v for k, v in plain.to_dict().items() if k != name}
    with pytest.raises(ValueError, match=rf"lacks {name}: .*another version.*analyze\(study\)"):
        LRAnalysis.from_dict(old)
    with pytest.raises(ValueError, match=rf"lacks {name}"):
        LRAnalysis.from_json(json.dumps(dict.fromkeys(old)))
