"""Learning rates step by step: the schedules of trainings and the sweeps of range tests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


Floats = NDArray[np.float64]

#: Share of a training that warm-up takes before the cosine.
WARM_UP = 0.05
#: Share of a training after which hold + linear decay (WSD) begins to decay.
HOLD = 0.8


def constant(steps: int) -> Floats:
    return np.ones(steps)


def cosine(steps: int) -> Floats:
    """Linear warm-up from 1/w of the peak over w steps, then half a cosine to 0.

    `LinearLR(start_factor=1 / w, total_iters=w - 1)`, then `CosineAnnealingLR(steps - w)`.
    """
    w = warm_up_steps(steps)
    up = np.arange(1, w + 1) / w
    return np.concatenate([up, (1 + np.cos(np.pi * np.arange(steps - w) / (steps - w))) / 2])


def warm_up_steps(steps: int) -> int:
    return max(1, round(WARM_UP * steps))


def onecycle(steps: int) -> Floats:
    """`OneCycleLR` at its defaults: up from 1/25 over 30 %, down to 1/250,000, both by cosine.

    Momentum is not cycled: it is a part of the optimizer here.
    """
    up = 0.3 * steps - 1
    down = steps - 1 - up
    i = np.arange(steps, dtype=np.float64)
    rising = _between(1 / 25, 1.0, i / up if up else np.ones(steps))
    falling = _between(1.0, 1 / 25e4, (i - up) / down)
    return np.where(i <= up, rising, falling)


def _between(start: float, end: float, share: Floats) -> Floats:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * share))


def wsd(steps: int) -> Floats:
    """Constant for four fifths, then down to 0 in a line (the step after the last would be 0)."""
    i = np.arange(steps)
    start = hold_steps(steps)
    return np.minimum(1.0, (steps - i) / (steps - start))


def hold_steps(steps: int) -> int:
    """Steps that WSD shares with a constant rate."""
    return math.floor(HOLD * steps)


FACTORS = {"constant": constant, "cosine": cosine, "onecycle": onecycle, "wsd": wsd}

#: Lengths of range tests, steps.
RANGE_STEPS = (100, 300)
#: Batches after which Wittmann's test goes back to the first weights and to the next rate.
WITTMANN_EVERY = 5


def _sweep(low: float, high: float, exponents: Floats) -> Floats:
    return low * (high / low) ** exponents


def range_tests(n: int) -> dict[str, Floats]:
    """Learning rates of `n` steps by the protocol of each range test, unstopped.

    - fastai 2.8 `lr_find`: 1e-7 to 10.
    - Lightning 2.6 `Tuner.lr_find`: 1e-8 to 1; its second step is two steps up.
    - pytorch-lr-finder 0.2.2, first example of its README: 1e-7 to 100.
    - Surmenok's keras_lr_finder, README: 1e-4 to 1.
    - Gugger's article "How Do You Find A Good Learning Rate" (2018): 1e-8 to 10.
    - Wittmann's LRFinder, README: 1e-4 to 1, `WITTMANN_EVERY` steps at each rate, each from the
      first weights.
    """
    i = np.arange(n)
    shifted = np.where(i == 0, 0.0, (i + 1) / n)
    rates = n // WITTMANN_EVERY
    return {
        "fastai": _sweep(1e-7, 10, i / n),
        "lightning": _sweep(1e-8, 1, shifted),
        "lr_finder": _sweep(1e-7, 100, i / (n - 1)),
        "surmenok": _sweep(1e-4, 1, i / n),
        "gugger": _sweep(1e-8, 10, i / (n - 1)),
        "wittmann": _sweep(1e-4, 1, (i // WITTMANN_EVERY) / (rates - 1)),
    }
