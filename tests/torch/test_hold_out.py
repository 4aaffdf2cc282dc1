"""Without a validation loader: batches of the training loader that no trial trains on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss import LRAnalysis
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr
from optuna_lrss.torch._loaders import HoldOut


STEPS = 3


class Rows(nn.Module):
    """A linear model that notes which rows it sees; a row's first entry is its number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        notes[self.training].extend(x[:, 0].int().tolist())
        return self.linear(x[:, 1:])


notes: dict[bool, list[int]] = {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    notes.clear()
    notes.update({True: [], False: []})


def rows(n: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.cat([torch.arange(n)[:, None].float(), torch.randn(n, 4, generator=generator)], 1)
    return TensorDataset(x, x[:, 1:2] - x[:, 2:3])


def loader(n: int, *, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(rows(n), batch_size=2, shuffle=shuffle)


def objective(train: Any, **options: Any) -> StepObjective:
    model = Rows()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"steps": STEPS, "check_state": False, "progress": False, **options}
    return StepObjective(model, optimizer, F.mse_loss, train, **options)


def run(made: StepObjective, repeats: int = 1) -> optuna.Study:
    study = optuna.create_study()
    for _ in range(repeats):
        study.enqueue_trial({"lr": 0.01})
    study.optimize(made, n_trials=repeats)
    return study


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("n", [14, 28, 60])  # 7, 14 and 30 batches
def test_no_repeat_trains_on_what_validates(n: int, accumulate: int, *, shuffle: bool) -> None:
    study = run(objective(loader(n, shuffle=shuffle), accumulate=accumulate), repeats=4)
    validated = set(notes[False])
    assert validated
    assert len(set(notes[True])) >= 2 * min(STEPS * accumulate, n // 4)
    assert not validated & set(notes[True])
    assert study.user_attrs["lrss:held_out"] == len(validated) / 2


def test_eight_batches_after_the_trained_ones_or_the_end_of_a_short_loader() -> None:
    run(objective(loader(60)))
    assert sorted(set(notes[False])) == list(range(2 * STEPS, 2 * (STEPS + 8)))
    assert set(notes[True]) == set(range(2 * STEPS))
    _forget_now()
    run(objective(loader(6)))
    assert (set(notes[False]), set(notes[True])) == ({4, 5}, {0, 1, 2, 3})
    _forget_now()
    run(objective(loader(20)))  # 10 batches: a quarter of them
    assert set(notes[False]) == {6, 7, 8, 9}


def _forget_now() -> None:
    for seen in notes.values():
        seen.clear()


def test_validation_batches_says_how_many() -> None:
    study = run(objective(loader(60), validation_batches=5))
    assert study.user_attrs["lrss:held_out"] == 5
    assert set(notes[False]) == set(range(6, 16))


@pytest.mark.parametrize("shuffle", [False, True])
def test_trains_as_with_a_validation_loader_of_the_held_out_rows(*, shuffle: bool) -> None:
    held = run(objective(loader(60, shuffle=shuffle)))
    trained = list(notes[True])
    order = list(dict.fromkeys(notes[False]))
    x, y = rows(60).tensors
    validation = [(x[order[i : i + 2]], y[order[i : i + 2]]) for i in range(0, len(order), 2)]
    _forget_now()
    given = run(objective(loader(60, shuffle=shuffle), validation_loader=validation))
    assert notes[True] == trained
    assert given.trials[0].value == held.trials[0].value
    assert given.user_attrs["lrss:baseline"] == held.user_attrs["lrss:baseline"]
    assert "lrss:held_out" not in given.user_attrs


def test_repeats_differ_also_where_the_loader_is_short() -> None:
    values = [t.value for t in run(objective(loader(14)), repeats=3).trials]
    assert len(set(values)) == 3
    assert values == [t.value for t in run(objective(loader(14)), repeats=3).trials]


def test_a_stream_without_an_end_is_read_as_far_as_needed() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            generator = torch.Generator().manual_seed(2)
            for i in range(1_000_000):
                x = torch.randn(5, generator=generator)
                x[0] = i
                yield x, x[1:2]

    run(objective(DataLoader(Stream(), batch_size=2)), repeats=2)
    assert max(notes[True]) < 2 * (2 * STEPS + 8)
    assert not set(notes[True]) & set(notes[False])


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"validation_batches": 1}])
def test_too_few_batches_are_a_named_error(options: Any) -> None:
    with pytest.raises(ValueError, match=r"no validation_loader and train_loader gives 1 batch "):
        objective(loader(2), **options)


def test_find_lr_says_so_in_its_report() -> None:
    model = Rows()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train = loader(80)
    result = find_lr(model, optimizer, F.mse_loss, train, steps=STEPS, progress=False)
    assert result.held_out == 8
    assert "8 of the training loader's batches were held" in str(result).replace("\n  ", " ")
    assert LRAnalysis.from_json(result.to_json()).held_out == 8
    given = find_lr(model, optimizer, F.mse_loss, train, train, steps=STEPS, progress=False)
    assert given.held_out == 0
    assert "held" not in str(given)


def test_a_factory_may_leave_the_validation_loader_out() -> None:
    def build(trial: optuna.trial.BaseTrial) -> Any:
        model = Rows()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return model, optimizer, F.mse_loss, loader(60)

    study = run(StepObjective.from_factory(build, steps=STEPS, progress=False))
    assert study.user_attrs["lrss:held_out"] == 8
    assert StepPieces(*build(study.trials[0])).validation_loader is None


@pytest.mark.parametrize("repeat", [0, 1, 3])
@pytest.mark.parametrize("n", [7, 14, 20, 60])
@pytest.mark.parametrize("group", [1, 2])
def test_a_longer_trial_begins_with_the_batches_of_the_short_one(
    n: int, group: int, repeat: int
) -> None:
    count = 3 * group
    options: Any = {"count": count, "group": group, "wanted": None, "seed": 1}
    short = HoldOut(list(range(n)), **options).training(repeat, count)
    held_out = HoldOut(list(range(n)), **options)
    longer = held_out.training(repeat, 4 * count)
    assert len(longer) == 4 * count
    assert longer[:count] == short
    assert not set(longer) & set(held_out.validation)
    assert all(b == a + 1 for a, b in zip(longer[::2], longer[1::2], strict=True) if group == 2)
