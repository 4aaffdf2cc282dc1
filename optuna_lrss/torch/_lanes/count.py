"""How many lanes: as many as memory holds and the first look can use, or one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._settings import SearchSpace
from optuna_lrss.torch._short_trial import ShortTrial
from optuna_lrss.torch._statistics import eager


#: Floating-point operations of a forward pass, in matrix products and convolutions, above which a
#: pass over the longer trials that a search asks for at once does not gain on a CPU: of eight
#: models the seven up to 5.4 MFLOP gained, that of 11 MFLOP lost (docs/results/lanes.md).
WORTHWHILE_FLOPS = 6e6
#: Spacing of a search's first look, in decades: LRStepSampler's own default.
_FIRST_LOOK = 0.5
#: Share of the free memory that lanes may take: the rest is for what was not counted, such as
#: workspaces of convolutions.
_SHARE = 0.5
#: Copies of a parameter that a lane has at most: itself, its gradient, two tensors of state and
#: two that a step makes in between.
_COPIES = 6
#: What backward needs of a forward pass, and as much again for the gradients of it.
_ACTIVATIONS = 2


class Footprint(NamedTuple):
    """What one forward pass of a model takes.

    Attributes:
        flops: Floating-point operations in matrix products and convolutions.
        lane_bytes: Memory of one lane while it trains, in bytes.
    """

    flops: int
    lane_bytes: int


def lanes_for(short_trial: ShortTrial, space: SearchSpace) -> int:
    """How many learning rates to train at a time.

    Args:
        short_trial: The trial.
        space: The range of learning rates.

    Returns:
        The number; 1 where many at a time would take longer than one after the other.
    """
    first_look = round(math.log10(space.high / space.low) / _FIRST_LOOK) + 1
    footprint = measure(short_trial)
    device = short_trial._device
    if device.type == "cpu" and footprint.flops > WORTHWHILE_FLOPS:
        return 1
    free = _free_bytes(device)
    if free is None:
        return first_look
    return max(1, min(first_look, int(_SHARE * free / max(footprint.lane_bytes, 1))))


def measure(short_trial: ShortTrial) -> Footprint:
    """Counts a forward pass on the first training batch; nothing of it stays behind."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    flops = FlopCounterMode(display=False)
    saved = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    batch = short_trial._batches(repeat=0)[0]
    with short_trial._untouched(), torch.enable_grad(), eager():
        short_trial._set_out(short_trial._own_lr)
        with saved, flops:
            short_trial._updates.loss(batch)
    trained = optimized_parameters(short_trial._optimizer)
    weights = sum(p.numel() * p.element_size() for p in trained)
    total = _COPIES * weights + _ACTIVATIONS * sum(kept.values())
    return Footprint(flops.get_total_flops(), total)


def _free_bytes(device: torch.device) -> int | None:
    """Free memory of the device; ``None`` where that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)  # what torch holds and does not use is free for it
    if device.type != "cpu":
        return None
    return min(_host_limits(), default=None)


def _host_limits() -> Iterator[int]:
    """What the machine has left, and what the control group of this process has (Linux)."""
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield 1024 * int(line.split()[1])
    limit, used = _text("/sys/fs/cgroup/memory.max"), _text("/sys/fs/cgroup/memory.current")
    if limit.strip().isdigit() and used.strip().isdigit():
        yield max(int(limit) - int(used), 0)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""
