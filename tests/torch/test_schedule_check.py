"""What check() says of a schedule, and that it changes nothing."""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from optuna_lrss import LRAnalysis
from optuna_lrss import analyze
from optuna_lrss.torch._planned_rates import planned_rates
from tests.visualization import cases


STEPS = 1000
Optimizer = torch.optim.Optimizer


@pytest.fixture(scope="module")
def result() -> LRAnalysis:
    return analyze(cases.plain(), total_steps=STEPS)


def _optimizer(lr: float = 0.1, kind: Any = torch.optim.SGD, **options: Any) -> Optimizer:
    """Two groups, the second with a tenth of the first's learning rate."""
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    return kind([{"params": [a]}, {"params": [b], "lr": lr / 10}], lr=lr, **options)


def _codes(result: LRAnalysis, scheduler: Any, steps: int = STEPS, **options: Any) -> list[str]:
    return [d.code for d in result.check(scheduler, steps, **options)]


def _wsd(peak: float) -> Callable[[int], float]:
    return lambda step: peak * min(1.0, (STEPS - step) / (0.2 * STEPS))


def _line(peak: float) -> Callable[[int], float]:
    return lambda step: peak * (STEPS - step) / STEPS


# --- What is doubted -----------------------------------------------------------------------------


def test_schedules_from_the_analysis_are_not_doubted(result: LRAnalysis) -> None:
    for steps in (100, 1000, 20_000):
        for make in (result.wsd, result.warmup_cosine, result.one_cycle):
            assert _codes(result, make(_optimizer(), steps), steps) == []
        constant = result.with_total_steps(steps).recommended
        assert _codes(result, lambda step, lr=constant: lr, steps) == []


def test_a_peak_in_the_divergence_is_doubted(result: LRAnalysis) -> None:
    ruin = float(result.curve.lr[result.curve.loss > result.baseline].min())
    (doubt,) = result.check(result.wsd(_optimizer(), STEPS, peak=3 * ruin), STEPS)
    assert doubt.code == "peak-above-window"
    factor = 3 * ruin / result.max_lr
    assert f"{3 * ruin:.2g}, is {factor:.2g} times max_lr, {result.max_lr:.2g}" in doubt.message
    assert "expect divergence" in doubt.message
    assert f"use result.peak, {result.peak:.2g}" in doubt.remedy


def test_a_peak_between_window_and_divergence_is_doubted_mildly(result: LRAnalysis) -> None:
    high = 1.1 * max(result.max_lr, result.intervals["peak"][1])
    assert high < result.curve.lr[result.curve.loss > result.baseline].min()
    (doubt,) = result.check(_wsd(high), STEPS)
    assert doubt.code == "peak-above-window"
    assert "learn less there" in doubt.message


def test_a_peak_below_the_window_is_doubted(result: LRAnalysis) -> None:
    (doubt,) = result.check(_wsd(result.min_lr / 50), STEPS)
    assert doubt.code == "peak-below-window"
    assert "by a factor of 50: next to nothing will be learned" in doubt.message


def test_a_long_training_may_have_its_peak_below_the_window(result: LRAnalysis) -> None:
    """What 20 steps do not learn at, a billion may."""
    steps = 10**9
    long = result.with_total_steps(steps)
    assert long.peak < result.min_lr
    in_ten = long.check(lambda step: long.peak * (1 - step / steps), steps, every=steps // 10)
    assert in_ten == ()


@pytest.mark.parametrize("end", [0, 1], ids=["below", "above"])
def test_a_level_outside_the_picks_interval_is_doubted(result: LRAnalysis, end: int) -> None:
    sides = ("below", "above")
    for name, make in (("peak", _line), ("recommended", lambda lr: lambda step: lr)):
        edge = result.intervals[name][end]
        assert _codes(result, make(edge)) == []
        lr = edge * (1.05, 0.95)[1 - end] if end else edge * 0.95
        assert result.min_lr < lr < result.max_lr
        (doubt,) = result.check(make(lr), STEPS)
        assert doubt.code == "peak-off"
        assert f"decades {sides[end]} the pick" in doubt.message
        assert f"result.{name}" in doubt.remedy


def test_the_length_of_the_training_counts(result: LRAnalysis) -> None:
    assert _codes(result, result.wsd(_optimizer(), STEPS)) == []
    (doubt,) = result.check(result.wsd(_optimizer(), 100 * STEPS, peak=result.peak), 100 * STEPS)
    assert doubt.code in ("peak-off", "peak-above-window")
    assert str(100 * STEPS) in f"{doubt.message} {doubt.remedy}"


def test_the_pick_of_a_decaying_schedule_held_constant_is_doubted(result: LRAnalysis) -> None:
    (doubt,) = result.check(lambda step: result.peak, STEPS)
    assert doubt.code == "never-decays"
    assert f"result.recommended, {result.recommended:.2g}" in doubt.remedy
    assert "result.wsd(optimizer, 1000)" in doubt.remedy


def test_a_schedule_made_for_fewer_steps_is_doubted(result: LRAnalysis) -> None:
    short = lr_scheduler.OneCycleLR(_optimizer(), max_lr=result.peak, total_steps=STEPS // 2)
    codes = _codes(result, short)
    assert "schedule-too-short" in codes
    (doubt,) = [d for d in result.check(short, STEPS) if d.code == "schedule-too-short"]
    assert f"after {STEPS // 2 + 1} of {STEPS} steps" in doubt.message


def test_a_schedule_for_epochs_stepped_every_step_is_doubted(result: LRAnalysis) -> None:
    """With ``every`` the very same one is right."""
    scheduler = lr_scheduler.ExponentialLR(_optimizer(result.peak), gamma=0.7)
    assert "decays-early" in _codes(result, scheduler)
    assert _codes(result, scheduler, every=STEPS // 10) == []


# --- Kinds of schedulers -------------------------------------------------------------------------


def _fast(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    return lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10),
            lr_scheduler.CosineAnnealingLR(optimizer, 90),
        ],
        milestones=[10],
    )


KINDS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.95),
    "step": lambda o: lr_scheduler.StepLR(o, 30),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, [30, 60]),
    "constant": lambda o: lr_scheduler.ConstantLR(o, 0.5, total_iters=10),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=10),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 100),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 100),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 25),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 0.1, 20, cycle_momentum=True),
    "onecycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 100),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1, total_iters=10), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "sequential": _fast,
    "swa": lambda o: torch.optim.swa_utils.SWALR(o, 0.05),
}


