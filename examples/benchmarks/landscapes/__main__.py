"""`python -m examples.benchmarks.landscapes COMMAND ...`: see `--help` of each command."""

from __future__ import annotations

import importlib
import sys


#: Function of each command, which takes the arguments after the command's name.
COMMANDS = {
    "advice": "examples.benchmarks.landscapes.score.advice_page:main",
    "check": "examples.benchmarks.landscapes.generate:check",
    "data": "examples.benchmarks.landscapes.score.inventory:main",
    "finetune": "examples.benchmarks.landscapes.finetune.__main__:main",
    "hpo-bench": "examples.benchmarks.landscapes.score.hpo_bench:main",
    "list": "examples.benchmarks.landscapes.generate:show",
    "run": "examples.benchmarks.landscapes.generate:run",
    "score": "examples.benchmarks.landscapes.score.command:main",
    "tasks": "examples.benchmarks.landscapes.tasks.page:main",
    "trained": "examples.benchmarks.landscapes.score.trained:main",
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        raise SystemExit(
            f"usage: python -m examples.benchmarks.landscapes {{{','.join(COMMANDS)}}}"
        )
    module, function = COMMANDS[sys.argv[1]].split(":")
    getattr(importlib.import_module(module), function)(sys.argv[2:])


if __name__ == "__main__":
    main()
