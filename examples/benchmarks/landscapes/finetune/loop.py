"""The plain training loop of the larger fine-tuning cells, in pieces that can be resumed.

A piece is one learning rate of one seed, or its range tests; each is a file in a work folder.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.engine.optimizers import plain
from examples.benchmarks.landscapes.engine.train import MEASURED_BATCHES
from examples.benchmarks.landscapes.engine.train import batch_rows
from examples.benchmarks.landscapes.finetune.problems import Problem
from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.tasks import Parts


BATCH, STEPS = 8, 80
CURVE_STEPS = tuple(s for s in record.CURVE_STEPS if s <= STEPS)
SCHEDULES = ("constant", "cosine", "wsd")
RANGE_STEPS = 100
#: The tests that rules read at this number of steps; those by eye read 300.
PROTOCOLS = ("fastai", "lightning", "lr_finder")

Piece = dict[str, Array]


@dataclass
class Start:
    """A problem at one seed: first weights, rows, batches."""

    problem: Problem
    seed: int

    def __post_init__(self) -> None:
        self.parts: Parts = self.problem.rows()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.first = self.problem.make()
        steps = max(STEPS, RANGE_STEPS)
        self.batches = batch_rows(len(self.parts.x_train), BATCH, steps, self.seed)

    def training(self) -> Training:
        return Training(self)

    def loss(self, net: nn.Module, rows: Tensor) -> Tensor:
        return F.cross_entropy(net(self.parts.x_train[rows]), self.parts.y_train[rows])


class Training:
    """A net and its optimizer, some steps into a training."""

    def __init__(self, start: Start) -> None:
        self.start, self.step = start, 0
        self.alive = True
        self.net = copy.deepcopy(start.first)
        trained: list[tuple[Tensor, bool]] = [
            (p, False) for p in self.net.parameters() if p.requires_grad
        ]
        (self.optimizer,) = plain(start.problem.optimizer, trained, 0.0)

    def branch(self) -> Training:
        """A copy that goes its own way from here."""
        other = copy.copy(self)
        # Together: the optimizer's parameters stay those of the net.
        other.net, other.optimizer = copy.deepcopy((self.net, self.optimizer))
        return other

    def advance(self, rates: Array, until: int) -> list[float]:
        """Trains on; returns the losses before each update, inf from a divergence on."""
        losses = []
        _prepare(self.net, self.start.problem.batch_norm)
        while self.step < until:
            loss = self._step(float(rates[self.step])) if self.alive else math.inf
            losses.append(loss)
            self.step += 1
        return losses

    def _step(self, lr: float) -> float:
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad()
        loss = self.start.loss(self.net, self.start.batches[self.step])
        value = loss.item()
        self.alive = math.isfinite(value)
        if self.alive:
            loss.backward()
            self.optimizer.step()
        return value if math.isfinite(value) else math.inf

    @torch.no_grad()
    def scores(self, part: str = "val", measured: bool = False) -> tuple[float, float]:
        """Loss and accuracy in points; inf and NaN after a divergence.

        Args:
            part: "val" or "test".
            measured: Statistics of BatchNorm are measured again on the batches seen last, as the
                lanes do it.
        """
        if not self.alive:
            return math.inf, math.nan
        net = self._measured() if measured else self.net
        net.eval()
        x, y = getattr(self.start.parts, f"x_{part}"), getattr(self.start.parts, f"y_{part}")
        out = torch.cat([net(piece) for piece in x.split(64)])
        loss = float(F.cross_entropy(out, y))
        if not math.isfinite(loss):
            return math.inf, math.nan
        return loss, 100 * float((out.argmax(1) == y).float().mean())

    def _measured(self) -> nn.Module:
        net = copy.deepcopy(self.net).train()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        # Before the first step there is nothing seen: the batches to come stand in.
        low = max(0, self.step - MEASURED_BATCHES)
        rows = self.start.batches[low : max(self.step, MEASURED_BATCHES)].flatten()
        net(self.start.parts.x_train[rows])
        return net


def _prepare(net: nn.Module, batch_norm: str) -> None:
    """Training mode where it makes a difference: BatchNorm that lives. There is no dropout."""
    net.train(batch_norm == "live")


# --- pieces --------------------------------------------------------------------------------------


def rate(start: Start, lr: float) -> Piece:
    """All that is kept of one learning rate: curve, training losses, ends of the schedules."""
    live = start.problem.batch_norm == "live"
    training = start.training()
    losses: list[float] = []
    curve, running = [], []
    ends: dict[str, tuple[float, float, float]] = {}
    constant = np.full(STEPS, lr)
    fork = schedules.hold_steps(STEPS)
    for mark in sorted({*CURVE_STEPS, fork, STEPS}):
        losses += training.advance(constant, mark)
        if mark in CURVE_STEPS:
            running.append(training.scores()[0])
            curve.append(training.scores(measured=True)[0] if live else running[-1])
        if mark == fork:
            decaying = training.branch()
            decaying.advance(lr * schedules.wsd(STEPS), STEPS)
            ends["wsd"] = _end(decaying)
    ends["constant"] = _end(training)
    cosine = start.training()
    cosine.advance(lr * schedules.cosine(STEPS), STEPS)
    ends["cosine"] = _end(cosine)
    final = np.array([ends[name] for name in SCHEDULES])
    return {
        "curve": np.array(curve),
        "curve_running": np.array(running),
        "train_loss": np.array(losses),
        "final_loss": final[:, 0],
        "final_val_metric": final[:, 1],
        "final_metric": final[:, 2],
    }


def _end(training: Training) -> tuple[float, float, float]:
    """Validation loss, validation metric, test metric, as a user has them."""
    return *training.scores(), training.scores("test")[1]


def range_tests(start: Start) -> Piece:
    """Losses of the range tests, and what is measured before the first step."""
    untrained = start.training()
    running, _ = untrained.scores()
    live = start.problem.batch_norm == "live"
    found: Piece = {
        "baseline": np.array(untrained.scores(measured=True)[0] if live else running),
        "baseline_running": np.array(running),
        "baseline_metric": np.array(untrained.scores("test")[1]),
    }
    for protocol in PROTOCOLS:
        rates = schedules.range_tests(RANGE_STEPS)[protocol]
        found[protocol] = np.array(start.training().advance(rates, RANGE_STEPS))
    return found


def saved(path: Path, made: Piece) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part.npz")
    np.savez(draft, allow_pickle=False, **made)
    draft.replace(path)
