"""The paper's claim about its three methods, over all recorded trainings of the landscapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.benchmarks.landscapes.record import DATA
from examples.benchmarks.landscapes.record import load_all
from examples.benchmarks.landscapes.rules import package
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.replay import Replay
from examples.benchmarks.landscapes.score.replay import replay
from examples.benchmarks.landscapes.score.replay import rules_of
from examples.benchmarks.landscapes.score.replay import solve
from examples.benchmarks.landscapes.score.summary import FAILED


Figures = dict[str, Any]
Array = NDArray[np.float64]

#: The paper's methods in its order, by their names among the landscapes' rules.
METHODS = ("method 1, log-midpoint", "method 2, half-loss", "method 3, steepest")
#: Points within which two picks count as equally good: less is a difference of seeds.
EVEN = 0.5
FILE = "claim.json"
#: The trainings that are looked at: the paper names no schedule, so a constant rate comes first.
_GROUPS: dict[str, Callable[[Landscape], bool]] = {
    "constant rate, from scratch": lambda t: t.schedule == "constant" and not t.finetune,
    "schedules that decay, from scratch": lambda t: t.schedule != "constant" and not t.finetune,
    "constant rate, Adam's kin": lambda t: _plain(t) and t.group == "adam",
    "constant rate, SGD with momentum": lambda t: _plain(t) and t.group == "momentum",
    "constant rate, real data": lambda t: _plain(t) and t.real,
    "constant rate, fine-tuning": lambda t: t.schedule == "constant" and t.finetune,
}


def _plain(training: Landscape) -> bool:
    return training.schedule == "constant" and not training.finetune


def measure_claim(folder: Path = DATA) -> Figures:
    """What each method loses, and each against each, by group of trainings.

    Args:
        folder: The cells' records.
    """
    rules = [rule for rule in rules_of(package) if rule.name in METHODS]
    found = replay(rules, solve(load_all(folder)))
    parts = {name: found.where(wanted) for name, wanted in _GROUPS.items()}
    return {name: claim_of(part) for name, part in parts.items() if part.trainings}


def claim_of(part: Replay) -> Figures:
    """The claim on some trainings.

    Returns:
        Counts; for each method its points lost; for each two the difference of the later and the
        earlier one, row by row; shares of trainings (means over their seeds) in which the paper's
        order holds and in which each method is the best. Means and shares weigh every task the
        same, intervals are of 95 % and resample tasks.
    """
    tasks = part.tasks
    lost = {name: part.scores[name].lost for name in METHODS}
    names = [t.name for t in part.trainings]
    first = np.unique(names, return_index=True)[1]
    of_training = np.array([_by_training(names, lost[name]) for name in METHODS])
    wise = part._at(first).tasks
    one, two, three = of_training
    shares = {
        "order": (one < two) & (two < three),
        "order, half a point": (one <= two + EVEN) & (two <= three + EVEN),
        "all even": np.ptp(of_training, axis=0) <= EVEN,
        **{name: of_training[i] == of_training.min(0) for i, name in enumerate(METHODS)},
    }
    answered = np.isfinite(part.scores[METHODS[0]].decades).astype(float)
    return {
        "tasks": tasks.number,
        "cells": len({t.cell for t in part.trainings}),
        "trainings": len(first),
        "no window": 1.0 - tasks.mean(answered),
        "lost": {
            name: {
                "mean": tasks.mean(points),
                "interval": tasks.interval(points),
                "over_5": tasks.mean((points > FAILED).astype(float)),
            }
            for name, points in lost.items()
        },
        "differences": {
            f"{b} minus {a}": {
                "mean": tasks.mean(lost[b] - lost[a]),
                "interval": tasks.interval(lost[b] - lost[a]),
            }
            for a, b in combinations(METHODS, 2)
        },
        "shares": {
            name: {
                "mean": wise.mean(held.astype(float)),
                "interval": wise.interval(held.astype(float)),
            }
            for name, held in shares.items()
        },
    }


def _by_training(names: Sequence[str], points: Array) -> Array:
    """Mean over the seeds of each training, in the order of their names."""
    _, index = np.unique(names, return_inverse=True)
    return np.asarray(np.bincount(index, points) / np.bincount(index))


def write_claim(found: Figures, out: Path) -> None:
    """Writes them to ``out/claim.json``."""
    (out / FILE).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_claim(out: Path) -> Figures | None:
    """What was written, or nothing."""
    path = out / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


# --- In words and tables -------------------------------------------------------------------------


def claim_section(found: Figures) -> str:
    """The section of the page."""
    main = next(iter(found.values()))
    return "\n\n".join(
        [
            "## The claim over all landscapes",
            "A handful of experiments decides nothing, so the three methods were held against the "
            "recorded trainings of the [landscapes](../results/landscapes.md): each method reads "
            "the curve of 20 steps, and what its learning rate loses at the end of the training "
            "is read off the recorded grid. Points are those of the landscapes, every task counts "
            "the same, intervals (95 %) resample tasks, differences are paired.",
            _verdict(main),
            _losses(found),
            _differences(found),
            _shares(found),
            "By chance an order is met in 1 of 6 trainings; *up to half a point* counts two "
            "methods that are no further apart as in order, in *all even* all three are that "
            "close, and methods that are equally good are both the best. Where a curve has no "
            f"window (at a constant rate {_percent(main['no window'])} of them) all three lose "
            "what no training at all loses.",
            "```text\npython -m examples.paper claim\n```",
        ]
    )


def _verdict(main: Figures) -> str:
    """What the constant rates say, in a sentence for each step of the order."""
    steps, said = main["differences"], []
    for (a, b), d in zip(combinations(METHODS, 2), steps.values(), strict=True):
        low, high = d["interval"]
        sure = "loses more than" if low > 0 else "loses less than" if high < 0 else "ties with"
        said.append(f"{_short(b)} {sure} {_short(a)} ({_signed(d)} points)")
    order = main["shares"]["order"]
    holds = all(d["interval"][0] > 0 for d in steps.values())
    head = (
        "**On average the paper's order holds**"
        if holds
        else "**Not even on average does the whole of the paper's order hold**"
    )
    return (
        f"{head} at a constant rate, over {main['cells']} cells of {main['tasks']} tasks: "
        f"{'; '.join(said)}. In a single training it is met, 1 before 2 before 3, in "
        f"{_percent(order['mean'])} {_ends(order, 100, '.0f')} of them."
    )


def _losses(found: Figures) -> str:
    header = ["trainings", "tasks", "cells", *map(_short, METHODS)]
    rows = [
        [
            name,
            str(f["tasks"]),
            str(f["cells"]),
            *(
                f"{f['lost'][m]['mean']:.1f} {_ends(f['lost'][m])}; "
                f"{_percent(f['lost'][m]['over_5'])}"
                for m in METHODS
            ),
        ]
        for name, f in found.items()
    ]
    return "Points lost, with the share of picks that lose over 5:\n\n" + _table(header, rows)


def _differences(found: Figures) -> str:
    pairs = list(combinations(METHODS, 2))
    header = ["trainings", *(f"{_short(b)} minus {_short(a)}" for a, b in pairs)]
    rows = [
        [name, *(_signed(f["differences"][f"{b} minus {a}"]) for a, b in pairs)]
        for name, f in found.items()
    ]
    return "Paired differences in points; above 0 the earlier method is better:\n\n" + _table(
        header, rows
    )


def _shares(found: Figures) -> str:
    header = [
        "trainings",
        "1 before 2 before 3",
        "up to half a point",
        "all even",
        *(f"{_short(m)} is best" for m in METHODS),
    ]
    keys = ("order", "order, half a point", "all even", *METHODS)
    rows = [
        [
            f"{name} ({f['trainings']})",
            *(
                f"{_percent(f['shares'][k]['mean'])} {_ends(f['shares'][k], 100, '.0f')}"
                for k in keys
            ),
        ]
        for name, f in found.items()
    ]
    return "Share of trainings in which the order holds:\n\n" + _table(header, rows)


def _short(method: str) -> str:
    return method.partition(",")[0]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _signed(figure: Figures) -> str:
    return f"{figure['mean']:+.2f} {_ends(figure, form='+.2f')}"


def _ends(figure: Figures, scale: float = 1.0, form: str = ".1f") -> str:
    low, high = (scale * end for end in figure["interval"])
    return f"[{low:{form}}, {high:{form}}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join([":---"] + ["---:"] * (len(header) - 1)) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
