"""The learning rate of a Hugging Face ``Trainer``, found with its own model, data and steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any
from typing import cast

import torch
from torch import Tensor
from torch import nn

from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.integrations._preserve import preserved
from optuna_lrss.integrations._search import Batches
from optuna_lrss.integrations._search import SearchOptions
from optuna_lrss.integrations._search import autocast_of
from optuna_lrss.integrations._search import checked_lr
from optuna_lrss.integrations._search import checked_options
from optuna_lrss.integrations._search import go_on_with
from optuna_lrss.integrations._search import hold_at_peak
from optuna_lrss.integrations._search import length_of_training
from optuna_lrss.integrations._trainer_rates import is_given_its_optimizer
from optuna_lrss.integrations._trainer_rates import pick
from optuna_lrss.integrations._trainer_rates import plain
from optuna_lrss.integrations._trainer_rates import set_lr
from optuna_lrss.integrations._trainer_rates import stated_lr
from optuna_lrss.torch import find_lr as _find_lr


try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "optuna_lrss.integrations.transformers needs transformers and accelerate: "
        'pip install "optuna-lrss[transformers]"'
    ) from error


if TYPE_CHECKING:
    from typing import Unpack

    from transformers import Trainer


__all__ = ["LRFinderCallback", "apply", "find_lr"]


def find_lr(
    trainer: Trainer,
    *,
    apply: bool = False,
    eval_dataset: Any = None,
    **options: Unpack[SearchOptions],
) -> LRAnalysis:
    """Finds the learning rate of a ``Trainer``; it comes back as it was.

    The short trials are made by the trainer: its model or ``model_init``, data and collator,
    ``compute_loss``, optimizer and param groups, precision, accumulation (with the number of
    tokens in the whole step), ``max_grad_norm``, label smoothing and NEFTune. Their learning rate
    is constant; validation is the trainer's evaluation loss. Nothing is logged or saved.

    Example:
        .. code-block:: python

            result = find_lr(trainer, apply=True)
            print(result)
            trainer.train()

    Args:
        trainer: The trainer, before or after a training.
        apply: Give the trainer the learning rate for its schedule, so that ``trainer.train()``
            trains as a new trainer with that ``learning_rate`` does.
        eval_dataset: Validate on this; ``None`` for the trainer's own. Of several in a dict, all
            count. Without any, some training batches are held out of the short trials.
        **options: ``steps``, ``total_steps``, ``low``, ``high``, ``validation_batches``,
            ``snapshots``, ``param_name`` ("learning_rate" unless told otherwise),
            ``snapshot_on_host``, ``progress``, and ``seed`` (that of the training arguments) of
            :class:`optuna_lrss.torch.StepObjective`; ``tolerance``, ``repeats``, ``strategy``,
            ``start``, ``n_trials``, ``timeout``, ``storage``, ``study_name`` and ``plot`` of
            :func:`optuna_lrss.torch.find_lr`.

    Returns:
        The analysis, in terms of the training arguments' ``learning_rate`` where the param groups
        have several. ``recommended`` is for a constant learning rate.

    Raises:
        ValueError: If the training is distributed, has too few batches to hold any out, or an
            option is out of its range.
        NoWindowError: If no learning rate in the range learns; the message says what to change.
    """
    finder = LRFinderCallback(trainer, eval_dataset=eval_dataset, **options)
    finder._leave = True
    with preserved([trainer, trainer.model], _belongs):
        trainer.callback_handler.callbacks.insert(0, finder)
        with suppress(_Found):
            trainer.train()
    result = finder.result
    if result is None:
        raise RuntimeError("trainer.train() ended without on_train_begin: is it overridden?")
    if apply:
        set_lr(trainer, finder.lr, given=finder._given)
    return result


def rate_for(trainer: Trainer, result: LRAnalysis) -> float:
    """What a trainer's schedule wants of a result; see :func:`find_lr`.

    Args:
        trainer: The trainer.
        result: What the search found.

    Returns:
        The learning rate at which its schedule starts or peaks.
    """
    stated = max(trainer.args.max_steps, trainer.state.max_steps)
    return pick(trainer, result, stated if stated > 0 else result.total_steps)


def apply(trainer: Trainer, lr: float) -> None:
    """Gives a trainer a learning rate.

    Its training arguments get it, and so do the optimizer and the scheduler that it has been
    made with, or has from an earlier training: param groups keep their ratios, and the schedule
    its shape.

    Args:
        trainer: The trainer.
        lr: The learning rate, of the first param group where the optimizer was passed in.

    Raises:
        ValueError: If it is not above 0 and finite.
    """
    set_lr(trainer, checked_lr(lr), given=is_given_its_optimizer(trainer))


class LRFinderCallback(TrainerCallback):
    """Finds the learning rate when the training begins, and trains with it.

    A training that is resumed from a checkpoint keeps its learning rate.

    Example:
        .. code-block:: python

            trainer.add_callback(LRFinderCallback(trainer))
            trainer.train()

    Args:
        trainer: The trainer that it is added to.
        eval_dataset: See :func:`find_lr`.
        **options: See :func:`find_lr`.

    Attributes:
        result: The analysis; ``None`` before the training begins.
        lr: The learning rate for the trainer's schedule; ``nan`` before.

    Raises:
        ValueError: If an option is unknown.
    """

    def __init__(
        self, trainer: Trainer, *, eval_dataset: Any = None, **options: Unpack[SearchOptions]
    ) -> None:
        self.result: LRAnalysis | None = None
        self.lr = math.nan
        self._trainer = trainer
        self._eval_dataset = eval_dataset
        self._given = is_given_its_optimizer(trainer)
        self._options = checked_options(dict(options), "Trainer")
        self._leave = False  # end the training once the learning rate is found

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Searches; called by the trainer."""
        trainer = self._trainer
        if state.global_step > 0:
            return
        with preserved([trainer, trainer.model], _belongs):
            base_lr = None if self._given else stated_lr(trainer)
            options = {**length_of_training(state.max_steps), **self._options}
            result = _search(trainer, base_lr, self._eval_dataset, cast("SearchOptions", options))
        self.result, self.lr = result, pick(trainer, result, state.max_steps)
        if self._leave:
            raise _Found
        go_on_with(result)
        set_lr(trainer, self.lr, given=self._given)
        if trainer._created_lr_scheduler:
            # Some schedules are computed from the learning rate that they are made with.
            trainer.lr_scheduler = None
            trainer.create_scheduler(num_training_steps=state.max_steps)
            trainer.callback_handler.lr_scheduler = trainer.lr_scheduler


