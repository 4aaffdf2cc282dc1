"""Gradients and optimizer steps of a short trial, in its precision and with its closure."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.optim import Optimizer

from optuna_lrss.torch._batches import fresh_copy
from optuna_lrss.torch._loss import BatchLoss
from optuna_lrss.torch._optimizers import needs_closure
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._settings import Settings


class Updates:
    """Updates a model by its optimizer, batch by batch.

    Args:
        model: The model.
        optimizer: The optimizer.
        loss: Their loss.
        settings: Precision, clipping, closure.
        device: Where they are in a trial.

    Raises:
        ValueError: If precision and closure do not go together.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: BatchLoss,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._loss = loss
        self._settings = settings
        self._device = device
        self._closure = _use_closure(optimizer, settings)
        self._scaler: torch.amp.GradScaler | None = None

    @property
    def uses_closure(self) -> bool:
        """Whether the optimizer's step gets a closure."""
        return self._closure

    def start(self) -> None:
        """To be called before the first step of a trial."""
        if self._settings.autocast is torch.float16:
            # A new one each time: an interrupted step leaves marks that its state does not show.
            self._scaler = torch.amp.GradScaler(self._device.type)

    def loss(self, batch: Any) -> Tensor:
        """The loss on a copy of a batch, in the precision asked for."""
        with self._autocast():
            return self._loss(self.model, fresh_copy(batch))

    def forward(self, batches: list[Any]) -> None:
        """Forward passes alone, which move what a model keeps of its inputs."""
        with torch.no_grad():
            for batch in batches:
                self.loss(batch)

    def guessing(self, batches: list[Any], weights: list[int]) -> list[float] | None:
        """Losses of the best output that does not look at its input, one a batch."""
        with self._autocast():
            return self._loss.of_guessing(self.model, batches, weights)

    def gradients(self, batches: list[Any]) -> None:
        """Leaves in the parameters what an optimizer step would take."""
        self._backward(batches, self._scaler)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
            self._scaler.update()
        self._clip()

    def step(self, batches: list[Any]) -> float:
        """One optimizer step; returns the training loss before it."""
        if self._closure:
            return self._update_with_closure(batches)
        if self._scaler is not None:
            return self._update_scaled(batches, self._scaler)
        loss = self._backward(batches)
        self._clip()
        self.optimizer.step()
        return loss.item()

    def _update_with_closure(self, batches: list[Any]) -> float:
        losses: list[Tensor] = []

        def closure() -> Tensor:
            losses.append(self._backward(batches))
            self._clip()
            return losses[-1]

        self.optimizer.step(closure)  # type: ignore[arg-type]  # typed for floats
        if not losses:
            raise ValueError(
                f"closure={self._settings.closure!r}, but {type(self.optimizer).__name__}.step() "
                "never called the closure: pass closure=False."
            )
        return losses[0].item()

    def _update_scaled(self, batches: list[Any], scaler: torch.amp.GradScaler) -> float:
        """A step whose gradients overflow in float16 is no update: again, at half the scale."""
        while scaler.get_scale() >= 1.0:
            loss = self._backward(batches, scaler).item()
            if not math.isfinite(loss):
                return loss
            scaler.unscale_(self.optimizer)
            self._clip()
            scaler.step(self.optimizer)
            scale = scaler.get_scale()
            scaler.update()
            if scaler.get_scale() >= scale:
                return loss
        return math.inf

    def _backward(self, batches: list[Any], scaler: torch.amp.GradScaler | None = None) -> Tensor:
        """Gradients of the mean loss over the step's batches; returns that loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total = None
        for batch in batches:
            loss = self.loss(batch)
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
            torch.nn.utils.clip_grad_norm_(optimized_parameters(self.optimizer), clip)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._settings.autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._settings.autocast)


def _use_closure(optimizer: Optimizer, settings: Settings) -> bool:
    use = needs_closure(optimizer) if settings.closure is None else settings.closure
    if use and settings.autocast is torch.float16:
        raise ValueError(
            f"autocast=torch.float16 scales the loss, which {type(optimizer).__name__} with its "
            "closure does not support: use torch.bfloat16."
        )
    return use
