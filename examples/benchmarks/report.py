"""What the benchmark scripts share: command line, Markdown tables, the pages they write."""

from __future__ import annotations

import argparse
import functools
import hashlib
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
    import optuna_lrss  # of the tree that runs; an older one may be what is installed

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna"))
    versions += f", optuna-lrss {optuna_lrss.__version__}"
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
    page = render(json.loads(write_figures(folder, name, figures)))
    print(page)
    if folder is not None:
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


def write_figures(folder: Path | None, name: str, figures: dict[str, Any]) -> str:
    """Writes NAME.json and returns its text."""
    text = json.dumps(figures, indent=1, allow_nan=False) + "\n"
    if folder is not None:
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return text


# --- Figures of two states of the code, side by side ---


def labelled(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds --label, under which the figures are kept."""
    parser.add_argument(
        "--label",
        choices=("before", "after"),
        default="after",
        help="the state of the code that is measured (default: after)",
    )
    return parser


def labelled_run(
    folder: Path | None, name: str, label: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All figures of NAME.json, and in them those of a label, empty if the code is another.

    Args:
        folder: Where the file is, if there is one.
        name: Name of the benchmark.
        label: Which figures are to be measured.

    Returns:
        ``{"labels": {label: run}}`` with every label so far, and the label's own run to fill.
    """
    path = None if folder is None else folder / f"{name}.json"
    known: dict[str, Any] = {}
    if path is not None and path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))["labels"]
    code = code_fingerprint()
    if known.get(label, {}).get("code") != code:
        known[label] = {"code": code}
    labels = {k: known[k] for k in sorted(known, reverse=True)}  # before stands before after
    return {"labels": labels}, labels[label]


@functools.cache
def code_fingerprint() -> str:
    """A hash of the package's sources."""
    import optuna_lrss  # here, so that the other benchmarks may time its import

    root = Path(optuna_lrss.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
