"""The momentum lag follows from the optimizer's state: against optimizers that really step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch
from torch.optim import SGD
from torch.optim import Optimizer
from torch.optim import RMSprop
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import warm_up

from optuna_lrss import analyze
from optuna_lrss._method.recommend import lag_at
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch._velocity import Drive
from optuna_lrss.torch._velocity import has_velocity
from optuna_lrss.torch._velocity import lag_of


Make = Callable[[list[torch.Tensor]], Optimizer]

MAKES: dict[str, Make] = {
    "plain": lambda p: SGD(p, lr=1.0, momentum=0.9),
    "heavy": lambda p: SGD(p, lr=1.0, momentum=0.99),
    "nesterov": lambda p: SGD(p, lr=1.0, momentum=0.9, nesterov=True),
    "dampened": lambda p: SGD(p, lr=1.0, momentum=0.9, dampening=0.5),
    "average": lambda p: SGD(p, lr=1.0, momentum=0.9, dampening=0.9),
    "no momentum": lambda p: SGD(p, lr=1.0),
    "adam": lambda p: torch.optim.Adam(p, lr=1.0),
}


def steps_of(optimizer: Optimizer, parameter: torch.Tensor, n: int) -> list[float]:
    """What the optimizer subtracts in each of n steps under a gradient of 1."""
    sizes = []
    for _ in range(n):
        before = parameter.detach().clone()
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        sizes.append((before - parameter.detach()).item())
    return sizes


@pytest.mark.parametrize("warm", [0, 1, 3, 12])
@pytest.mark.parametrize("make", MAKES)
def test_lag_is_the_share_of_the_steady_step_under_a_constant_gradient(
    make: str, warm: int
) -> None:
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = MAKES[make]([parameter])
    steps_of(optimizer, parameter, warm)
    missing = 1.0
    assert has_velocity(optimizer) is (warm > 0 and make not in ("no momentum", "adam"))
    if has_velocity(optimizer):
        drive = Drive(optimizer)
        for _ in range(5):
            parameter.grad = torch.ones_like(parameter)
            drive.add()
        missing = drive.missing()
    lag = lag_of(optimizer, 20, missing)
    delivered = steps_of(optimizer, parameter, 3000)
    assert lag == pytest.approx(sum(delivered[:20]) / 20 / delivered[-1], rel=1e-5)


@pytest.mark.parametrize("warm", [1, 5, 20, 400])
@pytest.mark.parametrize("signal", [0.0, 0.3])
def test_age_of_a_velocity_is_found_under_noisy_gradients(signal: float, warm: int) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.zeros(20_000, requires_grad=True)
    optimizer = SGD([parameter], lr=0.0, momentum=0.95)
    optimizer.param_groups[0]["lr"] = 1e-3

    def draw() -> None:
        parameter.grad = signal + torch.randn(20_000, generator=generator)

    for _ in range(warm):
        draw()
        optimizer.step()
    drive = Drive(optimizer)
    for _ in range(10):
        draw()
        drive.add()
    assert drive.missing() == pytest.approx(0.95**warm, abs=0.15)  # flat near 0 where all is noise


def test_velocity_of_rmsprop_is_measured_beside_scaled_gradients() -> None:
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = RMSprop([parameter], lr=1.0, momentum=0.9)
    for size in (100.0, 1e-3):  # whatever the gradient's size
        optimizer.state.clear()
        for _ in range(2000):
            parameter.grad = torch.full((1,), size)
            optimizer.step()
        drive = Drive(optimizer)
        drive.add()
        assert drive.missing() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("n", [1, 5, 20, 80])
def test_lag_at_other_horizons(n: int) -> None:
    assert lag_at(n, momentum_lag(0.9, 20), 20, 0.9) == pytest.approx(momentum_lag(0.9, n))
    assert lag_at(n, 1.0, 20, 0.9) == 1.0
    assert lag_at(n, 0.5, 20, 0.0) == 0.5


def searched(pieces: Any, **options: Any) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": LRS}))
    study.optimize(StepObjective(*pieces, steps=8, snapshots=(4,), **options))
    return study


LRS = [10 ** (-5 + 0.5 * i) for i in range(11)]


def test_a_warm_optimizers_velocity_is_not_corrected_for_twice() -> None:
    cold = make_pieces(mlp, OPTIMIZERS["momentum"])
    at_rest = searched(cold)
    assert at_rest.user_attrs["lrss:lag"] == pytest.approx(momentum_lag(0.9, 8))

    warm = make_pieces(mlp, OPTIMIZERS["momentum"])
    for group in warm.optimizer.param_groups:
        group["lr"] = 1e-6  # the weights stay, the velocity builds up
    warm_up(warm, 80)
    before = fingerprint(*warm[:2])
    built_up = searched(warm)
    assert fingerprint(*warm[:2]) == before
    assert built_up.user_attrs["lrss:lag"] > 0.9
    result, rest = analyze(built_up), analyze(built_up, momentum=0.9)
    assert result.lag == built_up.user_attrs["lrss:lag"]
    assert rest.lag == pytest.approx(momentum_lag(0.9, 8))
    assert result.recommended / result.lag == pytest.approx(rest.recommended / rest.lag)
    at_4, rest_at_4 = analyze(built_up, step=4), analyze(built_up, step=4, momentum=0.9)
    assert at_4.lag == pytest.approx(lag_at(4, result.lag, 8, 0.9))
    assert at_4.recommended / at_4.lag == pytest.approx(rest_at_4.recommended / rest_at_4.lag)
    assert result.horizons[4]["recommended"] == pytest.approx(at_4.recommended)


def test_lag_of_each_configuration_is_kept_with_its_trials() -> None:
    def build(_: Any) -> Any:
        return make_pieces(mlp, OPTIMIZERS["momentum"])

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": LRS}))
    study.optimize(StepObjective.from_factory(build, steps=8))
    lags = {t.user_attrs["lrss:trial"]["lag"] for t in study.trials}
    assert lags == {analyze(study).lag} == {momentum_lag(0.9, 8)}
