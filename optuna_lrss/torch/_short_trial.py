"""One short trial: n steps from the same start on the same batches, then the validation loss.

The paper's section 2 and the method page's section 1. Nothing here knows Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss._method.trajectory import PathPoint
from optuna_lrss.torch._batches import to_device
from optuna_lrss.torch._checks import refuse_unusable
from optuna_lrss.torch._first_guess import first_guess
from optuna_lrss.torch._leaks import look_at
from optuna_lrss.torch._leaks import same_updates
from optuna_lrss.torch._leaks import sizes_of
from optuna_lrss.torch._leaks import warn_of_leaks
from optuna_lrss.torch._loaders import Loaders
from optuna_lrss.torch._loss import BatchLoss
from optuna_lrss.torch._optimizers import heavy_ball_momentum
from optuna_lrss.torch._optimizers import learning_rate_ratios
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._optimizers import own_learning_rate
from optuna_lrss.torch._optimizers import set_learning_rate
from optuna_lrss.torch._path import NoPath
from optuna_lrss.torch._path import Path
from optuna_lrss.torch._path import measured_reach
from optuna_lrss.torch._path import sample_of
from optuna_lrss.torch._progress import Steps
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._rise import Rise
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._snapshot import Snapshot
from optuna_lrss.torch._statistics import MOST_BATCHES
from optuna_lrss.torch._together import as_one
from optuna_lrss.torch._together import heaviest
from optuna_lrss.torch._updates import Updates
from optuna_lrss.torch._validation import Validation
from optuna_lrss.torch._validation import call_if_there
from optuna_lrss.torch._velocity import Drive
from optuna_lrss.torch._velocity import has_velocity
from optuna_lrss.torch._velocity import lag_of


Report = Callable[[int, float], None]

#: Optimizer steps of the checks before and after the first trial: what the first has left behind
#: shows in the second.
_STEPS_LOOKED_AT = 2
_TRAINING = 2  # what a seed is for; 0 and 1: _loaders, 3 and 4: _validation, 100: _objective


class StepPieces(NamedTuple):
    """What a short trial trains; what ``build`` returns to :meth:`StepObjective.from_factory`.

    Attributes:
        model: The model.
        optimizer: An optimizer over the model's parameters, or several in a list.
        loss_fn: ``loss_fn(output, target)`` or ``loss_fn(model, batch)``.
        train_loader: Training batches.
        validation_loader: Validation batches; ``None`` holds training batches out.
    """

    model: nn.Module
    optimizer: Any  # not a union: whoever reads it back knows which of both it is
    loss_fn: Callable[[Any, Any], Any]
    train_loader: Iterable[Any]
    validation_loader: Iterable[Any] | None = None


class Outcome(NamedTuple):
    """How a short trial ended.

    Attributes:
        loss: Validation loss after the last step; ``inf`` if the trial diverged, never NaN.
        steps: Optimizer steps taken, fewer than asked for after an early divergence.
        diverged: Whether it diverged.
        stderr: Standard error of the loss over the validation set, where it can be estimated.
        path: What the trial passed through.
        rise: How far its training losses rose above the untrained model's, as a share of that.
        sure: Whether a divergence is no accident: its loss had been high for several steps.
    """

    loss: float
    steps: int
    diverged: bool
    stderr: float | None = None
    path: tuple[PathPoint, ...] = ()
    rise: float | None = None
    sure: bool = False


class ShortTrial:
    """Short trials of one configuration: the same start and batches, any learning rate.

    The start is what the pieces hold when this object is made. Whatever a trial does, the pieces
    and all random states come out of it as they went in.

    Args:
        pieces: What to train.
        settings: How.
        extra_state: Further objects to reset.
        baseline: Validation loss of the untrained model, if known.
        lag: Its momentum lag, if known.
        untrained: Its training losses by repeat, as far as they are known; what is evaluated here
            is entered.
        check: Whether the first trial is checked: for an optimizer that ignores its learning
            rate, and for state that stays changed.

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
        baseline: float | None = None,
        lag: float | None = None,
        untrained: dict[int, list[float]] | None = None,
        check: bool = True,
    ) -> None:
        self._pieces = pieces
        self._settings = settings
        self._model = pieces.model
        self._optimizer: Optimizer = as_one(pieces.optimizer)
        own_loss = (pieces.loss_fn,) if isinstance(pieces.loss_fn, nn.Module) else ()
        others = [*own_loss, *extra_state]
        refuse_unusable(self._model, self._optimizer, others)
        self._objects: list[Any] = [self._model, self._optimizer, *others]
        loss = BatchLoss(pieces.loss_fn, settings.loss_form)
        self.ratios = learning_rate_ratios(self._optimizer, settings.base_lr)
        self._start = Snapshot(self._objects, on_host=settings.snapshot_on_host)
        self._parameters = _unique_parameters(self._objects)
        self._device = _device_of(settings.device, self._parameters)
        self._updates = Updates(self._model, self._optimizer, loss, settings, self._device)
        self._baseline = baseline
        self._heaviest = heaviest(self._optimizer)
        if lag is None and not has_velocity(self._heaviest):
            lag = lag_of(self._heaviest, settings.steps)
        self._lag = lag
        self._check = check
        #: Loss of the best constant output, where it can be told; known with the baseline.
        self.guess: float | None = None
        self._loss_fn = pieces.loss_fn
        self._own_lr = own_learning_rate(self._optimizer)
        self._loaders = Loaders(pieces.train_loader, pieces.validation_loader, settings)
        validation_batches = self._loaders.validation()
        self._validate = Validation(
            self._updates,
            self._on_device(validation_batches),
            [value for value in self._objects if not isinstance(value, Optimizer)],
            self._parameters,
            settings.seed,
        )
        self._train_batches: dict[int, list[Any]] = {}
        self._more_batches: dict[int, list[Any]] = {}  # of longer trials
        self._untrained = {} if untrained is None else untrained
        self._batches(repeat=0)
        self._path: NoPath | None = None if settings.paths else NoPath()
        self._path_batches = sample_of(validation_batches, self._batches(repeat=0)[0])

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
            return self._train(lr, steps, batches, rise, path, report or _no_report)

    def _set_out(self, lr: float, repeat: int = 0) -> None:
        self._to_start()
        set_learning_rate(self._optimizer, lr, self.ratios)
        self._start_training()
        seed_everything(derived_seed(self._settings.seed, _TRAINING, repeat))

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """The first trial: does the learning rate matter, and is everything put back?"""
        if not self._check:
            yield
            return
        self._check = False
        roots = {"model": self._model, "optimizer": self._optimizer, "loss_fn": self._loss_fn}
        start, updated = self._sizes_after(0), self._sizes_after(_STEPS_LOOKED_AT)
        self._refuse_indifference(start, updated)
        if not self._settings.check_state:
            yield
            return
        known = self._start.tensors
        before = look_at(roots, known)
        yield
        after = look_at(roots, known)
        again = self._sizes_after(_STEPS_LOOKED_AT)
        warn_of_leaks(before, after, other_updates=not same_updates(start, updated, again))

    def _sizes_after(self, steps: int, share: float = 1.0) -> list[float]:
        """Sizes of the parameters after some steps at a share of the caller's learning rate."""
        size = self._settings.accumulate
        batches = self._batches(repeat=0)[: steps * size]
        with self._untouched(), torch.enable_grad():
            self._set_out(self._own_lr * share)
            for end in range(size, len(batches) + 1, size):
                self._updates.step(batches[end - size : end])
            return sizes_of(optimized_parameters(self._optimizer))

    def _refuse_indifference(self, start: list[float], updated: list[float]) -> None:
        if start == updated or not all(map(math.isfinite, updated)):  # then nothing can be told
            return
        if same_updates(start, updated, self._sizes_after(_STEPS_LOOKED_AT, 0.5)):
            raise ValueError(
                f"optimizer={type(self._optimizer).__name__} ignores its learning rate: steps at "
                f"{self._own_lr:.3g} and at half of that end at the same weights, so that there "
                "is nothing to search for. Rprop reads it in its first step only (pass a new "
                "optimizer); for one without a learning rate there is nothing to find."
            )

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
                _refuse_broken(loss)
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
            self._to_start()
            self._start_training()
            reach = measured_reach(self._optimizer, self._settings.steps, self.ratios)
            self._to_start()
            self._start_training()
            validation = Validation(
                self._updates,
                self._on_device(self._path_batches),
                [value for value in self._objects if not isinstance(value, Optimizer)],
                self._parameters,
                self._settings.seed,
            )
            path = Path(validation, reach, self._batches(repeat=0))
            path.begin()
            self._path = path
        return self._path

    # --- The start, and the caller's state ----------------------------------------------------

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Whatever happens inside, the caller finds everything as it was."""
        before = Snapshot(self._objects, on_host=self._settings.snapshot_on_host, like=self._start)
        with preserved_random_state():
            try:
                yield
            finally:
                before.restore()

    def _to_start(self) -> None:
        self._start.restore()
        for parameter in self._parameters:
            parameter.grad = None
        self._move()

    def _move(self) -> None:
        """Moves what is elsewhere; putting a snapshot back moves it back."""
        if self._settings.device is None:
            return
        if all(p.device == self._device for p in self._parameters):
            return
        for value in self._objects:
            if isinstance(value, nn.Module):
                value.to(self._device)
        if self._optimizer.state:  # load_state_dict casts the state to the parameters' device
            self._optimizer.load_state_dict(self._optimizer.state_dict())

    def _start_training(self) -> None:
        if not self._model.training:  # else single modules that are in eval mode stay in it
            self._model.train()
        call_if_there(self._optimizer, "train")
        self._validate.start()
        self._updates.start()

    # --- Batches --------------------------------------------------------------------------------

    def _batches(self, repeat: int, steps: int | None = None) -> list[Any]:
        """The training batches of a repeat, drawn at their first use and kept.

        Those of the short trials are on the device. A longer trial begins with them; its others
        would not always fit there, and stay where the loader has them.
        """
        if repeat not in self._train_batches:
            drawn = self._loaders.training(repeat, self._settings.steps)
            self._train_batches[repeat] = self._on_device(drawn)
        batches = self._train_batches[repeat]
        if steps is None or steps <= self._settings.steps:
            return batches
        batches = self._more_batches.get(repeat, batches)
        if len(batches) < steps * self._settings.accumulate:
            drawn = self._loaders.training(repeat, steps)
            self._more_batches[repeat] = batches = [*batches, *drawn[len(batches) :]]
        return batches

    def _of_step(self, batches: list[Any], step: int) -> list[Any]:
        """The batches of one optimizer step, counted from 1; those of longer trials come here."""
        size = self._settings.accumulate
        drawn = batches[(step - 1) * size : step * size]
        return self._on_device(drawn) if step > self._settings.steps else drawn

    def _on_device(self, batches: list[Any]) -> list[Any]:
        return [to_device(batch, self._device) for batch in batches]


def _diverged(steps: int, rise: Rise) -> Outcome:
    return Outcome(math.inf, steps, True, rise=rise.highest, sure=rise.is_sustained)


def _unique_parameters(objects: list[Any]) -> list[nn.Parameter]:
    found: dict[int, nn.Parameter] = {}
    for value in objects:
        if isinstance(value, Optimizer):
            found.update((id(p), p) for p in optimized_parameters(value))
        elif isinstance(value, nn.Module):
            found.update((id(p), p) for p in value.parameters())
    return list(found.values())


def _device_of(device: torch.device | str | None, parameters: list[nn.Parameter]) -> torch.device:
    """The device asked for, with its index, or the first parameter's."""
    if device is None:
        return parameters[0].device
    return torch.empty(0, device=device).device


def _beyond(loss: float, limit: float) -> bool:
    return not (math.isfinite(loss) and loss <= limit)


def _refuse_broken(loss: float) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the training loss is {loss} before the first update, whatever the learning rate: "
            "look for NaN in the data, or for loss_fn."
        )


def _no_report(step: int, loss: float) -> None:
    pass
