"""A short trial of every lane in one pass, and then each of them from its recorded losses.

What a short trial decides as it goes on (a divergence, a snapshot, a report) depends on nothing
but its losses. So the pass takes the steps and writes the losses down, and
:class:`~optuna_lrss.torch._short_trial.ShortTrial` itself goes through them afterwards, lane by
lane: one place says what a trial's result is.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from tqdm import tqdm

from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss.torch._lanes.refusals import CannotVectoriseError
from optuna_lrss.torch._lanes.refusals import refuse
from optuna_lrss.torch._lanes.stacked import ModelWithLoss
from optuna_lrss.torch._lanes.stacked import Stacked
from optuna_lrss.torch._lanes.stacked import vectorising
from optuna_lrss.torch._lanes.validation import LaneValidation
from optuna_lrss.torch._path import NoPath
from optuna_lrss.torch._pieces import Outcome
from optuna_lrss.torch._pieces import Report
from optuna_lrss.torch._rise import Rise
from optuna_lrss.torch._short_trial import ShortTrial
from optuna_lrss.torch._updates import Updates
from optuna_lrss.torch._validation import Validation


#: Steps that lanes are compared with a model alone: the third loss depends on the second update,
#: which is the first that momentum has a part in.
_STEPS_COMPARED = 3
#: Losses of a lane and of a model alone are the same if they differ by less than this share: sums
#: in another order differ by 1e-6 at most in three steps, other random numbers by far more.
_SAME_LOSS = 1e-4
#: The same with autocast, whose types have 8 to 11 bits.
_SAME_LOSS_AUTOCAST = 2e-2
#: The second lane of the comparison learns at this share of the caller's own rate: at the same
#: rate nobody would see a lane reach into another, and at a higher one rounding errors grow.
_OTHER_RATE = 0.1


@dataclass
class Recording:
    """The losses of one lane.

    Attributes:
        training: Training loss before each step; it ends where the loss has run away.
        validation: Validation loss and its standard error at each snapshot passed, and at the end.
    """

    training: list[float] = field(default_factory=list)
    validation: list[tuple[float, float | None]] = field(default_factory=list)


class LaneTrials(ShortTrial):
    """Short trials of one model, many learning rates at a time.

    Args:
        short_trial: The trials one after the other; it is left as it is.

    Raises:
        CannotVectoriseError: If the model, its loss or its optimizer cannot be vectorised.
    """

    def __init__(self, short_trial: ShortTrial) -> None:
        short_trial.baseline  # noqa: B018 - evaluated once, for this object too
        vars(self).update(vars(short_trial))
        self._alone = short_trial
        self._rule = refuse(self._objects, self._updates, self._settings, self._loss_fn)
        self._module = ModelWithLoss(self._updates, self._loss_fn)
        self._moving: list[str] = []
        self._refuse_other_losses()

    def train(
        self, lrs: list[float], repeat: int = 0, steps: int | None = None
    ) -> list[Recording]:
        """Trains from the start at several learning rates.

        Args:
            lrs: As in :meth:`ShortTrial.run`.
            repeat: Which repeat.
            steps: Optimizer steps of longer trials; ``None`` for those of short ones.

        Returns:
            A recording for each.
        """
        with self._checked():
            self._alone._check = False
            return self._together(lrs, repeat, steps or self._settings.steps)

    def _together(
        self, lrs: list[float], repeat: int, steps: int, validate_on: int | None = None
    ) -> list[Recording]:
        batches = self._batches(repeat, steps)
        with self._untouched(), torch.enable_grad(), vectorising(self._device):
            self._set_out(lrs[0], repeat)
            rates = [[lr * ratio for ratio in self.ratios] for lr in lrs]
            clip = self._settings.clip_norm
            assert not callable(clip)
            stacked = Stacked(self._module, self._updates, self._rule, rates, self._moving, clip)
            validation = LaneValidation(self._validate, self._module, stacked, validate_on)
            return self._record(stacked, validation, batches, steps)

    def _record(
        self, stacked: Stacked, validation: LaneValidation, batches: list[Any], steps: int
    ) -> list[Recording]:
        settings, size = self._settings, self._settings.accumulate
        recordings = [Recording() for _ in range(stacked.count)]
        running, limit = recordings, math.inf

        def keep(losses: list[float]) -> list[Recording]:
            """Without the lanes that have run away: their trials end here, as they would alone."""
            rows = [i for i, loss in enumerate(losses) if math.isfinite(loss) and loss <= limit]
            if len(rows) < len(losses):
                stacked.keep(rows)
            return [running[i] for i in rows]

        for step in self._bar(stacked.count, steps):
            losses = stacked.step(self._of_step(batches, step)).tolist()
            for recording, loss in zip(running, losses, strict=True):
                recording.training.append(loss)
            if step == 1:  # the same in all lanes but for rounding
                limit = runaway_limit(self.baseline, max(losses))
            running = keep(losses)
            if not running:
                break
            if step == steps or step in settings.snapshots:
                found = validation.of_lanes(batches[: steps * size])
                for recording, validated in zip(running, found, strict=True):
                    recording.validation.append(validated)
                running = keep([loss for loss, _ in found])
                if not running:
                    break
        return recordings

    def _bar(self, lanes: int, steps: int) -> Any:
        disable = None if self._settings.progress else True
        numbers = range(1, steps + 1)
        what = f"{lanes} learning rates"
        return tqdm(numbers, desc=what, unit="step", leave=False, disable=disable)

    # --- The first steps, held against a model alone ---------------------------------------------

    def _refuse_other_losses(self) -> None:
        """Compares the first steps of two lanes with the same steps of a model alone.

        So whatever in a model does not go with a lane axis, or with another lane beside it, is
        found before it does harm, known or not.
        """
        steps = min(_STEPS_COMPARED, self._settings.steps)
        lrs = [self._own_lr, _OTHER_RATE * self._own_lr]
        expected = [self._one_by_one(lr, steps) for lr in lrs]
        quiet = dataclasses.replace(self._settings, snapshots=(), progress=False)
        trial = copy.copy(self)
        trial._settings = quiet
        try:
            found = trial._together(lrs, 0, steps, validate_on=1)
        except Exception as error:
            raise CannotVectoriseError(_first_line(error)) from error
        for alone, lane in zip(expected, found, strict=True):
            together = [*lane.training, *(loss for loss, _ in lane.validation)]
            start = max(self.baseline, alone[0])
            for a, b in zip(alone, together, strict=False):  # a lane ends where it has run away
                # Above the loss at the start rounding errors grow from step to step.
                if a <= start and not self._same(a, b, start):
                    raise CannotVectoriseError(
                        f"a loss is {b:.6g} beside another learning rate and {a:.6g} alone, as "
                        "where dropout draws other numbers, or state lies outside of parameters "
                        "and buffers"
                    )

    def _one_by_one(self, lr: float, steps: int) -> list[float]:
        size = self._settings.accumulate
        batches = self._batches(repeat=0)[: steps * size]
        with self._untouched(), torch.enable_grad():
            self._set_out(lr)
            before = {name: (b, b.clone()) for name, b in self._module.named_buffers()}
            ends = range(size, len(batches) + 1, size)
            losses = [self._updates.step(batches[end - size : end]) for end in ends]
            self._moving = _moved(self._module, before)
            validation = copy.copy(self._validate)
            validation._batches, validation._sizes = (
                validation._batches[:1],
                validation._sizes[:1],
            )
            return [*losses, validation(batches)[0]]

    def _same(self, alone: float, together: float, start: float) -> bool:
        share = _SAME_LOSS if self._settings.autocast is None else _SAME_LOSS_AUTOCAST
        return math.isclose(alone, together, rel_tol=share, abs_tol=share * abs(start))


def _moved(module: nn.Module, before: dict[str, tuple[Any, Any]]) -> list[str]:
    """Names of the buffers that a training step has changed, and that may differ between lanes.

    Counters are the same in all lanes, and a model that reads one needs it as a number.
    """
    moved = {
        name
        for name, buffer in module.named_buffers()
        if buffer.is_floating_point()
        and not (buffer is before[name][0] and torch.equal(buffer, before[name][1]))
    }
    for name, layer in module.named_modules():
        both = {f"{name}.running_mean", f"{name}.running_var"}
        if isinstance(layer, _NormBase) and both & moved:
            moved |= both
    return sorted(moved)


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- Afterwards, one by one ----------------------------------------------------------------------


class Recorded(ShortTrial):
    """A short trial whose steps are taken already: it reads its losses off a recording.

    Args:
        short_trial: The trial whose settings and start these are.
    """

    def __init__(self, short_trial: ShortTrial) -> None:
        vars(self).update(vars(short_trial))
        self.recording = Recording()

    def run(
        self,
        lr: float,
        *,
        steps: int | None = None,
        repeat: int = 0,
        report: Report | None = None,
    ) -> Outcome:
        """As :meth:`ShortTrial.run`, from the recording."""
        replay = copy.copy(self)
        replay._settings = dataclasses.replace(self._settings, progress=False)
        replay._updates = _RecordedUpdates(self._updates, self.recording)
        replay._validate = _RecordedValidation(self._validate, self.recording)
        report = report if report is not None else lambda _step, _loss: None
        steps = self._settings.steps if steps is None else steps
        with self._untouched():
            rise = Rise(self.untrained(repeat), self.baseline)
        return replay._train(lr, steps, self._batches(repeat, steps), rise, NoPath(), report)


class _RecordedUpdates(Updates):
    def __init__(self, updates: Updates, recording: Recording) -> None:
        vars(self).update(vars(updates))
        self._losses = iter(recording.training)

    def step(self, batches: list[Any]) -> float:  # noqa: ARG002
        return next(self._losses, math.inf)


class _RecordedValidation(Validation):
    def __init__(self, validation: Validation, recording: Recording) -> None:
        vars(self).update(vars(validation))
        self._recorded = iter(recording.validation)

    def __call__(self, training: list[Any]) -> tuple[float, float | None]:  # noqa: ARG002
        return next(self._recorded, (math.inf, None))
