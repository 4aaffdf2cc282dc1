"""When a loss counts as diverged (the method page, section 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.levels import WALL


#: How many times the untrained loss's size a loss may rise in the middle of a short trial.
RUNAWAY = 1000.0
#: Beyond the wall the mean training loss of so many steps stands so many untrained losses above
#: the untrained one: the level at which a trial that ends there has diverged, too.
_RISEN_STEPS, _RISEN = 3, 4.0
#: A loss below this share of its highest excess has turned round: it halves again in a few steps.
_NEAR_HIGHEST = 0.5
#: The first step that a trial may be stopped after for it, and the first share of its steps: near
#: max_lr losses rise at first. Of 20 steps these are the same.
_FIRST_STOP, _FIRST_STOP_SHARE = 6, 0.3


def divergence_limit(baseline: float, best: float | None) -> float:
    """The loss beyond which a short trial has diverged at its end.

    As far above the untrained model's loss as the best known loss is below it; while nothing
    lower is known, four times the untrained loss's size above it. Unlike a multiple of the best
    loss, this also holds for losses that are negative or start near zero. A trial that ends
    beyond it lies above the baseline and cannot be the minimum. In the middle of a trial that is
    not so: see :func:`runaway_limit`.

    Args:
        baseline: Loss of the untrained model on the same data.
        best: Lowest finite loss known, or ``None``.

    Returns:
        The limit, at or above ``baseline``; ``inf`` where the baseline is 0 and nothing lower is
        known, which leaves no scale to judge by.
    """
    if best is not None and math.isfinite(best) and best < baseline:
        return baseline + (baseline - best)
    return _above(baseline, 4.0 * abs(baseline))


def runaway_limit(baseline: float, first: float | None = None) -> float:
    """The loss beyond which a short trial may be stopped in the middle.

    Close to max_lr losses rise first and fall below the baseline within the horizon, and they rise
    far: in the short trial at max_lr up to 18 times the untrained loss, in one that ends within
    30 % of the minimum's gain up to 200 times (training loss) and 260 times (validation loss), the
    worst with RMSprop, Adagrad and batch normalisation. Measured on digits, 20 steps, the
    training loss watched after each; 5 networks (MLP, CNN, CNN with batch normalisation and
    dropout, transformer, regression) x 7 optimizers x 2 seeds, 61 learning rates each:

    ==========================================  ====  ====  ====  ====  =====  =====
    limit above the baseline, in untrained loss    4    10    30   100    300   1000
    cells of 70 that lose their minimum            4     1     0     0      0      0
    trials near it lost, of 602                   67    35     9     3      0      0
    steps saved on a half-decade grid, %          26    23    20    18     15     14
    ==========================================  ====  ====  ====  ====  =====  =====

    A wide limit costs little, since what diverges grows exponentially.

    Args:
        baseline: Loss of the untrained model on the validation data.
        first: Training loss before the first update, where training losses are watched.

    Returns:
        The limit; ``inf`` where the untrained losses are 0, which leaves no scale to judge by.
    """
    first = baseline if first is None else first
    return _above(max(baseline, first), RUNAWAY * max(abs(baseline), abs(first)))


def rise_scale(untrained: Sequence[float], baseline: float) -> float:
    """What an excess of training losses over the untrained model's is measured by.

    The untrained loss's size; where a loss passes through zero (a likelihood, say) that is next to
    nothing, and the scatter of the untrained losses from batch to batch goes before it.

    Args:
        untrained: Loss of the untrained model on the batches of each step, shape ``(n,)``.
        baseline: Its validation loss.

    Returns:
        The scale, in units of the loss; 0 where nothing can be judged by it.
    """
    finite = [loss for loss in untrained if math.isfinite(loss)]
    scatter = float(np.std(finite)) if len(finite) > 1 else 0.0
    return max(abs(baseline), abs(float(np.mean(finite))) if finite else 0.0, scatter)


def is_beyond_wall(excess: Sequence[float], scale: float, *, steps: int | None = None) -> bool:
    """Whether a short trial stands beyond the divergence wall, by its training losses.

    The mean of the last three losses stands more than four untrained losses above the same
    batches' untrained ones, and they are not coming back: the last one is no lower than the first
    of them, and at least half of the highest so far. Without that a trial that overshoots at
    first, as with RMSprop and Adagrad, is taken for lost where it would have learned: 108 of the
    1,993 trials near the minimum of the cells of the results on cost, with it 5, which also say
    what it saves.

    Args:
        excess: Training loss of each step so far less the untrained model's on the same batch.
        scale: What they are measured by, see :func:`rise_scale`.
        steps: The horizon: asks whether the trial may be stopped, which takes as many steps
            as a trial needs to come back. ``None``: only whether its loss is high.
    """
    last = excess[-_RISEN_STEPS:]
    if scale == 0.0 or len(last) < 2:
        return False
    if steps is not None and (
        len(last) < _RISEN_STEPS or len(excess) < max(_FIRST_STOP, _FIRST_STOP_SHARE * steps)
    ):
        return False
    total = 0.0
    for value in last:  # at every step of every trial, where an array's mean takes longer
        total += value
    high = total / len(last) > _RISEN * scale
    returning = last[-1] < last[0] or last[-1] < _NEAR_HIGHEST * max(excess)
    return high and (steps is None or not returning)


def contradicted(loss: FloatArray, baseline: float | None) -> NDArray[np.bool_]:
    """Which diverged learning rates have a better one on their right.

    Beyond the wall nothing learns, so a learning rate that diverges on its left met an accident
    (a failed node, a bad batch), or the wall is jagged there.

    Args:
        loss: Losses at ascending learning rates, ``inf`` where diverged, shape ``(m,)``.
        baseline: Loss of the untrained model, if known; without it every finite loss is better.

    Returns:
        Shape ``(m,)``.
    """
    finite = np.isfinite(loss)
    if baseline is not None and finite.any():
        drop = max(baseline - float(loss[finite].min()), 0.0)
        finite &= loss <= baseline + (WALL - 1.0) * drop
    better = np.flatnonzero(finite)
    last = int(better[-1]) if better.size else -1
    return ~np.isfinite(loss) & (np.arange(loss.size) < last)


def _above(baseline: float, distance: float) -> float:
    return baseline + distance if distance > 0.0 else math.inf