def _everything(optimizer: Optimizer, scheduler: Any) -> list[Any]:
    groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    state = scheduler.state_dict()
    state.pop("_schedulers", None)
    return copy.deepcopy([groups, optimizer.state_dict(), state, sorted(optimizer.__dict__)])


@pytest.mark.parametrize("tensor", [False, True], ids=["float", "tensor"])
@pytest.mark.parametrize("kind", KINDS)
def test_rates_are_those_of_the_training_and_nothing_is_changed(kind: str, tensor: bool) -> None:
    def new() -> tuple[Optimizer, Any]:
        optimizer = torch.optim.SGD(_optimizer().param_groups, lr=0.1, momentum=0.9)
        if tensor:
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
        return optimizer, KINDS[kind](optimizer)

    optimizer, scheduler = new()
    before = _everything(optimizer, scheduler)
    rates = [group["lr"] for group in optimizer.param_groups]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = planned_rates(scheduler, 100)
    assert str(_everything(optimizer, scheduler)) == str(before)
    assert all(g["lr"] is rate for g, rate in zip(optimizer.param_groups, rates, strict=True))
    expected = []
    for _ in range(100):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    assert plan.rates.tolist() == expected


def test_a_scheduler_that_needs_metrics_is_judged_by_its_start(result: LRAnalysis) -> None:
    def plateau(lr: float) -> lr_scheduler.ReduceLROnPlateau:
        return lr_scheduler.ReduceLROnPlateau(_optimizer(lr))

    assert _codes(result, plateau(result.recommended)) == []
    assert _codes(result, plateau(result.peak)) == []
    assert _codes(result, plateau(100 * result.max_lr)) == ["peak-above-window"]
    assert _codes(result, plateau(result.min_lr / 100)) == ["peak-below-window"]


def test_a_scheduler_in_use_is_judged_by_what_is_left() -> None:
    optimizer = _optimizer()
    scheduler = KINDS["onecycle"](optimizer)
    whole = planned_rates(scheduler, 100).rates
    for _ in range(40):
        optimizer.step()
        scheduler.step()
    assert planned_rates(scheduler, 100).rates.tolist() == whole[40:].tolist()
    with pytest.raises(ValueError, match="been through 40 steps already"):
        planned_rates(scheduler, 40)


def test_a_function_is_read_at_every_step_of_its_own() -> None:
    assert planned_rates(lambda step: 1.0 + step, 5).rates.tolist() == [1, 2, 3, 4, 5]
    assert planned_rates(lambda step: 1.0 + step, 5, every=2).rates.tolist() == [1, 1, 3, 3, 5]
    assert planned_rates(lambda step: 3.0 - step, 3).end == 0.0


def test_state_of_a_schedule_object_is_not_used_up() -> None:
    class Counting:
        calls = 0

        def __call__(self, step: int) -> float:
            self.calls += 1
            return 1.0

    counting = Counting()
    scheduler = lr_scheduler.LambdaLR(_optimizer(), [counting, counting])
    calls = counting.calls
    planned_rates(scheduler, 10)
    assert counting.calls == calls


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, None, math.nan])
def test_steps_must_be_whole_and_positive(result: LRAnalysis, steps: Any) -> None:
    with pytest.raises(ValueError, match="total_steps="):
        result.check(lambda step: 0.1, steps)
    with pytest.raises(ValueError, match="every="):
        result.check(lambda step: 0.1, 10, every=steps)


def test_what_is_no_schedule_is_refused(result: LRAnalysis) -> None:
    with pytest.raises(ValueError, match=r"scheduler=0\.1 is neither"):
        result.check(0.1, 10)  # type: ignore[arg-type]
    for rate in (math.nan, math.inf, -0.1, 0.0):
        with pytest.raises(ValueError, match="scheduler gives learning rates"):
            result.check(lambda step, lr=rate: lr, 10)


def test_a_scheduler_that_cannot_be_copied_is_refused_with_a_way_out(result: LRAnalysis) -> None:
    scheduler = lr_scheduler.ConstantLR(_optimizer())
    scheduler.lock = threading.Lock()
    with pytest.raises(ValueError, match="pass a function from step"):
        result.check(scheduler, 10)
