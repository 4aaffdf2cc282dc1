"""torch's own schedulers, with their bounds from a learning-rate window.

Every function sets the learning rates at once, as torch's schedulers do, and keeps the ratios
between the optimizer's param groups. Momentum is left alone unless asked for: the window was
measured with the optimizer's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.lr_scheduler import OneCycleLR

from optuna_lrss._study.arguments import is_number
from optuna_lrss.torch._optimizers import learning_rate_ratios
from optuna_lrss.torch._optimizers import set_learning_rate


#: Share of a training over which warmup-stable-decay falls: the last fifth, as in the landscapes'
#: schedule, which ``peak`` was fitted on. With so much a language model does as well as with a
#: cosine (Hägele et al. 2024, arXiv 2405.18392).
DECAY_SHARE = 0.2
#: One in so many steps warms up where nobody says: 5 %, as in the landscapes' cosine.
_WARM_UP = 20


def one_cycle(
    optimizer: Optimizer, total_steps: int, *, low: float, peak: float, **options: Any
) -> OneCycleLR:
    """One cycle: from ``low`` up to ``peak``, then down to a small fraction of ``low``.

    Args:
        optimizer: The optimizer of the training.
        total_steps: Optimizer steps of the whole training.
        low: Learning rate of the first step, the window's lower end.
        peak: Highest learning rate.
        **options: Further arguments of :class:`torch.optim.lr_scheduler.OneCycleLR`;
            ``cycle_momentum`` is off unless given.

    Returns:
        The scheduler; step it after every optimizer step.

    Raises:
        ValueError: If not ``0 < low < peak``, or ``total_steps`` is no positive whole number.
    """
    _refuse_taken(options, ("max_lr", "div_factor"), "or pass peak=...")
    _require_bounds(low, peak)
    _require_steps("total_steps", total_steps, 1)
    ratios = learning_rate_ratios(optimizer)
    return OneCycleLR(
        optimizer,
        max_lr=[peak * ratio for ratio in ratios],
        total_steps=int(total_steps),
        div_factor=peak / low,
        **{"cycle_momentum": False, **options},
    )


def cyclical(
    optimizer: Optimizer, *, low: float, peak: float, step_size_up: int = 2000, **options: Any
) -> CyclicLR:
    """Cycles between the window's ends.

    Args:
        optimizer: The optimizer of the training.
        low: Lowest learning rate.
        peak: Highest learning rate.
        step_size_up: Optimizer steps from the lowest to the highest; two to eight epochs are
            usual.
        **options: Further arguments of :class:`torch.optim.lr_scheduler.CyclicLR`;
            ``cycle_momentum`` is off unless given.

    Returns:
        The scheduler; step it after every optimizer step.

    Raises:
        ValueError: If not ``0 < low < peak``, or ``step_size_up`` is no positive whole number.
    """
    _refuse_taken(options, ("max_lr", "base_lr"), "or make torch's CyclicLR yourself")
    _require_bounds(low, peak)
    _require_steps("step_size_up", step_size_up, 1)
    ratios = learning_rate_ratios(optimizer)
    _start_at(optimizer, low, ratios)
    return CyclicLR(
        optimizer,
        base_lr=[low * ratio for ratio in ratios],
        max_lr=[peak * ratio for ratio in ratios],
        step_size_up=int(step_size_up),
        **{"cycle_momentum": False, **options},
    )


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    *,
    low: float,
    peak: float,
    warmup_steps: int | None = None,
    final: float = 0.0,
) -> LambdaLR:
    """Straight from ``low`` up to ``peak``, then along half a cosine down to ``final``.

    Args:
        optimizer: The optimizer of the training.
        total_steps: Optimizer steps of the whole training.
        low: Learning rate of the first step, the window's lower end.
        peak: Learning rate after the warm-up.
        warmup_steps: Optimizer steps of the warm-up; ``None`` for a twentieth of all.
        final: Learning rate after the last step.

    Returns:
        The scheduler; step it after every optimizer step. Its state_dict resumes a training.

    Raises:
        ValueError: If not ``0 < low < peak``, ``final`` is not in ``[0, peak]``, or the steps are
            no positive whole numbers with ``warmup_steps`` below ``total_steps``.
    """
    _require_bounds(low, peak)
    _require_steps("total_steps", total_steps, 1)
    warmup_steps = _warm_up(warmup_steps, total_steps)
    if warmup_steps >= total_steps:
        raise ValueError(
            f"warmup_steps={warmup_steps!r} must be below total_steps={total_steps!r}."
        )
    _require_final(final, peak)
    _start_at(optimizer, peak, learning_rate_ratios(optimizer))
    share = WarmupCosine(warmup_steps, int(total_steps), low / peak, final / peak)
    return LambdaLR(optimizer, share)


def wsd(
    optimizer: Optimizer,
    total_steps: int,
    *,
    low: float,
    peak: float,
    warmup_steps: int | None = None,
    decay_share: float = DECAY_SHARE,
    final: float = 0.0,
) -> LambdaLR:
    """Warm-up, stable, decay: straight up to ``peak``, held there, then straight to ``final``.

    Until the decay begins nothing depends on ``total_steps``: a training can be made longer from a
    checkpoint of that moment.

    Args:
        optimizer: The optimizer of the training.
        total_steps: Optimizer steps of the whole training.
        low: Learning rate of the first step, the window's lower end.
        peak: Learning rate after the warm-up.
        warmup_steps: Optimizer steps of the warm-up; ``None`` for a twentieth of all.
        decay_share: Share of all steps over which the learning rate falls, the last ones.
        final: Learning rate after the last step.

    Returns:
        The scheduler; step it after every optimizer step. Its state_dict resumes a training.

    Raises:
        ValueError: If not ``0 < low < peak``, ``final`` is not in ``[0, peak]``, ``decay_share``
            is not in ``(0, 1]``, the steps are no positive whole numbers, or warm-up and decay
            overlap.
    """
    _require_bounds(low, peak)
    _require_steps("total_steps", total_steps, 1)
    if not (is_number(decay_share) and 0.0 < decay_share <= 1.0):
        raise ValueError(
            f"decay_share={decay_share!r} must lie in (0, 1]: the share of the steps over which "
            f"the learning rate falls, {DECAY_SHARE:g} say."
        )
    decay_from = math.floor((1.0 - decay_share) * total_steps)
    if warmup_steps is None:
        warmup_steps = min(_warm_up(None, total_steps), decay_from)
    warmup_steps = _warm_up(warmup_steps, total_steps)
    if warmup_steps > decay_from:
        raise ValueError(
            f"warmup_steps={warmup_steps!r} must be at most {decay_from}, where the decay begins "
            f"with decay_share={decay_share:g} of total_steps={total_steps!r}."
        )
    _require_final(final, peak)
    _start_at(optimizer, peak, learning_rate_ratios(optimizer))
    share = WarmupStableDecay(warmup_steps, decay_from, int(total_steps), low / peak, final / peak)
    return LambdaLR(optimizer, share)


@dataclass
class WarmupCosine:
    """Share of the peak at each step. An object, so that LambdaLR's state_dict holds it."""

    warmup_steps: int
    total_steps: int
    start: float
    final: float

    def __call__(self, step: int) -> float:
        """The share at an optimizer step, counted from 0."""
        if step < self.warmup_steps:
            return _rising(self.start, step, self.warmup_steps)
        span = self.total_steps - self.warmup_steps
        progress = min((step - self.warmup_steps) / span, 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass
class WarmupStableDecay:
    """Share of the peak at each step. An object, so that LambdaLR's state_dict holds it."""

    warmup_steps: int
    decay_from: int
    total_steps: int
    start: float
    final: float

    def __call__(self, step: int) -> float:
        """The share at an optimizer step, counted from 0."""
        if step < self.warmup_steps:
            return _rising(self.start, step, self.warmup_steps)
        left = (self.total_steps - step) / (self.total_steps - self.decay_from)
        return self.final + (1.0 - self.final) * min(1.0, max(left, 0.0))


def _rising(start: float, step: int, warmup_steps: int) -> float:
    return start + (1.0 - start) * step / warmup_steps


def _warm_up(steps: int | None, total_steps: int) -> int:
    """Steps of the warm-up, the default share of all unless somebody says."""
    if steps is None:
        return int(total_steps) // _WARM_UP
    _require_steps("warmup_steps", steps, 0)
    return int(steps)


def _require_final(final: float, peak: float) -> None:
    if not (is_number(final) and 0.0 <= final <= peak):
        raise ValueError(f"final={final!r} must lie between 0 and the peak, {peak:g}.")


def _start_at(optimizer: Optimizer, lr: float, ratios: list[float]) -> None:
    """Sets the rates, and the ``initial_lr`` that an earlier scheduler left and torch prefers."""
    set_learning_rate(optimizer, lr, ratios)
    for group in optimizer.param_groups:
        rate = group["lr"]
        group["initial_lr"] = rate.clone() if isinstance(rate, Tensor) else rate


def _require_bounds(low: float, peak: float) -> None:
    real = is_number(low) and is_number(peak)
    if not (real and 0.0 < low < peak < math.inf):
        raise ValueError(
            f"low={low!r}, peak={peak!r}: a schedule rises from a lower to a higher learning "
            "rate, both positive numbers."
        )


def _require_steps(name: str, value: Any, least: int) -> None:
    if not (is_number(value) and math.isfinite(value) and value == int(value) >= least):
        what = " (such as len(train_loader) * epochs)" if least else ""
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}{what}.")


def _refuse_taken(options: Mapping[str, Any], taken: Sequence[str], remedy: str) -> None:
    """Options of torch's scheduler that follow from the window."""
    for name in taken:
        if name in options:
            raise ValueError(
                f"{name}={options[name]!r} follows from the window already: leave it out, "
                f"{remedy}."
            )
