"""Small pictures: digits, insects, photographs, terrain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sklearn.datasets
import torch
from numpy.typing import NDArray

from examples.benchmarks.landscapes.tasks._base import Parts
from examples.benchmarks.landscapes.tasks._base import generator
from examples.benchmarks.landscapes.tasks._base import imbalanced
from examples.benchmarks.landscapes.tasks._base import mislabelled
from examples.benchmarks.landscapes.tasks._base import package_file
from examples.benchmarks.landscapes.tasks._base import parts
from examples.benchmarks.landscapes.tasks._base import shared
from examples.benchmarks.landscapes.tasks._base import split
from examples.benchmarks.landscapes.tasks._base import standardised
from examples.benchmarks.landscapes.tasks._base import task


_DIGITS = "package scikit-learn, load_digits, from UCI's optical recognition of digits"
_UCI = "CC BY 4.0 (UCI Machine Learning Repository)"
_PHOTOS = "package scikit-learn, load_sample_images"
_PHOTO_LICENCE = "CC BY 2.0 (the photographers named in scikit-learn's images/README.txt)"
_INSECTS = "hymenoptera of PyTorch's transfer-learning tutorial"
_NOT_STATED = "none stated (a subset of ImageNet)"

Floats = NDArray[np.float32]
_PARTS = ("train", "val", "test")


# --- digits --------------------------------------------------------------------------------------


def _digits() -> tuple[Floats, NDArray[np.int64]]:
    """1,797 digits of shape ``(1, 8, 8)``, about mean 0 and deviation 1."""
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    return ((x - 4.9) / 6.0).astype(np.float32).reshape(-1, 1, 8, 8), y.astype(np.int64)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=_DIGITS,
    licence=_UCI,
)
def digits() -> Parts:
    """Ten digits of 8 x 8 pixels."""
    return split(*_digits(), 1_000, 297, 500, n_classes=10)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_DIGITS}; two fifths of the training labels drawn anew",
    licence=_UCI,
)
def digits_noise() -> Parts:
    """Digits with heavy label noise in training only."""
    return mislabelled(digits(), 0.4)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    label_smoothing=0.1,
    source=f"{_DIGITS}; classes thinned to 1:20, label smoothing .1",
    licence=_UCI,
)
def digits_imbalanced() -> Parts:
    """Digits, classes thinned in training only, with label smoothing."""
    return imbalanced(digits(), 20.0)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_DIGITS}; brightness 0-255, mean not subtracted",
    licence=_UCI,
)
def digits_unscaled() -> Parts:
    """Digits as bytes, 0 to 255: inputs a hundred times too large."""
    x, y = _digits()
    return split((x * 6 + 4.9) * np.float32(255 / 16), y, 1_000, 297, 500, n_classes=10)


@task(kind="autoencoder", loss="mse", source=_DIGITS, licence=_UCI)
def digits_autoencoder() -> Parts:
    """64 pixels through a bottleneck and back."""
    x, _ = _digits()
    flat = x.reshape(len(x), -1)
    return split(flat, flat, 1_000, 297, 500)


@task(
    kind="contrastive",
    loss="info_nce",
    source=f"{_DIGITS}; two shifted, noisy views",
    licence=_UCI,
)
def digits_contrastive() -> Parts:
    """Two views of a digit, shifted by up to a pixel and noisy, find each other in a batch."""
    x, y = _digits()
    rng = generator(40)
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=float(x.min()))
    views = np.empty((len(x), 2, 1, 8, 8), np.float32)
    for row, picture in zip(views, framed, strict=True):
        for view in row:
            down, right = rng.integers(0, 3, 2)
            view[:] = picture[:, down : down + 8, right : right + 8]
    views += 0.3 * rng.normal(size=views.shape).astype(np.float32)
    return split(views, y, 1_000, 297, 500, n_classes=10)


# --- photographs and terrain ---------------------------------------------------------------------


def _patches(side: int) -> Parts:
    """Patches of two photographs, which do not overlap: the left 70 % of each trains."""
    found: tuple[list[Floats], ...] = ([], [], [])
    for photo in sklearn.datasets.load_sample_images().images:
        height, width, _ = photo.shape
        for row in range(0, height - side + 1, side):
            for column in range(0, width - side + 1, side):
                share = column / width
                part = 0 if share < 0.7 else 1 if share < 0.82 else 2
                found[part].append(photo[row : row + side, column : column + side])
    pixels = [np.stack(p).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1 for p in found]
    return parts([(p, p) for p in pixels])


def _noisy(given: Parts, deviation: float) -> Parts:
    """Inputs with Gaussian noise on them; the targets stay clean."""
    rng = torch.Generator().manual_seed(2)
    return replace(
        given,
        **{
            name: rows + deviation * torch.randn(rows.shape, generator=rng)
            for name in ("x_train", "x_val", "x_test")
            for rows in [getattr(given, name)]
        },
    )


@task(kind="autoencoder", loss="mse", source=_PHOTOS, licence=_PHOTO_LICENCE)
def photo_autoencoder() -> Parts:
    """Patches of 12 x 12 colour pixels through a bottleneck and back."""
    return _patches(12)


@task(kind="restoration", loss="mse", source=f"{_PHOTOS}; noise added", licence=_PHOTO_LICENCE)
def photo_denoising() -> Parts:
    """Clean patches of 16 x 16 from patches under Gaussian noise: for a U-Net."""
    return _noisy(_patches(16), 0.4)


@task(kind="restoration", loss="mse", source=f"{_PHOTOS}; greyed", licence=_PHOTO_LICENCE)
def photo_colouring() -> Parts:
    """Colour patches of 16 x 16 from their grey versions."""
    given = _patches(16)
    grey = {f"x_{p}": getattr(given, f"x_{p}").mean(1, keepdim=True) for p in _PARTS}
    return replace(given, **grey)


@task(
    kind="segmentation",
    loss="bce",
    metric="accuracy",
    source=f"{_DIGITS}, laid over patches of {_PHOTOS}",
    licence=f"{_UCI}; {_PHOTO_LICENCE}",
)
def digit_segmentation() -> Parts:
    """Which pixels of a 16 x 16 grey photograph a digit was laid over."""
    rng = generator(41)
    handwritten, ground, sides = digits(), _patches(16), []
    for part in _PARTS:
        strokes = (getattr(handwritten, f"x_{part}").numpy() * 6 + 4.9) / 16
        patches = getattr(ground, f"x_{part}").numpy().mean(1, keepdims=True)
        n = min(len(strokes), len(patches))
        x, y = patches[:n].copy(), np.zeros((n, 1, 16, 16), np.float32)
        for row in range(n):
            down, right = rng.integers(0, 9, 2)
            window = (row, 0, slice(down, down + 8), slice(right, right + 8))
            x[window] += 0.8 * strokes[row, 0]
            y[window] = strokes[row, 0] > 0.4
        sides.append((x, y))
    return parts(sides, n_classes=2)


@task(
    kind="regression",
    loss="mse",
    source="package matplotlib, jacksboro_fault_dem (U.S. Geological Survey)",
    licence="public domain (USGS)",
)
def terrain() -> Parts:
    """Height above the sea from a place's two coordinates."""
    file = package_file(
        "matplotlib",
        "mpl-data",
        "sample_data",
        "jacksboro_fault_dem.npz",
        install="pip install matplotlib",
    )
    with np.load(file) as stored:
        height = stored["elevation"].astype(np.float32)
    return standardised(split(*_coordinates(height[:, :, None]), 4_000, 512, 1_000), targets=True)


