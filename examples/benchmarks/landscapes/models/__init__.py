"""The models of the landscapes, by the name that stands in a cell's name.

To add one, write a function of a task that returns a `Model` (see `dense.linear`, three lines) and
enter it in `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from examples.benchmarks.landscapes.models import dense
from examples.benchmarks.landscapes.models import pictures
from examples.benchmarks.landscapes.models import sequences
from examples.benchmarks.landscapes.models._base import Model
from examples.benchmarks.landscapes.models._base import hidden_matrix
from examples.benchmarks.landscapes.tasks import TaskData


__all__ = ["MODELS", "Model", "hidden_matrix"]

MODELS: dict[str, Callable[[TaskData], Model]] = {
    "linear": dense.linear,
    "mlp": dense.mlp,
    "mlp_wide": partial(dense.mlp, width=96),
    "mlp_tanh": partial(dense.mlp, activation="tanh"),
    "mlp_gelu": partial(dense.mlp, activation="gelu", depth=3),
    "mlp_layernorm": partial(dense.mlp, norm="layer"),
    "mlp_batchnorm": partial(dense.mlp, norm="batch"),
    # torch's initial weights shrink a signal by a factor per layer: these start on a plateau.
    "deep_relu": partial(dense.mlp, width=16, depth=7),
    "deep_tanh": partial(dense.mlp, width=16, depth=8, activation="tanh"),
    "deep_sigmoid": partial(dense.mlp, width=16, depth=3, activation="sigmoid"),
    "mlp_small_init": partial(dense.mlp, gain=0.1),
    "mlp_large_init": partial(dense.mlp, gain=5.0),
    "autoencoder": partial(dense.mlp, depth=3, bottleneck=8),
    "two_towers": dense.two_towers,
    "bag": dense.bag,
    "bag_mlp": partial(dense.bag, hidden=32),
    "pair": dense.pair,
    "factors": dense.factors,
    "cnn": pictures.cnn,
    "deep_cnn": partial(pictures.cnn, widths=(8,) * 6),
    "cnn_batchnorm": partial(pictures.cnn, norm=True),
    "resnet": pictures.resnet,
    "unet": pictures.unet,
    "unet_batchnorm": partial(pictures.unet, norm=True),
    "conv_autoencoder": pictures.conv_autoencoder,
    "gru": sequences.gru,
    "lstm": sequences.lstm,
    "transformer": sequences.transformer,
    "post_norm": sequences.post_norm,
    "gpt": partial(sequences.transformer, causal=True),
}
