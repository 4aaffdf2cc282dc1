"""find_lr: one call, no knowledge of Optuna needed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import optuna
from torch import nn

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.interrupted import interrupted
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._result.progress import SearchProgress
from optuna_lrss._study.arguments import require_budget
from optuna_lrss._study.pruner import LRStepPruner
from optuna_lrss._study.sampler import LRStepSampler
from optuna_lrss.torch._lanes.optimize import optimize_lanes
from optuna_lrss.torch._lanes.optimize import require_lanes
from optuna_lrss.torch._objective import StepObjective
from optuna_lrss.torch._settings import StepOptions
from optuna_lrss.torch._together import Optimizers


if TYPE_CHECKING:
    from typing import Unpack

    from optuna.storages import BaseStorage
    from optuna.study import Study


def find_lr(
    model: nn.Module,
    optimizer: Optimizers,
    loss_fn: Callable[[Any, Any], Any],
    train_loader: Iterable[Any],
    validation_loader: Iterable[Any] | None = None,
    *,
    tolerance: float = 0.1,
    repeats: int = 1,
    strategy: str = "frugal",
    start: LRAnalysis | tuple[float, float] | float | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    lanes: int | Literal["auto"] | None = None,
    storage: str | BaseStorage | None = None,
    study_name: str | None = None,
    plot: bool = False,
    **options: Unpack[StepOptions],
) -> LRAnalysis:
    """Finds a learning rate from short trials; model and optimizer come back untouched.

    Example:
        .. code-block:: python

            result = find_lr(model, optimizer, cross_entropy, train_loader, valid_loader)
            print(result)
            result.apply(optimizer)

    Args:
        model: The model.
        optimizer: An optimizer over its parameters; its own learning rate may say where to begin
            and matters no more, only the ratios between its param groups do. Several in a list
            are searched as one.
        loss_fn: ``loss_fn(output, target)`` for ``(input, target)`` batches, or ``loss_fn(model,
            batch)`` for batches of any structure.
        train_loader: Training batches.
        validation_loader: Validation batches. ``None`` holds batches of the training loader out,
            which no trial trains on; ``validation_batches`` says how many. The report says so.
        tolerance: How well the points of interest are to be known, in decades.
        repeats: Most evaluations of one learning rate, spent where noise leaves it undecided.
        strategy: As in :class:`~optuna_lrss.LRStepSampler`; ``"guided"`` also turns ``paths``
            on.
        start: Where to begin: an earlier result, an interval or a learning rate.
        n_trials: Run at most this many short trials, though points may stay unresolved; ``None``
            stops when all are resolved, 0 only analyses what the storage holds. Ctrl-C ends the
            search too: the answer so far comes back, with the doubt ``interrupted``.
        timeout: Start no trial after this many seconds; ``None`` for no limit.
        lanes: Train this many learning rates in one pass, which is faster for small models;
            ``"auto"`` decides by model and memory; see :func:`optimize_lanes`. ``None``: one after
            the other.
        storage: Database URL or Optuna storage to keep the study in; ``None`` keeps it in memory.
        study_name: Name of the study in it. An existing study of that name is continued, or only
            analysed if it is resolved.
        plot: Draw the curve as it grows, in a notebook; see :class:`~optuna_lrss.SearchProgress`.
        **options: The keyword options of :class:`StepObjective`, such as ``steps``,
            ``total_steps``, ``low``, ``high``, ``autocast``. ``progress`` (default ``True``)
            shows the search as it comes, in a bar or in a line for each trial, as
            :class:`~optuna_lrss.SearchProgress` does.

    Returns:
        The analysis, with the window, the picks, how sure they are.

    Raises:
        ValueError: If an argument is out of its range; see :class:`StepObjective`.
        NoWindowError: If no learning rate in the range learns; the message says what to change.
        KeyboardInterrupt: At Ctrl-C while there is no window yet.
    """
    require_budget(n_trials, timeout)
    if lanes is not None:
        require_lanes(lanes)
    text = options.get("progress", True) is not False
    param_name = options.get("param_name", "lr")
    show = SearchProgress(param_name, plot=plot, text=text, n_trials=n_trials, timeout=timeout)
    shown: StepOptions = {"paths": strategy == "guided", **options, "progress": show}
    objective = StepObjective(model, optimizer, loss_fn, train_loader, validation_loader, **shown)
    sampler = LRStepSampler(
        param_name=param_name,
        tolerance=tolerance,
        repeats=repeats,
        strategy=strategy,
        start=start,
    )
    with _quiet_optuna(), show:
        study = optuna.create_study(
            storage=storage,
            study_name=study_name,
            sampler=sampler,
            pruner=LRStepPruner(),
            load_if_exists=True,
        )
        sampler.begin(study)
        if n_trials != 0:
            objective.begin(study)  # where short trials are resolved, longer ones may follow
        # optimize would run one more trial on a study that is already resolved.
        if n_trials == 0 or sampler.is_resolved(study):
            return analyze(study, param_name=param_name)
        budget: dict[str, Any] = {"n_trials": n_trials, "timeout": timeout, "callbacks": [show]}
        try:
            if lanes is None:
                study.optimize(objective, **budget)
            else:
                optimize_lanes(study, objective, lanes=lanes, **budget)
        except KeyboardInterrupt as stop:
            return _answer_so_far(study, param_name, stop)
        result = analyze(study, param_name=param_name)
        show.finish(study, result)
        return result


def _answer_so_far(study: Study, param_name: str, stop: KeyboardInterrupt) -> LRAnalysis:
    """What is known when the caller stops the search; without a window that is nothing."""
    try:
        return interrupted(analyze(study, param_name=param_name))
    except NoWindowError:
        raise stop from None


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna logs every trial; a caller who knows nothing of it need not see that.

    Nor its warning of a trial that raised, with the traceback that the caller gets anyway.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
