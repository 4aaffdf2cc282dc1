"""What a run measured, as plain figures read from its two studies."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from examples.paper._config import EXPERIMENTS
from examples.paper._config import Config
from examples.paper._config import config_of
from examples.paper._run import MACHINE
from examples.paper._run import RIVALS
from examples.paper._studies import DECAYING
from examples.paper._studies import GRID
from examples.paper._studies import PICKS
from examples.paper._studies import SEARCH
from examples.paper._studies import accuracies
from examples.paper._studies import best_of_grid
from examples.paper._studies import storage_of
from examples.paper._studies import trials_at
from examples.paper._train import EVALUATION_BATCH
from optuna_lrss import analyze


Results = dict[str, Any]


class UnfinishedRunError(Exception):
    """A run is not at its end; the message says how to finish it."""


def measure(config: Config, database: Path) -> Results:
    """Reads a finished run.

    Args:
        config: The experiment.
        database: The SQLite file of its studies.

    Returns:
        Plain values for JSON: ``analysis`` (of the search), ``grid``, ``picks``, ``best``,
        ``rivals``, ``spread`` (standard deviation of an accuracy over seeds, pooled), ``cost``,
        and what was trained. Accuracies are in percent, regrets in points.

    Raises:
        UnfinishedRunError: If a full training is missing.
    """
    storage = storage_of(database)
    try:
        searched = optuna.load_study(study_name=SEARCH, storage=storage)
        trained = optuna.load_study(study_name=GRID, storage=storage)
        decayed = optuna.load_study(study_name=DECAYING, storage=storage)
    except KeyError as error:
        raise _unfinished(config) from error
    analysis = analyze(searched, total_steps=config.full_steps)
    grid = [entry(trained, lr) for lr in config.grid_lrs]
    at = {name: float(getattr(analysis, name)) for name in PICKS}
    if config.grid_seeds == len(config.seeds):
        picks = {name: read_off(grid, lr) for name, lr in at.items()}
    else:
        picks = {name: entry(trained, lr) for name, lr in at.items()}
    picks["peak"] = entry(decayed, analysis.peak)
    stored = searched.user_attrs.get(RIVALS, {"picks": {}})
    rivals = {name: entry(trained, lr) for name, lr in stored["picks"].items()}
    if not all(found["accuracies"] for found in (*grid, *rivals.values())):
        raise _unfinished(config)
    best = entry(trained, best_of_grid(trained, config))
    if MACHINE not in trained.user_attrs:  # written when all is done
        raise _unfinished(config)
    n_seeds = [len(found["accuracies"]) for found in (best, *picks.values())]
    if min(n_seeds) < len(config.seeds):
        raise _unfinished(config)
    with_regrets(best, picks, rivals)
    return {
        **_description(config),
        "machine": trained.user_attrs[MACHINE],
        "analysis": json.loads(analysis.to_json()),
        "grid": grid,
        "picks": picks,
        "best": best,
        "rivals": rivals,
        "sweep": {key: value for key, value in stored.items() if key != "picks"},
        "spread": pooled([best, *picks.values()]),
        "cost": _cost(config, searched, trained, analysis.n_steps or 0),
    }


def _unfinished(config: Config) -> UnfinishedRunError:
    return UnfinishedRunError(
        f"The run of {config.name} at scale {config.scale} is not finished: python -m "
        f"examples.paper run --experiment {config.name} --scale {config.scale} goes on with it."
    )


def _description(config: Config) -> Results:
    return {
        "experiment": config.name,
        "scale": config.scale,
        "title": config.title,
        "optimizer": config.optimizer_text,
        "pretrained": config.pretrained,
        "full_steps": config.full_steps,
        "short_steps": config.short_steps,
        "batch_size": config.batch_size,
        "seeds": list(config.seeds),
        "grid_step": config.grid_step,
        "grid_seeds": config.grid_seeds,
        "search_range": list(config.search_range),
    }


def entry(study: Study, lr: float) -> Results:
    """Accuracies at one learning rate, by seed, with mean and standard deviation."""
    diverged = sum(t.user_attrs["training"]["diverged"] for t in trials_at(study, lr))
    return _summary(lr, accuracies(study, lr), diverged)


def read_off(grid: list[Results], lr: float) -> Results:
    """The same between the grid's learning rates, linear in decades, seed by seed."""
    x = [math.log10(found["lr"]) for found in grid]
    seeds = zip(*(found["accuracies"][: _shared_seeds(grid)] for found in grid), strict=True)
    found = [float(np.interp(math.log10(lr), x, of_seed)) for of_seed in seeds]
    return {**_summary(lr, found, 0), "read_off": True}


