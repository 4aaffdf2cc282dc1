"""A cell from its first weights to its record: four schedules, one or two lengths, range tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.engine.joint import Joint
from examples.benchmarks.landscapes.engine.joint import joined
from examples.benchmarks.landscapes.engine.optimizers import OPTIMIZERS
from examples.benchmarks.landscapes.engine.train import Lanes
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.models import Model
from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.tasks import TaskData


RATES = torch.from_numpy(record.LEARNING_RATES)
R = len(RATES)
TRAIN_LOSSES = 160
#: Validation loss, test metric, validation metric at the end.
FINAL = ("loss", "metric", "val_metric")


@dataclass(frozen=True)
class Setting:
    """What makes a cell.

    Attributes:
        name: Of the cell's file; does not change once it is published.
        task: A name in `tasks.names()`.
        model: A name in `MODELS`.
        optimizer: A name in `OPTIMIZERS`.
        batch_size: Rows per step.
        lengths: Steps of the trainings, ascending.
        seeds: How many.
    """

    name: str
    task: str
    model: str
    optimizer: str
    batch_size: int
    lengths: tuple[int, ...]
    seeds: int = 3


@dataclass
class _Found:
    """What some seeds add to the record; shapes with the seeds' axis first."""

    curve: Array
    curve_running: Array
    train_loss: Array
    final: dict[str, Array]
    baseline: Array
    baseline_running: Array
    baseline_metric: Array
    ranges: dict[tuple[str, int], Array]


def run(
    setting: Setting, load: Callable[[str, int], TaskData], build: Callable[[TaskData], Model]
) -> Record:
    """Trains a cell."""
    started = time.process_time()
    steps = max(*setting.lengths, *schedules.RANGE_STEPS)
    problems = [
        Problem(
            load(setting.task, seed), build, setting.optimizer, setting.batch_size, steps, seed
        )
        for seed in range(setting.seeds)
    ]
    with _subnormals_as_zero():
        found = [_run(problem, setting.lengths) for problem in joined(problems)]
    seconds = time.process_time() - started
    return _record(setting, problems[0], found, seconds)


@contextmanager
def _subnormals_as_zero() -> Iterator[None]:
    """A vanishing gradient would take a hundred times as long; undone, as it is the process's."""
    were_zero = bool(torch.tensor(1e-40) * 1.0 == 0.0)  # torch does not tell otherwise
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_zero)


@dataclass
class _Plan:
    """Which lanes there are. Ids run through the groups in order, `R` or one each.

    Attributes:
        rates: Learning rate of each id at each step, shape (steps, n).
        ends: Step at which each id ends, shape (n,).
        groups: First id, schedule and index of the length of each training.
        sweeps: Id, protocol and steps of each range test.
    """

    rates: Tensor
    ends: Tensor
    groups: list[tuple[int, str, int]]
    sweeps: list[tuple[int, str, int]]


def _plan(lengths: tuple[int, ...]) -> _Plan:
    """Constant rates first; WSD is not among them, it branches off the constant rates."""
    horizon = max(*lengths, *schedules.RANGE_STEPS)
    columns: list[Tensor] = [RATES.expand(lengths[-1], -1)]
    groups = [(0, "constant", len(lengths) - 1)]
    for at, length in enumerate(lengths):
        for name in ("cosine", "onecycle"):
            groups.append((R * len(columns), name, at))
            columns.append(torch.from_numpy(schedules.FACTORS[name](length))[:, None] * RATES)
    first = R * len(columns)
    sweeps: list[tuple[int, str, int]] = []
    for n in schedules.RANGE_STEPS:
        for protocol, sweep in schedules.range_tests(n).items():
            sweeps.append((first + len(sweeps), protocol, n))
            columns.append(torch.from_numpy(sweep)[:, None])
    ends = torch.tensor([len(c) for c in columns for _ in range(c.shape[1])])
    rates = torch.cat([_filled(c, horizon) for c in columns], 1)
    return _Plan(rates.to(torch.get_default_dtype()), ends, groups, sweeps)


def _filled(column: Tensor, steps: int) -> Tensor:
    return torch.cat([column, column.new_zeros(steps - len(column), column.shape[1])])


def _run(problem: Joint, lengths: tuple[int, ...]) -> _Found:
    plan, result = _plan(lengths), _empty(problem, lengths)
    curve_steps = [s for s in record.CURVE_STEPS if s <= lengths[-1]]
    seeds, n = problem.seeds, len(plan.ends)
    slots = torch.tensor([i for i, protocol, _ in plan.sweeps if protocol == "wittmann"])
    wittmann = torch.cat([slots + s * n for s in range(seeds)])
    rates = plan.rates.repeat(1, seeds)
    losses = torch.full(rates.shape, torch.inf)
    forks = {schedules.hold_steps(length): at for at, length in enumerate(lengths)}
    lanes, step = problem.lanes(n), 0
    for mark in sorted({*curve_steps, *plan.ends.tolist(), *forks}):
        lanes = problem.advance(
            lanes, rates, step, mark, losses, (wittmann, schedules.WITTMANN_EVERY)
        )
        step, slot = mark, lanes.ids % n
        constant = lanes.where(slot < R)
        if mark in curve_steps:
            _curve_point(problem, constant, curve_steps.index(mark), mark, result, n)
        if mark in forks:
            _wsd(problem, constant, mark, lengths, forks[mark], result, n)
        if mark in lengths:
            _finish(problem, constant, lengths.index(mark), "constant", result, n)
        for first, schedule, at in plan.groups[1:]:
            if lengths[at] == mark:
                done = lanes.where((slot >= first) & (slot < first + R))
                _finish(problem, done, at, schedule, result, n, first)
        lanes = lanes.where(plan.ends[slot] > step)
    by_seed = losses.view(-1, seeds, n).transpose(0, 1)
    result.train_loss = by_seed[:, :TRAIN_LOSSES, :R].numpy()
    for i, protocol, length in plan.sweeps:
        result.ranges[protocol, length] = by_seed[:, :length, i].numpy()
    return result


