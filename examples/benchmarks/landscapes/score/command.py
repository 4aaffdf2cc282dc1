"""`python -m examples.benchmarks.landscapes score`: every rule on every cell's record."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import RESULTS

from examples.benchmarks.landscapes.record import DATA
from examples.benchmarks.landscapes.record import load_all
from examples.benchmarks.landscapes.score import page
from examples.benchmarks.landscapes.score import price_page
from examples.benchmarks.landscapes.score import stored
from examples.benchmarks.landscapes.score.forms import put
from examples.benchmarks.landscapes.score.landscape import landscapes
from examples.benchmarks.landscapes.score.picture import draw
from examples.benchmarks.landscapes.score.price import offsets
from examples.benchmarks.landscapes.score.price import what_moves_the_best
from examples.benchmarks.landscapes.score.replay import built_in_rules
from examples.benchmarks.landscapes.score.replay import replay
from examples.benchmarks.landscapes.score.replay import rules_from
from examples.benchmarks.landscapes.score.replay import solve
from examples.benchmarks.landscapes.score.summary import figures_of
from examples.benchmarks.landscapes.score.summary import trained_figures
from examples.benchmarks.landscapes.score.summary import with_full_grid


NAME = "landscapes"


def figures(folder: Path, files: Sequence[Path] = (), every: int = 1) -> dict[str, Any]:
    """What the page, the table and the picture are made from.

    Args:
        folder: The cells' records.
        files: Rules of one's own, beside those of `rules/`.
        every: Takes each so many-th cell, for a quick look.

    Raises:
        ValueError: If there is no record, or a file holds no rule.
    """
    records = load_all(folder)[::every]
    solved = solve(records)
    if not solved:
        raise ValueError(f"{folder} holds no record (*.npz): run cells first, or name another.")
    own = [rule for f in files for rule in rules_from(f)]
    trainings = [s.landscape for s in solved]
    replayed = with_full_grid(replay(built_in_rules(), solved, own))
    idle = [t.name for r in records for t in landscapes(r) if not t.learns]
    return {
        "left_out": idle,
        "score": figures_of(replayed),
        "trained": trained_figures(replayed, stored.read(stored.TRAINED, folder)),
        "price": {"offsets": offsets(trainings), "moves": what_moves_the_best(trainings)},
        "nested": stored.read(stored.HPO_BENCH, folder),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="landscapes score", description=__doc__)
    parser.add_argument("rules", nargs="*", type=Path, help="files with rules of your own")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of records")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for landscapes.json, the page's sections and the picture; without it, and "
        "with rules of your own, nothing is written",
    )
    parser.add_argument("--every", type=int, default=1, help="take each so many-th cell only")
    parser.add_argument("--write", action="store_true", help="write them into docs/ and README.md")
    given = parser.parse_args(arguments)
    if given.write and (given.rules or given.every != 1):
        parser.error("--write is for the rules of rules/ on all cells: no files, no --every")
    started = time.perf_counter()
    try:
        measured = figures(given.data, given.rules, given.every)
    except ValueError as error:
        raise SystemExit(f"score: {error}") from error
    found = json.loads(json.dumps(measured, allow_nan=False))
    print(page.rules_table(found["score"]["all"]["rules"]))
    print(f"\n{time.perf_counter() - started:.0f} s")
    if given.out is not None:
        write(found, given.out)
    if given.write:
        write_docs(found)


def write(found: dict[str, Any], folder: Path) -> None:
    """The figures as JSON, the sections as one page, and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    (folder / f"{NAME}.json").write_text(text, encoding="utf-8")
    sections = (f"# Score\n\n{page.score_section(found)}", price_page.price_section(found))
    (folder / f"{NAME}.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    draw(found, folder / f"{NAME}.png")


def write_docs(found: dict[str, Any]) -> None:
    """Into the repository's pages, between their markers."""
    docs = RESULTS.parent
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    (RESULTS / f"{NAME}.json").write_text(text, encoding="utf-8")
    for marker, section in (("score", page.score_section), ("price", price_page.price_section)):
        put(RESULTS / f"{NAME}.md", marker, section(found))
    put(docs.parent / "README.md", NAME, page.readme_table(found))
    put(docs / "guide" / "which-pick.md", NAME, price_page.offsets_guide(found))
    put(docs / "guide" / "which-pick.md", f"{NAME}-picks", page.picks_guide(found))
    put(docs / "guide" / "schedules.md", NAME, price_page.moves_guide(found))
    draw(found, docs / "images" / f"{NAME}.png")
