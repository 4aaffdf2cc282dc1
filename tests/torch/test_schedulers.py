"""Schedules from a window: torch's own schedulers, held to their closed forms."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.lr_scheduler import OneCycleLR

from optuna_lrss import analyze
from optuna_lrss.torch import apply_learning_rate
from optuna_lrss.torch._schedulers import cyclical
from optuna_lrss.torch._schedulers import one_cycle
from optuna_lrss.torch._schedulers import warmup_cosine
from optuna_lrss.torch._schedulers import wsd
from tests.visualization import cases


LOW, PEAK = 1e-3, 4e-2
SGD = torch.optim.SGD
ADAM = torch.optim.Adam

Make = Callable[..., LRScheduler]
MAKERS: dict[str, Make] = {
    "one_cycle": lambda optimizer, **o: one_cycle(optimizer, 100, low=LOW, peak=PEAK, **o),
    "cyclical": lambda optimizer, **o: cyclical(
        optimizer, low=LOW, peak=PEAK, step_size_up=25, **o
    ),
    "warmup_cosine": lambda optimizer: warmup_cosine(
        optimizer, 100, low=LOW, peak=PEAK, warmup_steps=20
    ),
    "wsd": lambda optimizer: wsd(optimizer, 100, low=LOW, peak=PEAK, warmup_steps=20),
}
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def _optimizer(kind: Any = SGD, **options: Any) -> torch.optim.Optimizer:
    """Two groups, the second with a tenth of the first's learning rate."""
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    return kind([{"params": [a]}, {"params": [b], "lr": 0.03}], lr=0.3, **options)


def _rates(optimizer: torch.optim.Optimizer, scheduler: LRScheduler, n: int) -> list[list[float]]:
    """Each group's learning rate at each of n optimizer steps."""
    seen = []
    for _ in range(n):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def test_apply_sets_every_group_by_its_ratio() -> None:
    result = analyze(cases.plain())
    for pick in ("recommended", "max_lr"):
        optimizer = _optimizer()
        result.apply(optimizer, pick)
        lr = getattr(result, pick)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([lr, 0.1 * lr])
    optimizer = _optimizer()
    result.apply(optimizer)
    assert optimizer.param_groups[0]["lr"] == result.recommended
    with pytest.raises(ValueError, match=r"pick: 'best' is unknown.*recommended"):
        result.apply(optimizer, "best")


def test_one_cycle_goes_from_low_to_peak_and_down() -> None:
    optimizer = _optimizer()
    scheduler = one_cycle(optimizer, 100, low=LOW, peak=PEAK)
    assert isinstance(scheduler, OneCycleLR)
    rates = [a for a, _ in _rates(optimizer, scheduler, 99)]
    assert rates[0] == pytest.approx(LOW)
    assert max(rates) == pytest.approx(PEAK)
    assert rates.index(max(rates)) == 29  # 30 % of the steps, torch's own pct_start
    half = LOW + (PEAK - LOW) * 0.5 * (1 - math.cos(math.pi * 10 / 29))
    assert rates[10] == pytest.approx(half)
    assert rates[-1] < LOW


def test_cyclical_runs_between_the_bounds() -> None:
    optimizer = _optimizer()
    scheduler = cyclical(optimizer, low=LOW, peak=PEAK, step_size_up=25)
    assert isinstance(scheduler, CyclicLR)
    rates = [a for a, _ in _rates(optimizer, scheduler, 101)]
    expected = [LOW + (PEAK - LOW) * (1 - abs(t % 50 / 25 - 1)) for t in range(101)]
    assert rates == pytest.approx(expected)


def test_warmup_cosine_is_its_formula() -> None:
    optimizer = _optimizer()
    scheduler = warmup_cosine(optimizer, 100, low=LOW, peak=PEAK, warmup_steps=20, final=2e-4)
    assert isinstance(scheduler, LambdaLR)
    rates = [a for a, _ in _rates(optimizer, scheduler, 101)]
    rising = [LOW + (PEAK - LOW) * t / 20 for t in range(20)]
    falling = [
        2e-4 + (PEAK - 2e-4) * 0.5 * (1 + math.cos(math.pi * (t - 20) / 80))
        for t in range(20, 101)
    ]
    assert rates == pytest.approx(rising + falling)


