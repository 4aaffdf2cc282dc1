"""optimize_lanes: `study.optimize`, several learning rates in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from collections.abc import Iterable
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

from optuna_lrss._study.arguments import require_budget
from optuna_lrss._study.arguments import require_count
from optuna_lrss.torch._lanes.count import lanes_for
from optuna_lrss.torch._lanes.one_pass import LaneTrials
from optuna_lrss.torch._lanes.refusals import CannotVectoriseError
from optuna_lrss.torch._lanes.rounds import Budget
from optuna_lrss.torch._lanes.rounds import Rounds
from optuna_lrss.torch._objective import _ONE_AT_A_TIME
from optuna_lrss.torch._objective import StepObjective
from optuna_lrss.torch._short_trial import ShortTrial
from optuna_lrss.torch._study_attributes import refuse_study


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def optimize_lanes(
    study: Study,
    objective: StepObjective,
    *,
    lanes: int | Literal["auto"] = "auto",
    n_trials: int | None = None,
    timeout: float | None = None,
    catch: type[Exception] | Iterable[type[Exception]] = (),
    callbacks: Iterable[Callable[[Study, FrozenTrial], None]] | None = None,
) -> None:
    """Runs short trials as ``study.optimize(objective)`` does, several learning rates in one pass.

    Weights, buffers and optimizer state exist once for each learning rate, and a step computes all
    of them together (``torch.func.vmap``). The study gets the trials, values, reports and
    attributes that one short trial after the other would give it, but for rounding. A small model
    gains several times, since most of its time goes into starting operations, not into arithmetic;
    a large one on a CPU loses (docs: results on lanes).

    Of SGD, Adam, AdamW and RMSprop there are such steps, with momentum, weight decay, param groups
    and clipping. What cannot be vectorised runs one trial after the other, after a warning that
    says why: other optimizers, closures, hooks, a ``clip_norm`` of your own, float16,
    ``extra_state``, :meth:`StepObjective.from_factory`, torch's recurrent layers, and models whose
    course depends on their numbers. Before the first trial, three steps of two lanes are held
    against the same steps of the model alone.

    Example:
        .. code-block:: python

            study = optuna.create_study(sampler=LRStepSampler())
            optimize_lanes(study, objective)

    Args:
        study: The study. :class:`~optuna_lrss.LRStepSampler` gives each trial of a round another
            learning rate, and a round no more trials than are of use; with a pruner of your own
            note that reports come after the whole pass.
        objective: What one trial is.
        lanes: Most learning rates at a time; ``"auto"`` for as many as a search first looks at,
            fewer where memory is short; on a CPU only the longer trials go together, and none
            where the model is too large to gain.
        n_trials: Run at most this many trials; ``None`` goes on until the search is resolved.
        timeout: Begin no round after this many seconds; ``None`` for no limit.
        catch: Exceptions of a trial that do not end the study.
        callbacks: Functions of the study and a finished trial, called after each round for each of
            its trials; one may call ``study.stop()``.

    Raises:
        ValueError: If an argument is out of its range; and as :class:`StepObjective` does.
    """
    _require(objective, lanes, n_trials, timeout)
    refuse_study(study)
    budget = Budget(n_trials, timeout)
    caught = (catch,) if isinstance(catch, type) else tuple(catch)
    called = list(callbacks or ())
    reason: str | None = None
    try:
        trials, width = _prepared(study, objective, lanes)
    except CannotVectoriseError as error:
        reason = str(error)
    else:
        if trials is not None:
            # On a CPU a round of short trials costs more, in trials of little use, than it gains.
            short_alone = lanes == "auto" and trials._device.type == "cpu"
            rounds = Rounds(
                study, objective, trials, width, caught, called, short_alone=short_alone
            )
            reason = rounds.run(budget)
            if reason is None:
                return
    if reason is not None:
        warnings.warn(
            f"optimize_lanes runs one short trial after the other: {reason}.", stacklevel=2
        )
        if budget.is_spent or study._stop_flag:
            return
    study.optimize(
        objective, n_trials=budget.n_trials, timeout=budget.seconds, catch=caught, callbacks=called
    )


def _prepared(
    study: Study, objective: StepObjective, lanes: int | Literal["auto"]
) -> tuple[LaneTrials | None, int]:
    """The trials, and how many of them at a time; none where it is one."""
    alone = objective._source
    if not isinstance(alone, ShortTrial):
        raise CannotVectoriseError("from_factory builds another model for each trial")
    with _ONE_AT_A_TIME:
        objective._settle(study)
        width = lanes_for(alone, objective._space) if lanes == "auto" else lanes
        return (LaneTrials(alone) if width > 1 else None), width


def _require(objective: Any, lanes: Any, n_trials: Any, timeout: Any) -> None:
    if not isinstance(objective, StepObjective):
        raise ValueError(
            f"objective is a {type(objective).__name__}: a StepObjective is needed, whose trials "
            "can be trained together. For another objective use study.optimize(objective)."
        )
    require_lanes(lanes)
    require_budget(n_trials, timeout)


def require_lanes(lanes: Any) -> None:
    """Checks how many learning rates at a time.

    Raises:
        ValueError: If it is neither a count nor "auto".
    """
    if lanes == "auto":
        return
    if isinstance(lanes, str):
        raise ValueError(f"lanes={lanes!r} must be a number above 0, or 'auto'.")
    require_count("lanes", lanes)
