"""The engine of the landscapes: lanes against a plain training loop, schedules against torch's."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from examples.benchmarks import range_tests
from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.cells import cells
from examples.benchmarks.landscapes.engine import cell
from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.engine.agreement import differences
from examples.benchmarks.landscapes.engine.joint import Joint
from examples.benchmarks.landscapes.engine.joint import joined
from examples.benchmarks.landscapes.engine.optimizers import OPTIMIZERS
from examples.benchmarks.landscapes.engine.train import MEASURED_BATCHES
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.engine.train import batch_rows
from examples.benchmarks.landscapes.generate import run
from examples.benchmarks.landscapes.models import MODELS
from examples.benchmarks.landscapes.score.inventory import section


def setting(task: str, model: str, optimizer: str, *lengths: int, seeds: int = 1) -> cell.Setting:
    return cell.Setting("made", task, model, optimizer, 8, lengths or (20,), seeds)


def problem(task: str, model: str, optimizer: str, steps: int = 30, seed: int = 0) -> Problem:
    return Problem(tasks.load(task, seed), MODELS[model], optimizer, 8, steps, seed)


# --- lanes and the plain loop --------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_that_of_torch(optimizer: str) -> None:
    found = differences(setting("digits", "mlp_tanh", optimizer), steps=25, every=5)

    assert max(difference for _, difference in found) < 1e-4


#: A task of each model whose data need no further package.
TASKS = {
    **dict.fromkeys(("linear", "mlp_large_init", "mlp_small_init"), "teacher"),
    **dict.fromkeys(("two_towers",), "digits_contrastive"),
    **dict.fromkeys(("bag", "bag_mlp", "pair"), "modular_addition"),
    **dict.fromkeys(("factors",), "matrix_factorisation"),
    **dict.fromkeys(("unet", "unet_batchnorm"), "discs"),
    **dict.fromkeys(("conv_autoencoder",), "photo_autoencoder"),
    **dict.fromkeys(("gru", "transformer", "post_norm"), "adding"),
    **dict.fromkeys(("lstm", "gpt"), "sorting"),
    **dict.fromkeys(("autoencoder",), "digits_autoencoder"),
    **dict.fromkeys(("mlp_batchnorm",), "digits_imbalanced"),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_as_in_a_plain_loop(model: str) -> None:
    found = differences(setting(TASKS.get(model, "digits"), model, "momentum"), steps=22, every=16)

    assert max(difference for _, difference in found) < 1e-4


def test_a_model_on_a_series_is_a_picture_of_one_row() -> None:
    found = differences(setting("adding", "resnet", "sgd"), steps=22, every=16)

    assert max(difference for _, difference in found) < 1e-4


def test_a_loss_through_zero_agrees_too() -> None:
    found = differences(setting("gapminder_likelihood", "mlp", "adam"), steps=22, every=16)

    assert max(difference for _, difference in found) < 1e-4


def test_a_diverged_lane_harms_no_other() -> None:
    made = problem("teacher", "linear", "momentum")
    rates = torch.tensor([1e-3, 1e6, 3e-3]).expand(30, 3)
    losses = torch.full((30, 3), torch.inf)

    left = made.advance(made.lanes(3), rates, 0, 30, losses)
    alone = torch.full((30, 2), torch.inf)
    made.advance(made.lanes(2), rates[:, [0, 2]], 0, 30, alone)

    assert left.ids.tolist() == [0, 2]
    assert losses[-1, 1] == torch.inf
    torch.testing.assert_close(losses[:, [0, 2]], alone, rtol=1e-5, atol=0)


def test_no_lane_left_is_no_error() -> None:
    made = problem("teacher", "linear", "sgd")

    left = made.advance(made.lanes(2), torch.full((30, 2), 1e9), 0, 30)
    scores = made.scores(left, 2)

    assert scores.loss.tolist() == [np.inf, np.inf]
    assert scores.metric.isnan().all()


def test_chunks_of_lanes_change_nothing() -> None:
    made = problem("digits", "mlp_batchnorm", "sgd")
    rates = torch.logspace(-3, 0, 7).expand(30, 7)
    whole, pieces = torch.zeros(30, 7), torch.zeros(30, 7)

    made.advance(made.lanes(7), rates, 0, 30, whole)
    made.model.chunk = 3
    made.advance(made.lanes(7), rates, 0, 30, pieces)

    torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("teacher", "mlp_batchnorm"),
        ("modular_addition", "bag"),
        ("digits_contrastive", "two_towers"),
        ("gapminder_likelihood", "mlp"),
    ],
)
def test_seeds_in_the_same_tensors_are_as_alone(task: str, model: str) -> None:
    seeds = [problem(task, model, "adam", seed=seed) for seed in range(2)]
    both = Joint(seeds)
    rates = torch.logspace(-4, -1, 3).expand(30, 3)
    losses = torch.zeros(30, 6)

    lanes = both.advance(both.lanes(3), rates.repeat(1, 2), 0, 30, losses)
    scores = both.scores(lanes, 6, measured=30).loss

    for i, one in enumerate(seeds):
        alone = torch.zeros(30, 3)
        left = one.advance(one.lanes(3), rates, 0, 30, alone)
        of_seed = slice(3 * i, 3 * i + 3)
        torch.testing.assert_close(losses[:, of_seed], alone, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            scores[of_seed], one.scores(left, 3, measured=30).loss, rtol=1e-2, atol=1e-4
        )


def test_only_small_nets_on_short_rows_share_tensors_between_seeds() -> None:
    small = [problem("diabetes", "mlp", "sgd", seed=seed) for seed in range(2)]
    pictures = [problem("digits", "cnn", "sgd", seed=seed) for seed in range(2)]

    assert [j.seeds for j in joined(small)] == [2]
    assert [j.seeds for j in joined(pictures)] == [1, 1]


def test_batches_are_epochs_in_new_orders_whatever_the_length() -> None:
    rows = batch_rows(10, 5, 4, seed=1)

    assert sorted(rows[:2].flatten().tolist()) == list(range(10))
    assert sorted(rows[2:].flatten().tolist()) == list(range(10))
    assert not torch.equal(rows[:2], rows[2:])
    assert torch.equal(batch_rows(10, 5, 9, seed=1)[:4], rows)
    assert not torch.equal(batch_rows(10, 5, 4, seed=2), rows)


# --- schedules and range tests -------------------------------------------------------------------


def factors(make: object, steps: int) -> np.ndarray:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's own step without an epoch
        scheduler = make(optimizer)
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return np.array(seen)


@pytest.mark.parametrize("steps", [100, 250, 1_000])
def test_schedules_are_those_of_torch(steps: int) -> None:
    w, hold = schedules.warm_up_steps(steps), schedules.hold_steps(steps)

    def cosine(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        up = lr_scheduler.LinearLR(o, 1 / w, 1.0, w - 1)
        return lr_scheduler.SequentialLR(
            o, [up, lr_scheduler.CosineAnnealingLR(o, steps - w)], [w]
        )

    def wsd(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        down = lr_scheduler.LinearLR(o, 1.0, 0.0, steps - hold)
        return lr_scheduler.SequentialLR(o, [lr_scheduler.ConstantLR(o, 1.0, 1), down], [hold])

    def onecycle(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps + 1, cycle_momentum=False)

    np.testing.assert_allclose(schedules.cosine(steps), factors(cosine, steps), atol=1e-9)
    np.testing.assert_allclose(schedules.wsd(steps), factors(wsd, steps), atol=1e-9)
    one_more = schedules.onecycle(steps + 1)[:steps]
    np.testing.assert_allclose(one_more, factors(onecycle, steps), atol=1e-9)


def test_range_tests_take_the_rates_of_their_packages() -> None:
    ours = schedules.range_tests(range_tests.N_STEPS)
    theirs: dict[str, list[float]] = {"fastai": [], "lightning": []}
    for name, sweep in (
        ("fastai", range_tests.fastai_test),
        ("lightning", range_tests.lightning_test),
    ):
        sweep(lambda lr, name=name: theirs[name].append(lr) or 1.0)
        np.testing.assert_allclose(ours[name], theirs[name])

    assert ours["lr_finder"][[0, -1]] == pytest.approx([1e-7, 100])
    assert len(np.unique(ours["wittmann"])) == range_tests.N_STEPS / schedules.WITTMANN_EVERY


# --- a whole cell --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> record.Record:
    """An MLP with BatchNorm at two lengths and two seeds."""
    return cell.run(
        setting("digits", "mlp_batchnorm", "momentum", 12, 48, seeds=2),
        tasks.load,
        MODELS["mlp_batchnorm"],
    )


def test_a_cell_has_the_shapes_of_the_format(made: record.Record) -> None:
    assert made.curve_steps.tolist() == [1, 2, 5, 10, 20, 40]
    assert made.curve.shape == (2, 6, 33)
    assert made.train_loss.shape == (2, 160, 33)
    assert made.final_loss.shape == made.final_metric.shape == (2, 4, 2, 33)
    assert made.ranges["fastai", 300][1].shape == (2, 300)
    assert made.meta["batch_norm"]
    assert made.meta["guess"] == pytest.approx(10, abs=2)


def test_a_cell_leaves_the_processs_arithmetic_as_it_was() -> None:
    cell.run(setting("digits", "linear", "sgd"), tasks.load, MODELS["linear"])
    assert torch.tensor(1e-40) * 1.0 > 0.0  # subnormal


def test_a_cell_is_what_its_trainings_give_one_by_one(made: record.Record) -> None:
    seed, at = 1, 17  # of the rates: 10 ** -1.75
    again = problem("digits", "mlp_batchnorm", "momentum", 300, seed)
    for j, length in enumerate((12, 48)):
        for k, schedule in enumerate(record.SCHEDULES):
            rates = made.lr[at] * schedules.FACTORS[schedule](length)
            lanes = again.advance(
                again.lanes(1), torch.from_numpy(rates).float()[:, None], 0, length
            )
            loss = float(again.scores(lanes, 1).loss)
            metric = float(again.scores(lanes, 1, "test").metric)
            assert made.final_loss[j, k, seed, at] == pytest.approx(loss, rel=1e-3)
            assert made.final_metric[j, k, seed, at] == pytest.approx(metric, abs=0.5)


def test_batch_norms_curve_is_measured_on_the_batches_seen(made: record.Record) -> None:
    again = problem("digits", "mlp_batchnorm", "momentum", 300)
    lanes = again.advance(again.lanes(1), torch.full((20, 1), float(made.lr[17])), 0, 20)
    seen = again.batches[20 - MEASURED_BATCHES : 20].flatten()
    x = torch.cat([again.data["train"][0][seen]])
    buffers = {k: v.clone() for k, v in lanes.buffers.items()}
    with torch.no_grad():
        again.outputs(lanes.theta, buffers, x.unsqueeze(0), "measure")
    measured = float(again.scores(replace(lanes, buffers=buffers), 1).loss)

    assert made.curve[0, 4, 17] == pytest.approx(measured, rel=1e-4)
    assert made.curve_running is not None
    assert made.curve_running[0, 4, 17] == pytest.approx(
        float(again.scores(lanes, 1).loss), rel=1e-4
    )
    assert made.curve[0, 4, 17] != pytest.approx(made.curve_running[0, 4, 17], rel=1e-2)


def test_wittmanns_test_goes_back_to_the_first_weights(made: record.Record) -> None:
    _, losses = made.ranges["wittmann", 100]
    again = problem("digits", "mlp_batchnorm", "momentum", 300)
    first = again.lanes(1)
    for step in (5, 60):
        loss, _ = again.gradient(first, step)
        assert losses[0, step] == pytest.approx(float(loss), rel=1e-3)


def test_a_record_comes_back_as_it_was_saved(made: record.Record, tmp_path: Path) -> None:
    path = record.save(made, tmp_path)
    back = record.load(path)

    assert [p.name for p in tmp_path.iterdir()] == ["made.npz"]
    assert back.meta == json.loads(json.dumps(made.meta))
    assert back.ranges.keys() == made.ranges.keys()
    for name in ("lr", "curve", "curve_running", "final_loss", "final_metric", "baseline"):
        np.testing.assert_allclose(getattr(back, name), getattr(made, name), rtol=1e-6)
    highest = np.finfo(np.float16).max
    stored = np.where(made.train_loss > highest, np.inf, made.train_loss)
    np.testing.assert_allclose(back.train_loss, stored, rtol=1e-3)
    np.testing.assert_allclose(
        back.ranges["gugger", 100][0], made.ranges["gugger", 100][0], rtol=1e-6
    )


def test_a_record_of_another_format_says_so(made: record.Record, tmp_path: Path) -> None:
    path = record.save(replace(made, meta={**made.meta, "format": 0}), tmp_path)

    with pytest.raises(ValueError, match="run the cell again"):
        record.load(path)


def test_the_data_section_counts_what_there_is(made: record.Record) -> None:
    other = replace(made, meta={**made.meta, "lengths": [12], "optimizer": "sgd"})
    agreement = {
        "steps": 40,
        "losses": {"a": [0.0, 1e-12, 2e-12, 0.5]},
        "metrics": {"b": [0.1, 7.0]},
    }

    text = section([made, other], 2_500_000, agreement)

    assert text.startswith("2 cells of 1 tasks (1 with data of the world)")
    assert "0 of an earlier engine; 1 at two lengths; 12 to 48 steps" in text
    assert f"{(2 + 1) * 2 * 4 * 33:,} trainings in 2.5 MB" in text
    assert "in 75.0% of the trainings (median 2e-12)" in text
    assert "within half a point in 50% of them, and up to 7 points" in text
    assert "| sgd | 1 | 1 |" in text


def test_a_run_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "diabetes-linear-sgd-b8"
    trained: list[str] = []
    small = cell.run

    def counted(given: cell.Setting, *rest: object) -> record.Record:
        trained.append(given.name)
        return small(replace(given, lengths=(4,), seeds=1), *rest)

    monkeypatch.setattr(cell, "run", counted)
    for _ in range(2):
        run(["--cells", name, "--data", str(tmp_path)])

    assert trained == [name]
    path = tmp_path / f"{name}.npz"
    kept = record.load(path)
    record.save(replace(kept, meta={**kept.meta, "revision": record.REVISION - 1}), tmp_path)
    run(["--cells", name, "--data", str(tmp_path)])
    assert trained == [name] * 2  # an earlier engine's is made anew
    assert record.load(tmp_path / f"{name}.npz").meta["total_steps"] == 4
    assert capsys.readouterr().out.count(name) == 2


def test_cells_have_names_of_their_own_and_known_parts() -> None:
    listed = cells()

    assert len({s.name for s in listed}) == len(listed) >= 200
    assert {s.task for s in listed} <= set(tasks.names())
    assert {s.model for s in listed} == set(MODELS)
    assert {s.optimizer for s in listed} == set(OPTIMIZERS)
