"""Runs what README.md shows and writes its real output, table and picture back.

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


def output_of(*arguments: str, folder: str) -> str:
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip("\n") + "\n"


def landscapes_table() -> str:
    sys.path.insert(0, str(ROOT))
    page = importlib.import_module("examples.benchmarks.landscapes.score.page")
    figures = (ROOT / "docs" / "results" / "landscapes.json").read_text(encoding="utf-8")
    table: str = page.readme_table(json.loads(figures))
    return table


def paper_table() -> str:
    sys.path.insert(0, str(ROOT))
    page = importlib.import_module("examples.paper._page")
    results = importlib.import_module("examples.paper._results")
    table: str = page.summary_of(results.read_all(ROOT / "docs" / "paper", "cpu"))
    return table


def main() -> None:
    """Rewrites the two output blocks and the tables of README.md, and the quickstart's picture."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        quickstart = output_of(str(ROOT / "examples" / "quickstart.py"), folder=folder)
        shutil.copy(Path(folder) / "quickstart.png", ROOT / "docs" / "images" / "quickstart.png")
        code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        if code is None:
            raise SystemExit("README.md has lost its example")
        example = output_of("-c", code[1], folder=folder)

    def block(before: str, body: str) -> None:
        nonlocal text
        pattern = re.compile(f"({re.escape(before)}```text\n).*?(```)", re.DOTALL)
        text = pattern.sub(lambda found: found[1] + body + found[2], text, count=1)

    block(code[0] + "\n", example)
    block("<!-- quickstart-output -->\n", quickstart)
    for name, table in (("landscapes", landscapes_table()), ("paper", paper_table())):
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda found, new=table: found[1] + new + "\n" + found[2], text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
