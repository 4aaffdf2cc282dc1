"""Which schedule, and does a second search during the training pay?

Four small cells. Each is searched once before the training, for its length, and trained at a
constant ``recommended``, and along a cosine, one cycle and warmup-stable-decay at ``peak``. Then
twice with a second search after a third of the steps, from the weights and the optimizer's state
of that moment, and the rest at the new pick: once constant, once to the end of its own
warmup-stable-decay. What counts is the accuracy on test data at the end.

    python examples/benchmarks/schedules.py            # about 2 minutes of one core
    python examples/benchmarks/schedules.py --smoke    # seconds
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from report import RESULTS
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from optuna_lrss import LRAnalysis
from optuna_lrss import NoWindowError
from optuna_lrss.torch import apply_learning_rate
from optuna_lrss.torch import find_lr


sys.path.append(str(Path(__file__).parents[2]))  # this is a script, the tasks are a package

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.score.forms import put


BATCH_SIZE = 32
CONSTANT, AGAIN = "constant", "constant, searched again"
DECAYING, DECAYING_AGAIN = "wsd", "wsd, searched again"
SCHEMES = (CONSTANT, "cosine", "one-cycle", DECAYING, AGAIN, DECAYING_AGAIN)

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Cell:
    """What is trained: a task of the landscapes, a model, an optimizer."""

    name: str
    task: str
    model: Callable[[tasks.TaskData], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]


def _mlp(task: tasks.TaskData) -> nn.Module:
    features = task.x_train[0].numel()
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, task.n_classes),
    )


def _bag(task: tasks.TaskData) -> nn.Module:
    """Mean of the words' embeddings, the filler left out."""
    return nn.Sequential(
        nn.EmbeddingBag(task.vocab, 16, mode="mean", padding_idx=tasks.PAD),
        nn.Linear(16, task.n_classes),
    )


def _momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


CELLS = (
    Cell("digits, MLP, SGD with momentum", "digits", _mlp, _momentum),
    Cell("digits, MLP, Adam", "digits", _mlp, _adam),
    Cell("mnist1d, MLP, SGD with momentum", "mnist1d", _mlp, _momentum),
    Cell("AG News, bag of words, Adam", "ag_news", _bag, _adam),
)


@dataclass(frozen=True)
class Settings:
    total_steps: int = 500
    seeds: tuple[int, ...] = (0, 1)
    cells: tuple[Cell, ...] = CELLS

    @property
    def third(self) -> int:
        """Steps before the second search."""
        return self.total_steps // 3


SMOKE = Settings(total_steps=60, seeds=(0,), cells=CELLS[:2])


@dataclass
class Run:
    """One training under way: where it is, and the learning rates that it took."""

    task: tasks.TaskData
    seed: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rates: list[float] = field(default_factory=list)

    @classmethod
    def new(cls, cell: Cell, seed: int) -> Run:
        task = tasks.load(cell.task)
        torch.manual_seed(seed)
        model = cell.model(task)
        return cls(task, seed, model, cell.optimizer(model))

    def batches(self) -> Iterator[Batch]:
        """What comes next in the order of the seed, epoch after epoch, without end."""
        x, y = self.task.x_train, self.task.y_train
        per_epoch = len(x) // BATCH_SIZE
        for step in itertools.count(len(self.rates)):
            epoch, i = divmod(step, per_epoch)
            generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
            rows = torch.randperm(len(x), generator=generator)[i * BATCH_SIZE :][:BATCH_SIZE]
            yield x[rows], y[rows]

    def search(self, left: int) -> LRAnalysis | None:
        """Short trials from where the training is; nothing if none of them learns."""
        ahead = list(itertools.islice(self.batches(), max(left, 20)))
        held_out = [(self.task.x_val, self.task.y_val)]
        try:
            return find_lr(
                self.model,
                self.optimizer,
                F.cross_entropy,
                ahead,
                held_out,
                total_steps=left,
                progress=False,
            )
        except NoWindowError:
            return None

    def train(self, steps: int, scheduler: LRScheduler | None = None) -> None:
        for x, y in itertools.islice(self.batches(), steps):
            loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
            self.optimizer.step()
            if scheduler is not None:
                scheduler.step()

    @torch.no_grad()
    def accuracy(self) -> float:
        """On test data, in percent; what is no longer finite guesses the first class."""
        hits = self.model(self.task.x_test).argmax(1) == self.task.y_test
        return 100.0 * float(hits.float().mean())


