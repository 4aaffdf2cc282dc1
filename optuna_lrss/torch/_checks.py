"""Refuses models and optimizers that a short trial would get wrong, with what to do instead."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from optuna_lrss.torch._optimizers import optimized_parameters


def refuse_unusable(model: Any, optimizer: Any, others: Sequence[object]) -> None:
    """Checks a model and its optimizer.

    Args:
        model: The model.
        optimizer: The optimizer.
        others: Further objects that may own parameters: the loss, extra state.

    Raises:
        ValueError: If a short trial could not train them or put them back.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model is a {type(model).__name__}: a torch.nn.Module is needed, since a function's "
            "weights cannot be put back."
        )
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer is a {type(optimizer).__name__}: a torch.optim.Optimizer over the model's "
            "parameters is needed."
        )
    _refuse_distributed(model)
    _refuse_unready(model)
    owners = [model, *(o for o in others if isinstance(o, nn.Module))]
    _refuse_foreign(owners, optimized_parameters(optimizer))


def refuse_broken(loss: float) -> None:
    """Checks the training loss of the first step.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(loss):
        raise ValueError(
            f"the training loss is {loss} before the first update, whatever the learning rate: "
            "look for NaN in the data, or for loss_fn."
        )


def _refuse_distributed(model: nn.Module) -> None:
    sharded = any(hasattr(p, "device_mesh") for p in model.parameters())
    wrapped = any(
        isinstance(m, DistributedDataParallel) or type(m).__name__ == "FullyShardedDataParallel"
        for m in model.modules()
    )
    if sharded or wrapped:
        raise ValueError(
            "model is distributed over processes, where one rank that diverges alone would leave "
            "the others waiting: pass the plain module (model.module) on one device; "
            "accumulate=<number of ranks> keeps the size of the whole batch."
        )


def _refuse_unready(model: nn.Module) -> None:
    tensors: Iterable[tuple[str, Tensor]] = (*model.named_parameters(), *model.named_buffers())
    for name, tensor in tensors:
        if is_lazy(tensor):
            raise ValueError(
                f"model has a lazy module, whose {name!r} has no shape yet: run one batch through "
                "the model, and build the optimizer, before you pass it."
            )
        if tensor.is_meta:
            raise ValueError(
                f"model's {name!r} is on the meta device and holds no numbers: load or "
                "initialise the weights first."
            )
        if tensor.is_inference():
            raise ValueError(
                f"model's {name!r} was made under torch.inference_mode() and cannot be trained: "
                "build the model outside it."
            )


def _refuse_foreign(owners: list[nn.Module], optimized: list[nn.Parameter]) -> None:
    known = {id(p) for owner in owners for p in owner.parameters()}
    foreign = sum(id(p) not in known for p in optimized)
    if foreign:
        raise ValueError(
            f"optimizer holds {foreign} parameter(s) that are not the model's: build it from "
            "this very model (a copy has other parameters), or name the module that owns them in "
            "extra_state."
        )
    if not any(p.requires_grad for p in optimized):
        raise ValueError(
            "no parameter in the optimizer requires a gradient, so nothing can be learned: "
            "unfreeze some (requires_grad_(True)), or give the optimizer those that are."
        )
