"""What a short trial asks of an optimizer: its learning rate, its momentum, how it steps."""

from __future__ import annotations

import inspect
import math

from torch import Tensor
from torch import nn
from torch.optim import SGD
from torch.optim import Optimizer
from torch.optim import RMSprop


def learning_rate_ratios(optimizer: Optimizer, base_lr: float | None = None) -> list[float]:
    """Learning rate of each param group relative to a base, by default the first group's.

    Where an attached scheduler holds the rates at 0, as at the start of a warm-up, the rates that
    it starts from (``initial_lr``) count.

    Args:
        optimizer: An optimizer.
        base_lr: The learning rate that the groups' are multiples of; ``None`` for the first's.

    Returns:
        One ratio per group; the first is 1 without ``base_lr``.

    Raises:
        ValueError: If a group has no learning rate, or the first group's is not above 0.
    """
    rates = _rates(optimizer)
    if not (rates[0] > 0.0 and all(math.isfinite(rate) for rate in rates)):
        raise ValueError(
            f"the optimizer's param groups have the learning rates {rates}: the first must be "
            "above 0, since the others keep their ratio to it (for one group any lr > 0 will do)."
        )
    base = rates[0] if base_lr is None else base_lr
    return [rate / base for rate in rates]


def own_learning_rate(optimizer: Optimizer) -> float:
    """The first group's, or the one it starts from where a scheduler holds it at 0."""
    return _rates(optimizer)[0]


def _rates(optimizer: Optimizer) -> list[float]:
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        raise ValueError(f"optimizer={optimizer!r} is no torch optimizer: it has no param groups.")
    rates = [_learning_rate(group, i) for i, group in enumerate(groups)]
    if rates[0] == 0.0 and all("initial_lr" in group for group in optimizer.param_groups):
        rates = [float(group["initial_lr"]) for group in optimizer.param_groups]
    return rates


def set_learning_rate(optimizer: Optimizer, lr: float, ratios: list[float]) -> None:
    """Gives the first group ``lr`` and each other group its ratio of it.

    A learning rate held in a tensor is overwritten in place: a compiled or captured step reads
    that very tensor.
    """
    for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * ratio)
        else:
            group["lr"] = lr * ratio


def heavy_ball_momentum(optimizer: Optimizer) -> float:
    """Momentum of SGD or RMSprop; 0 for optimizers whose first step already has full size.

    Adam and its kin divide their first moment by its bias, so that nothing lags.
    """
    if isinstance(optimizer, (SGD, RMSprop)):
        return float(optimizer.param_groups[0].get("momentum", 0.0))
    return 0.0


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether ``step`` cannot do without a closure, as LBFGS's."""
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def optimized_parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """All parameters of all groups."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _learning_rate(group: dict[str, object], index: int) -> float:
    rate = group.get("lr")
    if isinstance(rate, Tensor) and rate.numel() == 1:
        return float(rate.item())
    if isinstance(rate, (int, float)):
        return float(rate)
    raise ValueError(
        f"param group {index} of the optimizer has lr={rate!r}: a number, or a tensor of one "
        "number, is needed."
    )
