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
from torch.optim.lr_scheduler import LambdaLR

from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.torch._optimizers import set_learning_rate
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


def peak_rates(optimizer: Optimizer) -> list[float]:
    """Learning rate of each param group at the peak of the schedule that is attached to it.

    A cyclical schedule keeps its peak in the group (``max_lr``); all others start from the
    group's learning rate (``initial_lr``) and scale it down.
    """
    rates = []
    for group in optimizer.param_groups:
        rate = group.get("max_lr", group.get("initial_lr", group["lr"]))
        rates.append(float(rate.item()) if isinstance(rate, Tensor) else float(rate))
    return rates


def hold_at_peak(optimizer: Optimizer) -> None:
    """Sets each group to its peak, whatever a warm-up has made of it.

    Raises:
        ValueError: If no group has a learning rate above 0, so that there is no ratio to keep.
    """
    rates = peak_rates(optimizer)
    if not rates[0] > 0.0:
        raise ValueError(
            f"the optimizer's param groups have the learning rates {rates}: the first must be "
            "above 0, since the groups keep their ratio (any number will do)."
        )
    set_learning_rate(optimizer, 1.0, rates)


#: What a schedule makes of the learning rate until the training ends.
Schedule = Literal["constant", "decaying", "unknown"]

#: Schedules by the names that transformers and torch give them. What stands at its peak for most
#: of the training (warmup_stable_decay), waits for a plateau, goes up and down or is composed is
#: not among them.
_SCHEDULES: dict[str, Schedule] = {
    **dict.fromkeys(("constant", "constant_with_warmup", "ConstantLR"), "constant"),
    **dict.fromkeys(
        (
            "linear",
            "cosine",
            "cosine_with_min_lr",
            "cosine_warmup_with_min_lr",
            "cosine_with_restarts",
            "polynomial",
            "CosineAnnealingLR",
            "CosineAnnealingWarmRestarts",
            "OneCycleLR",
            "PolynomialLR",
        ),
        "decaying",
    ),
}


#: Places along a training at which a schedule that is a function is looked at.
_LOOKS = 40
#: Mean share of the peak in the second half of a straight line from 1 to 1/2: what stays above it
#: stands near its peak for most of the training.
_DECAYED = 0.625


def schedule_called(name: str) -> Schedule:
    """The kind of a schedule by its name; ``"unknown"`` where that does not say."""
    return _SCHEDULES.get(name, "unknown")


def schedule_of(scheduler: Any, times: float) -> Schedule:
    """The kind of a scheduler.

    Args:
        scheduler: torch's scheduler. A ``LambdaLR`` is asked for its shares along the training.
        times: How often it is stepped in a training; ``inf`` without an end.
    """
    if not isinstance(scheduler, LambdaLR):
        return schedule_called(type(scheduler).__name__)
    if not 1 <= times < math.inf:
        return "unknown"
    share = scheduler.lr_lambdas[0]
    shares = [float(share(int(times * i / _LOOKS))) for i in range(_LOOKS)]
    peak, late = max(shares), shares[_LOOKS // 2 :]
    if min(late) == peak:
        return "constant"
    return "decaying" if sum(late) / len(late) < _DECAYED * peak else "unknown"


def pick_for(schedule: Schedule, result: LRAnalysis) -> float:
    """The learning rate to give to a trainer.

    Args:
        schedule: What scales it.
        result: What the search found.

    Returns:
        The learning rate at which that schedule starts or peaks: ``peak`` where it decays, else
        ``recommended``, which is for one that stays.
    """
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
