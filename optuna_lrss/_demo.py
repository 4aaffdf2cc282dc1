"""The search that ``optuna-lrss demo`` runs: a small network on a noisy ring."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna

from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.pruner import LRStepPruner
from optuna_lrss._study.sampler import LRStepSampler


if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_lrss.torch import StepObjective


def run_demo(
    storage: BaseStorage | str | None, study_name: str, say: Callable[[str], object]
) -> LRAnalysis:
    """Searches, and says what is happening.

    Args:
        storage: Where to keep the study; ``None`` for memory.
        study_name: Its name; a study that exists is continued.
        say: Takes one line of text.

    Returns:
        The analysis.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        load_if_exists=True,
        sampler=(sampler := LRStepSampler()),
        pruner=LRStepPruner(),
    )
    say("Inside or outside a ring: two hidden layers, SGD with momentum 0.9.")
    say("Each short trial trains 20 steps from the same weights on the same batches.")
    say("")

    def tell(_: Study, trial: FrozenTrial) -> None:
        value = trial.value if trial.value is not None else math.inf
        loss = f"{value:.4f}" if math.isfinite(value) else "diverged"
        say(f"  trial {trial.number:>2}   lr {trial.params['lr']:.2e}   loss {loss}")

    if not sampler.is_resolved(study):
        study.optimize(ring(), callbacks=[tell])
    return analyze(study)


def ring() -> StepObjective:
    """The short trial: is a point of the plane inside a noisy ring? Batches of 256."""
    import torch
    from torch.utils.data import DataLoader
    from torch.utils.data import TensorDataset

    from optuna_lrss.torch import StepObjective
    from optuna_lrss.torch._random import preserved_random_state
    from optuna_lrss.torch._random import seed_everything

    with preserved_random_state():
        seed_everything(0)
        points = torch.randn(3072, 2)
        label = (points.norm(dim=1) + 0.1 * torch.randn(3072) < 1.2).long()
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 64),
            torch.nn.Tanh(),
            torch.nn.Linear(64, 64),
            torch.nn.Tanh(),
            torch.nn.Linear(64, 2),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train = TensorDataset(points[:2048], label[:2048])
        validation = TensorDataset(points[2048:], label[2048:])
        return StepObjective(
            model,
            optimizer,
            torch.nn.CrossEntropyLoss(),
            DataLoader(train, batch_size=256, shuffle=True),
            DataLoader(validation, batch_size=1024),
            steps=20,
            progress=False,
        )
