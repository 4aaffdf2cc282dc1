"""Learning rate and three other hyperparameters on digits, against TPE over all four.

An MLP with SGD and momentum; batch size, width and weight decay are searched beside the learning
rate. Every search may take the same optimizer steps, those of the final training included:

- LRStepSampler: 12 configurations, each with a curve of 20-step trials; the best one is trained
  to the end at its recommended learning rate;
- TPE, short trials: 20-step trials with all four parameters; the best is trained to the end;
- TPE, full trainings: every trial is a full training; the one with the best validation loss wins.

    python examples/benchmarks/nested.py
    python examples/benchmarks/nested.py --smoke
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections import Counter
from typing import Any

import optuna
import torch
from digits_tasks import digits
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import configurations
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces


LOW, HIGH = 1e-7, 10.0
STEPS = 20


def build(trial: optuna.trial.BaseTrial, seed: int) -> StepPieces:
    batch_size = trial.suggest_categorical("batch_size", [16, 32, 64, 128])
    width = trial.suggest_int("width", 16, 256, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=weight_decay
    )
    data = digits()
    order = torch.Generator().manual_seed(seed)
    train = DataLoader(TensorDataset(*data.train), batch_size, shuffle=True, generator=order)
    validation = DataLoader(TensorDataset(*data.validation), batch_size=297)
    return StepPieces(model, optimizer, nn.CrossEntropyLoss(), train, validation)


def train_fully(params: dict[str, Any], seed: int, steps: int) -> tuple[float, float]:
    """Validation loss and test accuracy in percent after a training at a constant lr."""
    pieces = build(optuna.trial.FixedTrial(params), seed)
    model, loss_fn, step = pieces.model, nn.CrossEntropyLoss(), 0
    for group in pieces.optimizer.param_groups:
        group["lr"] = params["lr"]
    while step < steps:
        for x, y in pieces.train_loader:
            pieces.optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            pieces.optimizer.step()
            step += 1
            if step == steps:
                break
    with torch.no_grad():
        x, y = digits().validation
        loss = float(loss_fn(model(x), y))
        x, y = digits().test
        accuracy = 100.0 * float((model(x).argmax(dim=1) == y).float().mean())
    return (loss if math.isfinite(loss) else math.inf), accuracy


def short_trials(sampler: BaseSampler, seed: int, n_trials: int | None) -> optuna.Study:
    objective = StepObjective.from_factory(
        functools.partial(build, seed=seed), steps=STEPS, low=LOW, high=HIGH
    )
    pruner = LRStepPruner() if n_trials is None else optuna.pruners.NopPruner()
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=n_trials)
    return study


def nested_search(seed: int, n: int, full_steps: int) -> dict[str, Any]:
    sampler = LRStepSampler(max_configurations=n, base_sampler=TPESampler(seed=seed))
    started = time.perf_counter()
    study = short_trials(sampler, seed, None)
    seconds = time.perf_counter() - started
    result = analyze(study)
    rows = configurations(study)
    steps = sum(t.user_attrs["lrss:trial"]["steps"] for t in study.trials)
    params = {**result.configuration, "lr": result.recommended}
    _, accuracy = train_fully(params, seed, full_steps)
    refined = [i for i, row in enumerate(rows) if i > 0 and row.best]
    return {
        "trials": [row.n_trials for row in rows],
        "refined": refined,
        "steps": steps + full_steps,
        "seconds": seconds,
        "accuracy": accuracy,
        "params": params,
    }


def tpe_short(seed: int, steps: int, full_steps: int) -> dict[str, Any]:
    study = short_trials(TPESampler(seed=seed), seed, (steps - full_steps) // STEPS)
    _, accuracy = train_fully(study.best_params, seed, full_steps)
    return {"trials": len(study.trials), "accuracy": accuracy, "params": study.best_params}


def tpe_full(seed: int, steps: int, full_steps: int) -> dict[str, Any]:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("lr", LOW, HIGH, log=True)
        build(trial, seed)
        loss, accuracy = train_fully(trial.params, seed, full_steps)
        trial.set_user_attr("accuracy", accuracy)
        return loss

    study = optuna.create_study(sampler=TPESampler(seed=seed))
    study.optimize(objective, n_trials=max(steps // full_steps, 1))
    accuracy = study.best_trial.user_attrs["accuracy"]
    return {"trials": len(study.trials), "accuracy": accuracy, "params": study.best_params}


def render(figures: dict[str, Any]) -> str:
    runs, full_steps = figures["runs"], figures["full_steps"]
    later = [n for run in runs for n in run["nested"]["trials"][1:]]
    plain = [
        n
        for run in runs
        for i, n in enumerate(run["nested"]["trials"])
        if i > 0 and i not in run["nested"]["refined"]
    ]
    counts = Counter(later)
    rows = [
        (
            run["seed"],
            run["nested"]["steps"],
            *(f"{run[kind]['accuracy']:.1f}" for kind in ("nested", "short", "full")),
        )
        for run in runs
    ]
    means = [
        f"**{statistics.mean(run[kind]['accuracy'] for run in runs):.1f}**"
        for kind in ("nested", "short", "full")
    ]
    first = [run["nested"]["trials"][0] for run in runs]
    head = ("seed", "optimizer steps", "LRStepSampler", "TPE, short trials", "TPE, full trainings")
    trials_head = ("", "mean", "median", "largest")
    trials_rows = [
        (name, f"{statistics.mean(n):.1f}", f"{statistics.median(n):g}", max(n))
        for name, n in (
            ("first configuration", first),
            ("later configurations", later),
            ("of these without the best one, which is refined at the end", plain),
        )
        if n
    ]
    few = sum(c for n, c in counts.items() if n <= 8)
    return f"""# Other hyperparameters

Batch size (16, 32, 64, 128), width (16 to 256) and weight decay (1e-6 to 0.1) of an MLP with SGD
and momentum on scikit-learn's digits, beside the learning rate (1e-7 to 10).

## Trials per configuration

{figures["configurations"]} configurations, seeds: {len(runs)}. The first is searched from nothing.
Later ones begin at the window of the one most like them and are resolved within twice the
tolerance; the best is resolved within the tolerance at the end.

{table(trials_head, trials_rows)}

{few} of {len(later)} later configurations took 8 trials or fewer.

## Test accuracy after {full_steps} steps, in percent

Every search in a row took the same number of optimizer steps, those of the final training of
{full_steps} steps included.

{table(head, [*rows, ("mean", "", *means)])}

*TPE, full trainings* had {runs[0]["full"]["trials"]} trials with seed {runs[0]["seed"]}, \
*TPE, short trials* {runs[0]["short"]["trials"]}.

{figures["source"]}
"""


def main() -> None:
    arguments = parser(__doc__).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    smoke = arguments.smoke
    n, full_steps, seeds = (2, 60, 1) if smoke else (12, 400, 5)
    started = time.perf_counter()
    runs = []
    for seed in range(seeds):
        nested = nested_search(seed, n, full_steps)
        short = tpe_short(seed, nested["steps"], full_steps)
        full = tpe_full(seed, nested["steps"], full_steps)
        runs.append({"seed": seed, "nested": nested, "short": short, "full": full})
    figures = {
        "source": provenance("nested", time.perf_counter() - started, smoke=smoke),
        "configurations": n,
        "full_steps": full_steps,
        "runs": runs,
    }
    write_page(output_folder(arguments), "nested", figures, render)


if __name__ == "__main__":
    main()
