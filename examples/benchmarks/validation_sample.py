"""On how many validation samples to validate: how far the points move, and what time it saves.

Each cell, a small model with an optimizer and thousands of validation samples, is trained at every
tenth of a decade, and the loss of each sample is kept. The same curve is then read off the first
64, 128, ... samples of the order that the package takes them in, off as many as its pilot chooses,
and off all. The share that the pilot aims at was chosen on some of the tasks; the table is of the
others. Recording takes the time; every cell is kept as it is done, in the folder ``--cells``, and
a run that was cut goes on there.

A second part searches with 50,000 validation samples, on all of them and on a sample.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import NamedTuple
from unittest import mock

import cost_cells
import numpy as np
import report
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.divergence import divergence_limit
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._method.sureness import tied
from optuna_lrss._result.horizons import picks_of
from optuna_lrss._study.validated import NEIGHBOURS
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr
from optuna_lrss.torch._choice import Choice
from optuna_lrss.torch._pilot import MOST
from optuna_lrss.torch._pilot import SHARE
from optuna_lrss.torch._pilot import Scatter
from optuna_lrss.torch._pilot import scatter
from optuna_lrss.torch._sample import LEAST_ROWS
from optuna_lrss.torch._sample import places
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._short_trial import ShortTrial
from optuna_lrss.torch._validation import Validation


Array = NDArray[np.float64]

STEPS, BATCH_SIZE = 20, 32
GRID = np.round(np.arange(-5.0, 1.05, 0.1), 3)
POINTS = ("recommended", "max_lr", "half_loss", "min_lr")
SIZES = (64, 128, 256, 512, 1024)
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
#: A point that moves by more has moved: what a search resolves by default, in decades.
MOVED = 0.1
N_VALIDATION = 4096


# --- Tasks --------------------------------------------------------------------------------------


def _mixture(seed: int) -> tuple[Tensor, Tensor]:
    """Ten overlapping classes in 64 dimensions, each of three clusters."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 3, 64, generator=generator)
    y = torch.randint(10, (6000,), generator=generator)
    part = torch.randint(3, (6000,), generator=generator)
    return 0.5 * centres[y, part] + torch.randn(6000, 64, generator=generator), y


def _spirals(seed: int) -> tuple[Tensor, Tensor]:
    """Three arms in the plane, on 20 random directions with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (6000,), generator=generator)
    radius = 3.0 * torch.rand(6000, generator=generator)
    angle = 1.5 * radius + 2.0943951 * y
    plane = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    mixed = plane @ torch.randn(2, 20, generator=generator)
    return mixed + 0.3 * torch.randn(6000, 20, generator=generator), y


def _sines(seed: int) -> tuple[Tensor, Tensor]:
    """A regression with heavy tails: a sum of waves, cubed noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6000, 8, generator=generator)
    y = torch.sin(2.0 * x[:, :3]).sum(1, keepdim=True)
    return x, y + 0.1 * torch.randn(y.shape, generator=generator) ** 3


def _more(draw: Callable[[int], tuple[Tensor, Tensor]]) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Five draws of a teacher's data: its inputs anew, its weights as they were."""

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        _, y = draw(seed)  # the teacher's own rows fix its scale
        x = torch.randn(6000, 20, generator=generator)
        first = torch.randn(20, 16, generator=generator) / 20**0.5
        second = torch.randn(16, 1, generator=generator) / 4
        target = torch.tanh(2 * x @ first) @ second
        return x, target * (y.std() / target.std())

    return drawn


def _many_words(seed: int) -> tuple[Tensor, Tensor]:
    parts = [cost_cells._words(10 * seed + i) for i in range(4)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def _wide() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def _plane() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
    )


def _waves() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))


Task = tuple[Callable[[], nn.Module], Callable[..., Tensor], Callable[[int], Any]]


def _of_cells(name: str) -> Task:
    build, loss, data = cost_cells.MODELS[name]
    return build, loss, data


