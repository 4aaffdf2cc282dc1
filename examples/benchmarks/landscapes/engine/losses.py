"""Losses and metrics, a number per lane."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


#: Targets of this value are left out of a token loss.
IGNORED = -100
#: Cosine similarities are divided by this before a contrastive loss.
TEMPERATURE = 0.5


def loss_of(name: str, out: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean loss of each lane, shape (L,).

    Args:
        name: A task's `loss`.
        out: The nets' outputs, shape (L, B, ...).
        y: Targets, shape (L, B, ...), or (1, B, ...) for all lanes.
        smoothing: Share of the target spread over all classes.
    """
    if name in ("cross_entropy", "token_cross_entropy"):
        return _cross_entropy(out.flatten(1, -2), y.flatten(1), smoothing)
    if name == "mse":
        return (out.view(-1, *y.shape[1:]) - y).square().flatten(1).mean(1)
    if name == "bce":
        z = out.view(-1, *y.shape[1:])
        return (
            F.binary_cross_entropy_with_logits(z, y.expand_as(z), reduction="none")
            .flatten(1)
            .mean(1)
        )
    if name == "gaussian_nll":
        mean, log_variance = out.flatten(2).chunk(2, -1)
        squared = (mean - y.flatten(2)).square()
        return (0.5 * (log_variance + squared * torch.exp(-log_variance))).flatten(1).mean(1)
    if name == "info_nce":
        similarity = _similarity(out)
        labels = torch.arange(similarity.shape[1]).unsqueeze(0)
        return _cross_entropy(similarity / TEMPERATURE, labels, 0.0)
    raise ValueError(f"loss is {name!r}: add it to engine/losses.py, or take one of a task there.")


def _cross_entropy(logits: Tensor, y: Tensor, smoothing: float) -> Tensor:
    asked = y != IGNORED
    if not bool(asked.all()):
        # Only what is asked is worth a softmax; lanes that share no batch would ask differently.
        (which,) = asked
        logits, y = logits[:, which], y[:, which]
    found: tuple[Tensor, Tensor] = _LogSoftmax.apply(logits, y)  # type: ignore[no-untyped-call]
    chosen, mean = found
    if not smoothing:
        return -chosen
    return -(1 - smoothing) * chosen - smoothing * mean


class _LogSoftmax(torch.autograd.Function):
    """Means over rows of the chosen and of all log-probabilities, classes first in memory.

    torch's own softmax over a last axis of ten numbers takes as long as the rest of a small net.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        lanes, rows, classes = logits.shape
        z = logits.reshape(-1, classes).t().contiguous()
        z -= z.amax(0)
        e = z.exp()
        total = e.sum(0)
        log_total = total.log().view(lanes, rows)
        at = y.expand(lanes, rows).flatten()
        chosen = z.gather(0, at[None]).view(lanes, rows) - log_total
        mean = z.mean(0).view(lanes, rows) - log_total
        ctx.save_for_backward(e.div_(total), at)
        ctx.sizes = (lanes, rows, classes)
        return chosen.mean(1), mean.mean(1)

    @staticmethod
    def backward(ctx: Any, of_chosen: Tensor, of_mean: Tensor) -> tuple[Tensor, None]:
        p, at = ctx.saved_tensors
        lanes, rows, classes = ctx.sizes
        of_chosen = (of_chosen / rows).repeat_interleave(rows)
        of_mean = (of_mean / rows).repeat_interleave(rows)
        out = p * -(of_chosen + of_mean) + of_mean / classes
        out.scatter_add_(0, at[None], of_chosen[None])
        return out.t().view(lanes, rows, classes), None


def _similarity(out: Tensor) -> Tensor:
    """Cosine of each row's view 1 with each row's view 2, shape (L, B, B)."""
    unit = F.normalize(out, dim=-1)
    return torch.bmm(unit[:, :, 0], unit[:, :, 1].mT)


def accuracy(name: str, out: Tensor, y: Tensor) -> Tensor:
    """Right answers of each lane in points of 100, shape (L,)."""
    if name == "bce":
        signs: Tensor = (out.view(-1, *y.shape[1:]) > 0) == (y > 0.5)
        return 100 * signs.flatten(1).float().mean(1)
    (target,) = y.flatten(1)
    right: Tensor = out.flatten(1, -2).argmax(-1) == target
    return 100 * right[:, target != IGNORED].float().mean(1)
