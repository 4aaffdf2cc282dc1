"""One model, the same batches, the same seed: the frameworks find the same to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers import TrainingArguments

from optuna_lrss import LRAnalysis
from optuna_lrss.integrations import lightning
from optuna_lrss.integrations import transformers
from optuna_lrss.torch import find_lr
from tests.integrations.cases import TRAIN
from tests.integrations.cases import VALIDATION
from tests.integrations.cases import digits
from tests.integrations.cases import network


#: All samples: on how many to validate depends on where a search begins, and the trainers' own
#: learning rates say something else about that.
OPTIONS: Any = {"seed": 7, "progress": False, "validation_batches": None}
ACCUMULATE, CLIP = 2, 0.5


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(pixels)
        return nn.functional.cross_entropy(logits, labels), logits


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.0)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.model(**batch)[0]

    def configure_optimizers(self) -> Any:
        return adamw(self)


def batches(part: slice, size: int) -> list[dict[str, Tensor]]:
    pixels, labels = (values[part] for values in digits())
    return [
        {"pixels": pixels[i : i + size], "labels": labels[i : i + size]}
        for i in range(0, len(labels), size)
    ]


def rows(part: slice) -> list[dict[str, Tensor]]:
    return [{key: value[0] for key, value in batch.items()} for batch in batches(part, 1)]


class InOrder(Trainer):
    def _get_train_sampler(self, *_: Any) -> Any:
        return None


def through_trainer(folder: Path, **options: Any) -> LRAnalysis:
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=15,
        per_device_eval_batch_size=200,
        gradient_accumulation_steps=ACCUMULATE,
        max_grad_norm=CLIP,
        optim="adamw_torch",
        max_steps=20,
        use_cpu=True,
        report_to=[],
        dataloader_pin_memory=False,
    )
    data = {"train_dataset": rows(TRAIN), "eval_dataset": rows(VALIDATION)}
    return transformers.find_lr(InOrder(Model(), arguments, **data), **OPTIONS, **options)


def through_lightning(folder: Path, **options: Any) -> LRAnalysis:
    trainer = pl.Trainer(
        accumulate_grad_batches=ACCUMULATE,
        gradient_clip_val=CLIP,
        accelerator="cpu",
        max_steps=20,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    loaders = [
        DataLoader(batches(part, size), batch_size=None)
        for part, size in ((TRAIN, 15), (VALIDATION, 200))
    ]
    return lightning.find_lr(trainer, Module(), *loaders, **OPTIONS, **options)


@pytest.mark.filterwarnings("ignore:.*have no .validation_step")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated")
def test_trainer_lightning_and_plain_torch_find_the_same_to_the_bit(tmp_path: Path) -> None:
    model = Model()
    plain = find_lr(
        model,
        adamw(model),
        lambda model, batch: model(**batch)[0],
        batches(TRAIN, 15),
        batches(VALIDATION, 200),
        accumulate=ACCUMULATE,
        clip_norm=CLIP,
        total_steps=20,  # as the trainers know
        **OPTIONS,
    )
    assert plain.n_trials > 10
    for result in (through_trainer(tmp_path), through_lightning(tmp_path)):
        assert result.trials == plain.trials
        assert result.picks == plain.picks
        assert result.baseline == plain.baseline


@pytest.mark.filterwarnings("ignore:.*have no .validation_step")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated")
@pytest.mark.parametrize("through", [through_trainer, through_lightning])
def test_a_guided_search_takes_fewer_trials(
    through: Callable[..., LRAnalysis], tmp_path: Path
) -> None:
    guided, frugal = (through(tmp_path, strategy=name) for name in ("guided", "frugal"))
    assert guided.n_trials < frugal.n_trials
    assert guided.inferred
    assert abs(math.log10(guided.max_lr / frugal.max_lr)) < 0.2
