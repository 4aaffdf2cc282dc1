"""The learning rate range tests of other libraries, by their published formulas.

Written from their documentation and behaviour, for a comparison on equal terms: the same model,
optimizer and batches. All of them raise the learning rate at every step of one training run and
read a pick off the smoothed minibatch losses. Versions: fastai 2.8, Lightning 2.6,
pytorch-lr-finder 0.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


N_STEPS = 100

#: Trains one step at a learning rate and returns the minibatch loss from before the update.
Step = Callable[[float], float]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Learning rates and smoothed losses of one sweep, shape (steps,) each."""

    lr: FloatArray
    loss: FloatArray


def _sweep(
    step: Step, lrs: Iterator[float], smooth: Callable[[float, int], float], stop_at: float
) -> RangeTest:
    """Runs a sweep until the smoothed loss exceeds `stop_at` times its lowest value."""
    seen: list[tuple[float, float]] = []
    best = math.inf
    for i, lr in enumerate(lrs):
        loss = smooth(step(lr), i)
        seen.append((lr, loss))
        best = min(best, loss)
        if loss > stop_at * best:
            break
    lr_array, loss_array = np.array(seen).T
    return RangeTest(lr_array, loss_array)


def _ema(beta: float, correction_offset: int) -> Callable[[float, int], float]:
    """Exponential moving average divided by 1 - beta^(i + offset)."""
    average = 0.0

    def smooth(loss: float, i: int) -> float:
        nonlocal average
        average = beta * average + (1 - beta) * loss
        return average / (1 - beta ** (i + correction_offset))

    return smooth


# fastai: 1e-7 -> 10, losses smoothed with 0.98, the first tenth and the last five steps dropped.


def fastai_test(
    step: Step, low: float = 1e-7, high: float = 10.0, n_steps: int = N_STEPS
) -> RangeTest:
    lrs = (low * (high / low) ** (i / n_steps) for i in range(n_steps))
    test = _sweep(step, lrs, _ema(0.98, 1), stop_at=4.0)
    lr, loss = test.lr[n_steps // 10 : -5], test.loss[n_steps // 10 : -5]
    nan = np.flatnonzero(np.isnan(loss))
    end = int(nan[0]) if nan.size else loss.size
    return RangeTest(lr[:end], loss[:end])


def fastai_minimum(test: RangeTest) -> float:
    return float(test.lr[np.argmin(test.loss)]) / 10


def fastai_steep(test: RangeTest) -> float:
    return float(test.lr[np.argmin(np.diff(test.loss) / np.diff(np.log(test.lr)))])


def fastai_valley(test: RangeTest) -> float:
    """About halfway down the longest decreasing subsequence of the losses."""
    length = np.ones(test.loss.size, dtype=int)
    for i in range(1, length.size):
        before = length[:i][test.loss[:i] > test.loss[i]]
        length[i] = 1 + before.max(initial=0)
    end = int(np.argmax(length)) if length.max() > 1 else 0
    start = end - int(length[end]) if length.max() > 1 else 0
    third = (end - start) / 3
    return float(test.lr[start + int(third) + int(third / 2)])


def fastai_slide(test: RangeTest, width: int = 15, threshold: float = 0.005) -> float:
    """Slides an interval in from the right until the slopes at its two ends agree."""
    slope = np.gradient(test.loss)
    right, left = -1, -1 - width
    pick = test.lr[left]
    while left >= -slope.size and abs(slope[right] - slope[left]) > threshold:
        pick = test.lr[left]
        right, left = right - 1, left - 1
    return float(pick)


# Lightning: 1e-8 -> 1, slope with respect to the learning rate itself, not its logarithm.


def lightning_test(
    step: Step, low: float = 1e-8, high: float = 1.0, n_steps: int = N_STEPS
) -> RangeTest:
    exponents = [0.0] + [(k + 1) / n_steps for k in range(1, n_steps)]
    lrs = (low * (high / low) ** e for e in exponents)
    # Its bias correction counts one step too many: the exponent is taken after the update.
    return _sweep(step, lrs, _ema(0.98, 2), stop_at=4.0)


def lightning_suggestion(test: RangeTest, *, logarithmic: bool = False) -> float | None:
    """Its suggestion; `logarithmic` takes the slope over log(lr), as a correction proposes."""
    lr, loss = test.lr[10:-1], test.loss[10:-1]
    lr, loss = lr[np.isfinite(loss)], loss[np.isfinite(loss)]
    if loss.size < 2:
        return None
    return float(lr[np.argmin(np.gradient(loss, np.log10(lr) if logarithmic else lr))])


# pytorch-lr-finder: from the optimizer's own learning rate to 10, steepest slope by index.


def lr_finder_test(
    step: Step, low: float = 1e-7, high: float = 10.0, n_steps: int = N_STEPS
) -> RangeTest:
    lrs = (low * (high / low) ** (i / (n_steps - 1)) for i in range(n_steps))
    previous = math.nan

    def smooth(loss: float, i: int) -> float:
        nonlocal previous
        previous = loss if i == 0 else 0.05 * loss + 0.95 * previous
        return previous

    return _sweep(step, lrs, smooth, stop_at=5.0)


def lr_finder_steepest(test: RangeTest) -> float | None:
    lr, loss = test.lr[10:-5], test.loss[10:-5]
    if loss.size < 2:
        return None
    return float(lr[np.argmin(np.gradient(loss))])


def all_picks(new_run: Callable[[], Step]) -> dict[str, float | None]:
    """Every rival's pick.

    Args:
        new_run: Starts a fresh training run and returns the function that takes its steps.
    """
    fastai = fastai_test(new_run())
    return {
        "fastai valley": fastai_valley(fastai),
        "fastai slide": fastai_slide(fastai),
        "fastai minimum": fastai_minimum(fastai),
        "fastai steep": fastai_steep(fastai),
        "Lightning": lightning_suggestion(lightning_test(new_run())),
        "pytorch-lr-finder": lr_finder_steepest(lr_finder_test(new_run())),
    }
