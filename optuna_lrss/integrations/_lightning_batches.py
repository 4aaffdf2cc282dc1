"""The batches of a Lightning trainer, as its steps would get them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from optuna_lrss.torch._batches import Position


@contextmanager
def stage(trainer: Any, *, training: bool) -> Iterator[None]:
    """``trainer.training`` or ``trainer.validating``, which hooks ask for."""
    before = trainer.state.stage
    if training:
        trainer.training = True
    else:
        trainer.validating = True
    try:
        yield
    finally:
        trainer.state.stage = before


def training_batches(trainer: Any, loader: Any) -> Iterator[tuple[Any, int, int]]:
    most = trainer.fit_loop.max_batches  # what limit_train_batches leaves; may be inf
    for batch, index, _ in islice(loader, most if isinstance(most, int) else None):
        with stage(trainer, training=True):
            ready = _transferred(trainer, batch, 0)
        yield ready, index, 0


def validation_loaders(trainer: Any) -> list[Any]:
    source = trainer.fit_loop.epoch_loop.val_loop._data_source
    if not source.is_defined() or trainer.limit_val_batches == 0:
        return []
    loaders = source.dataloader()
    if isinstance(loaders, Sequence):
        return list(loaders)
    return list(getattr(loaders, "flattened", [loaders]))


def validation_batches(trainer: Any, loaders: list[Any]) -> Iterator[tuple[Any, int, int]]:
    limit = trainer.limit_val_batches
    for place, loader in enumerate(loaders):
        most = limit if isinstance(limit, int) else None if limit == 1.0 else len(loader) * limit
        for index, batch in enumerate(islice(loader, None if most is None else int(most))):
            with stage(trainer, training=False):
                ready = _transferred(trainer, batch, place)
            yield ready, Position(index), place


def _transferred(trainer: Any, batch: Any, loader: int) -> Any:
    """The batch as the step gets it, after the hooks around its transfer to the device."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=loader)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=loader)
