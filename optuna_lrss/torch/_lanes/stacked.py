"""A model's weights once for every lane, their gradients and their updates."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.func import vmap
from torch.nn.attention import SDPBackend
from torch.nn.attention import sdpa_kernel

from optuna_lrss.torch._lanes.rules import Rule
from optuna_lrss.torch._lanes.rules import State
from optuna_lrss.torch._statistics import eager
from optuna_lrss.torch._updates import Updates


class ModelWithLoss(nn.Module):
    """A model and its loss as one module, so that the weights of both can be replaced in a call.

    Args:
        updates: The model and its loss.
        loss_fn: The loss function; parameters of a module among them.
    """

    def __init__(self, updates: Updates, loss_fn: object) -> None:
        super().__init__()
        self._updates = updates
        self.model = updates.model
        if isinstance(loss_fn, nn.Module):
            self.loss_fn = loss_fn

    def forward(self, batch: Any, kept: tuple[str, ...]) -> tuple[Tensor, list[Tensor]]:
        """The loss of a batch, and some buffers as they are after it."""
        loss = self._updates.loss(batch)
        # Read from the modules: a forward pass may bind another tensor to the name.
        return loss, [self.get_buffer(name).detach() for name in kept]


class Stacked:
    """Parameters, buffers and optimizer state of a model at its start, once for every lane.

    What the optimizer does not train, and buffers that no training step changes, stay the model's
    own and are shared by the lanes.

    Args:
        module: The model, with its loss.
        updates: Its optimizer, in the state that all lanes start from, and how it steps.
        rule: The optimizer's update rule.
        rates: Learning rate of each lane and param group, shape ``(lanes, groups)``.
        buffers: Names of the buffers that a training step changes.
        clip_norm: Clip the gradient's norm to this, in each lane by itself.
    """

    def __init__(
        self,
        module: ModelWithLoss,
        updates: Updates,
        rule: Rule,
        rates: list[list[float]],
        buffers: Collection[str],
        clip_norm: float | None,
    ) -> None:
        self._module = module
        self._rule = rule
        self._clip_norm = clip_norm
        self.count = len(rates)
        names = {id(p): name for name, p in module.named_parameters()}
        self._parameters: dict[str, Tensor] = {}
        self._states: dict[str, State] = {}
        self._groups: dict[str, dict[str, Any]] = {}
        self._rates: dict[str, Tensor] = {}
        for index, group in enumerate(updates.optimizer.param_groups):
            rate = torch.tensor([row[index] for row in rates], dtype=torch.float64)
            for p in group["params"]:
                if not p.requires_grad:
                    continue
                name = names[id(p)]
                self._parameters[name] = self._lanes_of(p).requires_grad_()
                self._states[name] = self._state_of(updates.optimizer.state.get(p, {}))
                self._groups[name] = group
                self._rates[name] = rate.to(p.device, p.dtype).view(-1, *[1] * p.dim())
        self.buffers = {name: self._lanes_of(module.get_buffer(name)) for name in buffers}

    def _lanes_of(self, tensor: Tensor) -> Tensor:
        return tensor.detach().expand(self.count, *tensor.shape).clone()

    def _state_of(self, state: dict[str, Any]) -> State:
        lanes: State = {}
        for name, value in state.items():
            if name == "step":
                lanes[name] = float(value)
            elif isinstance(value, Tensor):
                lanes[name] = self._lanes_of(value)
        return lanes

    def losses(self, batch: Any) -> Tensor:
        """The loss of a batch in each lane, shape ``(lanes,)``; buffers move as in a model."""
        kept = tuple(self.buffers)

        def one(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor]
        ) -> tuple[Tensor, list[Tensor]]:
            result: tuple[Tensor, list[Tensor]] = functional_call(
                self._module, {**parameters, **buffers}, (batch, kept)
            )
            return result

        # The same random numbers in every lane: those that a model alone would draw.
        losses, after = vmap(one, randomness="same")(self._parameters, self.buffers)
        # What is the same in every lane comes back without memory of its own for each.
        self.buffers = {n: b.contiguous() for n, b in zip(kept, after, strict=True)}
        result: Tensor = losses
        return result

    def forward(self, batches: Iterable[Any]) -> None:
        """Forward passes alone, which move the buffers."""
        with torch.no_grad():
            for batch in batches:
                self.losses(batch)

    def step(self, batches: list[Any]) -> Tensor:
        """One optimizer step of every lane; the training losses before it, ``(lanes,)``."""
        names = list(self._parameters)
        total: Tensor | None = None
        gradients: list[Tensor | None] = [None] * len(names)
        for batch in batches:
            losses = self.losses(batch) / len(batches)
            # Lanes share no weight: the gradient of the sum is each lane's own. torch.func.grad
            # would give zeros where a loss does not use a parameter, which an optimizer skips.
            new = torch.autograd.grad(
                losses.sum(), [self._parameters[name] for name in names], allow_unused=True
            )
            gradients = [_sum(a, b) for a, b in zip(gradients, new, strict=True)]
            total = losses.detach() if total is None else total + losses.detach()
        assert total is not None
        found = {n: g for n, g in zip(names, gradients, strict=True) if g is not None}
        with torch.no_grad():
            self._clip(list(found.values()))
            for name, gradient in found.items():
                self._rule(
                    self._parameters[name],
                    gradient,
                    self._rates[name],
                    self._states[name],
                    self._groups[name],
                )
        return total

    def _clip(self, gradients: list[Tensor]) -> None:
        if self._clip_norm is None or not gradients:
            return
        norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        # As torch.nn.utils.clip_grad_norm_ does, for each lane.
        factor = (self._clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(factor.to(g.dtype).view(-1, *[1] * (g.dim() - 1)))

    def keep(self, rows: list[int]) -> None:
        """Goes on with some of the lanes only."""
        index = torch.tensor(rows, dtype=torch.long)
        self.count = len(rows)

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.detach().index_select(0, index.to(tensor.device))

        for name, p in self._parameters.items():
            self._parameters[name] = chosen(p).requires_grad_()
            self._rates[name] = chosen(self._rates[name])
            self._states[name] = {
                key: chosen(value) if isinstance(value, Tensor) else value
                for key, value in self._states[name].items()
            }
        self.buffers = {name: chosen(buffer) for name, buffer in self.buffers.items()}


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


@contextmanager
def vectorising(device: torch.device) -> Iterator[None]:
    """Inside, attention is computed in ways that have a lane axis, and compiled code is not used.

    The fast kernels of attention on the CPU, and those of whole layers everywhere, know no further
    axis: vmap would call them lane by lane.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    try:
        with plain, eager():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
