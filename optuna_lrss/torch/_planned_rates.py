"""The learning rates that a scheduler would give, read off a copy of it."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optuna_lrss._result.schedule_check import Plan
from optuna_lrss._study.arguments import require_count


def planned_rates(
    scheduler: LRScheduler | Callable[[int], float], total_steps: int, every: int = 1
) -> Plan:
    """The first param group's learning rate at each optimizer step that is left.

    Args:
        scheduler: A torch scheduler attached to its optimizer, stepped or not, neither of which is
            changed; or a function from an optimizer step, counted from 0, to a learning rate.
        total_steps: Optimizer steps of the whole training.
        every: Optimizer steps between two steps of the scheduler.

    Returns:
        The plan, shorter than wanted where the scheduler refuses to go on.

    Raises:
        ValueError: If the steps are no positive whole numbers, or ``scheduler`` is neither, has
            gone through all steps, or gives learning rates that are negative or not finite, or
            none above 0.
    """
    require_count("total_steps", total_steps)
    require_count("every", every)
    done, metrics = 0, False
    if isinstance(getattr(scheduler, "optimizer", None), Optimizer):
        done = int(getattr(scheduler, "last_epoch", 0)) * every
        metrics = _needs_metrics(scheduler)
        each = _stepped(scheduler, once=metrics)
    elif callable(scheduler):
        each = (float(scheduler(step)) for step in range(0, total_steps + every, every))
    else:
        raise ValueError(
            f"scheduler={scheduler!r} is neither a torch scheduler with its optimizer nor a "
            "function of the step: where another library wraps torch's, pass the one inside."
        )
    left = total_steps - done
    if left <= 0:
        raise ValueError(
            f"total_steps={total_steps!r}: the scheduler has been through {done} steps already; "
            "check it before the training, or give the length of the whole training."
        )
    # One more than there are: the rate that the training ends with, on its way to the next step.
    rates = _checked(list(islice(each, math.ceil(left / every) + 1)))
    planned = rates[:1] if metrics else np.repeat(rates, every)[:left]
    last = rates[-1] if len(rates) * every > left else planned[-1]
    return Plan(planned, float(min(last, planned[-1])), left, metrics)


def _checked(rates: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.asarray(rates, dtype=np.float64)
    if not (np.isfinite(found).all() and found.min() >= 0.0 < found.max()):
        raise ValueError(
            f"scheduler gives learning rates from {found.min():g} to {found.max():g}: finite ones "
            "are needed, none negative and one above 0."
        )
    return found


def _needs_metrics(scheduler: Any) -> bool:
    """Whether ``step`` cannot do without an argument, as ``ReduceLROnPlateau``'s."""
    parameters = inspect.signature(scheduler.step).parameters.values()
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )


def _stepped(scheduler: Any, *, once: bool) -> Iterator[float]:
    """The first group's rate now and after each step of a copy."""
    stand_in, clones = _stand_in(scheduler.optimizer)
    try:
        twin = copy.deepcopy(scheduler, {id(scheduler.optimizer): stand_in, **clones})
    except (TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"scheduler={scheduler!r} cannot be copied ({error}), and is not stepped itself: pass "
            "a function from step to learning rate."
        ) from error
    while True:
        yield float(stand_in.param_groups[0]["lr"])
        if once:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of steps that the optimizer has not taken
                twin.step()
        except ValueError:  # as OneCycleLR's, beyond its total_steps
            return


def _stand_in(optimizer: Optimizer) -> tuple[Any, dict[int, Tensor]]:
    """The optimizer with groups of its own, and the clones of their tensors by the old ones' id.

    The parameters are the same, which no scheduler touches. A tensor that stands in several
    places is one in the clones too: before torch 2.5 a scheduler's base rates are those that it
    changes.
    """
    clones: dict[int, Tensor] = {}

    def own(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return clones.setdefault(id(value), value.clone())

    stand_in = object.__new__(type(optimizer))
    stand_in.__dict__.update(optimizer.__dict__)
    stand_in.param_groups = [
        {name: own(value) for name, value in group.items()} for group in optimizer.param_groups
    ]
    return stand_in, clones
