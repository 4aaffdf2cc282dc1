"""Two ways to write a loss function, behind one call that checks what comes back."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import nn

from optuna_lrss.torch._settings import LossForm


_SWITCH = (
    "Pass loss_form='output' for loss_fn(output, target) on (input, target) batches, or "
    "loss_form='model' for loss_fn(model, batch) on batches of any structure."
)


#: An output of more numbers than this, an image say, is no guess that a head could learn.
_MOST_OUTPUTS = 100_000


class BatchLoss:
    """The loss of a model on one batch, as a scalar tensor.

    Args:
        loss_fn: ``loss_fn(output, target)`` or ``loss_fn(model, batch)``.
        form: ``"output"``, ``"model"``, or ``"auto"``: the form ``loss_fn(model, batch)`` if the
            first parameter of the function is called ``model``, or if the batch is no pair;
            the form ``loss_fn(output, target)`` else.

    Raises:
        ValueError: If ``loss_fn`` cannot be called.
    """

    def __init__(self, loss_fn: Callable[[Any, Any], Any], form: LossForm) -> None:
        if not callable(loss_fn):
            raise ValueError(
                f"loss_fn={loss_fn!r} cannot be called: give loss_fn(output, target) or "
                "loss_fn(model, batch)."
            )
        if isinstance(loss_fn, type):
            raise ValueError(
                f"loss_fn={loss_fn.__name__} is a class: give an instance of it, "
                f"loss_fn={loss_fn.__name__}()."
            )
        self._loss_fn = loss_fn
        self._guessed = form == "auto"
        self._warned = False
        self._form = "model" if form == "auto" and _first_parameter(loss_fn) == "model" else form

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Computes it.

        Raises:
            ValueError: If the batch does not have the form's structure, or the result is not one
                real number in a tensor.
        """
        return _as_scalar(self._raw(model, batch))

    def of_guessing(
        self, model: nn.Module, batches: list[Any], weights: list[int]
    ) -> list[float] | None:
        """Losses of the best output that does not look at its input, one a batch.

        For cross-entropy that is the entropy of the labels, for squared error their variance: what
        a head can learn without its model.

        Args:
            model: The model, in eval mode: its outputs say of what shape a guess is.
            batches: Batches whose losses are to be low together.
            weights: What each batch's loss counts in that.

        Returns:
            The losses, or ``None`` where they cannot be told: ``loss_fn(model, batch)`` hides the
            output, and some losses need more than one row of it.
        """
        if self._form == "model" or not all(map(_is_pair, batches)):
            return None
        with torch.no_grad():
            outputs = [self._output(model, batch) for batch in batches]
        if not all(isinstance(o, Tensor) and o.ndim > 1 and _is_real(o) for o in outputs):
            return None
        rows = torch.cat([output.float().flatten(1) for output in outputs])
        if rows[0].numel() > _MOST_OUTPUTS:
            return None
        guess = rows.mean(dim=0).requires_grad_()

        def losses() -> list[Tensor]:
            guesses = [guess.view(1, *o.shape[1:]).expand(o.shape).to(o.dtype) for o in outputs]
            return [
                _as_scalar(self._loss_fn(g, batch[1]))
                for g, batch in zip(guesses, batches, strict=True)
            ]

        def closure() -> Tensor:
            optimizer.zero_grad()
            total = torch.stack([w * x for w, x in zip(weights, losses(), strict=True)]).sum()
            total.backward()
            return total

        optimizer = torch.optim.LBFGS([guess], max_iter=100, line_search_fn="strong_wolfe")
        try:
            with torch.enable_grad():
                optimizer.step(closure)
            return [loss.item() for loss in losses()]
        except (RuntimeError, ValueError, TypeError):
            return None

    def _raw(self, model: nn.Module, batch: Any) -> Any:
        pair = _is_pair(batch)
        if self._form == "model" or (self._form == "auto" and not pair):
            unfit = isinstance(self._loss_fn, nn.Module) or _is_of_torch(self._loss_fn)
            if self._form == "auto" and unfit:
                raise ValueError(_not_a_pair(batch))
            return self._loss_fn(model, batch)
        if not pair:
            raise ValueError(_not_a_pair(batch))
        output = self._output(model, batch)
        try:
            return self._loss_fn(output, batch[1])
        except (AttributeError, TypeError) as error:
            if not isinstance(output, Tensor):
                error.add_note(f"{_what(output)}: write loss_fn so that it takes what it needs.")
            if self._guessed:
                error.add_note(f"loss_fn was called as loss_fn(output, target). {_SWITCH}")
            raise

    def _output(self, model: nn.Module, batch: Any) -> Any:
        """What ``loss_fn`` gets: the model's output, for torch's own losses the tensor in it.

        A function of the caller's may have been written for the whole output.
        """
        output = model(batch[0])
        if isinstance(output, Tensor) or not _is_of_torch(self._loss_fn):
            return output
        logits = output.get("logits") if isinstance(output, Mapping) else None
        logits = getattr(output, "logits", None) if logits is None else logits
        if isinstance(logits, Tensor):
            return logits
        items = list(output.values()) if isinstance(output, Mapping) else output
        tensors = items if isinstance(items, (tuple, list)) else ()
        if not tensors or not isinstance(tensors[0], Tensor):
            raise ValueError(f"{_what(output)}, and {_ONE_TENSOR}")
        if len(tensors) > 1 and isinstance(output, Mapping):  # which is meant, a name would say
            raise ValueError(f"{_what(output)}, none of them called 'logits', and {_ONE_TENSOR}")
        if len(tensors) > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"{_what(output)}: loss_fn gets its first item. If the loss needs the others too, "
                "write loss_fn(model, batch) and pass loss_form='model'.",
                stacklevel=2,
            )
        return tensors[0]


