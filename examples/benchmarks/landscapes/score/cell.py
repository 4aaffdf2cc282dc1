"""What a rule sees of a cell: what a user could measure before the training, never its end.

A rule is called once for each training (cell x length x schedule) and seed with a `Cell`. The
`Cell` holds short losses and range tests and what a user knows anyway (optimizer, length,
schedule), and it counts the optimizer steps of all that the rule looks at. It has no reference to
the record that it was made from: final losses and metrics cannot be reached from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record


#: Short trials that a search of the package takes on its curve, as the median of
#: docs/results/refinement.md. The rules read the record's grid of a quarter decade in its place;
#: the sampler visits half decades of that grid and then points of its own between them.
SEARCH_TRIALS = 14
#: Families that behave alike as far as their learning rates go; others stand for themselves.
_GROUPS = {
    "momentum": "momentum",
    "nesterov": "momentum",
    "adam": "adam",
    "adamw": "adam",
    "rmsprop": "adam",
}
GROUPS = ("sgd", "momentum", "adam", "adagrad", "lion", "muon")


class NotRecordedError(ValueError):
    """A rule asked for what this cell's record does not hold; the cell is left out for it."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Validation losses of short trials that start from the same weights on the same batches.

    Attributes:
        lr: Learning rates, shape (R,), ascending, a quarter decade apart.
        loss: Losses, shape (R,), inf where a trial diverged.
        steps: Optimizer steps of each trial.
        baseline: Loss before the first step.
    """

    lr: Array
    loss: Array
    steps: int
    baseline: float


@dataclass(frozen=True, eq=False)
class Range:
    """A range test: one training whose learning rate rises at every step.

    Attributes:
        lr: Learning rates, shape (n,).
        loss: Raw minibatch losses before each update, shape (n,), inf after a divergence.
    """

    lr: Array
    loss: Array


@dataclass(frozen=True, eq=False)
class Measured:
    """All that can be measured before the training, of one seed. Shared by a cell's trainings."""

    curves: dict[int, Curve]
    running: dict[int, Curve]
    train_loss: Array
    ranges: dict[tuple[str, int], Range]


@dataclass
class Cell:
    """One seed of one training, before it starts.

    Attributes:
        optimizer: Its name in the record.
        family: sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, lion, muon.
        beta: Heavy-ball or Nesterov momentum of SGD, 0 elsewhere.
        default_lr: The optimizer's own default.
        batch_size: Rows of a minibatch.
        steps: T, the optimizer steps of the training that the learning rate is for.
        schedule: "constant", "cosine", "onecycle" or "wsd"; the pick is its peak.
        finetune: Whether the weights are pretrained.
        loss: Name of the loss.
        n_classes: 0 where there are none.
        cost: Optimizer steps that the rule has looked at so far.
    """

    optimizer: str
    family: str
    beta: float
    default_lr: float
    batch_size: int
    steps: int
    schedule: str
    finetune: bool
    loss: str
    n_classes: int
    _measured: Measured = field(repr=False)
    cost: int = 0

    @property
    def group(self) -> str:
        """The family, with Nesterov's under momentum and Adam's kin under adam."""
        return group_of(self.family)

    def curve(
        self, steps: int = 20, *, trials: int = SEARCH_TRIALS, running: bool = False
    ) -> Curve:
        """The validation losses of the short trials; costs `trials * steps` steps.

        Args:
            steps: Horizon: 1, 2, 5, 10, 20, 40, 80, 160 or 320.
            trials: For how many learning rates a user has to pay: by default what a whole search
                takes. A rule that looks at a part of the curve only says how many it looks at.
            running: Where there is BatchNorm: with its running statistics instead of statistics
                measured again on training batches.

        Raises:
            NotRecordedError: If there is no curve of that horizon.
        """
        of_steps = self._measured.running if running else self._measured.curves
        if steps not in of_steps:
            raise NotRecordedError(
                f"steps={steps} is no horizon of this cell: take one of {list(of_steps)}."
            )
        self.cost += trials * steps
        return of_steps[steps]

    @property
    def horizons(self) -> tuple[int, ...]:
        """Horizons that `curve` has, ascending."""
        return tuple(self._measured.curves)

    def train_loss(self, steps: int) -> Array:
        """Minibatch losses before each of the first `steps` (at most 160), shape (steps, R).

        One row of learning rates as `curve` has them; costs `R * steps` steps.
        """
        losses = self._measured.train_loss[:steps]
        self.cost += losses.size
        return losses

    def range_test(self, protocol: str, steps: int = 100) -> Range:
        """A rival's range test; costs `steps` steps.

        Args:
            protocol: "fastai", "lightning", "lr_finder", "surmenok", "gugger" or "wittmann": see
                engine/schedules.py.
            steps: 100 or 300.

        Raises:
            NotRecordedError: If the cell has no such test, as some of fine-tuning.
        """
        if (protocol, steps) not in self._measured.ranges:
            raise NotRecordedError(
                f"{(protocol, steps)} is no range test of this cell: take one of "
                f"{sorted(self._measured.ranges)}."
            )
        self.cost += steps
        return self._measured.ranges[protocol, steps]


def group_of(family: str) -> str:
    return _GROUPS.get(family, family)


def measured(record: Record) -> list[Measured]:
    """What can be measured before the training, of every seed of a record."""
    return [_of_seed(record, seed) for seed in range(len(record.baseline))]


def _of_seed(record: Record, seed: int) -> Measured:
    curves = _curves(record, record.curve, record.baseline, seed)
    running = curves
    if record.curve_running is not None and record.baseline_running is not None:
        running = _curves(record, record.curve_running, record.baseline_running, seed)
    return Measured(
        curves=curves,
        running=running,
        train_loss=record.train_loss[seed],
        ranges={k: Range(lr, loss[seed]) for k, (lr, loss) in record.ranges.items()},
    )


def cell_of(record: Record, of_seed: Measured, steps: int, schedule: str) -> Cell:
    """The view of one training and seed."""
    meta = record.meta
    return Cell(
        optimizer=meta["optimizer"],
        family=meta["family"],
        beta=float(meta["beta"]),
        default_lr=float(meta["default_lr"]),
        batch_size=int(meta["batch_size"]),
        steps=steps,
        schedule=schedule,
        finetune=bool(meta["finetune"]),
        loss=meta["loss"],
        n_classes=int(meta.get("n_classes") or 0),
        _measured=of_seed,
    )


def _curves(record: Record, losses: Array, baselines: Array, seed: int) -> dict[int, Curve]:
    return {
        int(steps): Curve(
            record.lr, np.asarray(losses[seed, i]), int(steps), float(baselines[seed])
        )
        for i, steps in enumerate(record.curve_steps)
    }
