"""A short trial's path: losses along the way, on a small sample, and how far the steps had gone.

The method page, section 9: what a trial passes through is the curve left of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor
from torch import nn
from torch.optim import Optimizer

from optuna_lrss._method.trajectory import PathPoint
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import halves
from optuna_lrss.torch._optimizers import needs_closure
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._optimizers import set_learning_rate
from optuna_lrss.torch._validation import Validation


#: Where a path is looked at, as shares of the horizon: steps 1, 2, 4, 7 and 14 of the usual 20, a
#: factor of about two apart, which is as close as a curve needs known losses on its fall.
_LOOKS = (0.05, 0.1, 0.2, 0.35, 0.7)
#: Validation samples that a path is looked at with: about a training batch, within these bounds,
#: so that a look costs a third of a step. Losses along one path are paired, so that few do: what
#: a curve is read off are ratios of drops.
_LEAST_SAMPLES, _MOST_SAMPLES = 32, 64
#: Training batches that running statistics are measured on for a look, where there are any: as
#: many as make about as many samples as are looked at. The untrained model's are measured so too.
_STATISTICS = 2
#: Learning rate and size of the gradients that the optimizer's reach is measured with: no weight
#: decay matters beside them, and a step is far above the rounding of a weight.
_TEST_RATE = 1e-3
#: Weights of each parameter that the reach is measured on.
_WEIGHTS = 256


def looks(steps: int) -> tuple[int, ...]:
    """Steps of a trial after which its path is looked at, ascending; not the last."""
    return tuple(sorted({k for share in _LOOKS if 0 < (k := round(share * steps)) < steps}))


class NoPath:
    """Does not look."""

    def start(self) -> list[PathPoint]:
        """An empty path."""
        return []

    def add(self, path: list[PathPoint], step: int) -> None:
        """Adds nothing."""


class PathStart(NamedTuple):
    """What paths of one configuration begin with.

    Attributes:
        reach: tau of each look and of the horizon; see :func:`measured_reach`.
        untrained: The untrained model's loss on the samples that are looked at.
    """

    reach: dict[int, float]
    untrained: float


class Path(NoPath):
    """Looks at a model under way, on the same few validation samples each time.

    Args:
        validation: A validation over :func:`sample_of` the validation batches.
        training: Training batches, for running statistics.
    """

    def __init__(self, validation: Validation, training: list[Any]) -> None:
        self._validate = validation
        self._training = training[:_STATISTICS]
        #: To be known before the first trial.
        self.known = PathStart({}, math.nan)

    def untrained(self) -> float:
        """Looks at the untrained model, in train mode and with its buffers moved."""
        self._validate.start()
        self._validate.move_buffers(self._training)
        return self._look()

    def start(self) -> list[PathPoint]:
        """To be called before the first step of a trial; returns its path, still empty."""
        self._validate.start()
        return []

    def add(self, path: list[PathPoint], step: int) -> None:
        """Looks at the model where step is one to look at."""
        reach = self.known.reach
        if step not in reach:
            return
        excess = self._look() - self.known.untrained
        if math.isfinite(excess):
            path.append(PathPoint(reach[step] / max(reach.values()), excess))

    def _look(self) -> float:
        loss, _ = self._validate(self._training)
        return loss


def sample_of(batches: list[Any], like: Any) -> list[Any]:
    """The first batches, cut down to about as many samples as another batch has.

    Args:
        batches: Validation batches.
        like: A training batch.
    """
    sample: list[Any] = []
    missing = min(max(batch_size(like), _LEAST_SAMPLES), _MOST_SAMPLES)
    for batch in batches:
        size = batch_size(batch)
        while size >= 2 * missing and (parts := halves(batch)) is not None:
            batch = parts[0]
            size = batch_size(batch)
        sample.append(batch)
        missing -= size
        if missing <= 0:
            break
    return sample


def measured_reach(optimizer: Optimizer, steps: int, ratios: list[float]) -> dict[int, float]:
    """tau: how far k steps go under one constant gradient, at each look and at the horizon.

    As a black box: the optimizer steps n times with the same gradient. Parameters and state move:
    the caller puts them back. Where that cannot be done, k itself: each step goes as far.

    Args:
        optimizer: The optimizer, at its start.
        steps: n.
        ratios: Learning rate of each of its groups relative to the searched one.
    """
    wanted = (*looks(steps), steps)
    plain = {k: float(k) for k in wanted}
    parameters = [p for p in optimized_parameters(optimizer) if p.requires_grad]
    fine = all(p.dtype in (torch.float32, torch.float64) for p in parameters)
    if needs_closure(optimizer) or not fine:
        return plain
    set_learning_rate(optimizer, _TEST_RATE, ratios)
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    before = _some_of(parameters)
    reach: dict[int, float] = {}
    try:
        for k in range(1, steps + 1):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            if k in wanted:
                reach[k] = float((_some_of(parameters) - before).norm())
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return plain  # sparse gradients, say, or a step that wants more than gradients
    ascending = all(0.0 < reach[a] < reach[b] for a, b in pairwise(wanted))
    return reach if ascending and math.isfinite(reach[steps]) else plain


def _some_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Some of the weights, in double precision."""
    with torch.no_grad():
        parts = [p.detach().reshape(-1)[:_WEIGHTS].double().cpu() for p in parameters]
    return torch.cat(parts)