_ONE_TENSOR = (
    "torch's own losses take one tensor: give loss_fn=lambda output, target: ... that takes the "
    "right one, or loss_fn(model, batch) with loss_form='model'."
)


def _what(output: Any) -> str:
    """What a model returned, in words."""
    if isinstance(output, Mapping):
        return f"the model returns a {type(output).__name__} of {', '.join(map(repr, output))}"
    size = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
    return f"the model returns a {type(output).__name__}{size}"


def _is_of_torch(loss_fn: Any) -> bool:
    """Whether a loss is torch's own, a module or a function, which knows nothing but tensors."""
    while isinstance(loss_fn, functools.partial):
        loss_fn = loss_fn.func
    if isinstance(loss_fn, nn.Module):
        return type(loss_fn).__module__ == "torch.nn.modules.loss"
    return getattr(loss_fn, "__module__", None) == "torch.nn.functional"


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout == torch.strided and len(tensor) > 0


def _first_parameter(loss_fn: Callable[..., Any]) -> str | None:
    if isinstance(loss_fn, nn.Module):
        return None
    try:
        return next(iter(inspect.signature(loss_fn).parameters), None)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return None


def _not_a_pair(batch: Any) -> str:
    size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    return (
        f"a batch is a {type(batch).__name__}{size}, but loss_fn(output, target) needs pairs "
        "(input, target): write loss_fn(model, batch), which gets the batch as it is, and pass "
        "loss_form='model'."
    )


def _as_scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor):
        raise ValueError(
            f"loss_fn returned a {type(loss).__name__}: it must return a scalar tensor, such as "
            "output.loss or loss.mean() (and not .item(), which cuts it off from the model)."
        )
    if loss.numel() != 1:
        raise ValueError(
            f"loss_fn returned a tensor of shape {tuple(loss.shape)}: reduce it to one number, "
            "with loss.mean() or reduction='mean'."
        )
    if loss.is_complex():
        raise ValueError("loss_fn returned a complex number: return its real part or modulus.")
    return loss.reshape(())
