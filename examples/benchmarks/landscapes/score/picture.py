"""Points lost against optimizer steps spent, a mark for every rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from examples.benchmarks.landscapes.score.page import README_RULES
from examples.benchmarks.landscapes.score.summary import FULL_GRID
from examples.benchmarks.landscapes.score.summary import OURS


#: Least distance of two labels of a column, as a share of the axis.
_APART = 0.042
#: Lowest mean that is drawn where it is, as a share of the highest: the axis is logarithmic.
_LEAST = 0.002


def draw(figures: dict[str, Any], path: Path) -> None:
    """One mark with its 95 % interval for every rule of the README's table and the candidate."""
    mpl.use("agg")
    rules = figures["score"]["all"]["rules"]
    shown = [n for n in rules if n in README_RULES or n.startswith("candidate")]
    columns: dict[int, list[str]] = {}
    for name in sorted(shown, key=lambda n: float(rules[n]["mean"])):
        columns.setdefault(_column(rules[name]["steps"]), []).append(name)
    means = [rules[n]["mean"] for n in shown]
    tops = [rules[n]["mean_interval"][1] or 0.0 for n in shown]
    low, high = 0.8 * max(min(means), _LEAST * max(means)), 1.2 * max(*means, *tops)
    figure, ax = plt.subplots(figsize=(11.5, 5.6))
    ax.set(yscale="log", ylim=(low, high), xlim=(-0.15, len(columns) + 0.4))
    for x, column in enumerate(sorted(columns)):
        _draw_column(ax, x, columns[column], rules)
    steps = [[rules[n]["steps"] for n in columns[c]] for c in sorted(columns)]
    ax.set_xticks(range(len(columns)), [_span(s) for s in steps])
    ax.set(xlabel="optimizer steps spent on the pick, mean")
    ax.set_ylabel("points lost at the end of the training, mean")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_column(ax: Any, x: float, names: list[str], rules: dict[str, Any]) -> None:
    """Marks over each other, and labels to their right that do not touch."""
    low, high = ax.get_ylim()
    height = -1.0
    for i, name in enumerate(names):
        mean, ends = max(rules[name]["mean"], low), rules[name]["mean_interval"]
        at = x + 0.015 * (i % 4)
        color = _color(name)
        if None not in ends:
            ax.plot([at, at], np.maximum(ends, low), color=color, lw=1, alpha=0.5)
        ax.plot(at, mean, "o", color=color, ms=4)
        height = max(np.log(mean / low) / np.log(high / low), height + _APART)
        label = x + 0.14, low * (high / low) ** height
        ax.plot([at, label[0]], [mean, label[1]], color=color, lw=0.4)
        ax.text(*label, name.replace("constants fitted", "constants\nfitted"), fontsize=7.5,
                va="center", color=color)  # fmt: skip


def _column(steps: float) -> int:
    """Rules of about the same cost stand over each other: to a third of a decade."""
    return -1 if steps < 1 else round(3 * np.log10(steps))


def _span(steps: list[float]) -> str:
    low, high = (f"{end:,.0f}" for end in (min(steps), max(steps)))
    return low if low == high else f"{low} - {high}"


def _color(name: str) -> str:
    if name in (OURS, FULL_GRID):
        return "black"
    ours = name.startswith(("method", "candidate", "lowest"))
    return "tab:blue" if ours else "tab:orange"
