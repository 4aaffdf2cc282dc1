"""Reproduces the paper's experiments, its figures and its cost claim.

    python -m examples.paper run --experiment bert --scale cpu   # search, full trainings, table
    python -m examples.paper report --scale cpu                  # figures and page of all runs
    python -m examples.paper repick --experiment bert            # its picks by today's package
    python -m examples.paper claim                               # the claim over the landscapes
    python -m examples.paper run --experiment all --smoke        # everything in seconds, toy data

What `repick` and `claim` find, a `report` shows.

A run keeps its two studies in runs/paper/EXPERIMENT-SCALE.db; killed and started again it goes on
where it was. One process at a time per experiment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import optuna
import torch

from examples.paper._claim import measure_claim
from examples.paper._claim import read_claim
from examples.paper._claim import write_claim
from examples.paper._config import EXPERIMENTS
from examples.paper._config import SCALES
from examples.paper._config import config_of
from examples.paper._config import without_packages
from examples.paper._data import MissingDataError
from examples.paper._data import data_folder
from examples.paper._figures import draw_all
from examples.paper._models import MissingWeightsError
from examples.paper._page import table_of
from examples.paper._page import write_page
from examples.paper._repick import repick
from examples.paper._results import UnfinishedRunError
from examples.paper._results import measure
from examples.paper._results import read_all
from examples.paper._results import write
from examples.paper._run import run
from examples.paper._studies import Experiment
from examples.paper._toy import write_toy_data


ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status, 2 where data or weights are missing."""
    arguments = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(arguments.threads)
    try:
        arguments.command(arguments)
    except (MissingDataError, MissingWeightsError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--scale", choices=SCALES, default="cpu")
    common.add_argument("--smoke", action="store_true", help="a sliver of everything, in seconds")
    common.add_argument(
        "--runs", type=Path, help="folder of the SQLite files (default: runs/paper)"
    )
    common.add_argument(
        "--out",
        type=Path,
        help="folder of results, figures and page (default: docs/paper; a smoke run's is "
        "thrown away)",
    )
    common.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch"
    )
    running = commands.add_parser("run", parents=[common], help="search, train the grid, measure")
    running.add_argument("--experiment", choices=[*EXPERIMENTS, "all"], default="all")
    running.add_argument(
        "--data",
        type=Path,
        help="folder of the data sets (default: ../shared/data; a smoke run makes some up)",
    )
    running.set_defaults(command=_run)
    reporting = commands.add_parser("report", parents=[common], help="draw figures, write page")
    reporting.set_defaults(command=_report)
    repicking = commands.add_parser(
        "repick", parents=[common], help="read the picks off a stored search again, and train them"
    )
    repicking.add_argument("--experiment", choices=EXPERIMENTS, required=True)
    repicking.add_argument(
        "--read-off", action="store_true", help="read them off the grid, train nothing"
    )
    repicking.set_defaults(command=_repick)
    claiming = commands.add_parser(
        "claim", parents=[common], help="hold the paper's claim against the landscapes' records"
    )
    claiming.set_defaults(command=_claim)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        runs, out = _folders(arguments, Path(scratch))
        for name in _experiments(arguments.experiment, arguments.scale):
            config = config_of(name, arguments.scale, smoke=arguments.smoke)
            data = _data(arguments, config.dataset, Path(scratch))
            print(f"== {config.title} ({config.scale})", flush=True)
            experiment = Experiment.prepare(config, data, _database(runs, name, arguments.scale))
            run(experiment)
            results = measure(config, experiment.database)
            write(results, out)
            print(table_of(results), flush=True)
        if arguments.smoke:
            _draw(runs, out, arguments.scale, smoke=True)


def _report(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        runs, out = _folders(arguments, Path(scratch))
        _draw(runs, out, arguments.scale, smoke=arguments.smoke)


def _repick(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        runs, out = _folders(arguments, Path(scratch))
        results = read_all(out, arguments.scale)[arguments.experiment]
        write(repick(results, runs, trained=not arguments.read_off), out)


def _claim(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _, out = _folders(arguments, Path(scratch))
        write_claim(measure_claim(), out)


def _draw(runs: Path, out: Path, scale: str, *, smoke: bool) -> None:
    """Measures all runs there are, draws the figures and writes the page."""
    for name in EXPERIMENTS:
        database = _database(runs, name, scale)
        if not database.exists():
            continue
        try:
            write(measure(config_of(name, scale, smoke=smoke), database), out)
        except UnfinishedRunError as error:
            print(error)
    results = read_all(out, scale)
    if not results:
        print(f"There is no finished run in {runs} and no result in {out}.")
        return
    draw_all(results, out)
    write_page(results, read_claim(out), out)
    print(f"Figures and page are in {out}.")


def _folders(arguments: argparse.Namespace, scratch: Path) -> tuple[Path, Path]:
    default_runs = scratch if arguments.smoke else ROOT / "runs" / "paper"
    default_out = scratch / "out" if arguments.smoke else ROOT / "docs" / "paper"
    runs, out = arguments.runs or default_runs, arguments.out or default_out
    runs.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    return runs, out


def _experiments(name: str, scale: str) -> tuple[str, ...]:
    return without_packages(scale) if name == "all" else (name,)


def _database(runs: Path, name: str, scale: str) -> Path:
    return runs / f"{name}-{scale}.db"


def _data(arguments: argparse.Namespace, dataset: str, scratch: Path) -> Path:
    """The data set's folder; a smoke run that names none gets made-up data, which teach fast."""
    if arguments.smoke and arguments.data is None:
        return write_toy_data(scratch / "data") / dataset
    return data_folder(arguments.data, dataset)


if __name__ == "__main__":
    sys.exit(main())
