"""A cell from its first weights to its record: four schedules, one or two lengths, range tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.engine import schedules
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
class _Seed:
    """What one seed adds to the record; shapes without the seeds' axis."""

    curve: Array
    curve_running: Array
    train_loss: Array
    final: dict[str, Array]
    baseline: float
    baseline_running: float
    baseline_metric: float
    ranges: dict[tuple[str, int], Array]


def run(
    setting: Setting, load: Callable[[str, int], TaskData], build: Callable[[TaskData], Model]
) -> Record:
    """Trains a cell."""
    torch.set_flush_denormal(True)  # a vanishing gradient would take a hundred times as long
    started = time.process_time()
    seeds = []
    for seed in range(setting.seeds):
        task = load(setting.task, seed)
        steps = max(*setting.lengths, *schedules.RANGE_STEPS)
        problem = Problem(task, build, setting.optimizer, setting.batch_size, steps, seed)
        seeds.append(_run_seed(problem, setting.lengths))
    seconds = time.process_time() - started
    return _record(setting, task, problem, seeds, seconds)


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
    first, sweeps = R * len(columns), []
    for n in schedules.RANGE_STEPS:
        for protocol, sweep in schedules.range_tests(n).items():
            sweeps.append((first + len(sweeps), protocol, n))
            columns.append(torch.from_numpy(sweep)[:, None])
    ends = torch.tensor([len(c) for c in columns for _ in range(c.shape[1])])
    rates = torch.cat([_filled(c, horizon) for c in columns], 1)
    return _Plan(rates.to(torch.get_default_dtype()), ends, groups, sweeps)


def _filled(column: Tensor, steps: int) -> Tensor:
    return torch.cat([column, column.new_zeros(steps - len(column), column.shape[1])])


def _run_seed(problem: Problem, lengths: tuple[int, ...]) -> _Seed:
    plan, result = _plan(lengths), _empty(problem, lengths)
    curve_steps = [s for s in record.CURVE_STEPS if s <= lengths[-1]]
    n = len(plan.ends)
    wittmann = torch.tensor([i for i, protocol, _ in plan.sweeps if protocol == "wittmann"])
    losses = torch.full(plan.rates.shape, torch.inf)
    forks = {schedules.hold_steps(length): at for at, length in enumerate(lengths)}
    lanes, step = problem.lanes(n), 0
    for mark in sorted({*curve_steps, *plan.ends.tolist(), *forks}):
        lanes = problem.advance(
            lanes, plan.rates, step, mark, losses, (wittmann, schedules.WITTMANN_EVERY)
        )
        step = mark
        constant = lanes.where(lanes.ids < R)
        if mark in curve_steps:
            _curve_point(problem, constant, curve_steps.index(mark), mark, result)
        if mark in lengths:
            _finish(problem, constant, lengths.index(mark), "constant", result)
        if mark in forks:
            _wsd(problem, constant, mark, lengths, forks[mark], result)
        for first, schedule, at in plan.groups[1:]:
            if lengths[at] == mark:
                done = lanes.where((lanes.ids >= first) & (lanes.ids < first + R))
                _finish(problem, done, at, schedule, result, first)
        lanes = lanes.where(plan.ends[lanes.ids] > step)
    result.train_loss = losses[:TRAIN_LOSSES, :R].numpy()
    for i, protocol, length in plan.sweeps:
        result.ranges[protocol, length] = losses[:length, i].numpy()
    return result


def _empty(problem: Problem, lengths: tuple[int, ...]) -> _Seed:
    steps = sum(s <= lengths[-1] for s in record.CURVE_STEPS)
    one = problem.lanes(1)
    running = problem.scores(one, 1)
    measured = problem.scores(one, 1, measured=1) if problem.model.batch_norm else running
    shape = (len(lengths), len(record.SCHEDULES), R)
    return _Seed(
        curve=np.full((steps, R), np.inf, np.float32),
        curve_running=np.full((steps, R), np.inf, np.float32),
        train_loss=np.full((TRAIN_LOSSES, R), np.inf, np.float32),
        final={k: np.full(shape, np.nan, np.float32) for k in ("loss", "metric", "val_metric")},
        baseline=float(measured.loss),
        baseline_running=float(running.loss),
        baseline_metric=float(problem.scores(one, 1, "test").metric),
        ranges={},
    )


def _curve_point(problem: Problem, constant: Lanes, at: int, step: int, result: _Seed) -> None:
    running = problem.scores(constant, R).loss
    measured = (
        problem.scores(constant, R, measured=step).loss if problem.model.batch_norm else running
    )
    result.curve[at], result.curve_running[at] = measured.numpy(), running.numpy()


def _wsd(
    problem: Problem,
    constant: Lanes,
    start: int,
    lengths: tuple[int, ...],
    at: int,
    result: _Seed,
) -> None:
    lanes = constant.rows(torch.arange(len(constant.ids)))
    factors = torch.from_numpy(schedules.wsd(lengths[at]))
    rates = (factors[:, None] * RATES).to(lanes.theta)
    lanes = problem.advance(lanes, rates, start, lengths[at])
    _finish(problem, lanes, at, "wsd", result)


def _finish(
    problem: Problem, lanes: Lanes, at: int, schedule: str, result: _Seed, first: int = 0
) -> None:
    """Final scores of a training's lanes, whose ids begin at `first`."""
    k = record.SCHEDULES.index(schedule)
    val = problem.scores(lanes, first + R)
    test = problem.scores(lanes, first + R, "test")
    result.final["loss"][at, k] = val.loss[first:].numpy()
    result.final["val_metric"][at, k] = val.metric[first:].numpy()
    result.final["metric"][at, k] = test.metric[first:].numpy()


def _record(
    setting: Setting, task: TaskData, problem: Problem, seeds: list[_Seed], seconds: float
) -> Record:
    optimizer = OPTIMIZERS[setting.optimizer]
    batch_norm = problem.model.batch_norm
    accuracy = task.metric == "accuracy"
    meta = {
        "format": record.FORMAT,
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
    final = {
        key: np.stack([s.final[key] for s in seeds], axis=2)
        for key in ("loss", "metric", "val_metric")
    }
    sweeps = {
        (p, n): lr for n in schedules.RANGE_STEPS for p, lr in schedules.range_tests(n).items()
    }
    return Record(
        meta=meta,
        lr=record.LEARNING_RATES,
        curve_steps=np.array([s for s in record.CURVE_STEPS if s <= setting.lengths[-1]]),
        curve=np.stack([s.curve for s in seeds]),
        baseline=np.array([s.baseline for s in seeds]),
        train_loss=np.stack([s.train_loss for s in seeds]),
        final_loss=final["loss"],
        final_metric=final["metric"],
        final_val_metric=final["val_metric"],
        baseline_metric=np.array([s.baseline_metric for s in seeds]),
        curve_running=np.stack([s.curve_running for s in seeds]) if batch_norm else None,
        baseline_running=np.array([s.baseline_running for s in seeds]) if batch_norm else None,
        ranges={
            key: (sweeps[key], np.stack([s.ranges[key] for s in seeds])) for key in seeds[0].ranges
        },
    )


def _guess(task: TaskData) -> float | None:
    """The test accuracy of always giving the commonest answer, in points; None for a loss."""
    if task.metric != "accuracy":
        return None
    asked: Tensor = task.y_test[task.y_test != -100].flatten()
    return 100 * float(torch.unique(asked, return_counts=True)[1].max() / asked.numel())
