"""Runs what README.md and the quickstart show and writes real output, tables and picture back.

    python docs/refresh.py

The pages in docs/results and docs/paper are written by their own scripts; run those first.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"


def output_of(*arguments: str, folder: str) -> str:
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip("\n") + "\n"


def landscapes_table() -> str:
    sys.path.insert(0, str(ROOT))
    page = importlib.import_module("examples.benchmarks.landscapes.score.page")
    figures = (DOCS / "results" / "landscapes.json").read_text(encoding="utf-8")
    table: str = page.readme_table(json.loads(figures))
    return table


def paper_table() -> str:
    sys.path.insert(0, str(ROOT))
    page = importlib.import_module("examples.paper._page")
    results = importlib.import_module("examples.paper._results")
    table: str = page.summary_of(results.read_all(DOCS / "paper", "cpu"))
    return table


def rewritten(page: Path, **blocks: str) -> None:
    """Puts new text between a page's ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    text = page.read_text(encoding="utf-8")
    for name, body in blocks.items():
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not marked.search(text):
            raise SystemExit(f"{page} has lost its <!-- {name} -->")
        text = marked.sub(lambda found, new=body: found[1] + new + "\n" + found[2], text)
    page.write_text(text, encoding="utf-8")


def with_output(page: Path, before: str, output: str) -> None:
    """Puts what was printed into the output block that stands right after ``before``."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"({re.escape(before)}```text\n).*?(```)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page} has lost an output block")
    page.write_text(
        pattern.sub(lambda found: found[1] + output + found[2], text, count=1), encoding="utf-8"
    )


def main() -> None:
    """Rewrites the two output blocks, the tables and the quickstart's picture."""
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if code is None:
        raise SystemExit("README.md has lost its example")
    with tempfile.TemporaryDirectory() as folder:
        quickstart = output_of(str(ROOT / "examples" / "quickstart.py"), folder=folder)
        shutil.copy(Path(folder) / "quickstart.png", ROOT / "docs" / "images" / "quickstart.png")
        example = output_of("-c", code[1], folder=folder)
    with_output(README, code[0] + "\n", example)
    with_output(DOCS / "quickstart.md", "<!-- quickstart-output -->\n", quickstart)
    rewritten(README, landscapes=landscapes_table())
    rewritten(DOCS / "results" / "index.md", paper=paper_table())


if __name__ == "__main__":
    main()
