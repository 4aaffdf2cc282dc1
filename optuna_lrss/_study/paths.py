"""What finished trials say beside their loss: paths, rises, divergences that are no accident."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.trajectory import Path
from optuna_lrss._method.trajectory import PathPoint
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.trials import Observation


#: A trial's last report and its value are the same loss if they differ by less than this share.
_SAME_LOSS = 1e-6


def paths_of(
    observations: Iterable[Observation], baseline: float | None, hints: Hints
) -> list[Path]:
    """The paths of finished trials: as StepObjective keeps them, else from reports.

    Reports count where the last one is the loss that the trial returned: then those before it are
    losses of the same kind.

    Args:
        observations: Finished trials of one configuration.
        baseline: Loss of the untrained model, if known.
        hints: What the study says of how far steps go.
    """
    paths: list[Path] = []
    for o in observations:
        if o.state != TrialState.COMPLETE or not math.isfinite(o.loss):
            continue
        points = o.path or _reported(o, baseline, hints)
        if len(points) > 1 and points[-1].reach == 1.0:
            paths.append(Path(math.log10(o.lr), points))
    return paths


def _reported(
    observation: Observation, baseline: float | None, hints: Hints
) -> tuple[PathPoint, ...]:
    reports = {k: v for k, v in observation.reports.items() if math.isfinite(v)}
    if baseline is None or len(reports) < 2:
        return ()
    if 0 in reports and not math.isclose(reports[0], baseline, rel_tol=_SAME_LOSS):
        reports = {k + 1: v for k, v in reports.items()}  # steps counted from 0
    last = max(reports)
    if not math.isclose(reports[last], observation.loss, rel_tol=_SAME_LOSS):
        return ()
    steps = sorted(k for k in reports if k > 0)
    far = [(k, hints.reach(k, last)) for k in steps]
    return tuple(PathPoint(r, reports[k] - baseline) for k, r in far if r is not None)


def rises_at(x: FloatArray, observations: Iterable[Observation]) -> FloatArray | None:
    """How far training losses rose at each learning rate, as a share of the untrained loss.

    Args:
        x: log10 of the learning rates, shape ``(m,)``.
        observations: Finished trials.

    Returns:
        Shape ``(m,)``, ``nan`` where no trial says; ``None`` where none does at all.
    """
    rises = np.full(x.size, np.nan)
    for o in observations:
        if o.rise is not None:
            rises = np.where(_at(x, o.lr), np.fmax(rises, o.rise), rises)
    return None if np.isnan(rises).all() else rises


def sure_at(x: FloatArray, observations: Iterable[Observation]) -> NDArray[np.bool_]:
    """At which learning rates a divergence was no accident; shape ``(m,)``."""
    sure = np.zeros(x.size, dtype=bool)
    for o in observations:
        if o.sure:
            sure |= _at(x, o.lr)
    return sure


def _at(x: FloatArray, lr: float) -> NDArray[np.bool_]:
    return np.abs(x - math.log10(lr)) <= SAME_LR
