"""The learning rate of a Hugging Face ``Trainer``: the one stated, its schedule's, a new one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.optim import Optimizer

from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.integrations._search import peak_rates
from optuna_lrss.integrations._search import pick_for
from optuna_lrss.integrations._search import schedule_of


def plain(optimizer: Any) -> Optimizer:
    """The optimizer inside accelerate's wrapper."""
    plain: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return plain


def stated_lr(trainer: Any) -> float:
    """The learning rate that the trainer makes an optimizer with."""
    given: Any = trainer.optimizer_cls_and_kwargs
    return float((given[1] if given else {}).get("lr", trainer.args.learning_rate))


def is_given_its_optimizer(trainer: Any) -> bool:
    """Whether the optimizer was passed in, with learning rates of its own.

    One that is there before a training begins may also be left from an earlier training.
    """
    if trainer.optimizer is None or trainer.model_init is not None:
        return False
    return stated_lr(trainer) not in peak_rates(plain(trainer.optimizer), trainer.lr_scheduler)


def pick(trainer: Any, result: LRAnalysis, steps: int) -> float:
    """What the trainer's schedule wants in a training of so many steps."""
    scheduler = trainer.lr_scheduler
    if scheduler is None or trainer._created_lr_scheduler:
        scheduler = _made_scheduler(trainer, steps, result.peak)
    return pick_for(schedule_of(scheduler, steps), result)


def _made_scheduler(trainer: Any, steps: int, lr: float) -> Any:
    """The scheduler that the trainer would make, for an optimizer that is none of its own."""
    stand_in = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
    before = trainer.lr_scheduler, trainer._created_lr_scheduler
    trainer.lr_scheduler = None
    try:
        trainer.create_scheduler(num_training_steps=steps, optimizer=stand_in)
        return trainer.lr_scheduler
    finally:
        trainer.lr_scheduler, trainer._created_lr_scheduler = before


def set_lr(trainer: Any, lr: float, *, given: bool) -> None:
    """Gives it to the arguments, and to an optimizer and scheduler that are there already.

    Args:
        trainer: The trainer.
        lr: The learning rate.
        given: Whether it is that of the first group of an optimizer that was passed in.
    """
    if trainer.optimizer is not None:
        optimizer = plain(trainer.optimizer)
        rates = peak_rates(optimizer, trainer.lr_scheduler)
        base = rates[0] if given else stated_lr(trainer)
        wanted = [lr * (rate / base) for rate in rates]
        _rescale(optimizer, trainer.lr_scheduler, rates, wanted)
    trainer.args.learning_rate = lr
    if trainer.optimizer_cls_and_kwargs is not None:
        cls, options = trainer.optimizer_cls_and_kwargs
        trainer.optimizer_cls_and_kwargs = (cls, {**options, "lr": lr})


#: What schedulers keep in a param group; all scale with the learning rate.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


def _rescale(
    optimizer: Optimizer, scheduler: Any, rates: list[float], wanted: list[float]
) -> None:
    def scaled(value: float, i: int) -> float:
        return wanted[i] if value == rates[i] else value * (wanted[i] / rates[i])

    for i, group in enumerate(optimizer.param_groups):
        for name in _RATES:
            if isinstance(group.get(name), Tensor):
                group[name].fill_(scaled(group[name].item(), i))
            elif name in group:
                group[name] = scaled(group[name], i)
    if "lr" in optimizer.defaults:
        optimizer.defaults["lr"] = wanted[0]
    for part in _nested(scheduler):
        for name in ("base_lrs", "max_lrs", "_last_lr"):
            if hasattr(part, name):
                values = [scaled(float(v), i) for i, v in enumerate(getattr(part, name))]
                setattr(part, name, values)


def _nested(scheduler: Any) -> Iterable[Any]:
    """The scheduler and those that it is made of."""
    if scheduler is None:
        return
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _nested(part)
