"""configurations(): what a study knows of each configuration, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import overload

from optuna.study import StudyDirection

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analysis_of
from optuna_lrss._result.data import FOR_TRAINING
from optuna_lrss._result.data import PICKS
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.known import Known
from optuna_lrss._study.trials import baseline_of


if TYPE_CHECKING:
    from optuna.study import Study


@dataclass(frozen=True)
class ConfigurationRow:
    """One configuration's window and picks.

    Attributes:
        params: Values of the parameters except the learning rate.
        n_trials: Finished trials of its curve.
        value: The loss at its log-midpoint, which the base sampler is told (on the study's own
            scale: of a maximised study, a value to be maximised); without a window the best
            value; ``None`` where every trial diverged.
        window: ``(min_lr, max_lr)``; ``None`` where there is no window.
        picks: ``recommended``, ``peak``, ``midpoint``, ``half_loss`` and ``steepest``; empty
            without a window.
        problem: Why there is no window.
        best: Whether ``analyze(study)`` takes this one.
    """

    params: dict[str, Any]
    n_trials: int
    value: float | None
    window: tuple[float, float] | None
    picks: dict[str, float]
    problem: str | None
    best: bool

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values, flat: one column each."""
        low, high = self.window if self.window is not None else (None, None)
        return {
            **self.params,
            "n_trials": self.n_trials,
            "value": self.value,
            "min_lr": low,
            "max_lr": high,
            **{name: self.picks.get(name) for name in PICKS},
            "problem": self.problem,
            "best": self.best,
        }


class ConfigurationTable(Sequence[ConfigurationRow]):
    """The configurations of a study in the order in which they were opened; print it."""

    def __init__(self, rows: Sequence[ConfigurationRow]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, i: int) -> ConfigurationRow: ...

    @overload
    def __getitem__(self, i: slice) -> ConfigurationTable: ...

    def __getitem__(self, i: int | slice) -> ConfigurationRow | ConfigurationTable:
        return ConfigurationTable(self._rows[i]) if isinstance(i, slice) else self._rows[i]

    def __iter__(self) -> Iterator[ConfigurationRow]:
        return iter(self._rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat dictionary per configuration, as ``pandas.DataFrame`` takes them."""
        return [row.to_dict() for row in self._rows]

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self._rows for name in row.params))
        header = [*names, "trials", "value", "min_lr", "max_lr", "recommended", "peak", ""]
        lines = [header, *(_cells(row, names) for row in self._rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        return "\n".join(
            "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _cells(row: ConfigurationRow, names: list[str]) -> list[str]:
    low, high = row.window if row.window is not None else (None, None)
    numbers = [row.value, low, high, *(row.picks.get(n) for n in FOR_TRAINING)]
    note = "best" if row.best else "" if row.window is not None else "no window"
    params = [_cell(row.params[name]) if name in row.params else "-" for name in names]
    return [*params, str(row.n_trials), *(_cell(n) for n in numbers), note]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def configurations(study: Study, *, param_name: str = "lr") -> ConfigurationTable:
    """Lists a study's configurations with window, picks and value.

    A configuration is the values of all parameters except the learning rate; each has a curve of
    its own. ``analyze(study, configuration=row.params)`` says more about one of them.

    Args:
        study: A single-objective study.
        param_name: Name of the learning rate.

    Returns:
        The table, in the order in which the configurations were opened. Empty for a study
        without a finished trial that has a learning rate.

    Raises:
        ValueError: If the study has several objectives.
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"study={study.study_name!r} has {len(study.directions)} objectives; a curve has one "
            "loss. List a study that minimises the validation loss alone."
        )
    history = StudyHistory(param_name).refresh(study)  # once, for all of them
    curves = history.curves
    best = best_of(curves.values())
    baseline = baseline_of(study)
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    rows = []
    for curve in curves.values():
        params = curve.params(param_name)
        loss = Known(curve, baseline).value().loss
        window, picks, problem = None, {}, None
        try:
            result = analysis_of(study, history, curve)
        except NoWindowError as error:
            problem = str(error)
        else:
            window, picks = (result.min_lr, result.max_lr), result.picks
        rows.append(
            ConfigurationRow(
                params=params,
                n_trials=len(curve.items),
                value=sign * loss if loss < float("inf") else None,
                window=window,
                picks=picks,
                problem=problem,
                best=curve is best,
            )
        )
    return ConfigurationTable(rows)
