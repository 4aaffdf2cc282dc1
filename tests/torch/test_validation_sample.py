"""Trials validate on a nested sample of a large validation set, all of a study on the same one."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import IterableDataset

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr
from optuna_lrss.torch import optimize_lanes
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._choice import Choice
from optuna_lrss.torch._pilot import SHARE
from optuna_lrss.torch._pilot import scatter
from optuna_lrss.torch._sample import Pool
from optuna_lrss.torch._validation import Validation
from tests.torch.torch_cases import Batch
from tests.torch.torch_cases import fingerprint
from tests.torch.torch_cases import make_batches
from tests.torch.torch_cases import make_data
from tests.torch.torch_cases import make_pieces
from tests.torch.torch_cases import reference_trial
from tests.torch.torch_cases import trial_at


MANY = 1000  # validation samples: more than a quarter of what four steps of 16 cost
TRAIN = make_batches(4)
GOLDEN = (1 + math.sqrt(5)) / 2


def pieces_of(n: int = MANY, size: int = 50, **changes: Any) -> StepPieces:
    validation = DataLoader(make_data(n, 2), batch_size=size)
    pieces = make_pieces()._replace(train_loader=TRAIN, validation_loader=validation)
    return pieces._replace(**changes)


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, "progress": False, **options})


def samples_of(objective: StepObjective) -> int:
    trial: Any = objective._source
    return int(trial.validated.samples)


def grid_study(lrs: tuple[float, ...] = (0.01, 0.1), **options: Any) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": list(lrs)}), **options)


def first_rows(n: int, of: int) -> list[int]:
    """By the words of the method page: sample i goes to the place frac(i phi)."""
    return sorted(range(of), key=lambda i: math.modf((i + 1) * GOLDEN)[0])[:n]


def pool_of(batches: Any, most: float = math.inf) -> Pool:
    return Pool(lambda: (batch for batch in batches), most)


# --- Which samples ------------------------------------------------------------------------------


def test_a_sample_is_validated_as_its_rows_are() -> None:
    pieces = pieces_of()
    objective = objective_for(pieces)
    loss = objective(trial_at(0.1))
    m = samples_of(objective)
    assert 64 <= m < MANY
    x, y = make_data(MANY, 2).tensors
    rows = first_rows(m, MANY)
    expected = reference_trial(pieces, 0.1, TRAIN, [(x[rows], y[rows])])
    assert loss == pytest.approx(expected, rel=1e-6)
    assert loss != pytest.approx(reference_trial(pieces, 0.1, TRAIN, [(x, y)]), rel=1e-6)


@pytest.mark.parametrize("size", [1, 7, 50, 4000])
def test_samples_are_nested_whatever_the_batches(size: int) -> None:
    numbers = torch.arange(3000)
    pool = pool_of(list(torch.split(numbers, size)), most=600)
    taken = [torch.cat(pool.take(m)).tolist() for m in (64, 128, 256, 512)]
    assert [len(rows) for rows in taken] == [64, 128, 256, 512]
    for small, large in itertools.pairwise(taken):
        assert set(small) < set(large)
    assert taken[-1] == first_rows(512, 3000)
    assert torch.equal(torch.cat(pool.take()), numbers)


def test_a_sorted_loader_gives_all_classes() -> None:
    classes = torch.arange(10).repeat_interleave(500)
    pool = pool_of(classes.split(32), most=300)
    counts = torch.cat(pool.take(64)).bincount()
    assert counts.min() >= 5
    assert counts.max() <= 8


def test_of_a_large_loader_no_more_is_kept_than_may_be_needed() -> None:
    kept: list[int] = []

    def read() -> Iterator[Tensor]:
        for i in range(500):
            yield torch.full((32,), i)
            if i > 100:
                kept.append(sum(piece.rows for piece in pool._pieces))

    pool = Pool.__new__(Pool)
    pool.__init__(read, 300)  # type: ignore[misc, arg-type]
    assert max(kept) <= 600 + 32
    assert pool.rows == 16_000
    more = torch.cat(pool.take(2000))  # more than was kept: read again
    assert len(more) == 2000


class Graphs:
    """Several graphs as one batch, which cannot be told apart."""

    def __init__(self, number: int, n: int) -> None:
        self.x, self.y = make_data(n, number).tensors
        self.number = number
        self.num_graphs = n

    def to(self, device: Any) -> Graphs:
        return self


def of_graphs(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch.x), batch.y)


def test_batches_that_cannot_be_split_are_taken_whole_from_all_over_the_loader() -> None:
    validation = [Graphs(i, 10) for i in range(200)]
    train = [Graphs(i, 16) for i in range(4)]
    pieces = make_pieces()._replace(
        loss_fn=of_graphs, train_loader=train, validation_loader=validation
    )
    objective = objective_for(pieces)
    assert math.isfinite(objective(trial_at(0.1)))
    trial: Any = objective._source
    numbers = [batch.number for batch in trial._validate._batches]
    assert 8 <= len(numbers) < 200
    assert trial.validated.samples == 10 * len(numbers)
    per_quarter = np.histogram(numbers, bins=[0, 50, 100, 150, 200])[0]
    assert per_quarter.min() >= len(numbers) // 4 - 1


def test_batches_that_cannot_be_joined_are_taken_whole() -> None:
    padded = [torch.zeros(10, 5 + i % 3) for i in range(100)]
    pool = pool_of(padded)
    assert not pool.by_rows
    taken = pool.take(pool.least)
    assert [batch.shape[0] for batch in taken] == [10] * 8
    assert any(batch.shape[1] != taken[0].shape[1] for batch in taken)
    again = pool_of(padded).take(sum(map(len, taken)))  # as another worker reads it
    assert all(map(torch.equal, taken, again))


def contrastive(output: Tensor, target: Tensor) -> Tensor:
    """Each sample against all others of its batch."""
    return F.cross_entropy(output @ output.T, torch.arange(len(output))) + 0.0 * target.sum()


def test_a_loss_of_the_batch_as_a_whole_keeps_its_batches() -> None:
    pieces = pieces_of(loss_fn=contrastive)
    objective = objective_for(pieces)
    objective(trial_at(0.01))
    trial: Any = objective._source
    assert {batch_size(batch) for batch in trial._validate._batches} == {50}
    assert len(trial._validate._batches) < MANY // 50


@pytest.mark.parametrize("factory", [False, True])
def test_another_worker_reads_that_batches_stay_whole(factory: bool, monkeypatch: Any) -> None:
    def made() -> StepObjective:
        pieces = pieces_of(loss_fn=contrastive)
        if factory:
            return StepObjective.from_factory(lambda _: pieces_of(loss_fn=contrastive), steps=4)
        return objective_for(pieces)

    study = grid_study((0.01, 0.03))
    study.optimize(made(), n_trials=1)
    assert study.user_attrs["lrss:validation"]["whole"] is True
    monkeypatch.setattr(Choice, "decide", _must_not_be_called)
    sizes: list[set[int]] = []
    each = Validation.each

    def kept(self: Validation, training: list[Any]) -> list[float]:
        sizes.append(set(self.sizes))
        return each(self, training)

    monkeypatch.setattr(Validation, "each", kept)
    study.optimize(made(), n_trials=1)
    assert sizes == [{50}, {50}]


def test_a_loss_that_sums_is_divided() -> None:
    def summed(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, reduction="sum")

    objective = objective_for(pieces_of(loss_fn=summed))
    mean = objective_for(pieces_of())
    assert objective.baseline == pytest.approx(mean.baseline, rel=1e-6)
    assert samples_of(objective) == samples_of(mean) < MANY


class Endless(IterableDataset[Batch]):
    def __iter__(self) -> Iterator[Batch]:
        x, y = make_data(64, 3).tensors
        yield from zip(itertools.cycle(x), itertools.cycle(y), strict=True)


def test_a_stream_without_an_end_is_read_for_a_while() -> None:
    pieces = pieces_of(validation_loader=DataLoader(Endless(), batch_size=50))
    objective = objective_for(pieces)
    assert math.isfinite(objective(trial_at(0.1)))
    trial: Any = objective._source
    assert trial.validated.samples < trial.validated.of == 4 * 30 * 50


# --- When, and how large ------------------------------------------------------------------------


def test_few_samples_are_all_validated_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(Choice, "decide", _must_not_be_called)
    few = pieces_of(n=200)
    assert objective_for(few)(trial_at(0.1)) == objective_for(few, validation_batches=None)(
        trial_at(0.1)
    )
    # 20 steps of 64 samples are worth 960 of validation.
    large = pieces_of(n=950)._replace(train_loader=make_batches(20, size=64))
    assert samples_of(objective_for(large, steps=20)) == 950


def _must_not_be_called(*_: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize("validation_batches", [2, None])
def test_a_number_of_batches_and_all_of_them_are_as_ever(
    validation_batches: int | None, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Choice, "decide", _must_not_be_called)
    pieces = pieces_of()
    found = objective_for(pieces, validation_batches=validation_batches)(trial_at(0.1))
    batches = [(x, y) for x, y in pieces.validation_loader or ()][:validation_batches]
    expected = reference_trial(pieces, 0.1, TRAIN, batches)
    assert found == pytest.approx(expected, rel=1e-6)
    # To the bit: batch means, weighted.
    given = pieces._replace(validation_loader=batches)
    assert found == objective_for(given, validation_batches=None)(trial_at(0.1))


def test_deciding_leaves_no_trace() -> None:
    pieces = pieces_of()
    before = fingerprint(*pieces[:2])
    assert samples_of(objective_for(pieces)) < MANY
    assert fingerprint(*pieces[:2]) == before


def _drawn(lr_best: float, noise: float, seed: int = 0) -> Any:
    """A training whose drop is largest at one learning rate, with rows that scatter."""
    rows = np.random.default_rng(seed).normal(size=(32, 8))

    def train(lr: float) -> list[float] | None:
        x = math.log10(lr / lr_best)
        if x > 0.5:
            return None
        drop = 10.0 ** min(x, 0.0)
        return [float(mean) for mean in (1.0 - drop + noise * x * rows).mean(1)]

    return train, rows


def test_the_scatter_is_that_of_the_differences() -> None:
    train, rows = _drawn(0.1, noise=0.4)
    found = scatter(train, [1.0] * 32, [8] * 32, 0.1, steps=20)
    assert (found.steps, found.looks) == (40, 3)
    differences = (0.4 * 0.125 * rows).mean(1)  # of neighbours, an eighth of a decade apart
    expected = differences.std(ddof=1) / math.sqrt(32)
    assert found.error(256, 10**9) == pytest.approx(expected, rel=1e-6)
    assert found.error(512, 1024) == pytest.approx(found.error(512, 10**9) / math.sqrt(2))
    assert found.error(1024, 1024) == 0.0


@pytest.mark.parametrize("first", [1e-6, 1e-4, 0.01, 0.1, 1.0, 30.0])
def test_a_first_guess_that_is_far_off_is_made_up_for(first: float) -> None:
    train, _ = _drawn(0.1, noise=0.4)
    found = scatter(train, [1.0] * 32, [8] * 32, first, steps=20)
    assert math.isfinite(found.ratio)
    assert found.steps <= 100


def test_where_nothing_learns_the_sample_is_as_large_as_may_be() -> None:
    found = scatter(lambda _: None, [1.0] * 32, [8] * 32, 0.1, steps=20)
    assert math.isinf(found.ratio)
    assert found.enough(64, 10_000, most=1900) == 1024


def test_more_scatter_takes_more_samples() -> None:
    sizes = []
    for noise in (0.2, 4.0, 30.0):
        train, _ = _drawn(0.1, noise)
        found = scatter(train, [1.0] * 32, [8] * 32, 0.1, steps=20)
        m = found.enough(64, 10**6, most=10**6)
        assert found.error(m, 10**6) <= SHARE
        assert m == 64 or found.error(m // 2, 10**6) > SHARE
        sizes.append(m)
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("value", [0, -3, 2.5, "all", True])
def test_what_is_no_number_of_batches_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="validation_batches="):
        objective_for(pieces_of(), validation_batches=value)


# --- One sample for a study ---------------------------------------------------------------------


def _decide(path: str, storage: str) -> None:
    study = optuna.load_study(study_name="one", storage=storage)
    objective = objective_for(pieces_of())
    study.optimize(objective, n_trials=1)
    Path(path).write_text(str(samples_of(objective)))


def test_another_process_decides_alike(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="one", storage=storage)
    _decide(str(tmp_path / "here"), storage)
    # Begun again, as if both had begun at once: the other has nothing to read.
    other = f"sqlite:///{tmp_path}/other.db"
    optuna.create_study(study_name="one", storage=other)
    process = multiprocessing.get_context("spawn").Process(
        target=_decide, args=(str(tmp_path / "there"), other)
    )
    process.start()
    process.join()
    assert (tmp_path / "there").read_text() == (tmp_path / "here").read_text()
    baselines = [optuna.load_study(study_name="one", storage=s) for s in (storage, other)]
    assert len({s.user_attrs["lrss:baseline"] for s in baselines}) == 1
    assert study.user_attrs["lrss:validation"]["samples"] < MANY


def test_a_study_goes_on_with_its_own_sample(monkeypatch: Any) -> None:
    study = grid_study()
    pieces = pieces_of()
    study.set_user_attr("lrss:validation", {"samples": 500, "of": MANY})
    monkeypatch.setattr(Choice, "decide", _must_not_be_called)
    objective = objective_for(pieces)
    study.optimize(objective)
    x, y = make_data(MANY, 2).tensors
    rows = first_rows(500, MANY)
    expected = reference_trial(pieces, 0.1, TRAIN, [(x[rows], y[rows])])
    assert {t.params["lr"]: t.value for t in study.trials}[0.1] == pytest.approx(
        expected, rel=1e-6
    )


def test_of_two_that_decide_at_once_the_first_to_write_counts(monkeypatch: Any) -> None:
    study, objective = grid_study(), objective_for(pieces_of())
    decide = Choice.decide

    def slowly(self: Choice, training: Any) -> Any:
        found = decide(self, training)
        study.set_user_attr("lrss:validation", {"samples": 320, "of": MANY})
        return found

    monkeypatch.setattr(Choice, "decide", slowly)
    study.optimize(objective)
    assert samples_of(objective) == study.user_attrs["lrss:validation"]["samples"] == 320


def test_an_objective_goes_from_one_study_to_another() -> None:
    objective = objective_for(pieces_of())
    first, second = grid_study(), grid_study()
    first.optimize(objective)
    own = samples_of(objective)
    second.set_user_attr("lrss:validation", {"samples": 512, "of": MANY})
    second.optimize(objective)
    assert samples_of(objective) == 512 != own
    assert first.user_attrs["lrss:baseline"] != second.user_attrs["lrss:baseline"]
    first.enqueue_trial({"lr": 0.03})
    first.sampler = optuna.samplers.RandomSampler()
    first.optimize(objective, n_trials=1)  # the baseline is checked
    assert samples_of(objective) == own


@pytest.mark.parametrize("factory", [False, True])
def test_a_study_that_was_begun_on_all_goes_on_so(factory: bool) -> None:
    def made(**options: Any) -> StepObjective:
        if factory:
            return StepObjective.from_factory(lambda _: pieces_of(), steps=4, **options)
        return objective_for(pieces_of(), **options)

    study = grid_study((0.01, 0.1, 0.03))
    study.optimize(made(validation_batches=None), n_trials=2)
    values = [t.value for t in study.trials]
    # What an earlier version has left: no word on how much was validated.
    old = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    for key, value in study.user_attrs.items():
        if key != "lrss:validation":
            old.set_user_attr(key, value)
    old.add_trials(study.trials)
    for trial in study.trials:
        old.enqueue_trial({"lr": trial.params["lr"]})
    old.optimize(made(), n_trials=2)
    assert [t.value for t in old.trials[2:]] == values


def test_what_a_foreign_hand_wrote_is_ignored() -> None:
    study = grid_study()
    study.set_user_attr("lrss:validation", "half of it")
    objective = objective_for(pieces_of())
    study.optimize(objective)
    assert samples_of(objective) < MANY


def test_configurations_of_a_factory_have_the_same_samples() -> None:
    def build(trial: optuna.Trial) -> StepPieces:
        size = trial.suggest_categorical("batch", [8, 32])
        return pieces_of(n=3000)._replace(train_loader=make_batches(4, size=size))

    taken: list[int] = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for batch in (8, 32):
        study.enqueue_trial({"batch": batch, "lr": 0.1})
    objective = StepObjective.from_factory(build, steps=4)
    each = Validation.each

    def counted(self: Validation, training: list[Any]) -> list[float]:
        taken.append(sum(self.sizes))
        return each(self, training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "each", counted)
        study.optimize(objective, n_trials=2)
    assert taken[0] == 256  # how the loss of a batch follows from its parts, once
    assert set(taken[1:]) == {512}
    assert study.user_attrs["lrss:validation"]["samples"] == 512


def test_repeats_and_longer_trials_have_the_same_samples(monkeypatch: Any) -> None:
    objective = objective_for(pieces_of(), steps=4, snapshots=(2,))
    trial: Any = objective._source
    m = trial.validated.samples
    seen: list[list[Any]] = []
    each = Validation.each

    def kept(self: Validation, training: list[Any]) -> list[float]:
        seen.append(self._batches)
        return each(self, training)

    monkeypatch.setattr(Validation, "each", kept)
    trial.run(0.1)
    trial.run(0.1, repeat=1)
    trial.run(0.1, steps=8)
    assert len(seen) == 1 + 2 + 2 + 2  # the baseline, and each trial's snapshot and end
    assert all(batches is seen[0] for batches in seen)
    assert sum(map(batch_size, seen[0])) == m


def test_paths_look_at_a_part_of_the_sample() -> None:
    pieces = pieces_of()
    objective = objective_for(pieces, paths=True)
    objective(trial_at(0.1))
    trial: Any = objective._source
    looked_at = torch.cat([x for x, _ in trial._path_batches])
    sample = torch.cat([x for x, _ in trial._validate._batches])
    assert len(looked_at) <= 64
    assert all((sample == row).all(1).any() for row in looked_at)


@pytest.mark.parametrize("stored", [None, 256])
def test_lanes_validate_on_the_same_sample(stored: int | None) -> None:
    rates = (0.01, 0.03, 0.1)

    def study() -> optuna.Study:
        made = optuna.create_study(sampler=optuna.samplers.RandomSampler())
        for lr in rates:
            made.enqueue_trial({"lr": lr})
        if stored is not None:
            made.set_user_attr("lrss:validation", {"samples": stored, "of": MANY})
        return made

    alone, together = study(), study()
    alone.optimize(objective_for(pieces_of()), n_trials=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimize_lanes(together, objective_for(pieces_of()), lanes=3, n_trials=3)
    assert [t.value for t in together.trials] == pytest.approx(
        [t.value for t in alone.trials], rel=1e-4
    )
    held = [s.user_attrs["lrss:validation"] for s in (alone, together)]
    assert held[0] == held[1]
    assert held[0]["samples"] < MANY


# --- The report ---------------------------------------------------------------------------------


def test_the_report_says_on_how_much_and_what_share_that_was() -> None:
    study = optuna.create_study(sampler=LRStepSampler())
    objective = objective_for(pieces_of(), steps=8)
    study.optimize(objective, n_trials=8)
    result = analyze(study)
    held = study.user_attrs["lrss:validation"]
    validations = 1 + sum(len(t.intermediate_values) for t in study.trials)
    in_steps = validations * held["samples"] / 16 / 3 + held["pilot"]
    assert result.validation_share == pytest.approx(in_steps / (in_steps + result.n_steps))
    line = (
        f"{held['samples']} of {MANY} samples, {100 * result.validation_share:.0f} % of the work"
    )
    assert line in str(result)
    assert type(result).from_json(result.to_json()).validated == result.validated


def test_of_few_samples_the_report_says_that_it_was_all() -> None:
    result = find_lr(*pieces_of(n=100), steps=8, n_trials=8, progress=False)
    assert "all 100 samples, " in str(result)


def _near_ties(error: float | None) -> Any:
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.0)
    study.set_user_attr("lrss:steps", 20)
    held = {"samples": 64, "of": 50_000, "cost": 1.0}
    study.set_user_attr("lrss:validation", held if error is None else {**held, "error": error})
    space = optuna.distributions.FloatDistribution(1e-7, 10.0, log=True)
    left = {-4.0: 2.0, -3.5: 1.9, -3.0: 1.7, -2.5: 1.4, -2.25: 1.19, -2.0: 1.01}
    right = {-1.75: 1.0, -1.5: 1.015, -1.25: 1.3, -1.0: 3.0}
    for x, loss in {**left, **right}.items():
        study.add_trial(
            optuna.create_trial(params={"lr": 10.0**x}, distributions={"lr": space}, value=loss)
        )
    return analyze(study)


def test_max_lr_is_a_range_where_losses_cannot_be_told_apart() -> None:
    def ends(error: float | None) -> list[float]:
        return np.log10(_near_ties(error).intervals["max_lr"]).round(3).tolist()

    # Neighbours lie two eighths of a decade apart and two errors count: four times the error.
    assert ends(None) == ends(0.0024) == [-2.0, -1.5]
    assert ends(0.0026) == [-2.25, -1.5]  # 1 % of the drop above: its left neighbour
    assert ends(0.0038) == [-2.25, -1.25]  # 1.5 %: and the right one
    assert _near_ties(0.0038).max_lr == _near_ties(None).max_lr


def test_a_sample_that_is_too_small_is_doubted() -> None:
    def codes(error: float | None) -> set[str]:
        return {d.code for d in _near_ties(error).diagnostics}

    assert "small-validation-set" not in codes(0.02)
    assert "small-validation-set" in codes(0.06)
