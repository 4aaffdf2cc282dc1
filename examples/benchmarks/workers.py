"""Many workers on one PostgreSQL study: duplicates, waiting, kills, and the cost of long studies.

Workers are processes; the objective is an analytic loss curve and sleeps, so that it costs time
but no processor, as a training on an accelerator does.

    apt-get install postgresql
    python examples/benchmarks/workers.py
    python examples/benchmarks/workers.py --smoke
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import optuna
import servers
from optuna.samplers import BaseSampler
from optuna.samplers import GridSampler
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


LOW, HIGH, BASELINE = 1e-7, 10.0, 2.4
PICKS = ("min_lr", "max_lr", "midpoint", "half_loss", "steepest", "recommended")
#: Forked workers share the imported packages; each has connections of its own.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["optuna", "optuna_lrss", "psycopg", "sqlalchemy", "servers"])


def loss_at(lr: float) -> float:
    x = math.log10(lr)
    y = BASELINE - 2.3 / (1.0 + math.exp(-4.0 * (x + 2.5))) + 10.0 ** (2.0 * (x + 0.8))
    return y if y < 50.0 else math.inf


def objective(trial: optuna.Trial, seconds: float) -> float:
    lr = trial.suggest_float("lr", LOW, HIGH, log=True)
    time.sleep(seconds)
    return loss_at(lr)


def work(
    url: str, jobs: list[tuple[str, BaseSampler]], seconds: float, ready: Any, times: Any
) -> None:
    """One worker: study after study, waits for the others and optimizes until the search stops."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name, sampler in jobs:
        storage = RDBStorage(url)
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        busy = 0.0

        def timed(trial: optuna.Trial) -> float:
            nonlocal busy
            lr = trial.suggest_float("lr", LOW, HIGH, log=True)
            started = time.perf_counter()
            time.sleep(seconds)
            busy += time.perf_counter() - started
            return loss_at(lr)

        ready.wait()
        started = time.perf_counter()
        study.optimize(timed)
        times.put((name, started, time.perf_counter(), busy))
        storage.remove_session()
        storage.engine.dispose()  # one study's connections after the other's


def new_study(storage: RDBStorage, name: str) -> optuna.Study:
    study = optuna.create_study(study_name=name, storage=storage)
    study.set_user_attr("lrss:baseline", BASELINE)
    return study


@dataclass(frozen=True)
class Run:
    """One search by n workers; times in seconds, of all workers together except ``wall``."""

    trials: int
    duplicates: int
    wall: float
    busy: float
    present: float


def run_studies(
    url: str, jobs: list[tuple[str, BaseSampler]], n: int, seconds: float
) -> list[Run]:
    """Studies one after the other, each by n workers that begin together."""
    storage = RDBStorage(url)
    studies = {name: new_study(storage, name) for name, _ in jobs}
    ready, times = PROCESSES.Barrier(n), PROCESSES.Queue()
    arguments = (url, jobs, seconds, ready, times)
    fleet = [PROCESSES.Process(target=work, args=arguments) for _ in range(n)]
    for process in fleet:
        process.start()
    spans = [times.get(timeout=300) for _ in range(n * len(jobs))]
    for process in fleet:
        process.join()
    return [_run(study, [s[1:] for s in spans if s[0] == name]) for name, study in studies.items()]


def _run(study: optuna.Study, spans: list[tuple[float, float, float]]) -> Run:
    counts = Counter(t.params["lr"] for t in study.get_trials(deepcopy=False))
    return Run(
        trials=sum(counts.values()),
        duplicates=sum(counts.values()) - len(counts),
        wall=max(end for _, end, _ in spans) - min(begin for begin, _, _ in spans),
        busy=sum(busy for _, _, busy in spans),
        present=sum(end - begin for begin, end, _ in spans),
    )


