"""Longer trials: the rule by itself, and searches that go on with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import repeat_index
from optuna_lrss import trial_steps
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.search.longer import next_horizon
from optuna_lrss._method.search.longer import next_longer
from optuna_lrss._study.claims import Pending
from optuna_lrss._study.horizons import claimed_horizon
from tests.workers import fleet


RANGE = (-7.0, 1.0)
BASELINE = 2.4
NOTHING = LRCurve.from_observations([], [])


def curve_of(losses: dict[float, float]) -> LRCurve:
    """By log10 of the learning rate."""
    return LRCurve.from_observations([10.0**x for x in losses], list(losses.values()))


def sampled(lowest: float, gained: float = 1.0) -> LRCurve:
    """A quarter decade between neighbours, symmetric about the lowest point."""
    losses = {lowest + 0.25 * k: BASELINE - gained + 0.2 * k**2 for k in range(-6, 7)}
    return curve_of({x: min(y, BASELINE) for x, y in losses.items()})


def order_of(
    shorter: LRCurve, loss: Callable[[float], float], *, workers: int = 1, most: int = 30
) -> list[float]:
    """The learning rates that one horizon gets, by log10, in rounds of so many workers."""
    losses: dict[float, float] = {}
    for _ in range(most):
        if not _needed(next_longer(shorter, curve_of(losses), (), RANGE, BASELINE)):
            return list(losses)
        pending: list[float] = []
        while len(pending) < workers:
            proposal = next_longer(shorter, curve_of(losses), pending, RANGE, BASELINE)
            if proposal is None:
                break
            pending.append(proposal.x)
        losses |= {x: loss(x) for x in pending}
    raise AssertionError("the horizon is never resolved")


def _needed(proposal: Any) -> bool:
    return proposal is not None and proposal.needed


# --- The rule ---------------------------------------------------------------------------------


def test_near_the_lowest_point_of_the_horizon_before_further_down_than_up() -> None:
    tried = order_of(sampled(-2.0), lambda x: (x + 2.0) ** 2)
    assert tried[:4] == pytest.approx([-2.0, -1.75, -2.5, -3.0], abs=0.021)  # the grid's spacing


@pytest.mark.parametrize(
    ("lowest", "fifth"),
    [(-2.0, -2.25), (-2.3, -2.25), (-2.6, -2.25), (-9.0, -3.25), (-1.75, -1.5), (9.0, -1.5)],
)
def test_the_fifth_and_last_is_beside_the_lowest_of_these_and_beyond_an_end(
    lowest: float, fifth: float
) -> None:
    """Into the wider gap beside it, the upper one first."""
    tried = order_of(sampled(-2.0), lambda x: (x - lowest) ** 2)
    assert tried[4:] == pytest.approx([fifth], abs=0.021)


def test_further_down_where_all_diverged() -> None:
    tried = order_of(sampled(-2.0), lambda x: math.inf)
    assert tried[4:] == pytest.approx([-3.25], abs=0.021)


LITTLE = 0.2  # gained, of an untrained loss of 2.4: under a tenth


def test_from_the_cliff_down_where_little_was_gained() -> None:
    shorter = sampled(-3.0, gained=LITTLE)
    cliff = float(shorter.x[-1])
    tried = order_of(shorter, lambda x: (x - cliff + 1.0) ** 2)
    first = [cliff + step for step in (0.0, -0.5, 0.5, -1.0, -1.5)]
    assert tried[:5] == pytest.approx(first, abs=0.021)
    # The last of these is where the shorter trials' lowest point is.
    assert tried[5:] == pytest.approx([cliff - 0.75, cliff - 1.25], abs=0.021)


def test_eight_at_most_from_the_cliff_down_the_lowest_point_among_them() -> None:
    shorter = curve_of({**{-6.0 + 0.5 * k: 2.4 for k in range(10)}, -5.0: 2.3})
    tried = order_of(shorter, lambda x: -x)
    assert len(tried) == 8
    assert tried[:5] == pytest.approx([-1.5, -2.0, -1.0, -2.5, -3.0])
    assert tried[5] == pytest.approx(-5.0, abs=0.021)
    assert tried[6:] == pytest.approx([-0.75, -0.5])  # beyond the end


@pytest.mark.parametrize("wall", [math.inf, 4.9])
def test_the_cliff_is_where_the_loss_is_twice_the_untrained_one(wall: float) -> None:
    losses = {-3.0: 2.3, -2.0: 2.3, -1.0: 4.7, 0.0: wall}
    assert order_of(curve_of(losses), lambda x: (x + 2.3) ** 2)[0] == pytest.approx(-1.0)


def test_a_curve_without_a_drop_has_a_cliff_alone() -> None:
    flat = curve_of({-3.0: 2.5, -2.0: 2.45, -1.0: 2.6})
    tried = order_of(flat, lambda x: (x + 2.0) ** 2)
    assert tried[:5] == pytest.approx([-1.0, -1.5, -0.5, -2.0, -2.5])


def test_the_ends_of_the_range_are_kept() -> None:
    for gained, most in ((1.0, 5), (LITTLE, 8)):
        x = np.arange(0.0, 1.01, 0.25)
        shorter = curve_of({v: BASELINE - gained * (1.0 + 0.1 * v) / 1.1 for v in x})
        tried = order_of(shorter, lambda x: -x)
        assert max(tried) == RANGE[1]
        assert len(tried) == len(set(tried)) <= most


def test_a_lowest_point_that_moves_a_little_asks_for_nothing_new() -> None:
    longer = curve_of({x: (x + 2.2) ** 2 for x in (-3.0, -2.5, -2.25, -2.0, -1.75)})
    assert not _needed(next_longer(sampled(-2.0), longer, (), RANGE, BASELINE))
    assert not _needed(next_longer(sampled(-1.92), longer, (), RANGE, BASELINE))
    assert _needed(next_longer(sampled(-1.75), longer, (), RANGE, BASELINE))


@pytest.mark.parametrize("gained", [1.0, LITTLE])
@pytest.mark.parametrize("workers", [2, 4, 8, 16])
def test_workers_that_ask_at_once_get_different_learning_rates(
    workers: int, gained: float
) -> None:
    shorter = sampled(-2.0, gained=gained)
    alone = order_of(shorter, lambda x: (x + 9.0) ** 2)
    tried = order_of(shorter, lambda x: (x + 9.0) ** 2, workers=workers)
    apart = np.diff(np.sort(tried))
    assert apart.min() > 0.02
    for x in alone[:4]:  # the first look is everybody's
        assert np.min(np.abs(np.array(tried) - x)) < 1e-9


@pytest.mark.parametrize(
    ("steps", "gained", "total_steps", "expected"),
    [
        (20, 1.0, None, 80),  # always
        (20, 0.01, None, 80),
        (20, -0.1, None, 80),  # nothing learns yet
        (80, 0.2, None, 320),  # a twelfth of the untrained loss
        (80, 0.3, None, None),  # an eighth
        (320, 0.2, None, 500),  # half of 1,000
        (333, 0.2, None, 500),
        (334, 0.2, None, None),  # not half as long again
        (320, 0.2, 10_000, 1280),
        (20, 1.0, 160, 80),
        (20, 1.0, 100, 50),
        (20, 1.0, 60, 30),
        (20, 1.0, 59, None),
    ],
)
def test_horizons_grow_while_little_is_gained_up_to_half_of_the_training(
    steps: int, gained: float, total_steps: int | None, expected: int | None
) -> None:
    curve = curve_of({-3.0: 2.4, -2.0: BASELINE - gained, -1.0: math.inf})
    assert next_horizon(curve, BASELINE, steps, total_steps) == expected


def test_horizons_without_a_baseline_or_a_loss() -> None:
    curve = curve_of({-3.0: 2.4, -2.0: 1.0})
    assert next_horizon(curve, None, 20, None) == 80
    assert next_horizon(curve, None, 80, None) is None
    assert next_horizon(curve_of({-1.0: math.inf}), BASELINE, 20, None) is None
    assert next_horizon(curve, BASELINE, 50, None, base=50) == 200


# --- Searches ---------------------------------------------------------------------------------


HEIGHT = 30.0  # of it too little is gained at any horizon
LONGER = [80, 320, 500]  # the last is half of a training of 1,000 steps
MOST = 8  # trials of each, from the cliff down


def objective(trial: optuna.Trial) -> float:
    return HEIGHT + fleet.plain(trial, 0.0) + fleet.longer(trial)


def nested(trial: optuna.Trial) -> float:
    return fleet.nested(trial, 0.0) + fleet.longer(trial)


def new_study(total_steps: int = 1000, *, height: float = HEIGHT, **options: Any) -> optuna.Study:
    study = optuna.create_study(sampler=LRStepSampler(**options), pruner=LRStepPruner())
    study.set_user_attr("lrss:baseline", height + fleet.BASELINE)
    fleet.allow_longer(study, total_steps)
    return study


def trials_at(study: optuna.Study) -> dict[int | None, list[float]]:
    """log10 of the finished learning rates by their horizons."""
    found: dict[int | None, list[float]] = {}
    for t in study.get_trials(deepcopy=False):
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED):
            found.setdefault(claimed_horizon(t), []).append(math.log10(t.params["lr"]))
    return found


def test_a_search_goes_on_at_longer_horizons_and_stops() -> None:
    study = new_study()
    study.optimize(objective, n_trials=100)
    tried = trials_at(study)
    assert list(tried) == [None, *LONGER]
    assert all(5 <= len(tried[n]) <= MOST for n in LONGER)
    assert study.sampler.is_resolved(study)

    short = optuna.create_study(sampler=LRStepSampler())
    short.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    short.optimize(lambda t: HEIGHT + fleet.plain(t, 0.0), n_trials=100)
    assert tried[None] == trials_at(short)[None]  # the search before is the one without
    assert len(study.trials) - len(short.trials) == sum(len(tried[n]) for n in LONGER)


@pytest.mark.parametrize(
    ("total_steps", "expected"),
    [(59, []), (60, [30]), (200, [80]), (240, [80, 120]), (4000, [80, 320, 1280, 2000])],
)
def test_no_longer_trial_is_more_than_half_of_the_training(
    total_steps: int, expected: list[int]
) -> None:
    study = new_study(total_steps)
    study.optimize(objective, n_trials=100)
    assert [n for n in trials_at(study) if n is not None] == expected


def test_longer_trials_are_asked_for_at_once() -> None:
    study = new_study(height=0.0)
    sampler = study.sampler
    assert isinstance(sampler, LRStepSampler)
    rounds: list[list[int | None]] = []
    while not sampler.is_resolved(study):
        asked: list[tuple[optuna.Trial, float]] = []
        while not asked or sampler.has_more(study):
            trial = study.ask()
            asked.append((trial, objective(trial) - HEIGHT))
        for trial, loss in asked:
            study.tell(trial, loss)
        rounds.append([claimed_horizon(trial) for trial, _ in asked])
    assert rounds[-2:] == [[80] * 4, [80]]  # a first look, and one that depends on it
    assert not sampler.has_more(study)


def test_one_horizon_where_enough_is_gained() -> None:
    study = new_study(height=0.0)
    study.optimize(lambda t: objective(t) - HEIGHT, n_trials=100)
    assert list(trials_at(study)) == [None, 80]


def test_the_analysis_keeps_the_longer_curves_apart() -> None:
    study = new_study()
    study.optimize(objective, n_trials=100)
    tried = trials_at(study)
    result = analyze(study)
    assert result.resolved
    assert list(result.longer) == LONGER
    assert result.horizon == LONGER[-1]
    for steps, curve in result.longer.items():
        np.testing.assert_allclose(curve.x, np.sort(tried[steps]))
    assert len(result.curve) == len(result.trials) == len(tried[None])
    assert result.n_trials == len(study.trials)
    assert result.n_steps == sum(len(x) * (steps or 20) for steps, x in tried.items())
    assert f"{len(tried[80])} trials of 80 steps" in str(result)

    short = optuna.create_study()
    short.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    short.add_trials([t for t in study.trials if claimed_horizon(t) is None])
    alone = analyze(short, steps=20)
    assert alone.longer == {}
    assert alone.brackets == result.brackets
    for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest"):
        assert getattr(alone, name) == getattr(result, name)
    assert alone.recommended != result.recommended  # which is for the same training


def test_a_study_is_not_resolved_before_its_longer_trials() -> None:
    study = new_study()
    while True:
        study.optimize(objective, n_trials=1)
        if study.trials[-1].system_attrs["lrss:claim"].get("horizon") == 80:
            break
    assert not LRStepSampler().is_resolved(study)
    assert not analyze(study).resolved


@pytest.mark.parametrize("auto", [False, None, "yes"])
def test_an_objective_that_says_nothing_gets_short_trials(auto: Any) -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    study.set_user_attr("lrss:steps", 20)
    study.set_user_attr("lrss:auto", auto)
    study.optimize(objective, n_trials=100)
    assert list(trials_at(study)) == [None]
    assert not any("horizon" in t.system_attrs["lrss:claim"] for t in study.trials)


def test_a_study_that_short_trials_have_resolved_gets_longer_ones() -> None:
    """In the same process: what was read of the study is read again before the end."""
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    study.optimize(objective, n_trials=100)
    assert study.sampler.is_resolved(study)
    before = len(study.trials)
    fleet.allow_longer(study)
    assert not study.sampler.is_resolved(study)
    study.optimize(objective, n_trials=100)
    assert [n for n in trials_at(study) if n] == LONGER
    assert study.sampler.is_resolved(study)
    assert len(study.trials) - before <= MOST * len(LONGER)


def test_the_objective_may_say_so_in_the_first_trial_that_would_end_the_search() -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    study.optimize(objective, n_trials=100)
    last = study.trials[-1]
    fresh = optuna.create_study(sampler=LRStepSampler())
    fresh.set_user_attr("lrss:baseline", HEIGHT + fleet.BASELINE)
    fresh.add_trials(study.trials[:-1])

    def announcing(trial: optuna.Trial) -> float:
        value = objective(trial)
        fleet.allow_longer(fresh)
        return value

    fresh.optimize(announcing, n_trials=100)
    assert fresh.trials[last.number].params == last.params
    assert [n for n in trials_at(fresh) if n] == LONGER


@pytest.mark.parametrize("n", [1, 4, 9, 20, 22, 25])
def test_a_restart_changes_nothing(n: int) -> None:
    alone = new_study()
    alone.optimize(objective, n_trials=100)
    first = new_study()
    first.optimize(objective, n_trials=n)
    second = new_study()
    second.add_trials(first.trials)
    if not second.sampler.is_resolved(second):
        second.optimize(objective, n_trials=100)
    assert trials_at(second) == trials_at(alone)


@pytest.mark.parametrize("workers", [4, 16])
def test_many_workers_take_no_learning_rate_twice_at_one_horizon(workers: int) -> None:
    """Each round all ask, then all tell: nobody knows of another's result before."""
    study = new_study()
    samplers = [LRStepSampler() for _ in range(workers)]
    own = [
        optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=s)
        for s in samplers
    ]
    for _ in range(60):
        if samplers[0].is_resolved(study):
            break
        trials = [s.ask() for s in own]
        values = [objective(t) for t in trials]
        for s, trial, value in zip(own, trials, values, strict=True):
            s.tell(trial, value)
    assert samplers[0].is_resolved(study)
    tried = trials_at(study)
    assert list(tried) == [None, *LONGER]
    for x in tried.values():
        assert np.diff(np.sort(x)).min() > 1e-9
    assert len(tried[80]) <= max(workers, MOST) + workers


