"""Picks from learning rate range tests: fastai, Lightning, pytorch-lr-finder, and by eye.

Each reads the range test that the record holds by that package's protocol (engine/schedules.py).
Where the test is too short for a pick (it is cut where the loss explodes) there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import range_tests
from range_tests import RangeTest

from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import Range


#: Steps of the tests that are read by eye: their authors take an epoch.
BY_EYE_STEPS = 300
#: fastai's slide compares slopes 15 points apart; all of fastai's picks need a few points.
_FEWEST = 17


def _replay(test: Range) -> range_tests.Step:
    """A training that gives the recorded losses; the learning rates are the protocol's own."""
    losses = iter(test.loss.tolist())
    return lambda _lr: float(next(losses))


@cache
def _fastai(test: Range) -> RangeTest:
    return range_tests.fastai_test(_replay(test), n_steps=test.lr.size)


def _of_fastai(pick: Callable[[RangeTest], float], steps: int) -> Callable[[Cell], float | None]:
    pick = cache(pick)

    def rule(cell: Cell) -> float | None:
        test = _fastai(cell.range_test("fastai", steps))
        return None if test.lr.size < _FEWEST else pick(test)

    return rule


@cache
def _lightning(test: Range) -> RangeTest:
    return range_tests.lightning_test(_replay(test), n_steps=test.lr.size)


def lightning(cell: Cell) -> float | None:
    """As of 2.6: the steepest slope over the learning rate itself."""
    return range_tests.lightning_suggestion(_lightning(cell.range_test("lightning")))


def lightning_corrected(cell: Cell) -> float | None:
    """With the slope over its logarithm, as an open change to Lightning has it (PR 21171)."""
    test = _lightning(cell.range_test("lightning"))
    return range_tests.lightning_suggestion(test, logarithmic=True)


@cache
def _lr_finder(test: Range) -> float | None:
    replayed = range_tests.lr_finder_test(
        _replay(test), float(test.lr[0]), float(test.lr[-1]), test.lr.size
    )
    return range_tests.lr_finder_steepest(replayed)


def pytorch_lr_finder(cell: Cell) -> float | None:
    """As of 0.2.2: the steepest slope by index."""
    return _lr_finder(cell.range_test("lr_finder"))


def gugger(cell: Cell) -> float | None:
    """A tenth of where the smoothed loss is lowest.

    S. Gugger, "How Do You Find A Good Learning Rate" (2018): an order of magnitude before the
    minimum, on a plot that leaves out the first ten points and the last five.
    """
    return _gugger(cell.range_test("gugger", BY_EYE_STEPS))


@cache
def _gugger(test: Range) -> float | None:
    average, smooth = 0.0, []
    for i, loss in enumerate(test.loss):
        average = 0.98 * average + 0.02 * loss
        smooth.append(average / (1 - 0.98 ** (i + 1)))
        if not smooth[-1] <= 4 * min(smooth):
            break
    seen = smooth[10:-5]
    return float(test.lr[10 + int(np.argmin(seen))]) / 10 if seen else None


def surmenok(cell: Cell) -> float | None:
    """Where the raw loss falls fastest, as a moving difference over 20 batches.

    P. Surmenok's keras_lr_finder and its article (2017): (L[i] - L[i - 20]) / 20, read between
    the tenth point and the fifth from the end; the test ends at four times the lowest loss.
    """
    return _surmenok(cell.range_test("surmenok", BY_EYE_STEPS))


@cache
def _surmenok(test: Range) -> float | None:
    span = 20
    exploded = np.flatnonzero(~(test.loss <= 4 * np.minimum.accumulate(test.loss)))
    loss = test.loss[: exploded[0] + 1 if exploded.size else None]
    if loss.size < span + 6:
        return None
    change = (loss[span:] - loss[:-span]) / span  # its first point is the test's number `span`
    return float(test.lr[span + int(np.argmin(change[:-5]))])


def wittmann(cell: Cell) -> float | None:
    """The lowest loss after a few updates, the weights put back before each learning rate.

    W. Wittmann's LRFinder smooths over learning rates by .9, ends at four times the lowest and
    leaves the pick to the eye; "the lowest" is what its plot suggests.
    """
    return _wittmann(cell.range_test("wittmann", BY_EYE_STEPS))


@cache
def _wittmann(test: Range) -> float | None:
    last = np.flatnonzero(np.diff(test.lr, append=np.inf) > 0)  # last step at each rate
    smooth: list[float] = []
    for loss in test.loss[last]:
        smooth.append(0.9 * smooth[-1] + 0.1 * float(loss) if smooth else float(loss))
        if not smooth[-1] <= 4 * min(smooth):
            break
    return float(test.lr[last[int(np.argmin(smooth))]])


RULES = {
    "fastai valley": _of_fastai(range_tests.fastai_valley, 100),
    "fastai slide": _of_fastai(range_tests.fastai_slide, 100),
    "fastai minimum/10": _of_fastai(range_tests.fastai_minimum, 100),
    "fastai steep": _of_fastai(range_tests.fastai_steep, 100),
    "fastai valley, 300 steps": _of_fastai(range_tests.fastai_valley, 300),
    "fastai minimum/10, 300 steps": _of_fastai(range_tests.fastai_minimum, 300),
    "Lightning": lightning,
    "Lightning, corrected": lightning_corrected,
    "pytorch-lr-finder": pytorch_lr_finder,
    "Gugger": gugger,
    "Surmenok": surmenok,
    "Wittmann": wittmann,
}
