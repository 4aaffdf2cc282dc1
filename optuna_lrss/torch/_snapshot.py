"""What modules and optimizers hold, recorded so that it can be put back exactly.

``state_dict`` would not do: it leaves out non-persistent buffers, plain Python attributes,
train/eval modes, ``requires_grad`` flags and gradients; it returns references; and
``load_state_dict`` keeps the tensors it is given, so that the second reset would restore what the
first trial made of them. A :class:`Snapshot` walks the objects themselves instead and puts back
both what a name refers to and what is in it, in place.
"""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict
from collections import deque
from collections.abc import Collection
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from optuna_lrss.torch._plain import ATOMS
from optuna_lrss.torch._plain import CONTAINERS
from optuna_lrss.torch._plain import attributes_of
from optuna_lrss.torch._plain import is_plain
from optuna_lrss.torch._plain import saved_array
from optuna_lrss.torch._plain import saved_attributes
from optuna_lrss.torch._random import Undo
from optuna_lrss.torch._random import saved_generator


class _Saved(NamedTuple):
    place: Tensor  # shares the storage of the recorded tensor
    content: Tensor


class Snapshot:
    """The state of some objects, to be put back any number of times.

    Modules and optimizers are walked with all their attributes: parameters and buffers, nested
    modules, modes, hooks, optimizer state, param groups. Among the attributes, tensors, arrays,
    random generators, the built-in containers and small objects of plain Python classes
    (:mod:`._plain`) are put back with their contents; any other object is put back by reference,
    its inside is its own affair. Objects that only offer ``state_dict`` and ``load_state_dict`` go
    through deep copies of these, on the way in and on the way out.

    Args:
        objects: Modules, optimizers, objects with ``state_dict`` and ``load_state_dict``, tensors,
            arrays, generators, containers, plain objects.
        on_host: Keep the contents in host memory (pinned for CUDA tensors) instead of beside the
            originals.
        like: An earlier snapshot; contents that are the same bit for bit are shared with it
            instead of copied.
        leave: Tensors whose contents will not change and need no copy.

    Raises:
        ValueError: If an object is none of these.
    """

    def __init__(
        self,
        objects: Iterable[object],
        *,
        on_host: bool = False,
        like: Snapshot | None = None,
        leave: Iterable[Tensor] = (),
    ) -> None:
        self._leave = {id(tensor) for tensor in leave}
        self._on_host = on_host
        self._known = {} if like is None else like._tensors
        self._tensors: dict[int, _Saved] = {}
        self._undo: list[Undo] = []
        self._seen: dict[int, object] = {}  # holds the objects, so that no id is used twice
        for value in objects:
            if hasattr(value, "load_state_dict") and not isinstance(value, _WALKED):
                self._undo.append(_saved_state_dict(value))
            elif isinstance(value, _WALKED) or saved_generator(value) or is_plain(value):
                self._record(value)
            else:
                raise ValueError(
                    f"extra_state holds a {type(value).__name__}, which cannot be reset: give "
                    "modules, tensors, arrays, generators, containers, plain objects, or objects "
                    "with state_dict() and load_state_dict()."
                )
        self._known = {}

    def __reduce__(self) -> NoReturn:
        # Copies of the objects would not share memory with copies of the snapshot.
        raise TypeError(
            "a StepObjective refers to its model in this process's memory and cannot be pickled: "
            "build it in each process, or use StepObjective.from_factory."
        )

    @property
    def tensors(self) -> Collection[int]:
        """Ids of the tensors that are put back with their contents."""
        return self._tensors.keys()

    def restore(self) -> None:
        """Puts everything back; the snapshot stays good for the next time."""
        for put_back in self._undo:
            put_back()
        saved = [s for s in self._tensors.values() if s.place.layout == torch.strided]
        with torch.no_grad():
            if saved:
                torch._foreach_copy_([s.place for s in saved], [s.content for s in saved])
            for place, content in self._tensors.values():
                if place.layout != torch.strided:
                    place.copy_(content)

    def _record(self, value: object) -> None:
        if isinstance(value, ATOMS) or id(value) in self._seen:
            return
        if isinstance(value, Tensor):
            self._seen[id(value)] = value
            self._record_tensor(value)
        elif isinstance(value, (nn.Module, Optimizer)):
            self._seen[id(value)] = value
            self._record_object(value)
        elif isinstance(value, CONTAINERS):
            self._seen[id(value)] = value
            self._record_container(value)
        elif (put_back := saved_generator(value)) is not None:
            self._seen[id(value)] = value
            self._undo.append(put_back)
        elif isinstance(value, np.ndarray):
            self._seen[id(value)] = value
            self._undo.append(saved_array(value))
        elif is_plain(value):
            self._seen[id(value)] = value
            self._undo += saved_attributes(value, _saved_dict)
            for item in attributes_of(value).values():
                self._record(item)

    def _record_object(self, value: nn.Module | Optimizer) -> None:
        self._record(vars(value))
        if isinstance(value, torch.jit.ScriptModule):  # keeps its state outside its attributes
            mode = value.training
            self._undo.append(lambda: value.train(mode))
            for tensor in (*value.parameters(), *value.buffers()):
                self._record(tensor)

    def _record_container(self, value: Any) -> None:
        if isinstance(value, dict):
            self._undo.append(_saved_dict(value))
            inside = list(value.values())
        else:
            inside = list(value)
            if not isinstance(value, tuple):
                self._undo.append(_saved_collection(value, inside))
        if set(map(type, inside)) <= _PLAIN:  # a vocabulary of a million words is one look
            return
        for item in inside:
            self._record(item)

    def _record_tensor(self, tensor: Tensor) -> None:
        if is_lazy(tensor):
            return
        if tensor.is_leaf:
            self._undo.append(_saved_leaf(tensor))
        if tensor.is_meta or id(tensor) in self._leave:
            return
        # A detached twin shares the storage of a strided tensor; that of a sparse one does not
        # follow what is written to it.
        strided = tensor.layout == torch.strided
        place = _without_repeats(tensor.detach()) if strided else tensor
        known = self._known.get(id(tensor))
        if known is not None and _same_bits(place, known.content):
            content = known.content
        else:
            content = _copy_of(place, on_host=self._on_host)
        self._tensors[id(tensor)] = _Saved(place, content)


