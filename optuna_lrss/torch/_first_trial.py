"""Checks around the first trial: does the learning rate matter, and is everything put back?"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

from optuna_lrss.torch._leaks import look_at
from optuna_lrss.torch._leaks import same_updates
from optuna_lrss.torch._leaks import warn_of_leaks


#: What a run of a few steps ends at, by the share of the caller's learning rate that it takes:
#: the sizes of the parameters.
Sizes = Callable[[float], list[float]]


@contextmanager
def checked(
    start: list[float],
    sizes_at: Sizes,
    optimizer: Optimizer,
    lr: float,
    roots: dict[str, Any] | None,
    known: Collection[int],
) -> Iterator[None]:
    """Looks before and after a trial.

    Args:
        start: Sizes of the parameters at the start.
        sizes_at: Takes the first steps.
        optimizer: The optimizer.
        lr: The caller's learning rate.
        roots: Objects in which to look for state that stays changed; ``None`` looks for none.
        known: Ids of tensors that are put back for sure.

    Raises:
        ValueError: If the optimizer ignores its learning rate.
    """
    updated = sizes_at(1.0)
    _refuse_indifference(start, updated, sizes_at, optimizer, lr)
    if roots is None:
        yield
        return
    before = look_at(roots, known)
    yield
    after = look_at(roots, known)
    warn_of_leaks(before, after, other_updates=not same_updates(start, updated, sizes_at(1.0)))


def _refuse_indifference(
    start: list[float], updated: list[float], sizes_at: Sizes, optimizer: Optimizer, lr: float
) -> None:
    if start == updated or not all(map(math.isfinite, updated)):  # then nothing can be told
        return
    if same_updates(start, updated, sizes_at(0.5)):
        raise ValueError(
            f"optimizer={type(optimizer).__name__} ignores its learning rate: steps at "
            f"{lr:.3g} and at half of that end at the same weights, so that there "
            "is nothing to search for. Rprop reads it in its first step only (pass a new "
            "optimizer); for one without a learning rate there is nothing to find."
        )
