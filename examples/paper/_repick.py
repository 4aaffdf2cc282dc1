"""The picks anew, on searches and grids that were measured before.

The curve of the search is in an experiment's JSON: reading it again takes no training. What the
package reads off it now is trained with every seed, unless it hardly moved, or read off the grid.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from examples.paper._config import config_of
from examples.paper._data import data_folder
from examples.paper._results import Results
from examples.paper._results import entry
from examples.paper._results import pooled
from examples.paper._results import read_off
from examples.paper._results import with_regrets
from examples.paper._studies import GRID
from examples.paper._studies import PICKS
from examples.paper._studies import Experiment
from examples.paper._studies import decaying
from examples.paper._studies import train
from optuna_lrss import LRAnalysis
from optuna_lrss import analyze


#: A pick that moved by less than this, in decades, keeps its trainings: half of the tolerance that
#: the search knew it to.
_MOVED = 0.05


def repick(results: Results, runs: Path, *, trained: bool) -> Results:
    """An experiment's results with the picks that the package has now.

    Args:
        results: As ``_results.read_all`` gives them.
        runs: Folder for the SQLite file of the trainings.
        trained: Whether what has moved, and ``peak``, is trained; else the first is read off the
            grid and the second left out.
    """
    config = config_of(results["experiment"], results["scale"])
    analysis = read_again(results["analysis"], config.full_steps)
    picks, moved = {}, {}
    for name in PICKS:
        lr, known = float(getattr(analysis, name)), results["picks"][name]
        if abs(math.log10(lr / known["lr"])) < _MOVED:
            picks[name] = known
        else:
            picks[name] = read_off(results["grid"], lr)
            moved[name] = lr
    if trained:
        database = runs / f"{config.name}-{config.scale}-picks.db"
        experiment = Experiment.prepare(config, data_folder(None, config.dataset), database)
        planned = [(lr, seed) for lr in moved.values() for seed in config.seeds]
        study = train(experiment, GRID, planned)
        picks |= {name: entry(study, lr) for name, lr in moved.items()}
        picks["peak"] = entry(decaying(experiment, analysis), analysis.peak)
    with_regrets(results["best"], picks)
    return {
        **results,
        "grid_seeds": config.grid_seeds,
        "analysis": json.loads(analysis.to_json()),
        "picks": picks,
        "spread": pooled([results["best"], *picks.values()]),
    }


def read_again(stored: dict[str, Any], total_steps: int) -> LRAnalysis:
    """The analysis of the trials that a stored one was made from.

    Args:
        stored: What ``LRAnalysis.to_json`` wrote, of this version or an earlier one.
        total_steps: Length of the training that the picks are for.
    """
    low, high = stored["search_range"]
    name = stored["param_name"]
    study = optuna.create_study()
    for key in ("baseline", "steps", "momentum", "lag"):
        if key in stored:
            study.set_user_attr(f"lrss:{key}", stored[key])
    for _, lr, loss in stored["trials"]:
        range_ = FloatDistribution(min(low, lr), max(high, lr), log=True)
        study.add_trial(
            create_trial(params={name: lr}, distributions={name: range_}, value=float(loss))
        )
    found = analyze(study, param_name=name, total_steps=total_steps)
    return replace(found, n_steps=stored["n_steps"], search_range=(low, high))
