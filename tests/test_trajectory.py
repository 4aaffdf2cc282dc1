"""What paths say, and the search that begins at a guess: on curves whose trainings are flows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

import numpy as np
import optuna
import pytest

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.search import Search
from optuna_lrss._method.search import proposals
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._method.trajectory import Path
from optuna_lrss._method.trajectory import PathPoint
from optuna_lrss._method.trajectory import filled
from optuna_lrss._method.trajectory import inferred_losses
from tests.curves import Curve


CURVE = Curve("flow")
LOOKS = (1, 2, 4, 7, 14, 20)


def loss(x: float, curve: Curve = CURVE) -> float:
    return curve.loss(10.0**x)


def path_at(x: float, curve: Curve = CURVE, tau: Callable[[int], float] = float) -> Path:
    """The path of a training that is a flow: the curve itself."""
    far = [tau(k) / tau(20) for k in LOOKS]
    points = [PathPoint(r, loss(x + math.log10(r), curve) - curve.baseline) for r in far]
    return Path(x, tuple(points))


def curve_at(*xs: float, curve: Curve = CURVE) -> LRCurve:
    return LRCurve.from_observations([10.0**x for x in xs], [loss(x, curve) for x in xs])


# --- What follows from paths --------------------------------------------------------------------


def test_a_flow_is_inferred_as_it_is() -> None:
    found = inferred_losses(curve_at(-2.5, -1.5, -1.0), CURVE.baseline, [path_at(-2.5)])
    assert len(found) >= 6
    assert found.x.max() < -2.5
    assert found.x.min() < -4.5  # further than the first look, where drops are proportional
    truth = [loss(x) for x in found.x]
    assert found.loss == pytest.approx(truth, abs=0.03 * CURVE.depth)


def test_a_path_is_bent_to_meet_the_next_loss_on_its_left() -> None:
    path = path_at(-2.3)
    wrong = Path(path.x, tuple(p._replace(excess=p.excess * p.reach**0.3) for p in path.points))
    alone = inferred_losses(curve_at(-2.3, -1.5), CURVE.baseline, [wrong])
    bent = inferred_losses(curve_at(-2.9, -2.3, -1.5), CURVE.baseline, [wrong])
    errors = [
        np.abs(f.loss - [loss(x) for x in f.x])[(f.x > -2.85) & (f.x < -2.3)].max()
        for f in (alone, bent)
    ]
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize(
    ("xs", "source", "tau"),
    [
        ((-1.9, -1.5), -1.5, float),  # the lowest loss itself
        ((-1.6, -1.5), -1.6, float),  # too near it
        ((-2.1, -1.5), -2.1, lambda k: k**0.5),  # the same for long first steps
    ],
)
def test_trials_near_the_lowest_loss_are_not_believed(
    xs: tuple[float, ...], source: float, tau: Callable[[int], float]
) -> None:
    assert not len(inferred_losses(curve_at(*xs), CURVE.baseline, [path_at(source, tau=tau)]))


def test_nothing_is_inferred_without_a_baseline_or_a_drop() -> None:
    curve = curve_at(-2.5, -1.5)
    assert not len(inferred_losses(curve, None, [path_at(-2.5)]))
    assert not len(inferred_losses(curve, 0.0, [path_at(-2.5)]))
    assert not len(inferred_losses(LRCurve.from_observations([], []), 2.3, [path_at(-2.5)]))
    flat = Path(-2.5, (PathPoint(0.05, 0.1), PathPoint(1.0, 0.2)))  # a path that never fell
    assert not len(inferred_losses(curve, CURVE.baseline, [flat]))


def test_an_inferred_loss_is_never_the_minimum() -> None:
    measured = curve_at(-2.5, -1.8, -1.5, -1.2)
    low = float(measured.loss.min())
    lie = Inferred(np.array([-2.3, -2.2]), np.array([low - 0.5, low - 0.5]), np.full(2, 0.02))
    points = points_of_interest(filled(measured, lie), CURVE.baseline)
    # Nearer to a measured loss than to any inferred one.
    assert -2.0 - 1e-6 <= math.log10(points.max_lr) < -1.3
    assert list(filled(measured, lie).measured) == [True, False, False, True, True, True]


def test_inferred_losses_pull_by_their_error() -> None:
    measured = curve_at(-4.5, -3.0, -2.0, -1.5, -1.0)
    x = np.array([-2.8, -2.6])
    off = np.array([loss(v) for v in x]) + 0.3 * CURVE.depth
    knees = [
        points_of_interest(filled(measured, Inferred(x, off, np.full(2, e))), CURVE.baseline)
        for e in (0.004, 0.3)
    ]
    plain = points_of_interest(measured, CURVE.baseline)
    shift = [abs(math.log10(k.half_loss / plain.half_loss)) for k in knees]
    assert shift[1] < shift[0]


# --- The search ---------------------------------------------------------------------------------


def run(
    curve: Curve, first: float | None, *, paths: bool = True, strategy: str = "guided"
) -> LRAnalysis:
    study = optuna.create_study(sampler=LRStepSampler(strategy=strategy))
    if first is not None:
        study.set_user_attr("lrss:first", 10.0**first)
    study.set_user_attr("lrss:baseline", curve.baseline)
    study.set_user_attr("lrss:steps", 20)

    def objective(trial: optuna.Trial) -> float:
        x = math.log10(trial.suggest_float("lr", 10.0**curve.low, 10.0**curve.high, log=True))
        info = {"steps": 20, "diverged": False}
        if paths:
            info["rise"] = max(loss(x, curve) / curve.baseline - 1.0, 0.0)
            if loss(x, curve) < curve.baseline:
                info["path"] = [[p.reach, p.excess] for p in path_at(x, curve).points]
        trial.set_user_attr("lrss:trial", info)
        return loss(x, curve)

    study.optimize(objective, n_trials=60)
    return analyze(study)


CURVES = [
    Curve("plain"),
    Curve("wide", width=0.45, wall=0.3, centre=-2.5),
    Curve("low", centre=-5.2, wall=-3.4),
    Curve("high", centre=-1.2, wall=0.6),
    Curve("small", depth=0.2),
]


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
@pytest.mark.parametrize("off", range(-4, 5))
def test_a_wrong_guess_costs_trials_and_no_result(curve: Curve, off: int) -> None:
    truth = curve.truth()
    right = run(curve, truth.max_lr)
    moved = run(curve, min(max(truth.max_lr + off, curve.low), curve.high))
    assert moved.resolved
    assert moved.n_trials <= right.n_trials + 5
    for name, limit in (("max_lr", 0.1), ("half_loss", 0.15), ("min_lr", 0.3)):
        assert abs(math.log10(getattr(moved, name)) - getattr(truth, name)) < limit, name


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_a_guess_and_paths_save_trials(curve: Curve) -> None:
    truth = curve.truth()
    guided = run(curve, truth.max_lr + 0.3)
    frugal = run(curve, None, paths=False, strategy="frugal")
    assert guided.n_trials <= 0.7 * frugal.n_trials


def test_without_guess_and_paths_the_guided_search_is_the_frugal_one() -> None:
    for curve in CURVES:
        tried = [run(curve, None, paths=False, strategy=s).trials for s in ("guided", "frugal")]
        assert tried[0] == tried[1]


@pytest.mark.parametrize(("beside", "looked_into"), [(0.02, True), (0.2, False)])
def test_the_lowest_loss_is_looked_for_beside_any_that_is_nearly_as_low(
    beside: float, looked_into: bool
) -> None:
    x = np.array([-3.5, -2.5, -2.0, -1.5, -1.125, -1.0, -0.875, -0.5, 0.0])
    yn = np.array([1.0, 0.95, 0.8, 0.45, 0.3, 0.0, beside, 0.4, 3.0])
    path = Inferred(np.array([-2.9, -1.7]), 1.0 + np.array([0.98, 0.6]), np.full(2, 0.02), 0.25)
    known = Search(x=x, loss=1.0 + yn, low=-7.0, high=1.0, baseline=2.0, guess=-1.0, inferred=path)
    to_the_right = [p for p in next_needed(known) if -0.875 < p < -0.5]
    assert bool(to_the_right) == looked_into


def next_needed(known: Search) -> list[float]:
    """What a round of workers would try now, as far as it is needed."""
    return [p.x for p in takewhile(lambda p: p.needed, proposals(known, strategy="guided"))]


def test_where_nothing_learns_it_goes_on_as_the_frugal_search() -> None:
    x = np.linspace(-3.0, -1.0, 6)
    known = Search(x=x, loss=np.full(6, 2.3), low=-7.0, high=1.0, baseline=2.3, guess=-1.0)
    guided, frugal = (next(proposals(known, strategy=s)) for s in ("guided", "frugal"))
    assert guided == frugal
    early = replace(known, x=x[-1:], loss=known.loss[-1:])
    assert next(proposals(early, strategy="guided")).x > -1.0


def test_a_first_round_of_workers_is_spread_around_the_guess() -> None:
    empty = np.empty(0)
    known = Search(x=empty, loss=empty, low=-7.0, high=1.0, baseline=2.3, guess=-1.5)
    order = proposals(known, strategy="guided")
    first = [next(order).x for _ in range(16)]
    assert first[:5] == pytest.approx([-1.5, -2.0, -1.0, -2.5, -0.5])
    assert len(set(np.round(first, 6))) == 16
    assert min(first) >= -7.0
    assert max(first) <= 1.0


def tell(study: optuna.Study, trial: optuna.Trial, curve: Curve) -> None:
    x = math.log10(trial.params["lr"])
    info = {
        "steps": 20,
        "diverged": False,
        "rise": max(loss(x, curve) / curve.baseline - 1.0, 0.0),
    }
    if loss(x, curve) < curve.baseline:
        info["path"] = [[p.reach, p.excess] for p in path_at(x, curve).points]
    trial.set_user_attr("lrss:trial", info)
    study.tell(trial, loss(x, curve))


@pytest.mark.parametrize("workers", [1, 4, 8, 16])
def test_workers_that_ask_together_get_different_useful_learning_rates(workers: int) -> None:
    curve = CURVES[1]
    sampler = LRStepSampler(strategy="guided")
    study = optuna.create_study(sampler=sampler)
    for key, value in (("first", 0.03), ("baseline", curve.baseline), ("steps", 20)):
        study.set_user_attr(f"lrss:{key}", value)
    rounds = 0
    while not sampler.is_resolved(study):
        together = [study.ask() for _ in range(workers)]
        for trial in together:
            trial.suggest_float("lr", 1e-7, 10.0, log=True)
        for trial in together:
            tell(study, trial, curve)
        rounds += 1
        assert rounds < 15
    tried = [t.params["lr"] for t in study.trials]
    assert len(set(tried)) == len(tried)
    assert rounds <= {1: 12, 4: 5, 8: 4, 16: 3}[workers]
    truth = curve.truth()
    assert abs(math.log10(analyze(study).max_lr) - truth.max_lr) < 0.1


@pytest.mark.parametrize("sure", [True, False])
def test_a_divergence_after_a_rise_is_no_accident(sure: bool) -> None:
    """An abrupt wall is evaluated twice, unless its loss had been rising for steps."""
    curve = Curve("abrupt", wall=-1.7, steep=0.002, limit=3.0)
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", curve.baseline)

    def objective(trial: optuna.Trial) -> float:
        x = math.log10(trial.suggest_float("lr", 1e-7, 10.0, log=True))
        y = loss(x, curve)
        info = {"steps": 20, "diverged": y == math.inf, "sure": sure and y == math.inf}
        trial.set_user_attr("lrss:trial", info)
        return y

    study.optimize(objective, n_trials=60)
    rechecks = sum(role == "recheck" for role in analyze(study).roles.values())
    assert rechecks == (0 if sure else 1)


# --- Objectives of one's own --------------------------------------------------------------------


def reporting(study: optuna.Study, *, last: float = 0.0) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = math.log10(trial.suggest_float("lr", 1e-7, 10.0, log=True))
        for k in LOOKS:
            trial.report(loss(x + math.log10(k / 20)) + last * (k == 20), k)
        return loss(x)

    study.set_user_attr("lrss:baseline", CURVE.baseline)
    study.optimize(objective, n_trials=60)


def test_reports_are_paths() -> None:
    results = {}
    for strategy in ("guided", "frugal"):
        study = optuna.create_study(sampler=LRStepSampler(strategy=strategy))
        reporting(study)
        results[strategy] = analyze(study)
    assert results["guided"].n_trials < results["frugal"].n_trials
    assert results["guided"].inferred
    assert not results["frugal"].inferred
    assert LRAnalysis.from_json(results["guided"].to_json()).inferred == results["guided"].inferred


def test_reports_of_another_loss_are_no_paths() -> None:
    study = optuna.create_study(sampler=LRStepSampler(strategy="guided"))
    reporting(study, last=0.3)  # what it reports at the end is not what it returns
    assert not analyze(study).inferred


def test_tau_says_how_far_reported_steps_go() -> None:
    study = optuna.create_study(sampler=LRStepSampler(strategy="guided"))
    study.set_user_attr("lrss:tau", [[k, k**2] for k in LOOKS])
    reporting(study)  # steps that go equally far: as told, drops lie too far left
    even = optuna.create_study(sampler=LRStepSampler(strategy="guided"))
    reporting(even)
    assert min(lr for lr, *_ in analyze(study).inferred) < min(
        lr for lr, *_ in analyze(even).inferred
    )


@pytest.mark.parametrize("stored", ["much", [1, 2], [[1, 2.0], [2, 1.0]], [[0, math.nan]]])
def test_a_tau_that_makes_no_sense_is_ignored(stored: object) -> None:
    study = optuna.create_study(sampler=LRStepSampler(strategy="guided"))
    study.set_user_attr("lrss:tau", stored)
    reporting(study)
    assert analyze(study).inferred


@pytest.mark.parametrize("path", ["far", [[0.5]], [[0.5, "x"]], [[0.9, -1.0], [0.5, -1.0]]])
def test_a_path_that_makes_no_sense_is_ignored(path: object) -> None:
    study = optuna.create_study(sampler=LRStepSampler(strategy="guided"))

    def objective(trial: optuna.Trial) -> float:
        x = math.log10(trial.suggest_float("lr", 1e-7, 10.0, log=True))
        trial.set_user_attr("lrss:trial", {"steps": 20, "diverged": False, "path": path})
        return loss(x)

    study.set_user_attr("lrss:baseline", CURVE.baseline)
    study.optimize(objective, n_trials=60)
    assert not analyze(study).inferred
