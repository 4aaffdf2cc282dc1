"""The plain training loop that the lanes are held to: one net, `torch.optim`, torch's layers."""

from __future__ import annotations

import math
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.benchmarks.landscapes.engine.layers import PlainOps
from examples.benchmarks.landscapes.engine.losses import IGNORED
from examples.benchmarks.landscapes.engine.losses import TEMPERATURE
from examples.benchmarks.landscapes.engine.optimizers import plain
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.models import hidden_matrix


def train(problem: Problem, rates: list[float]) -> tuple[list[float], float]:
    """Trains one net at a learning rate per step.

    Returns:
        The training loss before each step, and the validation loss after the last; from the
        first that is not finite on, inf.
    """
    losses, ops = _trained(problem, rates)
    last = _validated(problem, ops)[0] if math.isfinite(losses[-1]) else math.inf
    return losses, last if math.isfinite(last) else math.inf


def final_metric(problem: Problem, rates: list[float]) -> float:
    """Validation metric after such a training: accuracy in points or the loss; NaN: diverged."""
    losses, ops = _trained(problem, rates)
    loss, metric = _validated(problem, ops)
    return metric if math.isfinite(losses[-1]) and math.isfinite(loss) else math.nan


def _trained(problem: Problem, rates: list[float]) -> tuple[list[float], PlainOps]:
    params = {k: v.clone().requires_grad_() for k, v in problem.model.params.items()}
    buffers = {k: v.clone() for k, v in problem.model.buffers.items()}
    named = [(p, hidden_matrix(name, p)) for name, p in params.items()]
    optimizers = plain(problem.optimizer, named, rates[0])
    losses: list[float] = []
    for step, rate in enumerate(rates):
        x, y = problem.batch(step)
        out = problem.model.forward(PlainOps(params, buffers, "train"), x)
        loss = plain_loss(problem.task.loss, out, y, problem.task.label_smoothing)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            losses[-1:] = [math.inf] * (len(rates) - step)
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
        loss.backward()
        # torch's Muon orthogonalises in bfloat16 whatever the parameters are; the lanes don't.
        with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
            for optimizer in optimizers:
                optimizer.step()
    return losses, PlainOps(params, buffers, "eval")


@torch.no_grad()
def _validated(problem: Problem, ops: PlainOps) -> tuple[float, float]:
    """Validation loss and metric."""
    x, y = problem.data["val"]
    out = problem.model.forward(ops, x)
    if problem.task.loss == "info_nce":
        size = problem.batch_size
        pieces = out[: len(out) // size * size].split(size)
        loss = sum(float(plain_loss("info_nce", p, y)) for p in pieces) / len(pieces)
    else:
        loss = float(plain_loss(problem.task.loss, out, y))
    if problem.task.metric != "accuracy":
        return loss, loss
    if problem.task.loss == "bce":
        right = (out.view_as(y) > 0) == (y > 0.5)
    else:
        right = (out.argmax(-1) == y)[y != IGNORED]
    return loss, 100 * float(right.float().mean())


def plain_loss(name: str, out: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """A batch's mean loss by torch's own functions."""
    if name in ("cross_entropy", "token_cross_entropy"):
        return F.cross_entropy(
            out.flatten(0, -2), y.flatten(), ignore_index=IGNORED, label_smoothing=smoothing
        )
    if name == "mse":
        return F.mse_loss(out.view_as(y), y)
    if name == "bce":
        return F.binary_cross_entropy_with_logits(out.view_as(y), y)
    if name == "gaussian_nll":
        mean, log_variance = out.chunk(2, -1)
        return F.gaussian_nll_loss(mean, y, log_variance.exp(), eps=0.0)
    if name == "info_nce":
        first, second = F.normalize(out, dim=-1).unbind(1)
        return F.cross_entropy(first @ second.T / TEMPERATURE, torch.arange(len(out)))
    raise ValueError(f"loss is {name!r}: add it here as in engine/losses.py.")
