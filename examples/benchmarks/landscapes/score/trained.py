"""Rivals that need no learning rate: trained on cells of Adam and AdamW, not replayed.

    pip install prodigyopt dadaptation schedulefree transformers
    python -m examples.benchmarks.landscapes trained [--minutes 15]      # data/trained.json

All at their own defaults, from the weights and on the batches of the cell, at its shorter length:

- Prodigy (Mishchenko & Defazio 2023) and D-Adaptation (Defazio & Mishchenko 2023, its Adam), with
  their factor 1 kept, and under the cells' cosine, as their authors advise.
- Schedule-free AdamW (Defazio et al. 2024) at its default of .0025 without warm-up.
- GreedyLR as the Trainer of transformers has it, on AdamW from its default of 1e-3, told the
  validation loss every fiftieth of the training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from examples.benchmarks.landscapes.engine import schedules
from examples.benchmarks.landscapes.engine.train import Lanes
from examples.benchmarks.landscapes.engine.train import Problem
from examples.benchmarks.landscapes.models import MODELS
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.record import load_all
from examples.benchmarks.landscapes.score import stored
from examples.benchmarks.landscapes.tasks import load


#: How often GreedyLR is told a validation loss: fifty times, five times its patience of ten.
_TOLD = 50


@dataclass(frozen=True)
class Rival:
    """An optimizer that is to be used as it comes.

    Attributes:
        name: In the tables.
        schedule: Whose best learning rate it is held against; its factor is applied to the
            rival's own rate.
        make: From parameters and weight decay.
    """

    name: str
    schedule: str
    make: Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


def rivals() -> list[Rival]:
    """The packages are extras that only this command needs."""
    from dadaptation import DAdaptAdam
    from prodigyopt import Prodigy
    from schedulefree import AdamWScheduleFree

    def prodigy(params: list[nn.Parameter], decay: float) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = Prodigy(params, weight_decay=decay)
        return made

    def d_adaptation(params: list[nn.Parameter], decay: float) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = DAdaptAdam(params, weight_decay=decay, decouple=True)
        return made

    def schedule_free(params: list[nn.Parameter], decay: float) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = AdamWScheduleFree(params, weight_decay=decay)
        return made

    def greedy(params: list[nn.Parameter], decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, weight_decay=decay)

    return [
        Rival("Prodigy", "constant", prodigy),
        Rival("Prodigy", "cosine", prodigy),
        Rival("D-Adaptation", "constant", d_adaptation),
        Rival("D-Adaptation", "cosine", d_adaptation),
        Rival("schedule-free AdamW", "constant", schedule_free),
        Rival("GreedyLR", "constant", greedy),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="landscapes trained", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="stop starting cells then")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    done: dict[str, Any] = stored.read(stored.TRAINED)
    started = time.process_time()
    for record in _one_of_each_task(load_all()):
        if time.process_time() - started > 60 * given.minutes:
            break
        name = record.meta["cell"]
        if name not in done:
            done[name] = train(record)
            stored.write(stored.TRAINED, dict(sorted(done.items())))
            print(name, f"{time.process_time() - started:.0f} s", flush=True)


def _one_of_each_task(records: list[Record]) -> list[Record]:
    """Cells of Adam and AdamW that are trained from scratch, the first of each task first."""
    own = [r for r in records if r.meta["family"] in ("adam", "adamw") and not r.meta["finetune"]]
    seen: dict[str, int] = {}
    order = []
    for r in own:
        seen[r.meta["task"]] = seen.get(r.meta["task"], -1) + 1
        order.append(seen[r.meta["task"]])
    return [r for _, _, r in sorted(zip(order, range(len(own)), own, strict=True), key=_first_two)]


def _first_two(item: tuple[int, int, Record]) -> tuple[int, int]:
    return item[:2]


def train(record: Record) -> dict[str, list[float | None]]:
    """Every rival on a cell: the final test metric of each seed."""
    of_seed = [_train_seed(record, seed) for seed in record.meta["seeds"]]
    return {name: [metrics[name] for metrics in of_seed] for name in of_seed[0]}


def _train_seed(record: Record, seed: int) -> dict[str, float | None]:
    """The rivals as lanes of one problem: the same weights and batches, an optimizer for each."""
    meta = record.meta
    steps = int(meta["lengths"][0])
    problem = Problem(
        load(meta["task"], seed),
        MODELS[meta["model"]],
        meta["optimizer"],
        int(meta["batch_size"]),
        steps,
        seed,
    )
    competing = rivals()
    lanes = problem.lanes(len(competing))
    decay = 0.01 if meta["family"] == "adamw" else 0.0
    # All of them work entry by entry, with sums over everything: one parameter does for a net.
    flat = [nn.Parameter(row) for row in lanes.theta]  # shares the lanes' memory
    optimizers = [r.make([p], decay) for r, p in zip(competing, flat, strict=True)]
    _advance(problem, lanes, competing, flat, optimizers, steps)
    result: dict[str, float | None] = {}
    for i, (rival, optimizer) in enumerate(zip(competing, optimizers, strict=True)):
        averaged = getattr(optimizer, "eval", None)
        if averaged is not None:
            averaged()
        # Averaged weights have never been trained with: their BatchNorm is measured again.
        again = steps if averaged is not None and problem.model.batch_norm else 0
        one = lanes.rows(torch.tensor([i]))
        metric = float(problem.scores(one, len(competing), "test", measured=again).metric[i])
        result[f"{rival.name}, {rival.schedule}"] = metric if metric == metric else None
    return result


def _advance(
    problem: Problem,
    lanes: Lanes,
    competing: list[Rival],
    flat: list[nn.Parameter],
    optimizers: list[torch.optim.Optimizer],
    steps: int,
) -> None:
    """All steps of all rivals; a diverged one's weights become NaN and stay so."""
    from transformers.optimization import GreedyLR

    own = [o.param_groups[0]["lr"] for o in optimizers]
    factors = [schedules.FACTORS[r.schedule](steps) for r in competing]
    greedy = {i: GreedyLR(optimizers[i]) for i, r in enumerate(competing) if r.name == "GreedyLR"}
    every = max(1, steps // _TOLD)
    for optimizer in optimizers:
        getattr(optimizer, "train", lambda: None)()
    for step in range(steps):
        losses, gradients = problem.gradient(lanes, step)
        for i, optimizer in enumerate(optimizers):
            if not losses[i].isfinite():
                lanes.theta[i] = torch.nan
                continue
            flat[i].grad = gradients[i]
            if i not in greedy:
                optimizer.param_groups[0]["lr"] = own[i] * float(factors[i][step])
            optimizer.step()
        if (step + 1) % every == 0:
            for i, scheduler in greedy.items():
                scores = problem.scores(lanes.rows(torch.tensor([i])), len(competing))
                scheduler.step(float(scores.loss[i]))
