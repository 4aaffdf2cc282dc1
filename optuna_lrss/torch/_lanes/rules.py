"""Update rules of ``torch.optim`` with a lane axis: a learning rate for each row.

The order of operations is that of the single-tensor implementations of torch 2.13. A rule changes
a tensor of shape ``(lanes, ...)`` and its state in place; hyperparameters and the names in the
state are those of the optimizer's own param group and ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim import Adam
from torch.optim import AdamW
from torch.optim import Optimizer
from torch.optim import RMSprop


#: State of one parameter: tensors of its shape with the lanes in front, and ``step`` as a number.
State = dict[str, Any]
#: Changes a parameter ``(lanes, ...)`` by its gradient and learning rates ``(lanes, 1, ...)``.
Rule = Callable[[Tensor, Tensor, Tensor, State, dict[str, Any]], None]


def sgd(p: Tensor, grad: Tensor, lr: Tensor, state: State, group: dict[str, Any]) -> None:
    """Plain, with heavy-ball or with Nesterov momentum."""
    grad = _decayed(p, grad, group)
    momentum = float(group["momentum"])
    if momentum != 0.0:
        velocity = state.get("momentum_buffer")
        if velocity is None:  # the first one is the whole gradient, whatever the dampening
            velocity = state["momentum_buffer"] = grad.clone()
        else:
            velocity.mul_(momentum).add_(grad, alpha=1.0 - float(group["dampening"]))
        grad = grad.add(velocity, alpha=momentum) if group["nesterov"] else velocity
    p.addcmul_(grad, lr, value=-1.0)


def adam(p: Tensor, grad: Tensor, lr: Tensor, state: State, group: dict[str, Any]) -> None:
    """Adam with weight decay in the gradient."""
    _adam_step(p, _decayed(p, grad, group), lr, state, group)


def adamw(p: Tensor, grad: Tensor, lr: Tensor, state: State, group: dict[str, Any]) -> None:
    """Adam with weight decay in the weights."""
    if decay := float(group["weight_decay"]):
        p.mul_(1.0 - lr * decay)
    _adam_step(p, -grad if group["maximize"] else grad, lr, state, group)


def rmsprop(p: Tensor, grad: Tensor, lr: Tensor, state: State, group: dict[str, Any]) -> None:
    """RMSprop, centred or not, with or without momentum."""
    grad = _decayed(p, grad, group)
    alpha, momentum = float(group["alpha"]), float(group["momentum"])
    square = _zeros(p, state, "square_avg")
    square.mul_(alpha).addcmul_(grad, grad, value=1.0 - alpha)
    if group["centered"]:
        mean = _zeros(p, state, "grad_avg")
        mean.lerp_(grad, 1.0 - alpha)
        scale = square.addcmul(mean, mean, value=-1.0).sqrt_()
    else:
        scale = square.sqrt()
    scale.add_(float(group["eps"]))
    if momentum > 0.0:
        velocity = _zeros(p, state, "momentum_buffer")
        p.addcmul_(velocity.mul_(momentum).addcdiv_(grad, scale), lr, value=-1.0)
    else:
        p.addcmul_(grad / scale, lr, value=-1.0)


def rule_of(optimizer: Optimizer) -> Rule | None:
    """The optimizer's rule; ``None`` where there is none, as for classes derived from torch's."""
    kind = type(optimizer)
    # AdamW is Adam with a flag since torch 2.7, and Adam takes the flag too.
    decoupled = any(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    if kind is AdamW or (kind is Adam and decoupled):
        return adamw
    known: dict[type[Optimizer], Rule] = {SGD: sgd, Adam: adam, RMSprop: rmsprop}
    return known.get(kind)


def _decayed(p: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
    grad = -grad if group["maximize"] else grad
    decay = float(group["weight_decay"])
    return grad.add(p, alpha=decay) if decay != 0.0 else grad


def _adam_step(p: Tensor, grad: Tensor, lr: Tensor, state: State, group: dict[str, Any]) -> None:
    beta1, beta2 = (float(beta) for beta in group["betas"])
    step = state["step"] = state.get("step", 0.0) + 1.0
    mean, square = _zeros(p, state, "exp_avg"), _zeros(p, state, "exp_avg_sq")
    mean.lerp_(grad, 1.0 - beta1)
    square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
    if group["amsgrad"]:
        largest = _zeros(p, state, "max_exp_avg_sq")
        square = torch.maximum(largest, square, out=largest)
    scale = (square.sqrt() / (1.0 - beta2**step) ** 0.5).add_(float(group["eps"]))
    p.addcmul_(mean / scale, lr, value=-1.0 / (1.0 - beta1**step))


def _zeros(p: Tensor, state: State, name: str) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(p)
    tensor: Tensor = state[name]
    return tensor
