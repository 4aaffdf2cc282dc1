"""LRStepSampler: the search for a learning rate as an Optuna sampler."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.arguments import Start
from optuna_lrss._study.arguments import checked_base_sampler
from optuna_lrss._study.arguments import checked_distribution
from optuna_lrss._study.arguments import checked_name
from optuna_lrss._study.arguments import checked_options
from optuna_lrss._study.arguments import checked_seed
from optuna_lrss._study.arguments import checked_start
from optuna_lrss._study.arguments import require_count
from optuna_lrss._study.arguments import require_positive
from optuna_lrss._study.arguments import require_wide
from optuna_lrss._study.configurations import has_constraints
from optuna_lrss._study.keys import others_of
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import observe
from optuna_lrss._study.worker import Worker
from optuna_lrss._study.worker import Workers


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


_logger = logging.getLogger(__name__)
#: Below Optuna's own: seen, and silenced, with the lines about finished trials.
_progress = optuna.logging.get_logger("optuna.optuna_lrss")


class LRStepSampler(BaseSampler):
    """Chooses learning rates for short trials until every point of interest is known.

    Each trial trains a fixed small number of steps at ``trial.suggest_float("lr", low, high,
    log=True)`` from the same initial weights on the same batches and returns the validation
    loss. The sampler looks at the losses so far and proposes the learning rate that tells most
    about the viable window and the picks (paper, section 3.3). ``study.optimize(objective)``
    stops by itself when all of them are known within the tolerance. Everything the sampler knows
    comes from the storage: threads, processes and restarts continue the same search.

    What to train with is ``analyze(study).recommended``. The study's best trial, and so
    ``study.best_params["lr"]``, is the lowest loss after a few steps: ``max_lr``, beyond which
    training diverges.

    Example:
        .. code-block:: python

            study = optuna.create_study(sampler=LRStepSampler(), pruner=LRStepPruner())
            study.optimize(objective)
            print(analyze(study).recommended)

    Args:
        param_name: Name of the learning rate in the objective.
        coarse_step: Spacing of the first look, in decades.
        tolerance: How well the points of interest are to be known, in decades.
        points: The points to refine, any of ``"min_lr"``, ``"max_lr"``, ``"half_loss"``,
            ``"steepest"``; ``None`` for all.
        strategy: ``"frugal"`` looks where something is to be learned; ``"guided"`` also begins
            where the optimizer says and knows the fall of the curve by what its trials passed
            through (``StepObjective(paths=True)``, or what an objective reports on the way; the
            method page, section 9), which halves the trials and knows the points a little less
            well; ``"paper"`` evaluates the full coarse grid and both neighbours of every point
            (paper, section 3.3).
        repeats: Most evaluations of one learning rate. Above 1, learning rates that noise leaves
            undecided are evaluated again; see :func:`optuna_lrss.repeat_index`.
        base_sampler: Samples all other parameters; default TPE. With other parameters each
            configuration gets a curve of its own, one after the other.
        start: Where to begin: an earlier :class:`~optuna_lrss.LRAnalysis`, an interval
            ``(low, high)`` or a learning rate. The search expands when it was wrong.
        max_configurations: With other parameters, stop after this many resolved configurations
            (one that the base sampler proposes again counts again); ``None`` goes on until
            ``n_trials`` or ``timeout``. Trials of another sampler are observations: of their
            configurations only the best is resolved as well, and none counts.
        grace_period: A trial that is running for longer than this, in seconds, and for ten times
            as long as any trial took, is taken for dead: its learning rate is given to another
            worker. When nothing else is left to do, a tenth of it and three times as long.
        seed: Seed of the default base sampler. The search for the learning rate has no
            randomness.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        param_name: str = "lr",
        coarse_step: float = 0.5,
        tolerance: float = 0.1,
        points: Iterable[str] | None = None,
        strategy: str = "frugal",
        repeats: int = 1,
        base_sampler: BaseSampler | None = None,
        start: Start | None = None,
        max_configurations: int | None = None,
        grace_period: float = 60.0,
        seed: int | None = None,
    ) -> None:
        options = checked_options(
            coarse_step=coarse_step,
            tolerance=tolerance,
            points=points,
            strategy=strategy,
            repeats=repeats,
        )
        if max_configurations is not None:
            require_count("max_configurations", max_configurations)
        grace_period = require_positive(
            "grace_period", grace_period, "a time in seconds, such as 60"
        )
        self._param_name = checked_name(param_name)
        base_sampler = checked_base_sampler(base_sampler)
        self._base_sampler = base_sampler or TPESampler(seed=checked_seed(seed))
        arguments = Arguments(
            param_name=param_name,
            options=options,
            start=checked_start(start),
            max_configurations=max_configurations,
            grace_period=grace_period,
        )
        self._workers = Workers(arguments, copy.deepcopy(self._base_sampler))

    def reseed_rng(self) -> None:
        """Reseeds the base sampler; the search for the learning rate has no randomness."""
        with self._workers.lock:
            self._base_sampler.reseed_rng()
            self._workers.reseed_rng()

    def begin(self, study: Study) -> None:
        """Makes this sampler's arguments those that the study is judged by.

        The first trial does so as well. Call it where a study may need no further trial.

        Args:
            study: The study.
        """
        with self._workers.lock:
            self._workers.of(study).begin()

    def is_resolved(self, study: Study) -> bool:
        """Whether every point of interest is known within the tolerance, for ask-and-tell loops.

        With other parameters: whether that holds for every configuration tried, and there are
        ``max_configurations`` of them if that is given.

        Args:
            study: The study.

        Raises:
            ValueError: If the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        with self._workers.lock:
            return self._workers.of(study).is_resolved()

    def has_more(self, study: Study) -> bool:
        """Whether one more trial beside those under way would be of use.

        For loops that ask for several trials at once: once this is False, ask for no other before
        some of them are told.

        Args:
            study: The study.

        Raises:
            ValueError: If the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        with self._workers.lock:
            return self._workers.of(study).has_more()

    # --- Optuna's interface -------------------------------------------------------------------

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passes on to the base sampler where no learning rate is in play."""
        with self._workers.lock:
            if self._workers.of(study).delegates(trial):
                self._base_sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The base sampler's space where no learning rate is in play, else empty."""
        self._raise_error_if_multi_objective(study)
        with self._workers.lock:
            if not self._workers.of(study).delegates(trial):
                return {}
            space = self._base_sampler.infer_relative_search_space(study, trial)
        return others_of(space, self._param_name)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Passes on to the base sampler."""
        self._raise_error_if_multi_objective(study)
        space = others_of(search_space, self._param_name)
        return self._base_sampler.sample_relative(study, trial, space) if space else {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The next learning rate, or another parameter's value in the trial's configuration.

        Raises:
            ValueError: If the study has several objectives, or the learning rate is not a
                log-scaled float.
        """
        self._raise_error_if_multi_objective(study)
        worker = self._workers.of(study)
        if param_name == self._param_name:
            distribution = checked_distribution(param_name, param_distribution)
            step = self._workers.coarse_step
            require_wide(param_name, distribution.low, distribution.high, step)
            return worker.learning_rate(trial, distribution)
        with self._workers.lock:
            if worker.is_delegated(trial):
                return self._base_sampler.sample_independent(
                    study, trial, param_name, param_distribution
                )
        return worker.other_value(trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stops ``optimize`` when every point of interest is known."""
        worker = self._workers.of(study)
        with self._workers.lock:
            delegated = worker.release(trial)
            if delegated or has_constraints(self._base_sampler):
                self._base_sampler.after_trial(study, trial, state, values)
            if has_constraints(self._base_sampler):  # which it has just written into the trial
                trial = study._storage.get_trial(trial._trial_id)
            if state == TrialState.FAIL:
                worker.claims.fail(trial)
            last = observe(trial, self._param_name, study.direction, (state, values))
            if last is None:
                self._warn_without_lr(worker, trial, state)
                return
            # Optuna asks no sampler for a value of a range that has only one.
            ends = last.range_of(self._param_name)
            if ends.single():
                require_wide(self._param_name, ends.low, ends.high, self._workers.coarse_step)
            if self._is_last(worker, trial, last):
                # Outside optimize (ask-and-tell) there is no loop to stop: see is_resolved.
                with contextlib.suppress(RuntimeError):
                    study.stop()
                self._say_what_to_use(worker)

    def _is_last(self, worker: Worker, trial: FrozenTrial, last: Observation) -> bool:
        return worker.is_last(trial, last)

    def _say_what_to_use(self, worker: Worker) -> None:
        """Once, where people look: Optuna's best trial is the worst pick for a training."""
        if worker.has_ended:
            return
        worker.has_ended = True
        name = self._param_name
        _progress.info(
            "The search is resolved. Train with optuna_lrss.analyze(study%s).recommended; "
            "study.best_params[%r] is the lowest short loss, the upper end of the window, where a "
            "long training may diverge.",
            "" if name == "lr" else f", param_name={name!r}",
            name,
        )

    def _warn_without_lr(self, worker: Worker, trial: FrozenTrial, state: TrialState) -> None:
        if worker.has_warned or state != TrialState.COMPLETE:
            return
        worker.has_warned = True
        name = self._param_name
        _logger.warning(
            "Trial %d never asked for the learning rate %r, so LRStepSampler has nothing to "
            "search and will not stop by itself. Write trial.suggest_float(%r, 1e-7, 10, "
            "log=True) in the objective, or pass param_name=... if it has another name.",
            trial.number,
            name,
            name,
        )
