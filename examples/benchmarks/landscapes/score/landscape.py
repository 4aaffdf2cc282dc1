"""What every learning rate loses at the end of one training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.score.cell import group_of


#: Points that a difference of all there is to gain counts for a loss. Points of accuracy and
#: percents of a loss cannot be added up as they are; a rule that gives away 20 % of the possible
#: drop of a loss is taken for as bad as one that gives away 5 points of accuracy, the two limits
#: that call a pick failed in the replays of the method page. So a percent counts a quarter point.
LOSS_POINTS = 25.0
#: A training counts if its best rate gains more than this many points on no training at all: less
#: would leave nothing to fail at. Where a loss alone is known, points are shares of the gain, and
#: it has to be more than this many standard errors instead.
LEAST_GAIN = 5.0
#: Points within which learning rates count as equally good, to say where the best one lies.
_LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Landscape:
    """One training: a cell at one length with one schedule.

    Attributes:
        cell: Name of the cell.
        task, model, optimizer, group: What it is made of.
        batch_size: Rows of a minibatch.
        steps: T.
        length: Which of the cell's lengths, ascending from 0.
        lengths: How many it has.
        schedule: Name of the schedule.
        finetune, real: As in the record.
        x: log10 of the learning rates, shape (R,).
        lost: Points lost by the mean over seeds against the best of the grid, shape (R,).
        one_percent: Points that are one percent of the best metric.
        best: Where the best learning rate lies, log10: the middle of those around it that lose
            less than half a point.
        chosen: Points lost by the learning rate with the best validation metric, mean over
            seeds: what a full grid gets.
        learns: Whether any rate of the grid learns anything to speak of.
        scale, top, bottom, sign: Points lost are `scale * (top - value)`, with `value` the metric
            times `sign`, and at least `bottom`, that of an untrained model.
    """

    cell: str
    task: str
    model: str
    optimizer: str
    group: str
    batch_size: int
    steps: int
    length: int
    lengths: int
    schedule: str
    finetune: bool
    real: bool
    x: Array
    lost: Array
    one_percent: float
    best: float
    chosen: float
    learns: bool
    scale: float
    top: float
    bottom: float
    sign: float

    @property
    def name(self) -> str:
        return f"{self.cell}, {self.steps} steps, {self.schedule}"

    @property
    def floor(self) -> float:
        """Points lost by not training at all, or by a divergence."""
        return self.scale * (self.top - self.bottom)

    def points_lost(self, lr: float | None) -> float:
        """Points that a learning rate loses, linear between the grid's; `None` never trains."""
        if lr is None or not 0.0 < lr < np.inf:
            return self.floor
        return float(np.interp(np.log10(lr), self.x, self.lost))

    def decades_off(self, lr: float | None) -> float:
        """How far above the best a learning rate lies, NaN for `None`."""
        return np.nan if lr is None or not 0.0 < lr < np.inf else float(np.log10(lr)) - self.best

    def points_of(self, metric: float) -> float:
        """Points lost by a training of one's own that ended at a metric of the record's kind."""
        value = self.sign * metric if np.isfinite(metric) else self.bottom
        return self.scale * (self.top - max(value, self.bottom))


def landscapes(record: Record) -> list[Landscape]:
    """Every training of a record, by length and schedule."""
    return [
        _landscape(record, length, k)
        for length in range(len(record.meta["lengths"]))
        for k in range(len(record.meta["schedules"]))
    ]


def _landscape(record: Record, length: int, schedule: int) -> Landscape:
    meta = record.meta
    sign = -1.0 if meta["direction"] == "min" else 1.0
    floor = sign * _untrained(record)
    of_seed = _clipped(sign * record.final_metric[length, schedule], floor)
    value = of_seed.mean(axis=0)
    top = float(value.max())
    gain, loss_alone = top - floor, meta["metric"] == "loss"
    scale = LOSS_POINTS / max(gain, 1e-12) if loss_alone else 1.0
    lost = scale * (top - value)
    x = np.log10(record.lr)
    one_percent = 0.01 * (LOSS_POINTS if loss_alone else abs(top))
    on_validation = _clipped(sign * record.final_val_metric[length, schedule], -np.inf)
    return Landscape(
        cell=meta["cell"],
        task=meta["task"],
        model=meta["model"],
        optimizer=meta["optimizer"],
        group=group_of(meta["family"]),
        batch_size=int(meta["batch_size"]),
        steps=int(meta["lengths"][length]),
        length=length,
        lengths=len(meta["lengths"]),
        schedule=meta["schedules"][schedule],
        finetune=bool(meta["finetune"]),
        real=bool(meta["real"]),
        x=x,
        lost=lost,
        one_percent=one_percent,
        best=middle_of_best(x, lost),
        chosen=float(lost[int(np.argmax(on_validation.mean(axis=0)))]),
        learns=gain > LEAST_GAIN * (_error(of_seed) if loss_alone else 1.0),
        scale=scale,
        top=top,
        bottom=floor,
        sign=sign,
    )


def _untrained(record: Record) -> float:
    """The metric of no training: of a guess where it is known, else of the untrained model."""
    guess = record.meta.get("guess")
    if record.meta["metric"] == "loss" or guess is None:
        return float(np.mean(record.baseline_metric))
    return float(guess)


def _error(of_seed: Array) -> float:
    """Standard error of the best mean over seeds, 0 for one seed.

    Over the best rate and the two beside it: the seeds of one rate may agree by chance.
    """
    if len(of_seed) < 2:
        return 0.0
    best = int(of_seed.mean(axis=0).argmax())
    near = of_seed[:, max(best - 1, 0) : best + 2]
    return float(np.sqrt(near.var(axis=0, ddof=1).mean() / len(of_seed)))


def _clipped(value: Array, floor: float) -> Array:
    """What diverged or ended below the floor ends at the floor."""
    return np.asarray(np.maximum(np.where(np.isfinite(value), value, floor), floor))


def middle_of_best(x: Array, lost: Array) -> float:
    """The middle of the stretch around the lowest that loses less than half a point."""
    low = high = int(np.argmin(lost))
    while low > 0 and lost[low - 1] < _LEVEL:
        low -= 1
    while high < lost.size - 1 and lost[high + 1] < _LEVEL:
        high += 1
    return float(0.5 * (x[low] + x[high]))
