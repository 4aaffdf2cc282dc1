"""How far the lanes are from the plain loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.engine import plain
from examples.benchmarks.landscapes.engine.cell import RATES
from examples.benchmarks.landscapes.engine.cell import R
from examples.benchmarks.landscapes.engine.cell import Setting
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.models import MODELS
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.tasks import TaskData
from optuna_lrss._method.divergence import RUNAWAY


def differences(
    setting: Setting, steps: int = 40, double: bool = True, every: int = 4
) -> list[tuple[float, float]]:
    """Largest relative difference of training and validation losses at each learning rate.

    Args:
        setting: The cell; all of its constant rates are trained as lanes.
        steps: Of either training.
        double: In float64, where a difference is a fault and not a chaotic training.
        every: Distance of the learning rates that are trained plainly too.

    Returns:
        Pairs of log10(learning rate) and difference: 0 where both diverged, inf where one did.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        task = tasks.load(setting.task, 0)
        task = _double(task) if double else task
        problem = Problem(
            task, MODELS[setting.model], setting.optimizer, setting.batch_size, steps, 0
        )
        rates = RATES.to(torch.get_default_dtype()).expand(steps, -1)
        losses = torch.full((steps, R), torch.inf)
        lanes = problem.advance(problem.lanes(R), rates, 0, steps, losses)
        last = problem.scores(lanes, R).loss
        found = []
        for i in range(0, R, every):
            reference, end = plain.train(problem, [float(RATES[i])] * steps)
            lane = [*losses[:, i].tolist(), float(last[i])]
            found.append((float(RATES[i].log10()), _relative(lane, [*reference, end])))
        return found
    finally:
        torch.set_default_dtype(default)


def against_record(setting: Setting, kept: Record, every: int = 4) -> list[tuple[float, float]]:
    """Difference of a record's final metrics from those of a plain loop, seed 0, constant rate.

    Both in float32: a training that is chaotic at its rate ends elsewhere, as it does on another
    machine.

    Returns:
        Pairs of log10(learning rate) and difference of the validation metric: in points, or of a
        loss in percent of what was there before the training. Rates at which the
        record diverged are left out.
    """
    steps = setting.lengths[0]
    build = MODELS[setting.model]
    problem = Problem(
        tasks.load(setting.task, 0), build, setting.optimizer, setting.batch_size, steps, 0
    )
    unit = 1.0 if kept.meta["metric"] == "accuracy" else 100 / abs(float(kept.baseline[0]))
    found = []
    for i in range(0, R, every):
        stored = float(kept.final_val_metric[0, 0, 0, i])
        if math.isfinite(stored):
            metric = plain.final_metric(problem, [float(RATES[i])] * steps)
            found.append((float(RATES[i].log10()), unit * abs(metric - stored)))
    return found


def _relative(lane: list[float], reference: list[float]) -> float:
    """Up to where the training has run away: beyond, rounding decides."""
    wall = RUNAWAY * max(abs(reference[0]), 1.0)
    both = enumerate(zip(lane, reference, strict=True))
    stop = next((i for i, (a, b) in both if not (abs(a) < wall and abs(b) < wall)), len(lane))
    a, b = np.array(lane[:stop]), np.array(reference[:stop])
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-3), initial=0.0))


def _double(task: TaskData) -> TaskData:
    wide = {
        f"{side}_{part}": tensor.double()
        for side in "xy"
        for part in ("train", "val", "test")
        if (tensor := getattr(task, f"{side}_{part}")).is_floating_point()
    }
    return replace(task, **wide)
