"""Learning-rate/loss curves whose points of interest are known exactly.

A curve is a plateau that falls to a floor (logistic, Richards' generalised logistic, normal,
arctangent) and an exponential wall of divergence, or n steps of gradient descent on a quadratic,
worked out by hand. The points follow from the formula and its analytic derivatives by root
finding; nothing of the package is used. ``test_curves.py`` holds the oracle itself to closed
forms and to mpmath.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr


@dataclass(frozen=True)
class Truth:
    """Exact points of interest, log10 of learning rates."""

    min_lr: float
    max_lr: float
    half_loss: float
    steepest: float

    @property
    def midpoint(self) -> float:
        return 0.5 * (self.min_lr + self.max_lr)


@dataclass(frozen=True)
class Curve:
    """``loss = baseline - depth * (S(x) - W(x))`` over x = log10(lr), in decades.

    ``S = (1 + exp(-(x - centre) / width)) ** -skew`` and ``W = exp((x - wall) / steep)``. Beyond
    ``limit`` depths above the baseline the loss is inf.
    """

    name: str
    centre: float = -3.0
    width: float = 0.25
    skew: float = 1.0
    wall: float = -1.0
    steep: float = 0.15
    baseline: float = 2.3
    depth: float = 2.0
    limit: float = math.inf
    low: float = -7.0
    high: float = 1.0

    def shape(self, x: np.ndarray | float, order: int = 0) -> np.ndarray:
        """S - W, or its first, second or third derivative."""
        exponent = np.clip((np.asarray(x, dtype=float) - self.wall) / self.steep, -700.0, 600.0)
        return np.asarray(self.rise(x, order) - np.exp(exponent) / self.steep**order)

    def rise(self, x: np.ndarray | float, order: int) -> np.ndarray:
        """S, from 0 on the plateau to 1 on the floor, or a derivative of it."""
        a, w = self.skew, self.width
        z = np.clip((np.asarray(x, dtype=float) - self.centre) / w, -500.0, 500.0)
        p = 1.0 / (1.0 + np.exp(z))
        s = np.exp(-a * np.logaddexp(0.0, -z))
        q = (a + 1.0) * p**2 - p
        return np.asarray(
            (
                s,
                a / w * s * p,
                a / w**2 * s * q,
                a / w**3 * s * (a * p * q - (2.0 * (a + 1.0) * p - 1.0) * p * (1.0 - p)),
            )[order]
        )

    def loss(self, lr: float) -> float:
        """Loss of the short trial at a learning rate."""
        value = float(self.shape(math.log10(lr)))
        if value < -self.limit:
            return math.inf
        return self.baseline - self.depth * value

    @property
    def range(self) -> tuple[float, float]:
        return 10.0**self.low, 10.0**self.high

    def truth(self) -> Truth:
        top = _peak(self.shape, lambda x: self.shape(x, 1), self.low, self.high)
        gain = float(self.shape(top))
        half = _half(lambda x: self.shape(x) / gain - 0.5, self.low, top)
        steepest = _peak(lambda x: self.shape(x, 1), lambda x: self.shape(x, 2), self.low, top)

        def bend(x: np.ndarray | float) -> np.ndarray:
            slope = self.shape(x, 1) / gain
            return self.shape(x, 2) / gain / (1.0 + slope**2) ** 1.5

        def bend_slope(x: np.ndarray | float) -> np.ndarray:
            y1, y2, y3 = (self.shape(x, k) / gain for k in (1, 2, 3))
            return y3 * (1.0 + y1**2) - 3.0 * y1 * y2**2

        # The loss falls where the shape rises: the loss's least curvature is the shape's greatest.
        knee = _peak(bend, bend_slope, self.low, half)
        return Truth(min_lr=knee, max_lr=top, half_loss=half, steepest=steepest)

    def shifted(self, decades: float, name: str | None = None) -> Curve:
        """The same curve at other learning rates."""
        return replace(
            self,
            name=self.name if name is None else name,
            centre=self.centre + decades,
            wall=self.wall + decades,
            low=self.low + decades,
            high=self.high + decades,
        )


@dataclass(frozen=True)
class NormalFall(Curve):
    """The fall is a normal distribution function: thinner tails than a logistic."""

    def rise(self, x: np.ndarray | float, order: int) -> np.ndarray:
        z = (np.asarray(x, dtype=float) - self.centre) / self.width
        bell = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
        return np.asarray(
            (ndtr(z), bell, -z * bell, (z**2 - 1.0) * bell)[order] / self.width**order
        )


@dataclass(frozen=True)
class ArctanFall(Curve):
    """The fall is an arctangent: its tails reach far into the plateau."""

    def rise(self, x: np.ndarray | float, order: int) -> np.ndarray:
        z = (np.asarray(x, dtype=float) - self.centre) / self.width
        d = 1.0 + z**2
        values = (
            0.5 + np.arctan(z) / math.pi,
            1.0 / (math.pi * d),
            -2.0 * z / (math.pi * d**2),
            (6.0 * z**2 - 2.0) / (math.pi * d**3),
        )
        return np.asarray(values[order] / self.width**order)


@dataclass(frozen=True)
class Quadratic(Curve):
    """The loss of n gradient steps on ``sum(part_i / 2 * ...)``, a quadratic.

    Along an eigenvector of curvature h a step multiplies the error by ``1 - lr h``, so the loss
    share of that direction after n steps is ``part * (1 - lr h) ** (2 n)``: exact, no training.
    """

    curvatures: tuple[float, ...] = (1.0, 0.3, 0.1)
    parts: tuple[float, ...] = (0.5, 0.3, 0.2)
    steps: int = 20

    def shape(self, x: np.ndarray | float, order: int = 0) -> np.ndarray:
        m = 2.0 * self.steps
        total = np.zeros_like(np.asarray(x, dtype=float))
        for h, part in zip(self.curvatures, self.parts, strict=True):
            t = h * 10.0 ** np.asarray(x, dtype=float)
            u = 1.0 - t
            # Derivatives to ln(lr), by (t d/dt) once, twice and three times.
            once = -m * t * u ** (m - 1)
            second = m * (m - 1) * t**2 * u ** (m - 2)
            third = -m * (m - 1) * (m - 2) * t**3 * u ** (m - 3)
            terms = (u**m - 1.0, once, once + second, once + 3.0 * second + third)
            total = total - part * terms[order]
        return np.asarray(total * math.log(10.0) ** order)


def _peak(
    value: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[float], np.ndarray],
    low: float,
    high: float,
) -> float:
    """Where ``value`` is greatest in [low, high]: dense scan, then the root of ``slope``."""
    grid = np.linspace(low, high, 20_001)
    i = int(np.argmax(value(grid)))
    if i in (0, grid.size - 1):
        return float(grid[i])
    return float(brentq(lambda x: float(slope(x)), grid[i - 1], grid[i + 1], xtol=1e-12))


def _half(rise: Callable[[np.ndarray | float], np.ndarray], low: float, high: float) -> float:
    """First root of ``rise`` met going left from high; low where there is none."""
    grid = np.linspace(low, high, 20_001)
    below = np.flatnonzero(rise(grid) <= 0.0)
    if below.size == 0:
        return low
    i = int(below[-1])
    return float(brentq(lambda x: float(rise(x)), grid[i], grid[i + 1], xtol=1e-12))


#: Widths, asymmetries, walls, depths, signs and positions. All have plateau and wall in range.
CURVES: tuple[Curve, ...] = (
    Curve("plain"),
    Curve("narrow", width=0.1, centre=-3.33, wall=-1.7, steep=0.1),
    Curve("wide", width=0.5, centre=-3.1, wall=-0.4, steep=0.25, low=-8.0, high=1.5),
    Curve("early knee", width=0.25, skew=0.5, centre=-2.7),
    Curve("late knee", width=0.2, skew=2.0, centre=-3.4),
    Curve("cliff", width=0.2, centre=-2.77, wall=-1.31, steep=0.06, limit=1.5),
    Curve("gentle wall", width=0.2, centre=-4.0, wall=-1.6, steep=0.4),
    Curve("diverges to inf", width=0.3, wall=-1.2, limit=0.2),
    Curve("negative losses", baseline=-5.0, depth=3.0, width=0.3, centre=-3.6),
    Curve("crosses zero", baseline=0.7, depth=2.0, width=0.2, skew=1.5),
    Curve("tiny losses", baseline=3e-6, depth=2e-6, width=0.3),
    Curve("huge losses", baseline=4e7, depth=3.5e7, width=0.2),
    Curve("shallow", baseline=2.3, depth=0.3, width=0.3, centre=-3.2),
    Curve("moved left", width=0.3, centre=-2.9).shifted(-5.0),
    Curve("above one", width=0.3, centre=-2.9, limit=2.0).shifted(8.5),
    Curve("across one", width=0.2, centre=-3.1).shifted(2.0),
    NormalFall("normal fall", width=0.4),
    NormalFall("narrow normal fall", width=0.25, centre=-3.3, wall=-1.5, limit=1.0),
    ArctanFall("arctan fall", width=0.15),
    Quadratic("quadratic", low=-6.0, high=2.0),
    Quadratic(
        "stiff quadratic",
        curvatures=(100.0, 30.0, 10.0, 3.0),
        parts=(0.6, 0.2, 0.15, 0.05),
        limit=3.0,
        low=-8.0,
        high=0.0,
    ),
)
#: What `pytest -k` and the reports show.
NAMES = [curve.name for curve in CURVES]
