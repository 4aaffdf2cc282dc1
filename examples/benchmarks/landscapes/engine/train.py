"""A seed of a cell: lanes that differ in the learning rate, from the same weights and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

import torch
from torch import Tensor

from examples.benchmarks.landscapes.engine.layers import LaneOps
from examples.benchmarks.landscapes.engine.layers import Tensors
from examples.benchmarks.landscapes.engine.losses import accuracy
from examples.benchmarks.landscapes.engine.losses import loss_of
from examples.benchmarks.landscapes.engine.optimizers import OPTIMIZERS
from examples.benchmarks.landscapes.engine.optimizers import Part
from examples.benchmarks.landscapes.engine.optimizers import State
from examples.benchmarks.landscapes.engine.optimizers import Update
from examples.benchmarks.landscapes.models import Model
from examples.benchmarks.landscapes.models import hidden_matrix
from examples.benchmarks.landscapes.tasks import TaskData


#: Batches seen last that BatchNorm's statistics are measured on again.
MEASURED_BATCHES = 8
#: Rows x steps, or half of rows x pixels, that a validation or test set keeps, about.
PLACES = 16_384
#: Steps of a row up to which it counts as short.
FEW_STEPS = 4
#: Rows x lanes that are evaluated at once, at most.
EVALUATED = 8_192


@dataclass
class Lanes:
    """Nets that are being trained.

    Attributes:
        ids: Which of the seed's lanes these are, shape (L,).
        theta: Their parameters, a row each, shape (L, P).
        buffers: Their running statistics.
        state: What the optimizer remembers of them.
    """

    ids: Tensor
    theta: Tensor
    buffers: Tensors
    state: State

    def rows(self, index: Tensor) -> Lanes:
        """A copy of some of them."""
        return Lanes(
            self.ids[index],
            self.theta.index_select(0, index),
            {k: v.index_select(0, index) for k, v in self.buffers.items()},
            self.state.rows(index),
        )

    def where(self, kept: Tensor) -> Lanes:
        return self if bool(kept.all()) else self.rows(kept.nonzero().flatten())


@dataclass
class Scores:
    """Of each lane by its id, shape (n,): inf and NaN where it diverged."""

    loss: Tensor
    metric: Tensor


@dataclass
class Problem:
    """A task, a model and an optimizer at one seed.

    Args:
        task: The data.
        build: Makes the model; called under the seed.
        optimizer: A name in `OPTIMIZERS`.
        batch_size: Rows per step.
        steps: Steps of the longest training.
        seed: Of weights and batches.
    """

    task: TaskData
    build: Callable[[TaskData], Model]
    optimizer: str
    batch_size: int
    steps: int
    seed: int
    model: Model = field(init=False)
    parts: list[Part] = field(init=False)
    batches: Tensor = field(init=False)
    first: Tensor = field(init=False)
    update: Update = field(init=False)

    def __post_init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.model = self.build(self.task)
        self.parts, start = [], 0
        for name, p in self.model.params.items():
            self.parts.append(Part(start, p.shape, hidden_matrix(name, p)))
            start += p.numel()
        self.first = torch.cat([p.flatten() for p in self.model.params.values()])
        self.batches = batch_rows(len(self.task.x_train), self.batch_size, self.steps, self.seed)
        self.update = OPTIMIZERS[self.optimizer].make(self.parts)
        self.data = {part: self._part(part) for part in ("train", "val", "test")}

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        x, y = getattr(self.task, f"x_{part}"), getattr(self.task, f"y_{part}")
        if part != "train":
            n = kept_rows(x, y, part)
            x, y = x[:n], y[:n]
        return channels_last(x), channels_last(y)

    def lanes(self, n: int) -> Lanes:
        """`n` nets with the first weights."""
        theta = self.first.repeat(n, 1)
        buffers = {k: v.repeat(n, 1) for k, v in self.model.buffers.items()}
        return Lanes(torch.arange(n), theta, buffers, OPTIMIZERS[self.optimizer].state(theta))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        x, y = self.data["train"]
        rows = self.batches[step]
        return x[rows], y[rows]

    def batch_of(self, ids: Tensor, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The batch of some lanes, with an axis of one if they share it."""
        x, y = self.batch(step)
        return x.unsqueeze(0), y.unsqueeze(0)

    def seen_of(self, ids: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """Inputs of the batches before a step, joined, as `batch_of` has them."""
        # Where fewer were seen, the next ones stand in.
        stop = max(step, MEASURED_BATCHES)
        rows = self.batches[stop - MEASURED_BATCHES : stop].flatten()
        return self.data["train"][0][rows].unsqueeze(0)

    def first_of(self, ids: Tensor) -> Tensor:  # noqa: ARG002
        """The first weights of some lanes."""
        return self.first

    def outputs(self, theta: Tensor, buffers: Tensors, x: Tensor, mode: str) -> Tensor:
        """The nets' outputs (L, B, ...) for rows `x` (L, B, ...), or (1, B, ...) for all nets."""
        pieces = theta.split([p.shape.numel() for p in self.parts], dim=1)
        params = {
            name: piece.view(-1, *part.shape)
            for name, piece, part in zip(self.model.params, pieces, self.parts, strict=True)
        }
        return self.model.forward(LaneOps(params, buffers, mode), x)

    def gradient(self, lanes: Lanes, step: int) -> tuple[Tensor, Tensor]:
        """Training losses (L,) and their gradients (L, P); moves running statistics."""
        losses, gradients = [], []
        size = math.ceil(len(lanes.ids) / math.ceil(len(lanes.ids) / self.model.chunk))
        for start in range(0, len(lanes.ids), size):
            rows = slice(start, start + size)
            theta = lanes.theta[rows].detach().requires_grad_()
            buffers = {k: v[rows] for k, v in lanes.buffers.items()}  # views: moved in place
            x, y = self.batch_of(lanes.ids[rows], step)
            out = self.outputs(theta, buffers, x, "train")
            loss = loss_of(self.task.loss, out, y, self.task.label_smoothing)
            gradients.append(torch.autograd.grad(loss.sum(), theta)[0])
            losses.append(loss.detach())
        return torch.cat(losses), torch.cat(gradients)

    def advance(
        self,
        lanes: Lanes,
        rates: Tensor,
        start: int,
        stop: int,
        losses: Tensor | None = None,
        restart: tuple[Tensor, int] | None = None,
    ) -> Lanes:
        """Takes steps `start` to `stop`; returns the lanes that are left.

        Args:
            lanes: Not to be used afterwards.
            start: First step.
            stop: Step before which it ends.
            rates: Learning rate of each id at each step, shape (steps, n).
            losses: Filled with the training losses, shape (steps, n).
            restart: Ids whose weights go back to the first ones, and after how many steps.
        """
        for step in range(start, stop):
            if not len(lanes.ids):
                break
            if restart is not None and step and step % restart[1] == 0:
                again = torch.isin(lanes.ids, restart[0])
                lanes.theta[again] = self.first_of(lanes.ids[again])
            loss, gradient = self.gradient(lanes, step)
            alive = loss.isfinite()
            if losses is not None:
                losses[step, lanes.ids] = torch.where(alive, loss, math.inf)
            if not bool(alive.all()):
                lanes, gradient = lanes.where(alive), gradient[alive]
            lanes.state.t = step + 1
            self.update(lanes.theta, gradient, lanes.state, rates[step, lanes.ids, None])
        return lanes

    # --- what is measured --------------------------------------------------------------------

    @torch.no_grad()
    def scores(self, lanes: Lanes, n: int, part: str = "val", measured: int = 0) -> Scores:
        """Loss and metric of `n` lanes, of which `lanes` are left.

        Args:
            lanes: Those that have not diverged.
            n: One more than the highest id.
            part: "val" or "test".
            measured: Statistics of BatchNorm are measured again on the batches before this step;
                0 takes the running ones.
        """
        x, y = self.data[part]
        result = Scores(torch.full((n,), math.inf), torch.full((n,), math.nan))
        size = max(1, EVALUATED // len(x))
        for start in range(0, len(lanes.ids), size):
            rows = slice(start, start + size)
            theta = lanes.theta[rows]
            buffers = {k: v[rows].clone() for k, v in lanes.buffers.items()}
            if measured:
                self.outputs(theta, buffers, self.seen_of(lanes.ids[rows], measured), "measure")
            out = self.outputs(theta, buffers, x.unsqueeze(0), "eval")
            loss, metric = self._judge(out, y.unsqueeze(0))
            finite = loss.isfinite()
            result.loss[lanes.ids[rows]] = torch.where(finite, loss, math.inf).to(result.loss)
            result.metric[lanes.ids[rows]] = torch.where(finite, metric, math.nan).to(
                result.metric
            )
        return result

    def _judge(self, out: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.task.loss == "info_nce":
            # As many rows compete as in training.
            whole = out.shape[1] // self.batch_size * self.batch_size
            pieces = out[:, :whole].split(self.batch_size, 1)
            loss = torch.stack([loss_of("info_nce", p, y) for p in pieces]).mean(0)
        else:
            loss = loss_of(self.task.loss, out, y)
        return loss, accuracy(self.task.loss, out, y) if self.task.metric == "accuracy" else loss


def batch_rows(rows: int, batch_size: int, steps: int, seed: int) -> Tensor:
    """Rows of each step's batch, shape (steps, batch_size): epochs in new orders, end to end."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    epochs = math.ceil(steps * batch_size / rows)
    order = torch.cat([torch.randperm(rows, generator=generator) for _ in range(epochs)])
    return order[: steps * batch_size].view(steps, batch_size)


def kept_rows(x: Tensor, y: Tensor, part: str) -> int:
    """Rows of a validation or test set that are evaluated: fewer where a row is long.

    Long nets would else be evaluated for longer than they are trained. Every token or pixel that
    is asked counts, so that rows with many of them may be few.
    """
    share = 2 if part == "test" else 1
    if y.dim() >= 4:
        return 64 * share
    if x.dim() >= 4:
        return max(128, 2 * PLACES // (x.shape[-1] * x.shape[-2]))
    steps = x.shape[1] if x.dim() == 3 or not x.is_floating_point() else 1
    if y.dim() == 2 and not y.is_floating_point():
        return 128 * share
    return len(x) if steps <= FEW_STEPS else max(256, (share - 1) * PLACES // steps)


def channels_last(x: Tensor) -> Tensor:
    """Pictures (..., C, H, W) as (..., H, W, C); anything else as it is."""
    return x.movedim(-3, -1).contiguous() if x.dim() >= 4 else x