class _Found(Exception):  # noqa: N818 - no error: it ends a training that was only for the search
    pass


def _belongs(value: object) -> bool:
    """What a training run changes: the trainer's own objects, accelerate's, and callbacks."""
    package = type(value).__module__.partition(".")[0]
    return package in ("transformers", "accelerate") or isinstance(value, TrainerCallback)


# --- The search, inside of a training that has begun ---------------------------------------------


def _search(
    trainer: Any, base_lr: float | None, eval_dataset: Any, options: SearchOptions
) -> LRAnalysis:
    _refuse_distributed(trainer)
    args, model = trainer.args, trainer.model_wrapped
    optimizer = plain(trainer.optimizer)
    accumulate = args.gradient_accumulation_steps
    model.train()  # whole: the trainer does so before each batch
    hold_at_peak(optimizer, trainer.lr_scheduler)
    by_default: SearchOptions = {"param_name": "learning_rate", "seed": args.seed}
    chosen: SearchOptions = {**by_default, **options}
    return _find_lr(
        model,
        optimizer,
        _Loss(trainer, accumulate),
        Batches(lambda epoch: _training_batches(trainer, epoch), [trainer.train_dataset]),
        _evaluation(trainer, eval_dataset),
        loss_form="model",
        accumulate=accumulate,
        autocast=autocast_of(trainer.accelerator.mixed_precision),
        clip_norm=_clipping(trainer, model),
        base_lr=base_lr,
        check_state=False,  # everything that the trainer refers to is put back here
        **chosen,
    )