def _empty(problem: Joint, lengths: tuple[int, ...]) -> _Found:
    seeds, steps = problem.seeds, sum(s <= lengths[-1] for s in record.CURVE_STEPS)
    first = problem.lanes(1)
    running = problem.scores(first, seeds)
    again = problem.model.batch_norm
    measured = problem.scores(first, seeds, measured=1) if again else running
    shape = (seeds, len(lengths), len(record.SCHEDULES), R)
    return _Found(
        curve=np.full((seeds, steps, R), np.inf, np.float32),
        curve_running=np.full((seeds, steps, R), np.inf, np.float32),
        train_loss=np.full((seeds, TRAIN_LOSSES, R), np.inf, np.float32),
        final={k: np.full(shape, np.nan, np.float32) for k in FINAL},
        baseline=measured.loss.numpy(),
        baseline_running=running.loss.numpy(),
        baseline_metric=problem.scores(first, seeds, "test").metric.numpy(),
        ranges={},
    )


def _curve_point(
    problem: Joint, constant: Lanes, at: int, step: int, result: _Found, n: int
) -> None:
    total = problem.seeds * n
    running = problem.scores(constant, total).loss
    again = problem.model.batch_norm
    measured = problem.scores(constant, total, measured=step).loss if again else running
    result.curve[:, at] = measured.view(-1, n)[:, :R].numpy()
    result.curve_running[:, at] = running.view(-1, n)[:, :R].numpy()


def _wsd(
    problem: Joint,
    constant: Lanes,
    start: int,
    lengths: tuple[int, ...],
    at: int,
    result: _Found,
    n: int,
) -> None:
    lanes = constant.rows(torch.arange(len(constant.ids)))
    rates = torch.zeros(lengths[at], n)
    rates[:, :R] = torch.from_numpy(schedules.wsd(lengths[at]))[:, None] * RATES
    lanes = problem.advance(lanes, rates.repeat(1, problem.seeds), start, lengths[at])
    _finish(problem, lanes, at, "wsd", result, n)


def _finish(
    problem: Joint, lanes: Lanes, at: int, schedule: str, result: _Found, n: int, first: int = 0
) -> None:
    """Final scores of a training's lanes, whose ids begin at `first` in each seed's `n`."""
    k = record.SCHEDULES.index(schedule)
    val = problem.scores(lanes, problem.seeds * n)
    test = problem.scores(lanes, problem.seeds * n, "test")
    for name, values in zip(FINAL, (val.loss, test.metric, val.metric), strict=True):
        result.final[name][:, at, k] = values.view(-1, n)[:, first : first + R].numpy()


def _record(setting: Setting, problem: Problem, found: list[_Found], seconds: float) -> Record:
    task = problem.task
    optimizer = OPTIMIZERS[setting.optimizer]
    batch_norm = problem.model.batch_norm
    accuracy = task.metric == "accuracy"
    meta = {
        "format": record.FORMAT,
        "revision": record.REVISION,
        "cell": setting.name,
        "task": task.name,
        "kind": task.kind,
        "real": task.real,
        "model": setting.model,
        "optimizer": setting.optimizer,
        "family": optimizer.family,
        "beta": optimizer.beta,
        "batch_size": setting.batch_size,
        "total_steps": setting.lengths[0],
        "lengths": list(setting.lengths),
        "schedules": list(record.SCHEDULES),
        "finetune": False,
        "loss": task.loss,
        "label_smoothing": task.label_smoothing,
        "metric": task.metric,
        "direction": "max" if accuracy else "min",
        "default_lr": optimizer.default_lr,
        "n_classes": task.n_classes,
        "guess": _guess(task),
        "batch_norm": batch_norm,
        "n_parameters": len(problem.first),
        "n_train": len(task.x_train),
        "seeds": list(range(setting.seeds)),
        "seconds": round(seconds, 2),
        "torch": str(torch.__version__),
        "source": task.source,
        "licence": task.licence,
    }
    sweeps = {
        (p, n): lr for n in schedules.RANGE_STEPS for p, lr in schedules.range_tests(n).items()
    }

    def of_all(name: str) -> Array:
        return np.concatenate([getattr(f, name) for f in found])

    final = {k: np.moveaxis(np.concatenate([f.final[k] for f in found]), 0, 2) for k in FINAL}
    return Record(
        meta=meta,
        lr=record.LEARNING_RATES,
        curve_steps=np.array([s for s in record.CURVE_STEPS if s <= setting.lengths[-1]]),
        curve=of_all("curve"),
        baseline=of_all("baseline"),
        train_loss=of_all("train_loss"),
        final_loss=final["loss"],
        final_metric=final["metric"],
        final_val_metric=final["val_metric"],
        baseline_metric=of_all("baseline_metric"),
        curve_running=of_all("curve_running") if batch_norm else None,
        baseline_running=of_all("baseline_running") if batch_norm else None,
        ranges={
            key: (sweeps[key], np.concatenate([f.ranges[key] for f in found]))
            for key in found[0].ranges
        },
    )


def _guess(task: TaskData) -> float | None:
    """The test accuracy of always giving the commonest answer, in points; None for a loss."""
    if task.metric != "accuracy":
        return None
    asked: Tensor = task.y_test[task.y_test != -100].flatten()
    return 100 * float(torch.unique(asked, return_counts=True)[1].max() / asked.numel())
