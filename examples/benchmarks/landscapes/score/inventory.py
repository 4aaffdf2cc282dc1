"""`data`: what there is, as it stands in the section "The data" of docs/results/landscapes.md."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import RESULTS
from report import table

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.generate import AGREEMENT
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.score.forms import put


MARKER = "data"
PAGE = RESULTS / "landscapes.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the section, or writes it into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.landscapes data", description=main.__doc__
    )
    parser.add_argument("--data", type=Path, default=record.DATA, help="folder of the records")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args(arguments)
    text = section(record.load_all(given.data), _bytes(given.data), _agreement(given.data))
    if given.write:
        put(PAGE, MARKER, text)
    else:
        print(text)


def section(records: list[Record], size: int, agreement: dict[str, Any] | None) -> str:
    """The figures and tables of the records.

    Args:
        records: All cells.
        size: Of their files, bytes.
        agreement: What `check` wrote, if it did.
    """
    metas = [r.meta for r in records]
    parts = [_summary(metas, size)]
    if agreement is not None:
        parts.append(_agreed(agreement))
    parts += [
        _counted("kind of task", metas, "kind"),
        _counted("optimizer", metas, "optimizer"),
        _counted("model", metas, "model"),
    ]
    return "\n\n".join(parts)


def _summary(metas: list[dict[str, Any]], size: int) -> str:
    tasks = {m["task"]: m["real"] for m in metas}
    seconds = sum(m["seconds"] for m in metas)
    twice = sum(len(m["lengths"]) > 1 for m in metas)
    tuned = sum(m["finetune"] for m in metas)
    earlier = sum(m.get("revision", 1) < record.REVISION for m in metas if not m["finetune"])
    shortest = min(min(m["lengths"]) for m in metas)
    longest = max(max(m["lengths"]) for m in metas)
    trainings = sum(
        len(m["seeds"]) * len(m["lengths"]) * len(m["schedules"]) for m in metas
    ) * len(record.LEARNING_RATES)
    return (
        f"{len(metas)} cells of {len(tasks)} tasks ({sum(tasks.values())} with data of the "
        f"world), {tuned} of them fine-tuning, {earlier} of an earlier engine; {twice} at two "
        f"lengths; {shortest:,} to "
        f"{longest:,} steps. That is {trainings:,} trainings in {size / 1e6:.1f} MB. They took "
        f"{seconds / 60:.0f} minutes of one core, so about {seconds / 120:.0f} on two."
    )


def _agreed(agreement: dict[str, Any]) -> str:
    losses = _all(agreement["losses"].values())
    metrics = _all(agreement["metrics"].values())
    return (
        "Against a plain loop of `torch.nn.functional` and `torch.optim` (`check`): in float64, "
        f"{agreement['steps']} steps of {len(agreement['losses'])} cells that have every model "
        "and optimizer, learning rates from 1e-6 to 100: all losses agree to 1e-9 (relative) in "
        f"{np.mean(losses < 1e-9):.1%} of the trainings (median {np.median(losses):.0e}); the "
        "others are chaotic at rates far beyond the best. Whole trainings as they are stored, in "
        f"float32, {len(agreement['metrics'])} cells: the final validation metric is the same "
        f"within half a point in {np.mean(metrics <= 0.5):.0%} of them, and up to "
        f"{metrics.max():.0f} points apart where a training is chaotic."
    )


def _all(lists: Iterable[list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([np.asarray(one) for one in lists])


def _counted(head: str, metas: list[dict[str, Any]], key: str) -> str:
    cells = Counter(m[key] for m in metas)
    tasks = {value: len({m["task"] for m in metas if m[key] == value}) for value in cells}
    rows = [(value, tasks[value], n) for value, n in cells.most_common()]
    return table((head, "tasks", "cells"), rows)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.npz"))


def _agreement(folder: Path) -> dict[str, Any] | None:
    path = folder / AGREEMENT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
