"""Which learning rate is tried next: against a slow reading of the paper, and what must hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import POINT_NAMES
from optuna_lrss._method.search import STRATEGIES as REGISTERED
from optuna_lrss._method.search import Search
from optuna_lrss._method.search import proposals
from optuna_lrss._method.search import repeat_proposal
from optuna_lrss._method.search.paper import coarse_grid
from tests.curves import CURVES
from tests.curves import NAMES
from tests.curves import Curve
from tests.searching import is_resolved
from tests.searching import run_search
from tests.searching import search_curve
from tests.searching import search_of


INF = math.inf
#: What is written for every strategy must hold for one that is added, too.
STRATEGIES = tuple(REGISTERED)


# --- The paper's strategy, slow and obvious (section 3.3) ---------------------------------------


class PaperSearch:
    """Half-decade grid; then midpoints between each point of interest and its neighbours."""

    def __init__(self, curve: Curve, tolerance: float, coarse_step: float = 0.5) -> None:
        self.curve = curve
        self.tolerance = tolerance
        self.known: dict[float, float] = {}
        steps = math.ceil((curve.high - curve.low) / coarse_step - 1e-9)
        for i in range(steps + 1):
            self._evaluate(curve.low + i * (curve.high - curve.low) / steps)
        while (gap := self._widest_open_gap()) is not None:
            self._evaluate(0.5 * (gap[0] + gap[1]))

    def _evaluate(self, x: float) -> None:
        self.known[x] = self.curve.loss(10.0**x)

    def _widest_open_gap(self) -> tuple[float, float] | None:
        xs = sorted(self.known)
        gaps: list[tuple[float, float]] = []
        for a, b in itertools.pairwise(xs):
            wide = b - a > self.tolerance + 1e-9
            if wide and any(lo <= a and b <= hi for lo, hi in self._neighbourhoods(xs)):
                gaps.append((a, b))
        return max(gaps, key=lambda g: (round(g[1] - g[0], 9), -g[0]), default=None)

    def _neighbourhoods(self, xs: list[float]) -> list[tuple[float, float]]:
        """From the neighbour left of each point to the one right of it."""
        y = [self.known[x] for x in xs]
        lowest = y.index(min(y))
        yn = [(v - y[lowest]) / (self.curve.baseline - y[lowest]) for v in y]
        beside = [self._beside(xs, lowest)]
        half = max((i for i in range(lowest) if yn[i] >= 0.5), default=None)
        if half is not None:
            beside.append((xs[half], xs[half + 1]))
        knees = range(1, min(lowest if half is None else half, len(xs) - 2) + 1)
        knee = min(knees, key=lambda i: self._bend(xs, yn, i), default=lowest)
        beside.append(self._beside(xs, knee))
        slopes = range(1, lowest + 1) if lowest > 0 else range(1)
        steepest = min(slopes, key=lambda i: self._slope(xs, yn, i))
        beside.append(self._beside(xs, steepest))
        return beside

    @staticmethod
    def _beside(xs: list[float], i: int) -> tuple[float, float]:
        return xs[max(i - 1, 0)], xs[min(i + 1, len(xs) - 1)]

    @staticmethod
    def _parabola(xs: list[float], yn: list[float], i: int) -> tuple[float, float]:
        """First and second derivative at point i of the parabola through it and its neighbours."""
        h, k = xs[i] - xs[i - 1], xs[i + 1] - xs[i]
        left, right = (yn[i] - yn[i - 1]) / h, (yn[i + 1] - yn[i]) / k
        return (k * left + h * right) / (h + k), 2.0 * (right - left) / (h + k)

    def _slope(self, xs: list[float], yn: list[float], i: int) -> float:
        if i == 0:
            return (yn[1] - yn[0]) / (xs[1] - xs[0])
        if i == len(xs) - 1 or not math.isfinite(yn[i + 1]):
            return (yn[i] - yn[i - 1]) / (xs[i] - xs[i - 1])
        return self._parabola(xs, yn, i)[0]

    def _bend(self, xs: list[float], yn: list[float], i: int) -> float:
        first, second = self._parabola(xs, yn, i)
        return second / (1.0 + first**2) ** 1.5


@pytest.mark.parametrize("curve", CURVES, ids=NAMES)
@pytest.mark.parametrize("tolerance", [0.2, 0.1, 0.05])
def test_the_papers_strategy_is_the_papers(curve: Curve, tolerance: float) -> None:
    known, _ = search_curve(curve, strategy="paper", tolerance=tolerance)
    expected = np.round(sorted(PaperSearch(curve, tolerance).known), 6)
    # One learning rate may differ: rounding decides which of two equally wide gaps is split first.
    assert len(set(expected) ^ set(np.round(known.x, 6))) <= 1


@pytest.mark.parametrize(
    ("low", "high", "step", "n"),
    [(-7.0, 1.0, 0.5, 17), (-7.0, -6.0, 0.5, 3), (-3.0, -1.9, 0.5, 4), (2.0, 2.1, 0.5, 2)],
)
def test_the_coarse_grid_has_equal_steps_and_both_ends(
    low: float, high: float, step: float, n: int
) -> None:
    empty = LRCurve.from_observations([], [])
    search = search_of(empty, low, high, coarse_step=step)
    grid = coarse_grid(search)
    np.testing.assert_allclose(grid, np.linspace(low, high, n), atol=1e-12)
    order = [p.x for p in itertools.islice(proposals(search, strategy="paper"), n)]
    np.testing.assert_allclose(sorted(order), grid, atol=1e-12)


@pytest.mark.parametrize("curve", CURVES[:2], ids=NAMES[:2])
def test_a_start_leaves_the_papers_search_as_it_is(curve: Curve) -> None:
    middle = 0.5 * (curve.low + curve.high)
    known = [
        search_curve(curve, strategy="paper", start=start)[0]
        for start in (None, (middle - 1.0, middle + 0.5))
    ]
    np.testing.assert_array_equal(known[0].x, known[1].x)


def test_a_tolerance_of_a_tenth_ends_with_gaps_of_a_sixteenth() -> None:
    curve = CURVES[0]
    known, _ = search_curve(curve, strategy="paper")
    gaps = set(np.round(np.diff(known.x), 9))
    assert gaps == {0.5, 0.25, 0.125, 0.0625}


# --- Frugality ---------------------------------------------------------------------------------


def test_frugal_takes_less_than_half_of_the_papers_trials() -> None:
    counts = {s: [] for s in STRATEGIES}
    for curve in CURVES:
        for strategy in STRATEGIES:
            known, _ = search_curve(curve, strategy=strategy)
            counts[strategy].append(len(known))
    shares = np.divide(counts["frugal"], counts["paper"])
    assert np.median(counts["frugal"]) <= 17
    assert np.median(shares) <= 0.5
    assert shares.max() <= 0.75


def test_frugal_leaves_the_dead_ends_alone() -> None:
    curve = Curve("long ends", low=-12.0, high=6.0, limit=2.0)
    known, _ = search_curve(curve, strategy="frugal")
    plateau = known.x < -6.0
    wall = known.x > 1.0
    assert plateau.sum() + wall.sum() <= 7
    assert len(known) <= 24


@pytest.mark.parametrize("workers", [4, 8, 16])
@pytest.mark.parametrize("strategy", ["frugal", "paper"])
def test_rounds_of_workers_share_the_work(workers: int, strategy: str) -> None:
    n_rounds = []
    for curve in CURVES:
        known, rounds = search_curve(curve, strategy=strategy, workers=workers)
        evaluated = [p.x for batch in rounds for p in batch]
        assert len(known) == len(evaluated)  # none twice, else repeats were merged
        n_rounds.append(len(rounds))
    limits = {"frugal": {4: 5, 8: 3, 16: 3}, "paper": {4: 12, 8: 7, 16: 6}}
    assert np.median(n_rounds) <= limits[strategy][workers]


# --- Proposals: endless, distinct, inside -------------------------------------------------------


def _some(points: dict[float, float]) -> LRCurve:
    return LRCurve.from_observations([10.0**x for x in points], list(points.values()))


SHAPES = {
    "nothing": {},
    "one": {-3.0: 1.0},
    "one diverged": {-3.0: INF},
    "all diverged": {-5.0: INF, -3.0: INF, -1.0: INF},
    "flat": {-5.0: 2.3, -3.0: 2.3, -1.0: 2.3},
    "two": {-5.0: 2.3, -2.0: 1.0},
    "decreasing": {-6.0: 2.3, -4.0: 2.0, -2.0: 1.0, 1.0: 0.5},
    "increasing": {-7.0: 0.5, -4.0: 2.0, -2.0: 4.0, 1.0: INF},
    "valley": {-6.0: 2.3, -4.0: 2.0, -3.0: 1.0, -2.0: 0.4, -1.0: 3.0, 0.0: INF},
    "two valleys": {-6.0: 2.3, -4.0: 0.5, -3.0: 2.0, -2.0: 0.4, -1.0: 3.0, 0.0: INF},
    "above the baseline": {-6.0: 2.4, -4.0: 2.5, -2.0: 9.0},
    "outside the range": {-9.0: 2.3, -4.0: 1.0, 3.0: INF},
    "only outside": {-9.0: 2.3, -8.0: 1.0, 3.0: INF},
    "at the ends": {-7.0: 2.3, 1.0: 1.0},
    "inf in the middle": {-6.0: 2.3, -4.0: INF, -3.0: 1.0, -2.0: 0.4, -1.0: 3.0},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("baseline", [2.3, None])
@pytest.mark.parametrize("start", [None, (-3.0, -2.0), (-2.0, -2.0), (5.0, 6.0)])
def test_proposals_are_endless_distinct_and_inside(
    shape: str, strategy: str, baseline: float | None, start: tuple[float, float] | None
) -> None:
    known = _some(SHAPES[shape])
    pending = [-5.5, -2.5]
    search = search_of(known, -7.0, 1.0, baseline=baseline, start=start)
    found = [p.x for p in itertools.islice(proposals(search, pending, strategy=strategy), 300)]
    assert len(found) == 300
    assert min(found) >= -7.0
    assert max(found) <= 1.0
    everything = np.sort([*known.x, *pending, *found])
    assert np.diff(everything).min() > 1e-9


@given(
    x=st.lists(st.integers(-70, 10), max_size=12, unique=True),
    losses=st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([INF, 2.3])), min_size=12, max_size=12
    ),
    pending=st.lists(st.floats(-7.0, 1.0), max_size=5),
    baseline=st.one_of(st.none(), st.floats(-10.0, 10.0)),
    strategy=st.sampled_from(STRATEGIES),
    noise=st.floats(0.0, 1.0),
)
@settings(max_examples=50, deadline=None)
def test_whatever_is_known_proposals_go_on(
    x: list[int],
    losses: list[float],
    pending: list[float],
    baseline: float | None,
    strategy: str,
    noise: float,
) -> None:
    known = _some({v / 10.0: loss for v, loss in zip(x, losses, strict=False)})
    search = search_of(known, -7.0, 1.0, baseline=baseline, noise=noise)
    found = [p.x for p in itertools.islice(proposals(search, pending, strategy=strategy), 60)]
    assert len(found) == 60
    assert min(found) >= -7.0 - 1e-12
    assert max(found) <= 1.0 + 1e-12
    others = np.array([*known.x, *pending])
    for i, new in enumerate(found):
        assert np.abs(np.array([*others, *found[:i]]) - new).min(initial=INF) > 1e-9


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("width", [1e-6, 0.01, 0.3])
def test_narrow_ranges_are_resolved_and_stay_inside(strategy: str, width: float) -> None:
    curve = CURVES[0]
    known, _ = run_search(
        curve.loss, -3.0, -3.0 + width, strategy=strategy, baseline=curve.baseline
    )
    assert known.x[0] >= -3.0 - 1e-12
    assert known.x[-1] <= -3.0 + width + 1e-12


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("curve", CURVES[:6], ids=NAMES[:6])
def test_resolved_is_when_no_proposal_is_needed(curve: Curve, strategy: str) -> None:
    known, rounds = search_curve(curve, strategy=strategy)
    search = search_of(known, curve.low, curve.high, baseline=curve.baseline)
    assert is_resolved(search, strategy=strategy)
    later = itertools.islice(proposals(search, strategy=strategy), 50)
    assert not any(p.needed for p in later)
    lrs = [10.0**p.x for batch in rounds for p in batch][:-1]
    before = LRCurve.from_observations(lrs, [curve.loss(lr) for lr in lrs])
    without_last = search_of(before, curve.low, curve.high, baseline=curve.baseline)
    assert not is_resolved(without_last, strategy=strategy)


def test_nothing_known_is_not_resolved() -> None:
    empty = LRCurve.from_observations([], [])
    for strategy in STRATEGIES:
        assert not is_resolved(search_of(empty, -7.0, 1.0), strategy=strategy)


@pytest.mark.parametrize("strategy", ["frugal", "paper"])
@pytest.mark.parametrize("tolerance", [0.2, 0.1, 0.05])
def test_the_lowest_loss_has_neighbours_within_the_tolerance(
    strategy: str, tolerance: float
) -> None:
    slack = {"frugal": 1.25, "paper": 1.0}[strategy]
    for curve in CURVES:
        known, _ = search_curve(curve, strategy=strategy, tolerance=tolerance)
        i = int(np.argmin(known.loss))
        gaps = known.x[i] - known.x[i - 1], known.x[i + 1] - known.x[i]
        assert max(gaps) <= slack * tolerance + 1e-6


@pytest.mark.parametrize("strategy", ["frugal", "paper"])
def test_fewer_points_need_fewer_trials(strategy: str) -> None:
    curve = CURVES[0]
    counts = {}
    for points in (("max_lr",), POINT_NAMES):
        known, _ = search_curve(curve, strategy=strategy, points=points, tolerance=0.05)
        counts[points] = len(known)
        error = known.x[np.argmin(known.loss)] - curve.truth().max_lr
        assert abs(error) <= 0.0625
    assert counts[("max_lr",)] < counts[POINT_NAMES]


# --- Pending ------------------------------------------------------------------------------------


def test_a_pending_learning_rate_splits_its_gap() -> None:
    known = _some(SHAPES["valley"])
    search = search_of(known, -7.0, 1.0, baseline=2.3)
    first, second = itertools.islice(proposals(search), 2)
    assert next(proposals(search, [first.x])).x == pytest.approx(second.x)


def test_a_pending_learning_rate_alone_does_not_resolve() -> None:
    curve = CURVES[0]
    known, rounds = run_search(curve.loss, curve.low, curve.high, strategy="frugal", baseline=2.3)
    last = rounds[-1][0].x
    lrs = [lr for lr in known.lr if abs(math.log10(lr) - last) > 1e-6]
    before = LRCurve.from_observations(lrs, [curve.loss(lr) for lr in lrs])
    search = search_of(before, curve.low, curve.high, baseline=2.3)
    assert not next(proposals(search, [last])).needed  # nothing to add while it runs
    assert not is_resolved(search)  # but not known yet


# --- Range ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_minimum_at_the_top_is_pursued_to_the_end_of_the_range(strategy: str) -> None:
    curve = Curve("no wall", centre=-0.5, wall=20.0, high=0.3)
    known, _ = search_curve(curve, strategy=strategy)
    assert known.x[np.argmin(known.loss)] == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_minimum_at_the_bottom_is_pursued_to_the_end_of_the_range(strategy: str) -> None:
    curve = Curve("no plateau", centre=-6.0, wall=-4.5, low=-4.8, high=1.0, steep=0.3)
    known, _ = search_curve(curve, strategy=strategy)
    assert known.x[np.argmin(known.loss)] == pytest.approx(-4.8, abs=0.125)
    assert known.x[0] == pytest.approx(-4.8, abs=1e-9)


@pytest.mark.parametrize(
    "loss", [lambda lr: 2.3, lambda lr: INF, lambda lr: 2.3 if lr < 1e-4 else INF]
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_searches_without_a_window_end_too(loss: Callable[[float], float], strategy: str) -> None:
    known, _ = run_search(loss, -7.0, 1.0, strategy=strategy, baseline=2.3)
    assert len(known) <= 34
    assert known.x[0] == pytest.approx(-7.0, abs=1e-6)  # nothing missed below


def test_a_narrow_window_is_not_overlooked() -> None:
    """Half a decade of learning is as narrow as the first look resolves."""
    for centre in np.arange(-6.0, -1.0, 0.37):
        curve = Curve("slit", centre=centre, width=0.05, wall=centre + 0.9, steep=0.06, limit=2.0)
        known, _ = run_search(curve.loss, -7.0, 1.0, strategy="frugal", baseline=curve.baseline)
        found = known.x[np.argmin(known.loss)]
        assert found == pytest.approx(curve.truth().max_lr, abs=0.15), centre


# --- A known start ------------------------------------------------------------------------------


def test_a_right_start_saves_trials_and_moves_nothing() -> None:
    counts = []
    for curve in CURVES:
        truth = curve.truth()
        runs = [
            search_curve(curve, strategy="frugal", start=start)
            for start in (None, (truth.min_lr, truth.max_lr))
        ]
        counts.append([len(known) for known, _ in runs])
        lowest = [known.x[np.argmin(known.loss)] for known, _ in runs]
        assert lowest[0] == pytest.approx(lowest[1], abs=0.2)
    cold, warm = np.median(counts, axis=0)
    assert warm <= 0.75 * cold


def test_a_start_is_where_the_search_begins() -> None:
    search = search_of(_some({}), -7.0, 1.0, start=(-3.5, -1.5))
    first = [p.x for p in itertools.islice(proposals(search), 3)]
    assert sorted(first) == pytest.approx([-3.5, -2.5, -1.5])


@pytest.mark.parametrize("off", [-4.0, -2.0, 2.0, 3.0, 30.0])
def test_a_wrong_start_is_left_behind(off: float) -> None:
    curve = CURVES[0]
    truth = curve.truth()
    known, _ = search_curve(
        curve, strategy="frugal", start=(truth.min_lr + off, truth.max_lr + off)
    )
    assert known.x[np.argmin(known.loss)] == pytest.approx(truth.max_lr, abs=0.125)
    assert len(known) <= 30


@pytest.mark.parametrize("noise", [0.02, 0.05])
@pytest.mark.parametrize("start", [(-3.2, -1.8), (-6.2, -5.8)])
def test_a_start_on_a_noisy_plateau_is_left_behind(
    start: tuple[float, float], noise: float
) -> None:
    """The lowest of some losses of noise alone looks like a basin."""
    curve = Curve("right of the start", centre=-0.9, width=0.2, wall=0.4, limit=2.0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        known, _ = run_search(
            lambda lr, rng=rng: curve.loss(lr) + noise * curve.depth * rng.normal(),
            -7.0,
            1.0,
            strategy="frugal",
            baseline=curve.baseline,
            start=start,
        )
        found = known.x[np.argmin(known.loss)]
        assert found == pytest.approx(curve.truth().max_lr, abs=0.5), seed
        assert len(known) <= 25


# --- Noise and repeats --------------------------------------------------------------------------


def _noisy(noise: float, count: int = 1) -> tuple[Search, np.ndarray]:
    curve = CURVES[0]
    x = np.arange(-6.0, 0.01, 0.25)
    known = LRCurve.from_observations(10.0**x, [curve.loss(lr) for lr in 10.0**x])
    search = search_of(known, -7.0, 1.0, baseline=curve.baseline, noise=noise)
    return search, np.full(len(known), count)


def test_without_repeats_nothing_is_repeated() -> None:
    search, count = _noisy(0.05)
    assert repeat_proposal(search, count, 1) is None


def test_the_lowest_loss_is_repeated_first() -> None:
    search, count = _noisy(0.0)
    proposal = repeat_proposal(search, count, 3)
    assert proposal is not None
    assert proposal.needed
    assert proposal.x == pytest.approx(search.x[np.argmin(search.loss)])


def test_without_noise_one_repeat_is_enough() -> None:
    search, count = _noisy(0.0)
    count[np.argmin(search.loss)] = 2
    assert repeat_proposal(search, count, 3) is None


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_repeats_end_and_go_where_they_decide(noise: float) -> None:
    search, count = _noisy(noise)
    drop = CURVES[0].baseline - search.loss.min()
    yn = (search.loss - search.loss.min()) / drop
    while (proposal := repeat_proposal(search, count, 3)) is not None:
        count[int(np.argmin(np.abs(search.x - proposal.x)))] += 1
        assert count.sum() < 200
    assert count.max() == 3
    rivals = yn <= 2.0 * noise * math.sqrt(2.0 / 3.0)  # two standard errors of three repeats
    assert set(count[rivals]) == {3}
    assert np.all(count[(yn > 0.99) & (search.x < -5.0)] == 1)  # plateau and wall decide nothing
    assert np.all(count[yn > 1.5] == 1)


def test_noise_ends_the_refinement_early() -> None:
    """Neighbours nearer than the square root of the noise cannot be told apart: none closer."""
    curve = CURVES[0]
    nearest, counts = [], []
    for noise in (0.0, 0.05, 0.2):
        known, _ = search_curve(curve, strategy="frugal", tolerance=0.03, noise=noise)
        nearest.append(float(np.diff(known.x).min()))
        counts.append(len(known))
        assert nearest[-1] >= 0.25 * math.sqrt(noise) - 1e-9
    assert nearest[0] < 0.25 * math.sqrt(0.05)  # otherwise the limit would have no effect
    assert max(counts) <= 1.3 * counts[0]
