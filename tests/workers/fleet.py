"""Worker processes that share a study, and the analytic objective that they evaluate."""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
from optuna.storages import GrpcStorageProxy
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import trial_steps


NAME = "shared"
LOW, HIGH = 1e-7, 10.0
BASELINE = 2.4
#: A forked worker starts in milliseconds; a fresh interpreter would import for seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["optuna", "optuna_lrss", "psycopg", "sqlalchemy", __name__])


def loss_at(lr: float, shift: float = 0.0, depth: float = 1.0) -> float:
    """A smooth curve: plateau at 2.4, a fall around 10^-2.5, a minimum, a wall."""
    x = math.log10(lr) - shift
    y = BASELINE - 2.3 * depth / (1.0 + math.exp(-4.0 * (x + 2.5))) + 10.0 ** (2.0 * (x + 0.8))
    return y if y < 50.0 else math.inf


def plain(trial: optuna.Trial, seconds: float = 0.02) -> float:
    """Only the learning rate."""
    lr = trial.suggest_float("lr", LOW, HIGH, log=True)
    time.sleep(seconds)
    return loss_at(lr)


def nested(trial: optuna.Trial, seconds: float = 0.01) -> float:
    """The learning rate last, after two others that move and lower its curve."""
    batch_size = trial.suggest_categorical("batch_size", [16, 32, 64])
    decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    lr = trial.suggest_float("lr", LOW, HIGH, log=True)
    time.sleep(seconds)
    depth = 1.0 - 0.1 * abs(math.log10(decay) + 4.0)
    return loss_at(lr, 0.3 * math.log2(batch_size / 32), depth)


def longer(trial: optuna.Trial) -> float:
    """What longer training adds to a loss: the wall comes nearer, below it more is gained."""
    x = math.log10(trial.params["lr"])
    ratio = math.log10(trial_steps(trial, 20) / 20)
    return ratio * (10.0 ** (2.0 * (x + 1.1)) - 0.02 / (1.0 + math.exp(-4.0 * (x + 2.5))))


def allow_longer(study: optuna.Study, total_steps: int = 1_000) -> None:
    """What an objective writes that can run longer trials."""
    study.set_user_attr("lrss:steps", 20)
    study.set_user_attr("lrss:auto", True)
    study.set_user_attr("lrss:total_steps", total_steps)


def open_storage(spec: str, *, heartbeat: bool = False) -> Any:
    """A storage by its URL; beside Optuna's ``journal:PATH``, ``redis:...`` and ``grpc:PORT``."""
    with warnings.catch_warnings():
        # Optuna calls the Redis journal, the retry and heartbeats experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _open_storage(spec, heartbeat)


def _open_storage(spec: str, heartbeat: bool) -> Any:
    if spec.startswith("journal:"):
        return JournalStorage(JournalFileBackend(spec.removeprefix("journal:")))
    if spec.startswith("redis:"):
        return JournalStorage(JournalRedisBackend(spec))
    if spec.startswith("grpc:"):
        return GrpcStorageProxy(host="127.0.0.1", port=int(spec.removeprefix("grpc:")))
    # No pool: a connection that is closed after use is not left to the garbage collector.
    options: dict[str, Any] = {"poolclass": NullPool}
    if spec.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60}
    if not heartbeat:
        return RDBStorage(spec, engine_kwargs=options)
    retry = RetryHeartbeatStaleTrialCallback(max_retry=3)
    beat = {"heartbeat_interval": 1, "grace_period": 2, "heartbeat_stale_trial_callback": retry}
    return RDBStorage(spec, engine_kwargs=options, **beat)


def new_study(spec: str, name: str = NAME) -> optuna.Study:
    storage = open_storage(spec)
    study = optuna.create_study(study_name=name, storage=storage)
    study.set_user_attr("lrss:baseline", BASELINE)
    return study


def work(
    spec: str,
    name: str,
    objective: Callable[[optuna.Trial], float],
    sampler: LRStepSampler,
    *,
    heartbeat: bool = False,
    n_trials: int | None = 400,
    stubborn: bool = False,
) -> None:
    """One worker: loads the study and optimizes until the search stops by itself.

    Args:
        spec: See :func:`open_storage`.
        name: The study's.
        objective: What to evaluate.
        sampler: Arrives pickled, as a fresh object.
        heartbeat: Whether the storage watches over its workers.
        n_trials: Most trials of this worker, so that a search that never ends fails a test.
        stubborn: Whether to begin anew when the storage fails, as a supervisor would.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    deadline = time.monotonic() + 60.0
    while True:
        try:
            storage = open_storage(spec, heartbeat=heartbeat)
            study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
            if not sampler.is_resolved(study):
                study.optimize(objective, n_trials=n_trials)
            return
        except Exception:
            if not stubborn or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def start(*arguments: Any, **options: Any) -> BaseProcess:
    """A worker process; the arguments are those of :func:`work`."""
    process = PROCESSES.Process(target=work, args=arguments, kwargs=options)
    process.start()
    return process


def run_fleet(n: int, *arguments: Any, **options: Any) -> None:
    """n workers at once, until all have ended well."""
    finish([start(*arguments, **options) for _ in range(n)])


def finish(workers: list[BaseProcess], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    late = [w for w in workers if w.is_alive()]
    for worker in late:
        worker.kill()
        worker.join()
    assert not late, f"{len(late)} of {len(workers)} workers did not end"
    assert [w.exitcode for w in workers] == [0] * len(workers)


def hang_at(trial: optuna.Trial, number: int, inner: Callable[[optuna.Trial], float]) -> float:
    """An objective whose worker is killed, without a word, in the middle of one trial."""
    value = inner(trial)
    if trial.number == number:
        os.kill(os.getpid(), 9)
    return value


def kill_in(number: int, inner: Callable[[optuna.Trial], float]) -> Callable[..., float]:
    return functools.partial(hang_at, number=number, inner=inner)


def finished_rates(study: optuna.Study) -> list[tuple[Any, ...]]:
    """Configuration and log10 of the learning rate of every trial that gave a loss."""
    return [
        (*sorted((k, v) for k, v in t.params.items() if k != "lr"), round(_x(t), 9))
        for t in study.get_trials(deepcopy=False)
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]


def _x(trial: optuna.trial.FrozenTrial) -> float:
    return math.log10(trial.params["lr"])


@functools.cache
def undisturbed() -> LRAnalysis:
    """What one worker finds that nothing happens to."""
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", BASELINE)
    study.optimize(functools.partial(plain, seconds=0.0), n_trials=100)
    return analyze(study)


def assert_same_picks(result: LRAnalysis, tolerance: float = 0.1) -> None:
    expected = undisturbed()
    assert result.resolved
    for pick in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest", "recommended"):
        off = math.log10(getattr(result, pick) / getattr(expected, pick))
        assert abs(off) <= tolerance, f"{pick} is {off:.3f} decades off"


@contextlib.contextmanager
def grpc_server(storage: Any, port: int) -> Iterator[str]:
    """Optuna's storage proxy in front of a storage."""
    from optuna.storages._grpc.server import make_server

    server = make_server(storage, "127.0.0.1", port)
    server.start()
    try:
        yield f"grpc:{port}"
    finally:
        server.stop(None)