#: Tasks that the share was chosen on.
DEVELOPED_ON: dict[str, Task] = {
    "mlp": _of_cells("mlp"),
    "cnn_batch_norm": _of_cells("cnn_batch_norm"),
    "words": (cost_cells.MODELS["words"][0], F.cross_entropy, _many_words),
    "waves": (_waves, F.mse_loss, _sines),
}
HELD_OUT: dict[str, Task] = {
    "cnn": _of_cells("cnn"),
    "transformer": _of_cells("transformer"),
    "lstm": _of_cells("lstm"),
    "dropout": _of_cells("dropout"),
    "autoencoder": _of_cells("autoencoder"),
    "mixture": (_wide, F.cross_entropy, _mixture),
    "spirals": (_plane, F.cross_entropy, _spirals),
    "teacher": (cost_cells.MODELS["teacher"][0], F.mse_loss, _more(cost_cells._teacher)),
}
OPTIMIZERS = {name: cost_cells.OPTIMIZERS[name] for name in ("sgd", "momentum", "adam", "rmsprop")}


class Cell(NamedTuple):
    """One training."""

    task: str
    optimizer: str
    seed: int

    def pieces(self, n_validation: int = N_VALIDATION) -> tuple[StepPieces, Tensor, Tensor]:
        """What is trained, and the validation samples."""
        build, loss, data = (DEVELOPED_ON | HELD_OUT)[self.task]
        torch.manual_seed(1000 + self.seed)
        x, y = data(self.seed)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(self.seed))
        n = min(n_validation, len(y) - 400)
        train, valid = order[n:], order[:n]
        model = build()
        optimizer = OPTIMIZERS[self.optimizer](model.parameters())
        shuffle = torch.Generator().manual_seed(self.seed)
        loader = DataLoader(
            TensorDataset(x[train], y[train]), BATCH_SIZE, shuffle=True, generator=shuffle
        )
        validation = DataLoader(TensorDataset(x[valid], y[valid]), 256)
        return StepPieces(model, optimizer, loss, loader, validation), x[valid], y[valid]


# --- Curves -------------------------------------------------------------------------------------


class Record(NamedTuple):
    """What was measured of one cell.

    Attributes:
        scatter: What the pilot found.
        momentum: Heavy-ball momentum.
        untrained: Losses of the untrained model, shape ``(samples,)``.
        losses: Losses after each trial, shape ``(learning rates, samples)``.
    """

    scatter: Scatter
    momentum: float
    untrained: Array
    losses: Array


class _Trained(ShortTrial):
    """A short trial that keeps the loss of every sample; none ends before its last step."""

    def of_samples(self, lr: float | None, x: Tensor, y: Tensor) -> Array:
        batches = self._batches(repeat=0)
        with self._untouched():
            self._set_out(self._own_lr if lr is None else lr)
            for step in range(1, STEPS + 1) if lr is not None else ():
                with torch.enable_grad():
                    self._updates.step(self._of_step(batches, step))
            validation = self._validation_on([(x, y)])
            validation.start()
            if lr is None:
                validation.move_buffers(batches)
            with validation._measured_statistics(batches), validation._evaluating():
                return self._each(self._model(x), y)

    def _each(self, output: Tensor, y: Tensor) -> Array:
        loss_fn: Callable[..., Tensor] = self._loss_fn
        losses = loss_fn(output, y, reduction="none")
        return (
            losses.flatten(1).mean(1).double().numpy()
            if losses.ndim > 1
            else (losses.double().numpy())
        )


@contextmanager
def _kept_scatter() -> Iterator[list[Scatter]]:
    """Inside, what pilots find is kept."""
    from optuna_lrss.torch import _choice

    found: list[Scatter] = []
    measure = scatter

    def keep(*arguments: Any) -> Scatter:
        found.append(measure(*arguments))
        return found[-1]

    with mock.patch.object(_choice, "scatter", keep):
        yield found


def record(cell: Cell, grid: Sequence[float], n_validation: int) -> Record:
    pieces, x, y = cell.pieces(n_validation)
    trial = _Trained(pieces, Settings(steps=STEPS, progress=False, check_state=False))
    with _kept_scatter() as found:
        trial.validated  # noqa: B018 - so that the pilot runs
    untrained = trial.of_samples(None, x, y)
    losses = np.stack([trial.of_samples(10.0**lr, x, y) for lr in grid])
    return Record(found[0], trial.momentum, untrained, losses)


