"""How short trials are trained: the options of StepObjective, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import TypedDict

import torch


LossForm = Literal["auto", "output", "model"]
_LOSS_FORMS = ("auto", "output", "model")


class StepOptions(TypedDict, total=False):
    """Keyword options of :class:`StepObjective`, which documents them."""

    steps: int
    snapshots: Iterable[int] | None
    param_name: str
    low: float
    high: float
    validation_batches: int | None
    loss_form: LossForm
    accumulate: int
    autocast: torch.dtype | None
    clip_norm: float | Callable[[], object] | None
    base_lr: float | None
    closure: bool | None
    device: torch.device | str | None
    extra_state: Iterable[Any]
    snapshot_on_host: bool
    seed: int
    progress: bool


@dataclass(frozen=True)
class Settings:
    """The options of a short trial; :class:`StepObjective` documents them.

    Raises:
        ValueError: If one is out of its range.
    """

    steps: int = 20
    snapshots: tuple[int, ...] = ()
    validation_batches: int | None = None
    loss_form: LossForm = "auto"
    accumulate: int = 1
    autocast: torch.dtype | None = None
    clip_norm: float | Callable[[], object] | None = None
    base_lr: float | None = None
    closure: bool | None = None
    device: torch.device | str | None = None
    snapshot_on_host: bool = False
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("accumulate", self.accumulate)
        if self.validation_batches is not None:
            require_count("validation_batches", self.validation_batches)
        for step in self.snapshots:
            require_count("snapshots", step)
            if step > self.steps:
                raise ValueError(
                    f"snapshots holds {step}, but the trial ends at steps={self.steps}: raise "
                    "steps or leave it out."
                )
        if self.loss_form not in _LOSS_FORMS:
            raise ValueError(f"loss_form={self.loss_form!r} is unknown: use one of {_LOSS_FORMS}.")
        if not (self.clip_norm is None or callable(self.clip_norm) or self.clip_norm > 0):
            raise ValueError(
                f"clip_norm={self.clip_norm!r} must be above 0, a function that clips, or None."
            )
        if self.base_lr is not None and not 0 < self.base_lr < math.inf:
            raise ValueError(f"base_lr={self.base_lr!r} must be a number above 0, or None.")
        if self.autocast is not None and not getattr(self.autocast, "is_floating_point", False):
            raise ValueError(
                f"autocast={self.autocast!r} is no floating-point type: use torch.bfloat16 or "
                "torch.float16, or None."
            )
        require_count("seed", self.seed, at_least=0)
        if self.closure and self.autocast is torch.float16:
            raise ValueError(
                "autocast=torch.float16 scales the loss, which does not go with closure=True: "
                "use torch.bfloat16."
            )


@dataclass(frozen=True)
class SearchSpace:
    """The learning rate's name and range.

    Raises:
        ValueError: If the range is no interval of positive numbers.
    """

    param_name: str = "lr"
    low: float = 1e-7
    high: float = 10.0

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high < math.inf:
            raise ValueError(
                f"low={self.low!r} and high={self.high!r} must satisfy 0 < low < high: the range "
                "is searched on a logarithmic axis."
            )


def read_options(options: Mapping[str, Any]) -> tuple[Settings, SearchSpace, tuple[Any, ...]]:
    """Sorts the keyword options of StepObjective into what they are about; last, the extra state.

    Raises:
        ValueError: If one is out of its range.
        TypeError: If one is unknown.
    """
    rest = dict(options)
    space = SearchSpace(**{k: rest.pop(k) for k in ("param_name", "low", "high") if k in rest})
    extra_state = tuple(rest.pop("extra_state", ()))
    snapshots = tuple(rest.pop("snapshots", None) or ())
    return Settings(snapshots=snapshots, **rest), space, extra_state


def require_count(name: str, value: object, *, at_least: int = 1) -> None:
    """Refuses what is not a whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {at_least}.")
