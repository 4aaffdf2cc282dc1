"""Points lost against optimizer steps spent, a mark for every rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from examples.benchmarks.landscapes.score.page import README_RULES
from examples.benchmarks.landscapes.score.summary import OURS


def draw(figures: dict[str, Any], path: Path) -> None:
    """One mark with its 95 % interval for every rule of the README's table and the candidate."""
    mpl.use("agg")
    rules = figures["score"]["all"]["rules"]
    shown = {n: r for n, r in rules.items() if n in README_RULES or n.startswith("candidate")}
    figure, ax = plt.subplots(figsize=(9, 5.2))
    columns: dict[float, list[str]] = {}
    for name, r in shown.items():
        columns.setdefault(round(max(r["steps"], _FREE)), []).append(name)
    for steps, names in columns.items():
        for i, name in enumerate(sorted(names, key=lambda n: float(rules[n]["mean"]))):
            r = rules[name]
            x = steps * 1.09**i  # rules of one cost stand beside each other
            low, high = r["mean_interval"]
            color = "black" if name == OURS else "tab:blue" if _of_ours(name) else "tab:orange"
            if low is not None:
                ax.plot([x, x], [low, high], color=color, lw=1, alpha=0.6)
            ax.plot(x, r["mean"], "o", color=color, ms=5)
            ax.annotate(
                name, (x, r["mean"]), xytext=(5, 3), textcoords="offset points", fontsize=7
            )
    ax.set(xscale="log", yscale="log", xlabel="optimizer steps spent on the pick")
    ax.set_ylabel("points lost at the end of the training, mean")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


#: Where rules that cost nothing stand on a logarithmic axis.
_FREE = 5.0


def _of_ours(name: str) -> bool:
    return name.startswith(("method", "candidate", "lowest"))
