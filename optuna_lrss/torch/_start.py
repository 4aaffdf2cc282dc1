"""Where every short trial starts, and what its caller finds again after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optuna_lrss.torch._batches import to_device
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._snapshot import Snapshot


class Start:
    """The state of some objects now, on the device that trials run on.

    Args:
        objects: The model, its optimizer and all else that a trial may change.
        device: Where trials run; ``None`` for where the first parameter is.
        on_host: Keep copies of weights in host memory.

    Attributes:
        parameters: All parameters, each once.
        device: The device, with its index.
        snapshot: The state.
    """

    def __init__(
        self, objects: list[Any], device: torch.device | str | None, *, on_host: bool
    ) -> None:
        self._objects = objects
        self._optimizers = [value for value in objects if isinstance(value, Optimizer)]
        self._on_host = on_host
        self._elsewhere = device is not None
        self.snapshot = Snapshot(objects, on_host=on_host)
        self.parameters = _unique_parameters(objects)
        self.device = _device_of(device, self.parameters)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Whatever happens inside, the caller finds everything as it was."""
        before = Snapshot(self._objects, on_host=self._on_host, like=self.snapshot)
        with preserved_random_state():
            try:
                yield
            finally:
                before.restore()

    def restore(self) -> None:
        """Puts the objects there."""
        self.snapshot.restore()
        for parameter in self.parameters:
            parameter.grad = None
        self._move()

    def on_device(self, batches: list[Any]) -> list[Any]:
        """Batches where trials run."""
        return [to_device(batch, self.device) for batch in batches]

    def _move(self) -> None:
        """Moves what is elsewhere; putting a snapshot back moves it back."""
        if not self._elsewhere:
            return
        if all(p.device == self.device for p in self.parameters):
            return
        for value in self._objects:
            if isinstance(value, nn.Module):
                value.to(self.device)
        for optimizer in self._optimizers:
            if optimizer.state:  # load_state_dict casts the state to the parameters' device
                optimizer.load_state_dict(optimizer.state_dict())


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
