"""A whole run of one experiment; everything it finds is in its SQLite file."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import optuna
import torch

from examples.paper._rivals import sweeps
from examples.paper._studies import PICKS
from examples.paper._studies import SEARCH
from examples.paper._studies import Experiment
from examples.paper._studies import decaying
from examples.paper._studies import grid
from examples.paper._studies import search
from examples.paper._studies import storage_of


#: User attribute of the search study that keeps the rivals' range tests.
RIVALS = "rivals"
#: User attribute of the full trainings' study: what they ran on.
MACHINE = "machine"


def run(experiment: Experiment) -> None:
    """The search, the rivals' range tests where wanted, and the full trainings."""
    analysis = search(experiment)
    print(analysis, flush=True)
    picks = [float(getattr(analysis, name)) for name in PICKS]
    rivals = _rivals(experiment) if experiment.config.rivals else {"picks": {}}
    study = grid(experiment, picks, list(rivals["picks"].values()))
    decaying(experiment, analysis)
    if MACHINE not in study.user_attrs:
        study.set_user_attr(MACHINE, machine())


def _rivals(experiment: Experiment) -> dict[str, Any]:
    """The range tests, from the study where they were run before."""
    study = optuna.load_study(study_name=SEARCH, storage=storage_of(experiment.database))
    stored: dict[str, Any] | None = study.user_attrs.get(RIVALS)
    if stored is None:
        stored = sweeps(experiment)
        study.set_user_attr(RIVALS, stored)
    return stored


def machine() -> str:
    """What this process runs on, in words."""
    device = f"CPU with {torch.get_num_threads()} thread(s)"
    if torch.cuda.is_available():
        device = str(torch.cuda.get_device_name())
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "optuna"))
    return f"{platform.machine()}, {device}, Python {platform.python_version()}, {packages}"
