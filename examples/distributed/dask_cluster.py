"""Dask workers share a study through DaskStorage.

    pip install -e ".[engines,examples]"
    python examples/distributed/dask_cluster.py

The study lives in Dask's scheduler. Every `study.optimize` that is submitted arrives at a worker
with a fresh copy of the sampler, which reads all it needs from the storage.
"""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path

import optuna
from dask.distributed import Client
from dask.distributed import LocalCluster
from dask.distributed import wait
from optuna_integration import DaskStorage

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


sys.path.insert(0, str(Path(__file__).parent))

import digits_search


WORKERS = 2


@functools.cache
def objective_of_this_worker() -> StepObjective:
    return digits_search.make_objective()


def objective(trial: optuna.Trial) -> float:
    return float(objective_of_this_worker()(trial))


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    # On a cluster: Client("tcp://scheduler:8786") in place of the LocalCluster.
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        sampler = LRStepSampler()
        storage = DaskStorage(client=client)
        study = optuna.create_study(storage=storage, sampler=sampler, pruner=LRStepPruner())
        # One round after the other: a few trials per worker, until the search is resolved.
        while not sampler.is_resolved(study):
            tasks = [
                client.submit(study.optimize, objective, n_trials=3, pure=False)
                for _ in range(WORKERS)
            ]
            wait(tasks)
            for task in tasks:
                task.result()
        rates = [t.params["lr"] for t in study.trials]
        print(analyze(study))
        print(f"\n{len(rates)} trials, {len(rates) - len(set(rates))} learning rates twice")


if __name__ == "__main__":
    main()
