"""The tasks of the landscapes: data sets with a loss, a metric, a source and a licence.

To add one, write a function in the file of its family (`tabular`, `images`, `text`, `series`,
`generated`) that returns `Parts`, and put the decorator `task` on it:

    @task(kind="classification", loss="cross_entropy", metric="accuracy",
          source="package sensors 1.2", licence="CC BY 4.0")
    def valves() -> Parts:
        x, y = np.load(package_file("sensors", "valves.npz", install="pip install sensors"))
        return standardised(split(x, y, train=1_500, val=400, test=1_000, n_classes=3))

Its name is the function's. ``python -m pytest tests/test_landscape_tasks.py`` checks the rest.
"""

from __future__ import annotations

from dataclasses import replace

import torch

# Importing a family registers its tasks.
from examples.benchmarks.landscapes.tasks import generated as _generated  # noqa: F401
from examples.benchmarks.landscapes.tasks import images as _images  # noqa: F401
from examples.benchmarks.landscapes.tasks import series as _series  # noqa: F401
from examples.benchmarks.landscapes.tasks import tabular as _tabular  # noqa: F401
from examples.benchmarks.landscapes.tasks import text as _text  # noqa: F401
from examples.benchmarks.landscapes.tasks._base import DATA_VARIABLE
from examples.benchmarks.landscapes.tasks._base import IGNORED
from examples.benchmarks.landscapes.tasks._base import PAD
from examples.benchmarks.landscapes.tasks._base import REGISTRY
from examples.benchmarks.landscapes.tasks._base import Builder
from examples.benchmarks.landscapes.tasks._base import MissingDataError
from examples.benchmarks.landscapes.tasks._base import Parts
from examples.benchmarks.landscapes.tasks._base import Spec
from examples.benchmarks.landscapes.tasks._base import TaskData


__all__ = [
    "DATA_VARIABLE",
    "IGNORED",
    "PAD",
    "MissingDataError",
    "Parts",
    "Spec",
    "TaskData",
    "load",
    "names",
    "spec",
]


def names() -> list[str]:
    """All tasks, in alphabetical order, whether their data are at hand or not."""
    return sorted(REGISTRY)


def spec(name: str) -> Spec:
    """What is known of a task without its data.

    Raises:
        ValueError: If there is no such task.
    """
    return _entry(name)[0]


def load(name: str, seed: int = 0) -> TaskData:
    """A task with its tensors.

    Args:
        name: One of `names`.
        seed: Order of the training rows; the parts and their rows do not depend on it.

    Raises:
        ValueError: If there is no such task.
        MissingDataError: If its data are not at hand; the message says where to get them.
    """
    known, build = _entry(name)
    made = build()
    order = torch.randperm(len(made.x_train), generator=torch.Generator().manual_seed(seed))
    shuffled = replace(made, x_train=made.x_train[order], y_train=made.y_train[order])
    return TaskData(**vars(known), **vars(shuffled))


def _entry(name: str) -> tuple[Spec, Builder]:
    if name not in REGISTRY:
        raise ValueError(f"name is {name!r}, but there is no such task: choose from {names()}.")
    return REGISTRY[name]