def crowd(url: str, n: int, n_studies: int, seconds: float) -> dict[str, Any]:
    """Many workers against one, and against GridSampler, which shares out the coarse grid."""
    grid = {"lr": [10.0**x for x in np.arange(-7.0, 1.01, 0.5)]}
    jobs: list[tuple[str, BaseSampler]] = []
    for i in range(n_studies):  # in turns, so that both meet the same load of the machine
        jobs += [(f"many-{i}", LRStepSampler()), (f"grid-{i}", GridSampler(grid))]
    many = run_studies(url, jobs, n, seconds)
    alone: list[tuple[str, BaseSampler]] = [(f"one-{i}", LRStepSampler()) for i in range(3)]
    rows = {
        "LRStepSampler": many[0::2],
        "one worker": run_studies(url, alone, 1, seconds),
        "GridSampler": many[1::2],
    }
    return {name: [vars(run) for run in runs] for name, runs in rows.items()}


def patient_crowd(url: str, n: int, seconds: float) -> dict[str, Any]:
    """The same with short trials that take longer: the storage's share shrinks."""
    rows = {
        "LRStepSampler": run_studies(url, [("slow-many", LRStepSampler())], n, seconds),
        "one worker": run_studies(url, [("slow-one", LRStepSampler())], 1, seconds),
    }
    return {name: [vars(run) for run in runs] for name, runs in rows.items()}


# --- Kills ---------------------------------------------------------------------------------------


def survive(url: str, name: str, sampler: LRStepSampler, seconds: float) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=name, storage=RDBStorage(url), sampler=sampler)

    def telling(trial: optuna.Trial) -> float:
        trial.set_user_attr("pid", os.getpid())
        return objective(trial, seconds)

    if not sampler.is_resolved(study):
        study.optimize(telling)


def kill_study(url: str, name: str, n: int, kills: int, seconds: float) -> dict[str, Any]:
    """Workers are killed in the middle of trials and replaced, until the search is resolved."""
    study = new_study(RDBStorage(url), name)
    sampler = LRStepSampler(grace_period=2.0)
    draw = random.Random(name)
    arguments = (url, name, sampler, seconds)
    fleet: dict[int | None, BaseProcess] = {}

    def start() -> None:
        process = PROCESSES.Process(target=survive, args=arguments)
        process.start()
        fleet[process.pid] = process

    for _ in range(n):
        start()
    killed = 0
    completed: dict[int, tuple[float, float | None]] = {}
    while killed < kills and any(process.is_alive() for process in fleet.values()):
        time.sleep(draw.uniform(0.05, 0.3))
        completed |= completed_trials(study)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        pids = [t.user_attrs.get("pid") for t in running]
        victims = [fleet[pid] for pid in pids if pid in fleet and fleet[pid].is_alive()]
        if victims:
            victim = draw.choice(victims)
            victim.kill()
            victim.join()
            killed += 1
            start()
    for process in fleet.values():
        process.join()
    after = completed_trials(study)
    states = Counter(t.state.name for t in study.get_trials(deepcopy=False))
    return {
        "kills": killed,
        "lost": sum(after.get(number) != value for number, value in completed.items()),
        "resolved": sampler.is_resolved(study),
        "trials": dict(states),
        "off": largest_difference(study),
    }


def completed_trials(study: optuna.Study) -> dict[int, tuple[float, float | None]]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {t.number: (t.params["lr"], t.value) for t in trials}


@functools.cache
def undisturbed() -> dict[str, float]:
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", BASELINE)
    study.optimize(functools.partial(objective, seconds=0.0))
    result = analyze(study)
    return {pick: getattr(result, pick) for pick in PICKS}


def largest_difference(study: optuna.Study) -> float:
    """The largest difference of a pick from the undisturbed search's, in decades."""
    result = analyze(study)
    return max(abs(math.log10(getattr(result, p) / v)) for p, v in undisturbed().items())


def killing(url: str, kills: int, seconds: float) -> list[dict[str, Any]]:
    """Study after study until there were so many kills."""
    rows: list[dict[str, Any]] = []
    while (done := sum(row["kills"] for row in rows)) < kills:
        rows.append(kill_study(url, f"kill-{len(rows)}", 4, min(10, kills - done), seconds))
    return rows


