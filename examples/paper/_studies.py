"""The two studies of a run: the search of short trials and the grid of full trainings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from examples.paper._config import Config
from examples.paper._data import Batches
from examples.paper._data import Rows
from examples.paper._data import Splits
from examples.paper._data import in_order
from examples.paper._data import load
from examples.paper._models import Build
from examples.paper._models import batch_loss
from examples.paper._models import builder
from examples.paper._models import make_optimizer
from examples.paper._models import pretrained_source
from examples.paper._models import tokenizer_of
from examples.paper._train import EVALUATION_BATCH
from examples.paper._train import FullTraining
from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


SEARCH = "search"
GRID = "grid"
DECAYING = "decaying"
#: The picks that are trained to the end at a constant learning rate: the paper's methods 1 to 3,
#: and the package's own. Its ``peak`` is trained along warmup-stable-decay.
PICKS = ("midpoint", "half_loss", "steepest", "recommended")
#: Two learning rates nearer than this, in decades, are the same one.
_SAME = 1e-9


@dataclass(frozen=True)
class Experiment:
    """An experiment ready to run.

    Attributes:
        config: Its configuration.
        splits: Its data, on the device.
        build: Makes its model.
        device: Where it trains.
        database: The SQLite file of both studies.
    """

    config: Config
    splits: Splits
    build: Build
    device: torch.device
    database: Path

    @classmethod
    def prepare(cls, config: Config, data: Path, database: Path) -> Experiment:
        """Reads the data and finds the weights.

        Args:
            config: The experiment.
            data: The data set's folder.
            database: The SQLite file, made if it does not exist.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        source = pretrained_source(config)
        splits = load(config, data, tokenizer_of(config, source))
        splits = Splits(
            _to(splits.train, device),
            _to(splits.validation, device),
            _to(splits.test, device),
            splits.vocabulary,
        )
        database.parent.mkdir(parents=True, exist_ok=True)
        build = builder(config, source, splits.vocabulary)
        return cls(config, splits, build, device, database)


def _to(rows: Rows, device: torch.device) -> Rows:
    return {name: tensor.to(device) for name, tensor in rows.items()}


def storage_of(database: Path) -> str:
    """The file's URL for Optuna."""
    return f"sqlite:///{database}"


# --- The search: short trials until every point of interest is known. ----------------------------


def search(experiment: Experiment) -> LRAnalysis:
    """Runs the search, or what is left of it, and analyses it."""
    sampler = LRStepSampler()
    study = optuna.create_study(
        storage=storage_of(experiment.database),
        study_name=SEARCH,
        sampler=sampler,
        pruner=LRStepPruner(),
        load_if_exists=True,
    )
    for trial in _unfinished(study):  # this process is the only one: they were killed
        study.tell(trial.number, state=TrialState.FAIL)
    if not sampler.is_resolved(study):
        study.optimize(short_trials(experiment))
    return analyze(study, total_steps=experiment.config.full_steps)


def short_trials(experiment: Experiment) -> StepObjective:
    """The search's objective: the model that seed 0 of the full trainings starts from."""
    config, splits = experiment.config, experiment.splits
    model = experiment.build(config.seeds[0]).to(experiment.device)
    batches = Batches(splits.train, config.batch_size, config.seeds[0])
    low, high = config.search_range
    return StepObjective(
        model,
        make_optimizer(config, model, low),
        batch_loss,
        batches,
        in_order(splits.validation, EVALUATION_BATCH),
        steps=config.short_steps,
        low=low,
        high=high,
        progress=False,
    )


# --- The grid: full trainings, one trial per learning rate and seed. -----------------------------


def grid(experiment: Experiment, picks: Sequence[float], rivals: Sequence[float] = ()) -> Study:
    """Trains to the end along the grid, and at further learning rates.

    When the grid is done, its best learning rate gets the other seeds too: the highest of many
    single runs is too good by luck. Where every seed trains the whole grid, the picks are read off
    it and not trained.

    Args:
        experiment: The experiment.
        picks: Learning rates to train with every seed.
        rivals: Learning rates to train with the first seed.
    """
    config = experiment.config
    first, *others = config.seeds
    if config.grid_seeds == len(config.seeds):
        planned = [(lr, seed) for seed in config.seeds for lr in config.grid_lrs]
        return train(experiment, GRID, planned)
    planned = [(lr, first) for lr in (*config.grid_lrs, *picks, *rivals)]
    planned += [(lr, seed) for seed in others for lr in picks]
    study = train(experiment, GRID, planned)
    best = best_of_grid(study, config)
    return train(experiment, GRID, [(best, seed) for seed in others])


