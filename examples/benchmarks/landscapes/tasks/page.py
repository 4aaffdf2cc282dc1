"""`tasks`: the table of all tasks, as it stands in this folder's README.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.tasks import TaskData


PAGE = Path(__file__).with_name("README.md")
MARKER = "<!-- tasks -->\n"
_HEAD = (
    "| task | kind | inputs | rows: train, validation, test | loss, metric | data | licence |\n"
    "|:---|:---|:---|---:|:---|:---|:---|"
)


def main(arguments: list[str]) -> None:
    """Prints the table, or writes it into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.landscapes tasks", description=main.__doc__
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    write = parser.parse_args(arguments).write
    try:
        made = table()
    except tasks.MissingDataError as error:
        parser.exit(2, f"{error}\n")
    if write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(text[: text.index(MARKER)] + f"{MARKER}\n{made}\n", encoding="utf-8")
    else:
        print(made)


def table() -> str:
    """A Markdown table with a row per task.

    Raises:
        MissingDataError: If the data of any task are not at hand.
    """
    return "\n".join([_HEAD, *(_row(tasks.load(name)) for name in tasks.names())])


def _row(task: TaskData) -> str:
    shape = " x ".join(map(str, task.x_train.shape[1:]))
    unit = f"tokens of {task.vocab}" if task.vocab else "numbers"
    rows = f"{len(task.x_train):,}, {len(task.x_val):,}, {len(task.x_test):,}"
    cells = (
        f"`{task.name}`",
        task.kind,
        f"{shape} {unit}",
        rows,
        f"{task.loss}, {task.metric}",
        task.source,
        task.licence,
    )
    return f"| {' | '.join(cells)} |"
