"""Running statistics of normalisation layers, measured again before a validation.

After a short trial the running mean and variance of a batch normalisation belong to nobody: with
a momentum of 0.1 a fifth of them still comes from before 16 steps ago, when the weights were
others, and with 0.01 four fifths are the start's. In eval mode such a model is judged by
statistics that a longer training would have left behind (the method page, section 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


#: Most training batches that statistics are measured on, each a forward pass: as many as a short
#: trial of the default horizon has, which costs a third of it.
MOST_BATCHES = 20


class RunningStatistics:
    """The normalisation layers of a model that keep running statistics.

    Args:
        model: The model; its statistics now are those that :meth:`live` compares with.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [
            m for m in model.modules() if isinstance(m, _NormBase) and m.running_mean is not None
        ]
        self._before = [[t.clone() for t in _statistics(layer)] for layer in self._layers]

    @property
    def buffers(self) -> set[int]:
        """Ids of the buffers that belong to the layers."""
        return {id(b) for layer in self._layers for b in layer.buffers(recurse=False)}

    def live(self) -> list[_NormBase]:
        """The layers whose statistics have moved since: the others are frozen, however."""
        return [
            layer
            for layer, before in zip(self._layers, self._before, strict=True)
            if not all(map(torch.equal, _statistics(layer), before))
        ]


def _statistics(layer: Any) -> list[Tensor]:
    return [layer.running_mean, layer.running_var]


@contextmanager
def averaging(layers: list[_NormBase]) -> Iterator[None]:
    """Inside, forward passes in train mode give the plain average over all of them.

    A momentum of 1 / k at the k-th pass is that average, also where a layer is used several times
    in a pass of the model. A compiled model is run as it was written, since its code is bound to
    the momentum.
    """
    momenta = [layer.momentum for layer in layers]
    handles = [layer.register_forward_pre_hook(_Count()) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    try:
        with eager():
            yield
    finally:
        for layer, momentum, handle in zip(layers, momenta, handles, strict=True):
            handle.remove()
            layer.momentum = momentum


class _Count:
    def __init__(self) -> None:
        self._passes = 0

    def __call__(self, layer: Any, _: Any) -> None:
        self._passes += 1
        layer.momentum = 1.0 / self._passes


def eager() -> AbstractContextManager[Any]:
    """Inside, a compiled model is run as it was written."""
    if hasattr(torch.compiler, "set_stance"):  # torch 2.6 and newer
        stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance
    return nullcontext()
