"""The oracle of the other tests: closed forms, and mpmath's derivatives of the formulas."""

from __future__ import annotations

import math

import mpmath
import pytest

from tests.curves import CURVES
from tests.curves import NAMES
from tests.curves import ArctanFall
from tests.curves import Curve
from tests.curves import NormalFall
from tests.curves import Quadratic
from tests.curves import Truth


FAR = {"wall": 0.9, "steep": 0.05}  # a wall this far away adds nothing at the fall


def _formula(curve: Curve, x: mpmath.mpf) -> mpmath.mpf:
    """The curve's gain, written once more, for mpmath."""
    if isinstance(curve, Quadratic):
        directions = zip(curve.curvatures, curve.parts, strict=True)
        left = [
            p * (1 - mpmath.mpf(h) * mpmath.power(10, x)) ** (2 * curve.steps)
            for h, p in directions
        ]
        return sum(curve.parts) - mpmath.fsum(left)
    z = (x - mpmath.mpf(curve.centre)) / mpmath.mpf(curve.width)
    if isinstance(curve, NormalFall):
        rise = mpmath.ncdf(z)
    elif isinstance(curve, ArctanFall):
        rise = mpmath.mpf(0.5) + mpmath.atan(z) / mpmath.pi
    else:
        rise = (1 + mpmath.exp(-z)) ** -mpmath.mpf(curve.skew)
    return rise - mpmath.exp((x - mpmath.mpf(curve.wall)) / mpmath.mpf(curve.steep))


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_derivatives_are_those_of_the_formula(curve: Curve, order: int) -> None:
    truth = curve.truth()
    with mpmath.workdps(40):
        for x in (truth.min_lr, truth.half_loss, truth.steepest, truth.max_lr):
            exact = float(mpmath.diff(lambda t: _formula(curve, t), mpmath.mpf(x), order))
            assert float(curve.shape(x, order)) == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
def test_points_solve_their_equations(curve: Curve) -> None:
    truth = curve.truth()
    gain = float(curve.shape(truth.max_lr))
    with mpmath.workdps(40):

        def bend(t: mpmath.mpf) -> mpmath.mpf:
            slope = mpmath.diff(lambda s: _formula(curve, s), t) / gain
            return mpmath.diff(lambda s: _formula(curve, s), t, 2) / gain / (1 + slope**2) ** 1.5

        knee = mpmath.mpf(truth.min_lr)
        assert all(bend(knee) >= bend(knee + step) for step in (-0.01, 0.01))
        slope = [
            mpmath.diff(lambda s: _formula(curve, s), truth.steepest + d) for d in (-0.01, 0, 0.01)
        ]
        assert slope[1] >= max(slope[0], slope[2])
    assert float(curve.shape(truth.half_loss)) == pytest.approx(0.5 * gain, rel=1e-9)
    assert curve.low < truth.min_lr < truth.half_loss < truth.max_lr < curve.high
    assert truth.min_lr < truth.steepest < truth.max_lr


def test_a_logistic_has_its_half_and_its_steepest_point_at_its_centre() -> None:
    truth = Curve("logistic", centre=-3.7, width=0.2, **FAR).truth()
    assert truth.half_loss == pytest.approx(-3.7, abs=1e-6)
    assert truth.steepest == pytest.approx(-3.7, abs=1e-6)


def test_a_richards_curve_is_half_down_where_algebra_says() -> None:
    curve = Curve("richards", centre=-3.0, width=0.3, skew=2.0, **FAR)
    # (1 + e^-z)^-a = 1/2 at z = -ln(2^(1/a) - 1); its slope is steepest at z = ln a.
    truth = curve.truth()
    assert truth.half_loss == pytest.approx(-3.0 - 0.3 * math.log(math.sqrt(2.0) - 1.0), abs=1e-4)
    assert truth.steepest == pytest.approx(-3.0 + 0.3 * math.log(2.0), abs=1e-4)


def test_the_minimum_is_where_a_slow_fall_meets_the_wall() -> None:
    # Far right of the centre S' = e^-z / w: it equals W' at a point that algebra gives.
    w, v, d = 0.2, 0.1, -0.5
    curve = Curve("meeting", centre=-5.0, width=w, wall=d, steep=v)
    expected = (math.log(v / w) - 5.0 / w + d / v) / (1.0 / w + 1.0 / v)
    assert curve.truth().max_lr == pytest.approx(expected, abs=1e-4)


def test_gradient_descent_on_one_direction_is_best_at_one_over_its_curvature() -> None:
    curve = Quadratic("one", curvatures=(4.0,), parts=(1.0,), steps=2, low=-6.0, high=0.0)
    assert curve.truth().max_lr == pytest.approx(math.log10(0.25), abs=1e-4)
    # (1 - 4 lr)^4 = 1/2
    half = (1.0 - 0.5**0.25) / 4.0
    assert curve.truth().half_loss == pytest.approx(math.log10(half), abs=1e-9)


def test_quadratic_is_really_gradient_descent() -> None:
    curve = Quadratic("run", low=-6.0, high=0.0)
    lr = 0.7
    errors = [1.0 for _ in curve.curvatures]
    for _ in range(curve.steps):
        errors = [e - lr * h * e for e, h in zip(errors, curve.curvatures, strict=True)]
    left = sum(p * e**2 for p, e in zip(curve.parts, errors, strict=True))
    assert curve.loss(lr) == pytest.approx(curve.baseline - curve.depth * (1.0 - left), rel=1e-12)


def test_moving_a_curve_moves_its_points() -> None:
    curve = CURVES[0]
    there, here = curve.shifted(-4.5).truth(), curve.truth()
    for name in Truth.__dataclass_fields__:
        assert getattr(there, name) == pytest.approx(getattr(here, name) - 4.5, abs=1e-9)
