"""Analytic learning-rate/loss curves whose points of interest are known.

A curve falls from the untrained loss to a floor and rises again at a divergence wall. Seven
families differ in how: the shape of the fall (logistic, generalised logistic, Gompertz, Gauss),
a flat bottom, a second minimum, a minimum near the upper end of the range. Width, position, depth
and wall are drawn afresh for every curve. The true points are taken from the formula on a grid of
0.001 decades, with no code of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf


FloatArray = NDArray[np.float64]

LOW, HIGH = -7.0, 1.0
FAMILIES = (
    "logistic",
    "generalised logistic",
    "Gompertz",
    "Gauss",
    "flat bottom",
    "two minima",
    "minimum near the end",
)
POINTS = ("min_lr", "max_lr", "half_loss", "steepest", "midpoint")


@dataclass(frozen=True)
class Curve:
    """One curve; ``points`` are its true points in decades."""

    family: str
    baseline: float
    drop: float
    points: dict[str, float]
    loss: Callable[[FloatArray], FloatArray]


def draw(seed: int) -> Curve:
    """The curve of a seed; the family goes round."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    baseline = rng.uniform(0.5, 5.0)
    depth = baseline * rng.uniform(0.2, 0.98)
    width = np.exp(rng.uniform(np.log(0.1), np.log(0.5)))
    centre = rng.uniform(-5.0, -1.5)
    bottom = rng.uniform(2.5, 6.0) * width
    wall_width = np.exp(rng.uniform(np.log(0.06), np.log(0.4)))
    power = np.exp(rng.uniform(np.log(0.4), np.log(2.5)))
    hill = (rng.uniform(0.1, 0.5), rng.uniform(2.5, 4.0) * width + 0.3, rng.uniform(0.15, 0.4))
    if family == "flat bottom":
        bottom = 2.0 * width + rng.uniform(0.8, 1.6)
    if family == "two minima":
        bottom = hill[1] + rng.uniform(0.8, 1.8)
    if family == "minimum near the end":
        centre = rng.uniform(-1.0, 0.3)

    def loss(x: FloatArray) -> FloatArray:
        x = np.asarray(x, dtype=float)
        y = baseline - depth * _fall(family, (x - centre) / width, power)
        if family == "two minima":
            y = y + depth * hill[0] * np.exp(-0.5 * ((x - centre - hill[1]) / hill[2]) ** 2)
        y = y + 0.5 * depth * 10.0 ** np.minimum((x - centre - bottom) / wall_width, 20.0)
        return np.where(y > baseline + 30.0 * depth, np.inf, y)

    points, lowest = _true_points(loss, baseline)
    return Curve(family, baseline, baseline - lowest, points, loss)


def _fall(family: str, z: FloatArray, power: float) -> FloatArray:
    """From 0 to 1."""
    z = np.clip(z, -60.0, 60.0)
    if family == "generalised logistic":
        return np.asarray((1.0 + np.exp(-z)) ** -power)
    if family == "Gompertz":
        return np.asarray(-np.expm1(-np.exp(z)))
    if family == "Gauss":
        return np.asarray(0.5 * (1.0 + erf(z / 1.7)))
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def _true_points(
    loss: Callable[[FloatArray], FloatArray], baseline: float
) -> tuple[dict[str, float], float]:
    """The points by their definitions, in decades, and the lowest loss."""
    x = np.linspace(LOW, HIGH, 8001)
    y = loss(x)
    at_max = int(np.argmin(y))
    yn = (y - y[at_max]) / (baseline - y[at_max])
    above = np.flatnonzero(yn[:at_max] >= 0.5)
    half = int(above[-1]) if above.size else 0
    with np.errstate(invalid="ignore"):
        slope = np.gradient(yn, x)
        curvature = np.gradient(slope, x) / (1.0 + slope**2) ** 1.5
    points = {
        "min_lr": float(x[2 + int(np.argmin(curvature[2 : half + 1]))]),
        "max_lr": float(x[at_max]),
        "half_loss": float(x[half]),
        "steepest": float(x[int(np.argmin(slope[: at_max + 1]))]),
    }
    points["midpoint"] = 0.5 * (points["min_lr"] + points["max_lr"])
    return points, float(y[at_max])
