"""What the search costs beside the training it does, and what importing optuna_lrss costs.

The quickstart's search is run on a fresh SQLite file, as `python examples/quickstart.py` does,
with a clock around every method of the sampler and around `analyze`. Imports are timed in fresh
processes that take turns. So are whole searches beside plain loops of the same steps, also with an
earlier state of the code.

    git worktree add --detach /tmp/earlier COMMIT
    python examples/benchmarks/overhead.py --earlier /tmp/earlier
    python examples/benchmarks/overhead.py --smoke
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from report import RESULTS
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page


sys.path.insert(0, str(Path(__file__).parents[1]))
quickstart = importlib.import_module("quickstart")


SAMPLER_METHODS = (
    "before_trial",
    "infer_relative_search_space",
    "sample_relative",
    "sample_independent",
    "after_trial",
    "is_resolved",
)


class Clock:
    """Seconds spent in the functions that it times."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started, self._depth = time.perf_counter(), self._depth + 1
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:  # a timed method that calls another counts once
                    self.seconds += time.perf_counter() - started

        return wrapper


@dataclass(frozen=True)
class Search:
    """One search; times in seconds."""

    trials: int
    diverged: int
    steps: int
    wall: float
    objective: float
    sampler: float
    analyzer: float

    @property
    def share(self) -> float:
        """Sampler and analyser as a share of the whole."""
        return (self.sampler + self.analyzer) / self.wall


def measure_search(storage: str | None) -> Search:
    """Runs the quickstart's search with clocks in it."""
    sampler, analyzer, objective = Clock(), Clock(), Clock()
    originals = {n: getattr(quickstart, n) for n in ("LRStepSampler", "StepObjective", "analyze")}
    sampler_class, objective_class = originals["LRStepSampler"], originals["StepObjective"]
    methods = {m: sampler.timed(getattr(sampler_class, m)) for m in SAMPLER_METHODS}
    call = {"__call__": objective.timed(objective_class.__call__)}
    quickstart.__dict__.update(
        LRStepSampler=type("TimedSampler", (sampler_class,), methods),
        StepObjective=type("TimedObjective", (objective_class,), call),
        analyze=analyzer.timed(originals["analyze"]),
    )
    try:
        started = time.perf_counter()
        result = quickstart.search(storage)
        wall = time.perf_counter() - started
    finally:
        quickstart.__dict__.update(originals)
    return Search(
        trials=result.n_trials,
        diverged=int((~result.curve.finite).sum()),
        steps=result.n_steps or 0,
        wall=wall,
        objective=objective.seconds,
        sampler=sampler.seconds,
        analyzer=analyzer.seconds,
    )


IMPORT_ALONE = "import optuna"
IMPORT_BOTH = "import optuna, optuna_lrss"
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def measure_quickstart() -> float:
    """Wall seconds of `python examples/quickstart.py` in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, str(quickstart.__file__)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        return time.perf_counter() - started


def measure_imports(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the two imports, in fresh processes that take turns."""
    times: dict[str, list[float]] = {IMPORT_ALONE: [], IMPORT_BOTH: []}
    # pip compiles what it installs; an editable install is compiled at the first import.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for i in range(rounds + 1):
        for statement, values in times.items():
            command = [sys.executable, "-c", TIMED.format(statement)]
            run = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
            if i > 0:  # the first round fills the disk cache and writes the bytecode
                values.append(1000 * float(run.stdout))
    return times


#: Which processes measure a search beside the plain loop of its steps: two models.
SHARE = Path(__file__).with_name("overhead_share.py")
SHARED_MODELS = ("MLP", "CNN")


