"""Finds state outside the model and the optimizer that a short trial has changed for good.

A :class:`~optuna_lrss.torch._snapshot.Snapshot` puts back what it can reach and change exactly.
What lies elsewhere, in a hook, a closure, a global helper, shows in two ways: the same two steps
before and after a trial end elsewhere, or numbers that hooks and loss function refer to differ.
"""

from __future__ import annotations

import functools
import inspect
import random
import warnings
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from types import FunctionType
from types import MethodType
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset

from optuna_lrss.torch._plain import attributes_of


#: Most objects that are looked at, and most elements of one tensor or array (evenly spread).
_MOST_OBJECTS = 20_000
_MOST_ELEMENTS = 1_000_000
#: Containers with more items are looked at by their length alone.
_MOST_ITEMS = 1000
_LIBRARIES = ("torch", "numpy", "optuna_lrss")  # their functions keep nothing of a training
#: Two updates that differ by less than this share are the same: accelerators add in any order.
_SAME_UPDATE = 1e-3

#: A place's name to whether it holds numbers of a computation, and a digest of what it holds.
Look = dict[str, tuple[bool, object]]


def look_at(roots: Mapping[str, object], known: Collection[int] = ()) -> Look:
    """What can be reached from some objects, by name: attributes, items, closures, globals.

    Args:
        roots: The objects, by name.
        known: Ids of tensors that are put back for sure and need no look.
    """
    seen: dict[int, object] = {}
    found: Look = {}
    todo = list(roots.items())[::-1]
    while todo and len(seen) + len(found) < _MOST_OBJECTS:
        name, value = todo.pop()
        if id(value) in known:
            continue
        digest = _digest(value)
        if digest is not None:
            found[name] = digest
        if id(value) in seen or isinstance(value, (Tensor, np.ndarray)):
            continue
        inside = list(_inside(name, value))
        if inside:
            seen[id(value)] = value
            todo += reversed(inside)
    return found


def warn_of_leaks(before: Look, after: Look, *, other_updates: bool) -> None:
    """Warns, once, of what a trial has moved and no reset puts back.

    Args:
        before: What was there before the trial.
        after: What is there after it.
        other_updates: Whether the same steps after the trial change the weights otherwise.
    """
    moved = {name: before[name][0] for name in before if after.get(name) != before[name]}
    names = list(moved) if other_updates else [name for name, numeric in moved.items() if numeric]
    if not names and not other_updates:
        return
    what = ", ".join(names[:5]) if names else "something that could not be found"
    effect = (
        "and the same steps now update the weights otherwise, so that losses of this search "
        "cannot be compared"
        if other_updates
        else "and stays changed after the search"
    )
    warnings.warn(
        f"A short trial changed {what}, which is not put back, {effect}: pass the object that "
        "holds it in extra_state=[...] (a module, tensor, array, generator, container, or an "
        "object with state_dict and load_state_dict).",
        stacklevel=4,
    )


def same_updates(start: list[float], first: list[float], again: list[float]) -> bool:
    """Whether two runs of the same steps moved every parameter by the same."""
    return all(
        a == b or a != a or b != b or abs(a - b) <= _SAME_UPDATE * abs(a - s)
        for s, a, b in zip(start, first, again, strict=True)
    )


def sizes_of(parameters: list[nn.Parameter]) -> list[float]:
    """Sum of squares of each parameter, of shape ``(len(parameters),)``."""
    return [float(p.detach().cpu().double().square().sum().item()) for p in parameters]


def _digest(value: object) -> tuple[bool, object] | None:
    if isinstance(value, Tensor):
        return True, None if value.is_meta else _digest_of_numbers(value.detach())
    if isinstance(value, np.ndarray):
        return True, _digest_of_array(value)
    if isinstance(value, torch.Generator):
        return True, crc32(value.get_state().numpy().tobytes())
    if isinstance(value, np.random.Generator):
        return True, str(value.bit_generator.state)
    if isinstance(value, (np.random.RandomState, random.Random)):
        state = value.get_state() if isinstance(value, np.random.RandomState) else value.getstate()
        return True, crc32(repr(state).encode())
    if isinstance(value, (bool, int, float, complex, str)):
        return False, repr(value)
    if isinstance(value, (list, tuple, dict, set)):
        return False, len(value)
    return None


def _digest_of_numbers(tensor: Tensor) -> object:
    if tensor.layout != torch.strided or tensor.is_quantized:
        return tensor.shape
    flat = tensor.reshape(-1)[:: max(1, tensor.numel() // _MOST_ELEMENTS)]
    return crc32(flat.cpu().contiguous().view(torch.uint8).numpy().tobytes()) if len(flat) else 0


def _digest_of_array(array: np.ndarray[Any, Any]) -> object:
    if array.dtype.hasobject:
        return array.shape
    flat = array.reshape(-1)[:: max(1, array.size // _MOST_ELEMENTS)]
    return crc32(np.ascontiguousarray(flat).tobytes())


def _inside(name: str, value: object) -> Iterator[tuple[str, object]]:
    """What an object refers to, with names that a reader finds it by."""
    if isinstance(value, (dict, list, tuple)):
        return _items(name, value)
    if isinstance(value, FunctionType):
        return _variables(value)
    if isinstance(value, MethodType):
        return iter([(f"self of {name}", value.__self__), (name, value.__func__)])
    if isinstance(value, functools.partial):
        return _items(name, (value.func, value.args, value.keywords))
    if isinstance(value, (type, ModuleType, Dataset, DataLoader)):
        return iter(())
    return ((f"{name}.{attribute}", item) for attribute, item in attributes_of(value).items())


def _items(
    name: str, value: dict[Any, Any] | list[Any] | tuple[Any, ...]
) -> Iterator[tuple[str, object]]:
    if len(value) > _MOST_ITEMS:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield f"{name}[{key!r}]" if isinstance(key, (str, int)) else f"{name}[...]", item


def _variables(function: FunctionType) -> Iterator[tuple[str, object]]:
    if function.__module__.split(".")[0] in _LIBRARIES:
        return
    try:
        used = inspect.getclosurevars(function)
    except ValueError:  # a variable of the closure is not set yet
        return
    for name, item in (*used.nonlocals.items(), *used.globals.items()):
        if not isinstance(item, (type, ModuleType)):
            yield f"{name} (of {function.__name__})", item