def _refuse_distributed(trainer: Any) -> None:
    if trainer.args.world_size > 1 or trainer.args.n_gpu > 1 or trainer.is_deepspeed_enabled:
        raise ValueError(
            "trainer is distributed over devices or processes, where short trials cannot reset "
            "everything: search on one device (CUDA_VISIBLE_DEVICES=0, no launcher) with "
            "gradient_accumulation_steps multiplied by the number of devices, then "
            "learning_rate=result.recommended in the distributed training."
        )


class _Loss:
    """The trainer's loss of one batch, as ``loss_fn(model, batch)``.

    A batch is (inputs, items), the latter being the number of labels in the whole step where the
    trainer counts them.
    """

    def __init__(self, trainer: Any, accumulate: int) -> None:
        self._trainer = trainer
        self._accumulate = accumulate

    def __call__(self, model: nn.Module, batch: tuple[Any, Any]) -> Tensor:
        inputs, items = batch
        # accelerate opens autocast in model.forward alone: not around the loss too.
        with torch.autocast(self._trainer.args.device.type, enabled=False):
            if model.training:
                return self._training(model, inputs, items)
            return self._evaluation(model, inputs)

    def _training(self, model: nn.Module, inputs: Any, items: Any) -> Tensor:
        trainer = self._trainer
        inputs = trainer._prepare_inputs(inputs)
        loss: Tensor = trainer.compute_loss(model, inputs, num_items_in_batch=items)
        # One that is divided by the step's labels already adds up to the step's loss; but a
        # short trial takes the mean of what it is given.
        return loss * self._accumulate if _adds_up(trainer, items) else loss

    def _evaluation(self, model: nn.Module, inputs: Any) -> Tensor:
        loss, _, _ = self._trainer.prediction_step(model, inputs, prediction_loss_only=True)
        if not isinstance(loss, Tensor):
            raise ValueError(
                "the trainer computes no loss on the evaluation data: it needs labels too (see "
                "label_names of TrainingArguments)."
            )
        return loss


def _adds_up(trainer: Any, items: Any) -> bool:
    """Whether losses of a step's batches are to be added; as in ``Trainer.training_step``."""
    said: bool | None = getattr(trainer, "loss_is_scaled_for_ga", None)
    if said is not None:
        return said
    by_model = trainer.model_accepts_loss_kwargs and items is not None
    return bool(by_model or trainer.compute_loss_func is not None)


def _training_batches(trainer: Any, epoch: int) -> Iterator[tuple[Any, Any]]:
    """One epoch in whole optimizer steps: each batch with the number of labels in its step."""
    loader = trainer.get_train_dataloader()
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)
    batches = iter(loader)
    size = trainer.args.gradient_accumulation_steps
    steps = 0
    while True:
        step, items = trainer.get_batch_samples(batches, size, trainer.args.device)
        if len(step) < size:
            break
        steps += 1
        yield from ((inputs, items) for inputs in step)
    if steps == 0:
        raise ValueError(
            f"train_dataset gives {len(step)} batches, which are not one step with "
            f"gradient_accumulation_steps={size}: lower it, or the batch size."
        )


def _evaluation(trainer: Any, eval_dataset: Any) -> Batches | None:
    """The evaluation data, if there is any."""
    data = trainer.eval_dataset if eval_dataset is None else eval_dataset
    return None if data is None else Batches(lambda _: _evaluation_batches(trainer, data))


def _evaluation_batches(trainer: Any, data: Any) -> Iterator[tuple[Any, None]]:
    for part in data.values() if isinstance(data, dict) else [data]:
        yield from ((inputs, None) for inputs in trainer.get_eval_dataloader(part))


def _clipping(trainer: Any, model: nn.Module) -> Any:
    """Over the model's parameters in their order, as the trainer clips."""
    most = trainer.args.max_grad_norm
    if not most or most <= 0:
        return None
    return lambda: nn.utils.clip_grad_norm_(model.parameters(), most)
