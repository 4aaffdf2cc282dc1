"""What cannot be trained many learning rates at a time, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim import optimizer as optimizers

from optuna_lrss.torch._lanes.rules import Rule
from optuna_lrss.torch._lanes.rules import rule_of
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._updates import Updates


_MODULE_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class CannotVectoriseError(Exception):
    """Why learning rates have to be tried one after the other."""


def refuse(objects: list[Any], updates: Updates, settings: Settings, loss_fn: object) -> Rule:
    """Checks what can be told without a training step.

    Args:
        objects: All that a short trial puts back: model, optimizer, loss module, extra state.
        updates: Model and optimizer.
        settings: The options.
        loss_fn: The loss function.

    Returns:
        The optimizer's update rule.

    Raises:
        CannotVectoriseError: With the reason.
    """
    optimizer = updates.optimizer
    rule = rule_of(optimizer)
    reasons = [
        *_of_settings(updates, settings),
        *_of_optimizer(optimizer),
        *_of_modules([o for o in objects if isinstance(o, nn.Module)]),
    ]
    if len(objects) > 2 + isinstance(loss_fn, nn.Module):
        reasons.append("extra_state has no lane axis")
    if rule is None or reasons:
        name = type(optimizer).__name__
        reasons = reasons if rule is not None else [f"{name} has no rule with a lane axis"]
        raise CannotVectoriseError(reasons[0])
    return rule


def _of_settings(updates: Updates, settings: Settings) -> Iterator[str]:
    if updates.uses_closure:
        yield "the optimizer steps with a closure"
    if callable(settings.clip_norm):
        yield "clip_norm is a function, which would clip all lanes together"
    if settings.autocast is torch.float16:
        yield "autocast=torch.float16 scales the loss of each trial by itself"


def _of_optimizer(optimizer: Optimizer) -> Iterator[str]:
    hooked = (
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or optimizers._global_optimizer_pre_hooks
        or optimizers._global_optimizer_post_hooks
    )
    if hooked:
        yield "the optimizer has step hooks"
    step = vars(optimizer).get("step")  # a scheduler puts a counter around it
    if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        yield "the optimizer's step has been replaced"
    for p in optimized_parameters(optimizer):
        if any(getattr(p, name, None) for name in _PARAMETER_HOOKS):
            yield "a parameter has a hook"
        if p.is_complex():
            yield "a parameter is complex"


def _of_modules(modules: list[nn.Module]) -> Iterator[str]:
    for root in modules:
        for name, module in root.named_modules():
            if any(getattr(module, hooks, None) for hooks in _MODULE_HOOKS):
                where = f"module {name!r}" if name else "the model"
                yield f"{where} ({type(module).__name__}) has a hook"
