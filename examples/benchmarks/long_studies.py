"""What ``analyze`` and the sampler cost on a study of thousands of trials, in time and memory.

Three kinds of study: one curve; many configurations of another parameter, 20 trials each; one
curve whose trials reported every step. Each is built in memory in a process of its own, and then
read for the first time, as after a restart: by ``analyze``, and by a sampler that goes on.

Figures are kept under a label, so that the code before and after a change stand side by side:

    python examples/benchmarks/long_studies.py --label before
    python examples/benchmarks/long_studies.py --label after
    python examples/benchmarks/long_studies.py --smoke

What is in the JSON file for the same label and the same code is not measured again.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import resource
import signal
import statistics
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import curve_families
import numpy as np
import optuna
import report
from curve_families import HIGH
from curve_families import LOW
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


CONFIGURATIONS = "configurations of 20 trials"
KINDS = ("one curve", CONFIGURATIONS, "every step reported")
SIZES = (1_000, 5_000, 20_000)
#: Standard deviation of one loss as a share of the drop, as the noisier real tasks have it.
NOISE = 0.02
#: Trials of a warm sampler that are timed.
FURTHER = 5
#: Seconds after which a measurement is given up: nobody waits longer for a trial of seconds.
LIMIT = 30
#: What the imports and the building of a study of 20,000 trials take on top, at most.
_UNTIMED = 10
#: Processor time may be counted in ticks of 4 ms.
_TICK = 0.005


def build(kind: str, n: int) -> optuna.Study:
    """A finished study of n trials, in memory."""
    curve = curve_families.draw(0)
    rng = np.random.default_rng(n)
    nested = kind == CONFIGURATIONS
    space: dict[str, BaseDistribution] = {"lr": FloatDistribution(10.0**LOW, 10.0**HIGH, log=True)}
    if nested:
        space["width"] = IntDistribution(1, n)
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", curve.baseline)
    study.set_user_attr("lrss:steps", 20)
    trials = []
    for i in range(n):
        x = float(rng.uniform(LOW, HIGH))
        loss = float(curve.loss(np.asarray(x)))
        if math.isfinite(loss):
            loss += NOISE * curve.drop * float(rng.standard_normal())
        share = np.linspace(0.0, 1.0, 21)
        reports = {}
        if kind == "every step reported" and math.isfinite(loss):
            reports = {s: curve.baseline + float(p) * (loss - curve.baseline)
                       for s, p in enumerate(share)}  # fmt: skip
        trials.append(
            optuna.create_trial(
                params={"lr": 10.0**x, **({"width": 1 + i // 20} if nested else {})},
                distributions=space,
                value=loss,
                intermediate_values=reports,
            )
        )
    study.add_trials(trials)
    return study


def measure_analyze(kind: str, n: int) -> dict[str, float]:
    """Seconds and MiB of the first reading."""
    study = build(kind, n)
    before = _peak()
    return {"analyze": _seconds(lambda: analyze(study)), "memory": _peak() - before}


def measure_sampler(kind: str, n: int) -> dict[str, float]:
    """Seconds of the first trial that a sampler adds, and of one after it."""
    study = build(kind, n)
    loss = curve_families.draw(0).loss

    def one_more() -> None:
        trial = study.ask()
        if kind == CONFIGURATIONS:
            trial.suggest_int("width", 1, n)
        x = math.log10(trial.suggest_float("lr", 10.0**LOW, 10.0**HIGH, log=True))
        study.tell(trial, float(loss(np.asarray(x))))

    first = _seconds(one_more)
    return {
        "first": first,
        "further": statistics.median(_seconds(one_more) for _ in range(FURTHER)),
    }


def measure(kind: str, n: int) -> dict[str, float | None]:
    """All figures of a study, each part in a fresh process; None for what takes too long."""
    found: dict[str, float | None] = dict.fromkeys(("analyze", "memory", "first", "further"))
    for part in (measure_analyze, measure_sampler):
        fresh = multiprocessing.get_context("spawn").Pool(1, _prepare)
        with fresh, contextlib.suppress(TimeoutError):
            found |= fresh.apply(part, (kind, n))
    return found


def _prepare() -> None:
    """Quiet, and stopped by TimeoutError when the time is up."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signal.signal(signal.SIGXCPU, _time_is_up)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT + _UNTIMED, hard))


def _time_is_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kiB on Linux


def _cells(found: dict[str, float | None]) -> list[str]:
    units = {"analyze": "s", "memory": "MiB", "first": "s", "further": "ms"}
    cells = []
    for name, unit in units.items():
        value = found[name]
        if value is None:
            cells.append("-" if unit == "MiB" else f"over {LIMIT} s")
        elif unit == "ms" and value < _TICK:
            cells.append(f"under {1000 * _TICK:.0f} ms")
        else:
            cells.append(f"{1000 * value:.0f} ms" if unit == "ms" else f"{value:.3g} {unit}")
    return cells


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    rows = []
    for kind in KINDS:
        for n in SIZES:
            for label, run in figures["labels"].items():
                found = run["costs"].get(f"{kind}, {n}")
                if found is not None:
                    rows.append((kind, f"{n:,}", label, *_cells(found)))
    header = (
        "study", "trials", "code", "`analyze`", "its memory", "sampler, first trial",
        "sampler, a further trial",
    )  # fmt: skip
    sources = "\n\n".join(f"*{k}*: {run['source']}" for k, run in figures["labels"].items())
    return f"""# Long studies

A search takes some 15 trials a configuration; a study of thousands of trials comes from another
sampler or from many configurations. Random learning rates, noise {100 * NOISE:.0f} % of the loss
drop, in-memory storage. *`analyze`* and *sampler, first trial* read the study for the first time
in their process; *its memory* is what the process grew by on top of the study itself; *a further
trial* is the median of {FURTHER} trials after the first, the objective aside, Optuna's own work
included. Times are the processor's, on one thread, so that other work on the machine does not
count. What takes longer than {LIMIT} s is given up.

{report.table(header, rows)}

{sources}
"""


def main() -> None:
    arguments = report.labelled(report.parser(__doc__)).parse_args()
    folder = report.output_folder(arguments)
    figures, run = report.labelled_run(folder, "long_studies", arguments.label)
    costs = run.setdefault("costs", {})
    began = time.perf_counter() - run.get("seconds", 0.0)
    for n in SIZES[:1] if arguments.smoke else SIZES:
        for kind in KINDS:
            if f"{kind}, {n}" not in costs:
                costs[f"{kind}, {n}"] = measure(kind, n)
            run["seconds"] = time.perf_counter() - began
            run["source"] = report.provenance(
                "long_studies", run["seconds"], smoke=arguments.smoke
            )
            report.write_figures(folder, "long_studies", figures)
    report.write_page(folder, "long_studies", figures, render)


if __name__ == "__main__":
    main()