def _shared_seeds(grid: list[Results]) -> int:
    return min(len(found["accuracies"]) for found in grid)


def _summary(lr: float, found: list[float], diverged: int) -> Results:
    return {
        "lr": lr,
        "accuracies": found,
        "mean": statistics.fmean(found) if found else None,
        "deviation": statistics.stdev(found) if len(found) > 1 else None,
        "diverged": diverged,
    }


def with_regrets(best: Results, *groups: dict[str, Results]) -> None:
    """Enters what each loses against the grid's best."""
    for group in groups:
        for found in group.values():
            found["regret"] = best["mean"] - found["mean"]


def pooled(entries: list[Results]) -> float:
    """Standard deviation over seeds, pooled over distinct learning rates."""
    distinct = {
        found["lr"]: found["deviation"] for found in entries if found["deviation"] is not None
    }
    return float(statistics.fmean(d**2 for d in distinct.values()) ** 0.5)


def _cost(config: Config, searched: Study, trained: Study, n_steps: int) -> Results:
    """The search against one full training and the whole grid of one seed.

    Optimizer steps; forward passes without gradients, of up to 64 rows; seconds. A short trial
    that diverged early did not validate: its forward passes are counted all the same.
    """
    finished = [
        t
        for t in searched.get_trials(deepcopy=False)
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    validations = -(-config.validation_rows // EVALUATION_BATCH)
    runs = [trials_at(trained, lr)[0].user_attrs["training"] for lr in config.grid_lrs]
    seconds = [run["seconds"] for run in runs]
    tests = config.evaluations * -(-config.test_rows // EVALUATION_BATCH)
    return {
        "trials": len(finished),
        "search": {
            "steps": n_steps,
            "forwards": (len(finished) + 1) * validations,
            "seconds": sum(map(_duration, finished)),
        },
        "one": {
            "steps": config.full_steps,
            "forwards": tests,
            "seconds": statistics.median(seconds),
        },
        "grid": {
            "steps": sum(run["steps"] for run in runs),
            "forwards": tests * len(runs),
            "seconds": sum(seconds),
        },
        "gpu": _planned_at_gpu_scale(config, len(finished)),
    }


def _planned_at_gpu_scale(config: Config, n_trials: int) -> Results | None:
    """Steps of as many short trials as here against those of the GPU scale's trainings."""
    try:
        planned = config_of(config.name, "gpu")
    except ValueError:
        return None
    steps = n_trials * planned.short_steps
    return {
        "search": steps,
        "one": planned.full_steps,
        "grid": planned.full_steps * len(planned.grid_lrs),
    }


def _duration(trial: FrozenTrial) -> float:
    duration = trial.duration
    return duration.total_seconds() if duration is not None else 0.0


def write(results: Results, out: Path) -> None:
    """Writes them to ``out/EXPERIMENT-SCALE.json``."""
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    path = out / f"{results['experiment']}-{results['scale']}.json"
    path.write_text(text, encoding="utf-8")


def read_all(out: Path, scale: str) -> dict[str, Results]:
    """All results of a scale that are in a folder, by experiment, in the paper's order."""
    paths = {name: out / f"{name}-{scale}.json" for name in EXPERIMENTS}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.exists()
    }