def test_wsd_is_its_formula() -> None:
    optimizer = _optimizer()
    scheduler = wsd(
        optimizer, 100, low=LOW, peak=PEAK, warmup_steps=20, decay_share=0.4, final=2e-4
    )
    assert isinstance(scheduler, LambdaLR)
    rates = [a for a, _ in _rates(optimizer, scheduler, 103)]
    rising = [LOW + (PEAK - LOW) * t / 20 for t in range(20)]
    falling = [2e-4 + (PEAK - 2e-4) * (100 - t) / 40 for t in range(60, 101)]
    assert rates == pytest.approx(rising + [PEAK] * 40 + falling + [2e-4] * 2)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1001])
def test_wsd_without_warmup_is_the_schedule_that_the_peak_was_fitted_on(steps: int) -> None:
    from examples.benchmarks.landscapes.engine import schedules

    optimizer = _optimizer()
    rates = _rates(optimizer, wsd(optimizer, steps, low=LOW, peak=PEAK, warmup_steps=0), steps)
    assert [a / PEAK for a, _ in rates] == pytest.approx(schedules.wsd(steps))


def test_wsd_warms_up_for_a_twentieth_unless_the_decay_begins_before() -> None:
    optimizer = _optimizer()
    rates = [a for a, _ in _rates(optimizer, wsd(optimizer, 100, low=LOW, peak=PEAK), 100)]
    assert (rates[0], rates[5]) == pytest.approx((LOW, PEAK))
    assert rates[4] < PEAK
    whole = wsd(_optimizer(), 100, low=LOW, peak=PEAK, decay_share=1.0)
    assert whole.get_last_lr()[0] == pytest.approx(PEAK)


def test_wsd_is_the_same_for_longer_trainings_until_it_decays() -> None:
    short, long = _optimizer(), _optimizer()
    until = _rates(short, wsd(short, 100, low=LOW, peak=PEAK, warmup_steps=5), 80)
    assert _rates(long, wsd(long, 1000, low=LOW, peak=PEAK, warmup_steps=5), 80) == until


def test_what_wsd_cannot_do_is_refused() -> None:
    for share in (0.0, 1.5, -0.1, math.nan, "0.2", None):
        with pytest.raises(ValueError, match=r"decay_share=.*must lie in \(0, 1\]"):
            wsd(_optimizer(), 10, low=LOW, peak=PEAK, decay_share=share)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"warmup_steps=9 must be at most 8"):
        wsd(_optimizer(), 10, low=LOW, peak=PEAK, warmup_steps=9)
    with pytest.raises(ValueError, match="final=1"):
        wsd(_optimizer(), 10, low=LOW, peak=PEAK, final=1.0)
    with pytest.raises(ValueError, match=r"total_steps=0.*len\(train_loader\)"):
        wsd(_optimizer(), 0, low=LOW, peak=PEAK)
    with pytest.raises(ValueError, match="low="):
        wsd(_optimizer(), 10, low=PEAK, peak=LOW)


def test_warmup_defaults_to_a_twentieth_and_may_be_none_at_all() -> None:
    optimizer = _optimizer()
    rates = _rates(optimizer, warmup_cosine(optimizer, 100, low=LOW, peak=PEAK), 100)
    assert max(rates) == rates[5]
    optimizer = _optimizer()
    rates = _rates(optimizer, warmup_cosine(optimizer, 10, low=LOW, peak=PEAK), 10)
    assert rates[0][0] == pytest.approx(PEAK)


@EVERY
@pytest.mark.parametrize("kind", [SGD, ADAM], ids=["sgd", "adam"])
def test_groups_keep_their_ratio(make: Make, kind: Any) -> None:
    optimizer = _optimizer(kind)
    for first, second in _rates(optimizer, make(optimizer), 95):
        assert second == pytest.approx(first / 10)


@EVERY
def test_what_an_earlier_scheduler_left_does_not_count(make: Make) -> None:
    fresh, used = _optimizer(), _optimizer()
    old = torch.optim.lr_scheduler.StepLR(used, 1, gamma=0.5)
    used.step()
    old.step()
    assert "initial_lr" in used.param_groups[0]
    assert _rates(used, make(used), 50) == [
        pytest.approx(pair) for pair in _rates(fresh, make(fresh), 50)
    ]


@EVERY
def test_a_learning_rate_in_a_tensor_gets_the_same_schedule(make: Make) -> None:
    plain = ADAM([torch.nn.Parameter(torch.ones(2))], lr=0.3)
    tensor = ADAM([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.3), capturable=False)
    expected = [a for (a,) in _rates(plain, make(plain), 60)]
    assert [a for (a,) in _rates(tensor, make(tensor), 60)] == pytest.approx(expected, rel=1e-4)


