"""An objective of your own, in NumPy alone: a small network that tells three spirals apart.

    python examples/own_objective/plain_numpy.py

What the sampler asks of an objective is in `short_trial`, in six numbered comments. The guide
docs/guide/own-objective.md says why, and what else an objective may do.
"""

from __future__ import annotations

import math

import numpy as np
import optuna
from numpy.typing import NDArray

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


Array = NDArray[np.float64]
Weights = list[Array]
STEPS, BATCH, MOMENTUM = 20, 64, 0.9


# --- Your side: data, a network, its loss and gradients ------------------------------------------


def spirals(n: int = 1500) -> tuple[Array, NDArray[np.int64]]:
    """Points on three arms, ``(n, 2)``, and their arm, ``(n,)``."""
    random = np.random.default_rng(0)
    arm = random.integers(3, size=n)
    radius = np.sqrt(random.random(n))
    angle = 4.0 * radius + 2.0 * np.pi * arm / 3.0 + 0.15 * random.normal(size=n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), arm


def initial_weights(width: int = 64) -> Weights:
    random = np.random.default_rng(1)
    return [
        random.normal(size=(2, width)) * 2.0,
        np.zeros(width),
        random.normal(size=(width, 3)) / math.sqrt(width),
        np.zeros(3),
    ]


def forward(weights: Weights, x: Array) -> tuple[Array, Array]:
    """Hidden units and log-probabilities."""
    hidden = np.tanh(x @ weights[0] + weights[1])
    logits = hidden @ weights[2] + weights[3]
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p: Array = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return hidden, log_p


def loss(weights: Weights, x: Array, y: NDArray[np.int64]) -> float:
    return float(-forward(weights, x)[1][np.arange(len(y)), y].mean())


def gradients(weights: Weights, x: Array, y: NDArray[np.int64]) -> Weights:
    hidden, log_p = forward(weights, x)
    out = np.exp(log_p)
    out[np.arange(len(y)), y] -= 1.0
    out /= len(y)
    inner = (out @ weights[2].T) * (1.0 - hidden**2)
    return [x.T @ inner, inner.sum(axis=0), hidden.T @ out, out.sum(axis=0)]


X, Y = spirals()
TRAIN, VALIDATION = slice(0, 1200), slice(1200, None)


def train(lr: float, steps: int) -> Weights:
    """Heavy-ball SGD from the initial weights, on the same batches whatever the learning rate."""
    weights = initial_weights()
    velocity = [np.zeros_like(w) for w in weights]
    random = np.random.default_rng(2)
    for _ in range(steps):
        rows = random.integers(1200, size=BATCH)
        for w, v, g in zip(weights, velocity, gradients(weights, X[rows], Y[rows]), strict=True):
            v *= MOMENTUM
            v += g
            w -= lr * v
    return weights


# --- The objective -------------------------------------------------------------------------------


def short_trial(trial: optuna.Trial) -> float:
    lr = trial.suggest_float("lr", 1e-6, 100.0, log=True)  # 1. one log-scaled float
    with np.errstate(over="ignore", invalid="ignore"):  # a trial may well diverge
        weights = train(lr, STEPS)  # 2. the same start, 3. the same batches, 4. a constant rate
        end = loss(weights, X[VALIDATION], Y[VALIDATION])  # 5. data that was not trained on
    return end if math.isfinite(end) else math.inf  # 6. inf where it diverged, never NaN


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=LRStepSampler(), pruner=LRStepPruner())
    # What the analysis cannot see in the trials.
    study.set_user_attr("lrss:baseline", loss(initial_weights(), X[VALIDATION], Y[VALIDATION]))
    study.set_user_attr("lrss:steps", STEPS)
    study.set_user_attr("lrss:momentum", MOMENTUM)
    study.optimize(short_trial)  # stops by itself
    result = analyze(study)
    print(result)

    print("\nValidation loss after 1,000 steps:")
    for name, factor in (
        ("a decade below", 0.1),
        ("recommended", 1.0),
        ("a decade above", 10.0),
    ):
        lr = factor * result.recommended
        print(
            f"{name:>15}  lr {lr:<8.2g} {loss(train(lr, 1000), X[VALIDATION], Y[VALIDATION]):.3f}"
        )


if __name__ == "__main__":
    main()