@task(kind="regression", loss="mse", source=f"{_PHOTOS} (flower)", licence=_PHOTO_LICENCE)
def photo_coordinates() -> Parts:
    """A photograph's colour from a pixel's two coordinates."""
    colours = sklearn.datasets.load_sample_image("flower.jpg")[::4, ::4].astype(np.float32)
    return split(*_coordinates(colours / 127.5 - 1), 4_000, 512, 1_000)


def _coordinates(picture: Floats) -> tuple[Floats, Floats]:
    """Places from -1 to 1, and the picture's values there."""
    height, width, channels = picture.shape
    rows, columns = np.mgrid[:height, :width]
    x = np.stack([rows / (height - 1), columns / (width - 1)], 2) * 2 - 1
    return x.reshape(-1, 2).astype(np.float32), picture.reshape(-1, channels)


# --- insects -------------------------------------------------------------------------------------


def _insects(side: int) -> tuple[list[Floats], list[NDArray[np.int64]]]:
    """Training, validation and test pictures, the official second part being the test."""
    with np.load(shared("hymenoptera") / "hymenoptera_96.npz") as stored:
        x, y, x_test, y_test = (stored[n] for n in ("x_train", "y_train", "x_val", "y_val"))
    order = generator(42).permutation(len(x))
    train, val = order[80:], order[:80]
    pictures = [_shrunk(p, side) for p in (x[train], x[val], x_test)]
    return pictures, [y[train], y[val], y_test]


