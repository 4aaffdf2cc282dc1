"""The file of a cell: what is kept of 33 learning rates of one training.

One compressed npz per cell, `data/<cell>.npz`. A cell is task x model x optimizer x batch size;
its trainings differ in the learning rate, the schedule, the length and the seed alone. Below, `S`
is the number of seeds, `R` of learning rates (33), `N` of training lengths (1 or 2, ascending) and
`K` of schedules (4).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


FORMAT = 1
#: Of the engine: `run` makes cells of an earlier one again. 1 called a lane diverged at a thousand
#: times its first loss, and measured BatchNorm's statistics on what was seen, were it one batch.
REVISION = 2
DATA = Path(__file__).parent / "data"
SCHEDULES = ("constant", "cosine", "onecycle", "wsd")
CURVE_STEPS = (1, 2, 5, 10, 20, 40, 80, 160, 320)
#: Learning rates of every cell, a quarter decade apart.
LEARNING_RATES = 10.0 ** np.arange(-6.0, 2.125, 0.25)

Array = NDArray[Any]


@dataclass(frozen=True)
class Record:
    """One cell.

    Attributes:
        meta: A JSON object:
            `format` (version of the format), `revision` (of the engine; missing: 1), `cell`
            (name), `task`, `kind` (classification, regression, sequence, language, autoencoder,
            embedding, ...), `real` (data of the world or generated), `model`, `optimizer`,
            `family` (sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, lion, muon), `beta`
            (heavy-ball or Nesterov momentum of SGD,
            0 elsewhere), `batch_size`, `total_steps` (the shorter length), `lengths` (N steps),
            `schedules` (K names), `finetune`, `loss` (cross_entropy, mse, ...), `metric`
            (accuracy, r2, loss, ...), `direction` ("max" or "min"), `default_lr` (the optimizer's
            own default), `n_classes` (0 where there are none), `guess` (the metric of a guess
            without training: the share of the commonest class, 0 for R2, null where unknown),
            `batch_norm`, `n_parameters`, `seeds` (list), `seconds` (of one core), `torch`
            (version), and whatever the task adds (`source`, `licence`).
        lr: Learning rates, shape (R,), ascending.
        curve_steps: Steps of `curve`, shape (C,) = 1, 2, 5, 10, 20, 40, 80, 160, 320 (those not
            beyond the training).
        curve: Validation loss of the constant rate after those steps, shape (S, C, R), inf where
            the training diverged. With BatchNorm its statistics are measured again on the
            eight training batches seen last (the first eight, where fewer were seen).
        baseline: Validation loss before the first step, shape (S,), measured as `curve` is.
        train_loss: Minibatch training loss before step 0, 1, ... of the constant rate, shape
            (S, 160, R), float16, inf where the training diverged and above 65,504.
        final_loss: Validation loss at the end, shape (N, K, S, R), inf where diverged. The users'
            measure: running statistics where there is BatchNorm.
        final_metric: Test metric at the end, shape (N, K, S, R), NaN where diverged: accuracy
            and R2 in points of 100, or the test loss (`metric` = "loss", `direction` = "min").
        final_val_metric: The same on the validation set.
        baseline_metric: Test metric before the first step, shape (S,).
        curve_running: As `curve`, with running statistics; only of a BatchNorm cell.
        baseline_running: As `baseline`, with running statistics; only of a BatchNorm cell.
        ranges: Range tests by protocol and number of steps, ("fastai", 100) -> (lr (n,), raw
            minibatch losses (S, n), each from before the update at its rate; inf after a
            divergence, nothing else is stopped early). Protocols in `engine/schedules.py`.
            Stored as `range_<protocol>_<n>_lr` and `range_<protocol>_<n>_loss`.
    """

    meta: dict[str, Any]
    lr: Array
    curve_steps: Array
    curve: Array
    baseline: Array
    train_loss: Array
    final_loss: Array
    final_metric: Array
    final_val_metric: Array
    baseline_metric: Array
    curve_running: Array | None = None
    baseline_running: Array | None = None
    ranges: dict[tuple[str, int], tuple[Array, Array]] = field(default_factory=dict)


_PRECISION: dict[str, type[np.floating[Any]]] = {
    "lr": np.float64,
    "train_loss": np.float16,
    "final_metric": np.float32,
    "final_val_metric": np.float32,
}
_OPTIONAL = ("curve_running", "baseline_running")
_ARRAYS = (
    "lr",
    "curve_steps",
    "curve",
    "baseline",
    "train_loss",
    "final_loss",
    "final_metric",
    "final_val_metric",
    "baseline_metric",
    *_OPTIONAL,
)


def path_of(cell: str, folder: Path = DATA) -> Path:
    return folder / f"{cell}.npz"


def save(record: Record, folder: Path = DATA) -> Path:
    """Writes a cell's file; a half-written one never stays under its name."""
    arrays: dict[str, Array] = {"meta": np.array(json.dumps(record.meta))}
    for name in _ARRAYS:
        value = getattr(record, name)
        if value is not None:
            arrays[name] = _packed(value, _PRECISION.get(name))
    for (protocol, n), (lr, loss) in record.ranges.items():
        arrays[f"range_{protocol}_{n}_lr"] = _packed(lr)
        arrays[f"range_{protocol}_{n}_loss"] = _packed(loss, np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(record.meta["cell"], folder)
    draft = path.with_suffix(".part.npz")
    np.savez_compressed(draft, allow_pickle=False, **arrays)
    draft.replace(path)
    return path


def load(path: Path) -> Record:
    """Reads a cell's file.

    Raises:
        ValueError: The file has another format.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    meta = json.loads(str(arrays.pop("meta")))
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {meta.get('format')!r} and this code reads {FORMAT}; "
            "run the cell again, or read it with the version that wrote it."
        )
    ranges = {}
    for name in list(arrays):
        if name.startswith("range_") and name.endswith("_lr"):
            stem = name.removesuffix("_lr")
            protocol, n = stem.removeprefix("range_").rsplit("_", 1)
            lr = arrays.pop(name).astype(np.float64)
            ranges[protocol, int(n)] = (lr, arrays.pop(f"{stem}_loss").astype(np.float64))
    return Record(meta, **{n: _widened(a) for n, a in arrays.items()}, ranges=ranges)


def load_all(folder: Path = DATA) -> list[Record]:
    """Every cell of a folder, in the order of their names."""
    return [load(p) for p in sorted(folder.glob("*.npz")) if not p.stem.endswith(".part")]


def _packed(array: Array, precision: type[np.floating[Any]] | None = None) -> Array:
    if precision is None and np.issubdtype(array.dtype, np.floating):
        precision = np.float32
    with np.errstate(over="ignore"):  # a float16 ends at 65,504: inf is right beyond
        return array if precision is None else array.astype(precision)


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
