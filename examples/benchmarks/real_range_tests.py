"""The learning rate range tests of other packages, run by the packages themselves.

Each one is called as its own documentation does, on a model, an optimizer and loaders that are the
same for all. A package that cannot be imported is left out, and the page says which.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data import Dataset


#: Steps of a range test: the default of all three packages.
RANGE_STEPS = 100


@dataclass(frozen=True)
class Problem:
    """What is trained, made anew for each run.

    Attributes:
        build: The model, with the same weights each time.
        optimizer: A class of torch's.
        options: Its arguments other than the learning rate.
        train: Training samples.
        validation: Validation samples.
        batch_size: Of both loaders.
        lanes: Whether the model is small enough for lanes to be tried on a CPU.
    """

    build: Callable[[], nn.Module]
    optimizer: type[Optimizer]
    options: dict[str, Any]
    train: Dataset[Any]
    validation: Dataset[Any]
    batch_size: int
    lanes: bool = True

    def optimizer_of(self, model: nn.Module, lr: float) -> Optimizer:
        make: Any = self.optimizer
        optimizer: Optimizer = make(model.parameters(), lr=lr, **self.options)
        return optimizer

    def loaders(self) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Shuffled batches to train on, and batches to validate on."""
        return (
            DataLoader(self.train, self.batch_size, shuffle=True),
            DataLoader(self.validation, self.batch_size),
        )


Loss = Callable[[Any, Any], Any]
RangeTest = Callable[[Problem, Loss], object]


def pytorch_lr_finder(problem: Problem, loss: Loss, *, validated: bool) -> object:
    """From 1e-7 to 10, exponentially, as its README does; ``validated`` once a step."""
    package = importlib.import_module("torch_lr_finder")
    model = problem.build()
    optimizer = problem.optimizer_of(model, 1e-7)
    train, validation = problem.loaders()
    finder = package.LRFinder(model, optimizer, loss, device="cpu")
    finder.range_test(
        train, val_loader=validation if validated else None, end_lr=10.0, num_iter=RANGE_STEPS
    )
    history = finder.history
    finder.reset()
    return history


def lightning_tuner(problem: Problem, loss: Loss) -> object:
    """``Tuner(trainer).lr_find(module)`` with the Tuner's own range, 1e-8 to 1."""
    lightning = importlib.import_module("lightning.pytorch")
    tuner = importlib.import_module("lightning.pytorch.tuner")
    base: Any = lightning.LightningModule

    class Module(base):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.model = problem.build()
            self.lr = 1e-3

        def training_step(self, batch: Any, _: int) -> Any:
            inputs, targets = batch
            return loss(self.model(inputs), targets)

        def configure_optimizers(self) -> Optimizer:
            return problem.optimizer_of(self.model, self.lr)

    train, _ = problem.loaders()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        found = tuner.Tuner(trainer).lr_find(Module(), train, num_training=RANGE_STEPS)
        return found.suggestion()


def fastai_lr_find(problem: Problem, loss: Loss) -> object:
    """``Learner.lr_find()`` with fastai's own range, 1e-7 to 10, and its two default picks."""
    fastai = importlib.import_module("fastai.learner")
    optimizers = importlib.import_module("fastai.optimizer")
    schedule = importlib.import_module("fastai.callback.schedule")
    data = importlib.import_module("fastai.data.core")
    with tempfile.TemporaryDirectory() as folder:
        loaders = data.DataLoaders.from_dsets(
            problem.train, problem.validation, bs=problem.batch_size, device="cpu", num_workers=0
        )
        wrapped = functools.partial(
            optimizers.OptimWrapper, opt=problem.optimizer, **problem.options
        )
        learner = fastai.Learner(
            loaders, problem.build(), loss_func=loss, opt_func=wrapped, path=folder
        )
        picks = schedule.valley, schedule.steep
        return learner.lr_find(num_it=RANGE_STEPS, show_plot=False, suggest_funcs=picks)


#: What is run, its package on PyPI, and the module that must be there.
RANGE_TESTS: dict[str, tuple[str, str, RangeTest]] = {
    "pytorch-lr-finder": (
        "torch-lr-finder",
        "torch_lr_finder",
        functools.partial(pytorch_lr_finder, validated=False),
    ),
    "pytorch-lr-finder, validated": (
        "torch-lr-finder",
        "torch_lr_finder",
        functools.partial(pytorch_lr_finder, validated=True),
    ),
    "Lightning's Tuner": ("lightning", "lightning.pytorch", lightning_tuner),
    "fastai's lr_find": ("fastai", "fastai.learner", fastai_lr_find),
}


def usable() -> tuple[dict[str, RangeTest], list[str], list[str]]:
    """The range tests that can run here, the versions of their packages, and what is missing."""
    found: dict[str, RangeTest] = {}
    versions: dict[str, str] = {}
    missing: list[str] = []
    for name, (package, module, run) in RANGE_TESTS.items():
        try:
            with quiet():
                importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the package cannot be used
            missing.append(f"{name} ({type(error).__name__})")
            continue
        found[name] = run
        versions[package] = version(package)
    return found, [f"{p} {v}" for p, v in versions.items()], missing


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and lines of the packages, which a terminal would take time to show."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    silent = io.StringIO()
    with (
        contextlib.redirect_stderr(silent),
        contextlib.redirect_stdout(silent),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
