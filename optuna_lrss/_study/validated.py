"""How much of the validation data the trials of a study validate on: decided once, and stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from optuna_lrss._study.attributes import count_in
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.keys import VALIDATION


#: How far apart the neighbours lie that ``error`` is about, in decades: as those on both sides of
#: the lowest loss at the end of a search that halves half a decade down to 0.0625.
NEIGHBOURS = 0.125


class Validated(NamedTuple):
    """What trials validate on.

    Attributes:
        samples: How many samples.
        of: Of how many; ``None`` where that was not counted.
        cost: What one validation costs, in optimizer steps; a forward pass is a third of one.
        error: Paired standard error between losses at learning rates ``NEIGHBOURS`` apart, as a
            share of the loss drop; ``None`` where it was not measured.
        pilot: What the decision cost, in optimizer steps.
        whole: Whether batches of the loader stay whole, because the loss needs them so.
    """

    samples: int
    of: int | None = None
    cost: float = 0.0
    error: float | None = None
    pilot: float = 0.0
    whole: bool = False

    @classmethod
    def stored(cls, user_attrs: Mapping[str, Any]) -> Validated | None:
        """What a study's user attributes say; ``None`` where they do not."""
        held = user_attrs.get(VALIDATION)
        if held is None:
            return None
        samples = count_in(held, "samples") if isinstance(held, Mapping) else None
        if samples is None:
            warn_once(VALIDATION, 'a mapping that holds the number of "samples"', held)
            return None
        return cls(
            samples,
            count_in(held, "of"),
            number_in(held, "cost", VALIDATION) or 0.0,
            number_in(held, "error", VALIDATION),
            number_in(held, "pilot", VALIDATION) or 0.0,
            held.get("whole") is True,
        )

    def as_attribute(self) -> dict[str, float]:
        """As it is stored."""
        held = {name: value for name, value in self._asdict().items() if value is not None}
        return {name: v for name, v in held.items() if v or name not in ("pilot", "whole")}

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.samples == self.of
