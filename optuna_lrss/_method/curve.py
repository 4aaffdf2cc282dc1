"""The learning-rate/loss curve, over a logarithmic axis (paper, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


FloatArray = NDArray[np.float64]

#: Two learning rates closer than this (in decades) are the same learning rate: a rate that went
#: through ``10 ** x`` and a database comes back within a few units in the last place.
SAME_LR = 1e-9
#: Repeats that differ by less than this share of the loss are copies: some units in the last place
#: of the 32-bit floats that losses are mostly computed in (6e-8 each).
_COPY = 1e-6


@dataclass(frozen=True, eq=False)
class LRCurve:
    """Losses of short trials at ascending learning rates, repeats averaged.

    Attributes:
        lr: Learning rates, shape ``(m,)``, strictly ascending, positive.
        loss: Mean loss at each learning rate, shape ``(m,)``; lower is better, ``inf`` where a
            trial diverged.
        stderr: Standard error of each mean, shape ``(m,)``; ``nan`` where there is one repeat.
        count: Number of repeats at each learning rate, shape ``(m,)``.
        error: Expected error of losses that were inferred, as a share of the drop, 0 where they
            were measured, shape ``(m,)``; ``None`` where all were.
    """

    lr: FloatArray
    loss: FloatArray
    stderr: FloatArray
    count: NDArray[np.int64]
    error: FloatArray | None = None

    @classmethod
    def from_observations(
        cls, lrs: Sequence[float] | FloatArray, losses: Sequence[float] | FloatArray
    ) -> LRCurve:
        """Builds the curve from single observations in any order.

        Args:
            lrs: Learning rates, positive and finite, shape ``(n,)``.
            losses: Losses, shape ``(n,)``. Non-finite values mean that the trial diverged.

        Returns:
            The curve, one point per distinct learning rate. Repeats are averaged; one diverged
            repeat makes the point diverged, since a rate that sometimes diverges is not viable.

        Raises:
            ValueError: If the lengths differ or a learning rate is not positive and finite.
        """
        x = np.asarray(lrs, dtype=float).reshape(-1)
        y = np.asarray(losses, dtype=float).reshape(-1)
        if x.shape != y.shape:
            raise ValueError(f"lrs and losses differ in length: {x.size} against {y.size}.")
        bad = ~(np.isfinite(x) & (x > 0))
        if bad.any():
            raise ValueError(
                f"lrs holds {x[bad][0]!r}; learning rates must be positive and finite, "
                "because the curve has a logarithmic axis."
            )
        order = np.argsort(x, kind="stable")
        x, y = x[order], np.where(np.isfinite(y[order]), y[order], np.inf)
        starts = np.flatnonzero(np.diff(np.log10(x), prepend=-np.inf) > SAME_LR)
        count = np.diff(np.append(starts, x.size))
        return cls(x[starts], *_averages(y, starts, count), count.astype(np.int64))

    def with_observation(self, lr: float, loss: float) -> LRCurve:
        """The curve with one more observation, without sorting the others again.

        Args:
            lr: Learning rate, positive and finite.
            loss: Loss; not finite if the trial diverged.
        """
        loss = loss if math.isfinite(loss) else math.inf
        x = math.log10(lr)
        i = int(np.searchsorted(self.x, x - SAME_LR))
        if i == len(self) or self.x[i] - x > SAME_LR:
            return LRCurve(
                np.insert(self.lr, i, lr),
                np.insert(self.loss, i, loss),
                np.insert(self.stderr, i, np.nan),
                np.insert(self.count, i, 1),
            )
        n, mean = int(self.count[i]), float(self.loss[i])
        new_mean = mean + (loss - mean) / (n + 1) if math.isfinite(mean + loss) else math.inf
        squares = 0.0 if n == 1 else float(self.stderr[i]) ** 2 * n * (n - 1)
        squares += (loss - mean) * (loss - new_mean) if math.isfinite(new_mean) else math.nan
        curve = LRCurve(self.lr, self.loss.copy(), self.stderr.copy(), self.count.copy())
        curve.loss[i], curve.count[i] = new_mean, n + 1
        curve.stderr[i] = math.sqrt(squares / (n * (n + 1)))
        return curve

    @cached_property
    def x(self) -> FloatArray:
        """The axis, log10 of the learning rates, in decades."""
        return np.log10(self.lr)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which points did not diverge."""
        return np.isfinite(self.loss)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which points were measured."""
        return np.ones(len(self), dtype=bool) if self.error is None else self.error == 0.0

    @property
    def independent(self) -> NDArray[np.int64]:
        """Number of evaluations at each learning rate that are no copies of each other.

        Repeats that agree to the last digits of a 32-bit loss were no repeats: the objective is
        deterministic, and they say nothing about the noise between learning rates.
        """
        return np.where(self._copied, 1, self.count)

    @property
    def repeat_noise(self) -> float | None:
        """Standard deviation of one loss, pooled over repeats; ``None`` without repeats."""
        n = self.independent
        repeated = (n > 1) & np.isfinite(self.stderr)
        if not repeated.any():
            return None
        n = n[repeated]
        variance = self.stderr[repeated] ** 2 * n
        return float(np.sqrt(np.sum(variance * (n - 1)) / np.sum(n - 1)))

    @property
    def repeat_degrees(self) -> int:
        """Degrees of freedom of ``repeat_noise``: evaluations less learning rates, of repeats."""
        return int(np.sum(self.independent[np.isfinite(self.stderr)] - 1))

    @property
    def _copied(self) -> NDArray[np.bool_]:
        return (self.count > 1) & (self.stderr <= _COPY * np.abs(self.loss))

    def __len__(self) -> int:
        return int(self.lr.size)


def _averages(
    y: FloatArray, starts: NDArray[np.intp], count: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Means and standard errors of the runs of ``y`` that begin at ``starts``."""
    if y.size == 0:
        return y, y
    mean = np.add.reduceat(y, starts) / count
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = y - np.repeat(mean, count)  # inf - inf is nan: a diverged mean has no error
        variance = np.add.reduceat(deviation**2, starts) / (count - 1)
        stderr = np.sqrt(variance / count)
    return mean, np.where(count > 1, stderr, np.nan)


def holds(x: FloatArray, value: float) -> bool:
    """Whether a learning rate, in decades, is among others, in decades."""
    return bool(x.size) and bool(np.min(np.abs(x - value)) <= SAME_LR)