@EVERY
def test_a_checkpoint_resumes_the_schedule(make: Make) -> None:
    optimizer = _optimizer()
    scheduler = make(optimizer)
    _rates(optimizer, scheduler, 40)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    expected = _rates(optimizer, scheduler, 30)
    resumed = _optimizer()
    again = make(resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    assert _rates(resumed, again, 30) == [pytest.approx(pair) for pair in expected]


@pytest.mark.parametrize("name", ["one_cycle", "cyclical"])
def test_momentum_is_left_alone_unless_asked_for(name: str) -> None:
    optimizer = _optimizer(momentum=0.99)
    _rates(optimizer, MAKERS[name](optimizer), 20)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.99}
    optimizer = _optimizer(momentum=0.99)
    _rates(optimizer, MAKERS[name](optimizer, cycle_momentum=True), 20)
    assert {group["momentum"] for group in optimizer.param_groups} != {0.99}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"low": PEAK, "peak": LOW}, "low="),
        ({"low": 0.0, "peak": PEAK}, "low="),
        ({"low": LOW, "peak": math.inf}, "peak="),
    ],
)
def test_bounds_that_do_not_rise_are_refused(options: dict[str, float], named: str) -> None:
    for make in (
        lambda o: one_cycle(o, 10, **options),
        lambda o: cyclical(o, **options),
        lambda o: warmup_cosine(o, 10, **options),
    ):
        with pytest.raises(ValueError, match=named):
            make(_optimizer())


@pytest.mark.parametrize("steps", [0, 2.5, True])
def test_steps_must_be_whole_and_positive(steps: Any) -> None:
    with pytest.raises(ValueError, match="total_steps"):
        one_cycle(_optimizer(), steps, low=LOW, peak=PEAK)
    with pytest.raises(ValueError, match="step_size_up"):
        cyclical(_optimizer(), low=LOW, peak=PEAK, step_size_up=steps)
    with pytest.raises(ValueError, match="total_steps"):
        warmup_cosine(_optimizer(), steps, low=LOW, peak=PEAK)


def test_warmup_and_final_are_checked() -> None:
    with pytest.raises(ValueError, match="warmup_steps=10"):
        warmup_cosine(_optimizer(), 10, low=LOW, peak=PEAK, warmup_steps=10)
    with pytest.raises(ValueError, match="final=1"):
        warmup_cosine(_optimizer(), 10, low=LOW, peak=PEAK, final=1.0)


# --- The methods of an analysis -----------------------------------------------------------------


def _schedule(make: Make, n: int = 99) -> list[float]:
    """The first group's learning rates."""
    optimizer = _optimizer()
    return [first for first, _ in _rates(optimizer, make(optimizer), n)]


@pytest.mark.parametrize("total_steps", [100, 400])
def test_methods_go_from_the_window_to_the_peak_of_their_own_length(total_steps: int) -> None:
    """Whatever training the analysis itself is for."""
    result = analyze(cases.plain(), total_steps=30_000)
    low, high = result.min_lr, result.max_lr
    peak = result.with_total_steps(total_steps).peak
    assert peak == pytest.approx(result.peak * (30_000 / total_steps) ** 0.3)
    cycle = _schedule(lambda o: result.one_cycle(o, total_steps), total_steps - 1)
    assert (cycle[0], max(cycle)) == pytest.approx((low, peak))
    cycle = _schedule(lambda o: result.one_cycle(o, total_steps, peak=high), total_steps - 1)
    assert max(cycle) == pytest.approx(high)
    warm = _schedule(lambda o: result.warmup_cosine(o, total_steps), total_steps + 1)
    assert (warm[0], max(warm)) == pytest.approx((low, peak))
    assert warm[-1] == pytest.approx(0.0, abs=1e-12)
    warm = _schedule(lambda o: result.warmup_cosine(o, total_steps, peak=high))
    assert max(warm) == pytest.approx(high)


def test_wsd_holds_half_way_between_recommended_and_peak() -> None:
    result = analyze(cases.plain())
    of_length = result.with_total_steps(100)
    low, pick = result.min_lr, math.sqrt(of_length.recommended * of_length.peak)
    held = _schedule(lambda o: result.wsd(o, 100), 101)
    assert (held[0], held[79], max(held)) == pytest.approx((low, pick, pick))
    assert held[-1] == pytest.approx(0.0, abs=1e-12)
    high = result.max_lr
    whole = _schedule(lambda o: result.wsd(o, 100, peak=high, decay_share=0.5), 101)
    assert (whole[50], whole[75]) == pytest.approx((high, high / 2))


