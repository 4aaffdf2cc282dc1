"""Reads a Lightning trainer that has begun to fit, and runs the search in its place."""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss.integrations._lightning_batches import stage
from optuna_lrss.integrations._lightning_batches import training_batches
from optuna_lrss.integrations._lightning_batches import validation_batches
from optuna_lrss.integrations._lightning_batches import validation_loaders
from optuna_lrss.integrations._preserve import preserved
from optuna_lrss.integrations._search import Batches
from optuna_lrss.integrations._search import Schedule
from optuna_lrss.integrations._search import SearchOptions
from optuna_lrss.integrations._search import autocast_of
from optuna_lrss.integrations._search import hold_at_peak
from optuna_lrss.integrations._search import length_of_training
from optuna_lrss.integrations._search import peak_rates
from optuna_lrss.integrations._search import schedule_of
from optuna_lrss.torch import find_lr as _find_lr


try:
    import lightning.pytorch as pl
except ImportError:
    try:
        import pytorch_lightning as pl  # type: ignore[no-redef]
    except ImportError as error:
        raise ImportError(
            "optuna_lrss.integrations.lightning needs Lightning: "
            'pip install "optuna-lrss[lightning]"'
        ) from error


parsing = importlib.import_module(f"{pl.__name__}.utilities.parsing")


__all__ = [  # what lightning.py imports, the framework under its name there too
    "ManualOptimizationError",
    "base_lr",
    "is_datamodule",
    "is_dry_run",
    "named_errors",
    "only_optimizer",
    "pl",
    "put_first",
    "refuse",
    "root",
    "schedule",
    "search",
    "set_attribute",
    "untouched",
]


class ManualOptimizationError(ValueError):
    """The module steps its optimizers itself, so that no short trial can be made of its steps."""


# --- The trainer's configuration -----------------------------------------------------------------


def root(trainer: Any) -> str:
    """``lightning.pytorch`` or ``pytorch_lightning``, whichever the trainer comes from."""
    end = ".trainer.trainer"
    names = [cls.__module__ for cls in type(trainer).__mro__]
    return next((n.removesuffix(end) for n in names if n.endswith(end)), pl.__name__)


_PACKAGES = ("lightning", "pytorch_lightning", "lightning_fabric")


@contextmanager
def untouched(trainer: Any, module: Any, data: Any = None) -> Iterator[None]:
    """Whatever a run does inside, it comes out as it went in, and nothing is logged."""
    with preserved([trainer, module, data, trainer.datamodule], _belongs):
        if trainer.loggers:  # code that logs by itself finds one
            logger = importlib.import_module(f"{root(trainer)}.loggers.logger")
            trainer.loggers = [logger.DummyLogger()]
        yield


def _belongs(value: object) -> bool:
    """What a run changes: the trainer's objects, callbacks, loggers, modules and their data."""
    return any(cls.__module__.partition(".")[0] in _PACKAGES for cls in type(value).__mro__)


def is_datamodule(value: object) -> bool:
    return any(cls.__name__ == "LightningDataModule" for cls in type(value).__mro__)


def refuse(trainer: Any, module: Any) -> None:
    if trainer.world_size > 1:
        raise ValueError(
            f"trainer runs on {trainer.world_size} processes, where short trials cannot reset "
            "everything: search with Trainer(devices=1, accumulate_grad_batches=...), the batches "
            "of all processes together, then train with the learning rate it finds."
        )
    if not module.automatic_optimization:
        raise ManualOptimizationError(_manual("optimizes by itself (automatic_optimization)"))


def only_optimizer(trainer: Any) -> Optimizer:
    optimizers: list[Optimizer] = trainer.optimizers
    if len(optimizers) > 1:
        raise ManualOptimizationError(_manual("has several optimizers"))
    if not optimizers or not optimizers[0].param_groups:  # Lightning makes a mock of None
        raise ValueError("configure_optimizers gives no optimizer, so nothing can be learned.")
    return optimizers[0]


@contextmanager
def named_errors() -> Iterator[None]:
    """Lightning refuses several optimizers by itself, before any callback is called."""
    try:
        yield
    except RuntimeError as error:
        if "multiple optimizers" in str(error):
            raise ManualOptimizationError(_manual("has several optimizers")) from error
        raise


