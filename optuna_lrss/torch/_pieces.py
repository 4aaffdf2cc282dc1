"""What a short trial takes and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

from torch import nn

from optuna_lrss._method.trajectory import PathPoint


Report = Callable[[int, float], None]


class StepPieces(NamedTuple):
    """What a short trial trains; what ``build`` returns to :meth:`StepObjective.from_factory`.

    Attributes:
        model: The model.
        optimizer: An optimizer over the model's parameters, or several in a list.
        loss_fn: ``loss_fn(output, target)`` or ``loss_fn(model, batch)``.
        train_loader: Training batches.
        validation_loader: Validation batches; ``None`` holds training batches out.
    """

    model: nn.Module
    optimizer: Any  # not a union: whoever reads it back knows which of both it is
    loss_fn: Callable[[Any, Any], Any]
    train_loader: Iterable[Any]
    validation_loader: Iterable[Any] | None = None


class Outcome(NamedTuple):
    """How a short trial ended.

    Attributes:
        loss: Validation loss after the last step; ``inf`` if the trial diverged, never NaN.
        steps: Optimizer steps taken, fewer than asked for after an early divergence.
        diverged: Whether it diverged.
        stderr: Standard error of the loss over the validation set, where it can be estimated.
        path: What the trial passed through.
        rise: How far its training losses rose above the untrained model's, as a share of that.
        sure: Whether a divergence is no accident: its loss had been high for several steps.
    """

    loss: float
    steps: int
    diverged: bool
    stderr: float | None = None
    path: tuple[PathPoint, ...] = ()
    rise: float | None = None
    sure: bool = False
