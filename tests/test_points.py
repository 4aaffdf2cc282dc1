"""Points of interest: against exact curves, at the edges of the defined, and under symmetries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from optuna_lrss import AllDivergedError
from optuna_lrss import NothingLearnsError
from optuna_lrss import NoWindowError
from optuna_lrss import TooFewPointsError
from optuna_lrss import analyze
from optuna_lrss._method import fit
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import PointsOfInterest
from optuna_lrss._method.points import plateau_level
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import length_factor
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._method.recommend import recommended_lr
from optuna_lrss._method.recommend import upper_end
from optuna_lrss.visualization import plot_lr_curve
from tests.curves import CURVES
from tests.curves import NAMES
from tests.curves import ArctanFall
from tests.curves import Curve
from tests.searching import search_curve
from tests.studies import searched


POINTS = ("min_lr", "max_lr", "half_loss", "steepest", "midpoint")
INF = math.inf


def _curve(points: dict[float, float]) -> LRCurve:
    """From {log10 of the learning rate: loss}."""
    return LRCurve.from_observations([10.0**x for x in points], list(points.values()))


def _dense(curve: Curve, spacing: float = 0.05, phase: float = 0.0) -> LRCurve:
    x = np.arange(curve.low + phase, curve.high + 1e-9, spacing)
    return LRCurve.from_observations(10.0**x, [curve.loss(lr) for lr in 10.0**x])


def _decades(points: PointsOfInterest) -> dict[str, float]:
    return {name: math.log10(getattr(points, name)) for name in POINTS}


def _errors(points: PointsOfInterest, curve: Curve) -> dict[str, float]:
    truth = curve.truth()
    return {name: abs(x - getattr(truth, name)) for name, x in _decades(points).items()}


def _form_error(curve: Curve) -> float:
    """What the fitted form may cost where it is not the curve's: a plateau that never levels."""
    return 0.1 if isinstance(curve, ArctanFall) else 0.0


# --- Exact curves -----------------------------------------------------------------------------


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@pytest.mark.parametrize("strategy", ["paper", "frugal"])
@pytest.mark.parametrize("tolerance", [0.2, 0.1, 0.05])
def test_every_point_of_a_searched_curve_is_within_the_tolerance(
    curve: Curve, strategy: str, tolerance: float
) -> None:
    known, _ = search_curve(curve, strategy=strategy, tolerance=tolerance)
    errors = _errors(points_of_interest(known, curve.baseline), curve)
    assert max(errors.values()) <= max(tolerance, _form_error(curve)), errors


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
def test_dense_curves_give_every_point(curve: Curve) -> None:
    errors = _errors(points_of_interest(_dense(curve, 0.05, phase=0.013), curve.baseline), curve)
    assert max(errors.values()) <= max(0.05, _form_error(curve)), errors


@pytest.mark.parametrize("name", ["plain", "cliff", "negative losses", "above one"])
def test_without_a_baseline_the_plateau_stands_in(name: str) -> None:
    curve = CURVES[NAMES.index(name)]
    known = _dense(curve, 0.1)
    points = points_of_interest(known)
    assert points.baseline == pytest.approx(curve.baseline, abs=0.01 * curve.depth)
    assert max(_errors(points, curve).values()) <= 0.1


def test_lowest_is_the_loss_at_the_minimum() -> None:
    curve = CURVES[0]
    points = points_of_interest(_dense(curve), curve.baseline)
    assert points.lowest == pytest.approx(curve.loss(10.0 ** curve.truth().max_lr), abs=1e-3)
    assert points.noise < 1e-3


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05])
def test_noise_is_estimated_and_leaves_the_points_in_place(sigma: float) -> None:
    curve = Curve("noisy", width=0.3, wall=-1.2)
    noises, misses = [], []
    for seed in range(6):
        clean = _dense(curve, 0.1)
        noise = np.random.default_rng(seed).normal(0.0, sigma * curve.depth, len(clean))
        noisy = LRCurve.from_observations(clean.lr, clean.loss + noise)
        points = points_of_interest(noisy, curve.baseline)
        noises.append(points.noise)
        misses.append(max(_errors(points, curve).values()) > 0.3)
    assert np.median(noises) == pytest.approx(sigma, rel=0.5)
    assert sum(misses) <= 1