def curve_of(known: Record, grid: Sequence[float], rows: Any) -> tuple[LRCurve, float]:
    """The curve that some of the samples give, and the untrained loss."""
    baseline = float(known.untrained[rows].mean())
    loss = known.losses[:, rows].mean(1)
    loss[~(loss <= divergence_limit(baseline, None))] = math.inf
    return LRCurve.from_observations(10.0 ** np.asarray(grid), loss), baseline


def read_off(curve: LRCurve, baseline: float, momentum: float) -> dict[str, float]:
    """The points of a curve, in decades; empty without a window."""
    try:
        points = points_of_interest(curve, baseline)
    except NoWindowError:
        return {}
    picks = picks_of(curve, points, STEPS, lambda n: momentum_lag(momentum, n), 1000)
    return {name: math.log10(picks[name]) for name in POINTS}


def interval_of(curve: LRCurve, baseline: float, error: float) -> list[float]:
    """That of ``max_lr`` as the package gives it, in decades."""
    drop = max(baseline - float(curve.loss.min()), 0.0)
    ends = tied(curve.lr, curve.loss, 2.0 * min(error, 1e6) * drop / NEIGHBOURS)
    return [math.log10(end) for end in ends]


def row_of(cell: Cell, grid: Sequence[float], n_validation: int) -> dict[str, Any]:
    """How far each point moves from where all samples put it, by the size of the sample."""
    known = record(cell, grid, n_validation)
    of = len(known.untrained)
    order = np.argsort(places(0, of))
    truth = read_off(*curve_of(known, grid, np.arange(of)), known.momentum)
    moves, intervals = {}, {}
    for rows in SIZES:
        curve, baseline = curve_of(known, grid, order[:rows])
        found = read_off(curve, baseline, known.momentum)
        moves[str(rows)] = {
            name: abs(found[name] - truth[name]) for name in POINTS if name in found and truth
        }
        errors = 0.0, known.scatter.error(rows, of)
        intervals[str(rows)] = [interval_of(curve, baseline, error) for error in errors]
    return {
        "cell": "-".join(map(str, cell)),
        "of": of,
        "ratio": known.scatter.ratio if math.isfinite(known.scatter.ratio) else None,
        "pilot_steps": known.scatter.steps,
        "max_lr": truth.get("max_lr"),
        "moves": moves,
        "intervals": intervals,
    }


def chosen(row: dict[str, Any], share: float) -> int:
    """The size of the sample that the pilot chooses."""
    ratio = math.inf if row["ratio"] is None else row["ratio"]
    most = MOST * STEPS * BATCH_SIZE
    return Scatter(ratio, 0, 0).enough(LEAST_ROWS, row["of"], most, share)


def measured(
    cells: Sequence[Cell], grid: Sequence[float], n_validation: int, folder: Path
) -> list[dict[str, Any]]:
    """The rows of some cells, from the folder or made now."""
    rows = []
    for cell in cells:
        file = folder / f"{'-'.join(map(str, cell))}.json"
        if not file.exists():
            file.write_text(json.dumps(row_of(cell, grid, n_validation)), encoding="utf-8")
        rows.append(json.loads(file.read_text(encoding="utf-8")))
    return rows


