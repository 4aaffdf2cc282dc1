"""Optimizers whose parameters are one (L, P) matrix: a lane per row, a learning rate per lane.

The formulas are those of `torch.optim` (2.13) at its defaults, in its order of operations; Lion is
that of Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """Where a parameter lies in a lane's row, and whether Muon may have it."""

    start: int
    shape: torch.Size
    hidden_matrix: bool


@dataclass
class State:
    """What an optimizer remembers: tensors of shape (L, P) and the number of steps taken."""

    tensors: list[Tensor] = field(default_factory=list)
    t: int = 0

    def rows(self, index: Tensor) -> State:
        return State([s.index_select(0, index) for s in self.tensors], self.t)


#: Changes theta (L, P) in place by a gradient (L, P) and learning rates (L, 1).
Update = Callable[[Tensor, Tensor, State, Tensor], None]


def _sgd(momentum: float, nesterov: bool) -> Update:
    def update(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
        if momentum:
            (buffer,) = state.tensors
            buffer.mul_(momentum).add_(grad)  # from 0: torch's first step copies the gradient
            grad = grad.add(buffer, alpha=momentum) if nesterov else buffer
        theta.addcmul_(grad, lr, value=-1)

    return update


def _adam(weight_decay: float, beta1: float = 0.9, beta2: float = 0.999) -> Update:
    def update(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
        m, v = state.tensors
        if weight_decay:
            theta.mul_(1 - lr * weight_decay)
        m.lerp_(grad, 1 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        correction = math.sqrt(1 - beta2**state.t)
        denominator = v.sqrt().div_(correction).add_(1e-8)
        theta.sub_(denominator.reciprocal_().mul_(m).mul_(lr / (1 - beta1**state.t)))

    return update


def _rmsprop(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
    (square,) = state.tensors
    square.mul_(0.99).addcmul_(grad, grad, value=1 - 0.99)
    theta.sub_(square.sqrt().add_(1e-8).reciprocal_().mul_(grad).mul_(lr))


def _adagrad(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
    (total,) = state.tensors
    total.addcmul_(grad, grad)
    theta.sub_(total.sqrt().add_(1e-10).reciprocal_().mul_(grad).mul_(lr))


def _lion(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
    (m,) = state.tensors
    theta.sub_(m.lerp(grad, 1 - 0.9).sign_().mul_(lr))
    m.lerp_(grad, 1 - 0.99)


def _muon(parts: list[Part]) -> Update:
    """Muon on hidden matrices, AdamW on the rest, one learning rate (`match_rms_adamw`)."""
    matrices = [p for p in parts if p.hidden_matrix]
    adamw = _adam(0.01)
    momentum, decay = 0.95, 0.1

    def update(theta: Tensor, grad: Tensor, state: State, lr: Tensor) -> None:
        m, _ = state.tensors
        spans = [slice(p.start, p.start + p.shape.numel()) for p in matrices]
        # AdamW moves everything; what belongs to Muon is put back and moved its own way. Its
        # moments share no memory with Muon's: Muon's buffers are the third tensor's columns.
        kept = [(theta[:, s].clone(), m[:, s].clone()) for s in spans]
        adamw(theta, grad, state, lr)
        for part, span, (before, buffer) in zip(matrices, spans, kept, strict=True):
            g = grad[:, span]
            buffer.lerp_(g, 1 - momentum)
            m[:, span] = buffer
            direction = orthogonal(g.lerp(buffer, momentum).view(-1, *part.shape))
            adjusted = lr * (0.2 * math.sqrt(max(part.shape)))
            theta[:, span] = before.mul_(1 - lr * decay).sub_(direction.flatten(1).mul_(adjusted))

    return update


def orthogonal(matrices: Tensor) -> Tensor:
    """Newton-Schulz iteration of Muon on (L, rows, columns), in float32 where torch takes bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(5):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


@dataclass(frozen=True)
class Optimizer:
    """An optimizer by name.

    Attributes:
        family: sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, lion or muon.
        beta: Heavy-ball or Nesterov momentum of SGD, 0 elsewhere.
        default_lr: torch's own default (Lion's: its authors' implementation).
        n_tensors: Tensors of state.
    """

    family: str
    beta: float
    default_lr: float
    n_tensors: int
    make: Callable[[list[Part]], Update]

    def state(self, theta: Tensor) -> State:
        return State([torch.zeros_like(theta) for _ in range(self.n_tensors)])


def _fixed(update: Update) -> Callable[[list[Part]], Update]:
    return lambda _: update


OPTIMIZERS = {
    "sgd": Optimizer("sgd", 0.0, 1e-3, 0, _fixed(_sgd(0.0, False))),
    "momentum": Optimizer("momentum", 0.9, 1e-3, 1, _fixed(_sgd(0.9, False))),
    "momentum99": Optimizer("momentum", 0.99, 1e-3, 1, _fixed(_sgd(0.99, False))),
    "nesterov": Optimizer("nesterov", 0.9, 1e-3, 1, _fixed(_sgd(0.9, True))),
    "adam": Optimizer("adam", 0.0, 1e-3, 2, _fixed(_adam(0.0))),
    "adamw": Optimizer("adamw", 0.0, 1e-3, 2, _fixed(_adam(0.01))),
    "rmsprop": Optimizer("rmsprop", 0.0, 1e-2, 1, _fixed(_rmsprop)),
    "adagrad": Optimizer("adagrad", 0.0, 1e-2, 1, _fixed(_adagrad)),
    "lion": Optimizer("lion", 0.0, 1e-4, 1, _fixed(_lion)),
    "muon": Optimizer("muon", 0.0, 1e-3, 2, _muon),
}


class PlainLion(torch.optim.Optimizer):
    """Lion as a plain optimizer: the reference for the lanes."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.add_(torch.sign(0.9 * m + 0.1 * p.grad), alpha=-group["lr"])
                m.mul_(0.99).add_(p.grad, alpha=0.01)


def plain(name: str, params: list[tuple[Tensor, bool]], lr: float) -> list[torch.optim.Optimizer]:
    """The same optimizer of `torch.optim`, as a list of one, or of two for Muon.

    Args:
        name: One of `OPTIMIZERS`.
        params: Each parameter and whether Muon may have it.
        lr: Learning rate.
    """
    tensors = [p for p, _ in params]
    momentum = OPTIMIZERS[name].beta
    if name == "muon":
        muon = [p for p, hidden in params if hidden]
        rest = [p for p, hidden in params if not hidden]
        adamw = [torch.optim.AdamW(rest, lr=lr)] if rest else []
        return [torch.optim.Muon(muon, lr=lr, adjust_lr_fn="match_rms_adamw"), *adamw]
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
        "lion": PlainLion,
    }
    if name in classes:
        return [classes[name](tensors, lr=lr)]
    return [torch.optim.SGD(tensors, lr=lr, momentum=momentum, nesterov=name == "nesterov")]