def test_only_the_best_configuration_gets_longer_trials() -> None:
    study = new_study(height=0.0, max_configurations=3, seed=5)
    study.optimize(nested, n_trials=200)
    assert study.sampler.is_resolved(study)
    longer = [t for t in study.trials if claimed_horizon(t) == 80]
    assert 4 <= len(longer) <= 5
    best = analyze(study)
    assert best.resolved
    assert all({**best.configuration, "lr": t.params["lr"]} == t.params for t in longer)
    assert best.longer.keys() == {80}
    others = [t.params for t in study.trials if t not in longer]
    other = next(p for p in others if {**p, "lr": 0} != {**best.configuration, "lr": 0})
    configuration = {k: v for k, v in other.items() if k != "lr"}
    assert analyze(study, configuration=configuration).longer == {}


def test_a_study_without_an_end_has_no_best_configuration_to_look_at() -> None:
    study = new_study(height=0.0, seed=5)
    study.optimize(nested, n_trials=60)
    assert list(trials_at(study)) == [None]


def test_failed_longer_trials_are_tried_again_and_then_given_up() -> None:
    study = new_study()
    failed: Counter[float] = Counter()

    def failing(trial: optuna.Trial) -> float:
        value = objective(trial)
        x = math.log10(trial.params["lr"])
        if trial_steps(trial, 20) == 80 and (not failed or failed[x] == 1):
            failed[x] += 1
            raise ValueError("as it happens")
        return value

    study.optimize(failing, n_trials=100, catch=ValueError)
    assert list(failed.values()) == [2]
    result = analyze(study)
    assert result.resolved
    at = int(np.argmin(np.abs(result.longer[80].x - next(iter(failed)))))
    assert math.isinf(result.longer[80].loss[at])
    assert np.isfinite(result.longer[80].loss).sum() >= 3