def measure_shares(trees: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """A search and its plain loop by model and tree, in fresh processes that take turns.

    Args:
        trees: Folders that hold the package, by what they are called.
    """
    found: dict[str, dict[str, Any]] = {}
    for model in SHARED_MODELS:
        for name, tree in trees.items():
            command = [sys.executable, str(SHARE), model]
            env = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
            run = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
            found.setdefault(model, {})[name] = json.loads(run.stdout)
    return found


def share_source(wall_seconds: float, *, smoke: bool) -> str:
    """Where the figures of this part come from."""
    text = provenance("overhead", wall_seconds, smoke=smoke)
    return text.replace("overhead.py`", "overhead.py --shares`")


def render_shares(shares: dict[str, dict[str, Any]]) -> str:
    """The table of what a search takes beside its training."""
    rows = [
        (
            model,
            name,
            run["steps"],
            run["validation_passes"],
            f"{1000 * run['search_s']:.0f} ms",
            f"{1000 * run['plain_s']:.0f} ms",
            f"{run['search_s'] / run['plain_s']:.2f}",
            f"{100 * (1 - run['plain_s'] / run['search_s']):.0f} %",
        )
        for model, runs in shares.items()
        for name, run in runs.items()
    ]
    header = (
        "model",
        "code",
        "training steps",
        "validation batches",
        "search",
        "plain loop",
        "ratio",
        "outside of it",
    )
    return table(header, rows)


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    searches = {where: Search(**s) for where, s in figures["searches"].items()}
    imports: dict[str, list[float]] = figures["import_ms"]
    search_rows = [
        (
            where,
            s.trials,
            s.diverged,
            s.steps,
            f"{s.wall:.2f} s",
            f"{s.objective:.2f} s",
            f"{1000 * s.sampler:.0f} ms",
            f"{1000 * s.analyzer:.0f} ms",
            f"{100 * s.share:.1f} %",
        )
        for where, s in searches.items()
    ]
    medians = {statement: statistics.median(values) for statement, values in imports.items()}
    import_rows = [
        (f"`{statement}`", f"{min(v):.0f} ms", f"{medians[statement]:.0f} ms", f"{max(v):.0f} ms")
        for statement, v in imports.items()
    ]
    own = {where: s.sampler + s.analyzer for where, s in searches.items()}
    shares = {where: 100 * seconds / figures["quickstart"] for where, seconds in own.items()}
    extra = medians[IMPORT_BOTH] - medians[IMPORT_ALONE]
    return f"""# Overhead

## The quickstart's search

{
        table(
            (
                "storage",
                "trials",
                "diverged",
                "training steps",
                "wall time",
                "short trials",
                "sampler",
                "`analyze`",
                "sampler and `analyze`",
            ),
            search_rows,
        )
    }

The last column is their share of the wall time. The sampler's time includes its own reads and
writes of the storage. What is left of the wall time is Optuna's bookkeeping in the storage.

The whole quickstart, with its imports, its picture and three full trainings, took {
        figures["quickstart"]:.1f} s: sampler and `analyze` are {
        shares["in memory"]:.1f} % of that by
the figures of the search in memory, {shares["SQLite"]:.1f} % with SQLite's writes.

## Beside the training itself

Processor time of `find_lr`, and of a plain loop that makes as many steps and validates as many
batches: the fastest of several, in turns. What is outside of the loop is sampler, analysis, the
reset to the start, random seeds, copies of the batches, and Optuna. Both models are tiny, so that
what each trial costs by itself shows: some milliseconds, as much as with a model whose trial takes
a minute. The plain loops of one model are the same work: by how much they differ, the figures are
unsure.

{render_shares(figures["shares"])}

{figures["shares_source"]}

## Importing

{table(("statement", "lowest", "median", "highest"), import_rows)}

`import optuna_lrss` takes {
        extra:.0f} ms on top of `import optuna`: the difference of the medians of
{len(imports[IMPORT_ALONE])} fresh processes each, taken in turns. It loads neither torch nor a
plotting library.

{figures["source"]}
"""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--earlier", type=Path, help="a tree of an earlier state, to compare")
    options.add_argument(
        "--shares", action="store_true", help="measure these again, and keep the other figures"
    )
    arguments = options.parse_args()
    trees = {} if arguments.earlier is None else {"earlier": arguments.earlier}
    trees["now"] = Path(__file__).parents[2]
    started = time.perf_counter()
    shares = measure_shares(trees)
    seconds = time.perf_counter() - started
    own = {"shares": shares, "shares_source": share_source(seconds, smoke=arguments.smoke)}
    if arguments.shares:
        out = output_folder(arguments)
        known = ((out or RESULTS) / "overhead.json").read_text(encoding="utf-8")
        write_page(out, "overhead", {**json.loads(known), **own}, render)
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # as the quickstart does
    started = time.perf_counter()
    measure_search(None)  # torch's first calls are slow; they are not the search's
    with tempfile.TemporaryDirectory() as folder:
        searches = {
            "in memory": measure_search(None),
            "SQLite": measure_search(f"sqlite:///{folder}/quickstart.db"),
        }
    quickstart_seconds = measure_quickstart()
    imports = measure_imports(rounds=3 if arguments.smoke else 21)
    figures = {
        "source": provenance("overhead", time.perf_counter() - started, smoke=arguments.smoke),
        "searches": {where: asdict(s) for where, s in searches.items()},
        "quickstart": quickstart_seconds,
        **own,
        "import_ms": imports,
    }
    write_page(output_folder(arguments), "overhead", figures, render)


if __name__ == "__main__":
    main()
