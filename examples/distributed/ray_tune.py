"""Ray Tune runs the short trials, LRStepSampler chooses the learning rates.

    pip install -e ".[engines,examples]"
    python examples/distributed/ray_tune.py

The sampler lives in the driver, inside OptunaSearch. Ray decides when a run ends, so a stopper
asks the sampler. OptunaSearch ignores pruners and never hears of a trial that reports NaN:
StepObjective returns inf for a diverged trial, and an own objective must do the same.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


# Ray reports its use over the network unless told not to, and warns about the number of trials.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])

import optuna
import ray
from digits_search import make_objective
from optuna.distributions import FloatDistribution
from ray import tune
from ray.tune import Stopper
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


NAME = "digits"
WORKERS = 2


def short_trial(config: dict[str, float]) -> None:
    """One short trial in a Ray worker: FixedTrial takes the place of Optuna's trial."""
    loss = make_objective()(optuna.trial.FixedTrial({"lr": config["lr"]}))
    tune.report({"loss": loss})


class StopWhenResolved(Stopper):
    """Ends the run when the sampler has seen enough."""

    def __init__(self, sampler: LRStepSampler, storage: str) -> None:
        self._sampler = sampler
        self._storage = storage

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False  # no trial is cut short

    def stop_all(self) -> bool:
        study = optuna.load_study(study_name=NAME, storage=self._storage)
        return self._sampler.is_resolved(study)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/digits.db"
        study = optuna.create_study(study_name=NAME, storage=url)
        study.set_user_attr("lrss:baseline", make_objective().baseline)
        study.set_user_attr("lrss:steps", 20)
        study.set_user_attr("lrss:momentum", 0.9)
        searcher = OptunaSearch(
            space={"lr": FloatDistribution(1e-7, 10.0, log=True)},
            metric="loss",
            mode="min",
            sampler=LRStepSampler(),
            study_name=NAME,
            storage=optuna.storages.RDBStorage(url),
        )
        # On a cluster: ray.init(address="auto"), and a storage_path that all nodes reach.
        ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level=logging.ERROR)
        tuner = tune.Tuner(
            tune.with_resources(short_trial, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(searcher, max_concurrent=WORKERS),
                num_samples=60,  # the most that are allowed; the stopper ends it before
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                stop=StopWhenResolved(LRStepSampler(), url),
                verbose=0,
            ),
        )
        tuner.fit()
        ray.shutdown()
        study = optuna.load_study(study_name=NAME, storage=url)
        rates = [t.params["lr"] for t in study.trials]
        print(analyze(study))
        print(f"\n{len(rates)} trials, {len(rates) - len(set(rates))} learning rates twice")


if __name__ == "__main__":
    main()