def _manual(what: str) -> str:
    return (
        f"the module {what}, and only its training_step knows in which order they step: search "
        "for one learning rate at a time with optuna_lrss.torch.find_lr(module, optimizer, "
        "loss_fn, ...), where loss_fn(module, batch) is the loss of that optimizer's step and "
        "the other networks stay as they are; then for the next."
    )


def is_dry_run(trainer: Any) -> bool:
    """Whether ``fast_dev_run`` leaves a run a batch or two."""
    return bool(trainer.fast_dev_run)


def put_first(trainer: Any, callback: Any) -> None:
    """Has a callback called before all others."""
    trainer.callbacks.insert(0, callback)


def schedule(trainer: Any) -> Schedule:
    """What the module's scheduler makes of the learning rate."""
    if not trainer.lr_scheduler_configs:
        return "constant"
    config = trainer.lr_scheduler_configs[0]
    batches = trainer.num_training_batches  # inf where the loader cannot say
    epoch = -(-batches // trainer.accumulate_grad_batches) if batches < math.inf else math.inf
    every = config.frequency * (1 if config.interval == "step" else epoch)
    return schedule_of(config.scheduler, _steps_of(trainer), every)


def _steps_of(trainer: Any) -> float:
    """Optimizer steps of the whole training; ``inf`` without an end."""
    return float(trainer.estimated_stepping_batches)


# --- The module's learning rate ------------------------------------------------------------------


def _attribute(module: Any, name: str | None, *, needed: bool) -> str | None:
    names = ("lr", "learning_rate") if name is None else (name,)
    found = next((n for n in names if parsing.lightning_hasattr(module, n)), None)
    if found is None and (needed or name is not None):
        raise ValueError(
            f"neither the module nor its hparams has {' or '.join(map(repr, names))}: let "
            "configure_optimizers read its learning rate from such an attribute, name another by "
            "attr_name=..., or leave apply out and use result.recommended."
        )
    return found


def set_attribute(module: Any, name: str | None, lr: float) -> None:
    parsing.lightning_setattr(module, _attribute(module, name, needed=True), lr)


def base_lr(trainer: Any, module: Any, name: str | None, *, needed: bool) -> float | None:
    """The attribute's value, of which the param groups' learning rates are multiples.

    Whether they are is tried out: the groups of an attribute twice as high are compared.
    """
    name = _attribute(module, name, needed=needed)
    if name is None:
        return None
    value = parsing.lightning_getattr(module, name)
    if not isinstance(value, (int, float)) or not 0.0 < value < math.inf:
        raise ValueError(
            f"the module's {name}={value!r} must be a number above 0, to see how the optimizer's "
            "param groups depend on it (any will do)."
        )
    now = _peaks(trainer)
    parsing.lightning_setattr(module, name, 2 * value)
    doubled = _peaks_made_anew(trainer)
    parsing.lightning_setattr(module, name, value)
    fixed = [i for i, (a, b) in enumerate(zip(now, doubled, strict=True)) if b < 1.99 * a]
    if len(fixed) == len(now) and needed:
        raise ValueError(
            f"the module's {name} is without effect on the optimizer that configure_optimizers "
            f"makes: let it read self.{name}, or name the right attribute by attr_name=..."
        )
    if len(fixed) == len(now):
        return None
    if fixed:
        warnings.warn(
            f"param groups {fixed} of configure_optimizers do not follow the module's {name}, but "
            f"short trials keep the ratio of all groups: make them multiples of self.{name}.",
            stacklevel=2,
        )
    return float(value)


def _scheduler(trainer: Any) -> Any:
    configs = trainer.lr_scheduler_configs
    return configs[0].scheduler if configs else None


def _peaks(trainer: Any) -> list[float]:
    return peak_rates(only_optimizer(trainer), _scheduler(trainer))


def _peaks_made_anew(trainer: Any) -> list[float]:
    """Those of what configure_optimizers gives if it is called once more."""
    strategy = trainer.strategy
    before = strategy.optimizers, strategy.lr_scheduler_configs
    strategy.setup_optimizers(trainer)
    peaks = _peaks(trainer)
    strategy.optimizers, strategy.lr_scheduler_configs = before
    return peaks


# --- The search, inside of a run that has begun --------------------------------------------------


def search(
    trainer: Any,
    module: Any,
    optimizer: Optimizer,
    base_lr: float | None,
    monitor: str | None,
    options: SearchOptions,
) -> LRAnalysis:
    hold_at_peak(optimizer, _scheduler(trainer))
    trainer.fit_loop.setup_data()
    training = trainer.fit_loop._combined_loader
    if training is None:
        raise ValueError("there is no training data: give train_dataloaders or a datamodule.")
    validation = validation_loaders(trainer)
    module.train()
    return _find_lr(
        module,
        optimizer,
        _Loss(trainer, monitor, several=len(validation) > 1),
        Batches(lambda _: training_batches(trainer, training), training.flattened),
        Batches(lambda _: validation_batches(trainer, validation), validation)
        if validation
        else None,
        loss_form="model",
        accumulate=trainer.accumulate_grad_batches,
        autocast=_autocast(trainer),
        clip_norm=_clipping(trainer, module, optimizer),
        base_lr=base_lr,
        check_state=False,  # everything that the trainer refers to is put back here
        **{**length_of_training(_steps_of(trainer)), **options},
    )


class _Loss:
    """The module's loss of one batch, as ``loss_fn(model, batch)``.

    A batch is (batch, its index, index of its loader). What the module logs goes nowhere, but for
    the monitored value.
    """

    def __init__(self, trainer: Any, monitor: str | None, *, several: bool) -> None:
        module = trainer.lightning_module
        self._strategy = trainer.strategy
        self._trainer = trainer
        self._monitor = monitor
        self._logged: dict[str, Any] = {}
        self._places = {"training_step": _places(module.training_step)}
        if monitor is not None:
            most = 3 if several else 2
            self._places["validation_step"] = min(_places(module.validation_step), most)
        for part in module.modules():
            if hasattr(part, "log_dict"):
                vars(part).update(log=self._log, log_dict=self._log_dict)

    def __call__(self, model: pl.LightningModule, batch: tuple[Any, int, int]) -> Tensor:
        with stage(self._trainer, training=model.training):
            if model.training or self._monitor is None:
                return _loss_in(self._step("training_step", batch))
            self._logged.clear()
            self._step("validation_step", batch)
            return self._monitored()

    def _step(self, name: str, batch: tuple[Any, int, int]) -> Any:
        return getattr(self._strategy, name)(*batch[: self._places[name]])

    def _monitored(self) -> Tensor:
        value = self._logged.get(str(self._monitor))
        if not isinstance(value, (Tensor, int, float)):
            raise ValueError(
                f"monitor={self._monitor!r}: validation_step logs {sorted(self._logged)}, of "
                "which one that is a number or a tensor for each batch can be compared."
            )
        return torch.as_tensor(value, dtype=torch.float64)

    def _log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        self._logged[name] = value

    def _log_dict(self, dictionary: Any, *_: Any, **__: Any) -> None:
        self._logged.update(dictionary)


def _places(step: Callable[..., Any]) -> int:
    """How many of (batch, batch_idx, dataloader_idx) a step takes.

    Raises:
        ValueError: If it draws its batches itself.
    """
    parameters = inspect.signature(step).parameters
    if "dataloader_iter" in parameters:
        raise ValueError(
            "training_step takes a dataloader_iter and draws its batches itself, but all learning "
            "rates are to see the same ones: take (batch, batch_idx)."
        )
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values()):
        return 3
    return len([p for p in parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD])


def _loss_in(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise ValueError(
            f"training_step returned {type(output).__name__} without a loss: it must return a "
            "tensor, or a dict with 'loss', for every batch (also of the validation data, unless "
            "monitor=... names what validation_step logs)."
        )
    return loss


def _autocast(trainer: Any) -> torch.dtype | None:
    precision = str(trainer.precision)
    return autocast_of(precision) if precision.endswith("mixed") else None


def _clipping(trainer: Any, module: Any, optimizer: Optimizer) -> Callable[[], object] | None:
    own = type(module).configure_gradient_clipping
    if trainer.gradient_clip_val is None and own is pl.LightningModule.configure_gradient_clipping:
        return None
    return lambda: module.configure_gradient_clipping(
        optimizer,
        gradient_clip_val=trainer.gradient_clip_val,
        gradient_clip_algorithm=trainer.gradient_clip_algorithm,
    )