def scheduled(run: Run, result: LRAnalysis, scheme: str, steps: int) -> LRScheduler | None:
    """The scheme's learning rate on the optimizer, and its scheduler."""
    if scheme == CONSTANT:
        apply_learning_rate(run.optimizer, result.with_total_steps(steps).recommended)
        return None
    if scheme == "cosine":
        return result.warmup_cosine(run.optimizer, steps)
    if scheme == "one-cycle":
        return result.one_cycle(run.optimizer, steps)
    # At the peak of the others: wsd() by itself takes less, since it stays there for so long.
    return result.wsd(run.optimizer, steps, peak=result.with_total_steps(steps).peak)


def measured(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Windows, picks and final accuracies of a cell, each a list over seeds."""
    out: dict[str, Any] = {
        "cell": cell.name,
        "window": [],
        "recommended": [],
        "peak": [],
        "again": {AGAIN: [], DECAYING_AGAIN: []},
        "accuracy": {scheme: [] for scheme in SCHEMES},
        "rates": {},
    }
    for seed in settings.seeds:
        first = Run.new(cell, seed).search(settings.total_steps)
        assert first is not None, f"{cell.name} learns at no rate"
        out["window"].append([first.min_lr, first.max_lr])
        out["recommended"].append(first.recommended)
        out["peak"].append(first.peak)
        for scheme in SCHEMES:
            run = Run.new(cell, seed)
            base = scheme.partition(",")[0]
            scheduler = scheduled(run, first, base, settings.total_steps)
            if scheme == base:
                run.train(settings.total_steps, scheduler)
            else:
                out["again"][scheme].append(_go_on(run, base, scheduler, settings))
            out["accuracy"][scheme].append(run.accuracy())
            if seed == settings.seeds[0]:
                out["rates"][scheme] = run.rates
    return out


def _go_on(
    run: Run, base: str, scheduler: LRScheduler | None, settings: Settings
) -> dict[str, float] | None:
    """Trains a third, searches, and trains the rest with what was found, if anything was."""
    run.train(settings.third, scheduler)
    left = settings.total_steps - settings.third
    second = run.search(left)
    if second is not None:
        scheduler = scheduled(run, second, base, left)
    run.train(left, scheduler)
    if second is None:
        return None
    pick = second.recommended if base == CONSTANT else second.peak
    return {"min_lr": second.min_lr, "max_lr": second.max_lr, "pick": pick}


# --- The page ------------------------------------------------------------------------------------


def render(figures: dict[str, Any]) -> str:
    """The page as Markdown."""
    cells = figures["cells"]
    header = ["cell", *SCHEMES]
    rows = [[c["cell"], *(_mean(c["accuracy"][s]) for s in SCHEMES)] for c in cells]
    return (
        "\n\n".join(
            [
                "# Schedules, and searching again",
                f"{len(cells)} small cells of {figures['total_steps']} steps with batches of "
                f"{BATCH_SIZE}, {figures['seeds']} seeds. One search of 20-step trials before the "
                "training, with longer ones where it asked for them, gives `recommended` for the "
                "constant rate and `peak` for the schedules, wsd too, which are the analysis's. "
                f"*Searched again*: after {figures['third']} steps the same search from the "
                "weights and the optimizer's state of that moment, for the steps that are left, "
                "and on with its pick.",
                "Test accuracy at the end in percent, mean and standard deviation over seeds:",
                table(header, rows),
                "Points against the constant rate, and what the second search gains or loses "
                "against the same schedule without it:",
                guide(figures),
                "The window and the pick before the training, and after a third of it (constant "
                "rate, first seed), in decades that they moved:",
                table(
                    ["cell", "window", "recommended", "window again", "pick again", "moved"],
                    map(_moved, cells),
                ),
                "![Learning rates of one cell, and what each scheme gains](schedules.png)",
                figures["source"],
            ]
        )
        + "\n"
    )


def guide(figures: dict[str, Any]) -> str:
    """The table of the guide: what each scheme gains in each cell, and what that says."""
    header = ["cell", "cosine", "one-cycle", "wsd", "again, constant", "again, wsd"]
    rows = [*map(_gains, figures["cells"]), _gains(_pooled(figures["cells"]))]
    return f"{table(header, rows)}\n\n{in_words(figures)}"


def in_words(figures: dict[str, Any]) -> str:
    """What the table says."""
    cells = figures["cells"]
    decay = gains_of(_pooled(cells))[DECAYING]
    constant, wsd = (
        _paired(cells, *pair) for pair in ((AGAIN, CONSTANT), (DECAYING_AGAIN, DECAYING))
    )
    pays = wsd[0] > wsd[1]
    none = sum(a is None for c in cells for s in c["again"].values() for a in s)
    kept = f" {none} of the second searches found nothing to learn: there the rate was kept."
    return (
        f"At a constant rate a second search changes {constant[0]:+.1f} ± {constant[1]:.1f} "
        f"points, where the decay of warmup-stable-decay gives {decay:+.1f} without one. With "
        f"that decay it changes {wsd[0]:+.1f} ± {wsd[1]:.1f}: beside a schedule it "
        f"**{'pays here' if pays else 'does not pay'}**, and it costs as many steps as a search. "
        "(Two standard errors, over cells and seeds, of differences between trainings of the "
        f"same seed.){kept if none else ''}"
    )


def _paired(cells: list[dict[str, Any]], scheme: str, other: str) -> tuple[float, float]:
    """Mean difference in points over cells and seeds, and two standard errors of it."""
    pairs = [
        a - b
        for c in cells
        for a, b in zip(c["accuracy"][scheme], c["accuracy"][other], strict=True)
    ]
    error = np.std(pairs, ddof=1) / len(pairs) ** 0.5 if len(pairs) > 1 else 0.0
    return float(np.mean(pairs)), float(2.0 * error)


def gains_of(cell: dict[str, Any]) -> dict[str, float]:
    """Points of each scheme: a second search against the same without, others against constant."""
    accuracy = {s: float(np.mean(a)) for s, a in cell["accuracy"].items()}
    against = {AGAIN: CONSTANT, DECAYING_AGAIN: DECAYING}
    return {s: accuracy[s] - accuracy[against.get(s, CONSTANT)] for s in SCHEMES[1:]}


def _gains(cell: dict[str, Any]) -> list[str]:
    return [cell["cell"], *(f"{gain:+.1f}" for gain in gains_of(cell).values())]


def _pooled(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """All cells as one."""
    accuracy = {s: [float(np.mean(c["accuracy"][s])) for c in cells] for s in SCHEMES}
    return {"cell": "mean", "accuracy": accuracy}


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def _moved(cell: dict[str, Any]) -> list[str]:
    low, high = cell["window"][0]
    pick, again = cell["recommended"][0], cell["again"][AGAIN][0]
    row = [cell["cell"], f"{low:.1e} .. {high:.1e}", f"{pick:.1e}"]
    if again is None:
        return [*row, "none", "", ""]
    window = f"{again['min_lr']:.1e} .. {again['max_lr']:.1e}"
    return [*row, window, f"{again['pick']:.1e}", f"{np.log10(again['pick'] / pick):+.2f}"]


def draw(figures: dict[str, Any], path: Path) -> None:
    """The first cell's learning rates, and every cell's gains."""
    mpl.use("agg")
    cell = figures["cells"][0]
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colors = {scheme: f"C{i}" for i, scheme in enumerate(SCHEMES)}
    for scheme in SCHEMES:
        line = "--" if "again" in scheme else "-"
        left.plot(cell["rates"][scheme], color=colors[scheme], label=scheme, ls=line)
    left.axhspan(*cell["window"][0], color="tab:orange", alpha=0.12, lw=0, label="window")
    left.set(xlabel="optimizer step", ylabel="learning rate", yscale="log", title=cell["cell"])
    left.set_ylim(cell["window"][0][0] / 50, cell["window"][0][1] * 2)
    left.legend(frameon=False, fontsize=8, loc="lower left")
    width = 0.8 / len(SCHEMES[1:])
    for i, scheme in enumerate(SCHEMES[1:]):
        gains = [gains_of(c)[scheme] for c in figures["cells"]]
        right.bar(
            np.arange(len(gains)) + i * width, gains, width, color=colors[scheme], label=scheme
        )
    right.axhline(0, color="0.3", lw=1)
    right.set_xticks(
        np.arange(len(figures["cells"])) + 0.3,
        [c["cell"].replace(", ", "\n") for c in figures["cells"]],
        fontsize=8,
    )
    right.set(ylabel="points gained", title="against constant; again against the same without")
    right.legend(frameon=False, fontsize=8)
    fig.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(fig)


def main() -> None:
    """Measures and writes."""
    arguments = parser(__doc__).parse_args()
    settings = SMOKE if arguments.smoke else Settings()
    torch.set_num_threads(1)
    started = time.perf_counter()
    found = []
    for cell in settings.cells:
        found.append(measured(cell, settings))
        print(cell.name, gains_of(found[-1]), flush=True)
    figures = {
        "total_steps": settings.total_steps,
        "third": settings.third,
        "seeds": len(settings.seeds),
        "source": provenance("schedules", time.perf_counter() - started, smoke=arguments.smoke),
        "cells": found,
    }
    folder = output_folder(arguments)
    if folder is not None:
        draw(figures, folder / "schedules.png")
    if folder == RESULTS:
        put(RESULTS.parent / "guide" / "schedules.md", "schedules", guide(figures))
    write_page(folder, "schedules", figures, render)


if __name__ == "__main__":
    main()
