"""One short trial: n steps from the same start on the same batches, then the validation loss.

The paper's section 2 and the method page's section 1. Nothing here knows Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss._study.validated import Validated
from optuna_lrss.torch._checks import refuse_broken
from optuna_lrss.torch._checks import refuse_unusable
from optuna_lrss.torch._choice import Choice
from optuna_lrss.torch._choice import Training
from optuna_lrss.torch._first_guess import first_guess
from optuna_lrss.torch._first_trial import checked
from optuna_lrss.torch._leaks import sizes_of
from optuna_lrss.torch._loaders import Loaders
from optuna_lrss.torch._loaders import TrainingBatches
from optuna_lrss.torch._loss import BatchLoss
from optuna_lrss.torch._optimizers import heavy_ball_momentum
from optuna_lrss.torch._optimizers import learning_rate_ratios
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._optimizers import own_learning_rate
from optuna_lrss.torch._optimizers import set_learning_rate
from optuna_lrss.torch._path import NoPath
from optuna_lrss.torch._path import Path
from optuna_lrss.torch._path import PathStart
from optuna_lrss.torch._path import measured_reach
from optuna_lrss.torch._path import sample_of
from optuna_lrss.torch._pieces import Outcome
from optuna_lrss.torch._pieces import Report
from optuna_lrss.torch._pieces import StepPieces
from optuna_lrss.torch._progress import Steps
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._rise import Rise
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._start import Start
from optuna_lrss.torch._statistics import MOST_BATCHES
from optuna_lrss.torch._together import as_one
from optuna_lrss.torch._together import heaviest
from optuna_lrss.torch._updates import Updates
from optuna_lrss.torch._validation import Validation
from optuna_lrss.torch._validation import call_if_there
from optuna_lrss.torch._velocity import Drive
from optuna_lrss.torch._velocity import has_velocity
from optuna_lrss.torch._velocity import lag_of


#: Optimizer steps of the checks before and after the first trial: what the first has left behind
#: shows in the second.
_STEPS_LOOKED_AT = 2
_TRAINING = 2  # what a seed is for; 0 and 1: _loaders, 3 and 4: _validation, 100: _factory


class ShortTrial:
    """Short trials of one configuration: the same start and batches, any learning rate.

    The start is what the pieces hold when this object is made. Whatever a trial does, the pieces
    and all random states come out of it as they went in.

    Args:
        pieces: What to train.
        settings: How.
        extra_state: Further objects to reset.
        untrained: Its training losses by repeat, as far as they are known; what is evaluated here
            is entered.
        check: Whether the first trial is checked: for an optimizer that ignores its learning
            rate, and for state that stays changed.
        pilot: Whether the size of a validation sample is measured (:mod:`._pilot`).

    Raises:
        ValueError: If the pieces cannot be trained and put back (see :mod:`._checks`), or a loader
            is empty.
    """

    def __init__(
        self,
        pieces: StepPieces,
        settings: Settings,
        extra_state: Iterable[object] = (),
        *,
        untrained: dict[int, list[float]] | None = None,
        check: bool = True,
        pilot: bool = True,
    ) -> None:
        self._settings = settings
        self._model = pieces.model
        self._optimizer: Optimizer = as_one(pieces.optimizer)
        own_loss = (pieces.loss_fn,) if isinstance(pieces.loss_fn, nn.Module) else ()
        others = [*own_loss, *extra_state]
        refuse_unusable(self._model, self._optimizer, others)
        self._objects: list[Any] = [self._model, self._optimizer, *others]
        loss = BatchLoss(pieces.loss_fn, settings.loss_form)
        self.ratios = learning_rate_ratios(self._optimizer, settings.base_lr)
        self._start = Start(self._objects, settings.device, on_host=settings.snapshot_on_host)
        self._device = self._start.device
        self._updates = Updates(self._model, self._optimizer, loss, settings, self._device)
        self._heaviest = heaviest(self._optimizer)
        self._baseline: float | None = None
        self._lag: float | None = None
        if not has_velocity(self._heaviest):
            self._lag = lag_of(self._heaviest, settings.steps)
        self._check = check
        #: Loss of the best constant output, where it can be told; known with the baseline.
        self.guess: float | None = None
        self._loss_fn = pieces.loss_fn
        self._own_lr = own_learning_rate(self._optimizer)
        self._loaders = Loaders(pieces.train_loader, pieces.validation_loader, settings)
        self._drawn = TrainingBatches(self._loaders, settings, self._start.on_device)
        self._untrained = {} if untrained is None else untrained
        self._choice = Choice(self._loaders, settings, self._batches(repeat=0), by_pilot=pilot)
        self._validated: Validated | None = None
        self._path: NoPath | None = None
        self._path_start: PathStart | None = None
        self._path_batches: list[Any] = []
        self._validate = self._validation_on([])
        if not self._choice.is_open:
            self.validate_on(None)

    def recall(self, baseline: float, lag: float, path_start: PathStart | None) -> None:
        """Takes what an equal trial has evaluated before."""
        self._baseline, self._lag, self._path_start = baseline, lag, path_start

    @property
    def held_out(self) -> int:
        """Batches of the training loader that validate, for want of a validation loader."""
        return self._loaders.held_out

    @property
    def momentum(self) -> float:
        """Heavy-ball momentum of the optimizer; 0 where there is none."""
        return heavy_ball_momentum(self._heaviest)

    @property
    def lag(self) -> float:
        """Mean share of its steady step that the optimizer delivers in a trial, in (0, 1].

        A warm optimizer's follows from its velocity beside the gradients at the start, of one
        forward and backward pass for each of at most 20 steps, evaluated once.
        """
        if self._lag is None:
            batches, size = self._batches(repeat=0), self._settings.accumulate
            with self._untouched(), torch.enable_grad():
                self._to_start()
                self._start_training()
                seed_everything(derived_seed(self._settings.seed, _TRAINING, 0))
                drive = Drive(self._heaviest)
                for end in range(size, len(batches) + 1, size)[:MOST_BATCHES]:
                    self._updates.gradients(batches[end - size : end])
                    drive.add()
                self._lag = lag_of(self._heaviest, self._settings.steps, drive.missing())
        return self._lag

    @property
    def baseline(self) -> float:
        """Validation loss at a learning rate of 0, evaluated once.

        That is the untrained model's; but a model with buffers sees the training batches first,
        as in any short trial, and the statistics of a batch normalisation are measured as there.

        Raises:
            ValueError: If it is not finite.
        """
        if self._baseline is None:
            self.validated  # noqa: B018 - decided before anything is validated
            batches = self._batches(repeat=0)
            with self._untouched():
                self._to_start()
                self._start_training()
                self._validate.move_buffers(batches)
                baseline, _ = self._validate(batches)
                self.guess = self._validate.of_guessing()
            if not math.isfinite(baseline):
                raise ValueError(
                    f"the validation loss of the untrained model is {baseline}, so that nothing "
                    "can be compared with it: look for NaN in the weights, the data or loss_fn."
                )
            self._baseline = baseline
        return self._baseline

    @property
    def first_guess(self) -> float:
        """The learning rate to try first: what the optimizer says."""
        return first_guess(self._optimizer, self._own_lr) / self.ratios[0]

    def run(
        self,
        lr: float,
        *,
        steps: int | None = None,
        repeat: int = 0,
        report: Report | None = None,
    ) -> Outcome:
        """Trains from the start at one learning rate.

        Args:
            lr: Learning rate of the optimizer's first param group, or what ``base_lr`` stands
                for; the groups keep their ratio to it.
            steps: Optimizer steps of a longer trial, whose first batches are those of the short
                ones; ``None`` for the settings' horizon.
            repeat: Which repeat: each has batches and random numbers of its own, the same at
                every learning rate.
            report: Called with (step, validation loss) at the snapshots and at the end. What it
                raises ends the trial.

        Returns:
            The outcome.

        Raises:
            ValueError: If the loss is not what a loss must be.
        """
        steps = self._settings.steps if steps is None else steps
        baseline, batches = self.baseline, self._batches(repeat, steps)
        with self._checked(), self._untouched(), torch.enable_grad():
            rise = Rise(self.untrained(repeat), baseline)
            short = steps == self._settings.steps  # paths of longer trials say nothing of these
            path = self._known_path() if short else NoPath()
            self._set_out(lr, repeat)
            return self._train(
                lr, steps, batches, rise, path, report or (lambda _step, _loss: None)
            )

    def _set_out(self, lr: float, repeat: int = 0) -> None:
        self._to_start()
        set_learning_rate(self._optimizer, lr, self.ratios)
        self._start_training()
        seed_everything(derived_seed(self._settings.seed, _TRAINING, repeat))

    def _checked(self) -> AbstractContextManager[None]:
        """Around the first trial: does the learning rate matter, and is everything put back?"""
        if not self._check:
            return nullcontext()
        self._check = False
        roots = {"model": self._model, "optimizer": self._optimizer, "loss_fn": self._loss_fn}
        return checked(
            self._sizes_after(0),
            lambda share: self._sizes_after(_STEPS_LOOKED_AT, share),
            self._optimizer,
            self._own_lr,
            roots if self._settings.check_state else None,
            self._start.snapshot.tensors,
        )

    def _sizes_after(self, steps: int, share: float = 1.0) -> list[float]:
        """Sizes of the parameters after some steps at a share of the caller's learning rate."""
        size = self._settings.accumulate
        batches = self._batches(repeat=0)[: steps * size]
        with self._untouched(), torch.enable_grad():
            self._set_out(self._own_lr * share)
            for end in range(size, len(batches) + 1, size):
                self._updates.step(batches[end - size : end])
            return sizes_of(optimized_parameters(self._optimizer))

    # --- Training ---------------------------------------------------------------------------

    def _train(
        self,
        lr: float,
        steps: int,
        batches: list[Any],
        rise: Rise,
        path: NoPath,
        report: Report,
    ) -> Outcome:
        settings, baseline = self._settings, self.baseline
        limit = math.inf
        points = path.start()
        going = Steps(lr, steps, settings.progress)
        for step in going:
            loss = self._updates.step(self._of_step(batches, step))
            going.loss = loss
            if step == 1:
                refuse_broken(loss)
                limit = runaway_limit(baseline, loss)
            if step <= settings.steps:  # of a longer trial's further batches no untrained loss
                rise.add(loss)
            if _beyond(loss, limit) or (step <= settings.steps and rise.is_over):
                return _diverged(step, rise)
            if not rise.is_high:
                path.add(points, step)
            if step in settings.snapshots and step < steps:
                loss, _ = self._validate(batches)
                report(step, loss)
                if _beyond(loss, limit):
                    return _diverged(step, rise)
        loss, stderr = self._validate(batches)
        diverged = _beyond(loss, divergence_limit(baseline, None))
        loss = math.inf if diverged else loss
        report(steps, loss)
        if diverged:
            return _diverged(steps, rise)
        return Outcome(loss, steps, False, stderr, tuple(points), rise.highest)

    def untrained(self, repeat: int = 0) -> list[float]:
        """Training loss of each step's batches at the start, in train mode; evaluated once."""
        if repeat not in self._untrained:
            batches, size = self._batches(repeat), self._settings.accumulate
            self._to_start()
            self._start_training()
            seed_everything(derived_seed(self._settings.seed, _TRAINING, repeat))
            with torch.no_grad():
                losses = [self._updates.loss(batch).item() for batch in batches]
            self._untrained[repeat] = [
                sum(losses[i : i + size]) / size for i in range(0, len(losses), size)
            ]
        return self._untrained[repeat]

    def _known_path(self) -> NoPath:
        """Looks at the start once, and measures how far the optimizer reaches."""
        if self._path is None:
            path = Path(self._validation_on(self._path_batches), self._batches(repeat=0))
            if self._path_start is None:
                self._to_start()
                self._start_training()
                reach = measured_reach(self._optimizer, self._settings.steps, self.ratios)
                self._to_start()
                self._start_training()
                self._path_start = PathStart(reach, path.untrained())
            path.known = self._path_start
            self._path = path
        return self._path

    @property
    def path_start(self) -> PathStart | None:
        """What paths begin with, evaluated once; ``None`` where nobody looks."""
        if self._settings.paths and self._path_start is None:
            with self._untouched(), torch.enable_grad():
                self._known_path()
        return self._path_start

    @property
    def validated(self) -> Validated:
        """On how much trials validate; decided at the first use."""
        if self._validated is None:
            batches = self._batches(repeat=0)
            training = Training(
                set_out=self._set_out,
                step=lambda step: self._updates.step(self._of_step(batches, step)),
                validation=self._validation_on,
                batches=batches,
                first=self.first_guess,
            )
            with self._untouched(), torch.enable_grad():
                self._take(*self._choice.decide(training))
        assert self._validated is not None
        return self._validated

    def validate_on(self, samples: int | None, *, whole: bool = False) -> None:
        """Has all trials validate on so many samples; ``None`` for all there are."""
        known = self._validated
        if known is None or (known.of if samples is None else samples) != known.samples:
            self._take(*self._choice.take(samples, whole=whole))

    def _take(self, batches: list[Any], validated: Validated) -> None:
        self._validated = validated
        self._validate = self._validation_on(batches)
        self._baseline = None
        self._path = None if self._settings.paths else NoPath()
        self._path_start = None
        self._path_batches = sample_of(batches, self._batches(repeat=0)[0])

    def _validation_on(self, batches: list[Any]) -> Validation:
        return Validation(
            self._updates,
            self._start.on_device(batches),
            [value for value in self._objects if not isinstance(value, Optimizer)],
            self._start.parameters,
            self._settings.seed,
        )

    def _untouched(self) -> AbstractContextManager[None]:
        """Whatever happens inside, the caller finds everything as it was."""
        return self._start.untouched()

    def _to_start(self) -> None:
        self._start.restore()

    def _start_training(self) -> None:
        if not self._model.training:  # else single modules that are in eval mode stay in it
            self._model.train()
        call_if_there(self._optimizer, "train")
        self._validate.start()
        self._updates.start()

    # --- Batches --------------------------------------------------------------------------------

    def _batches(self, repeat: int, steps: int | None = None) -> list[Any]:
        return self._drawn.of(repeat, steps)

    def _of_step(self, batches: list[Any], step: int) -> list[Any]:
        return self._drawn.of_step(batches, step)


def _diverged(steps: int, rise: Rise) -> Outcome:
    return Outcome(math.inf, steps, True, rise=rise.highest, sure=rise.is_sustained)


def _beyond(loss: float, limit: float) -> bool:
    return not (math.isfinite(loss) and loss <= limit)
