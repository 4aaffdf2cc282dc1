"""Snapshots, batches and seeds on their own."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections import UserDict
from collections import deque
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader
from torch.utils.data import Dataset
from torch.utils.data import IterableDataset
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import identities
from torch_cases import make_pieces
from torch_cases import random_states
from torch_cases import warm_up

from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import draw_batches
from optuna_lrss.torch._batches import fresh_copy
from optuna_lrss.torch._batches import to_device
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._snapshot import Snapshot


CPU = torch.device("cpu")


# --- Snapshot ------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_snapshot_survives_being_restored(model: str, optimizer: str, on_host: bool) -> None:
    pieces = make_pieces(MODELS[model], OPTIMIZERS[optimizer])
    warm_up(pieces)
    before, memory = fingerprint(*pieces[:2]), identities(pieces)
    states = torch.get_rng_state()
    snapshot = Snapshot(pieces[:2], on_host=on_host)
    for _ in range(2):  # the second time finds aliases of the first
        warm_up(pieces)
        assert fingerprint(*pieces[:2])[:2] != before[:2]
        snapshot.restore()
        torch.set_rng_state(states)
        assert fingerprint(*pieces[:2]) == before
        assert identities(pieces) == memory


def test_snapshot_undoes_a_change_of_type_or_place() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adam"])
    warm_up(pieces)
    before, memory = fingerprint(*pieces[:2]), identities(pieces)
    snapshot = Snapshot(pieces[:2])
    pieces.model.double()  # gives parameters other storage, as .to(device) does
    pieces.optimizer.load_state_dict(pieces.optimizer.state_dict())
    pieces.model.requires_grad_(False)
    pieces.model.add_module("another", nn.Identity())
    del pieces.model[0]  # type: ignore[operator]
    snapshot.restore()
    assert fingerprint(*pieces[:2]) == before
    assert identities(pieces) == memory


def test_snapshot_restores_bits_and_not_values() -> None:
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-0.0, 2.0, 1.0]]))
    first = Snapshot([model])
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 2.0, 1.0]]))
    second = Snapshot([model], like=first)
    first.restore()
    assert torch.signbit(model.weight[0, 0])
    second.restore()
    assert not torch.signbit(model.weight[0, 0])


def test_snapshots_share_what_is_the_same() -> None:
    pieces = make_pieces(MODELS["mlp"], OPTIMIZERS["adam"])
    first = Snapshot(pieces[:2])
    with torch.no_grad():
        pieces.model.get_parameter("0.bias").add_(1.0)
    second = Snapshot(pieces[:2], like=first)
    shared = [
        first._tensors[key].content.data_ptr() == saved.content.data_ptr()
        for key, saved in second._tensors.items()
    ]
    assert shared.count(False) == 1
    assert len(shared) == 4


class Attributes(nn.Module):
    list: Any
    table: Any
    legacy: Any

    def __init__(self) -> None:
        super().__init__()
        self.list = [1, [2]]
        self.table = {"a": {3}}
        self.deque = deque([1, 2], maxlen=3)
        self.ordered = OrderedDict(a=1, b=2)
        self.pair = (torch.zeros(2), [1])
        self.numpy = np.random.default_rng(0)
        self.legacy = np.random.RandomState(0)
        self.python = random.Random(0)
        self.sparse = torch.eye(3).to_sparse()
        self.number = 1

    def look(self) -> Any:
        return repr(
            [
                self.list,
                self.table,
                self.deque,
                self.ordered,
                self.pair,
                self.numpy.bit_generator.state,
                self.legacy.get_state()[1].tolist(),
                self.python.getstate(),
                self.sparse.to_dense(),
                self.number,
                hasattr(self, "new"),
            ]
        )

    def change(self) -> None:
        self.list[1].append(5)
        self.table["a"].add(6)
        self.list.append(7)
        self.deque.append(3)
        self.deque.append(4)
        self.ordered.move_to_end("a")
        self.pair[0].add_(1)
        self.pair[1].clear()
        self.numpy.random()
        self.legacy.rand()
        self.python.random()
        self.sparse.mul_(2)
        self.number += 1
        self.new = 1


def test_plain_attributes_come_back_with_their_contents() -> None:
    module = Attributes()
    before = module.look()
    snapshot = Snapshot([module])
    for _ in range(2):
        module.change()
        assert module.look() != before
        snapshot.restore()
        assert module.look() == before


# --- Random states -------------------------------------------------------------------------------


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_random_states_are_preserved_and_seeds_decide() -> None:
    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with preserved_random_state():
        seed_everything(2)
        assert draw() != expected
    assert draw() == expected
    seed_everything(2**62 + 1)
    assert draw() != expected


def test_derived_seeds_do_not_collide() -> None:
    seeds = {derived_seed(a, b, c) for a in range(12) for b in range(12) for c in range(12)}
    assert len(seeds) == 12**3
    assert all(0 <= seed < 2**63 for seed in seeds)


# --- Batches -------------------------------------------------------------------------------------


class Noisy(Dataset[Tensor]):
    """Draws from every random state there is, its own among them, and counts."""

    def __init__(self) -> None:
        self.rng, self.torch_rng, self.count = np.random.default_rng(0), torch.Generator(), 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Tensor:
        self.count += 1
        noise = torch.rand((), generator=self.torch_rng)
        return torch.tensor([index, *draw(), self.rng.random(), self.count]) + 0 * noise


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_drawing_is_reproducible_and_without_trace(shuffle: bool, own_generator: bool) -> None:
    data = Noisy()
    generator = torch.Generator().manual_seed(1) if own_generator else None
    loader = DataLoader(data, batch_size=4, shuffle=shuffle, generator=generator)
    before = random_states()
    first = draw_batches(loader, 5, name="train_loader", seed=3)
    second = draw_batches(loader, 5, name="train_loader", seed=3)
    assert len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert data.count == 0
    after = random_states()
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    assert before == after


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_repeats_get_other_batches(shuffle: bool, own_generator: bool) -> None:
    data = [torch.tensor(float(i)) for i in range(12)]
    generator = torch.Generator().manual_seed(1) if own_generator else None
    loader: DataLoader[Any] = DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=2,
        shuffle=shuffle,
        generator=generator,
    )
    seen = []
    for repeat in range(3):
        batches = draw_batches(loader, 2, name="x", seed=derived_seed(repeat), repeat=repeat)
        seen.append(torch.cat(batches).tolist())
    assert len({tuple(s) for s in seen}) == 3
    if not shuffle:
        assert [x for s in seen for x in s] == list(range(12))


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(torch.arange(6.0))


def test_streams_are_read_in_windows_and_start_over() -> None:
    loader = DataLoader(Stream(), batch_size=2)
    windows = [
        torch.cat(draw_batches(loader, 2, name="x", seed=0, repeat=k)).tolist() for k in range(3)
    ]
    assert windows == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
    assert len(draw_batches(loader, None, name="x", seed=0)) == 3


def test_workers_do_not_matter() -> None:
    data = [torch.tensor(float(i)) for i in range(12)]
    drawn = [
        draw_batches(
            DataLoader(data, batch_size=2, shuffle=True, num_workers=n),  # type: ignore[arg-type]
            4,
            name="x",
            seed=5,
        )
        for n in (0, 1)
    ]
    assert torch.equal(torch.cat(drawn[0]), torch.cat(drawn[1]))


class Point(NamedTuple):
    x: Tensor
    name: str


@dataclass
class Graph:
    nodes: Tensor
    size: int


class Encoding(UserDict[str, Any]):
    def to(self, device: torch.device) -> Encoding:
        raise AssertionError("would change the caller's batch")


def structures() -> list[Any]:
    t = torch.arange(6.0).view(3, 2)
    return [
        t,
        [t, (t, "text")],
        {"a": t, "b": {"c": [t]}},
        OrderedDict(z=t, a=1),
        Point(t, "p"),
        Graph(t, 3),
        Encoding(ids=t),
        np.arange(6.0).reshape(3, 2),
        (None, 1.5, t),
    ]


@pytest.mark.parametrize("index", range(len(structures())))
def test_copies_have_the_structure_and_share_nothing(index: int) -> None:
    batch, twin = structures()[index], structures()[index]
    copied = fresh_copy(to_device(batch, CPU))
    assert type(copied) is type(batch)
    assert repr(copied) == repr(batch)
    assert batch_size(batch) == 3
    wreck(copied)
    assert repr(batch) == repr(twin)


def wreck(value: Any) -> None:
    """Changes whatever can be changed in place."""
    if isinstance(value, Tensor):
        value.fill_(9)
    elif isinstance(value, np.ndarray):
        value[:] = 9
    elif isinstance(value, (list, tuple)):
        for item in value:
            wreck(item)
        if isinstance(value, list):
            value.clear()
    elif isinstance(value, (dict, UserDict)):
        for item in value.values():
            wreck(item)
        value.clear()
    elif isinstance(value, Graph):
        wreck(value.nodes)
        value.size = 9


def test_objects_with_a_to_of_their_own_are_left_whole() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    moved = fresh_copy(to_device((packed, torch.zeros(2)), CPU))
    assert isinstance(moved[0], PackedSequence)
    assert batch_size(moved) == 2
    assert batch_size("text") == 1
