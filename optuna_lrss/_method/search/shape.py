"""What the known losses look like: the points of interest located between known neighbours.

By secants, without any model, so that it is cheap enough for every proposal (about 0.1 ms). The
answer of a search is read off a model instead: :mod:`optuna_lrss._method.points`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.knee import knee_of_secants
from optuna_lrss._method.levels import PLATEAU
from optuna_lrss._method.levels import WALL
from optuna_lrss._method.levels import before_half
from optuna_lrss._method.search.strategy import Search


#: A drop below this share of the baseline's size is rounding.
_NO_DROP = 1e-12
#: Losses this near the untrained one, in drops, may be plateau with noise.
_NEAR_UNTRAINED = 0.5
#: Median of |a standard normal variable| is 1 over this.
_MAD = 1.4826
#: Where the highest known loss stands in for the baseline, one this far to its right, in decades,
#: confirms the plateau: half a coarse step, so that the next coarse neighbour can.
_CONFIRMED = 0.25
#: Within this distance, in decades, of the lowest loss a curve that falls as steeply as the model
#: of a curve allows (a width of 0.06) has lost half of its drop, and others less than a fifth.
_CLOSE = 0.15
#: Two dead points this far apart, in decades, end the search to the right.
_DEAD_STRETCH = 1.0
#: A loss is lowest, or not, at two standard errors: 95 %.
_SURE = 2.0
#: The stretch that noise leaves undecided reaches this many noise widths up: more than is sure,
#: since the lowest of several noisy losses is too low itself by one to two widths.
_UNDECIDED = 3.0


class Shape(NamedTuple):
    """Points of interest located between known losses, by secants: cheap, for every trial.

    Attributes:
        x: log10 of the known learning rates, shape ``(m,)``.
        yn: Normalised losses, ``inf`` where diverged, shape ``(m,)``.
        lowest: Index of the lowest loss.
        drop: From the baseline to the lowest loss, in units of the loss.
        level: The baseline, or the highest loss left of the lowest in its place.
        noise: Scatter of the plateau, as a share of the drop.
        has_baseline: Whether ``level`` is the untrained model's loss.
    """

    x: FloatArray
    yn: FloatArray
    lowest: int
    drop: float
    level: float
    noise: float
    has_baseline: bool

    @classmethod
    def of(cls, search: Search) -> Shape | None:
        """The shape, or ``None`` while nothing is lower than the untrained model."""
        finite = np.isfinite(search.loss)
        if not finite.any():
            return None
        lowest = int(np.argmin(search.loss))
        level = search.baseline
        if level is None:
            left = search.loss[: lowest + 1]
            level = float(left[np.isfinite(left)].max())
        drop = level - float(search.loss[lowest])
        if drop <= _NO_DROP * max(abs(level), 1e-300):
            return None
        yn = (search.loss - search.loss[lowest]) / drop
        known = search.baseline is not None
        return cls(search.x, yn, lowest, drop, level, _plateau_noise(yn), known)

    def cuts(self) -> tuple[float, float]:
        """Beyond these, in decades, lie only plateau (left) and divergence (right)."""
        plateau = 1.0 - max(1.0 - PLATEAU, 2.0 * self.noise)
        flat = np.flatnonzero(self.yn[: self.lowest] >= plateau)
        if not self.has_baseline and flat.size:
            # The highest known loss stands in for the baseline: a second one must confirm it.
            flat = flat[self.x[flat] - self.x[flat[0]] >= _CONFIRMED]
        left = float(self.x[flat[-1]]) if flat.size else -np.inf
        after = np.arange(self.lowest + 1, self.x.size)
        wall = after[self.yn[after] > WALL]
        dead = after[self.yn[after] >= PLATEAU]
        right = float(self.x[wall[0]]) if wall.size else np.inf
        if dead.size:  # two dead points a decade apart, and nothing alive between or beyond
            alive = after[self.yn[after] < PLATEAU]
            dead = dead[dead > alive[-1]] if alive.size else dead
            far = dead[self.x[dead] - self.x[dead[0]] >= _DEAD_STRETCH] if dead.size else dead
            right = min(right, float(self.x[far[0]]) if far.size else np.inf)
        return left, right

    @property
    def wiggle(self) -> float:
        """The largest step against the course of a curve, as a share of the drop.

        From the untrained loss down to the lowest, and up again to the untrained: of so few losses
        that their scatter cannot be measured yet, a step the other way is the best sign of it. The
        lowest loss's left neighbour counts whole, if it is close: a basin is wider.
        """
        down, up = np.minimum(self.yn[: self.lowest + 1], 1.0), self.yn[self.lowest :]
        up = np.minimum(up, 1.0)
        above = self.yn[: self.lowest] - 1.0
        above = above[np.isfinite(above)] if self.has_baseline else above[:0]
        close = self.lowest > 0 and self.x[self.lowest] - self.x[self.lowest - 1] <= _CLOSE
        return float(
            max(
                np.max(down - np.minimum.accumulate(down)),
                np.max(np.maximum.accumulate(up) - up),
                np.max(above, initial=0.0),
                down[-2] if close else 0.0,
            )
        )

    def brackets(self, points: Collection[str]) -> dict[str, tuple[float, float]]:
        """Known neighbours of each wanted point, in decades (paper, section 3.3)."""
        found = {}
        if "min_lr" in points:
            half = self._half()
            last = self.lowest if half is None else half
            found["min_lr"] = self._neighbours(knee_of_secants(self.x, self.yn, last))
        if "steepest" in points and self.lowest > 0:
            i = int(np.argmin(self._secants()))
            found["steepest"] = (float(self.x[i]), float(self.x[i + 1]))
        if "half_loss" in points and (half := self._half()) is not None:
            found["half_loss"] = (float(self.x[half]), float(self.x[half + 1]))
        if "max_lr" in points:
            found["max_lr"] = self._neighbours(self.lowest)
        return found

    def steepest_neighbours(self) -> tuple[float, float]:
        """Neighbours of the known point with the most negative central difference."""
        finite = np.flatnonzero(np.isfinite(self.yn))
        if finite.size < 3:
            return self._neighbours(self.lowest)
        slope = np.gradient(self.yn[finite], self.x[finite])[finite <= self.lowest]
        return self._neighbours(int(finite[np.argmin(slope)]))

    def contenders(self, noise: float, count: NDArray[np.int64]) -> set[int]:
        """Points whose loss cannot be told from the lowest at two standard errors."""
        error = noise * np.sqrt(1.0 / count + 1.0 / count[self.lowest])
        return {int(i) for i in np.flatnonzero(self.yn <= _SURE * error)}

    def undecided(self, noise: float) -> tuple[float, float]:
        """The stretch around the lowest loss, in decades, that noise cannot tell from it."""
        alike = self.yn <= _UNDECIDED * noise
        unlike = np.flatnonzero(~alike)
        before, after = unlike[unlike < self.lowest], unlike[unlike > self.lowest]
        low = float(self.x[before[-1]]) if before.size else -np.inf
        high = float(self.x[after[0]]) if after.size else np.inf
        return low, high

    def near(self, name: str) -> set[int]:
        """The known points in the bracket of a point."""
        if name not in (brackets := self.brackets((name,))):
            return set()
        a, b = brackets[name]
        return {int(i) for i in np.flatnonzero((self.x >= a) & (self.x <= b))}

    def _neighbours(self, i: int) -> tuple[float, float]:
        """The known points beside point i; beyond the outermost lies the end of the range."""
        return (
            float(self.x[i - 1]) if i > 0 else -np.inf,
            float(self.x[i + 1]) if i + 1 < self.x.size else np.inf,
        )

    def _secants(self) -> FloatArray:
        """Slopes between neighbours up to the lowest loss, per decade; diverged ones are level."""
        y = np.minimum(self.yn[: self.lowest + 1], WALL)
        return np.diff(y) / np.diff(self.x[: self.lowest + 1])

    def _half(self) -> int | None:
        return before_half(self.yn, self.lowest)


def _plateau_noise(yn: FloatArray) -> float:
    """Scatter of the losses about the untrained one, as a share of the drop.

    Noise lifts about half of a plateau's losses above the untrained one; a curve without noise has
    hardly any there but those on its wall, however many lie on its fall.
    """
    near = yn[np.abs(yn - 1.0) < _NEAR_UNTRAINED]
    above = near[near > 1.0] - 1.0
    if near.size < 5 or above.size < max(2.0, 0.25 * near.size):
        return 0.0
    return float(_MAD * np.median(above))
