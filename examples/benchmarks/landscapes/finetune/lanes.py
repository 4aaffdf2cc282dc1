"""The fine-tuning cells that are small enough to train as lanes, all 33 rates at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from functools import partial

from examples.benchmarks.landscapes.engine import cell
from examples.benchmarks.landscapes.engine.cell import Setting
from examples.benchmarks.landscapes.finetune import frozen
from examples.benchmarks.landscapes.finetune import own
from examples.benchmarks.landscapes.finetune import weights
from examples.benchmarks.landscapes.models import MODELS
from examples.benchmarks.landscapes.models import Model
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.tasks import TaskData


@dataclass(frozen=True)
class LaneCell:
    """A cell for the lanes, and what its weights are."""

    setting: Setting
    load: Callable[[str, int], TaskData]
    build: Callable[[TaskData], Model]
    pretrained: str


def _head(
    task: str, weights_of: str, short: str, optimizer: str, lengths: tuple[int, ...]
) -> LaneCell:
    setting = Setting(
        f"{task}-{short}_head-{optimizer}-b16",
        task,
        f"{short}_head",
        optimizer,
        16,
        lengths,
    )
    return LaneCell(setting, frozen.load, MODELS["linear"], f"{weights_of}, frozen; a fresh head")


def _own(task: str, optimizer: str, lengths: tuple[int, ...]) -> LaneCell:
    transfer = own.TRANSFERS[task]
    model = f"pretrained_{transfer.model}"
    setting = Setting(f"{task}-{model}-{optimizer}-b16", task, model, optimizer, 16, lengths)
    return LaneCell(setting, own.load, partial(own.build, task), transfer.pretrained)


CELLS = {
    c.setting.name: c
    for c in (
        _head("ag_news", weights.MINILM, "minilm", "momentum", (200, 800)),
        _head("ag_news", weights.MINILM, "minilm", "adamw", (200, 800)),
        _head("hymenoptera", weights.LITE0, "lite0", "momentum", (200,)),
        _head("hymenoptera", weights.LITE0, "lite0", "adamw", (200,)),
        _own("letter", "momentum", (200,)),
        _own("letter", "adamw", (200,)),
        _own("digits", "momentum", (200,)),
        _own("digits", "adam", (200,)),
        _own("ag_news_characters", "adamw", (100,)),
        _own("hymenoptera_denoising", "adam", (100,)),
    )
}


def run(name: str) -> Record:
    """Trains a cell of `CELLS`."""
    made = CELLS[name]
    record = cell.run(made.setting, made.load, made.build)
    meta = {**record.meta, "finetune": True, "pretrained": made.pretrained}
    return replace(record, meta=meta)
