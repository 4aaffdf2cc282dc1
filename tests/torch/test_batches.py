"""Batches that are not what they seem: refilled buffers, odd containers, sums, running epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader
from torch_cases import Batch
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import trial_at

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import fresh_copy
from optuna_lrss.torch._batches import halves
from optuna_lrss.torch._snapshot import Snapshot


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


class Refilling:
    """Yields one buffer again and again, refilled, as loaders over memory maps do."""

    def __init__(self, batches: list[Batch], wrap: Any) -> None:
        self.batches, self.wrap = batches, wrap

    def __iter__(self) -> Iterator[Any]:
        x, y = (t.clone() for t in self.batches[0])
        for new_x, new_y in self.batches:
            x.copy_(new_x)
            y.copy_(new_y)
            yield self.wrap(x, y)


@dataclass
class Sample:
    x: Tensor
    y: Tensor


class Own:
    """A batch without any method, which knows the data it came from."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.source = x, y, make_batches


@pytest.mark.parametrize("wrap", [lambda x, y: {"x": x, "y": y}, Sample, Own])
def test_a_loader_that_refills_its_buffer_gives_the_batches_it_gave(wrap: Any) -> None:
    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        batch = batch if isinstance(batch, dict) else vars(batch)
        return F.cross_entropy(model(batch["x"]), batch["y"])

    train, validation = make_batches(4, seed=1), make_batches(3, seed=2)
    fixed = make_pieces()._replace(train_loader=train, validation_loader=validation)
    refilled = make_pieces()._replace(
        loss_fn=loss_fn,
        train_loader=Refilling(train, wrap),
        validation_loader=Refilling(validation, wrap),
    )
    assert objective_for(refilled)(trial_at(0.1)) == objective_for(fixed)(trial_at(0.1))


def test_arrays_that_are_refilled_are_copied() -> None:
    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(torch.from_numpy(batch[0])), torch.from_numpy(batch[1]))

    train = make_batches(4, seed=1)
    numpy = [(x.numpy(), y.numpy()) for x, y in train]
    fixed = make_pieces()._replace(loss_fn=loss_fn, train_loader=numpy, validation_loader=numpy)
    loader = Refilling(train, lambda x, y: (x.numpy(), y.numpy()))
    refilled = fixed._replace(train_loader=loader)
    options = {"loss_form": "model"}
    expected = objective_for(fixed, **options)(trial_at(0.1))
    assert objective_for(refilled, **options)(trial_at(0.1)) == expected


def test_packed_sequences_are_copied() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    twin = fresh_copy(packed)
    twin.data.zero_()
    assert packed.data.sum() == 5
    assert batch_size(packed) == 2


# --- How many samples ----------------------------------------------------------------------------


class Graphs:
    def __init__(self, n: int) -> None:
        self.nodes, self.num_graphs = torch.zeros(7 * n, 2), n

    def to(self, _: Any) -> Graphs:
        return self

    def clone(self) -> Graphs:
        return self


@pytest.mark.parametrize(
    "batch",
    [
        Sample(torch.zeros(5, 2), torch.zeros(5)),
        Own(torch.zeros(5, 2), torch.zeros(5)),
        [torch.zeros(3), torch.zeros(5, 2), torch.zeros(5)],  # class weights come first
        {"weights": torch.zeros(3), "x": np.zeros((5, 2)), "y": torch.zeros(5), "step": 7},
        (Graphs(5), torch.zeros(5)),
        Graphs(5),
        pack_sequence([torch.ones(3), *[torch.ones(2)] * 4]),
    ],
    ids=lambda b: type(b).__name__,
)
def test_the_number_of_samples_is_found(batch: Any) -> None:
    assert batch_size(batch) == 5


