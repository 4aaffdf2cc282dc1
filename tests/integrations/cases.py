"""Handwritten digits as vectors, the model that learns them, and what an object holds."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch import nn


TRAIN, VALIDATION = slice(0, 1200), slice(1200, None)


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def weights(model: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def random_states() -> tuple[Any, ...]:
    numpy = np.random.get_state()  # noqa: NPY002
    return random.getstate(), numpy[1].tobytes(), numpy[2], torch.get_rng_state().tolist()


def held(root: object, belongs: Callable[[object], bool]) -> dict[str, Any]:
    """Every attribute reachable from an object: which object it is, or its value."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(path: str, value: Any) -> None:
        if isinstance(value, Tensor):
            found[path] = (id(value), value.data_ptr(), value.detach().numpy().tobytes())
        elif isinstance(value, (bool, int, float, str, type(None))):
            found[path] = value
        else:
            found[path] = id(value)
            if id(value) not in seen:
                seen.add(id(value))
                for name, item in _inside(value, belongs):
                    visit(path + name, item)

    visit("", root)
    return found


def _inside(value: Any, belongs: Callable[[object], bool]) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", item) for i, item in enumerate(value[:100])]
    if isinstance(value, nn.Module) or belongs(value):
        return [(f".{name}", item) for name, item in getattr(value, "__dict__", {}).items()]
    return []
