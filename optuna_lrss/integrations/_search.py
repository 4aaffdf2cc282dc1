"""What the integrations share: the search's options, the batches, the pick for a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import TypedDict
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR

from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.torch._optimizers import set_learning_rate
from optuna_lrss.torch._planned_rates import planned_rates
from optuna_lrss.torch._settings import Steps
from optuna_lrss.torch._settings import ValidationBatches


if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class SearchOptions(TypedDict, total=False):
    """Options of :func:`optuna_lrss.torch.find_lr` that a trainer's configuration leaves open."""

    steps: Steps
    total_steps: int | None
    snapshots: Iterable[int] | None
    validation_batches: ValidationBatches
    low: float
    high: float
    param_name: str
    snapshot_on_host: bool
    seed: int
    progress: bool
    plot: bool
    tolerance: float
    repeats: int
    strategy: str
    start: LRAnalysis | tuple[float, float] | float | None
    n_trials: int | None
    timeout: float | None
    storage: str | BaseStorage | None
    study_name: str | None


def checked_options(options: dict[str, Any], trainer: str) -> SearchOptions:
    """Refuses options that are unknown, or that the trainer decides.

    Raises:
        ValueError: If there is one.
    """
    known = SearchOptions.__annotations__
    for name in options:
        if name not in known:
            raise ValueError(
                f"{name}={options[name]!r} is no option here: the {trainer} decides how a step is "
                f"made (loss, precision, accumulation, clipping); known are {sorted(known)}."
            )
    return cast("SearchOptions", options)


def go_on_with(result: LRAnalysis) -> None:
    """Lets a training begin only after a search that its user has not stopped.

    Raises:
        KeyboardInterrupt: If Ctrl-C has ended the search: in the middle of a training that is
            what it means to the training.
    """
    if any(doubt.code == "interrupted" for doubt in result.diagnostics):
        raise KeyboardInterrupt


class Batches:
    """What a training or validation loop would read, as often as it is asked for.

    Args:
        read: Called with the number of passes before; returns one pass.
        sources: Loaders and data sets that reading moves.
    """

    def __init__(
        self, read: Callable[[int], Iterable[Any]], sources: Iterable[object] = ()
    ) -> None:
        self._read = read
        self._passes = 0
        # Drawing puts back a loader's own attributes (so that each draw begins at pass 0) and
        # those of everything in an attribute of this name.
        self.datasets = list(sources)

    def __iter__(self) -> Iterator[Any]:
        self._passes += 1
        return iter(self._read(self._passes - 1))


def checked_lr(lr: float) -> float:
    """A learning rate as a plain float.

    Raises:
        ValueError: If it is not above 0 and finite.
    """
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr={lr!r} must be a number above 0.")
    return float(lr)


def peak_rates(optimizer: Optimizer, scheduler: Any = None) -> list[float]:
    """Learning rate of each param group at the peak of its schedule.

    ``CyclicLR`` keeps its peaks in the scheduler, ``OneCycleLR`` in the groups (``max_lr``); all
    others start from the group's learning rate (``initial_lr``) and scale it down.
    """
    rates = []
    for i, group in enumerate(optimizer.param_groups):
        if isinstance(scheduler, CyclicLR):
            rate = scheduler.max_lrs[i]
        else:
            rate = group.get("max_lr", group.get("initial_lr", group["lr"]))
        rates.append(float(rate.item()) if isinstance(rate, Tensor) else float(rate))
    return rates


def hold_at_peak(optimizer: Optimizer, scheduler: Any = None) -> None:
    """Sets each group to its peak, whatever a warm-up has made of it.

    Raises:
        ValueError: If no group has a learning rate above 0, so that there is no ratio to keep.
    """
    rates = peak_rates(optimizer, scheduler)
    if not rates[0] > 0.0:
        raise ValueError(
            f"the optimizer's param groups have the learning rates {rates}: the first must be "
            "above 0, since the groups keep their ratio (any number will do)."
        )
    set_learning_rate(optimizer, 1.0, rates)


#: What a schedule makes of the learning rate until the training ends: it stays, falls, or stays
#: for most of the training and then falls.
Schedule = Literal["constant", "decaying", "held", "unknown"]

#: Mean share of the peak in the second half of a straight line from 1 to 1/2: what stays above it
#: stands near its peak for most of the training.
_DECAYED = 0.625
#: A share of the peak that counts as all of it.
_ALL = 0.99


def schedule_of(scheduler: Any, total_steps: float, every: float = 1) -> Schedule:
    """The kind of a scheduler, by the learning rates that a copy of it gives.

    A linear decay, a cosine, a polynomial, one cycle, steps down: whatever falls counts by how
    far, with or without a warm-up. ``"unknown"`` is what depends on metrics
    (``ReduceLROnPlateau``), goes up and down (``CyclicLR``), falls too little to say (an inverse
    square root with a long time scale), or cannot be read.

    Args:
        scheduler: torch's scheduler, attached to its optimizer.
        total_steps: Optimizer steps of the training; ``inf`` without an end.
        every: Optimizer steps between two steps of the scheduler.
    """
    lengths = (total_steps, every)
    if isinstance(scheduler, CyclicLR) or not all(1 <= n < math.inf for n in lengths):
        return "unknown"
    try:
        plan = planned_rates(scheduler, int(total_steps), int(every))
    except ValueError:  # no copy, no steps left, or learning rates that are none
        return "unknown"
    late = plan.rates[len(plan.rates) // 2 :] / plan.top
    if plan.metrics:
        return "unknown"
    if plan.held:
        return "held"
    if min(late.min(), plan.end / plan.top) >= _ALL:
        return "constant"
    return "decaying" if late.mean() < _DECAYED else "unknown"


def pick_for(schedule: Schedule, result: LRAnalysis) -> float:
    """The learning rate to give to a trainer.

    Args:
        schedule: What scales it.
        result: What the search found.

    Returns:
        The learning rate at which that schedule starts or peaks: ``peak`` where it decays, between
        the two where it stays first, as :meth:`~optuna_lrss.LRAnalysis.wsd` has it, else
        ``recommended``, which is for one that stays.
    """
    if schedule == "held":
        return peak_lr(result.recommended, held=True)
    return result.peak if schedule == "decaying" else result.recommended


def length_of_training(total_steps: float) -> dict[str, Any]:
    """``total_steps``, an option of the search, where the training has an end."""
    return {"total_steps": int(total_steps)} if 1 <= total_steps < math.inf else {}


def autocast_of(name: str | None) -> torch.dtype | None:
    """``torch.dtype`` of a mixed precision by its name, as frameworks write it."""
    for part, dtype in (("bf16", torch.bfloat16), ("16", torch.float16)):
        if name is not None and part in name:
            return dtype
    return None
