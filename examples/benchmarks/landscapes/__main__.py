"""`python -m examples.benchmarks.landscapes COMMAND ...`: see `--help` of each command."""

from __future__ import annotations

import importlib
import sys


#: Module of each command; its `main` takes the arguments after the command's name.
COMMANDS = {
    "hpo-bench": "examples.benchmarks.landscapes.score.hpo_bench",
    "score": "examples.benchmarks.landscapes.score.command",
    "trained": "examples.benchmarks.landscapes.score.trained",
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        raise SystemExit(
            f"usage: python -m examples.benchmarks.landscapes {{{','.join(COMMANDS)}}}"
        )
    command = importlib.import_module(COMMANDS[sys.argv[1]])
    command.main(sys.argv[2:])


if __name__ == "__main__":
    main()
