"""A curve that takes observations in one by one is the curve of all of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optuna_lrss._method.curve import LRCurve


LOSSES = st.floats(-5.0, 5.0) | st.sampled_from([float("inf"), float("nan"), -float("inf")])
OBSERVATIONS = st.lists(st.tuples(st.sampled_from([-7.0, -3.5, -3.0, 0.0, 2.0]), LOSSES))


@given(OBSERVATIONS)
def test_one_by_one_gives_the_same_as_all_at_once(observations: list[tuple[float, float]]) -> None:
    grown = LRCurve.from_observations([], [])
    for x, loss in observations:
        grown = grown.with_observation(10.0**x, loss)
    whole = LRCurve.from_observations(
        [10.0**x for x, _ in observations], [loss for _, loss in observations]
    )
    assert grown.error is whole.error is None  # all losses were measured
    for part in fields(LRCurve):
        if part.name != "error":
            np.testing.assert_allclose(
                getattr(grown, part.name), getattr(whole, part.name), rtol=1e-9, atol=1e-7
            )


def test_a_curve_is_not_changed_by_growing() -> None:
    curve = LRCurve.from_observations([0.1, 0.2], [1.0, 2.0])
    curve.with_observation(0.1, 3.0)
    assert list(curve.loss) == [1.0, 2.0]
    assert curve.with_observation(0.1, 3.0).loss[0] == pytest.approx(2.0)