def test_repeats_measure_the_noise() -> None:
    curve, sigma = CURVES[0], 0.03
    lr = np.repeat(10.0 ** np.arange(-6.0, 0.5, 0.25), 5)
    rng = np.random.default_rng(1)
    losses = [curve.loss(r) + rng.normal(0.0, sigma * curve.depth) for r in lr]
    known = LRCurve.from_observations(lr, losses)
    groups = np.reshape(losses, (-1, 5))
    pooled = math.sqrt(np.mean(groups.var(axis=1, ddof=1)))
    assert known.repeat_noise == pytest.approx(pooled, rel=1e-9)
    np.testing.assert_allclose(known.loss, groups.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(known.stderr, groups.std(axis=1, ddof=1) / math.sqrt(5), rtol=1e-9)
    assert set(known.count) == {5}
    points = points_of_interest(known, curve.baseline)
    assert points.noise == pytest.approx(sigma, rel=0.3)


def _random_curve(seed: int, sigma: float, size: int = 30) -> tuple[list[float], list[float]]:
    """Noisy losses at random learning rates of the plain curve."""
    curve, rng = CURVES[0], np.random.default_rng(seed)
    lr = 10.0 ** np.sort(rng.uniform(-6.0, 0.3, size))
    return lr.tolist(), [curve.loss(r) + rng.normal(0.0, sigma * curve.depth) for r in lr]


def test_one_copy_of_a_trial_says_nothing_about_the_noise() -> None:
    for seed in range(8):
        lr, losses = _random_curve(seed, 0.03)
        at = int(np.argmin(losses))
        once = LRCurve.from_observations(lr, losses)
        copied = LRCurve.from_observations([*lr, lr[at]], [*losses, losses[at]])
        assert copied.repeat_noise is None
        one, other = (points_of_interest(c, CURVES[0].baseline) for c in (once, copied))
        assert _decades(one) == _decades(other)
        assert one.noise == other.noise


def test_two_trials_that_agree_by_chance_do_not_silence_the_noise() -> None:
    noises = []
    for seed in range(8):
        lr, losses = _random_curve(seed, 0.03)
        known = LRCurve.from_observations([*lr, lr[12]], [*losses, losses[12] * 1.0001])
        assert known.repeat_degrees == 1
        noises.append(points_of_interest(known, CURVES[0].baseline).noise)
    assert np.median(noises) == pytest.approx(0.03, rel=0.5)


def _jagged_curve(seed: int, sigma: float) -> LRCurve:
    """As of a fine-tuning: smooth on the plateau, jagged by ``sigma`` drops once it learns."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-7.0, -1.0, 25)
    learned = 1.0 / (1.0 + np.exp(-(x + 4.6) / 0.2))
    wall = np.minimum(np.exp((x + 2.6) / 0.4), 3.0)
    noise = sigma * learned * rng.standard_normal(x.size) + 0.001 * rng.standard_normal(x.size)
    return LRCurve.from_observations(10.0**x, 0.546 + 0.147 * (1.0 - learned + wall + noise))


def test_noise_of_a_jagged_curve_is_that_of_the_model_that_has_learned() -> None:
    noises = [points_of_interest(_jagged_curve(seed, 0.1), 0.693).noise for seed in range(15)]
    assert np.median(noises) == pytest.approx(0.1, rel=0.4)


# --- The curve itself -------------------------------------------------------------------------


def test_a_learning_rate_that_diverged_once_has_diverged() -> None:
    known = LRCurve.from_observations([0.1, 0.1, 0.01], [1.0, INF, 2.0])
    assert list(known.loss) == [2.0, INF]
    assert list(known.count) == [1, 2]


def test_rounding_does_not_split_a_learning_rate() -> None:
    lr = 10.0**-3.3
    known = LRCurve.from_observations(
        [lr, np.nextafter(lr, 1.0), lr * (1 + 1e-12)], [1.0, 2.0, 3.0]
    )
    assert len(known) == 1
    assert known.loss[0] == pytest.approx(2.0)


@pytest.mark.parametrize("diverged", [INF, -INF, math.nan])
def test_what_is_not_finite_has_diverged(diverged: float) -> None:
    assert list(LRCurve.from_observations([0.1], [diverged]).loss) == [INF]


@pytest.mark.parametrize("lr", [0.0, -1.0, INF, math.nan])
def test_learning_rates_must_fit_a_logarithmic_axis(lr: float) -> None:
    with pytest.raises(ValueError, match="lrs"):
        LRCurve.from_observations([0.1, lr], [1.0, 1.0])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 against 1"):
        LRCurve.from_observations([0.1, 0.2], [1.0])


# --- Edge cases: a defined result or the named error -------------------------------------------


@pytest.mark.parametrize(
    ("points", "error", "remedy"),
    [
        ({}, TooFewPointsError, "run more trials"),
        ({-3: 1.0}, TooFewPointsError, "run more trials"),
        ({-3: 2.0, -2: 1.0}, TooFewPointsError, "run more trials"),
        ({-3: 2.0, -2: 1.0, -1: INF, 0: math.nan}, TooFewPointsError, "lower the range"),
        ({-3: INF, -2: INF}, TooFewPointsError, "run more trials"),
        ({-3: INF, -2: INF, -1: math.nan}, AllDivergedError, "lower the lower bound below 0.001"),
        ({-4: 2.3, -3: 2.3, -2: 2.3, -1: 2.3}, NothingLearnsError, "more steps"),
        ({-4: 2.3, -3: 2.31, -2: 2.4, -1: INF}, NothingLearnsError, "more steps"),
        ({-4: 2.5, -3: 3.0, -2: 2.4, -1: 9.0}, NothingLearnsError, "Raise the upper bound"),
    ],
)
def test_no_window_says_why_and_what_to_do(
    points: dict[float, float], error: type[NoWindowError], remedy: str
) -> None:
    with pytest.raises(error, match=remedy):
        points_of_interest(_curve(points), 2.3)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({-5: 2.3, -3: 2.3, -1: 2.3}, "Run more trials, since none was between 0.1 and 10 yet"),
        ({-5: 2.3, -3: 2.3, 0.6: 2.3}, "Raise the upper bound above 10,"),
        ({-5: 2.3, -3: 2.3, -2: 2.3, -1: INF}, "Higher learning rates diverge: take more steps"),
        ({-3: INF, -2: INF, -1: INF}, "run more trials, since none was between 1e-07 and 0.001"),
        ({-6.5: INF, -2: INF, -1: INF}, "lower the lower bound below 1e-07"),
    ],
)
def test_no_window_names_the_ranges_end_and_what_was_not_searched(
    points: dict[float, float], said: str
) -> None:
    with pytest.raises(NoWindowError, match=said):
        points_of_interest(_curve(points), 2.3, search_range=(1e-7, 10.0))


def test_noise_alone_is_not_learning() -> None:
    rng = np.random.default_rng(0)
    known = _curve({x: 2.3 + 0.05 * rng.normal() for x in np.arange(-6.0, 0.0, 0.25)})
    with pytest.raises(NothingLearnsError, match="noise"):
        points_of_interest(known, 2.3)


def test_errors_are_one_family_and_value_errors() -> None:
    for error in (TooFewPointsError, NothingLearnsError, AllDivergedError):
        assert issubclass(error, NoWindowError)
    assert issubclass(NoWindowError, ValueError)


@pytest.mark.parametrize("spacing", [0.5, 0.25, 0.125])
@pytest.mark.parametrize("wall", [INF, 5.0])
def test_the_smallest_of_tied_learning_rates_is_max_lr(spacing: float, wall: float) -> None:
    fall = {-5.0: 2.3, -4.5: 2.28, -4.0: 2.2, -3.5: 1.8, -3.0: 1.0, -2.5: 0.5}
    floor = dict.fromkeys(np.arange(-2.0, -0.99, spacing), 0.3)
    known = _curve({**fall, **floor, -0.5: wall, 0.0: wall})
    assert _decades(points_of_interest(known, 2.3))["max_lr"] == pytest.approx(-2.0, abs=0.003)


def test_three_finite_points_suffice() -> None:
    points = _decades(points_of_interest(_curve({-4: 2.2, -3: 1.0, -2: 1.5}), 2.3))
    assert points["max_lr"] == pytest.approx(-3.0, abs=0.5)
    assert -4.0 <= points["min_lr"] <= points["half_loss"] <= points["max_lr"]


def test_minimum_at_the_upper_edge_is_the_edge() -> None:
    curve = Curve("no wall", centre=-1.0, width=0.3, wall=20.0, high=-0.5)
    points = _decades(points_of_interest(_dense(curve, 0.25), curve.baseline))
    assert points["max_lr"] == pytest.approx(-0.5, abs=0.003)
    assert -7.0 < points["min_lr"] < points["half_loss"] < points["max_lr"]


def test_minimum_at_the_lower_edge_is_the_edge() -> None:
    known = _curve({-3: 0.5, -2.5: 0.6, -2: 0.9, -1.5: 2.0, -1: INF})
    points = _decades(points_of_interest(known, 2.3))
    assert list(points.values()) == pytest.approx([-3.0] * 5, abs=0.003)


def test_a_decreasing_curve_has_all_points_inside() -> None:
    known = _curve({x: 2.3 - 0.2 * (x + 7.0) for x in np.arange(-7.0, 1.1, 0.5)})
    points = _decades(points_of_interest(known, 2.3))
    assert points["max_lr"] == pytest.approx(1.0, abs=0.003)
    assert points["half_loss"] == pytest.approx(-3.0, abs=0.1)
    assert -7.0 <= points["min_lr"] <= points["half_loss"]
    assert -7.0 <= points["steepest"] <= 1.0


def test_the_deeper_of_two_minima_is_max_lr() -> None:
    curve = CURVES[0]
    x = np.arange(-7.0, 1.01, 0.125)
    dip = 0.5 * np.exp(-0.5 * ((x + 0.6) / 0.1) ** 2)  # beside the wall, not as deep
    losses = np.array([curve.loss(10.0**v) for v in x])
    points = points_of_interest(LRCurve.from_observations(10.0**x, losses - dip), curve.baseline)
    assert _decades(points)["max_lr"] == pytest.approx(curve.truth().max_lr, abs=0.1)
    deeper = losses.copy()
    at = int(np.argmin(np.abs(x + 4.5)))  # one point on the plateau, lower than all
    deeper[at] = losses.min() - 0.5
    points = points_of_interest(LRCurve.from_observations(10.0**x, deeper), curve.baseline)
    assert _decades(points)["max_lr"] == pytest.approx(-4.5, abs=0.1)


def test_half_loss_is_the_first_crossing_left_of_max_lr() -> None:
    x = np.arange(-6.0, 0.01, 0.25)
    anchors = [-6.0, -5.5, -5.0, -4.5, -4.0, -2.6, -2.0, -1.4, -1.0, 0.0]
    losses = np.interp(x, anchors, [2.0, 2.0, 0.5, 0.5, 2.0, 2.0, 0.0, 0.0, 1.5, 2.0])
    points = _decades(points_of_interest(LRCurve.from_observations(10.0**x, losses), 2.0))
    assert points["half_loss"] == pytest.approx(-2.3, abs=0.1)  # and not -5.17


def test_a_hole_of_inf_bounds_but_does_not_bend() -> None:
    curve = CURVES[0]
    whole = _dense(curve, 0.125)
    holed = whole.loss.copy()
    hole = int(np.argmin(np.abs(whole.x + 4.75)))
    holed[hole] = INF
    points = points_of_interest(LRCurve.from_observations(whole.lr, holed), curve.baseline)
    assert _decades(points)["max_lr"] == pytest.approx(curve.truth().max_lr, abs=0.1)
    assert abs(_decades(points)["max_lr"] - whole.x[hole]) > 0.1


def test_repeated_learning_rates_change_nothing_without_noise() -> None:
    curve = CURVES[3]
    once = _dense(curve, 0.125)
    twice = LRCurve.from_observations(np.tile(once.lr, 2), np.tile(once.loss, 2))
    first, second = (points_of_interest(c, curve.baseline) for c in (once, twice))
    for name, x in _decades(first).items():
        assert _decades(second)[name] == pytest.approx(x, abs=0.02)


def test_order_of_observations_does_not_matter() -> None:
    curve = CURVES[1]
    known = _dense(curve, 0.25)
    order = np.random.default_rng(0).permutation(len(known))
    mixed = LRCurve.from_observations(known.lr[order], known.loss[order])
    one, other = (points_of_interest(c, curve.baseline) for c in (known, mixed))
    assert _decades(one) == _decades(other)


def test_plateau_level_is_the_mean_of_the_level_part() -> None:
    known = _curve({-6: 2.30, -5: 2.32, -4: 2.28, -3: 1.0, -2: 0.3, -1: INF})
    assert plateau_level(known) == pytest.approx(2.30)


# --- Symmetries -------------------------------------------------------------------------------


@st.composite
def _losses(draw: st.DrawFn) -> dict[float, float]:
    x = draw(st.lists(st.integers(-60, 20), max_size=10, unique=True))
    loss = st.one_of(
        st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 2.3]), st.sampled_from([INF, math.nan])
    )
    return {v / 8.0: draw(loss) for v in x}


@given(
    losses=_losses(),
    baseline=st.one_of(st.none(), st.floats(-1e6, 1e6)),
    normalize=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_losses_give_points_in_order_or_a_named_error(
    losses: dict[float, float], baseline: float | None, normalize: bool
) -> None:
    known = _curve(losses)
    try:
        points = points_of_interest(known, baseline, normalize=normalize)
    except NoWindowError:
        return
    found = _decades(points)
    assert known.x[0] - 1e-9 <= found["min_lr"] <= found["half_loss"] <= found["max_lr"] + 0.0026
    assert found["max_lr"] <= known.x[-1] + 1e-9
    assert known.x[0] - 1e-9 <= found["steepest"] <= found["max_lr"] + 1e-9
    pick = upper_end(known, points.baseline, points.lowest)
    assert known.lr[0] * (1 - 1e-6) <= pick <= known.lr[-1] * (1 + 1e-6)


@pytest.mark.parametrize(
    ("losses", "baseline", "normalize"),
    [
        ({-6: 1e200, -4: 1e43, -2: 1e-290, 0: 1e-280}, 1e-200, True),
        ({-5: 2.3, -4: 2.2, -3: 1.0, -2: 3.0}, 1e300, False),
        ({-5: 2e-300, -4: 1e-300, -3: 0.0, -2: 5e-300}, 2e-300, True),
    ],
)
def test_sizes_near_the_ends_of_floating_point_are_no_trouble(
    losses: dict[float, float], baseline: float, normalize: bool
) -> None:
    points = points_of_interest(_curve(losses), baseline, normalize=normalize)
    lowest = min(losses, key=lambda x: losses[x])
    # Half way to the next learning rate, where the losses there are the same in double precision.
    spacing = min(b - a for a, b in itertools.pairwise(sorted(losses)))
    assert _decades(points)["max_lr"] == pytest.approx(lowest, abs=spacing / 2)


CLEAN = st.sampled_from([c for c in CURVES if c.limit == INF])


@given(curve=CLEAN, factor=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_units_of_the_loss_do_not_matter(curve: Curve, factor: float, shift: float) -> None:
    known = _dense(curve, 0.2)
    shift *= factor * curve.depth  # in drops: beyond 1e3 of them rounding would be the noise
    other = LRCurve.from_observations(known.lr, known.loss * factor + shift)
    one = points_of_interest(known, curve.baseline)
    two = points_of_interest(other, curve.baseline * factor + shift)
    for name, x in _decades(one).items():
        assert _decades(two)[name] == pytest.approx(x, abs=0.011), name


@given(curve=CLEAN, decades=st.floats(-8.0, 8.0))
@settings(max_examples=25, deadline=None)
def test_points_move_with_the_axis(curve: Curve, decades: float) -> None:
    known = _dense(curve, 0.2)
    moved = LRCurve.from_observations(known.lr * 10.0**decades, known.loss)
    one, two = (points_of_interest(c, curve.baseline) for c in (known, moved))
    for name, x in _decades(one).items():
        assert _decades(two)[name] == pytest.approx(x + decades, abs=0.011), name
    picks = [
        recommended_lr(c, p.baseline, p.lowest, steps=20, momentum=0.9)
        for c, p in ((known, one), (moved, two))
    ]
    assert math.log10(picks[1] / picks[0]) == pytest.approx(decades, abs=0.041)


def test_raw_curvature_depends_on_the_unit_of_the_loss() -> None:
    """The truth for the raw loss: the same formulas, unit by unit."""
    knees = []
    for factor in (0.1, 1.0, 10.0):
        curve = Curve("raw", centre=-3.0, width=0.25, baseline=2.0 * factor, depth=1.0 * factor)
        found = points_of_interest(_dense(curve, 0.1), curve.baseline, normalize=False)
        half = curve.truth().half_loss
        x = np.linspace(-7.0, half, 200_001)
        slope, bend = curve.depth * curve.shape(x, 1), curve.depth * curve.shape(x, 2)
        knee = float(x[np.argmax(bend / (1.0 + slope**2) ** 1.5)])
        knees.append(knee)
        assert math.log10(found.min_lr) == pytest.approx(knee, abs=0.03)
        for name in ("max_lr", "half_loss", "steepest"):
            assert _decades(found)[name] == pytest.approx(getattr(curve.truth(), name), abs=0.03)
    assert knees[0] > knees[1] + 0.1 > knees[2] + 0.5  # far apart: the test means something


# --- The recommended pick ----------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 5, 20, 200])
def test_momentum_lag_is_the_mean_velocity_of_a_heavy_ball(beta: float, steps: int) -> None:
    velocity, travelled = 0.0, 0.0
    for _ in range(steps):  # v <- beta v + g under a constant gradient g = 1
        velocity = beta * velocity + 1.0
        travelled += velocity
    steady = steps / (1.0 - beta)
    assert momentum_lag(beta, steps) == pytest.approx(travelled / steady, rel=1e-9)


def test_momentum_lag_of_the_method_page() -> None:
    assert math.log10(momentum_lag(0.99, 20)) == pytest.approx(-1.01, abs=0.01)
    assert math.log10(momentum_lag(0.9, 20)) == pytest.approx(-0.22, abs=0.01)


@pytest.mark.parametrize(("beta", "steps"), [(1.0, 20), (-0.1, 20), (0.9, 0), (math.nan, 20)])
def test_momentum_lag_refuses_what_is_out_of_range(beta: float, steps: int) -> None:
    with pytest.raises(ValueError, match=f"momentum={beta}" if steps else "steps=0"):
        momentum_lag(beta, steps)


def _lowest_smoothed(known: LRCurve, baseline: float, lowest: float) -> float:
    """log10 of the lowest point of the capped, smoothed curve, by direct sums."""
    capped = np.minimum((known.loss - lowest) / (baseline - lowest), 2.0)
    offsets = np.arange(-1.6, 1.6001, 0.01)
    weights = np.exp(-0.5 * (offsets / 0.2) ** 2)
    weights /= weights.sum()
    centres = np.arange(known.x[0], known.x[-1] + 1e-9, 0.005)
    smooth = [weights @ np.interp(c + offsets, known.x, capped) for c in centres]
    return float(centres[int(np.argmin(smooth))])


@pytest.mark.parametrize("name", ["plain", "narrow", "cliff", "early knee", "above one"])
@pytest.mark.parametrize("spacing", [0.02, 0.25])
def test_recommended_is_the_lowest_point_of_the_smoothed_curve(name: str, spacing: float) -> None:
    """A literal reading of the rule: sums for the filter, then the lag, then the length."""
    curve = CURVES[NAMES.index(name)]
    known = _dense(curve, spacing)
    lowest = float(known.loss.min())
    at = _lowest_smoothed(known, curve.baseline, lowest)
    found = math.log10(upper_end(known, curve.baseline, lowest))
    assert found == pytest.approx(at, abs=0.021)  # the two grids' spacing
    for beta, steps, total_steps in ((0.0, 20, 1000), (0.9, 20, 20_000), (0.99, 80, 300)):
        pick = recommended_lr(
            known, curve.baseline, lowest, steps=steps, total_steps=total_steps, momentum=beta
        )
        moved = math.log10(momentum_lag(beta, steps)) - 0.3 * math.log10(total_steps / steps)
        assert math.log10(pick) == pytest.approx(found + moved, abs=1e-9)


def test_a_lag_that_was_measured_goes_before_that_of_an_optimizer_at_rest() -> None:
    known = _dense(CURVES[0], 0.25)
    picks = [
        recommended_lr(known, 2.3, 0.3, steps=20, momentum=0.9, lag=lag) for lag in (1.0, 0.5)
    ]
    assert picks[1] / picks[0] == pytest.approx(0.5)


def test_a_length_that_nobody_says_is_a_thousand_steps() -> None:
    known = _dense(CURVES[0], 0.25)
    picks = [recommended_lr(known, 2.3, 0.3, steps=20, **t) for t in ({}, {"total_steps": 1000})]
    assert picks[0] == picks[1]


@pytest.mark.parametrize(
    ("steps", "total_steps", "decades"),
    [(20, 200, -0.3), (20, 2000, -0.6), (80, 80, 0.0), (80, 40, 0.0), (1, 1000, -0.9)],
)
def test_a_longer_training_wants_half_for_ten_times_the_steps(
    steps: int, total_steps: int, decades: float
) -> None:
    """And one that is shorter than the trials wants no more than they do."""
    assert math.log10(length_factor(steps, total_steps)) == pytest.approx(decades, abs=1e-12)


def test_a_schedule_that_decays_bears_a_quarter_decade_more() -> None:
    assert peak_lr(0.01) == pytest.approx(0.01 * 10**0.25)
    assert peak_lr(0.01, held=True) == pytest.approx(0.01 * 10**0.125)


def test_recommended_keeps_its_distance_from_a_cliff() -> None:
    curve = Curve("gentle", wall=-1.0, steep=0.2)
    gentle = _dense(curve, 0.1)
    cliff = LRCurve.from_observations(gentle.lr, np.where(gentle.x > -1.85, INF, gentle.loss))
    picks = [
        recommended_lr(known, curve.baseline, float(known.loss.min()), steps=20, momentum=0.0)
        for known in (gentle, cliff)
    ]
    assert picks[1] < 0.9 * picks[0]
    assert np.argmin(gentle.loss) == np.argmin(cliff.loss)


def test_the_height_of_a_wall_counts_up_to_one_drop_above_the_untrained_loss() -> None:
    """Two drops above the lowest loss, as a diverged trial: not less, and not more."""
    curve = Curve("gentle", wall=-1.0, steep=0.2)
    known = _dense(curve, 0.1)
    lowest = float(known.loss.min())
    drop = curve.baseline - lowest

    def pick(height: float) -> float:
        loss = np.where(known.x > -1.85, lowest + height * drop, known.loss)
        other = LRCurve.from_observations(known.lr, loss)
        return recommended_lr(other, curve.baseline, lowest, steps=20)

    assert pick(2.0) == pick(2.9) == pick(INF)
    assert pick(2.0) < 0.999 * pick(1.5)


def test_a_fall_that_ends_jagged_is_no_plateau() -> None:
    """Four times the noise of the learned part exceeds the drop; that of the plateau does not."""
    x = np.concatenate([np.arange(-6.0, -2.9, 0.25), [-2.5, -2.0], np.arange(-1.75, 0.1, 0.25)])
    fallen = [0.8, 1.5, 0.82, 1.51, 0.8, 1.55, 0.9, INF]
    loss = np.concatenate([np.full(13, 2.3), [2.25, 1.9], fallen])
    points = points_of_interest(LRCurve.from_observations(10.0**x, loss), 2.306)
    assert points.noise > 0.25
    assert points.fit.scatter < 0.05


def test_sampler_analysis_and_plots_share_a_fit() -> None:
    """A search asks for the noise of its first ten losses, and for the curve at its end."""
    fit._kept_fit.cache_clear()
    study = searched()
    before = fit._kept_fit.cache_info().misses
    assert before == 1  # the first ten losses, by the sampler
    first, second = analyze(study), analyze(study)
    curve = plot_lr_curve(first)
    assert curve is not None
    assert first.fit is second.fit
    assert fit._kept_fit.cache_info().misses == before + 1
    with pytest.raises(ValueError, match="read-only"):
        first.fit.value[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        first.fit.flank[0] = 0.0
