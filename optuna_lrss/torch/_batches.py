"""Batches: drawn once, kept on the device, handed out as fresh copies."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import MutableMapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader
from torch.utils.data import Dataset
from torch.utils.data import IterableDataset
from torch.utils.data import SequentialSampler

from optuna_lrss.torch._random import Undo
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import saved_generator
from optuna_lrss.torch._random import seed_everything


def draw_batches(
    loader: Iterable[Any],
    count: int | None,
    *,
    name: str,
    seed: int,
    repeat: int = 0,
    window: int | None = None,
    start_over: bool = True,
) -> list[Any]:
    """The first batches of a loader, without a trace in the loader or any random state.

    Args:
        loader: See :func:`read_batches`, as for all that follow.
        count: The same.
        name: The same.
        seed: The same.
        repeat: The same.
        window: The same.
        start_over: The same.
    """
    return list(
        read_batches(
            loader,
            count,
            name=name,
            seed=seed,
            repeat=repeat,
            window=window,
            start_over=start_over,
        )
    )


def read_batches(
    loader: Iterable[Any],
    count: int | None,
    *,
    name: str,
    seed: int,
    repeat: int = 0,
    window: int | None = None,
    start_over: bool = True,
) -> Generator[Any, None, None]:
    """The first batches of a loader one by one, without a trace in it or any random state.

    The traces are there as long as it is read: read it to its end, or close it.

    Repeat 0 reads the loader from its start, a generator of its own as it stands; repeat k > 0
    gets another shuffle, or begins with the k-th ``window`` where the order is fixed.

    Args:
        loader: A DataLoader or any iterable that can be iterated more than once.
        count: How many batches; ``None`` for one whole pass.
        name: The argument's name, for errors.
        seed: Seed of all global random states while the loader works.
        repeat: Which repeat the batches are for.
        window: Batches that one repeat lies after another; ``None`` for ``count``.
        start_over: Whether a loader that is exhausted early is started again, as a training loop
            would; else there are fewer batches.

    Raises:
        ValueError: If the loader cannot be iterated, or only once, or holds no batch, or is a data
            set of single samples.
    """
    _refuse_unreadable(loader, name)
    with preserved_random_state(), _preserved_loader(loader) as generators:
        seed_everything(seed)
        if repeat > 0:
            for generator in generators:
                generator.manual_seed(seed)
        skip = 0 if count is None or _shuffles(loader) else repeat * (window or count)
        stop = None if count is None else skip + count
        once_or_more = _cycle(loader) if start_over and count is not None else iter(loader)
        empty = True
        for batch in islice(once_or_more, skip, stop):
            empty = False
            yield fresh_copy(batch)  # a loader may refill one buffer for every batch
    if empty:
        raise ValueError(f"{name} holds no batch: at least one is needed.")


def _refuse_unreadable(loader: Any, name: str) -> None:
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise ValueError(
            f"{name} is a {type(loader).__name__}, which cannot be iterated: give a DataLoader or "
            "a list of batches."
        )
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise ValueError(
            f"{name} is a data set, which gives single samples: wrap it in a DataLoader with a "
            "batch_size."
        )
    if isinstance(loader, Iterator):
        raise ValueError(
            f"{name} is an iterator, which reading would use up: give the loader itself, or "
            "list(...) of it."
        )


def _cycle(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            return


def _shuffles(loader: Iterable[Any]) -> bool:
    """Whether another seed alone gives other batches."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    return not isinstance(sampler, SequentialSampler)


@contextmanager
def _preserved_loader(loader: Iterable[Any]) -> Iterator[list[torch.Generator]]:
    """Puts back attributes and random generators of a loader and its parts; yields the latter."""
    undo: list[Undo] = []
    generators: list[torch.Generator] = []
    for part in _parts(loader):
        attributes = vars(part)
        undo.append(_saved_attributes(attributes))
        if isinstance(part, DataLoader) and part.persistent_workers:
            part._iterator = None  # else the caller's own pass would start over
        for value in attributes.values():
            if (put_back := saved_generator(value)) is not None:
                undo.append(put_back)
            if isinstance(value, torch.Generator):
                generators.append(value)
    try:
        yield generators
    finally:
        for put_back in undo:
            put_back()


def _parts(loader: object) -> list[Any]:
    """The loader, its samplers and its data sets, wrapped ones too."""
    found: list[Any] = []
    todo = [loader]
    while todo:
        part = todo.pop()
        if not hasattr(part, "__dict__") or any(part is other for other in found):
            continue
        found.append(part)
        inside = vars(part)
        todo += [inside.get(name) for name in ("sampler", "batch_sampler", "dataset")]
        several = inside.get("datasets")
        todo += several if isinstance(several, list) else []
    return found


