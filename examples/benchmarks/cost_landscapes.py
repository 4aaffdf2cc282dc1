"""What a cheaper search loses on the landscapes: `recommended` and `peak` after a real search.

The landscapes' own score reads the record's grid of a quarter decade. Here the sampler searches on
the record, its trials' losses taken from the line through the two nearest learning rates, and the
longer trials follow from what it found. What a trial passed through are the record's losses after
1, 2, 5 and 10 steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import optuna

from examples.benchmarks.landscapes.record import LEARNING_RATES
from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.rules import auto
from examples.benchmarks.landscapes.rules import package
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Curve
from examples.benchmarks.landscapes.score.replay import Solved
from examples.benchmarks.landscapes.score.replay import solve
from examples.benchmarks.landscapes.score.summary import FAILED
from examples.benchmarks.landscapes.score.weighing import Tasks
from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss.torch._first_guess import _BY_CLASS


LOOKS = (1, 2, 5, 10)
#: Classes under another name than the record's.
_CLASS = {"momentum": "sgd with momentum", "nesterov": "sgd with momentum"}


def reach(family: str, beta: float, steps: int) -> float:
    """How far so many steps go under one gradient, in steps of the first one's kind.

    Heavy-ball momentum builds up; RMSprop (alpha 0.99) and Adagrad divide by the root of the
    squared gradients so far; the steps of the others are all alike.
    """
    k = np.arange(1, steps + 1)
    if family == "rmsprop":
        return float(np.sum(1.0 / np.sqrt(1.0 - 0.99**k)))
    if family == "adagrad":
        return float(np.sum(1.0 / np.sqrt(k)))
    return steps * momentum_lag(beta, steps)


def found_by(strategy: str, cell: Cell) -> tuple[LRCurve, int]:
    """What a search on a cell's short curve finds, and how many trials it takes."""
    curves = {n: cell.curve(n, trials=0) for n in (*LOOKS, auto.STEPS)}
    baseline = curves[auto.STEPS].baseline
    low, high = float(LEARNING_RATES[0]), float(LEARNING_RATES[-1])
    study = optuna.create_study(sampler=LRStepSampler(strategy=strategy), pruner=LRStepPruner())
    first = _BY_CLASS[_CLASS.get(cell.family, cell.family)]
    for key, value in (("first", first), ("steps", auto.STEPS), ("momentum", cell.beta)):
        study.set_user_attr(f"lrss:{key}", value)
    study.set_user_attr("lrss:baseline", baseline)

    def objective(trial: optuna.Trial) -> float:
        x = math.log10(trial.suggest_float("lr", low, high, log=True))
        loss = auto._loss_at(curves[auto.STEPS], x)
        trial.set_user_attr("lrss:trial", {"path": _path(cell, curves, x, loss - baseline)})
        return loss

    study.optimize(objective, n_trials=100)
    rates = [t.params["lr"] for t in study.trials]
    losses = [np.inf if t.value is None else t.value for t in study.trials]
    return LRCurve.from_observations(np.asarray(rates), np.asarray(losses)), len(rates)


def _path(cell: Cell, curves: dict[int, Curve], x: float, excess: float) -> list[list[float]]:
    whole = reach(cell.family, cell.beta, auto.STEPS)
    looks = [
        [
            reach(cell.family, cell.beta, k) / whole,
            auto._loss_at(curves[k], x) - curves[k].baseline,
        ]
        for k in LOOKS
    ]
    path = [*looks, [1.0, excess]]
    return path if np.isfinite(path).all() else []


def points_lost(records: Iterable[Record], strategies: Iterable[str]) -> dict[str, Any]:
    """Points lost by the pick for each schedule, mean over tasks, and how sure the difference is.

    Args:
        records: Cells; fine-tuning is left out.
        strategies: The first is what the others are compared with.
    """
    solved = solve(r for r in records if not r.meta.get("finetune"))
    names = [s.landscape.task for s in solved for _ in s.cells]
    tasks = Tasks.of(names)
    lost: dict[str, Array] = {}
    figures: dict[str, Any] = {}
    for strategy in strategies:
        rows, trials = _rows(strategy, solved)
        lost[strategy] = rows
        figures[strategy] = {
            "mean": tasks.mean(rows),
            "over_5": tasks.mean((rows > FAILED).astype(float)),
            "trials": float(np.median(trials)),
        }
    first = next(iter(lost.values()))
    for name, rows in lost.items():
        figures[name]["more"] = tasks.mean(rows - first)
        figures[name]["more_interval"] = list(tasks.interval(rows - first))
    return {"tasks": tasks.number, "trainings": len(solved), "strategies": figures}


def _rows(strategy: str, solved: Iterable[Solved]) -> tuple[Array, list[int]]:
    """Points lost on each training and seed; trials of each search."""
    known: dict[int, tuple[LRCurve, int]] = {}  # trainings of one cell and seed share their curves
    rows = []
    for s in solved:
        for cell in s.cells:
            curve = cell.curve(auto.STEPS, trials=0)
            if id(curve) not in known:
                known[id(curve)] = found_by(strategy, cell)
            found = auto.search_after(cell, known[id(curve)][0])
            pick = package.for_schedule(package.advice_from(found, cell), cell.schedule)
            rows.append(s.landscape.points_lost(pick))
    return np.asarray(rows), [trials for _, trials in known.values()]
