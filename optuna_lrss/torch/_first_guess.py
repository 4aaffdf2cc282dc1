"""Which learning rate a search tries first: what the optimizer says, by its own rate or class."""

from __future__ import annotations

import inspect

from torch import Tensor
from torch.optim import Optimizer

from optuna_lrss.torch._optimizers import heavy_ball_momentum


#: Where the loss after 20 steps is lowest, by the class of optimizer: the median over the networks
#: of the results on landscapes that are trained from scratch, to a quarter of a decade. Half of
#: them lie within 0.4 decades. ``tests/test_first_guess.py`` works them out anew. Kin that is not
#: recorded there begins as its relative does.
_BY_CLASS: dict[str, float] = {
    "sgd": 10.0**-0.5,
    "sgd with momentum": 10.0**-1.0,
    "adam": 10.0**-1.5,
    "adamw": 10.0**-1.75,
    "nadam": 10.0**-1.5,
    "radam": 10.0**-1.5,
    "rmsprop": 10.0**-2.0,
    "adagrad": 10.0**-1.25,
    "muon": 10.0**-1.5,
    "lion": 10.0**-2.0,
}


def first_guess(optimizer: Optimizer, own: float) -> float:
    """The learning rate to try first.

    The one that the optimizer carries, since somebody chose it; but the default of its class says
    nothing about this training, and then the class itself does.

    Args:
        optimizer: The optimizer, whose first param group counts.
        own: The learning rate that it carries.
    """
    if own != _default_of(type(optimizer)):
        return own
    for kind in type(optimizer).__mro__:
        name = kind.__name__.lower()
        if name == "sgd" and heavy_ball_momentum(optimizer) > 0.0:
            name = "sgd with momentum"
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    return own


def _default_of(kind: type[Optimizer]) -> float | None:
    """The learning rate of an optimizer that was given none; ``None`` where it takes no other."""
    parameter = inspect.signature(kind).parameters.get("lr")
    default: object = None if parameter is None else parameter.default
    if isinstance(default, Tensor):
        return float(default.item())
    return float(default) if isinstance(default, (int, float)) else None
