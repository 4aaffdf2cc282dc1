"""What trials passed through: losses left of them that need no trial (the method page, section 9).

To first order a training is a flow, and a learning rate the speed at which it is followed. With
``tau(k)`` for how far k optimizer steps go under one gradient, the loss after n steps at ``lr'``
is the loss after k steps at ``lr`` where ``lr' tau(n) = lr tau(k)``. So the path of a trial holds
the curve left of it for ``log10(tau(n) / tau(k))`` decades. Closer to ``max_lr`` a training is no
flow; so only trials well left of it are believed, and what they say never is the lowest loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve


class PathPoint(NamedTuple):
    """One look at a trial under way.

    Attributes:
        reach: How far its steps had gone beside all of them, tau(k) / tau(n), in (0, 1].
        excess: Loss less the untrained model's, both on one sample.
    """

    reach: float
    excess: float


@dataclass(frozen=True)
class Path:
    """What one trial passed through.

    Attributes:
        x: log10 of its learning rate.
        points: Looks with ascending reach, the last at reach 1.
    """

    x: float
    points: tuple[PathPoint, ...]


@dataclass(frozen=True, eq=False)
class Inferred:
    """Losses that follow from paths, not from a trial.

    Attributes:
        x: log10 of the learning rates, ascending, shape ``(q,)``.
        loss: Their losses, shape ``(q,)``.
        error: Their expected error, as a share of the drop from the untrained to the lowest
            loss, shape ``(q,)``.
        away: How far left of the lowest loss, in decades, a trial's path is believed; ``None``
            where no trial has one.
    """

    x: FloatArray = field(default_factory=lambda: np.empty(0))
    loss: FloatArray = field(default_factory=lambda: np.empty(0))
    error: FloatArray = field(default_factory=lambda: np.empty(0))
    away: float | None = None

    def __len__(self) -> int:
        return int(self.x.size)

    @classmethod
    def from_tuples(cls, rows: Sequence[tuple[float, float, float]]) -> Inferred:
        """From what :meth:`as_tuples` gave."""
        columns = np.asarray(rows, dtype=float).reshape(-1, 3).T
        return cls(np.log10(columns[0]), columns[1], columns[2])

    def as_tuples(self) -> tuple[tuple[float, float, float], ...]:
        """Learning rate, loss and error of each."""
        columns = (10.0**self.x).tolist(), self.loss.tolist(), self.error.tolist()
        return tuple(zip(*columns, strict=True))


#: A path is believed from so far left of the lowest loss on, in decades ...
_LEAST_AWAY = 0.25
#: ... and so far for optimizers whose first steps go further than their later ones (RMSprop,
#: Adagrad): there the first steps are no small ones, whatever the learning rate.
_LEAST_AWAY_FAST = 0.8
#: First steps go further if the reach of an early look is this many times its share of steps; the
#: first looks are at a twentieth.
_FAST = 1.5
_FIRST_SHARE = 0.05
#: Expected error of an inferred loss, as a share of the drop, at 0.8 decades left of the lowest
#: loss, and its slope towards it, per decade: 0.07 at 0.3, 0.03 at 0.5 decades; further away it
#: falls no more.
_ERROR_AT, _ERROR, _ERROR_SLOPE, _FARTHEST = 0.8, 0.015, 1.35, 1.2
#: Of points closer than this, in decades, an inferred one says nothing beside a measured one, or
#: beside another inferred one.
_BESIDE_MEASURED, _BESIDE_INFERRED = 0.08, 0.12
#: Left of the first look the drop is proportional to the learning rate: so many further points, so
#: far apart in decades, lead to where hardly a tenth of it is left.
_TAIL, _TAIL_STEP = 3, 0.35
#: A share of the whole drop below which a measured drop says nothing about a path: it is plateau.
_PLATEAU_DROP = 0.02
#: The most that a path is bent to meet the measured loss on its left.
_MOST_BENT = 3.0
#: Inferred losses stay at least this share of the drop above the lowest.
_ABOVE_LOWEST = 0.03


def inferred_losses(
    curve: LRCurve, baseline: float | None, paths: Sequence[Path], low: float = -np.inf
) -> Inferred:
    """The left flank as the paths of the known trials have it.

    Args:
        curve: The measured losses.
        baseline: Loss of the untrained model; without it nothing is inferred.
        paths: Paths of the curve's trials; of several at one learning rate the first counts.
        low: Lower end of the range, in decades; nothing is inferred left of it.
    """
    if baseline is None or not paths or not curve.finite.any():
        return Inferred()
    away = _LEAST_AWAY_FAST if any(map(_is_fast, paths)) else _LEAST_AWAY
    lowest = int(np.argmin(curve.loss))
    drop = baseline - float(curve.loss[lowest])
    if drop <= 0.0:
        return Inferred(away=away)
    by_x = {path.x: path for path in reversed(paths)}
    x: list[float] = []
    loss: list[float] = []
    error: list[float] = []
    for i in range(lowest, -1, -1):
        path = _path_at(by_x, float(curve.x[i]))
        distance = float(curve.x[lowest] - curve.x[i])
        if path is None or distance < away - 1e-9:
            continue
        left = int(i) - 1
        end = float(curve.x[left]) if left >= 0 else low
        at, drops = _followed(path, baseline - float(curve.loss[i]))
        if at.size == 0:
            continue
        if left >= 0:
            known = baseline - float(curve.loss[left])
            drops = drops * _bend(at, drops, float(curve.x[i]), end, known, drop)
        share = _ERROR * 10.0 ** (_ERROR_SLOPE * (_ERROR_AT - min(distance, _FARTHEST)))
        for a, d in zip(at, drops, strict=True):
            inside = end + _BESIDE_MEASURED * (left >= 0) <= a <= path.x - _BESIDE_MEASURED
            if inside and all(abs(a - b) >= _BESIDE_INFERRED for b in x):
                x.append(float(a))
                loss.append(baseline - float(np.clip(d, 0.0, (1.0 - _ABOVE_LOWEST) * drop)))
                error.append(share)
    order = np.argsort(x)
    at, losses, errors = (np.asarray(v, dtype=float)[order] for v in (x, loss, error))
    return Inferred(at, losses, errors, away)


def _path_at(by_x: dict[float, Path], x: float) -> Path | None:
    return next((path for at, path in by_x.items() if abs(at - x) < 1e-6), None)


def _is_fast(path: Path) -> bool:
    """Whether the first steps go further than the later ones."""
    return path.points[0].reach > _FAST * _FIRST_SHARE


def _followed(path: Path, drop: float) -> tuple[FloatArray, FloatArray]:
    """Learning rates left of a path's trial, descending, and the drops there.

    Args:
        path: The path.
        drop: The trial's own drop.
    """
    last = path.points[-1]
    if last.reach < 1.0 or not last.excess < 0.0 or not drop > 0.0:
        return np.empty(0), np.empty(0)
    looks = [(np.log10(p.reach), p.excess / last.excess) for p in path.points[:-1]][::-1]
    shares = [(shift, share) for shift, share in looks if share > 0.0]
    if not shares:
        return np.empty(0), np.empty(0)
    shift, share = shares[-1]
    shares += [
        (shift - j * _TAIL_STEP, share * 10.0 ** (-j * _TAIL_STEP)) for j in range(1, _TAIL + 1)
    ]
    at = path.x + np.asarray([s for s, _ in shares])
    return at, drop * np.asarray([s for _, s in shares])


def _bend(
    at: FloatArray, drops: FloatArray, source: float, end: float, known: float, whole: float
) -> FloatArray:
    """Factors that make a path meet the measured drop at its left end, and leave its right one."""
    if not known > _PLATEAU_DROP * whole:
        return np.ones_like(drops)
    log_drop = np.log(np.maximum(drops, 1e-12 * whole))
    there = float(np.interp(end, at[::-1], log_drop[::-1]))
    if end < at[-1]:
        there = float(log_drop[-1] + np.log(10.0) * (end - at[-1]))
    wrong = float(np.clip(np.log(known) - there, -np.log(_MOST_BENT), np.log(_MOST_BENT)))
    return np.asarray(np.exp(wrong * np.clip((source - at) / (source - end), 0.0, 1.0)))


def filled(curve: LRCurve, inferred: Inferred) -> LRCurve:
    """The curve with its inferred losses, which its ``error`` tells from measured ones.

    Args:
        curve: The measured losses.
        inferred: What follows from paths.
    """
    if not len(inferred):
        return curve
    x = np.concatenate([curve.lr, 10.0**inferred.x])
    order = np.argsort(x)
    none, one = np.full(len(inferred), np.nan), np.ones(len(inferred), dtype=np.int64)
    known_error = np.zeros(len(curve)) if curve.error is None else curve.error
    return LRCurve(
        x[order],
        np.concatenate([curve.loss, inferred.loss])[order],
        np.concatenate([curve.stderr, none])[order],
        np.concatenate([curve.count, one])[order],
        np.concatenate([known_error, inferred.error])[order],
    )
