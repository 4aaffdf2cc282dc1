"""`run`, `list`, `check`: makes cells' files, shows them, holds the lanes to a plain loop."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from examples.benchmarks.landscapes import record
from examples.benchmarks.landscapes import tasks
from examples.benchmarks.landscapes.cells import cells
from examples.benchmarks.landscapes.engine import cell
from examples.benchmarks.landscapes.engine.agreement import against_record
from examples.benchmarks.landscapes.engine.agreement import differences
from examples.benchmarks.landscapes.engine.cell import Setting
from examples.benchmarks.landscapes.models import MODELS


#: What `check` found, beside the records.
AGREEMENT = "agreement.json"


def run(arguments: list[str]) -> None:
    """Makes what is not there yet, then anew what an earlier engine made.

    May be stopped and started again at any time.
    """
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
    for setting in _wanted(cells(given.cells), folder, given.smoke):
        if time.monotonic() > end:
            print("time is up: start again to go on")
            return
        _make(setting, folder)


def _wanted(settings: list[Setting], folder: Path, smoke: bool) -> list[Setting]:
    if smoke:
        return [replace(setting, lengths=(20,), seeds=1) for setting in settings]
    paths = {s.name: record.path_of(s.name, folder) for s in settings}
    missing = [s for s in settings if not paths[s.name].exists()]
    earlier = [
        s
        for s in settings
        if paths[s.name].exists()
        and record.load(paths[s.name]).meta.get("revision", 1) < record.REVISION
    ]
    return [*missing, *earlier]


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
    """Trains a sample in a plain loop too and prints the largest differences.

    Each model and each optimizer once, in float64 over some steps: relative differences of all
    losses, a few learning rates from 1e-6 to 1e2. Then records, as they were trained: points of
    the final validation metric.
    """
    parser = _parser("check", check)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--records", type=int, default=8, help="how many, evenly over the list")
    parser.add_argument("--write", action="store_true", help=f"write {AGREEMENT}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures: dict[str, dict[str, list[float]]] = {"losses": {}, "metrics": {}}
    for setting in _sample(given.cells):
        found = differences(setting, given.steps)
        _report(setting.name, found, figures["losses"])
    done = [s for s in cells(given.cells) if record.path_of(s.name).exists()]
    for setting in done[:: max(1, len(done) // given.records)] if given.records else ():
        found = against_record(setting, record.load(record.path_of(setting.name)))
        _report(setting.name, found, figures["metrics"])
    if given.write:
        text = json.dumps({"steps": given.steps, **figures}, indent=1) + "\n"
        (record.DATA / AGREEMENT).write_text(text, encoding="utf-8")


def _sample(pattern: str) -> list[Setting]:
    """Cells in which each model and each optimizer is met at least once."""
    seen: set[str] = set()
    chosen = []
    for setting in cells(pattern):
        if not {setting.model, setting.optimizer} <= seen:
            seen |= {setting.model, setting.optimizer}
            chosen.append(setting)
    return chosen


def _report(name: str, found: list[tuple[float, float]], into: dict[str, list[float]]) -> None:
    into[name] = [difference for _, difference in found]
    figures = "  ".join(f"1e{k:+.0f}: {v:.0e}" for k, v in found)
    print(f"{name:45s} {figures}", flush=True)


def _parser(name: str, function: object) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.benchmarks.landscapes {name}", description=function.__doc__
    )
    parser.add_argument("--cells", default="*", help="pattern of names, as in a shell")
    return parser
