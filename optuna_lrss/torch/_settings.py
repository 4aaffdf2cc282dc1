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

import numpy as np
import torch

from optuna_lrss._method.search.longer import BASE_STEPS
from optuna_lrss._result.progress import SearchProgress
from optuna_lrss._study.arguments import is_number
from optuna_lrss._study.arguments import require_count


#: How long a short trial is; ``"auto"`` for 20 steps, and some longer trials.
Steps = int | Literal["auto"]
#: How much is validated on: the first so many batches, all (``None``), or as much as decides.
ValidationBatches = int | Literal["auto"] | None
LossForm = Literal["auto", "output", "model"]
_LOSS_FORMS = ("auto", "output", "model")


class StepOptions(TypedDict, total=False):
    """Keyword options of :class:`StepObjective`, which documents them."""

    steps: Steps
    total_steps: int | None
    snapshots: Iterable[int] | None
    param_name: str
    low: float
    high: float
    validation_batches: ValidationBatches
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
    check_state: bool
    paths: bool
    progress: bool | SearchProgress


@dataclass(frozen=True)
class Settings:
    """The options of a short trial; :class:`StepObjective` documents them.

    Raises:
        ValueError: If one is out of its range.
    """

    steps: int = BASE_STEPS
    auto: bool = False  # longer trials may follow
    total_steps: int | None = None
    snapshots: tuple[int, ...] = ()
    validation_batches: ValidationBatches = "auto"
    loss_form: LossForm = "auto"
    accumulate: int = 1
    autocast: torch.dtype | None = None
    clip_norm: float | Callable[[], object] | None = None
    base_lr: float | None = None
    closure: bool | None = None
    device: torch.device | str | None = None
    snapshot_on_host: bool = False
    seed: int = 0
    check_state: bool = True
    paths: bool = False
    progress: bool | SearchProgress = True

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        if self.total_steps is not None:
            require_count("total_steps", self.total_steps)
        require_count("accumulate", self.accumulate)
        _require_validation_batches(self.validation_batches)
        for step in self.snapshots:
            require_count("snapshots", step)
            if step > self.steps:
                raise ValueError(
                    f"snapshots holds {step}, but the trial ends at steps={self.steps}: raise "
                    "steps or leave it out."
                )
        if self.loss_form not in _LOSS_FORMS:
            raise ValueError(f"loss_form={self.loss_form!r} is unknown: use one of {_LOSS_FORMS}.")
        clip = self.clip_norm
        if not (clip is None or callable(clip) or (is_number(clip) and clip > 0)):
            raise ValueError(
                f"clip_norm={clip!r} must be a number above 0, a function that clips, or None."
            )
        if self.base_lr is not None and not (
            is_number(self.base_lr) and 0 < self.base_lr < math.inf
        ):
            raise ValueError(f"base_lr={self.base_lr!r} must be a number above 0, or None.")
        _require_device(self.device)
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
        if not isinstance(self.param_name, str):
            raise ValueError(f"param_name={self.param_name!r} must be a string, such as 'lr'.")
        real = is_number(self.low) and is_number(self.high)
        if not (real and 0.0 < self.low < self.high < math.inf):
            raise ValueError(
                f"low={self.low!r} and high={self.high!r} must be numbers with "
                "0 < low < high: the range is searched on a logarithmic axis."
            )


def read_options(options: Mapping[str, Any]) -> tuple[Settings, SearchSpace, tuple[Any, ...]]:
    """Sorts the keyword options of StepObjective into what they are about; last, the extra state.

    Raises:
        ValueError: If one is out of its range.
        TypeError: If one is unknown.
    """
    rest = dict(options)
    space = SearchSpace(**{k: rest.pop(k) for k in ("param_name", "low", "high") if k in rest})
    extra_state = read_objects(rest.pop("extra_state", ()))
    snapshots = read_snapshots(rest.pop("snapshots", None))
    steps, auto = read_steps(rest.pop("steps", "auto"))
    return Settings(steps, auto, snapshots=snapshots, **rest), space, extra_state


def read_steps(steps: Any) -> tuple[int, bool]:
    """The horizon of a short trial, and whether longer ones may follow.

    Raises:
        ValueError: If it is neither a number of steps nor ``"auto"``.
    """
    if isinstance(steps, str):
        if steps == "auto":
            return BASE_STEPS, True
        raise ValueError(
            f"steps={steps!r} must be a whole number of at least 1, such as 20, or 'auto' for 20 "
            "and some longer trials."
        )
    return steps, False


def read_snapshots(snapshots: Any) -> tuple[int, ...]:
    """The steps as a tuple.

    Raises:
        ValueError: If they are no sequence.
    """
    if snapshots is None:
        return ()
    if isinstance(snapshots, (str, bytes)) or not isinstance(snapshots, Iterable):
        raise ValueError(
            f"snapshots={snapshots!r} must be a sequence of steps, such as (5, 10), or None."
        )
    return tuple(int(s) if isinstance(s, np.integer) else s for s in snapshots)


def read_objects(extra_state: Any) -> tuple[Any, ...]:
    """The extra objects as a tuple.

    Raises:
        ValueError: If they are not in a list or tuple: a module alone may be iterable, and would
            be taken for its parts.
    """
    if not isinstance(extra_state, (list, tuple, set, frozenset)):
        raise ValueError(
            f"extra_state is a {type(extra_state).__name__}: give a list of the objects, "
            "extra_state=[...]."
        )
    return tuple(extra_state)


def _require_validation_batches(batches: object) -> None:
    if batches is None or batches == "auto":
        return
    if isinstance(batches, str):
        raise ValueError(
            f"validation_batches={batches!r} must be a number of batches, None for all of them, "
            "or 'auto' for a sample where that is enough."
        )
    require_count("validation_batches", batches)


def _require_device(device: object) -> None:
    if device is None or isinstance(device, torch.device):
        return
    try:
        if isinstance(device, (str, int)) and not isinstance(device, bool):
            torch.device(device)
            return
    except RuntimeError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device={device!r} is unknown to torch ({reason}): use 'cpu', 'cuda', 'cuda:1', or "
            "None for where the model is."
        ) from error
    raise ValueError(
        f"device={device!r} must be a torch.device or its name, such as 'cuda', or None for "
        "where the model is."
    )