def test_a_longer_trial_is_no_repeat_of_a_short_one() -> None:
    study = new_study()
    study.optimize(objective, n_trials=100)
    known = study.trials[0]
    claim = {"x": math.log10(known.params["lr"]), "role": "longer", "leader": 0, "horizon": 80}
    study.enqueue_trial(known.params)
    trial = study.ask()
    trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    assert repeat_index(trial) == 1
    study._storage.set_trial_system_attr(trial._trial_id, "lrss:claim", claim)
    assert trial_steps(trial, 20) == 80
    assert repeat_index(trial) == 0
    assert trial_steps(study.trials[-1], 20) == 80


def test_a_longer_trial_may_take_as_much_longer_before_it_is_given_up() -> None:
    study = new_study(grace_period=1e-6)
    worker = study.sampler._workers.of(study)
    study.optimize(objective, n_trials=4)
    moment = worker.look()
    allowed = [
        moment.lifetime.alive([p], moment.now)
        for p in (_pending(None, 13.0, moment), _pending(80, 13.0, moment))
    ]
    assert [len(a) for a in allowed] == [0, 1]
    assert not moment.lifetime.alive([_pending(80, 50.0, moment)], moment.now)


def _pending(horizon: int | None, times: float, moment: Any) -> Any:
    """A trial under way for so many times as long as the longest short one."""
    started = moment.now - timedelta(seconds=times * moment.lifetime.longest)
    return Pending(99, -2.0, (), 0, started, committed=True, horizon=horizon)


def test_trial_steps_of_other_trials() -> None:
    fixed = optuna.trial.FixedTrial({"lr": 0.1})
    with pytest.raises(ValueError, match="no learning rate yet"):
        trial_steps(fixed)
    fixed.suggest_float("lr", 1e-7, 10, log=True)
    assert trial_steps(fixed) == 20
    assert trial_steps(fixed, 50) == 50
    foreign = optuna.create_study().ask()
    foreign.suggest_float("lr", 1e-7, 10, log=True)
    assert trial_steps(foreign, 50) == 50


@pytest.mark.parametrize("horizon", [0, -80, 80.5, "80", True])
def test_a_horizon_that_is_none_is_not_believed(horizon: Any) -> None:
    trial = new_study().ask()
    trial.suggest_float("lr", fleet.LOW, fleet.HIGH, log=True)
    claim = {"x": -3.0, "role": "longer", "leader": 0, "horizon": horizon}
    trial.study._storage.set_trial_system_attr(trial._trial_id, "lrss:claim", claim)
    assert trial_steps(trial) == 20