def test_validation_weights_where_another_tensor_comes_first() -> None:
    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[1]), batch[2])

    validation = [*make_batches(2, seed=2), *make_batches(1, size=3, seed=3)]
    pieces = make_pieces()._replace(validation_loader=validation)
    expected = objective_for(pieces).baseline
    odd = [(torch.ones(7), x, y) for x, y in validation]
    assert objective_for(
        pieces._replace(loss_fn=loss_fn, train_loader=odd, validation_loader=odd)
    ).baseline == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reduction", [nn.CrossEntropyLoss(reduction="sum"), "function"])
def test_a_loss_that_sums_is_compared_per_sample(reduction: Any) -> None:
    def summed(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, reduction="sum")

    loss_fn = summed if reduction == "function" else reduction
    validation = [*make_batches(2, seed=2), *make_batches(1, size=3, seed=3)]
    pieces = make_pieces()._replace(train_loader=make_batches(4), validation_loader=validation)
    expected = objective_for(pieces)
    objective = objective_for(pieces._replace(loss_fn=loss_fn))
    assert objective.baseline == pytest.approx(expected.baseline, rel=1e-6)
    # Training is with the sum, whose gradient is 16 times the mean's.
    assert objective(trial_at(0.1 / 16)) == pytest.approx(expected(trial_at(0.1)), rel=1e-4)


def test_a_batch_that_cannot_be_divided_tells_nothing() -> None:
    assert halves((Graphs(4), torch.zeros(4))) is None
    assert halves("text") is None
    first, second = halves({"x": torch.arange(5), "w": torch.zeros(3), "n": 2}) or ({}, {})
    assert first["x"].tolist() == [0, 1]
    assert second["x"].tolist() == [2, 3, 4]
    assert len(first["w"]) == len(second["w"]) == 3

    def of_whole_batches(output: Tensor, target: Tensor) -> Tensor:
        if len(target) != 16:
            raise ValueError("needs 16")
        return F.cross_entropy(output, target)

    pieces = make_pieces()
    expected = objective_for(pieces)(trial_at(0.1))
    assert objective_for(pieces._replace(loss_fn=of_whole_batches))(trial_at(0.1)) == expected


# --- The caller's containers and epochs ----------------------------------------------------------


class Words(Counter[str]):
    pass


def test_a_counter_keeps_its_counts() -> None:
    model = mlp()
    model.words = Words(a=3, b=1)  # type: ignore[assignment]
    snapshot = Snapshot([model])
    model.words["a"] += 1  # type: ignore[operator, index]
    model.words["c"] = 1  # type: ignore[operator, index]
    snapshot.restore()
    assert model.words == Words(a=3, b=1)
    assert list(model.words) == ["a", "b"]  # type: ignore[arg-type]


def test_the_callers_epoch_goes_on_with_persistent_workers() -> None:
    options: dict[str, Any] = {"batch_size": 16, "num_workers": 1, "persistent_workers": True}
    train = DataLoader(make_data(64), **options)
    expected = [x.sum().item() for x, _ in train]
    seen = []
    for i, (x, _) in enumerate(train):
        seen.append(x.sum().item())
        if i == 1:
            objective_for(make_pieces()._replace(train_loader=train))
        assert i < 4, "the epoch started over"
    assert seen == expected


def test_copies_in_host_memory_are_shared_like_others() -> None:
    model = mlp()
    first = Snapshot([model], on_host=True)
    second = Snapshot([model], on_host=True, like=first)
    contents = [{s.content.data_ptr() for s in snap._tensors.values()} for snap in (first, second)]
    assert contents[0] == contents[1]


def test_a_trial_on_the_host_shares_its_copy_with_the_start(monkeypatch: Any) -> None:
    from optuna_lrss.torch import _start

    likes: list[bool] = []

    class Watched(Snapshot):
        def __init__(self, objects: Any, **options: Any) -> None:
            likes.append(options.get("like") is not None)
            super().__init__(objects, **options)

    monkeypatch.setattr(_start, "Snapshot", Watched)
    objective_for(make_pieces(), snapshot_on_host=True)(trial_at(0.1))
    assert not likes[0]  # the start
    assert all(likes[1:])
