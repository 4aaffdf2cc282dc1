"""Several optimizers over one model, say Muon for its matrices and AdamW for the rest, as one."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from optuna_lrss._study.arguments import is_number
from optuna_lrss.torch._optimizers import heavy_ball_momentum
from optuna_lrss.torch._optimizers import learning_rate_ratios
from optuna_lrss.torch._optimizers import needs_closure
from optuna_lrss.torch._optimizers import optimized_parameters
from optuna_lrss.torch._optimizers import set_learning_rate


#: What is taken where an optimizer is asked for.
Optimizers = Optimizer | Sequence[Optimizer]


class Together(Optimizer):
    """Their param groups in a row, stepped one after the other.

    It holds nothing itself: groups and state are those of its parts, at all times.

    Args:
        parts: The optimizers. The learning rate that is searched is that of the first one's first
            param group.
    """

    def __init__(self, parts: Iterable[Optimizer]) -> None:
        self.parts = list(parts)  # without Optimizer.__init__, which makes groups and state

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """All groups; a new list, of the parts' own dicts."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """What the parts hold of each parameter; a new dict, of their own dicts."""
        return {p: held for part in self.parts for p, held in part.state.items()}

    @property
    def _optimizer_step_pre_hooks(self) -> dict[Any, Any]:  # type: ignore[override]
        return {k: h for part in self.parts for k, h in part._optimizer_step_pre_hooks.items()}

    @property
    def _optimizer_step_post_hooks(self) -> dict[Any, Any]:  # type: ignore[override]
        return {k: h for part in self.parts for k, h in part._optimizer_step_post_hooks.items()}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Steps all of them at the same gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def train(self) -> None:
        """For schedule-free optimizers among them."""
        self._call_where_there("train")

    def eval(self) -> None:
        """For schedule-free optimizers among them."""
        self._call_where_there("eval")

    def _call_where_there(self, name: str) -> None:
        for part in self.parts:
            method = getattr(part, name, None)
            if callable(method):
                method()

    def state_dict(self) -> dict[str, Any]:
        """The parts' own."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Gives each part its own."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def as_one(optimizer: Any) -> Any:
    """An optimizer as it is; a list or tuple of them as one.

    Raises:
        ValueError: If the list holds something else or nothing, two of them share a parameter, or
            one needs a closure.
    """
    if not isinstance(optimizer, (list, tuple)):
        return optimizer
    if not optimizer or not all(isinstance(part, Optimizer) for part in optimizer):
        kinds = ", ".join(type(part).__name__ for part in optimizer) or "nothing"
        raise ValueError(
            f"optimizer is a list of {kinds}: give optimizers over the model's parameters, the "
            "one whose learning rate is searched first."
        )
    parameters = [p for part in optimizer for p in optimized_parameters(part)]
    twice = len(parameters) - len({id(p) for p in parameters})
    if twice:
        raise ValueError(
            f"optimizer: {twice} parameter(s) are in two of the {len(optimizer)} optimizers, so "
            "that a step would move them twice: give each parameter to one."
        )
    for part in optimizer:
        if needs_closure(part) and len(optimizer) > 1:
            raise ValueError(
                f"optimizer: {type(part).__name__} evaluates the loss several times a step, which "
                "cannot be stepped beside another one: search for its learning rate alone."
            )
    return Together(optimizer) if len(optimizer) > 1 else optimizer[0]


def heaviest(optimizer: Optimizer) -> Optimizer:
    """The part with the most heavy-ball momentum, which a short trial shows the least of."""
    parts = optimizer.parts if isinstance(optimizer, Together) else [optimizer]
    return max(parts, key=heavy_ball_momentum)


def apply_learning_rate(optimizer: Optimizers, lr: float) -> None:
    """Gives an optimizer a learning rate, say ``result.recommended``.

    A search finds that of the first param group; every other group keeps its ratio to it.

    Example:
        .. code-block:: python

            apply_learning_rate(optimizer, result.recommended)

    Args:
        optimizer: The optimizer of the training, or the list of them that was searched. A
            learning rate held in a tensor is overwritten in place.
        lr: Learning rate of the first group.

    Raises:
        ValueError: If ``lr`` is not a positive number, or a group has no learning rate or the
            first group's is 0, so that there are no ratios.
    """
    if not (is_number(lr) and 0.0 < lr < math.inf):
        raise ValueError(f"lr={lr!r} must be a positive number, such as result.recommended.")
    whole = as_one(optimizer)
    set_learning_rate(whole, float(lr), learning_rate_ratios(whole))