# --- Long studies --------------------------------------------------------------------------------


class Clock:
    """Seconds in the sampler and, within them, in the storage."""

    def __init__(self) -> None:
        self.sampler = self.storage = 0.0
        self._depth = 0

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        started, self._depth = time.perf_counter(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.sampler += time.perf_counter() - started

    def storing(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                if self._depth > 0:
                    self.storage += time.perf_counter() - started

        return wrapper


SAMPLER_METHODS = (
    "before_trial",
    "infer_relative_search_space",
    "sample_relative",
    "sample_independent",
    "after_trial",
)
STORAGE_METHODS = (
    "get_all_trials",
    "get_study_user_attrs",
    "get_study_directions",
    "set_trial_system_attr",
    "get_trial",
)


def timed_sampler(clock: Clock) -> LRStepSampler:
    """An LRStepSampler with a clock around each of its methods."""

    def around(name: str) -> Callable[..., Any]:
        def method(self: LRStepSampler, *args: Any, **kwargs: Any) -> Any:
            with clock.sampling():
                return getattr(LRStepSampler, name)(self, *args, **kwargs)

        return method

    timed = type("Timed", (LRStepSampler,), {name: around(name) for name in SAMPLER_METHODS})
    sampler: LRStepSampler = timed()
    return sampler


def long_study(storage: Any, n: int, at: list[int]) -> list[dict[str, float]]:
    """Milliseconds per trial of the sampler, beside the storage, when so many trials are known.

    The search is long over: every further trial refines it, and the trials are not shared.
    """
    study = optuna.create_study(storage=storage)
    study.set_user_attr("lrss:baseline", BASELINE)
    rows = []
    for size in at:
        if size > n:
            break
        fill_up(study, size)
        clock = Clock()
        study.sampler = timed_sampler(clock)
        for name in STORAGE_METHODS:
            setattr(study._storage, name, clock.storing(getattr(study._storage, name)))
        measure_some(study, 2)  # the first reading of the whole study belongs to no trial
        first, clock.sampler, clock.storage = clock.sampler, 0.0, 0.0
        m = 20
        measure_some(study, m)
        rows.append(
            {
                "trials": size,
                "sampler_ms": 1000 * (clock.sampler - clock.storage) / m,
                "storage_ms": 1000 * clock.storage / m,
                "first_ms": 1000 * first,
            }
        )
        for name in STORAGE_METHODS:
            delattr(study._storage, name)
    return rows


def measure_some(study: optuna.Study, n: int) -> None:
    for _ in range(n):
        trial = study.ask()
        study.tell(trial, objective(trial, 0.0))


def fill_up(study: optuna.Study, size: int) -> None:
    """Adds finished trials of distinct learning rates, in one go."""
    known = len(study.get_trials(deepcopy=False))
    distribution = optuna.distributions.FloatDistribution(LOW, HIGH, log=True)
    draw = np.random.default_rng(known)
    rates = 10.0 ** draw.uniform(-7.0, 1.0, max(size - known, 0))
    study.add_trials(
        optuna.create_trial(
            params={"lr": float(lr)}, distributions={"lr": distribution}, value=loss_at(float(lr))
        )
        for lr in rates
    )


# --- The page ------------------------------------------------------------------------------------


def _crowd_row(name: str, runs: list[dict[str, float]], n: int) -> tuple[object, ...]:
    waiting = 1.0 - sum(r["busy"] for r in runs) / sum(r["present"] for r in runs)
    return (
        name,
        1 if name == "one worker" else n,
        len(runs),
        f"{statistics.median(run['trials'] for run in runs):g}",
        sum(run["duplicates"] for run in runs),
        f"{statistics.median(run['wall'] for run in runs):.2f} s",
        f"{100 * waiting:.0f} %",
    )


def render(figures: dict[str, Any]) -> str:
    n, seconds = figures["workers"], figures["seconds"]
    crowd_rows = [_crowd_row(name, runs, n) for name, runs in figures["crowd"].items()]
    slow_rows = [_crowd_row(name, runs, n) for name, runs in figures["slow"].items()]
    kills = figures["kills"]
    states: Counter[str] = Counter()
    for row in kills:
        states.update(row["trials"])
    kill_rows = [
        ("workers killed", sum(row["kills"] for row in kills)),
        ("studies", len(kills)),
        ("of them resolved", sum(row["resolved"] for row in kills)),
        ("completed trials", states["COMPLETE"]),
        ("completed trials lost or changed", sum(row["lost"] for row in kills)),
        ("trials left RUNNING by killed workers", states["RUNNING"]),
        ("largest difference of a pick", f"{max(row['off'] for row in kills):.3f} decades"),
    ]
    long_rows = [
        (
            where,
            f"{row['trials']:,}",
            f"{row['sampler_ms']:.1f} ms",
            f"{row['storage_ms']:.1f} ms",
            f"{row['first_ms']:.0f} ms",
        )
        for where, rows in figures["long"].items()
        for row in rows
    ]
    crowd_head = ("sampler", "workers", "studies", "trials", "duplicates", "wall time", "waiting")
    return f"""# Many workers

## {n} workers on one study

PostgreSQL, an objective that sleeps {1000 * seconds:.0f} ms. *Trials* and *wall time* are medians
per study, *duplicates* the learning rates evaluated again, over all studies. *Waiting* is the
share of the workers' time in which they do not evaluate: Optuna's and the sampler's work in the
storage, and the competition of {n} processes for {figures["cores"]} processor cores.

{table(crowd_head, crowd_rows)}

The same with an objective of {figures["slow_seconds"]:g} s, nearer to a real short trial:

{table(crowd_head, slow_rows)}

GridSampler was given the {figures["grid"]} learning rates of the coarse grid. LRStepSampler
begins with what the grid has to offer and then needs answers: what {n} workers try while the
first answers are not there is spread over the gaps, so a search takes more trials than with one
worker, but fewer rounds.

## Kills

Four workers at a time, killed with SIGKILL in the middle of a trial and replaced at once. There
is no heartbeat: what a killed worker held is taken over after a grace period of 2 s. Picks are
compared with those of a search that nothing happened to, whose tolerance is 0.1 decades.

{table(("", "figure"), kill_rows)}

## Long studies

One worker in a study that has so many finished trials: milliseconds per further trial in the
sampler's own code and in the storage on the sampler's behalf. A worker that joins reads the whole
study once, in its first trial: the last column.

{table(("storage", "finished trials", "sampler", "storage", "first trial"), long_rows)}

{figures["source"]}
"""


def main() -> None:
    arguments = parser(__doc__).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    smoke = arguments.smoke
    n, seconds = (4, 0.02) if smoke else (16, 0.05)
    started = time.perf_counter()
    sizes = [100, 300] if smoke else [100, 1000, 10000]
    with servers.postgres() as server:
        RDBStorage(server.url)  # the tables, before many processes want to make them
        crowded = crowd(server.url, n, 1 if smoke else 20, seconds)
        slow = patient_crowd(server.url, n, 0.1 if smoke else 1.0)
        killed = killing(server.url, 3 if smoke else 100, 0.2)
        long = {
            "in memory": long_study(InMemoryStorage(), sizes[-1], sizes),
            "PostgreSQL": long_study(server.url, sizes[-1], sizes),
        }
    figures = {
        "source": provenance("workers", time.perf_counter() - started, smoke=smoke),
        "cores": os.cpu_count(),
        "workers": n,
        "seconds": seconds,
        "grid": 17,
        "crowd": crowded,
        "slow": slow,
        "slow_seconds": 0.1 if smoke else 1.0,
        "kills": killed,
        "long": long,
    }
    write_page(output_folder(arguments), "workers", figures, render)


if __name__ == "__main__":
    main()
