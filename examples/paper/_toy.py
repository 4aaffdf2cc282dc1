"""Made-up data in the form of the real ones, for smoke runs and tests where those are missing."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


_ROWS = {"train": 96, "val": 32, "test": 32}
_WORDS = ("red", "green", "blue", "black", "jump", "walk", "look", "run", "twice", "left")


def write_toy_data(folder: Path, seed: int = 0) -> Path:
    """Writes all four data sets, a few rows each.

    Args:
        folder: Their parent folder, made if it does not exist.
        seed: Seed of what they hold.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)

    def topic() -> dict[str, str]:
        label = int(rng.integers(4))
        words = [*rng.choice(_WORDS[4:], 3), *[_WORDS[label]] * 3]
        return {"label": str(label), "title": words[0], "text": " ".join(words[1:])}

    def pair() -> dict[str, str]:
        words = list(rng.choice(_WORDS, int(rng.integers(1, 4))))
        return {"src": " ".join(words), "tgt": " ".join(f"I_{word.upper()}" for word in words)}

    _write(folder / "ag_news", topic)
    _write(folder / "scan", pair)
    _write(folder / "multi30k_en_de", pair)
    (folder / "hymenoptera").mkdir(parents=True, exist_ok=True)
    images: dict[str, Any] = {}
    for part, n in (("train", 96), ("val", 32)):
        labels = rng.integers(2, size=n)
        noise = rng.integers(0, 128, size=(n, 96, 96, 3))
        images[f"x_{part}"] = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
        images[f"y_{part}"] = labels
    np.savez(folder / "hymenoptera" / "hymenoptera_96.npz", **images)
    return folder


def _write(folder: Path, row: Callable[[], dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in _ROWS.items():
        rows = [row() for _ in range(n)]
        path = folder / f"{part}.csv.gz"
        with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
