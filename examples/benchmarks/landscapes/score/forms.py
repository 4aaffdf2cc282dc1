"""How figures are written in tables, and where tables go in pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def between(page: str, marker: str) -> str:
    """What stands between `<!-- marker -->` and `<!-- /marker -->`.

    Raises:
        ValueError: The page has no such markers.
    """
    return _marked(marker, page)[2]


def put(path: Path, marker: str, text: str) -> None:
    """Replaces what stands between a file's markers.

    Raises:
        ValueError: The file has no such markers.
    """
    found = _marked(marker, path.read_text(encoding="utf-8"))
    before, after = found.string[: found.end(1)], found.string[found.end(2) :].lstrip("\n")
    path.write_text(f"{before}{text}\n{after}", encoding="utf-8")


def _marked(marker: str, page: str) -> re.Match[str]:
    found = re.search(f"(<!-- {marker} -->\n)(.*?)(\n?<!-- /{marker} -->)", page, re.DOTALL)
    if found is None:
        raise ValueError(f"no <!-- {marker} --> ... <!-- /{marker} --> in the page: add them.")
    return found


def by_mean(rules: dict[str, Any]) -> list[str]:
    return sorted(rules, key=lambda n: float(rules[n]["mean"]))


def mean(figures: dict[str, Any]) -> str:
    return f"{figures['mean']:.2f}{interval(figures['mean_interval'], '.1f')}"


def short(figures: dict[str, Any]) -> str:
    ends = interval(figures["mean_interval"], ".1f")
    return f"{figures['mean']:.1f}{ends}; {percent(figures['over_5'])}"


def offset(figures: dict[str, Any]) -> str:
    return f"{figures['mean']:.1f}{interval(figures['interval'], '.1f')}; " + percent(
        figures["over_5"]
    )


def interval(ends: Sequence[float | None], form: str) -> str:
    low, high = ends
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def tasks(number: int) -> str:
    return f"{number} task" if number == 1 else f"{number} tasks"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def steps(steps: float) -> str:
    return f"{steps:,.0f}"