def summary(rows: list[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """Median, 90th percentile and share over a tenth of a decade of each point's moves.

    And how often an interval of `max_lr` holds that of all samples: without and with what the
    sample leaves open.
    """
    found: dict[str, Any] = {"samples": float(np.median(sizes))}
    at = [(row, str(size)) for row, size in zip(rows, sizes, strict=True)]
    for name in POINTS:
        moves = [row["moves"][size].get(name, math.inf) for row, size in at]
        over = float(np.mean([move > MOVED + 1e-6 for move in moves]))
        levels = [float(np.quantile(moves, q, method="higher")) for q in (0.5, 0.9)]
        found[name] = [*(v if math.isfinite(v) else None for v in levels), over]
    found["held"] = [
        float(np.mean([_holds(row["intervals"][size][i], row["max_lr"]) for row, size in at]))
        for i in range(2)
    ]
    widths = [high - low for low, high in (row["intervals"][size][1] for row, size in at)]
    found["width"] = float(np.median(widths))
    return found


def _holds(ends: Sequence[float], x: float) -> bool:
    return ends[0] - 1e-6 <= x <= ends[1] + 1e-6


def summaries(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every fixed size and every share, over the cells that have a window."""
    rows = [row for row in rows if row["max_lr"] is not None]
    fixed = {str(m): summary(rows, [m] * len(rows)) for m in SIZES}
    by_share = {f"{s:g}": summary(rows, [chosen(row, s) for row in rows]) for s in SHARES}
    return {"cells": len(rows), "fixed": fixed, "by_share": by_share}


# --- Time ---------------------------------------------------------------------------------------


def large(n_validation: int) -> StepPieces:
    """A convolutional network on drawn images of ten classes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 1, 10, 10, generator=generator)
    y = torch.randint(10, (n_validation + 2000,), generator=generator)
    x = 0.5 * centres[y] + torch.randn(len(y), 1, 10, 10, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    loaders = [
        DataLoader(TensorDataset(a, b), BATCH_SIZE * (1 if i == 0 else 8))
        for i, (a, b) in enumerate([(x[:2000], y[:2000]), (x[2000:], y[2000:])])
    ]
    return StepPieces(model, optimizer, F.cross_entropy, *loaders)


def searched(n_validation: int, batches: Any, n_trials: int | None) -> dict[str, Any]:
    """One search: its processor time, the share that was spent on validation, its picks."""
    spent = 0.0
    validate, decide = Validation.each, Choice.decide

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal spent
            began, before = time.process_time(), spent
            result = function(*arguments)
            spent = before + time.process_time() - began  # what is timed inside counts once
            return result

        return call

    pieces = large(n_validation)
    began = time.process_time()
    with (
        mock.patch.object(Validation, "each", timed(validate)),
        mock.patch.object(Choice, "decide", timed(decide)),
    ):
        result = find_lr(
            *pieces, steps=STEPS, validation_batches=batches, progress=False, n_trials=n_trials
        )
    seconds = time.process_time() - began
    assert result.validated is not None
    return {
        "seconds": seconds,
        "time_share": spent / seconds,
        "work_share": result.validation_share,
        "samples": result.validated.samples,
        "of": result.validated.of,
        "trials": result.n_trials,
        "points": {name: getattr(result, name) for name in POINTS},
        "max_lr": list(result.intervals["max_lr"]),
    }


def side_by_side(n_validation: int, n_trials: int | None) -> dict[str, Any]:
    """A search with all samples and one with as many as decide."""
    return {
        "all": searched(n_validation, None, n_trials),
        "sample": searched(n_validation, "auto", n_trials),
    }


# --- The page -----------------------------------------------------------------------------------


def _cells_of(figures: dict[str, Any]) -> list[str]:
    def shown(value: float | None) -> str:
        return "lost" if value is None else f"{value:.2f}"

    moves = [
        f"{shown(a)} / {shown(b)} / {100 * over:.0f} %"
        for a, b, over in (figures[name] for name in POINTS)
    ]
    without, held = figures["held"]
    return [*moves, f"{100 * without:.0f} %", f"{100 * held:.0f} %, {figures['width']:.2f}"]


def _points_table(figures: dict[str, Any]) -> str:
    rows = [[f"{m} samples", m, *_cells_of(of)] for m, of in figures["fixed"].items()]
    rows += [
        [
            f"pilot, {100 * float(share):g} % of the drop"
            + (" (used)" if float(share) == SHARE else ""),
            f"{of['samples']:.0f}",
            *_cells_of(of),
        ]
        for share, of in figures["by_share"].items()
    ]
    names = [f"`{name}`" for name in POINTS]
    held = ["neighbours hold `max_lr`", "interval holds it, its width"]
    return report.table(["sample", "samples, median", *names, *held], rows)


def _time_row(name: str, run: dict[str, Any]) -> list[object]:
    low, high = run["max_lr"]
    return [
        name,
        f"{run['samples']} of {run['of']}",
        run["trials"],
        f"{run['seconds']:.1f}",
        f"{100 * run['time_share']:.0f} %",
        f"{100 * run['work_share']:.0f} %",
        f"{run['points']['recommended']:.2e}",
        f"{low:.2e} .. {high:.2e}",
    ]


def render(figures: dict[str, Any]) -> str:
    held_out, developed = figures["held_out"], figures["developed_on"]
    counts = figures["counts"]
    sizes = ", ".join(f"{rows} in {n}" for rows, n in counts.items())
    timed = report.table(
        [
            "validated on",
            "samples",
            "trials",
            "processor seconds",
            "of that, validation",
            "of the work",
            "recommended",
            "max_lr, interval",
        ],
        [_time_row("all", figures["time"]["all"]), _time_row("sample", figures["time"]["sample"])],
    )
    return f"""# Validation samples

{figures["provenance"]}

How the sample is made and its size decided: [Method, section 1](../method.md#1-the-short-trial).

## How far the points move

Trainings of {STEPS} steps with batches of {BATCH_SIZE}, at every tenth of a decade. The same
curve is read off a sample of the validation data and off all of it ({figures["of"]}); the figures
are how far each point moves, in decades: median / 90th percentile / share over a tenth.

{held_out["cells"]} cells, {figures["tasks"]["held_out"]}, each with {figures["optimizers"]}:

{_points_table(held_out)}

With the share that is used the sample had {sizes} of these cells. The last two columns say how
often the known neighbours of the sample's lowest loss hold the `max_lr` of all samples, and how
often the interval that is given does, with its median width. The pilot takes {2 * STEPS} steps
where it learns something at once, as in {100 * figures["once"]:.0f} % of them.

The share was chosen on {developed["cells"]} other cells, {figures["tasks"]["developed_on"]}:

{_points_table(developed)}

## What it saves

A search with {figures["time"]["all"]["of"]:,} validation samples, a small convolutional network
on images of 10 x 10, on all of them (`validation_batches=None`) and on as many as decide
(`"auto"`, the default), one after the other in one run; processor time on one thread. The time
of deciding counts as validation; work is counted in optimizer steps, a forward pass of as many
samples being a third of one.

{timed}
"""


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument(
        "--cells", type=Path, help="folder that cells are kept in (default: a scratch one)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    folder = report.output_folder(arguments)
    grid, n = GRID.tolist(), N_VALIDATION
    parts = {"developed_on": DEVELOPED_ON, "held_out": HELD_OUT}
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    timed: dict[str, Any] = {"n_validation": 50_000, "n_trials": None}
    if arguments.smoke:
        grid, optimizers = GRID[10::4].tolist(), ("adam",)
        parts = {
            "developed_on": {"mlp": DEVELOPED_ON["mlp"]},
            "held_out": {"cnn": HELD_OUT["cnn"]},
        }
        timed = {"n_validation": 4_000, "n_trials": 8}
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) if arguments.cells is None else arguments.cells
        kept.mkdir(parents=True, exist_ok=True)
        rows = {
            part: measured([Cell(t, o, 1) for t in tasks for o in optimizers], grid, n, kept)
            for part, tasks in parts.items()
        }
    used = [chosen(row, SHARE) for row in rows["held_out"]]
    sizes = sorted({row["of"] for part in rows.values() for row in part})
    figures = {
        **{part: summaries(of) for part, of in rows.items()},
        "counts": {str(m): used.count(m) for m in sorted(set(used))},
        "once": float(np.mean([row["pilot_steps"] == 2 * STEPS for row in rows["held_out"]])),
        "of": f"{sizes[0]:,} to {sizes[-1]:,} samples",
        "tasks": {part: ", ".join(tasks) for part, tasks in parts.items()},
        "optimizers": ", ".join(optimizers),
        "time": side_by_side(**timed),
        "rows": rows,
    }
    took = time.perf_counter() - began
    figures["provenance"] = report.provenance("validation_sample", took, smoke=arguments.smoke)
    report.write_page(folder, "validation_sample", figures, render)


if __name__ == "__main__":
    main()
