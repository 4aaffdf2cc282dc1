"""The same script on many machines: every process that runs it joins the search.

    python examples/distributed/many_processes.py postgresql+psycopg://user@host/database

Start it as often as you like, on any machine that reaches the database, at any time; what is
killed can be started again. Without an argument it shows the same on this machine: a private
PostgreSQL server (Debian's package) and four processes, one of which is killed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import optuna
from digits_search import make_objective
from sqlalchemy.exc import SQLAlchemyError

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


NAME = "digits"


def join(url: str) -> None:
    """Takes part in the search until it is over; waits for a database that is away."""
    sampler = LRStepSampler(grace_period=30.0)
    objective = make_objective()
    for attempt in range(100):
        try:
            study = optuna.create_study(
                study_name=NAME,
                # A heartbeat would have Optuna itself find dead workers:
                # optuna.storages.RDBStorage(url, heartbeat_interval=60, ...)
                storage=optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True}),
                load_if_exists=True,
                sampler=sampler,
                pruner=LRStepPruner(),
            )
            if not sampler.is_resolved(study):
                study.optimize(objective)  # stops by itself
            return
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            print(f"storage failed, attempt {attempt + 1}: {error}", file=sys.stderr)
            time.sleep(2.0)
    raise SystemExit("the storage stayed away")


def demonstrate() -> None:
    """Four workers on a private server; one is killed in the middle."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import servers

    with servers.postgres() as server:
        optuna.storages.RDBStorage(server.url)  # makes the tables, which only one may do
        command = [sys.executable, __file__, server.url]
        workers = [subprocess.Popen(command) for _ in range(4)]
        time.sleep(3.0)
        workers[0].kill()
        for worker in workers:
            worker.wait()
        study = optuna.load_study(study_name=NAME, storage=server.url)
        rates = [t.params["lr"] for t in study.trials if t.state.is_finished()]
        print(analyze(study))
        print(f"\n{len(rates)} trials, {len(rates) - len(set(rates))} learning rates twice")


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if len(sys.argv) > 1:
        join(sys.argv[1])
    else:
        demonstrate()


if __name__ == "__main__":
    main()
