"""How much of its steady step a momentum optimizer delivers in a short trial.

The method page, section 7. Under a constant gradient the velocity of heavy-ball momentum nears
its steady value like ``1 - q beta^t``, where ``q`` is 1 for a new optimizer and 0 for one that has
run for long. A buffer does not say how long it has been filled; ``q`` follows from its size
beside that of the gradients.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim import Optimizer

from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss.torch._optimizers import heavy_ball_momentum
from optuna_lrss.torch._optimizers import learning_rate_ratios


def has_velocity(optimizer: Optimizer) -> bool:
    """Whether a momentum buffer holds anything but zeros."""
    return heavy_ball_momentum(optimizer) > 0.0 and any(
        bool(v.any()) for *_, v in _buffers(optimizer)
    )


def lag_of(optimizer: Optimizer, steps: int, missing: float = 1.0) -> float:
    """Mean share of its steady step that an optimizer delivers under a constant gradient.

    Args:
        optimizer: The optimizer, whose first param group counts.
        steps: Optimizer steps of the trial.
        missing: q, the share of the steady velocity that is missing at the start, from
            :meth:`Drive.missing`; 1 for an empty buffer.

    Returns:
        The share, in (0, 1]; 1 for optimizers without heavy-ball momentum.
    """
    beta = heavy_ball_momentum(optimizer)
    if beta == 0.0:
        return 1.0
    group = optimizer.param_groups[0]
    steady = _steady(group)
    if missing == 1.0 and isinstance(optimizer, SGD):
        # The first velocity of torch's SGD is the whole gradient, whatever the dampening.
        missing = (1.0 - 1.0 / steady) / beta
    if group.get("nesterov", False):  # its step is the gradient plus beta times the velocity
        missing *= beta * steady / (1.0 + beta * steady)
    # Dampening can make the first steps the larger ones: they hide no learning rate.
    return 1.0 - max(missing, 0.0) * (1.0 - momentum_lag(beta, steps))


class Drive:
    """What feeds the momentum buffers: gradients of several batches at the same weights.

    Args:
        optimizer: An optimizer with heavy-ball momentum.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        ratios = learning_rate_ratios(optimizer)
        self._weights = {id(g): r**2 for g, r in zip(optimizer.param_groups, ratios, strict=True)}
        self._velocity = sum(
            self._weights[id(group)] * _square(velocity)
            for group, _, velocity in _buffers(optimizer)
        )
        self._sums: dict[int, tuple[float, Tensor]] = {}
        self._squares = 0.0
        self._count = 0

    def add(self) -> None:
        """Takes the gradients that the parameters hold now."""
        drives: list[tuple[Tensor, float, Tensor]] = []
        for group in self._optimizer.param_groups:
            weight = self._weights[id(group)]
            for p in group["params"]:
                if p.grad is None:
                    continue
                drives.append((p, weight, _drive(p, group, self._optimizer.state.get(p, {}))))
        squares = sum(weight * _square(drive) for _, weight, drive in drives)
        if not math.isfinite(squares):  # in float16 at too large a scale
            return
        self._count += 1
        self._squares += squares
        for p, weight, drive in drives:
            known = self._sums.get(id(p))
            self._sums[id(p)] = (weight, drive if known is None else known[1] + drive)

    def missing(self) -> float:
        """q: how far the velocities are from the size that these gradients would give them.

        After k steps from zero a velocity is ``(1 - q) s`` times the mean gradient with
        ``q = beta^k``, plus noise of variance ``(1 - q^2) / (1 - beta^2)`` times that of one
        gradient. Solved for q, with the two parts estimated from the gradients seen.

        Returns:
            q, in [0, 1].
        """
        n = self._count
        if n == 0:
            return 1.0
        group = self._optimizer.param_groups[0]
        beta, dampening = float(group["momentum"]), float(group.get("dampening", 0.0))
        of_mean = sum(weight * _square(total) for weight, total in self._sums.values()) / n**2
        noise = max(self._squares / n - of_mean, 0.0) * n / max(n - 1, 1)
        mean = max(of_mean - noise / n, 0.0)
        a = mean * _steady(group) ** 2
        b = noise * (1.0 - dampening) ** 2 / (1.0 - beta**2)
        if not math.isfinite(a + b) or self._velocity >= a + b:
            return 0.0
        return (a + b - self._velocity) / (a + math.sqrt(b**2 + (a - b) * self._velocity))


def _steady(group: dict[str, Any]) -> float:
    """Velocity under a constant gradient of 1, after long."""
    return (1.0 - float(group.get("dampening", 0.0))) / (1.0 - float(group["momentum"]))


def _buffers(optimizer: Optimizer) -> list[tuple[dict[str, Any], Tensor, Tensor]]:
    found = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            velocity = optimizer.state.get(p, {}).get("momentum_buffer")
            if isinstance(velocity, Tensor):
                found.append((group, p, velocity))
    return found


def _drive(p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    """What one step adds to a velocity: the gradient, by RMSprop divided by its running size."""
    grad = p.grad
    assert grad is not None
    drive = grad.to_dense() if grad.is_sparse else grad.clone()
    drive.add_(p.detach(), alpha=float(group.get("weight_decay", 0.0)))
    square = state.get("square_avg")
    if square is not None:
        mean = state.get("grad_avg")
        variance = square if mean is None else square - mean**2
        drive /= variance.clamp(min=0.0).sqrt() + float(group["eps"])
    return drive


def _square(tensor: Tensor) -> float:
    dtype = None if tensor.dtype == torch.float64 else torch.float32
    return float(torch.linalg.vector_norm(tensor, dtype=dtype).item()) ** 2