def decaying(experiment: Experiment, analysis: LRAnalysis) -> Study:
    """Trains with every seed along warmup-stable-decay, up to ``peak``."""
    config = experiment.config
    anything = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = analysis.wsd(anything, config.full_steps, peak=analysis.peak)
    share = scheduler.lr_lambdas[0]
    return train(experiment, DECAYING, [(analysis.peak, seed) for seed in config.seeds], share)


def train(
    experiment: Experiment,
    name: str,
    planned: Sequence[tuple[float, int]],
    share: Callable[[int], float] | None = None,
) -> Study:
    """Full trainings, those that are not done yet.

    Args:
        experiment: The experiment.
        name: The study that keeps them.
        planned: Learning rates and seeds.
        share: Share of the learning rate at each step; ``None`` for a constant rate.
    """
    study = optuna.create_study(
        storage=storage_of(experiment.database),
        study_name=name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),  # asked for nothing: all is enqueued
        load_if_exists=True,
    )
    training = FullTraining(
        experiment.config,
        experiment.splits,
        experiment.build,
        checkpoint=experiment.database.with_suffix(".checkpoint"),
        device=experiment.device,
        share=share,
    )
    for lr, seed in planned:
        _train_once(study, training, experiment.config, lr, seed)
    return study


def _train_once(
    study: Study, training: FullTraining, config: Config, lr: float, seed: int
) -> None:
    """Trains one learning rate and seed, unless that is done; goes on where it was killed."""
    same = [t for t in study.get_trials(deepcopy=False) if _is(t, lr, seed)]
    if any(t.state == TrialState.COMPLETE for t in same):
        return
    trial = next((_revived(study, t) for t in same if t.state == TrialState.RUNNING), None)
    if trial is None:
        study.enqueue_trial({"lr": lr, "seed": seed})
        trial = study.ask(_distributions(config))
    reported = set(study.trials[trial.number].intermediate_values)

    def report(step: int, accuracy: float) -> None:
        if step not in reported:
            trial.report(accuracy, step)
            print(f"  lr {lr:.3g}  seed {seed}  step {step}: {accuracy:.1f} %", flush=True)

    outcome = training.run(lr, seed, report)
    trial.set_user_attr("training", {k: v for k, v in vars(outcome).items() if k != "accuracy"})
    study.tell(trial, outcome.accuracy)


def _distributions(config: Config) -> dict[str, BaseDistribution]:
    return {
        "lr": FloatDistribution(1e-12, 1e3, log=True),
        "seed": CategoricalDistribution(config.seeds),
    }


def _revived(study: Study, trial: FrozenTrial) -> Trial:
    """A trial that a killed process left running, to be finished by this one."""
    return Trial(study, trial._trial_id)


def _unfinished(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _is(trial: FrozenTrial, lr: float, seed: int) -> bool:
    if trial.params.get("seed") != seed or "lr" not in trial.params:
        return False
    return abs(math.log10(trial.params["lr"] / lr)) <= _SAME


def trials_at(study: Study, lr: float) -> list[FrozenTrial]:
    """Finished full trainings at a learning rate, by seed."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    at = [t for t in done if "seed" in t.params and _is(t, lr, t.params["seed"])]
    return sorted(at, key=lambda t: int(t.params["seed"]))


def accuracies(study: Study, lr: float) -> list[float]:
    """Final test accuracies in percent at a learning rate, by seed."""
    return [float(t.values[0]) for t in trials_at(study, lr)]


def best_of_grid(study: Study, config: Config) -> float:
    """The grid's learning rate with the highest mean accuracy over the seeds that it took."""
    n = config.grid_seeds
    return max(config.grid_lrs, key=lambda lr: statistics.fmean(accuracies(study, lr)[:n]))
