"""Figures that take minutes to make, kept as JSON beside the cells' records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from examples.benchmarks.landscapes.record import DATA


#: Per cell `{"rival, schedule": [metric of each seed, null where it diverged]}`; see `trained.py`.
TRAINED = "trained.json"
#: Figures of HPOBench's tables; see `hpo_bench.py`.
HPO_BENCH = "hpo_bench.json"


def read(name: str, folder: Path = DATA) -> dict[str, Any]:
    """What was kept under a name, empty where nothing was."""
    file = folder / name
    if not file.exists():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def write(name: str, figures: dict[str, Any], folder: Path = DATA) -> None:
    text = json.dumps(figures, indent=1, allow_nan=False) + "\n"
    (folder / name).write_text(text, encoding="utf-8")
