"""Which cells there are: task, model, batch size, lengths, and the optimizers of each row.

A cell's name is `<task>-<model>-<optimizer>-b<batch>`: a published cell keeps its row's words.
To add cells, add a row; `python -m examples.benchmarks.landscapes run --cells 'task-model-*'`
does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import zip_longest

from examples.benchmarks.landscapes.engine.cell import Setting


SHORT = (200,)
MIDDLE = (320,)
LONGER = (500,)
#: A factor of four apart: how the best rate moves with the length.
BOTH = (250, 1_000)
#: A factor of ten apart, the longer one as long as the trainings that people wait for.
LONG = (1_000, 10_000)

#: Models that take several times as long as the others.
COSTLY = {
    *("cnn", "cnn_batchnorm", "conv_autoencoder", "deep_cnn", "gpt", "gru", "lstm", "post_norm"),
    *("bag", "pair", "resnet", "transformer", "unet", "unet_batchnorm"),
}

#: task, model, batch size, lengths, optimizers. The first optimizer of every row is done first,
#: then the second, and so on: whatever is done is spread over the tasks.
ROWS: list[tuple[str, str, int, tuple[int, ...], str]] = [
    # --- columns
    ("breast_cancer", "linear", 8, MIDDLE, "sgd adam momentum adagrad"),
    ("penbased", "mlp", 8, BOTH, "momentum adam sgd lion"),
    ("penbased_imbalanced", "mlp", 8, MIDDLE, "adamw nesterov rmsprop sgd"),
    ("letter", "mlp", 8, BOTH, "adam momentum muon sgd adagrad"),
    ("letter", "mlp_wide", 8, MIDDLE, "momentum adam sgd"),
    ("letter_noise", "mlp_layernorm", 8, MIDDLE, "lion momentum adamw"),
    ("satimage", "mlp_tanh", 16, BOTH, "sgd adam momentum99 rmsprop"),
    ("satimage_smoothed", "mlp_batchnorm", 8, MIDDLE, "momentum adamw sgd lion"),
    ("texture", "deep_relu", 8, LONGER, "adam momentum nesterov sgd"),
    ("texture", "linear", 8, MIDDLE, "momentum99 sgd adam"),
    ("phoneme", "mlp", 8, BOTH, "adagrad sgd adam momentum"),
    ("spambase", "mlp", 16, MIDDLE, "rmsprop momentum adam sgd"),
    ("spambase_unscaled", "mlp", 8, MIDDLE, "sgd adamw momentum adam"),
    ("spambase_unscaled", "linear", 8, MIDDLE, "adam sgd adagrad"),
    ("magic", "mlp_gelu", 16, MIDDLE, "nesterov adamw muon lion"),
    ("segment", "mlp_small_init", 8, LONGER, "momentum adam sgd rmsprop"),
    ("splice", "linear", 8, MIDDLE, "lion momentum adam sgd"),
    ("chess", "mlp_large_init", 8, MIDDLE, "adam sgd momentum adamw"),
    ("marketing", "mlp", 8, BOTH, "sgd adam adagrad momentum"),
    ("diabetes", "linear", 8, MIDDLE, "rmsprop sgd momentum adam"),
    ("diabetes", "mlp_tanh", 8, MIDDLE, "momentum adamw sgd"),
    ("gapminder", "mlp", 8, BOTH, "adam momentum sgd adagrad"),
    ("gapminder_likelihood", "mlp_tanh", 8, MIDDLE, "momentum adam adamw sgd"),
    ("texture_autoencoder", "autoencoder", 8, BOTH, "momentum adam sgd rmsprop"),
    ("photo_coordinates", "mlp_gelu", 16, MIDDLE, "adam muon momentum sgd"),
    ("terrain", "mlp_tanh", 16, MIDDLE, "nesterov adam rmsprop"),
    # --- pictures
    ("digits", "mlp", 4, MIDDLE, "momentum adam"),
    ("digits", "mlp", 16, BOTH, "adam momentum sgd muon adagrad"),
    ("digits", "mlp", 64, MIDDLE, "momentum adam"),
    ("digits", "cnn", 16, BOTH, "momentum"),
    ("digits", "cnn", 16, MIDDLE, "adam sgd lion"),
    ("digits", "cnn_batchnorm", 8, MIDDLE, "sgd adamw momentum"),
    ("digits", "resnet", 8, SHORT, "momentum adam sgd"),
    ("digits", "deep_cnn", 8, SHORT, "adam momentum nesterov"),
    ("digits", "deep_tanh", 16, LONGER, "momentum adam momentum99"),
    ("digits_noise", "mlp", 8, MIDDLE, "adamw momentum sgd adam"),
    ("digits_noise", "cnn", 8, MIDDLE, "nesterov adam"),
    ("digits_imbalanced", "mlp_layernorm", 8, MIDDLE, "adam momentum rmsprop"),
    ("digits_unscaled", "mlp", 8, MIDDLE, "momentum adam sgd lion"),
    ("digits_autoencoder", "autoencoder", 8, MIDDLE, "nesterov adamw muon momentum99 adagrad"),
    ("digits_contrastive", "two_towers", 32, MIDDLE, "adam momentum sgd"),
    ("digit_segmentation", "unet", 4, SHORT, "adam momentum"),
    ("discs", "unet_batchnorm", 4, SHORT, "momentum adamw"),
    ("hymenoptera", "cnn", 8, SHORT, "momentum adam"),
    ("hymenoptera_autoencoder", "conv_autoencoder", 8, SHORT, "adam nesterov"),
    ("hymenoptera_contrastive", "two_towers", 16, SHORT, "adamw momentum"),
    ("hymenoptera_denoising", "conv_autoencoder", 8, SHORT, "rmsprop adam"),
    ("photo_autoencoder", "conv_autoencoder", 8, SHORT, "momentum adam"),
    ("photo_colouring", "unet", 4, SHORT, "adam momentum"),
    ("photo_denoising", "conv_autoencoder", 8, SHORT, "lion adamw"),
    # --- made by a formula
    ("teacher", "mlp_tanh", 8, BOTH, "sgd adam momentum adagrad lion"),
    ("quadratic", "linear", 16, BOTH, "momentum sgd momentum99 nesterov adam"),
    ("heavy_tails", "mlp", 16, MIDDLE, "adam momentum sgd rmsprop"),
    ("friedman", "mlp_gelu", 8, MIDDLE, "momentum muon adamw sgd"),
    ("sinusoids", "mlp", 8, LONGER, "adam momentum99 momentum"),
    ("spirals", "mlp_tanh", 8, LONGER, "momentum adam sgd muon"),
    ("parity", "mlp", 8, LONGER, "sgd adam momentum"),
    ("rings", "deep_sigmoid", 8, LONGER, "adam momentum rmsprop"),
    ("mnist1d", "mlp", 8, MIDDLE, "adagrad sgd adam momentum"),
    ("mnist1d", "cnn", 8, MIDDLE, "momentum adam sgd lion"),
    ("mnist1d", "resnet", 8, SHORT, "adamw momentum"),
    ("modular_addition", "pair", 32, BOTH, "adamw momentum adam muon"),
    ("matrix_factorisation", "factors", 32, BOTH, "momentum adam sgd adagrad rmsprop"),
    # --- series
    ("pen_strokes", "gru", 8, SHORT, "adam momentum sgd"),
    ("pen_strokes", "lstm", 8, SHORT, "momentum rmsprop adam"),
    ("pen_strokes", "transformer", 8, SHORT, "adamw momentum muon"),
    ("pen_strokes", "post_norm", 8, SHORT, "adam sgd lion"),
    ("pen_forecast", "gru", 8, SHORT, "momentum adam"),
    ("seattle_temperatures", "mlp", 8, BOTH, "adam sgd momentum"),
    ("seattle_temperatures", "gru", 8, SHORT, "momentum adam"),
    ("san_francisco_likelihood", "mlp_tanh", 8, MIDDLE, "momentum adam adamw"),
    ("oscillators", "lstm", 8, SHORT, "adam momentum"),
    ("adding", "gru", 8, SHORT, "rmsprop momentum"),
    ("mnist1d_sequence", "cnn_batchnorm", 8, MIDDLE, "momentum adam"),
    # --- tokens
    ("copying", "gpt", 4, SHORT, "adam momentum"),
    ("recall", "gpt", 4, SHORT, "muon adamw"),
    ("sorting", "gpt", 4, SHORT, "adamw lion"),
    ("sorting", "lstm", 8, SHORT, "momentum adam"),
    ("scan", "gpt", 4, SHORT, "adamw momentum"),
    ("surnames", "lstm", 8, SHORT, "adam momentum"),
    ("surnames", "gpt", 4, SHORT, "adamw sgd"),
    ("first_names", "gru", 8, SHORT, "momentum adam"),
    ("first_names", "post_norm", 8, SHORT, "adamw"),
    ("python_docs", "gpt", 4, SHORT, "adamw momentum"),
    ("ag_news", "bag", 8, MIDDLE, "adam adagrad momentum sgd"),
    ("ag_news_noise", "bag", 8, MIDDLE, "rmsprop adamw"),
    ("ag_news_characters", "bag_mlp", 8, MIDDLE, "momentum adam"),
    ("ag_news_cooccurrence", "factors", 32, BOTH, "adagrad momentum adam sgd"),
    ("ag_news_middle_word", "pair", 16, MIDDLE, "adam momentum adamw"),
    ("ag_news_language", "gpt", 4, SHORT, "adam lion"),
    ("captions_language", "gpt", 4, SHORT, "adamw momentum"),
    # --- long trainings
    ("letter", "mlp", 32, LONG, "adam momentum sgd"),
    ("digits", "mlp", 32, LONG, "momentum adam adagrad"),
    ("ag_news", "bag", 32, LONG, "adam"),
    ("satimage", "mlp_tanh", 32, LONG, "momentum adam"),
    ("gapminder", "mlp", 32, LONG, "adam sgd momentum99"),
    ("texture_autoencoder", "autoencoder", 32, LONG, "momentum adam"),
    ("marketing", "mlp", 32, LONG, "adamw momentum lion"),
]


def cells(pattern: str = "*") -> list[Setting]:
    """All cells whose names match, in the order in which they are done."""
    return [s for s in _in_turn() if fnmatch(s.name, pattern)]


def _in_turn() -> Iterator[Setting]:
    """Two of each cheap row, one of each costly model, the rest of the cheap; then the costly."""
    rows = [
        [_setting(task, model, optimizer, batch, lengths) for optimizer in optimizers.split()]
        for task, model, batch, lengths, optimizers in ROWS
    ]
    cheap = [row for row in rows if row[0].model not in COSTLY]
    costly = [row for row in rows if row[0].model in COSTLY]
    samples = {row[0].model: row[0] for row in reversed(costly)}
    groups = (
        [row[:2] for row in cheap],
        [[sample] for sample in reversed(samples.values())],
        [row[2:] for row in cheap],
        [[s for s in row if s not in samples.values()] for row in costly],
    )
    for group in groups:
        for turn in zip_longest(*group):
            yield from (setting for setting in turn if setting is not None)


def _setting(
    task: str, model: str, optimizer: str, batch: int, lengths: tuple[int, ...]
) -> Setting:
    return Setting(f"{task}-{model}-{optimizer}-b{batch}", task, model, optimizer, batch, lengths)
