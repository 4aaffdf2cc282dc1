"""Searches side by side with the range tests of other packages, as the packages run them.

pytorch-lr-finder with and without validation, Lightning's Tuner and fastai's lr_find take turns
with find_lr in its variants, on the same model, optimizer and data, in one process a model.
A package that is not installed is left out. Models that are measured already, with the same code,
are not measured again; ``--only`` measures some again and keeps the others as they are.

    pip install torch-lr-finder lightning transformers fastai
    python examples/benchmarks/beside_range_tests.py
    python examples/benchmarks/beside_range_tests.py --smoke
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from range_test_problems import PROBLEMS
from real_range_tests import RANGE_STEPS
from real_range_tests import Problem
from real_range_tests import quiet
from real_range_tests import usable
from report import code_fingerprint
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_figures
from report import write_page
from torch.nn import functional as F

from optuna_lrss import LRAnalysis
from optuna_lrss import NoWindowError
from optuna_lrss.torch import find_lr


#: Rounds in which all take turns, by model: one with BERT takes minutes, and clocks and counters
#: next to nothing of it.
ROUNDS = {"MLP": 7, "CNN with batch normalisation": 5, "BERT-mini": 1}
LANES = 'find_lr(lanes="auto")'
SEARCHES: dict[str, dict[str, Any]] = {
    "find_lr()": {},
    "find_lr(steps=20)": {"steps": 20},
    'find_lr(strategy="guided")': {"strategy": "guided"},
    'find_lr(strategy="guided", steps=20)': {"strategy": "guided", "steps": 20},
    LANES: {"lanes": "auto"},
}
BARE = "pytorch-lr-finder"
VALIDATED = "pytorch-lr-finder, validated"


# --- One run -------------------------------------------------------------------------------------


class Counted:
    """A loss that counts the samples that it is asked for, with and without a gradient."""

    def __init__(self) -> None:
        self.trained = self.only_seen = self.calls = 0

    def __call__(self, output: Any, target: Any) -> Any:
        if torch.is_grad_enabled():
            self.trained += len(target)
            self.calls += 1
        else:
            self.only_seen += len(target)
        return F.cross_entropy(output, target)


@dataclass(frozen=True)
class Failed:
    """A search that found no window, and what it took to find none."""

    error: str
    n_trials: int
    n_steps: int


def search(problem: Problem, loss: Any, **options: Any) -> LRAnalysis | Failed:
    model = problem.build()
    optimizer = problem.optimizer_of(model, 1e-3)
    storage = optuna.storages.InMemoryStorage()
    pieces = (model, optimizer, loss, *problem.loaders())
    try:
        return find_lr(*pieces, progress=False, storage=storage, study_name="lr", **options)
    except NoWindowError as error:
        trials = optuna.load_study(study_name="lr", storage=storage).trials
        steps = sum(t.user_attrs["lrss:trial"]["steps"] for t in trials)
        return Failed(type(error).__name__, len(trials), steps)


def searches_of(problem: Problem) -> dict[str, dict[str, Any]]:
    return {n: options for n, options in SEARCHES.items() if problem.lanes or n != LANES}


def seconds(run: Callable[[Problem, Any], Any], problem: Problem) -> float:
    """Processor time of a run, quiet as in a script whose output goes to a file."""
    torch.manual_seed(0)
    with quiet():
        started = time.process_time()
        run(problem, F.cross_entropy)
        return time.process_time() - started


def counts(run: Callable[[Problem, Any], Any], problem: Problem) -> dict[str, Any]:
    """What a run does, and where the time of a search goes."""
    torch.manual_seed(0)
    loss, clocks = Counted(), Clocks()
    with quiet():
        started = time.process_time()
        with clocks.watching():
            result = run(problem, loss)
        took = time.process_time() - started
    found = {
        "trials": getattr(result, "n_trials", 1),
        "steps": getattr(result, "n_steps", None) or loss.calls,
        # A step costs its forward pass and twice as much for the backward one.
        "forward_equivalents": (3 * loss.trained + loss.only_seen) / problem.batch_size,
        "counted_seconds": took,
        "error": result.error if isinstance(result, Failed) else None,
    }
    return {**found, "parts": clocks.seconds} if hasattr(result, "n_trials") else found


def measure(problem: Problem, rounds: int) -> dict[str, Any]:
    """Medians over rounds in which all take turns; of a single round the one that counts."""
    searches = searches_of(problem)
    ours = {name: functools.partial(search, **options) for name, options in searches.items()}
    rivals, _, _ = usable()
    runs: dict[str, Callable[[Problem, Any], Any]] = {**rivals, **ours}
    found: dict[str, Any] = {}
    for name, run in runs.items():  # torch's first calls are slow; these are not timed
        found[name] = counts(run, problem)
        print(f"  {name}: {found[name]}", file=sys.stderr, flush=True)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds if rounds > 1 else 0):
        for name, run in runs.items():
            times[name].append(seconds(run, problem))
    for name, values in times.items():
        values = values or [found[name].pop("counted_seconds")]
        found[name] |= {"seconds": statistics.median(values), "runs": values}
    return {"rounds": rounds, "runs": found}


# --- Where a search spends its time --------------------------------------------------------------


class Clocks:
    """Processor time by part; of parts within parts each second counts for the inner one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = 0.0
        self.longer = False

    def _count(self) -> None:
        now = time.process_time()
        if self._stack:
            part = self._stack[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._count()
        self._stack.append(name)
        try:
            yield
        finally:
            self._count()
            self._stack.pop()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.part(f"{name} of longer trials" if self.longer else name):
                return function(*args, **kwargs)

        return wrapper

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the functions of `PARTS` are timed, and the rest as a part of its own."""
        undo: list[tuple[Any, str, Any]] = []

        def put(owner: Any, attribute: str, value: Any) -> None:
            undo.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, value)

        for part, places in PARTS.items():
            for module, path in places:
                *owners, attribute = path.split(".")
                owner = importlib.import_module(f"optuna_lrss.{module}")
                owner = functools.reduce(getattr, owners, owner)
                put(owner, attribute, self.timed(getattr(owner, attribute), part))
        _tell_longer_trials(self, put)
        try:
            with self.part("the rest"):
                yield
        finally:
            for owner, attribute, value in reversed(undo):
                setattr(owner, attribute, value)


TRAINING, VALIDATION = "training steps", "validation"
#: Which functions belong to which part, by module.
PARTS = {
    TRAINING: (("torch._updates", "Updates.step"), ("torch._lanes.stacked", "Stacked.step")),
    VALIDATION: (
        ("torch._validation", "Validation.__call__"),
        ("torch._lanes.validation", "LaneValidation.of_lanes"),
    ),
    "untrained losses": (("torch._short_trial", "ShortTrial.untrained"),),
    "first trial's checks": (
        ("torch._short_trial", "ShortTrial._sizes_after"),
        ("torch._first_trial", "look_at"),
        ("torch._lanes.one_pass", "LaneTrials.__init__"),
    ),
    "drawing of batches": (("torch._loaders", "draw_batches"),),
    "start and back": (
        ("torch._snapshot", "Snapshot.__init__"),
        ("torch._snapshot", "Snapshot.restore"),
    ),
    "sampler and pruner": (
        ("_study.sampler", "LRStepSampler.sample_independent"),
        ("_study.sampler", "LRStepSampler.sample_relative"),
        ("_study.sampler", "LRStepSampler.infer_relative_search_space"),
        ("_study.sampler", "LRStepSampler.before_trial"),
        ("_study.sampler", "LRStepSampler.after_trial"),
        ("_study.sampler", "LRStepSampler.is_resolved"),
        ("_study.sampler", "LRStepSampler.has_more"),
    ),
    "analysis": (("torch._find_lr", "analyze"),),
    "paths": (("torch._path", "Path.add"), ("torch._short_trial", "ShortTrial._known_path")),
}


def _tell_longer_trials(clocks: Clocks, put: Callable[[Any, str, Any], None]) -> None:
    """Lets the clocks know whether what trains is longer than a short trial."""
    short_trial = importlib.import_module("optuna_lrss.torch._short_trial").ShortTrial
    lane_trials = importlib.import_module("optuna_lrss.torch._lanes.one_pass").LaneTrials

    def of(name: str, owner: Any, steps_at: int) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            clocks.longer = args[steps_at] > self._settings.steps
            try:
                return original(self, *args, **kwargs)
            finally:
                clocks.longer = False

        put(owner, name, wrapper)

    of("_train", short_trial, 1)
    of("_together", lane_trials, 2)


# --- The page ------------------------------------------------------------------------------------


def rows_of(runs: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    bare, validated = runs.get(BARE), runs.get(VALIDATED)
    for name, run in runs.items():
        yield (
            f"`{name}`" if "parts" in run else name,
            str(run["trials"]) + (f" ({run['error']})" if run["error"] else ""),
            f"{run['steps']:,}",
            f"{run['forward_equivalents']:,.0f}",
            f"{run['seconds']:.2f} s",
            "" if bare is None else f"{run['seconds'] / bare['seconds']:.2f}",
            "" if validated is None else f"{run['seconds'] / validated['seconds']:.2f}",
        )


HEADER = (
    "",
    "trials",
    "optimizer steps",
    "forward equivalents",
    "processor time",
    "/ range test",
    "/ validated one",
)


def part_table(runs: dict[str, Any]) -> str:
    """Milliseconds by part and search; what takes less than a hundredth everywhere is the rest."""
    searches = {name: run["parts"] for name, run in runs.items() if "parts" in run}
    names = {part: 0.0 for parts in searches.values() for part in parts}
    for parts in searches.values():
        whole = sum(parts.values())
        for part, value in parts.items():
            names[part] = max(names[part], value / whole)
    shown = sorted((n for n, s in names.items() if s >= 0.01 and n != "the rest"), key=_order)
    rows = []
    for name, parts in searches.items():
        whole = sum(parts.values())
        cells = [parts.get(n, 0.0) for n in shown]
        cells.append(whole - sum(cells))
        rows.append([f"`{name}`", *(f"{100 * c / whole:.0f} %" for c in cells)])
    return table(["share of the time", *shown, "the rest"], rows)


def _medians(rounds: int) -> str:
    return f"Medians of {rounds} rounds." if rounds > 1 else "One round."


def _order(part: str) -> tuple[int, str]:
    base = part.removesuffix(" of longer trials")
    return list(PARTS).index(base), part


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    sections = []
    for name, model in figures["models"].items():
        sections.append(
            f"## {name}\n\n{model['what']}. {_medians(model['rounds'])}\n\n"
            f"{table(HEADER, rows_of(model['runs']))}\n\n{part_table(model['runs'])}"
        )
    missing = figures["missing"]
    left_out = f"\n\nLeft out, since not installed: {', '.join(missing)}." if missing else ""
    states = {model["code"] for model in figures["models"].values()}
    mixed = " The models were measured with different states of the code." * (len(states) > 1)
    tested = f" Packages: {', '.join(figures['versions'])}." if figures["versions"] else ""
    return f"""# Beside range tests

What a search costs beside the range tests of other packages, run by the packages themselves with
their defaults: {RANGE_STEPS} steps, fewer where the loss runs away first. All take turns in one
process, on the same model, optimizer and data, with one thread; processor time. A forward
equivalent is one forward pass over a batch; a training step counts as three. Only the validated
range test and the searches look at the validation data: the others read their pick off the
training losses of a single run.{tested}{mixed}{left_out}

## What was aimed at

At most twice the time of a range test without validation, and less than that of one with it.
The searches that come nearest:

{_nearest(figures["models"])}

What is in the way is the number of steps, not what is done beside them: a search takes two or
three times a range test's steps in its short trials alone, and as many again in the longer ones,
which halve what its pick loses ([the score of every rule](landscapes.md#score)). BERT-mini learns
next to nothing in 80 steps from random weights: the guided search ends in an error that says so,
the others find a window in the noise and doubt it.

{chr(10).join(f"{s}{chr(10)}" for s in sections)}
{figures["source"]}
"""


def _nearest(models: dict[str, Any]) -> str:
    """The cheapest search of each model, beside both range tests."""
    rows = []
    for name, model in models.items():
        runs = model["runs"]
        ours = {
            n: run["seconds"] for n, run in runs.items() if "parts" in run and not run["error"]
        }
        search = min(ours, key=lambda n: float(ours[n]))
        ratios = [
            f"{ours[search] / runs[r]['seconds']:.2f}" for r in (BARE, VALIDATED) if r in runs
        ]
        rows.append(f"- {name}: `{search}`, {' and '.join(ratios)} times.")
    return "\n".join(rows)


# --- Running -------------------------------------------------------------------------------------


def measured(name: str, rounds: int) -> dict[str, Any]:
    """One model in a process of its own."""
    command = [sys.executable, __file__, "--model", name, "--rounds", str(rounds)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def known_models(folder: Path | None, again: list[str] | None) -> dict[str, Any]:
    """What an earlier run has measured: with this code, or without those to measure again."""
    path = None if folder is None else folder / "beside_range_tests.json"
    if path is None or not path.exists():
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))["models"]
    if again is not None:
        return {name: model for name, model in known.items() if name not in again}
    return {name: model for name, model in known.items() if model["code"] == code_fingerprint()}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", choices=PROBLEMS, help="measure this one, print its figures")
    options.add_argument("--rounds", type=int, default=1, help="with --model")
    options.add_argument("--only", nargs="+", choices=PROBLEMS, help="measure these again")
    arguments = options.parse_args()
    if arguments.model is not None:
        torch.set_num_threads(1)  # on models this small, threads wait more than they work
        print(json.dumps(measure(PROBLEMS[arguments.model](), arguments.rounds)))
        return
    started = time.perf_counter()
    folder = output_folder(arguments)
    _, versions, missing = usable()
    names = ["MLP"] if arguments.smoke else list(PROBLEMS)
    if importlib.util.find_spec("transformers") is None and not arguments.smoke:
        names.remove("BERT-mini")
        missing.append("BERT-mini (no transformers)")
    known = known_models(folder, arguments.only)
    figures: dict[str, Any] = {"versions": versions, "missing": missing, "models": {}}
    for name in names:
        if name not in known:
            what = (PROBLEMS[name].__doc__ or "").strip().rstrip(".")
            rounds = 1 if arguments.smoke else ROUNDS[name]
            known[name] = {"code": code_fingerprint(), "what": what, **measured(name, rounds)}
        figures["models"] = {n: known[n] for n in PROBLEMS if n in known}
        wall = time.perf_counter() - started
        figures["source"] = provenance("beside_range_tests", wall, smoke=arguments.smoke)
        write_figures(folder, "beside_range_tests", figures)
    write_page(folder, "beside_range_tests", figures, render)


if __name__ == "__main__":
    main()
