"""LRStepPruner: stops a short trial whose reports show divergence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner

from optuna_lrss._method.divergence import runaway_limit
from optuna_lrss._study.known import baseline_for
from optuna_lrss._study.trials import baseline_of
from optuna_lrss._study.trials import own_baseline
from optuna_lrss._study.trials import sign_of


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class LRStepPruner(BasePruner):
    """Stops a short trial as soon as its reports show divergence (the method page, section 6).

    A trial has diverged when its last report is not finite or a thousand times the untrained
    model's loss above it. The limit is wide because close to max_lr losses rise far before they
    fall, and a wide one costs little, since what diverges grows exponentially: the figures are on
    the method page. No trial is stopped for being slow or for being worse than others, so none
    that could still be the minimum is lost, and the points of interest stay where they are.

    Reports are taken for the loss that the trial will return. Without a stored baseline (study
    attribute ``lrss:baseline``) only reports that are not finite stop a trial.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Judges the last report of a running trial.

        Args:
            study: The study.
            trial: The running trial.

        Returns:
            Whether the trial has diverged.
        """
        if not trial.intermediate_values:
            return False
        report = (
            sign_of(study.direction) * trial.intermediate_values[max(trial.intermediate_values)]
        )
        if not math.isfinite(report):
            return True
        own = own_baseline(trial, study.direction)
        baseline = baseline_for(own, baseline_of(study))
        return baseline is not None and report > runaway_limit(baseline)
