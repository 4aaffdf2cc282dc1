"""Means, quantiles and intervals in which every task counts the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.benchmarks.landscapes.record import Array


#: Resamplings of the tasks for an interval; its ends then move by about a twentieth of its width.
RESAMPLINGS = 2000


@dataclass(frozen=True, eq=False)
class Tasks:
    """Rows grouped by task.

    Attributes:
        index: Task of each row, shape (rows,), 0 .. number - 1.
        number: Number of tasks.
    """

    index: Array
    number: int

    @classmethod
    def of(cls, names: list[str]) -> Tasks:
        unique, index = np.unique(np.array(names), return_inverse=True)
        return cls(index, len(unique))

    @property
    def weights(self) -> Array:
        """One over the number of rows of a row's task, shape (rows,), sum 1."""
        count = np.bincount(self.index, minlength=self.number)
        return np.asarray(1.0 / count[self.index] / self.number)

    def means(self, values: Array) -> Array:
        """Mean of each task, shape (tasks,)."""
        count = np.bincount(self.index, minlength=self.number)
        return np.asarray(np.bincount(self.index, values, minlength=self.number) / count)

    def mean(self, values: Array) -> float:
        """The mean over tasks of the means of their rows."""
        return float(self.means(values).mean())

    def quantile(self, values: Array, share: float) -> float:
        """The smallest value with at least `share` of the weight at or below it."""
        order = np.argsort(values, kind="stable")
        below = np.cumsum(self.weights[order])
        return float(values[order][min(int(np.searchsorted(below, share - 1e-9)), below.size - 1)])

    def interval(self, values: Array) -> tuple[float, float]:
        """95 % of the mean, by resampling tasks (percentile bootstrap, always the same draws)."""
        if self.number < 2:
            return float("nan"), float("nan")
        means = self.means(values)
        draws = np.random.default_rng(0).integers(self.number, size=(RESAMPLINGS, self.number))
        low, high = np.quantile(means[draws].mean(axis=1), [0.025, 0.975])
        return float(low), float(high)
