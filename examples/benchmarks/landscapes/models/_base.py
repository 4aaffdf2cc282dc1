"""What a model is: parameters made as torch makes them, and a function that runs on any `Ops`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

import torch
from torch import Tensor
from torch import nn

from examples.benchmarks.landscapes.engine.layers import Ops
from examples.benchmarks.landscapes.engine.layers import Tensors
from examples.benchmarks.landscapes.tasks import TaskData


Forward = Callable[[Ops, Tensor], Tensor]


@dataclass
class Model:
    """A net before its first step.

    Attributes:
        params: Parameters in torch's shapes, without lanes.
        buffers: `<layer>.mean` and `<layer>.var` of each BatchNorm.
        forward: The net itself; `x` has the rows second to the lanes, pictures channels-last.
        chunk: Lanes that go through the net together (more would leave the cache).
    """

    forward: Forward
    params: Tensors = field(default_factory=dict)
    buffers: Tensors = field(default_factory=dict)
    chunk: int = 360

    @property
    def batch_norm(self) -> bool:
        return bool(self.buffers)


def hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon may have a parameter: a matrix, neither the first nor the last, no table."""
    return parameter.dim() == 2 and not name.startswith(("first", "head", "embed", "table"))


class Layers:
    """Makes parameters, layer by layer, from torch's global generator."""

    def __init__(self) -> None:
        self.params: Tensors = {}
        self.buffers: Tensors = {}

    def _take(self, name: str, module: nn.Module) -> None:
        for key, value in module.named_parameters():
            self.params[f"{name}.{key}"] = value.detach().clone()

    def linear(
        self, name: str, inputs: int, outputs: int, gain: float = 1.0, bias: bool = True
    ) -> None:
        self._take(name, nn.Linear(inputs, outputs, bias))
        self.params[f"{name}.weight"] *= gain

    def conv(
        self, name: str, inputs: int, outputs: int, kernel: tuple[int, int], bias: bool = True
    ) -> None:
        self._take(name, nn.Conv2d(inputs, outputs, kernel, bias=bias))

    def embedding(self, name: str, size: int, width: int, std: float = 1.0) -> None:
        self.params[f"{name}.weight"] = torch.randn(size, width) * std

    def positions(self, name: str, steps: int, width: int, std: float = 0.02) -> None:
        self.params[name] = torch.randn(steps, width) * std

    def layer_norm(self, name: str, width: int) -> None:
        self._take(name, nn.LayerNorm(width))

    def batch_norm(self, name: str, channels: int) -> None:
        self._take(name, nn.BatchNorm2d(channels))
        self.buffers[f"{name}.mean"] = torch.zeros(channels)
        self.buffers[f"{name}.var"] = torch.ones(channels)

    def attention(self, name: str, width: int) -> None:
        made = nn.MultiheadAttention(width, 1)
        assert made.in_proj_weight is not None
        self.params[f"{name}.qkv.weight"] = made.in_proj_weight.detach().clone()
        self.params[f"{name}.qkv.bias"] = torch.zeros(3 * width)
        self._take(f"{name}.out", made.out_proj)

    def recurrent(self, name: str, kind: str, inputs: int, width: int) -> None:
        made = (nn.GRU if kind == "gru" else nn.LSTM)(inputs, width)
        for key, value in made.named_parameters():
            self.params[f"{name}.{key.removesuffix('_l0')}"] = value.detach().clone()

    def model(self, forward: Forward, chunk: int = 360) -> Model:
        return Model(forward, self.params, self.buffers, chunk)


def n_outputs(task: TaskData) -> int:
    """Numbers that the net gives per row (or per token)."""
    if task.loss in ("cross_entropy", "token_cross_entropy"):
        return task.n_classes
    numbers = math.prod(task.y_train.shape[1:])
    return 2 * numbers if task.loss == "gaussian_nll" else numbers


def per_token(task: TaskData) -> bool:
    return task.loss == "token_cross_entropy"


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": nn.functional.gelu,
}
