"""Puts a framework's objects back to what they were before a training was started on them.

A trainer is a tree of objects that a run rebinds, appends to and counts in. What matters is which
objects each attribute names, and what lists, dicts and sets among the attributes hold: that is
recorded and put back. Contents of tensors are not copied (:class:`StepObjective` resets those),
but a parameter that was moved or cast gets its memory back, and with it the old contents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optuna_lrss.torch._random import Undo
from optuna_lrss.torch._random import preserved_random_state


@contextmanager
def preserved(roots: Iterable[object], belongs: Callable[[object], bool]) -> Iterator[None]:
    """All random states, the roots and what belongs to them come out as they went in.

    Args:
        roots: The trainer, the model and whatever else a run touches.
        belongs: Whether an object that an attribute refers to, or a list or dict in an attribute
            holds, is a part whose attributes are to be put back too. Modules, optimizers and
            their schedulers always are.
    """
    undo: list[Undo] = []
    for part in _parts(roots, belongs):
        undo += _saved_attributes(part)
        if isinstance(part, nn.Module):
            undo += [_saved_tensor(t) for t in _own_tensors(part)]
        elif isinstance(part, Optimizer):
            undo += [u for group in getattr(part, "param_groups", ()) for u in _saved_group(group)]
    with preserved_random_state():
        try:
            yield
        finally:
            for put_back in undo:
                put_back()


#: Parts of a training whichever framework runs it.
_ALWAYS = (nn.Module, Optimizer, LRScheduler)


def _parts(roots: Iterable[object], belongs: Callable[[object], bool]) -> list[Any]:
    found: dict[int, Any] = {}
    todo = deque(roots)
    while todo:
        part = todo.popleft()
        if id(part) in found or isinstance(part, type) or not hasattr(part, "__dict__"):
            continue
        found[id(part)] = part
        for value in list(vars(part).values()):
            near = [value, *_items(value)]
            todo += [v for v in near if isinstance(v, _ALWAYS) or belongs(v)]
    return list(found.values())


def _items(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple, set, deque)) else ()


def _saved_attributes(part: Any) -> list[Undo]:
    attributes = vars(part)
    undo = [_saved_mapping(attributes)]
    for value in attributes.values():
        if isinstance(value, dict):
            undo.append(_saved_mapping(value))
        elif isinstance(value, (list, set, deque)):
            undo.append(_saved_collection(value))
    return undo


def _saved_mapping(mapping: dict[Any, Any]) -> Undo:
    saved = dict(mapping)

    def put_back() -> None:
        mapping.clear()
        mapping.update(saved)

    return put_back


def _saved_collection(collection: Any) -> Undo:
    saved = list(collection)

    def put_back() -> None:
        collection.clear()
        (collection.update if isinstance(collection, set) else collection.extend)(saved)

    return put_back


def _saved_group(group: dict[str, Any]) -> list[Undo]:
    # A learning rate in a tensor, which a compiled step reads, is overwritten in place.
    tensors = [value for value in group.values() if isinstance(value, Tensor)]
    return [_saved_mapping(group), *(partial(_write, t, t.clone()) for t in tensors)]


def _write(tensor: Tensor, content: Tensor) -> None:
    with torch.no_grad():
        tensor.copy_(content)


def _own_tensors(module: nn.Module) -> list[Tensor]:
    tensors = (*module._parameters.values(), *module._buffers.values())
    return [t for t in tensors if t is not None and not is_lazy(t)]


def _saved_tensor(tensor: Tensor) -> Undo:
    """Which memory it has, whether it takes gradients and the gradient that it had."""
    memory, requires_grad = tensor.detach(), tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None
    put_back_grad = None if grad is None else _saved_tensor(grad)

    def put_back() -> None:
        if tensor.data_ptr() != memory.data_ptr():
            tensor.grad = None  # of another type or device than the memory
            tensor.data = memory
        if tensor.is_leaf:
            tensor.requires_grad_(requires_grad)
            if put_back_grad is not None:
                put_back_grad()
            tensor.grad = grad

    return put_back
