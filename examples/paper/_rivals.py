"""The learning rate range tests of other libraries on the same model, optimizer and batches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.paper._data import Batches
from examples.paper._models import batch_loss
from examples.paper._models import make_optimizer
from examples.paper._studies import Experiment


sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package

import range_tests


def sweeps(experiment: Experiment) -> dict[str, Any]:
    """Runs the range tests of fastai, Lightning and pytorch-lr-finder.

    Returns:
        ``picks``: learning rate by rule, rules without a suggestion left out; ``lr`` and
        ``loss``: fastai's sweep with its smoothed minibatch loss; ``steps``: optimizer steps of
        fastai's sweep.
    """
    fastai = range_tests.fastai_test(_new_run(experiment))
    rules = {
        "fastai valley": range_tests.fastai_valley,
        "fastai slide": range_tests.fastai_slide,
        "fastai minimum/10": range_tests.fastai_minimum,
        "fastai steep": range_tests.fastai_steep,
    }
    picks: dict[str, float | None] = {name: rule(fastai) for name, rule in rules.items()}
    lightning = range_tests.lightning_test(_new_run(experiment))
    picks["Lightning"] = range_tests.lightning_suggestion(lightning)
    finder = range_tests.lr_finder_test(_new_run(experiment))
    picks["pytorch-lr-finder"] = range_tests.lr_finder_steepest(finder)
    return {
        "picks": {name: lr for name, lr in picks.items() if lr is not None},
        "lr": fastai.lr.tolist(),
        "loss": fastai.loss.tolist(),
        "steps": range_tests.N_STEPS,
    }


def _new_run(experiment: Experiment) -> Callable[[float], float]:
    """A fresh training run; returns the function that takes one step at a learning rate."""
    config = experiment.config
    seed = config.seeds[0]
    model = experiment.build(seed).to(experiment.device)
    optimizer = make_optimizer(config, model, 1.0)
    batches = iter(Batches(experiment.splits.train, config.batch_size, seed))

    def step(lr: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(model, next(batches))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
