"""Random states: put back after a trial, set the same before each.

Python, NumPy, torch on the CPU and on every accelerator that is in use. An accelerator that
nobody has touched is left alone: seeding it would reach into the caller's first use of it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


Undo = Callable[[], object]


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever is drawn or seeded inside, all random states come out as they went in."""
    undo = _saved_states()
    try:
        yield
    finally:
        for put_back in undo:
            put_back()


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy (modulo 2**32) and torch on the CPU and the accelerators in use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - models and data sets draw from this one
    # torch.manual_seed would also queue the seed for a CUDA that starts later, that is for the
    # caller's own first use of it.
    torch.default_generator.manual_seed(seed)
    if _cuda_in_use():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@functools.lru_cache(maxsize=256)  # a few for each repeat, asked for in each trial
def derived_seed(*parts: int) -> int:
    """One seed of 63 bits from several numbers; different numbers give unrelated seeds."""
    high, low = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return (int(high) << 31) ^ int(low)


def saved_generator(value: object) -> Undo | None:
    """How to put a random generator object back to where it is now; ``None`` for all else."""
    if isinstance(value, torch.Generator):
        generator, state = value, value.get_state()
        return lambda: generator.set_state(state)
    if isinstance(value, np.random.Generator):
        return _saved_bits(value.bit_generator)
    if isinstance(value, np.random.RandomState):
        legacy, legacy_state = value, value.get_state()
        return lambda: legacy.set_state(legacy_state)
    if isinstance(value, random.Random):
        python, python_state = value, value.getstate()
        return lambda: python.setstate(python_state)
    return None


def _saved_bits(bits: Any) -> Undo:
    state = bits.state
    return lambda: setattr(bits, "state", state)


def _saved_states() -> list[Undo]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    cpu = torch.get_rng_state()
    undo: list[Undo] = [
        lambda: random.setstate(python),
        lambda: np.random.set_state(numpy),  # noqa: NPY002
        lambda: torch.set_rng_state(cpu),
    ]
    if _cuda_in_use():
        cuda = torch.cuda.get_rng_state_all()
        undo.append(lambda: torch.cuda.set_rng_state_all(cuda))
    if torch.backends.mps.is_available():
        mps = torch.mps.get_rng_state()
        undo.append(lambda: torch.mps.set_rng_state(mps))
    return undo


def _cuda_in_use() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())
