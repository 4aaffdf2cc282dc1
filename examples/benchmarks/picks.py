"""Which pick is right after a full training? Eight digits tasks against a full grid and rivals.

For every task and seed: the picks of a 20-step search, those of the learning rate range tests of
fastai, Lightning and pytorch-lr-finder on the same model and batches, then a full training of 600
steps at each pick, and at every learning rate of a grid of a quarter decade. A rule's score is
what it loses in final test accuracy against the best learning rate of the grid.

    python examples/benchmarks/picks.py            # about 6 minutes on 2 cores
    python examples/benchmarks/picks.py --smoke    # seconds
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import digits_tasks
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import range_tests
import torch
from digits_tasks import TASKS
from digits_tasks import Task
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page
from torch.nn import functional as F

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


SHORT_STEPS = 20
OUR_RULES = {
    "recommended": "recommended",
    "method 1, log-midpoint": "midpoint",
    "method 2, half-loss": "half_loss",
    "method 3, steepest": "steepest",
    "lowest short loss (argmin)": "max_lr",
}


@dataclass(frozen=True)
class Settings:
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    grid: tuple[float, ...] = tuple(float(10**x) for x in np.arange(-5, 1.01, 0.25))
    full_steps: int = digits_tasks.FULL_STEPS


SMOKE = Settings(
    seeds=(0,), grid=tuple(float(10**x) for x in np.arange(-4, 0.6, 1.5)), full_steps=8
)


@dataclass(frozen=True)
class Outcome:
    """One task. Lists over seeds are in the order of the settings; accuracies in percent."""

    task: str
    grid_accuracy: list[list[float]]  # one list over seeds for each learning rate of the grid
    window: list[tuple[float, float]]
    trials: list[int]
    picks: dict[str, list[float]]
    accuracy: dict[str, list[float]]

    @property
    def grid_mean(self) -> list[float]:
        return [float(np.mean(a)) for a in self.grid_accuracy]

    def lost(self, rule: str) -> float:
        """Points of mean test accuracy below the grid's best learning rate."""
        return max(self.grid_mean) - float(np.mean(self.accuracy[rule]))


