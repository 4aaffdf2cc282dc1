"""The learning rate together with other hyperparameters, in three ways.

    python examples/other_hyperparameters.py          # a few minutes
    python examples/other_hyperparameters.py --smoke  # seconds

1. All at once with short trials: each configuration of batch size, width and weight decay gets a
   learning-rate curve of its own.
2. The learning rate first, with short trials; then TPE over the other parameters with full
   trainings, in which the learning rate may move within the window that was found.
3. Two learning rates, of a pretrained backbone and of a new head, searched in turn.
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
from collections.abc import Callable

import optuna
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces


Batch = tuple[Tensor, Tensor]


@functools.cache
def load_data() -> tuple[TensorDataset, TensorDataset]:
    """1,200 images of digits to train and 597 to validate."""
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32) / 8.0 - 1.0
    y = torch.tensor(bunch.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, validation = order[:1200], order[1200:]
    return TensorDataset(x[train], y[train]), TensorDataset(x[validation], y[validation])


def build(trial: optuna.trial.BaseTrial) -> StepPieces:
    """What the trial's configuration trains; its learning rate is set by others."""
    batch_size = trial.suggest_categorical("batch_size", [16, 32, 64])
    width = trial.suggest_int("width", 16, 128, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=weight_decay
    )
    train, validation = load_data()
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(train, batch_size=batch_size, shuffle=True, generator=generator)
    return StepPieces(model, optimizer, F.cross_entropy, loader, DataLoader(validation, 597))


# --- 1. All at once, with short trials -----------------------------------------------------------


def nested_search(n_configurations: int) -> LRAnalysis:
    """The sampler keeps to one configuration until its curve is resolved; then TPE picks one."""
    sampler = LRStepSampler(max_configurations=n_configurations, seed=0)
    study = optuna.create_study(sampler=sampler, pruner=LRStepPruner())
    study.optimize(StepObjective.from_factory(build, steps=20))  # stops by itself
    return analyze(study)  # of the best configuration


# --- 2. The learning rate first, then the rest with full trainings -------------------------------


def train_fully(trial: optuna.trial.BaseTrial, window: LRAnalysis, epochs: int) -> float:
    """Validation error in percent; the learning rate stays within the window."""
    low, high = window.distribution().low, window.distribution().high
    lr = trial.suggest_float("lr", low, high, log=True)
    pieces = build(trial)
    for group in pieces.optimizer.param_groups:
        group["lr"] = lr
    for _ in range(epochs):
        for x, y in pieces.train_loader:
            pieces.optimizer.zero_grad()
            F.cross_entropy(pieces.model(x), y).backward()
            pieces.optimizer.step()
    x, y = load_data()[1].tensors
    with torch.no_grad():
        wrong = pieces.model(x).argmax(dim=1) != y
    return 100.0 * float(wrong.float().mean())


def learning_rate_first(n_trials: int, epochs: int) -> optuna.Study:
    usual = {"batch_size": 32, "width": 64, "weight_decay": 1e-4}
    pieces = build(optuna.trial.FixedTrial(usual))
    short = optuna.create_study(sampler=LRStepSampler(), pruner=LRStepPruner())
    short.optimize(StepObjective(*pieces, steps=20))
    window = analyze(short)

    full = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    # Full trainings begin with what the short ones recommend, in the usual configuration.
    window.enqueue_picks(full, picks=("recommended", "midpoint"), params=usual)
    full.optimize(lambda trial: train_fully(trial, window, epochs), n_trials=n_trials)
    return full


# --- 3. Two learning rates, in turn --------------------------------------------------------------


def pretrained() -> tuple[nn.Module, nn.Module, Batch, Batch]:
    """A backbone trained on the digits 0 to 4, and a new head for the digits 5 to 9."""
    (x, y), (vx, vy) = load_data()[0].tensors, load_data()[1].tensors
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    head = nn.Linear(32, 5)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=3e-3)
    old = y < 5
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(head(backbone(x[old])), y[old]).backward()
        optimizer.step()
    new, valid = ~old, vy >= 5
    return backbone, nn.Linear(32, 5), (x[new], y[new] - 5), (vx[valid], vy[valid] - 5)


def fine_tune(lrs: dict[str, float], steps: int = 20) -> float:
    """The short trial: validation loss after some steps with a learning rate for each part."""
    backbone, head, (x, y), (vx, vy) = _fine_tuning_task()
    parts = {"backbone": copy.deepcopy(backbone), "head": copy.deepcopy(head)}
    groups = [{"params": part.parameters(), "lr": lrs[name]} for name, part in parts.items()]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(y), (32,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(parts["head"](parts["backbone"](x[rows])), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        loss = F.cross_entropy(parts["head"](parts["backbone"](vx)), vy).item()
    return loss if math.isfinite(loss) else math.inf  # diverged: inf, never nan


_fine_tuning_task = functools.cache(pretrained)


def search_one(short_trial: Callable[[float], float], start: float | None) -> LRAnalysis:
    study = optuna.create_study(sampler=LRStepSampler(start=start))
    study.set_user_attr("lrss:baseline", short_trial(0.0))
    study.set_user_attr("lrss:steps", 20)
    study.set_user_attr("lrss:momentum", 0.9)
    study.optimize(lambda trial: short_trial(trial.suggest_float("lr", 1e-7, 10.0, log=True)))
    return analyze(study)


def backbone_and_head() -> dict[str, float]:
    """One learning rate for both; then each with the other one held."""
    common = search_one(lambda lr: fine_tune({"backbone": lr, "head": lr}), None)
    lrs = {"backbone": common.recommended, "head": common.recommended}
    for name in ("head", "backbone"):
        result = search_one(functools.partial(_with_other_held, name, dict(lrs)), lrs[name])
        lrs[name] = result.recommended
    return {"both": common.recommended, **lrs}


def _with_other_held(name: str, lrs: dict[str, float], lr: float) -> float:
    return fine_tune({**lrs, name: lr})


def main() -> None:
    parser = argparse.ArgumentParser(description="The learning rate and other hyperparameters.")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes")
    smoke = parser.parse_args().smoke
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)

    best = nested_search(2 if smoke else 8)
    print("1. All at once, with short trials. The best configuration:")
    print(f"   {best.configuration}, lr {best.recommended:.2g}\n")

    study = learning_rate_first(3 if smoke else 20, 1 if smoke else 10)
    print("2. The learning rate first, then TPE over the rest:")
    first, found = study.trials[0], study.best_trial
    print(f"   as recommended     {first.value:.1f} % wrong, {first.params}")
    print(f"   best of {len(study.trials):<9} {found.value:.1f} % wrong, {found.params}\n")

    lrs = backbone_and_head()
    print("3. Backbone and head in turn. Loss after 200 steps:")
    together = fine_tune({"backbone": lrs["both"], "head": lrs["both"]}, steps=200)
    apart = fine_tune(lrs, steps=200)
    print(f"   one learning rate for both, {lrs['both']:.2g}: {together:.3f}")
    print(f"   backbone {lrs['backbone']:.2g}, head {lrs['head']:.2g}: {apart:.3f}")


if __name__ == "__main__":
    main()