def test_cyclical_has_the_bounds_of_a_window_that_holds() -> None:
    result = analyze(cases.plain())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        waves = _schedule(lambda o: result.cyclical(o, step_size_up=10))
    assert (min(waves), max(waves)) == pytest.approx((result.min_lr, result.max_lr))


@pytest.mark.parametrize("case", ["narrow", "outside"])
def test_cyclical_widens_a_window_that_does_not(case: str) -> None:
    result = analyze(cases.plain())
    if case == "narrow":
        result = replace(result, min_lr=result.max_lr / 2, recommended=result.max_lr / 1.5)
    else:
        result = result.with_total_steps(10**9)
        assert result.recommended < result.min_lr
    why = "is too narrow to train in" if case == "narrow" else "leaves recommended out"
    with pytest.warns(UserWarning, match=rf"cyclical\(\).* {why}") as seen:
        scheduler = result.cyclical(_optimizer(), step_size_up=10)
    assert Path(seen[0].filename) == Path(__file__)  # whose line it is
    low = min(result.min_lr, result.intervals["recommended"][0])
    high = max(result.max_lr, result.intervals["peak"][1])
    rates = [a for a, _ in _rates(scheduler.optimizer, scheduler, 21)]
    assert (min(rates), max(rates)) == pytest.approx((low, high))


def test_a_peak_below_the_window_still_rises_to_itself() -> None:
    """With much momentum, or in a long training, the peak may lie below min_lr."""
    result = analyze(cases.plain(), momentum=0.999)
    peak = result.with_total_steps(100).peak
    assert peak < result.min_lr
    for rates in (
        _schedule(lambda o: result.one_cycle(o, 100)),
        _schedule(lambda o: result.warmup_cosine(o, 100)),
    ):
        assert max(rates) == pytest.approx(peak)
        assert rates[0] == pytest.approx(peak / 2)


@pytest.mark.parametrize("steps", [None, 2.5, 0, True, "100"])
def test_a_schedule_of_no_length_is_refused_by_the_methods_too(steps: Any) -> None:
    result = analyze(cases.plain())
    for make in (result.one_cycle, result.warmup_cosine, result.wsd):
        with pytest.raises(
            ValueError, match=rf"total_steps={steps!r}.*len\(train_loader\) \* epochs"
        ):
            make(_optimizer(), steps)


@pytest.mark.parametrize("steps", [None, math.nan, math.inf, "100", 2.5, 0, True])
def test_steps_that_are_no_count_are_refused(steps: Any) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=rf"total_steps={steps!r}.*len\(train_loader\) \* epochs"):
        one_cycle(optimizer, steps, low=0.1, peak=1.0)
    with pytest.raises(ValueError, match=f"total_steps={steps!r}"):
        warmup_cosine(optimizer, steps, low=0.1, peak=1.0)
    with pytest.raises(ValueError, match=f"step_size_up={steps!r}"):
        cyclical(optimizer, low=0.1, peak=1.0, step_size_up=steps)


def test_bounds_given_twice_are_refused() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=r"max_lr=0\.5 follows from the window.*peak="):
        one_cycle(optimizer, 10, low=0.1, peak=1.0, max_lr=0.5)
    with pytest.raises(ValueError, match=r"div_factor=3 follows"):
        one_cycle(optimizer, 10, low=0.1, peak=1.0, div_factor=3)
    for name in ("max_lr", "base_lr"):
        with pytest.raises(ValueError, match=rf"{name}=0\.5 follows.*CyclicLR yourself"):
            cyclical(optimizer, low=0.1, peak=1.0, **{name: 0.5})


def test_a_learning_rate_is_applied_to_every_group_by_its_ratio() -> None:
    def group(lr: Any) -> dict[str, Any]:
        return {"params": [torch.zeros(1, requires_grad=True)], "lr": lr}

    optimizer = torch.optim.SGD([group(0.01), group(0.1), group(0.005)])
    apply_learning_rate(optimizer, 0.2)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.2, 2.0, 0.1])
    apply_learning_rate(optimizer, 0.02)  # and again
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.02, 0.2, 0.01])
    rate = torch.tensor(0.5)
    adam = torch.optim.Adam([group(rate)], foreach=False)
    apply_learning_rate(adam, 0.25)
    assert adam.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25
    for lr in (0.0, -1.0, math.nan, "0.1", None):
        with pytest.raises(ValueError, match=r"lr=.*must be a positive number"):
            apply_learning_rate(optimizer, lr)  # type: ignore[arg-type]
