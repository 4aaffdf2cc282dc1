"""`python -m examples.benchmarks.landscapes finetune`: makes the fine-tuning cells.

May be stopped and started again: small cells are files in the folder of the records once they are
done, large ones leave a piece per learning rate in a work folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path

import torch

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes.finetune import assemble
from examples.benchmarks.landscapes.finetune import lanes
from examples.benchmarks.landscapes.finetune import loop
from examples.benchmarks.landscapes.finetune.assemble import Pieces
from examples.benchmarks.landscapes.finetune.problems import PROBLEMS
from examples.benchmarks.landscapes.finetune.problems import Problem
from examples.benchmarks.landscapes.tasks import MissingDataError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.landscapes finetune")
    parser.add_argument("--cells", default="*", help="pattern of names, as in a shell")
    parser.add_argument("--seeds", type=int, default=2, help="of the large cells")
    parser.add_argument("--data", type=Path, default=record.DATA, help="folder of the records")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "landscapes_finetune",
        help="folder of the large cells' pieces",
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        _small(given.cells, given.data)
        for seed in range(given.seeds):
            for name, problem in PROBLEMS.items():
                if fnmatch(name, given.cells):
                    _large(problem, seed, given.data, given.work)
    except MissingDataError as error:
        parser.exit(2, f"{error}\n")


def _small(pattern: str, folder: Path) -> None:
    for name in lanes.CELLS:
        if fnmatch(name, pattern) and not record.path_of(name, folder).exists():
            made = lanes.run(name)
            record.save(made, folder)
            _say(name, made.meta["seconds"])


def _large(problem: Problem, seed: int, folder: Path, work: Path) -> None:
    """Trains what a seed lacks, then writes the record anew."""
    pieces = Pieces(work / problem.name)
    todo = [i for i in assemble.coarse(problem) if not pieces.rate(seed, i).exists()]
    if not todo and pieces.ranges(seed).exists() and record.path_of(problem.name, folder).exists():
        return
    before = time.process_time()
    start = loop.Start(problem, seed)
    # From the highest rate down: what diverges ends soon.
    for index in reversed(todo):
        loop.saved(pieces.rate(seed, index), loop.rate(start, float(record.LEARNING_RATES[index])))
        _say(
            f"{problem.name} seed {seed} rate {assemble.X[index]:.2f}",
            time.process_time() - before,
        )
    if not pieces.ranges(seed).exists():
        loop.saved(pieces.ranges(seed), loop.range_tests(start))
    clock = pieces.folder / "seconds.txt"
    spent = float(clock.read_text()) if clock.exists() else 0.0
    spent += time.process_time() - before
    clock.write_text(f"{spent}")
    record.save(assemble.assemble(problem, pieces, spent), folder)
    _say(problem.name, spent)


def _say(what: str, seconds: float) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}: {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
