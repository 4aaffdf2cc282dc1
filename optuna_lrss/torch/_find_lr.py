"""find_lr: one call, no knowledge of Optuna needed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

import optuna
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.arguments import is_number
from optuna_lrss._study.arguments import require_count
from optuna_lrss._study.pruner import LRStepPruner
from optuna_lrss._study.sampler import LRStepSampler
from optuna_lrss.torch._objective import StepObjective
from optuna_lrss.torch._settings import StepOptions


if TYPE_CHECKING:
    from typing import Unpack

    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def find_lr(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Any, Any], Any],
    train_loader: Iterable[Any],
    validation_loader: Iterable[Any],
    *,
    tolerance: float = 0.1,
    repeats: int = 1,
    strategy: str = "frugal",
    start: LRAnalysis | tuple[float, float] | float | None = None,
    n_trials: int | None = None,
    timeout: float | None = None,
    storage: str | BaseStorage | None = None,
    study_name: str | None = None,
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
        optimizer: An optimizer over its parameters; its own learning rate does not matter, only
            the ratios between its param groups do.
        loss_fn: ``loss_fn(output, target)`` for ``(input, target)`` batches, or ``loss_fn(model,
            batch)`` for batches of any structure.
        train_loader: Training batches.
        validation_loader: Validation batches.
        tolerance: How well the points of interest are to be known, in decades.
        repeats: Most evaluations of one learning rate, spent where noise leaves it undecided.
        strategy: As in :class:`LRStepSampler`; ``"guided"`` also turns ``paths`` on.
        start: Where to begin: an earlier result, an interval or a learning rate.
        n_trials: Run at most this many short trials, though points may stay unresolved; ``None``
            stops when all are resolved, 0 only analyses what the storage holds.
        timeout: Start no trial after this many seconds; ``None`` for no limit.
        storage: Database URL or Optuna storage to keep the study in; ``None`` keeps it in memory.
        study_name: Name of the study in it. An existing study of that name is continued, or only
            analysed if it is resolved.
        **options: The keyword options of :class:`StepObjective`, such as ``steps``, ``low``,
            ``high``, ``autocast``. ``progress`` shows one bar over the trials.

    Returns:
        The analysis, with the window, the picks, how sure they are.

    Raises:
        ValueError: If an argument is out of its range; see :class:`StepObjective`.
        NoWindowError: If no learning rate in the range learns; the message says what to change.
    """
    _require_budget(n_trials, timeout)
    show = options.get("progress", True)
    param_name = options.get("param_name", "lr")
    silent: StepOptions = {"paths": strategy == "guided", **options, "progress": False}
    objective = StepObjective(model, optimizer, loss_fn, train_loader, validation_loader, **silent)
    sampler = LRStepSampler(
        param_name=param_name,
        tolerance=tolerance,
        repeats=repeats,
        strategy=strategy,
        start=start,
    )
    with _quiet_optuna():
        study = optuna.create_study(
            storage=storage,
            study_name=study_name,
            sampler=sampler,
            pruner=LRStepPruner(),
            load_if_exists=True,
        )
        sampler.begin(study)
        # optimize would run one more trial on a study that is already resolved.
        if n_trials != 0 and not sampler.is_resolved(study):
            _optimize(study, objective, param_name, n_trials, timeout, show=show)
        return analyze(study, param_name=param_name)


def _require_budget(n_trials: Any, timeout: Any) -> None:
    if n_trials is not None:
        require_count("n_trials", n_trials, at_least=0)
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        raise ValueError(
            f"timeout={timeout!r} must be a number of seconds above 0, or None for no limit."
        )


def _optimize(
    study: Study,
    objective: StepObjective,
    param_name: str,
    n_trials: int | None,
    timeout: float | None,
    *,
    show: bool,
) -> None:
    # disable=None: off when standard error is not a terminal.
    with tqdm(desc="short trials", unit=" trials", disable=None if show else True) as bar:

        def advance(_: Study, trial: FrozenTrial) -> None:
            value = "pruned" if trial.value is None else f"{trial.value:.4g}"
            bar.set_postfix(lr=f"{trial.params[param_name]:.2e}", loss=value, refresh=False)
            bar.update()

        study.optimize(objective, n_trials=n_trials, timeout=timeout, callbacks=[advance])


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
