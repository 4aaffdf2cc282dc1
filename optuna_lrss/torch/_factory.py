"""Short trials whose pieces depend on other hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.torch._path import PathStart
from optuna_lrss.torch._pieces import StepPieces
from optuna_lrss.torch._random import derived_seed
from optuna_lrss.torch._random import preserved_random_state
from optuna_lrss.torch._random import seed_everything
from optuna_lrss.torch._settings import Settings
from optuna_lrss.torch._short_trial import ShortTrial


if TYPE_CHECKING:
    from optuna.trial import BaseTrial


_BUILD = 100  # a seed's purpose, see _short_trial


class Factory:
    """Builds the pieces of each trial; remembers what is evaluated once a configuration.

    Args:
        build: Returns the pieces for a trial.
        settings: How they are trained.
        extra_state: Further objects to reset.

    Raises:
        ValueError: If ``build`` is no function.
    """

    def __init__(
        self,
        build: Callable[[Any], StepPieces | tuple[Any, ...]],
        settings: Settings,
        extra_state: tuple[Any, ...],
    ) -> None:
        if not callable(build):
            raise ValueError(f"build={build!r} cannot be called: give a function of the trial.")
        self._build = build
        self._settings = settings
        self._extra_state = extra_state
        self._known: dict[tuple[Any, ...], tuple[float, float, PathStart | None]] = {}
        self._untrained: dict[tuple[Any, ...], dict[int, list[float]]] = {}

    def __call__(self, trial: BaseTrial, settle: Callable[[ShortTrial], None]) -> ShortTrial:
        """The short trial of a trial's configuration.

        Args:
            trial: The trial, whose learning rate is not suggested yet.
            settle: Says on how much a short trial validates.

        Raises:
            ValueError: If the pieces are none, or cannot be trained.
        """
        with preserved_random_state():
            seed_everything(derived_seed(self._settings.seed, _BUILD))
            pieces = _as_pieces(self._build(trial))
        key = tuple(sorted(trial.params.items()))  # the learning rate is not among them yet
        short_trial = ShortTrial(
            pieces,
            self._settings,
            self._extra_state,
            untrained=self._untrained.setdefault(key, {}),
            check=not self._known,
            pilot=False,
        )
        settle(short_trial)
        known = key, short_trial.validated.samples  # another sample has another baseline
        if known in self._known:
            short_trial.recall(*self._known[known])
        self._known[known] = short_trial.baseline, short_trial.lag, short_trial.path_start
        return short_trial


def _as_pieces(pieces: Any) -> StepPieces:
    most = len(StepPieces._fields)
    if isinstance(pieces, tuple) and most - len(StepPieces._field_defaults) <= len(pieces) <= most:
        return StepPieces(*pieces)
    raise ValueError(
        f"build returned {type(pieces).__name__}: it must return StepPieces, or a tuple "
        f"({', '.join(StepPieces._fields)})."
    )
