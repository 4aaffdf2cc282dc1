"""Rules on records: loading them, and what each loses on every training and seed."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.record import Record
from examples.benchmarks.landscapes.score.cell import Cell
from examples.benchmarks.landscapes.score.cell import NotRecordedError
from examples.benchmarks.landscapes.score.cell import cell_of
from examples.benchmarks.landscapes.score.cell import measured
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.landscape import landscapes
from examples.benchmarks.landscapes.score.weighing import Tasks


#: The files of rules/, in the order of the tables.
BUILT_IN = ("package", "candidate", "range_test_picks", "constants")


@dataclass(frozen=True, eq=False)
class Solved:
    """One training with its end: what a rule may be fitted on, for tasks other than its own."""

    landscape: Landscape
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False)
class Rule:
    """A pick by name.

    Attributes:
        name: In the tables.
        pick: `pick(cell)`, or `pick(cell, fitted)` where there is something to fit.
        fit: What the fitted constants come from, or `None`.
    """

    name: str
    pick: Callable[..., float | None]
    fit: Callable[[Sequence[Solved]], Any] | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """A rule's results, one row for each training and seed.

    Attributes:
        name: The rule's.
        lost: Points, shape (rows,); NaN where the record lacks what the rule looks at.
        decades: log10 of the pick over the best learning rate; NaN where there was no answer.
        reliable: Whether the pick comes within one percent of the best metric.
        cost: Optimizer steps looked at.
    """

    name: str
    lost: Array
    decades: Array
    reliable: Array
    cost: Array

    def at(self, rows: Array) -> Score:
        """Some of the rows."""
        return Score(
            self.name, self.lost[rows], self.decades[rows], self.reliable[rows], self.cost[rows]
        )


@dataclass(frozen=True, eq=False)
class Replay:
    """All rules on the same rows, and what the rows are."""

    trainings: list[Landscape]  # of each row
    scores: dict[str, Score]

    def where(self, wanted: Callable[[Landscape], bool]) -> Replay:
        """Only the rows whose training is wanted."""
        return self._at(np.flatnonzero([wanted(t) for t in self.trainings]))

    def _at(self, rows: Array) -> Replay:
        return Replay(
            [self.trainings[i] for i in rows], {k: s.at(rows) for k, s in self.scores.items()}
        )

    @property
    def tasks(self) -> Tasks:
        return Tasks.of([t.task for t in self.trainings])

    def known_to(self, name: str) -> Replay:
        """Only the rows on which a rule could be replayed."""
        rows = np.flatnonzero(np.isfinite(self.scores[name].lost))
        return self._at(rows)


def solve(records: Iterable[Record]) -> list[Solved]:
    """Every training of every record that any rate learns in, with its cells, one for each seed.

    Where none does, no rule can fail, and what a loss lost would be a share of next to nothing.
    """
    solved = []
    for record in records:
        seeds = measured(record)
        for of_training in filter(lambda t: t.learns, landscapes(record)):
            cells = (cell_of(record, s, of_training.steps, of_training.schedule) for s in seeds)
            solved.append(Solved(of_training, tuple(cells)))
    return solved


def built_in_rules() -> list[Rule]:
    """The rules of rules/."""
    package = __package__.rpartition(".")[0]
    modules = (importlib.import_module(f"{package}.rules.{name}") for name in BUILT_IN)
    return [rule for module in modules for rule in rules_of(module)]


def rules_from(path: Path) -> list[Rule]:
    """The rules of a file of one's own.

    Raises:
        ValueError: The file is missing, or holds neither `rule` nor `RULES`.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file: name a Python file that holds rule(cell).")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return rules_of(module)


def rules_of(module: ModuleType) -> list[Rule]:
    """`RULES` of a module, or its `rule` under the module's name."""
    found = getattr(module, "RULES", None)
    if found is None and hasattr(module, "rule"):
        found = {module.__name__: module.rule}
    if not found:
        raise ValueError(
            f"{module.__name__} holds no rule: define rule(cell) that returns a learning rate, or "
            "RULES, a dictionary of such functions by name."
        )
    fit = getattr(module, "fit", None)
    return [Rule(name, pick, fit if _takes_fitted(pick) else None) for name, pick in found.items()]


def _takes_fitted(pick: Callable[..., float | None]) -> bool:
    """Whether a second argument has to be given."""
    parameters = list(inspect.signature(pick).parameters.values())
    return len(parameters) > 1 and parameters[1].default is inspect.Parameter.empty


def replay(rules: Sequence[Rule], solved: Sequence[Solved], own: Sequence[Rule] = ()) -> Replay:
    """What each rule loses on every training and seed.

    A rule with something to fit is fitted once for each task, on the trainings of all others.

    Args:
        rules: Which rules; one that no cell's record suffices for is NaN on all rows.
        solved: Trainings, with their cells.
        own: Rules for which that is an error.

    Raises:
        ValueError: If a rule returns no number, or a rule of `own` can be replayed on no cell.
    """
    rows = [(s.landscape, cell) for s in solved for cell in s.cells]
    scores = {rule.name: _score(rule, solved, rule in own) for rule in (*rules, *own)}
    return Replay([landscape for landscape, _ in rows], scores)


def _learning_rate(rule: Rule, pick: object) -> float | None:
    try:
        return None if pick is None else float(pick)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{rule.name} returned {pick!r}: return a learning rate, or None for no answer."
        ) from error


def _score(rule: Rule, solved: Sequence[Solved], own: bool) -> Score:
    fitted: dict[str, Any] = {}
    lost, decades, reliable, cost = [], [], [], []
    missing = ""
    for s in solved:
        task = s.landscape.task
        if rule.fit is not None and task not in fitted:
            fitted[task] = rule.fit([o for o in solved if o.landscape.task != task])
        extra = () if rule.fit is None else (fitted[task],)
        for stored in s.cells:
            cell = replace(stored, cost=0)
            try:
                pick = _learning_rate(rule, rule.pick(cell, *extra))
                points = s.landscape.points_lost(pick)
            except NotRecordedError as error:
                pick, points, missing = None, np.nan, str(error)
            lost.append(points)
            decades.append(s.landscape.decades_off(pick))
            reliable.append(points <= s.landscape.one_percent)
            cost.append(cell.cost)
    if own and np.isnan(lost).all():
        raise ValueError(f"{rule.name} can be replayed on no cell: {missing}")
    return Score(rule.name, *(np.array(a, float) for a in (lost, decades, reliable, cost)))
