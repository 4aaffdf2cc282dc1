"""The tasks of the landscapes: whole, apart, the same each time, and attributed."""

from __future__ import annotations

import dataclasses
import functools
import re

import pytest
import torch

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.tasks import page
from examples.benchmarks.landscapes.tasks._base import REGISTRY
from examples.benchmarks.landscapes.tasks._base import task


PARTS = ("train", "val", "test")
KINDS = {
    "autoencoder",
    "classification",
    "contrastive",
    "embedding",
    "factorisation",
    "language",
    "regression",
    "restoration",
    "segmentation",
    "sequence",
}
LOSSES = {"cross_entropy", "token_cross_entropy", "mse", "bce", "gaussian_nll", "info_nce"}
#: Kept for checking what was found elsewhere.
LEFT_OUT = ("fashion", "cifar", "california", "trec", "sst", "shakespeare", "svhn", "tolstoi")


@functools.cache
def loaded(name: str) -> tasks.TaskData:
    try:
        return tasks.load(name)
    except tasks.MissingDataError as error:
        pytest.skip(str(error))


def rows_of(tensor: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in tensor}


def test_there_are_enough_tasks_of_every_kind_and_loss() -> None:
    specs = [tasks.spec(name) for name in tasks.names()]
    assert len(specs) >= 42
    assert sum(spec.real for spec in specs) >= 30
    assert {spec.kind for spec in specs} == KINDS
    assert {spec.loss for spec in specs} == LOSSES


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_says_what_it_is_and_where_it_is_from(name: str) -> None:
    spec = tasks.spec(name)
    assert spec.source
    assert spec.licence
    assert spec.metric in ("accuracy", "loss")
    assert spec.real or "generated" in spec.source
    assert not any(word in f"{name} {spec.source}".lower() for word in LEFT_OUT)
    # A share of right answers needs answers that are right or wrong.
    assert (spec.metric == "accuracy") == (
        spec.loss.endswith("cross_entropy") or spec.loss == "bce"
    )


@pytest.mark.parametrize("name", tasks.names())
def test_a_tasks_parts_fit_each_other_and_share_no_row(name: str) -> None:
    data = loaded(name)
    seen: set[bytes] = set()
    for part in PARTS:
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        assert len(x) == len(y) > 0
        assert x.shape[1:] == data.x_train.shape[1:]
        assert y.shape[1:] == data.y_train.shape[1:]
        assert x.dtype == (torch.int64 if data.vocab else torch.float32)
        assert x.isfinite().all()
        assert y.float().isfinite().all()
        if data.vocab:
            assert 0 <= int(x.min()) <= int(x.max()) < data.vocab
        rows = rows_of(x)
        assert not rows & seen, f"{part} repeats rows of an earlier part"
        seen |= rows
    assert 250 <= len(data.x_train) <= 4_000
    assert len(data.x_val) <= 512
    assert len(data.x_test) <= 1_000
    assert data.x_train[0].numel() <= 2_048


@pytest.mark.parametrize("name", tasks.names())
def test_a_tasks_targets_are_what_its_loss_wants(name: str) -> None:
    data = loaded(name)
    y = torch.cat([data.y_train, data.y_val, data.y_test])
    if data.loss == "cross_entropy":
        assert y.shape == (len(y),)
        assert 0 <= int(y.min()) <= int(y.max()) < data.n_classes
        assert len(data.y_val.unique()) > 1
    elif data.loss == "token_cross_entropy":
        assert y.shape[1:] == data.x_train.shape[1:]
        asked = y[y != tasks.IGNORED]
        assert 0 <= int(asked.min()) <= int(asked.max()) < data.n_classes
        assert (y != tasks.IGNORED).any(1).all()
    elif data.loss == "bce":
        assert y.dtype == torch.float32
        assert set(y.unique().tolist()) == {0.0, 1.0}
        assert data.n_classes == 2
    elif data.loss == "info_nce":
        assert data.x_train.shape[1] == 2
    else:
        assert y.dtype == torch.float32
        assert data.n_classes == 0
        assert float(data.y_train.std()) > 0.1


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_is_the_same_each_time_but_for_the_order_of_its_training_rows(name: str) -> None:
    first, other = loaded(name), tasks.load(name, seed=1)
    for field in dataclasses.fields(first):
        value = getattr(first, field.name)
        if not isinstance(value, torch.Tensor):
            assert value == getattr(other, field.name)
        elif field.name not in ("x_train", "y_train"):
            assert torch.equal(value, getattr(other, field.name))
    assert not torch.equal(first.x_train, other.x_train)
    pairs = [
        {
            (x.numpy().tobytes(), y.numpy().tobytes())
            for x, y in zip(d.x_train, d.y_train, strict=True)
        }
        for d in (first, other)
    ]
    assert pairs[0] == pairs[1]


def test_the_page_lists_every_task() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", page.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == tasks.names()


def test_label_noise_and_imbalance_are_in_the_training_rows_only() -> None:
    clean, noisy, thin = (tasks.load(f"digits{kind}") for kind in ("", "_noise", "_imbalanced"))
    assert torch.equal(clean.y_test, noisy.y_test)
    assert torch.equal(clean.x_test, thin.x_test)
    # Two fifths are drawn anew, a tenth of them by chance as they were.
    assert 0.3 < float((clean.y_train != noisy.y_train).float().mean()) < 0.42
    counts = thin.y_train.bincount()
    assert counts[0] > 10 * counts[9] > 0
    assert thin.label_smoothing == 0.1


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"name is 'digit'.*digits"):
        tasks.load("digit")


def test_two_tasks_cannot_share_a_name() -> None:
    def digits() -> tasks.Parts:
        raise AssertionError

    with pytest.raises(ValueError, match="a task 'digits' already"):
        task(kind="classification", loss="cross_entropy", source="-", licence="-")(digits)
    assert REGISTRY["digits"][1] is not digits


def test_data_that_are_not_there_are_named_with_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv(tasks.DATA_VARIABLE, str(tmp_path))
    tasks.REGISTRY["ag_news"][1].cache_clear()  # the data may have been read before
    with pytest.raises(tasks.MissingDataError, match=r"ag_news is not in .*CharCnn_Keras"):
        tasks.load("ag_news")
