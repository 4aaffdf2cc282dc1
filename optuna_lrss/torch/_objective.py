"""StepObjective: short trials of a torch model as an Optuna objective."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from collections.abc import Iterable
from typing import TYPE_CHECKING
from typing import Any

import optuna
import torch
from torch import nn

from optuna_lrss._result.progress import SearchProgress
from optuna_lrss._study.horizons import trial_steps
from optuna_lrss._study.keys import TRIAL
from optuna_lrss._study.trials import repeat_index
from optuna_lrss.torch._factory import Factory
from optuna_lrss.torch._pieces import Outcome
from optuna_lrss.torch._pieces import StepPieces
from optuna_lrss.torch._settings import LossForm
from optuna_lrss.torch._settings import SearchSpace
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._settings import StepOptions
from optuna_lrss.torch._settings import Steps
from optuna_lrss.torch._settings import ValidationBatches
from optuna_lrss.torch._settings import read_objects
from optuna_lrss.torch._settings import read_options
from optuna_lrss.torch._settings import read_snapshots
from optuna_lrss.torch._settings import read_steps
from optuna_lrss.torch._short_trial import ShortTrial
from optuna_lrss.torch._study_attributes import StudyAttributes
from optuna_lrss.torch._study_attributes import refuse_study
from optuna_lrss.torch._together import Optimizers


if TYPE_CHECKING:
    from typing import Unpack

    from optuna.study import Study
    from optuna.trial import BaseTrial


# Trials train one shared model and reseed the process's random states: one at a time.
_ONE_AT_A_TIME = threading.RLock()


class StepObjective:
    """Trains a few steps at the trial's learning rate and returns the validation loss.

    Every trial starts from the same weights, buffers, optimizer state and random numbers and sees
    the same training batches, so that only the learning rate differs (paper, section 2). They are
    those at the time the objective is made. After each trial, and also after an exception or
    Ctrl-C in the middle of one, model, optimizer, gradients, modes and all random states are
    again what they were before it.

    Example:
        .. code-block:: python

            objective = StepObjective(
                model, optimizer, torch.nn.functional.cross_entropy, train_loader, valid_loader
            )
            study = optuna.create_study(sampler=LRStepSampler(), pruner=LRStepPruner())
            study.optimize(objective)

    The untrained model's validation loss is evaluated once and kept in the study's user attributes
    (``lrss:baseline``), with the number of steps, the momentum and its lag. A trial that diverges
    returns ``inf``: when a loss is not finite, when one runs away in the middle of it, or when it
    ends far above the baseline (the method page, section 6).

    Args:
        model: The model, a :class:`torch.nn.Module`, compiled or not. Modules in eval mode
            (frozen batch normalisation) stay in it while others train; a model that is in eval
            mode as a whole is put in train mode. Live running statistics are measured again on
            the training batches before each validation (the method page, section 1).
        optimizer: An optimizer over the model's parameters. The trial's learning rate is that of
            its first param group; the other groups keep their ratio to it. Several optimizers in
            a list are reset and stepped together, as one with the groups of all; say Muon for the
            matrices and AdamW for the rest. Attached schedulers are not stepped. Optimizers that
            need a closure (LBFGS) get one.
        loss_fn: ``loss_fn(output, target)`` for batches ``(input, target)``, or ``loss_fn(model,
            batch)`` for batches of any structure; see ``loss_form``. It returns a scalar tensor.
        train_loader: A DataLoader or anything else that gives batches each time it is iterated.
            The first ``steps * accumulate`` batches are drawn when the objective is made and kept
            on the device; a loader with fewer starts over, with a new shuffle if it shuffles.
        validation_loader: The same for validation; one pass is drawn when the objective is made,
            of which no more is kept than may be needed. ``None`` holds batches of the training
            loader out, 8 or a quarter of a short one, which no trial trains on; the report says
            so.
        steps: Optimizer steps of a trial, its horizon. (In float16 a step that overflows is no
            step and is done again.) ``"auto"``: 20, and then some longer trials around the upper
            end of the window: of 80 steps, and of four times as many while too little of the loss
            is gained. Their further batches are drawn when they are needed, kept in host memory
            and moved to the device step by step.
        total_steps: Optimizer steps of the training to come, which the picks are for; no longer
            trial takes more than half of it. ``None`` takes 1000 for it.
        snapshots: Steps after which to validate and report too, such as (5, 10, 20, 40) at
            ``steps=80``: analyses at these horizons come for free, and pruners can stop a trial.
        param_name: Name of the learning rate in the study.
        low: Lowest learning rate.
        high: Highest learning rate.
        validation_batches: ``"auto"`` validates on all samples where that costs little beside the
            training, else on a sample that is drawn evenly from all, as large as it takes to tell
            neighbouring learning rates apart: a study's first trial takes two trainings more to
            find out, and stores it for the others (the method page, section 1). A number uses the
            first so many batches; ``None`` all. The loss is the mean over samples: batch means
            weighted by batch size, which is the length that most tensors of the batch have; a
            loss that sums is divided by it. They are kept on the device and take as much memory
            as these samples do.
        loss_form: ``"output"`` for ``loss_fn(output, target)``, ``"model"`` for ``loss_fn(model,
            batch)``. ``"auto"`` takes the latter if the function's first parameter is called
            ``model`` or the batches are no pairs.
        accumulate: Batches per step, their gradients averaged.
        autocast: Compute in ``torch.bfloat16`` or ``torch.float16`` where autocast allows;
            float16 with a GradScaler.
        clip_norm: Clip the gradient's norm to this; or a function without arguments that clips
            the gradients in its own way, such as by value. It is called before each step.
        base_lr: The learning rate that the trial's takes the place of, where the param groups
            have several: each group keeps its ratio to it. ``None`` for the first group's.
        closure: Whether ``optimizer.step`` gets a closure; ``None`` finds out from its signature.
        device: Train here; ``None`` for where the model is. A model elsewhere is moved for each
            trial and back, which costs a copy: better move it before.
        extra_state: Further objects to reset, in a list, such as an average of the weights that
            an optimizer hook updates: modules, optimizers, tensors, arrays, random generators,
            built-in containers, small objects of Python classes, or objects with ``state_dict``
            and ``load_state_dict``. What the first trial changes for good elsewhere, as far as
            hooks and ``loss_fn`` refer to it, is warned of by name.
        snapshot_on_host: Keep the copies of weights in (pinned) host memory instead of doubling
            the device's.
        seed: Seed of batch order, dropout and other random numbers. The same seed gives the same
            trials, here and in another process. A generator that a loader carries goes before it.
        check_state: Whether the first trial looks for state that no reset reaches, which costs two
            further steps; of no use where the caller puts everything back.
        paths: Look at each trial at five steps on the way, on a few validation samples: what
            ``LRStepSampler(strategy="guided")`` knows the fall of the curve by. Costs a tenth of
            a trial.
        progress: Show the steps as they go, if standard error is a terminal; a
            :class:`~optuna_lrss.SearchProgress` shows them in its bar.

    Raises:
        ValueError: If an argument is out of its range, a loader is empty or can be read only once,
            the optimizer's parameters are not the model's, nothing is trainable, the model
            cannot be put back (lazy, on the meta device, distributed); in the first trial, if the
            optimizer ignores its learning rate.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizers,
        loss_fn: Callable[[Any, Any], Any],
        train_loader: Iterable[Any],
        validation_loader: Iterable[Any] | None = None,
        *,
        steps: Steps = "auto",
        total_steps: int | None = None,
        snapshots: Iterable[int] | None = None,
        param_name: str = "lr",
        low: float = 1e-7,
        high: float = 10.0,
        validation_batches: ValidationBatches = "auto",
        loss_form: LossForm = "auto",
        accumulate: int = 1,
        autocast: torch.dtype | None = None,
        clip_norm: float | Callable[[], object] | None = None,
        base_lr: float | None = None,
        closure: bool | None = None,
        device: torch.device | str | None = None,
        extra_state: Iterable[Any] = (),
        snapshot_on_host: bool = False,
        seed: int = 0,
        check_state: bool = True,
        paths: bool = False,
        progress: bool | SearchProgress = True,
    ) -> None:
        base_steps, auto = read_steps(steps)
        settings = Settings(
            steps=base_steps,
            auto=auto,
            total_steps=total_steps,
            snapshots=read_snapshots(snapshots),
            validation_batches=validation_batches,
            loss_form=loss_form,
            accumulate=accumulate,
            autocast=autocast,
            clip_norm=clip_norm,
            base_lr=base_lr,
            closure=closure,
            device=device,
            snapshot_on_host=snapshot_on_host,
            seed=seed,
            check_state=check_state,
            paths=paths,
            progress=progress,
        )
        space = SearchSpace(param_name, low, high)
        pieces = StepPieces(model, optimizer, loss_fn, train_loader, validation_loader)
        self._prepare(settings, space, ShortTrial(pieces, settings, read_objects(extra_state)))

    @classmethod
    def from_factory(
        cls, build: Callable[[Any], StepPieces | tuple[Any, ...]], **options: Unpack[StepOptions]
    ) -> StepObjective:
        """An objective whose pieces depend on other hyperparameters.

        Example:
            .. code-block:: python

                def build(trial):
                    model = make_model(trial.suggest_int("width", 16, 256, log=True))
                    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
                    return StepPieces(model, optimizer, loss_fn, train_loader, valid_loader)

                objective = StepObjective.from_factory(build, steps=20)

        Args:
            build: Called once per trial, before its learning rate is suggested; returns the
                pieces. It runs under ``seed``, so that the same hyperparameters give the same
                weights, and leaves no trace in the random states. Each configuration has a
                baseline of its own, kept in the trial's user attribute ``lrss:trial``.
            **options: The keyword options of :class:`StepObjective`.

        Returns:
            The objective.

        Raises:
            ValueError: If an option is out of its range; in a trial also as StepObjective does.
        """
        settings, space, extra_state = read_options(options)
        objective = cls.__new__(cls)
        objective._prepare(settings, space, Factory(build, settings, extra_state))
        return objective

    def _prepare(
        self, settings: Settings, space: SearchSpace, source: ShortTrial | Factory
    ) -> None:
        self._settings = settings
        self._space = space
        self._source = source
        self._attributes = StudyAttributes(settings, several=isinstance(source, Factory))
        self._checked_study: Study | None = None

    @property
    def baseline(self) -> float:
        """Validation loss of the untrained model; evaluated at the first use.

        Raises:
            ValueError: If it is not finite, or differs from configuration to configuration.
        """
        if isinstance(self._source, Factory):
            raise ValueError(
                "baseline: with from_factory each configuration has its own, see the trials' user "
                f"attribute {TRIAL!r}."
            )
        with _ONE_AT_A_TIME:
            return self._source.baseline

    def __call__(self, trial: BaseTrial) -> float:
        """Runs one short trial.

        Args:
            trial: The trial. With threads (``n_jobs > 1``) trials wait for each other.

        Returns:
            The validation loss after the last step, ``inf`` if the trial diverged.

        Raises:
            ValueError: If the study has several objectives or maximises, or was begun from other
                weights, data, steps or momentum.
            optuna.TrialPruned: If the study's pruner says so at a snapshot.
        """
        study: Study | None = getattr(trial, "study", None)  # a FixedTrial has none
        refuse_study(study)
        with _ONE_AT_A_TIME:
            short_trial = self._short_trial_for(trial, study)
            space = self._space
            # Before a learning rate is asked for: what is written says which one to begin with.
            if study is not None:
                self._introduce(study, short_trial)
            lr = trial.suggest_float(space.param_name, space.low, space.high, log=True)
            return self._run(trial, short_trial, lr)

    def _run(self, trial: BaseTrial, short_trial: ShortTrial, lr: float) -> float:
        steps = trial_steps(trial, self._settings.steps)

        def describe(outcome: Outcome) -> None:
            # One attribute for all: each costs a write to the database.
            info: dict[str, Any] = {"steps": outcome.steps, "diverged": outcome.diverged}
            if steps != self._settings.steps:
                info["horizon"] = steps
            if outcome.stderr is not None:
                info["stderr"] = outcome.stderr
            if self._settings.paths and outcome.rise is not None:
                info["rise"] = outcome.rise
            if outcome.path:
                info["path"] = [[p.reach, p.excess] for p in outcome.path]
            if outcome.sure:
                info["sure"] = True
            if isinstance(self._source, Factory):
                info |= {
                    "baseline": short_trial.baseline,
                    "momentum": short_trial.momentum,
                    "lag": short_trial.lag,
                }
            trial.set_user_attr(TRIAL, info)

        def report(step: int, loss: float) -> None:
            trial.report(loss, step)
            if step < steps and math.isfinite(loss) and trial.should_prune():
                describe(Outcome(loss, step, diverged=False))
                raise optuna.TrialPruned(f"loss {loss:.4g} after {step} steps")

        outcome = short_trial.run(lr, steps=steps, repeat=self._repeat(trial), report=report)
        describe(outcome)
        return outcome.loss

    def _repeat(self, trial: BaseTrial) -> int:
        if not isinstance(trial, optuna.Trial):  # a FixedTrial has no study to have a twin in
            return 0
        return repeat_index(trial, param_name=self._space.param_name)

    def _short_trial_for(self, trial: BaseTrial, study: Study | None) -> ShortTrial:
        if isinstance(self._source, Factory):
            return self._source(trial, lambda built: self._attributes.settle(study, built))
        self._settle(study)
        return self._source

    def _settle(self, study: Study | None) -> None:
        """Has trials validate on what the study's others do; the first trial does so as well."""
        if isinstance(self._source, ShortTrial) and study is not self._checked_study:
            self._attributes.settle(study, self._source)

    def begin(self, study: Study) -> None:
        """Writes into a study how long trials may be.

        The first trial does so as well. Call it where a study may need no further short trial,
        such as one that was searched with fewer ``steps``.

        Args:
            study: The study.

        Raises:
            ValueError: If it was begun with other steps.
        """
        self._attributes.begin(study)

    def _introduce(self, study: Study, short_trial: ShortTrial) -> None:
        """Writes into a study what its trials begin with, once."""
        if study is not self._checked_study:
            self._attributes.write_or_check(study, short_trial)
            self._checked_study = study
