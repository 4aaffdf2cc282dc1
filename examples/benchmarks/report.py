"""What the benchmark scripts share: command line, Markdown tables, the pages they write."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


RESULTS = Path(__file__).parents[2] / "docs" / "results"


def parser(description: str | None) -> argparse.ArgumentParser:
    """--out and --smoke, as every benchmark has them."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        help="folder to write the page and the figures to (default: docs/results; with --smoke "
        "nothing is written without it)",
    )
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes")
    return parser


def output_folder(arguments: argparse.Namespace) -> Path | None:
    """Where to write; None for a smoke run that names no folder."""
    if arguments.out is None:
        return None if arguments.smoke else RESULTS
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join([":---"] + ["---:"] * (len(header) - 1)) + "|",
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def provenance(script: str, wall_seconds: float, *, smoke: bool) -> str:
    """Where the figures of a page come from."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "optuna-lrss"))
    text = (
        f"Written by `python examples/benchmarks/{script}.py` in {wall_seconds:.0f} s on "
        f"{os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}, "
        f"{versions}), from the figures in `{script}.json` beside this page."
    )
    return f"**Smoke run: too small to mean anything.** {text}" if smoke else text


def write_page(
    folder: Path | None,
    name: str,
    figures: dict[str, Any],
    render: Callable[[dict[str, Any]], str],
) -> None:
    """Writes NAME.json, and NAME.md rendered from it; prints the page."""
    text = json.dumps(figures, indent=1, allow_nan=False) + "\n"
    page = render(json.loads(text))
    print(page)
    if folder is not None:
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
