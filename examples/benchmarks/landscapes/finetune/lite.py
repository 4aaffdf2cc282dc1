"""EfficientNet-Lite0 (Tan and Le 2019, no squeeze-and-excite, ReLU6), named as its weights.

Dropout and stochastic depth are left out: trials must not differ by anything but the rate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn


#: Repeats, kernel, stride, expansion, width of each stage (table 1 of the paper).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Module:
    """A convolution padded as TensorFlow pads: one pixel more at the end where it is uneven."""
    total = kernel - stride if kernel > 1 else 0
    before = total // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, before, groups=groups, bias=False)
    return conv if total % 2 == 0 else _Uneven(conv, (before, total - before))


class _Uneven(nn.Module):
    def __init__(self, conv: nn.Conv2d, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = (*sides, *sides)
        conv.padding = (0, 0)
        self.weight = conv.weight
        self.stride, self.groups = conv.stride, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.sides)
        return F.conv2d(padded, self.weight, None, self.stride, groups=self.groups)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Expand, filter each channel, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expands, self.shortcut = expand > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = _conv(inputs, wide), _norm(wide)
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = _conv(wide, outputs), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        h = F.relu6(self._bn1(self._depthwise_conv(h)))
        h = self._bn2(self._project_conv(h))
        out: Tensor = x + h if self.shortcut else h
        return out


class EfficientNetLite0(nn.Module):
    """The net with a head of its own.

    Args:
        n_classes: Outputs of the head.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, 32, 3, 2), _norm(32)
        blocks, width = [], 32
        for repeats, kernel, stride, expand, outputs in STAGES:
            for i in range(repeats):
                blocks.append(Block(width, outputs, kernel, 1 if i else stride, expand))
                width = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(width, 1280), _norm(1280)
        self._fc = nn.Linear(1280, n_classes)

    def lower(self, x: Tensor, blocks: int) -> Tensor:
        """The stem and the first blocks, of 16."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks[:blocks]:
            x = block(x)
        return x

    def upper(self, x: Tensor, blocks: int) -> Tensor:
        """What the head sees of what `lower` gives, shape ``(rows, 1280)``."""
        for block in self._blocks[blocks:]:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, shape ``(rows, 1280)``."""
        return self.upper(self.lower(x, 0), 0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._fc(self.features(x))
        return out


def scaled(pixels: Tensor) -> Tensor:
    """Bytes as the weights want them: from -1 to 1."""
    return (pixels.float() - 127.0) / 128.0


def pretrained(path: str, n_classes: int) -> EfficientNetLite0:
    """ImageNet's weights, and a head made anew by torch's generator."""
    net = EfficientNetLite0(n_classes)
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    kept = {name: value for name, value in stored.items() if not name.startswith("_fc.")}
    missing, unexpected = net.load_state_dict(kept, strict=False)
    if unexpected or set(missing) != {"_fc.weight", "_fc.bias"}:
        raise ValueError(f"{path} lacks {missing} and has {unexpected} besides: wrong weights.")
    return net