def _saved_attributes(attributes: dict[str, Any]) -> Undo:
    saved = dict(attributes)

    def put_back() -> None:
        attributes.clear()
        attributes.update(saved)

    return put_back


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch of any structure with its tensors on a device."""

    def move(leaf: Any) -> Any:
        return leaf.to(device) if hasattr(leaf, "to") else leaf

    return _mapped(batch, move)


def fresh_copy(batch: Any) -> Any:
    """A copy that a loss function may change: what it pops or overwrites stays in this trial."""
    return _mapped(batch, _duplicate)


def _duplicate(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    if hasattr(leaf, "clone"):
        return leaf.clone()
    if isinstance(leaf, PackedSequence):
        return leaf._replace(data=leaf.data.clone())
    if not hasattr(leaf, "__dict__") or callable(leaf):
        return leaf
    # A batch of a class of one's own: its tensors are copied, the objects that it knows are not.
    twin = copy.copy(leaf)
    for name, value in vars(leaf).items():
        own = isinstance(value, (Tensor, np.ndarray, list, dict, tuple))
        vars(twin)[name] = fresh_copy(value) if own else value
    return twin


def batch_size(batch: Any) -> int:
    """Number of samples.

    The length that most of the batch's tensors and arrays have, of two equally frequent ones the
    first; an object that holds several, such as a packed sequence or a graph, has its own
    ``batch_size``, ``batch_sizes``, ``num_graphs`` or length. 1 if nothing has a length.
    """
    lengths = map(_length, _leaves(batch))
    sizes = [length for length in lengths if length is not None]
    return max(sizes, key=sizes.count) if sizes else 1


def halves(batch: Any) -> tuple[Any, Any] | None:
    """A batch as two of half its size; ``None`` where it cannot be divided."""
    middle = batch_size(batch) // 2
    first, second = rows_of(batch, slice(middle)), rows_of(batch, slice(middle, None))
    return None if first is None or second is None or middle == 0 else (first, second)


def rows_of(batch: Any, rows: slice | list[int]) -> Any | None:
    """Some samples of a batch; ``None`` where it cannot be divided."""
    size = batch_size(batch)
    whole = True

    def cut(leaf: Any) -> Any:
        nonlocal whole
        known = isinstance(leaf, (Tensor, np.ndarray))
        whole &= known or _length(leaf) is None
        return leaf[rows] if known and _length(leaf) == size else leaf

    part = _mapped(batch, cut)
    return part if whole else None


def form_of(batch: Any) -> tuple[Any, ...] | None:
    """What batches have in common whose samples can be joined to one.

    Shape and type of a sample's tensors and arrays, and all else that a batch holds; ``None``
    where it holds something that may belong to the batch as a whole.
    """
    size = batch_size(batch)
    found = [_form_of(leaf, size) for leaf in _leaves(batch)]
    form = tuple(part for part in found if part is not None)
    in_rows = any(part[0] == _ROWS for part in form)
    return form if in_rows and len(form) == len(found) else None


class Position(int):
    """Where a batch stands in its loader: batches that are joined have the first one's."""


_ROWS = "rows"


def _form_of(leaf: Any, size: int) -> tuple[Any, ...] | None:
    if isinstance(leaf, Tensor) and leaf.layout != torch.strided:
        return None
    if isinstance(leaf, (Tensor, np.ndarray)):
        in_rows = leaf.ndim > 0 and len(leaf) == size
        return (_ROWS, type(leaf), leaf.dtype, tuple(leaf.shape[1:])) if in_rows else None
    if isinstance(leaf, Position):
        return ("position",)
    plain = leaf is None or isinstance(leaf, (bool, int, float, str, bytes))
    return ("value", leaf) if plain else None


def joined(batches: list[Any]) -> Any:
    """Batches of one form (:func:`form_of`) as a single one, their samples in a row."""
    columns = zip(*map(_leaves, batches), strict=True)
    together = iter([_in_a_row(leaves) for leaves in columns])
    return _mapped(batches[0], lambda _: next(together))


def _leaves(batch: Any) -> list[Any]:
    found: list[Any] = []

    def look(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    _mapped(batch, look)
    return found


def _in_a_row(leaves: tuple[Any, ...]) -> Any:
    if isinstance(leaves[0], Tensor):
        return torch.cat(leaves)
    return np.concatenate(leaves) if isinstance(leaves[0], np.ndarray) else leaves[0]


def _length(leaf: Any) -> int | None:
    if isinstance(leaf, (Tensor, np.ndarray)):
        return len(leaf) if leaf.ndim > 0 else None
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    for name in ("batch_size", "num_graphs"):
        size = getattr(leaf, name, None)
        size = size[0] if isinstance(size, (tuple, list)) and size else size  # as of a TensorDict
        if isinstance(size, int):
            return size
    if hasattr(leaf, "__dict__") and not isinstance(leaf, type):
        inside = [v for v in vars(leaf).values() if isinstance(v, (Tensor, np.ndarray))]
        return batch_size(inside) if any(v.ndim for v in inside) else None
    return None


def _mapped(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with every leaf changed.

    Mappings, tuples, lists and data classes are structure; a tensor, and any object that has a
    ``to`` of its own (a packed sequence, a graph), is a leaf.
    """
    if isinstance(batch, Tensor):  # nearly all leaves, and the checks below take longer than
        return change(batch)  # a copy of a small one
    if type(batch) in (list, tuple):
        return type(batch)([_mapped(item, change) for item in batch])
    if isinstance(batch, MutableMapping):
        same_kind = copy.copy(batch)
        for key, item in batch.items():
            same_kind[key] = _mapped(item, change)
        return same_kind
    if isinstance(batch, Mapping):
        return {key: _mapped(item, change) for key, item in batch.items()}
    if hasattr(batch, "to"):
        return change(batch)
    if isinstance(batch, tuple):
        items = [_mapped(item, change) for item in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else tuple(items)
    if isinstance(batch, list):
        return [_mapped(item, change) for item in batch]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(
            batch, **{name: _mapped(getattr(batch, name), change) for name in names}
        )
    return change(batch)
