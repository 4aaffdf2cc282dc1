"""The learning rate of a ``LightningModule``, found with its trainer's data and steps."""

from __future__ import annotations

import importlib
import math
import warnings
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.integrations._lightning import ManualOptimizationError
from optuna_lrss.integrations._lightning import base_lr
from optuna_lrss.integrations._lightning import is_datamodule
from optuna_lrss.integrations._lightning import is_dry_run
from optuna_lrss.integrations._lightning import named_errors
from optuna_lrss.integrations._lightning import only_optimizer
from optuna_lrss.integrations._lightning import pl
from optuna_lrss.integrations._lightning import put_first
from optuna_lrss.integrations._lightning import refuse
from optuna_lrss.integrations._lightning import root
from optuna_lrss.integrations._lightning import schedule
from optuna_lrss.integrations._lightning import search
from optuna_lrss.integrations._lightning import set_attribute
from optuna_lrss.integrations._lightning import untouched
from optuna_lrss.integrations._search import SearchOptions
from optuna_lrss.integrations._search import checked_lr
from optuna_lrss.integrations._search import checked_options
from optuna_lrss.integrations._search import go_on_with
from optuna_lrss.integrations._search import pick_for
from optuna_lrss.torch._random import preserved_random_state


if TYPE_CHECKING:
    from typing import Unpack


__all__ = ["LRStepFinder", "ManualOptimizationError", "apply", "find_lr"]


def find_lr(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    datamodule: pl.LightningDataModule | None = None,
    *,
    apply: bool = False,
    attr_name: str | None = None,
    monitor: str | None = None,
    **options: Unpack[SearchOptions],
) -> LRAnalysis:
    """Finds the learning rate of a module; trainer, module and data come back as they were.

    The short trials are made as ``trainer.fit`` would: its data hooks, transfers and limits,
    ``configure_optimizers``, precision, ``accumulate_grad_batches`` and gradient clipping (also
    ``configure_gradient_clipping``). Their learning rate is constant. ``self.log`` is without
    effect, loggers are replaced, and the hooks around a batch, ``backward`` and ``optimizer_step``
    are not called.

    Example:
        .. code-block:: python

            result = find_lr(trainer, module, datamodule=data, apply=True)
            print(result)
            trainer.fit(module, datamodule=data)

    Args:
        trainer: The trainer.
        model: The module.
        train_dataloaders: As for ``trainer.fit``: loaders, or a data module.
        val_dataloaders: As for ``trainer.fit``. Without validation data (or with
            ``limit_val_batches=0``) some training batches are held out of the short trials.
        datamodule: As for ``trainer.fit``.
        apply: Give the module the learning rate for its schedule, as :func:`apply` does.
        attr_name: Where the module keeps its learning rate; ``None`` for ``lr`` or
            ``learning_rate``, of itself or of its ``hparams``. The learning rates found are
            values for this attribute; without one, for the optimizer's first param group.
        monitor: Compare what ``validation_step`` logs under this name; ``None`` for the loss that
            ``training_step`` gives in eval mode on the validation batches.
        **options: ``steps``, ``total_steps``, ``low``, ``high``, ``validation_batches``,
            ``snapshots``, ``param_name``, ``snapshot_on_host``, ``progress`` and ``seed`` of
            :class:`optuna_lrss.torch.StepObjective`; ``tolerance``, ``repeats``, ``strategy``,
            ``start``, ``n_trials``, ``timeout``, ``storage``, ``study_name`` and ``plot`` of
            :func:`optuna_lrss.torch.find_lr`.

    Returns:
        The analysis. ``recommended`` is for a constant learning rate.

    Raises:
        ManualOptimizationError: If the module optimizes by itself or has several optimizers.
        ValueError: If the training is distributed or has too few batches to hold any out, the
            attribute is missing or without effect, or an option is out of its range.
        NoWindowError: If no learning rate in the range learns; the message says what to change.
    """
    if is_dry_run(trainer):
        raise ValueError(
            "trainer has fast_dev_run, which leaves a short trial no data: search with a trainer "
            "without it."
        )
    refuse(trainer, model)
    finder = LRStepFinder(apply=apply, attr_name=attr_name, monitor=monitor, **options)
    data = train_dataloaders if is_datamodule(train_dataloaders) else datamodule
    leaver = _Leaver(finder)
    with untouched(trainer, model, data):
        put_first(trainer, leaver)
        with named_errors():
            trainer.fit(model, train_dataloaders, val_dataloaders, datamodule)
    if leaver.error is not None:
        raise leaver.error
    if finder.result is None:
        raise RuntimeError("trainer.fit() ended before on_fit_start: is the trainer a stub?")
    if apply:
        set_attribute(model, attr_name, finder.lr)
    return finder.result


