"""Convolutional nets, also on series (a picture of one row): plain, BatchNorm, ResNet, U-Net."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.benchmarks.landscapes.engine.layers import Ops
from examples.benchmarks.landscapes.models._base import Layers
from examples.benchmarks.landscapes.models._base import Model
from examples.benchmarks.landscapes.models._base import n_outputs
from examples.benchmarks.landscapes.tasks import TaskData


#: Lanes through a convolutional net at once.
CHUNK = 66


def _inputs(task: TaskData) -> tuple[int, tuple[int, int]]:
    """Channels, and the kernel: (1, 3) on series, which have one row."""
    shape = task.x_train.shape
    if len(shape) == 4:
        return shape[1], (3, 3)
    return (shape[2] if len(shape) == 3 else 1), (1, 3)


def _picture(x: Tensor, task: TaskData) -> Tensor:
    """`(..., H, W, C)`; series become pictures of one row."""
    dims = task.x_train.dim()
    if dims == 2:
        x = x.unsqueeze(-1)
    return x if dims == 4 else x.unsqueeze(-3)


def cnn(
    task: TaskData, widths: tuple[int, ...] = (8, 16), norm: bool = False, strided: int = 1
) -> Model:
    """Convolutions of 3 x 3, the first `strided` of stride 2; mean over places; linear.

    Args:
        task: What to fit.
        widths: Channels after each convolution.
        strided: How many convolutions halve the side.
        norm: BatchNorm after each convolution.
    """
    layers = Layers()
    channels, kernel = _inputs(task)
    for i, width in enumerate(widths):
        layers.conv(f"conv{i}", channels, width, kernel, bias=not norm)
        if norm:
            layers.batch_norm(f"norm{i}", width)
        channels = width
    layers.linear("head", channels, n_outputs(task))

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = _picture(x, task)
        for i in range(len(widths)):
            x = ops.conv(x, f"conv{i}", stride=2 if i < strided else 1)
            if norm:
                x = ops.batch_norm(x, f"norm{i}")
            x = torch.relu(x)
        return ops.linear(x.mean((-3, -2)), "head")

    return layers.model(forward, CHUNK)


def resnet(task: TaskData, width: int = 8, blocks: int = 2, strided: int = 2) -> Model:
    """A stem of stride 2, then residual blocks of two convolutions with BatchNorm."""
    layers = Layers()
    channels, kernel = _inputs(task)
    layers.conv("stem", channels, width, kernel, bias=False)
    layers.batch_norm("stem_norm", width)
    for i in range(blocks):
        for j in range(2):
            layers.conv(f"conv{i}{j}", width, width, kernel, bias=False)
            layers.batch_norm(f"norm{i}{j}", width)
    layers.linear("head", width, n_outputs(task))

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = torch.relu(ops.batch_norm(ops.conv(_picture(x, task), "stem", strided), "stem_norm"))
        for i in range(blocks):
            y = torch.relu(ops.batch_norm(ops.conv(x, f"conv{i}0"), f"norm{i}0"))
            x = torch.relu(x + ops.batch_norm(ops.conv(y, f"conv{i}1"), f"norm{i}1"))
        return ops.linear(x.mean((-3, -2)), "head")

    return layers.model(forward, CHUNK)


def unet(task: TaskData, width: int = 4, norm: bool = False) -> Model:
    """Two levels down and up with skips; gives pictures of the targets' channels."""
    layers = Layers()
    channels, kernel = _inputs(task)
    outputs = task.y_train.shape[1]
    sizes = {
        "down0": (channels, width),
        "down1": (width, 2 * width),
        "down2": (2 * width, 2 * width),
        "up1": (4 * width, width),
        "up0": (2 * width, width),
    }
    for name, (i, o) in sizes.items():
        layers.conv(name, i, o, kernel, bias=not norm)
        if norm:
            layers.batch_norm(f"{name}_norm", o)
    layers.conv("head", width, outputs, (1, 1))

    def block(ops: Ops, x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = ops.conv(x, name, stride)
        return torch.relu(ops.batch_norm(x, f"{name}_norm") if norm else x)

    def forward(ops: Ops, x: Tensor) -> Tensor:
        full = block(ops, x, "down0")
        half = block(ops, full, "down1", 2)
        x = block(ops, half, "down2", 2)
        x = block(ops, torch.cat([_doubled(x), half], -1), "up1")
        x = block(ops, torch.cat([_doubled(x), full], -1), "up0")
        return ops.conv(x, "head")

    return layers.model(forward, CHUNK)


def conv_autoencoder(task: TaskData, width: int = 8, code: int = 4) -> Model:
    """A quarter of the side and `code` channels in the middle, then back."""
    layers = Layers()
    channels, kernel = _inputs(task)
    layers.conv("down0", channels, width, kernel)
    layers.conv("down1", width, code, kernel)
    layers.conv("up1", code, width, kernel)
    layers.conv("up0", width, width, kernel)
    layers.conv("head", width, task.y_train.shape[1], (1, 1))

    def forward(ops: Ops, x: Tensor) -> Tensor:
        x = torch.relu(ops.conv(x, "down0", 2))
        x = ops.conv(x, "down1", 2)
        x = torch.relu(ops.conv(_doubled(x), "up1"))
        x = torch.relu(ops.conv(_doubled(x), "up0"))
        return ops.conv(x, "head")

    return layers.model(forward, CHUNK)


def _doubled(x: Tensor) -> Tensor:
    """Each pixel as a square of two by two."""
    return x.repeat_interleave(2, -2).repeat_interleave(2, -3)
