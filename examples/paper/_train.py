"""One full training: tested on the way, resumable where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from examples.paper._config import Config
from examples.paper._data import Batches
from examples.paper._data import Rows
from examples.paper._data import Splits
from examples.paper._data import in_order
from examples.paper._models import Build
from examples.paper._models import batch_loss
from examples.paper._models import make_optimizer
from examples.paper._models import score


#: Rows per forward pass without gradients.
EVALUATION_BATCH = 64
#: A training is stopped when its loss exceeds the untrained model's by this factor.
_HOPELESS = 10.0

#: Called after each test with the step and the accuracy in percent.
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a full training.

    Attributes:
        accuracy: Final test accuracy in percent.
        loss: Final test loss; ``None`` if it is not finite.
        steps: Optimizer steps taken.
        diverged: Whether it was stopped because the loss ran away.
        seconds: Time spent in training and testing, over all resumptions.
    """

    accuracy: float
    loss: float | None
    steps: int
    diverged: bool
    seconds: float


class FullTraining:
    """Trains an experiment's model to the end.

    Args:
        config: The experiment.
        splits: Its data, on the device.
        build: Makes the model.
        checkpoint: File for the state of the training in progress, removed at its end.
        device: Where to train.
        share: Share of the learning rate at each step, counted from 0: a schedule whose peak is 1;
            ``None`` for a constant rate.
    """

    def __init__(
        self,
        config: Config,
        splits: Splits,
        build: Build,
        *,
        checkpoint: Path,
        device: torch.device,
        share: Callable[[int], float] | None = None,
    ) -> None:
        self._config = config
        self._train = splits.train
        self._test = in_order(splits.test, EVALUATION_BATCH)
        self._build = build
        self._checkpoint = checkpoint
        self._device = device
        self._share = share

    def run(self, lr: float, seed: int, report: Report) -> Outcome:
        """Trains with one learning rate and seed, going on from a checkpoint of the same two.

        Args:
            lr: Learning rate, constant or the schedule's peak.
            seed: Seed of initial weights (of the head, where the rest is pretrained), batch order
                and dropout.
            report: Told each test's step and accuracy. Tests that were reported before an
                interruption are not repeated.
        """
        config = self._config
        model = self._build(seed).to(self._device)
        optimizer = make_optimizer(config, model, lr)
        torch.manual_seed(seed + 1)
        step, limit, seconds = 0, math.nan, 0.0
        if (saved := self._saved(lr, seed)) is not None:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            _set_random_state(saved["random"])
            step, limit, seconds = saved["step"], saved["limit"], saved["seconds"]
        batches = Batches(self._train, config.batch_size, seed).starting_at(step)
        since = time.perf_counter()
        accuracy, loss, diverged = math.nan, math.inf, False
        for target in (s for s in config.evaluation_steps if s > step):
            step, limit, diverged = self._steps(
                model, optimizer, batches, (step, target), limit, lr
            )
            accuracy, loss = score(model, self._test)
            seconds += time.perf_counter() - since
            since = time.perf_counter()
            report(step, accuracy)
            if diverged:
                break
            state = {"step": step, "limit": limit, "seconds": seconds}
            self._save(lr, seed, model, optimizer, state)
        self._checkpoint.unlink(missing_ok=True)
        known = loss if math.isfinite(loss) else None
        return Outcome(accuracy, known, step, diverged, seconds)

    def _steps(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Any,
        span: tuple[int, int],
        limit: float,
        lr: float,
    ) -> tuple[int, float, bool]:
        """Trains from a step to another; the first loss sets the limit that says it ran away."""
        step, target = span
        while step < target:
            if self._share is not None:
                for group in optimizer.param_groups:
                    group["lr"] = lr * self._share(step)
            batch: Rows = next(batches)
            optimizer.zero_grad(set_to_none=True)
            loss = batch_loss(model, batch)
            value = float(loss.detach())
            if math.isnan(limit):
                limit = _HOPELESS * value
            if not value <= limit:  # also when it is not a number
                return step, limit, True
            loss.backward()
            optimizer.step()
            step += 1
        return step, limit, False

    def _saved(self, lr: float, seed: int) -> dict[str, Any] | None:
        if not self._checkpoint.exists():
            return None
        saved: dict[str, Any] = torch.load(self._checkpoint, weights_only=True)
        return saved if (saved["lr"], saved["seed"]) == (lr, seed) else None

    def _save(
        self,
        lr: float,
        seed: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
    ) -> None:
        """Whole or not at all: the file is renamed into place."""
        whole = {
            **state,
            "lr": lr,
            "seed": seed,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": _random_state(),
        }
        unfinished = self._checkpoint.with_suffix(".part")
        torch.save(whole, unfinished)
        unfinished.replace(self._checkpoint)


def _random_state() -> list[Tensor]:
    """Of the CPU and of every GPU: dropout draws from them."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpus]


def _set_random_state(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state_all(state[1:])