_WALKED = (nn.Module, Optimizer, Tensor, np.ndarray, *CONTAINERS)
_PLAIN = frozenset(ATOMS)


def _saved_state_dict(value: Any) -> Undo:
    # state_dict returns references and load_state_dict keeps what it is given: copy both ways.
    saved = copy.deepcopy(value.state_dict())
    return lambda: value.load_state_dict(copy.deepcopy(saved))


def _saved_dict(value: dict[Any, Any]) -> Undo:
    # By the built-in's own methods: a Counter's update adds.
    kind = OrderedDict if isinstance(value, OrderedDict) else dict
    if not value:  # as most of a module's are, for hooks that nobody has set
        return lambda: kind.clear(value) if value else None
    keys, items = list(value), list(value.values())

    def put_back() -> None:
        # Mostly nothing was rebound; a dict that is left alone keeps torch.compile's guards fast.
        same = (
            len(value) == len(keys)
            and all(map(operator.is_, value.keys(), keys))
            and all(map(operator.is_, value.values(), items))
        )
        if not same:
            kind.clear(value)
            for key, item in zip(keys, items, strict=True):
                kind.__setitem__(value, key, item)

    return put_back


def _saved_collection(value: Any, saved: list[Any]) -> Undo:
    kind: Any = next(kind for kind in (list, set, deque) if isinstance(value, kind))
    fill = kind.update if kind is set else kind.extend

    def put_back() -> None:
        kind.clear(value)
        fill(value, saved)

    return put_back


def _saved_leaf(tensor: Tensor) -> Undo:
    """Which storage it has, whether it takes gradients, and the gradient object it has."""
    storage, requires_grad = tensor.detach(), tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None
    put_back_grad = None if grad is None else _saved_leaf(grad)

    def put_back() -> None:
        if put_back_grad is not None:  # its contents stay: a trial has gradients of its own
            put_back_grad()
        if not _same_place(tensor, storage):  # module.to(), or an assignment to .data
            tensor.grad = None
            tensor.data = storage
        if tensor.requires_grad is not requires_grad:
            tensor.requires_grad_(requires_grad)
        if tensor.is_leaf and tensor.grad is not grad:
            tensor.grad = grad

    return put_back


def _same_place(tensor: Tensor, other: Tensor) -> bool:
    if tensor.layout != torch.strided:
        return True
    return (
        tensor.data_ptr() == other.data_ptr()
        and tensor.device == other.device
        and tensor.dtype == other.dtype
        and tensor.shape == other.shape
        and tensor.stride() == other.stride()
    )


def _without_repeats(tensor: Tensor) -> Tensor:
    """A view that reaches each element of an expanded tensor once, so that it can be written."""
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _copy_of(tensor: Tensor, *, on_host: bool) -> Tensor:
    if not on_host or tensor.device.type == "cpu":
        return tensor.clone()
    host = tensor.cpu()
    return host.pin_memory() if tensor.is_cuda else host


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _same_bits(tensor: Tensor, other: Tensor) -> bool:
    """Bit for bit: a NaN is the same as itself, -0.0 is not 0.0."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device != other.device:
        return False
    integer = _INTEGERS.get(tensor.element_size())
    if integer is None or tensor.dtype != other.dtype or tensor.shape != other.shape:
        return False
    return torch.equal(tensor.view(integer), other.view(integer))