def _shrunk(bytes_: NDArray[np.uint8], side: int) -> Floats:
    pixels = torch.from_numpy(bytes_).permute(0, 3, 1, 2).float() / 127.5 - 1
    small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="area")
    result: Floats = small.numpy()
    return result


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=_INSECTS,
    licence=_NOT_STATED,
)
def hymenoptera() -> Parts:
    """Ants or bees of 24 x 24 pixels; training pictures mirrored too, so 328 of them."""
    (train, val, test), (y_train, y_val, y_test) = _insects(24)
    both = np.concatenate([train, train[..., ::-1]])
    labels = np.concatenate([y_train, y_train])
    return parts([(both, labels), (val, y_val), (test, y_test)], n_classes=2)


def _insect_patches(side: int) -> Parts:
    """Patches without overlap of pictures of 48 x 48 pixels."""
    per = 48 // side
    cut = [
        p.reshape(len(p), 3, per, side, per, side)
        .transpose(0, 2, 4, 1, 3, 5)
        .reshape(-1, 3, side, side)
        for p in _insects(48)[0]
    ]
    limits = (2_000, 512, 1_000)
    chosen = [p[generator(43).permutation(len(p))[:n]] for p, n in zip(cut, limits, strict=True)]
    return parts([(p, p) for p in chosen])


@task(kind="autoencoder", loss="mse", source=_INSECTS, licence=_NOT_STATED)
def hymenoptera_autoencoder() -> Parts:
    """Patches of 16 x 16 pixels through a bottleneck and back."""
    return _insect_patches(16)


@task(kind="restoration", loss="mse", source=f"{_INSECTS}; noise added", licence=_NOT_STATED)
def hymenoptera_denoising() -> Parts:
    """Clean patches of 16 x 16 from patches under Gaussian noise: for a U-Net."""
    return _noisy(_insect_patches(16), 0.3)


@task(kind="contrastive", loss="info_nce", source=f"{_INSECTS}; two crops", licence=_NOT_STATED)
def hymenoptera_contrastive() -> Parts:
    """Two crops of 16 x 16 out of the same 24 x 24 picture, one of them mirrored."""
    rng, sides = generator(44), []
    (train, val, test), labels = _insects(24)
    both = np.concatenate([train, train[..., ::-1]])
    for pictures, y in zip((both, val, test), (np.tile(labels[0], 2), *labels[1:]), strict=True):
        views = np.empty((len(pictures), 2, 3, 16, 16), np.float32)
        for row, picture in zip(views, pictures, strict=True):
            for view in row:
                down, right = rng.integers(0, 9, 2)
                view[:] = picture[:, down : down + 16, right : right + 16]
        views[:, 1] = views[:, 1, :, :, ::-1]
        sides.append((views, y))
    return parts(sides, n_classes=2)
