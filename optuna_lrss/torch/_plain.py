"""Objects of plain Python classes: whether their state can be put back exactly, and how.

A helper that keeps an average of the weights, a data class of counters: their attributes are all
there is to them. What holds a file, a lock, a thread or an object of an extension module has state
that attributes do not show; putting back the attributes alone would tear it in two, so it is left
alone.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import functools
import pathlib
import re
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data import Dataset
from torch.utils.data import Sampler

from optuna_lrss.torch._random import Undo
from optuna_lrss.torch._random import saved_generator


#: What cannot change, or is put back by reference alone; checked first, as most values are one.
ATOMS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, type)
CONTAINERS = (dict, list, set, deque, tuple)
#: Left as they are wherever they stand: code, constants, and data with its readers.
_LEFT = (
    frozenset,
    range,
    slice,
    enum.Enum,
    np.generic,
    np.dtype,
    re.Pattern,
    pathlib.PurePath,
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    functools.partial,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    types.MappingProxyType,
    weakref.ref,
    torch.layout,
    torch.memory_format,
    Dataset,
    DataLoader,
    Sampler,
)
#: More objects or bytes than this are not taken for a small helper's: each trial copies them.
_MOST_OBJECTS = 1000
_MOST_BYTES = 1 << 28
_IMMUTABLE_TYPE = 1 << 8  # a class of an extension module; those written in Python never are


def is_plain(value: object) -> bool:
    """Whether an object and all that it holds is state that can be put back exactly."""
    if not _is_of_python(value):
        return False
    seen: dict[int, object] = {}
    todo, size = [value], 0
    while todo:
        item = todo.pop()
        if isinstance(item, (*ATOMS, *_LEFT, nn.Module, Optimizer)) or id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, (Tensor, np.ndarray)):
            size += item.nbytes
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, CONTAINERS):
            todo += item
        elif _is_of_python(item):
            todo += attributes_of(item).values()
        elif saved_generator(item) is None:
            return False
        if len(seen) + len(todo) > _MOST_OBJECTS or size > _MOST_BYTES:
            return False
    return True


def saved_attributes(value: object, save: Callable[[dict[Any, Any]], Undo]) -> list[Undo]:
    """How to put back which objects the attributes of a plain object refer to.

    Args:
        value: The object.
        save: How to put back a dict.
    """
    undo = [save(vars(value))] if hasattr(value, "__dict__") else []
    return undo + [_saved_slot(value, name) for name in slots_of(value)]


def saved_array(array: np.ndarray[Any, Any]) -> Undo:
    """How to put back the elements of an array."""
    saved = array.copy()

    def put_back() -> None:
        if array.flags.writeable:
            array[...] = saved

    return put_back


def attributes_of(value: object) -> dict[str, Any]:
    """Attributes that an object holds itself, in ``__dict__`` and in slots."""
    found = dict(vars(value)) if hasattr(value, "__dict__") else {}
    for name in slots_of(value):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return found


def slots_of(value: object) -> list[str]:
    """Names of the slots of an object, those of its base classes included."""
    names: list[str] = []
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        hidden = base.__name__.lstrip("_")
        for name in [slots] if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            names.append(f"_{hidden}{name}" if private else name)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _is_of_python(value: object) -> bool:
    classes = [c for c in type(value).__mro__ if c is not object]
    return (
        bool(classes)
        and not any(c.__flags__ & _IMMUTABLE_TYPE for c in classes)
        and (hasattr(value, "__dict__") or any("__slots__" in vars(c) for c in classes))
    )


def _saved_slot(value: object, name: str) -> Undo:
    missing = object()
    saved = getattr(value, name, missing)

    def put_back() -> None:
        if saved is not missing:
            object.__setattr__(value, name, saved)  # of a frozen data class too
        elif hasattr(value, name):
            object.__delattr__(value, name)

    return put_back