def search(task: Task, seed: int) -> optuna.Study:
    """The search, on the batches that the full training begins with."""
    data = digits_tasks.digits()
    order = digits_tasks.batch_order(seed, digits_tasks.FULL_STEPS // 2)  # no trial takes more
    batches = [(data.train[0][i], data.train[1][i]) for i in order]
    model = task.build_model(seed)
    objective = StepObjective(
        model,
        task.build_optimizer(model),
        F.cross_entropy,
        batches,
        [data.validation],
        total_steps=digits_tasks.FULL_STEPS,
    )
    study = optuna.create_study(sampler=LRStepSampler(seed=seed))
    study.optimize(objective)
    return study


def range_test_run(task: Task, seed: int) -> range_tests.Step:
    """A fresh run for a learning rate range test on the same model and batches."""
    model = task.build_model(seed)
    optimizer = task.build_optimizer(model)
    inputs, targets = digits_tasks.digits().train
    rows = iter(digits_tasks.batch_order(seed, range_tests.N_STEPS))

    def step(lr: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = next(rows)
        loss = F.cross_entropy(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def run_task(task: Task, settings: Settings) -> Outcome:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = [search(task, seed) for seed in settings.seeds]
    analyses = [analyze(study) for study in studies]
    picks = {rule: [getattr(a, name) for a in analyses] for rule, name in OUR_RULES.items()}
    rivals = [range_tests.all_picks(partial(range_test_run, task, s)) for s in settings.seeds]
    for rule in rivals[0]:
        # A range test without a suggestion leaves its user with nothing: scored as no training.
        picks[rule] = [0.0 if (pick := of_seed[rule]) is None else pick for of_seed in rivals]
    n = len(settings.seeds)
    rates = [lr for lr in settings.grid for _ in range(n)]
    rates += [lr for of_rule in picks.values() for lr in of_rule]
    accuracies, _ = digits_tasks.train_lanes(
        task, rates, list(settings.seeds) * (len(rates) // n), settings.full_steps
    )
    by_rate = accuracies.view(-1, n).tolist()
    return Outcome(
        task=task.name,
        grid_accuracy=by_rate[: len(settings.grid)],
        window=[(a.min_lr, a.max_lr) for a in analyses],
        trials=[len(study.trials) for study in studies],
        picks=picks,
        accuracy=dict(zip(picks, by_rate[len(settings.grid) :], strict=True)),
    )


def rules_table(outcomes: list[Outcome]) -> str:
    rows = []
    for rule in outcomes[0].picks:
        lost = [o.lost(rule) for o in outcomes]
        worst = int(np.argmax(lost))
        rows.append((rule, f"{np.mean(lost):.2f}", f"{lost[worst]:.1f}", outcomes[worst].task))
    return table(("rule", "points lost, mean", "worst", "on"), rows)


def offsets_table(outcomes: list[Outcome], settings: Settings) -> str:
    """What a learning rate costs that is off the grid's best by so many decades."""
    rows = []
    for decades in (-1.0, -0.5, 0.5, 1.0):
        shift = round(4 * decades)
        lost = []
        for o in outcomes:
            at = int(np.argmax(o.grid_mean)) + shift
            if 0 <= at < len(settings.grid):
                lost.append(max(o.grid_mean) - o.grid_mean[at])
        if lost:
            rows.append((f"{decades:+g}", f"{np.mean(lost):.2f}", f"{max(lost):.1f}"))
    return table(("decades from the best", "points lost, mean", "worst"), rows)


def tasks_table(outcomes: list[Outcome], settings: Settings) -> str:
    def geometric_mean(values: list[float]) -> str:
        return f"{np.exp(np.mean(np.log(values))):.2g}"

    rows = []
    for o in outcomes:
        best = int(np.argmax(o.grid_mean))
        low, high = zip(*o.window, strict=True)
        rows.append(
            (
                o.task,
                f"{np.mean(o.trials):.0f}",
                f"{geometric_mean(list(low))} .. {geometric_mean(list(high))}",
                f"{settings.grid[best]:.2g}: {o.grid_mean[best]:.1f} %",
                *(
                    f"{geometric_mean(o.picks[rule])}: {np.mean(o.accuracy[rule]):.1f} %"
                    for rule in OUR_RULES
                ),
            )
        )
    return table(("task", "trials", "window", "best of the grid", *OUR_RULES), rows)


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    settings = Settings(**figures["settings"])
    outcomes = [Outcome(**task) for task in figures["tasks"]]
    return f"""# Picks against full trainings

Final test accuracy after {settings.full_steps} steps at the learning rate that each rule picks,
as points lost against the best learning rate of a full grid ({len(settings.grid)} learning rates,
each trained to the end). Eight tasks on scikit-learn's digits (1,000 training, 297 validation,
500 test images), {len(settings.seeds)} seeds each: a seed sets the initial weights and the batches
of the search, of the range test and of the full training.

{rules_table(outcomes)}

The first five rules read one search of {SHORT_STEPS}-step trials, `recommended` also its longer
ones (`steps="auto"`, told the length); the others are learning rate range tests with their
libraries' defaults, written from the published formulas
(`examples/benchmarks/range_tests.py`). The best of the grid is chosen with the test accuracies
themselves, so a rule that loses a few tenths of a point may be just as good.

![Final test accuracy over learning rates](picks.png)

*Final test accuracy over constant learning rates (mean and range of the seeds), the viable window
of the {SHORT_STEPS}-step search (shaded) and its picks, seed {settings.seeds[0]}.*

## The cost of missing

Points lost by a learning rate that many decades off the best of the grid, over the tasks:

{offsets_table(outcomes, settings)}

## Each task

Learning rates (geometric mean over the seeds) and final test accuracies (mean).

{tasks_table(outcomes, settings)}

## How

{figures["source"]}

The full trainings run side by side in `torch.func.vmap`. Before anything is measured the script
holds them to the ordinary training loop: over every task, 40 steps at 10^-3 and 10^-2, the
largest relative difference of a loss was {figures["largest_difference"]:.1e}.
"""


def draw(outcomes: list[Outcome], settings: Settings, path: Path) -> None:
    """Final accuracy over learning rates with the picks, one panel a task."""
    styles = {
        "recommended": ("black", "-"),
        "method 1, log-midpoint": ("tab:orange", "--"),
        "method 2, half-loss": ("tab:blue", "-."),
        "method 3, steepest": ("tab:green", ":"),
    }
    mpl.use("agg")
    figure, axes = plt.subplots(2, 4, figsize=(13, 5.6), sharex=True, sharey=True)
    for ax, o in zip(axes.flat, outcomes, strict=False):
        accuracy = np.array(o.grid_accuracy)
        ax.axvspan(*o.window[0], color="tab:orange", alpha=0.12, lw=0)
        ax.fill_between(settings.grid, accuracy.min(1), accuracy.max(1), color="0.8")
        ax.plot(settings.grid, accuracy.mean(1), color="0.25", lw=1.2)
        for rule, (color, line) in styles.items():
            ax.axvline(o.picks[rule][0], color=color, ls=line, lw=1.6, label=rule)
        ax.set(xscale="log", title=o.task, ylim=(0, 102))
    for ax in axes[-1]:
        ax.set_xlabel("learning rate")
    for ax in axes[:, 0]:
        ax.set_ylabel("final test accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    arguments = parser(__doc__).parse_args()
    settings = SMOKE if arguments.smoke else Settings()
    tasks = TASKS[::3] if arguments.smoke else TASKS
    started = time.perf_counter()
    difference = max(
        digits_tasks.largest_difference(task, [1e-3, 1e-2], steps=40) for task in tasks
    )
    if difference > 1e-3:
        raise SystemExit(f"the vectorised training differs from the loop by {difference:.1e}")
    # Processes are spawned: a fork of a process that has used torch's threads may hang.
    with ProcessPoolExecutor(cpu_count(), mp_context=get_context("spawn")) as pool:
        outcomes = list(pool.map(partial(run_task, settings=settings), tasks))
    folder = output_folder(arguments)
    figures = {
        "source": provenance("picks", time.perf_counter() - started, smoke=arguments.smoke),
        "settings": asdict(settings),
        "largest_difference": difference,
        "tasks": [asdict(o) for o in outcomes],
    }
    write_page(folder, "picks", figures, render)
    if folder is not None:
        draw(outcomes, settings, folder / "picks.png")


if __name__ == "__main__":
    main()
