"""`run`, `list`, `check`: makes cells' files, shows them, holds the lanes to a plain loop."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.cells import cells
from examples.benchmarks.landscapes.engine import cell
from examples.benchmarks.landscapes.engine.agreement import differences
from examples.benchmarks.landscapes.engine.cell import Setting
from examples.benchmarks.landscapes.models import MODELS


def run(arguments: list[str]) -> None:
    """Makes what is not there yet; may be stopped and started again at any time."""
    parser = _parser("run", run)
    parser.add_argument("--hours", type=float, default=float("inf"), help="begin no cell later")
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, 20 steps, in a scrap folder"
    )
    parser.add_argument("--data", type=Path, default=record.DATA, help="folder of the records")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    end = time.monotonic() + 3600 * given.hours
    folder = given.data / "smoke" if given.smoke else given.data
    for setting in cells(given.cells):
        if given.smoke:
            setting = Setting(**{**vars(setting), "lengths": (20,), "seeds": 1})
        if record.path_of(setting.name, folder).exists() and not given.smoke:
            continue
        if time.monotonic() > end:
            print("time is up: start again to go on")
            return
        _make(setting, folder)


def _make(setting: Setting, folder: Path) -> None:
    try:
        made = cell.run(setting, tasks.load, MODELS[setting.model])
    except tasks.MissingDataError as error:
        print(f"{setting.name}: left out. {error}", flush=True)
        return
    path = record.save(made, folder)
    seconds, size = made.meta["seconds"], path.stat().st_size
    print(
        f"{time.strftime('%H:%M:%S')} {setting.name}: {seconds:.1f} s, {size:,} bytes", flush=True
    )


def show(arguments: list[str]) -> None:
    """Lists the cells and which of them are done."""
    given = _parser("list", show).parse_args(arguments)
    for setting in cells(given.cells):
        path = record.path_of(setting.name)
        done = f"{path.stat().st_size / 1e3:6.0f} kB" if path.exists() else "       --"
        print(f"{done}  {setting.name}  {'+'.join(map(str, setting.lengths))} steps")


def check(arguments: list[str]) -> None:
    """Trains a sample of cells in a plain loop and prints the largest relative differences."""
    parser = _parser("check", check)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--float32", action="store_true", help="as trained, not in float64")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seen: set[tuple[str, str]] = set()
    for setting in cells(given.cells):
        # A sample: each model with each optimizer once.
        if (setting.model, setting.optimizer) in seen:
            continue
        seen.add((setting.model, setting.optimizer))
        found = differences(setting, given.steps, double=not given.float32)
        print(
            f"{setting.name:45s} " + "  ".join(f"1e{k:+.2f}: {v:.0e}" for k, v in found),
            flush=True,
        )


def _parser(name: str, function: object) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.benchmarks.landscapes {name}", description=function.__doc__
    )
    parser.add_argument("--cells", default="*", help="pattern of names, as in a shell")
    return parser