def apply(model: pl.LightningModule, lr: float, *, attr_name: str | None = None) -> None:
    """Gives a module a learning rate: the attribute that ``configure_optimizers`` reads.

    Args:
        model: The module.
        lr: The learning rate.
        attr_name: Name of the attribute; see :func:`find_lr`.

    Raises:
        ValueError: If there is no such attribute, or ``lr`` is not above 0 and finite.
    """
    set_attribute(model, attr_name, checked_lr(lr))


class LRStepFinder(pl.Callback):
    """Finds the learning rate when ``trainer.fit`` begins, and trains with it.

    A run that goes on from a checkpoint keeps its learning rate, and one with ``fast_dev_run``
    is left alone.

    Example:
        .. code-block:: python

            trainer = Trainer(callbacks=[LRStepFinder()])
            trainer.fit(module, datamodule=data)

    Args:
        apply: Train with it; else it is only looked up.
        attr_name: See :func:`find_lr`.
        monitor: See :func:`find_lr`.
        **options: See :func:`find_lr`.

    Attributes:
        result: The analysis; ``None`` before the training begins.
        lr: The learning rate for the module's schedule; ``nan`` before.

    Raises:
        ValueError: If an option is unknown.
    """

    def __init__(
        self,
        *,
        apply: bool = True,
        attr_name: str | None = None,
        monitor: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> None:
        self.result: LRAnalysis | None = None
        self.lr = math.nan
        self._apply = apply
        self._attr_name = attr_name
        self._monitor = monitor
        self._options = checked_options(dict(options), "Trainer")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Searches; called by the trainer, when the optimizer is made and the module in place."""
        if is_dry_run(trainer):
            warnings.warn("LRStepFinder leaves a run with fast_dev_run alone.", stacklevel=2)
            return
        if trainer.ckpt_path is not None:
            return
        self.search(trainer, pl_module)
        if self.result is not None:
            go_on_with(self.result)
        if self._apply:
            set_attribute(pl_module, self._attr_name, self.lr)
            with preserved_random_state():  # a run without the search makes one optimizer
                trainer.strategy.setup_optimizers(trainer)

    def search(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets ``result`` and ``lr``, and leaves everything else as it is."""
        refuse(trainer, pl_module)
        with untouched(trainer, pl_module):
            optimizer = only_optimizer(trainer)
            stated = base_lr(trainer, pl_module, self._attr_name, needed=self._apply)
            result = search(trainer, pl_module, optimizer, stated, self._monitor, self._options)
            kind = schedule(trainer)
        self.result, self.lr = result, pick_for(kind, result)


class _Leaver(pl.Callback):
    """Ends a run once the learning rate is found, the way Lightning's own tuner does.

    An error is kept and raised outside, where it does not count as that of a training.
    """

    def __init__(self, finder: LRStepFinder) -> None:
        self.error: BaseException | None = None
        self._finder = finder

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        try:
            self._finder.search(trainer, pl_module)
        except BaseException as error:  # noqa: BLE001 - raised again by find_lr
            self.error = error
        exceptions = importlib.import_module(f"{root(trainer)}.utilities.exceptions")
        raise exceptions._TunerExitException
