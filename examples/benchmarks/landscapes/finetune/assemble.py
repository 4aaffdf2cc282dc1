"""From the pieces of the plain loop to the record of a cell.

The plain loop trains a half-decade grid over the decades that matter. A record has 33 rates:
those between are interpolated along log10 of the rate, those below approach what the untrained net
scores in proportion to the rate, those above repeat the highest that was trained.
`meta["measured"]` says which of the 33 were trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.engine.optimizers import OPTIMIZERS
from examples.benchmarks.landscapes.finetune import loop
from examples.benchmarks.landscapes.finetune.problems import Problem
from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record


X = np.log10(record.LEARNING_RATES)


def coarse(problem: Problem) -> list[int]:
    """Indices of the learning rates that are trained at first: half decades."""
    low, high = problem.decades
    return [i for i in range(0, len(X), 2) if low - 1e-6 <= X[i] <= high + 1e-6]


@dataclass
class Pieces:
    """Where the pieces of a cell are."""

    folder: Path

    def rate(self, seed: int, index: int) -> Path:
        return self.folder / f"seed{seed}_rate{index}.npz"

    def ranges(self, seed: int) -> Path:
        return self.folder / f"seed{seed}_ranges.npz"

    def measured(self, seed: int) -> list[int]:
        """Indices of the rates that are there, ascending."""
        return [i for i in range(len(X)) if self.rate(seed, i).exists()]

    def seeds(self, least: list[int]) -> list[int]:
        """Seeds that have their range tests and at least the rates of `least`."""
        return [
            seed
            for seed in range(3)
            if self.ranges(seed).exists() and set(least) <= set(self.measured(seed))
        ]


def spread(values: Array, measured: list[int], untrained: Array | float | None) -> Array:
    """Values at some of the 33 rates (last axis) carried to all of them.

    Args:
        values: Shape (..., len(measured)); not finite where the training diverged.
        measured: Ascending indices.
        untrained: What a rate of 0 gives, to be approached below the lowest rate; None repeats.
    """
    whole = np.empty((*values.shape[:-1], len(X)))
    for j in range(len(X)):
        above = int(np.searchsorted(measured, j))
        if above == len(measured):
            whole[..., j] = values[..., -1]
        elif measured[above] == j:
            whole[..., j] = values[..., above]
        elif above == 0:
            lowest = values[..., 0]
            share = 1.0 if untrained is None else 10.0 ** (X[j] - X[measured[0]])
            start = lowest if untrained is None else untrained
            whole[..., j] = start + share * (lowest - start)
        else:
            low, high = measured[above - 1], measured[above]
            share = (j - low) / (high - low)
            # A divergence on the higher side counts from the lower side on: inf + x, NaN + x.
            whole[..., j] = (1 - share) * values[..., above - 1] + share * values[..., above]
    return whole


def assemble(problem: Problem, pieces: Pieces, seconds: float) -> Record:
    """The record of all seeds that are complete.

    Raises:
        ValueError: If none is.
    """
    seeds = pieces.seeds(coarse(problem))
    if not seeds:
        raise ValueError(f"{pieces.folder} holds no complete seed: train on before assembling.")
    made: dict[str, list[Array]] = {}
    for seed in seeds:
        for name, value in _of_seed(pieces, seed).items():
            made.setdefault(name, []).append(value)
    stacked = {name: np.stack(values) for name, values in made.items()}
    live = problem.batch_norm == "live"
    # (seeds, schedules, rates) to (lengths, schedules, seeds, rates).
    final = {
        name: stacked[name].swapaxes(0, 1)[None]
        for name in ("final_loss", "final_metric", "final_val_metric")
    }
    sweeps = schedules.range_tests(loop.RANGE_STEPS)
    return Record(
        meta=_meta(problem, pieces, seeds, seconds),
        lr=record.LEARNING_RATES,
        curve_steps=np.array(loop.CURVE_STEPS),
        curve=stacked["curve"],
        baseline=stacked["baseline"],
        train_loss=stacked["train_loss"],
        baseline_metric=stacked["baseline_metric"],
        curve_running=stacked["curve_running"] if live else None,
        baseline_running=stacked["baseline_running"] if live else None,
        ranges={(p, loop.RANGE_STEPS): (sweeps[p], stacked[p]) for p in loop.PROTOCOLS},
        **final,
    )


def _of_seed(pieces: Pieces, seed: int) -> dict[str, Array]:
    measured = pieces.measured(seed)
    with np.load(pieces.ranges(seed)) as stored:
        found: dict[str, Array] = dict(stored)
    untrained = {
        "curve": found["baseline"],
        "curve_running": found["baseline_running"],
        "final_loss": found["baseline_running"],
        "final_metric": found["baseline_metric"],
    }
    rows = [dict(np.load(pieces.rate(seed, i))) for i in measured]
    for name in rows[0]:
        values = np.stack([row[name] for row in rows], axis=-1)
        found[name] = spread(values, measured, untrained.get(name))
    return found


def _meta(problem: Problem, pieces: Pieces, seeds: list[int], seconds: float) -> dict[str, object]:
    spec, optimizer = tasks.spec(problem.task), OPTIMIZERS[problem.optimizer]
    parts = problem.rows()
    counts = torch.unique(parts.y_test, return_counts=True)[1]
    trained = [p for p in problem.make().parameters() if p.requires_grad]
    # A rate counts as measured if every seed has it.
    everywhere = set.intersection(*(set(pieces.measured(seed)) for seed in seeds))
    return {
        "format": record.FORMAT,
        "cell": problem.name,
        "task": problem.task,
        "kind": spec.kind,
        "real": spec.real,
        "model": problem.model,
        "optimizer": problem.optimizer,
        "family": optimizer.family,
        "beta": optimizer.beta,
        "batch_size": loop.BATCH,
        "total_steps": loop.STEPS,
        "lengths": [loop.STEPS],
        "schedules": list(loop.SCHEDULES),
        "finetune": True,
        "pretrained": problem.pretrained,
        "measured": [i in everywhere for i in range(len(X))],
        "loss": "cross_entropy",
        "label_smoothing": 0.0,
        "metric": "accuracy",
        "direction": "max",
        "default_lr": optimizer.default_lr,
        "n_classes": parts.n_classes,
        "guess": 100 * float(counts.max() / counts.sum()),
        "batch_norm": problem.batch_norm == "live",
        "n_parameters": sum(p.numel() for p in trained),
        "n_train": len(parts.x_train),
        "seeds": seeds,
        "seconds": round(seconds, 2),
        "torch": str(torch.__version__),
        "source": spec.source,
        "licence": spec.licence,
    }
