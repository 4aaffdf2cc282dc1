"""One short trial: n steps from the same start on the same batches, then the validation loss.

The paper's section 2 and the method page's section 1. Nothing here knows Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import draw_batches
from optuna_lrss.torch._batches import fresh_copy
from optuna_lrss.torch._batches import to_device
from optuna_lrss.torch._checks import refuse_unusable
from optuna_lrss.torch._loss import BatchLoss
from optuna_lrss.torch._optimizers import heavy_ball_momentum
from optuna_lrss.torch._optimizers import learning_rate_ratios
from optuna_lrss.torch._optimizers import needs_closure
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._optimizers import set_learning_rate
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._snapshot import Snapshot


Report = Callable[[int, float], None]

_BATCHES_FOR_STDERR = 4
# What a seed is for, so that no two purposes share a stream.
_TRAIN_BATCHES, _VALIDATION_BATCHES, _TRAINING, _VALIDATION = range(4)


class StepPieces(NamedTuple):
    """What a short trial trains; what ``build`` returns to :meth:`StepObjective.from_factory`.

    Attributes:
        model: The model.
        optimizer: An optimizer over the model's parameters.
        loss_fn: ``loss_fn(output, target)`` or ``loss_fn(model, batch)``.
        train_loader: Training batches.
        validation_loader: Validation batches.
    """

    model: nn.Module
    optimizer: Optimizer
    loss_fn: Callable[[Any, Any], Any]
    train_loader: Iterable[Any]
    validation_loader: Iterable[Any]


class Outcome(NamedTuple):
    """How a short trial ended.

    Attributes:
        loss: Validation loss after the last step; ``inf`` if the trial diverged, never NaN.
        steps: Optimizer steps taken, fewer than asked for after an early divergence.
        diverged: Whether it diverged.
        stderr: Standard error of the loss over the validation set, where it can be estimated.
    """

    loss: float
    steps: int
    diverged: bool
    stderr: float | None = None


class ShortTrial:
    """Short trials of one configuration: the same start and batches, any learning rate.

    The start is what the pieces hold when this object is made. Whatever a trial does, the pieces
    and all random states come out of it as they went in.

    Args:
        pieces: What to train.
        settings: How.
        extra_state: Further objects to reset.
        baseline: Validation loss of the untrained model, if known.

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
    ) -> None:
        self._pieces = pieces
        self._settings = settings
        self._model = pieces.model
        self._optimizer = pieces.optimizer
        own_loss = (pieces.loss_fn,) if isinstance(pieces.loss_fn, nn.Module) else ()
        others = [*own_loss, *extra_state]
        refuse_unusable(self._model, self._optimizer, others)
        self._objects: list[Any] = [self._model, self._optimizer, *others]
        self._loss = BatchLoss(pieces.loss_fn, settings.loss_form)
        self._ratios = learning_rate_ratios(self._optimizer, settings.base_lr)
        self._closure = _use_closure(self._optimizer, settings)
        self._start = Snapshot(self._objects, on_host=settings.snapshot_on_host)
        self._parameters = _unique_parameters(self._objects)
        self._device = _device_of(settings.device, self._parameters)
        self._modes: list[tuple[nn.Module, bool]] = []
        self._scaler: torch.amp.GradScaler | None = None
        self._baseline = baseline
        self._validation_batches = self._on_device(
            draw_batches(
                pieces.validation_loader,
                settings.validation_batches,
                name="validation_loader",
                seed=derived_seed(settings.seed, _VALIDATION_BATCHES),
                start_over=False,
            )
        )
        self._validation_sizes = [batch_size(batch) for batch in self._validation_batches]
        self._train_batches: dict[int, list[Any]] = {}
        self._batches(repeat=0)

    @property
    def momentum(self) -> float:
        """Heavy-ball momentum of the optimizer; 0 where there is none."""
        return heavy_ball_momentum(self._optimizer)

    @property
    def baseline(self) -> float:
        """Validation loss at a learning rate of 0, evaluated once.

        That is the untrained model's; but a model with buffers sees the training batches first,
        as in any short trial: batch normalisation starts from statistics that are nobody's (0 and
        1), and a trial at a learning rate near 0 has left them by its end.

        Raises:
            ValueError: If it is not finite.
        """
        if self._baseline is None:
            with self._untouched():
                self._to_start()
                self._move_buffers()
                baseline, _ = self._validate()
            if not math.isfinite(baseline):
                raise ValueError(
                    f"the validation loss of the untrained model is {baseline}, so that nothing "
                    "can be compared with it: look for NaN in the weights, the data or loss_fn."
                )
            self._baseline = baseline
        return self._baseline

    def run(self, lr: float, *, repeat: int = 0, report: Report | None = None) -> Outcome:
        """Trains from the start at one learning rate.

        Args:
            lr: Learning rate of the optimizer's first param group, or what ``base_lr`` stands
                for; the groups keep their ratio to it.
            repeat: Which repeat: each has batches and random numbers of its own, the same at
                every learning rate.
            report: Called with (step, validation loss) at the snapshots and at the end. What it
                raises ends the trial.

        Returns:
            The outcome.

        Raises:
            ValueError: If the loss is not what a loss must be.
        """
        baseline, batches = self.baseline, self._batches(repeat)
        with self._untouched(), torch.enable_grad():
            self._to_start()
            set_learning_rate(self._optimizer, lr, self._ratios)
            self._start_training()
            seed_everything(derived_seed(self._settings.seed, _TRAINING, repeat))
            return self._train(lr, batches, baseline, report or _no_report)

    def _move_buffers(self) -> None:
        """What a short trial without a single update does to the model."""
        if next(self._model.buffers(), None) is None:
            return
        self._start_training()
        seed_everything(derived_seed(self._settings.seed, _TRAINING, 0))
        with torch.no_grad(), self._autocast():
            for batch in self._batches(repeat=0):
                self._loss(self._model, fresh_copy(batch))

    # --- Training ---------------------------------------------------------------------------

    def _train(self, lr: float, batches: list[Any], baseline: float, report: Report) -> Outcome:
        settings = self._settings
        limit = math.inf
        for step in self._progress(lr):
            end = step * settings.accumulate
            loss = self._update(batches[end - settings.accumulate : end])
            if step == 1:
                _refuse_broken(loss)
                limit = runaway_limit(baseline, loss)
            if _beyond(loss, limit):
                return Outcome(math.inf, step, diverged=True)
            if step in settings.snapshots and step < settings.steps:
                loss, _ = self._validate()
                report(step, loss)
                if _beyond(loss, limit):
                    return Outcome(math.inf, step, diverged=True)
        loss, stderr = self._validate()
        diverged = _beyond(loss, divergence_limit(baseline, None))
        loss = math.inf if diverged else loss
        report(settings.steps, loss)
        return Outcome(loss, settings.steps, diverged, None if diverged else stderr)

    def _update(self, batches: list[Any]) -> float:
        """One optimizer step; returns the training loss before it."""
        if self._closure:
            return self._update_with_closure(batches)
        if self._scaler is not None:
            return self._update_scaled(batches, self._scaler)
        loss = self._backward(batches)
        self._clip()
        self._optimizer.step()
        return loss.item()

    def _update_with_closure(self, batches: list[Any]) -> float:
        losses: list[Tensor] = []

        def closure() -> Tensor:
            losses.append(self._backward(batches))
            self._clip()
            return losses[-1]

        self._optimizer.step(closure)  # type: ignore[arg-type]  # typed for floats
        if not losses:
            raise ValueError(
                f"closure={self._settings.closure!r}, but {type(self._optimizer).__name__}.step() "
                "never called the closure: pass closure=False."
            )
        return losses[0].item()

    def _update_scaled(self, batches: list[Any], scaler: torch.amp.GradScaler) -> float:
        """A step whose gradients overflow in float16 is no update: again, at half the scale."""
        while scaler.get_scale() >= 1.0:
            loss = self._backward(batches, scaler).item()
            if not math.isfinite(loss):
                return loss
            scaler.unscale_(self._optimizer)
            self._clip()
            scaler.step(self._optimizer)
            scale = scaler.get_scale()
            scaler.update()
            if scaler.get_scale() >= scale:
                return loss
        return math.inf

    def _backward(self, batches: list[Any], scaler: torch.amp.GradScaler | None = None) -> Tensor:
        """Gradients of the mean loss over the step's batches; returns that loss."""
        self._optimizer.zero_grad(set_to_none=True)
        total = None
        for batch in batches:
            with self._autocast():
                loss = self._loss(self._model, fresh_copy(batch))
            if len(batches) > 1:
                loss = loss / len(batches)
            if not loss.requires_grad:
                raise ValueError(
                    "the loss does not depend on a parameter that requires a gradient: return it "
                    "as loss_fn computes it, without .detach(), .item() or torch.no_grad()."
                )
            scaled = loss if scaler is None else scaler.scale(loss)
            scaled.backward()
            total = loss.detach() if total is None else total + loss.detach()
        if total is None:
            raise ValueError("a step has no batch.")
        return total

    def _clip(self) -> None:
        clip = self._settings.clip_norm
        if callable(clip):
            clip()
        elif clip is not None:
            torch.nn.utils.clip_grad_norm_(optimized_parameters(self._optimizer), clip)

    def _validate(self) -> tuple[float, float | None]:
        """Mean loss over the validation samples, and its standard error.

        In eval mode, under no_grad (tensors of inference_mode that a module keeps would break its
        training), with random numbers of its own: it neither sees nor moves the training's.
        """
        losses = []
        with preserved_random_state(), torch.no_grad(), self._evaluating():
            seed_everything(derived_seed(self._settings.seed, _VALIDATION))
            for batch in self._validation_batches:
                with self._autocast():
                    losses.append(self._loss(self._model, fresh_copy(batch)).item())
        return _mean_over_samples(losses, self._validation_sizes)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self._model.eval()
        _call_if_there(self._optimizer, "eval")
        yield
        # train() first: a model may have more to do on it than to set flags (merged adapters).
        self._model.train()
        for module, training in self._modes:
            module.training = training
        _call_if_there(self._optimizer, "train")

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._settings.autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._settings.autocast)

    def _progress(self, lr: float) -> Iterable[int]:
        steps = range(1, self._settings.steps + 1)
        # disable=None: off when standard error is not a terminal.
        disable = None if self._settings.progress else True
        bar: Iterable[int] = tqdm(
            steps, desc=f"lr {lr:.2e}", unit="step", leave=False, disable=disable
        )
        return bar

    # --- The start, and the caller's state ----------------------------------------------------

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Whatever happens inside, the caller finds everything as it was."""
        before = Snapshot(
            self._objects,
            on_host=self._settings.snapshot_on_host,
            like=None if self._settings.snapshot_on_host else self._start,
        )
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
        self._modes = [(module, module.training) for module in self._model.modules()]
        _call_if_there(self._optimizer, "train")
        if self._settings.autocast is torch.float16:
            # A new one each time: an interrupted step leaves marks that its state does not show.
            self._scaler = torch.amp.GradScaler(self._device.type)

    # --- Batches --------------------------------------------------------------------------------

    def _batches(self, repeat: int) -> list[Any]:
        """The training batches of a repeat, drawn at its first use and kept."""
        if repeat not in self._train_batches:
            self._train_batches[repeat] = self._on_device(
                draw_batches(
                    self._pieces.train_loader,
                    self._settings.steps * self._settings.accumulate,
                    name="train_loader",
                    seed=derived_seed(self._settings.seed, _TRAIN_BATCHES, repeat),
                    repeat=repeat,
                )
            )
        return self._train_batches[repeat]

    def _on_device(self, batches: list[Any]) -> list[Any]:
        return [to_device(batch, self._device) for batch in batches]


def _mean_over_samples(losses: list[float], sizes: list[int]) -> tuple[float, float | None]:
    """Batch means weighted by batch size, and the standard error of that.

    The error comes from how batch means scatter, so it needs a few batches; ``None`` else. A mean
    that is not finite is ``inf``.
    """
    count = sum(sizes)
    if count == 0:
        raise ValueError("the validation batches hold no sample: give batches that are not empty.")
    mean = sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / count
    if not math.isfinite(mean):
        return math.inf, None
    if len(losses) < _BATCHES_FOR_STDERR:
        return mean, None
    # Var(batch mean) = Var(sample) / size, so this sum estimates (batches - 1) * Var(sample).
    scatter = sum(size * (loss - mean) ** 2 for size, loss in zip(sizes, losses, strict=True))
    return mean, math.sqrt(scatter / (len(losses) - 1) / count)


def _use_closure(optimizer: Optimizer, settings: Settings) -> bool:
    use = needs_closure(optimizer) if settings.closure is None else settings.closure
    if use and settings.autocast is torch.float16:
        raise ValueError(
            f"autocast=torch.float16 scales the loss, which {type(optimizer).__name__} with its "
            "closure does not support: use torch.bfloat16."
        )
    return use


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


def _call_if_there(optimizer: Optimizer, name: str) -> None:
    """Schedule-free optimizers have modes of their own."""
    method = getattr(optimizer, name, None)
    if callable(method):
        method()


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
