"""The plain loop of the large fine-tuning cells, and how its pieces become a record."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.finetune import assemble
from examples.benchmarks.landscapes.finetune import lite
from examples.benchmarks.landscapes.finetune import loop
from examples.benchmarks.landscapes.finetune.assemble import Pieces
from examples.benchmarks.landscapes.finetune.problems import Problem
from examples.benchmarks.landscapes.tasks import Parts


@functools.cache
def parts() -> Parts:
    rng = torch.Generator().manual_seed(0)
    made = []
    for rows in (64, 40, 50):
        x = torch.randn(rows, 2, 4, 4, generator=rng) + 3
        made += [x, (x[:, 0].mean((1, 2)) > 3).long()]
    return Parts(*made, n_classes=2)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    )


def problem(batch_norm: str = "live", optimizer: str = "momentum") -> Problem:
    return Problem("hymenoptera", "toy", optimizer, parts, net, (-3.0, -1.0), "toy", batch_norm)


def by_hand(start: loop.Start, factors: np.ndarray, lr: float, mode: bool) -> nn.Module:
    """The training written out with torch's own optimizer."""
    torch.manual_seed(start.seed)
    model = net().train(mode)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for step, factor in enumerate(factors):
        optimizer.param_groups[0]["lr"] = lr * float(factor)
        optimizer.zero_grad()
        rows = start.batches[step]
        F.cross_entropy(model(start.parts.x_train[rows]), start.parts.y_train[rows]).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(("batch_norm", "mode"), [("live", True), ("frozen", False)])
def test_every_schedule_ends_where_the_training_written_out_ends(
    batch_norm: str, mode: bool
) -> None:
    start = loop.Start(problem(batch_norm), 3)
    made = loop.rate(start, 0.02)
    for k, name in enumerate(loop.SCHEDULES):
        model = by_hand(start, schedules.FACTORS[name](loop.STEPS), 0.02, mode).eval()
        with torch.no_grad():
            val = F.cross_entropy(model(start.parts.x_val), start.parts.y_val)
            right = (model(start.parts.x_test).argmax(1) == start.parts.y_test).float().mean()
        assert made["final_loss"][k] == pytest.approx(float(val), rel=1e-5)
        assert made["final_metric"][k] == pytest.approx(100 * float(right))
    assert made["curve"].shape == made["curve_running"].shape == (len(loop.CURVE_STEPS),)
    # The two readings differ where the statistics live, and only there.
    assert np.allclose(made["curve"], made["curve_running"]) != mode


def test_reading_a_curve_leaves_the_training_as_it_is() -> None:
    start = loop.Start(problem(), 0)
    read, unread = start.training(), start.training()
    rates = np.full(loop.STEPS, 0.05)
    losses = []
    for until in (1, 2, 7, 20):
        losses += read.advance(rates, until)
        read.scores(measured=True)
        read.branch().advance(rates, until + 5)
    assert losses == unread.advance(rates, 20)


def test_a_training_that_diverges_stays_diverged() -> None:
    made = loop.rate(loop.Start(problem("frozen"), 0), 1e6)
    assert made["train_loss"][-1] == np.inf
    assert made["curve"][-1] == np.inf
    assert np.isnan(made["final_metric"]).all()


def test_range_tests_follow_their_protocols_from_the_first_weights() -> None:
    start = loop.Start(problem("frozen"), 0)
    made = loop.range_tests(start)
    for protocol in loop.PROTOCOLS:
        rates = schedules.range_tests(loop.RANGE_STEPS)[protocol]
        model = by_hand(start, rates[:-1], 1.0, False)
        last = start.loss(model, start.batches[loop.RANGE_STEPS - 1]).item()
        assert made[protocol].shape == (loop.RANGE_STEPS,)
        expected = last if np.isfinite(last) else np.inf
        assert made[protocol][-1] == pytest.approx(expected, rel=1e-4)


def test_spread_keeps_what_was_measured_and_marks_divergence_between() -> None:
    measured = [10, 12, 14]
    whole = assemble.spread(np.array([[4.0, 2.0, np.inf]]), measured, untrained=5.0)[0]
    assert whole[10] == 4.0
    assert whole[11] == pytest.approx(3.0)
    assert whole[12] == 2.0
    assert (whole[13:] == np.inf).all()
    # Four steps of a quarter decade below the lowest the net has moved a tenth as far.
    assert whole[6] == pytest.approx(5.0 - 0.1)
    assert np.diff(whole[:11]).max() < 0


def test_pieces_become_a_record_that_says_what_was_measured(tmp_path: Path) -> None:
    made, pieces = problem(), Pieces(tmp_path / "toy")
    with pytest.raises(ValueError, match="holds no complete seed"):
        assemble.assemble(made, pieces, 1.0)
    for seed in range(2):
        start = loop.Start(made, seed)
        for index in assemble.coarse(made):
            lr = float(record.LEARNING_RATES[index])
            loop.saved(pieces.rate(seed, index), loop.rate(start, lr))
        loop.saved(pieces.ranges(seed), loop.range_tests(start))
    whole = record.load(record.save(assemble.assemble(made, pieces, 1.0), tmp_path))
    assert whole.meta["finetune"]
    assert whole.meta["seeds"] == [0, 1]
    trained = np.log10(whole.lr[whole.meta["measured"]])
    assert trained == pytest.approx([-3.0, -2.5, -2.0, -1.5, -1.0])
    assert whole.curve.shape == (2, len(loop.CURVE_STEPS), 33)
    assert whole.final_metric.shape == (1, len(loop.SCHEDULES), 2, 33)
    assert whole.curve_running is not None
    # At rates that move nothing the curve is the untrained net's.
    assert whole.curve[:, :, 0] == pytest.approx(np.tile(whole.baseline[:, None], 7), rel=1e-2)


def test_efficientnet_lite0_has_the_shapes_and_the_size_of_its_paper() -> None:
    torch.manual_seed(0)
    model = lite.EfficientNetLite0(1_000).eval()
    # 4.7 million with ImageNet's head, as its authors state.
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(4.65e6, rel=0.01)
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        whole = model.features(x)
        halves = model.upper(model.lower(x, 5), 5)
    assert whole.shape == (2, 1280)
    assert torch.equal(whole, halves)
