"""What a study says about its search before any trial: where to begin, how far steps go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._study.attributes import is_number
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.keys import FIRST
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import TAU


class Hints(NamedTuple):
    """What a study says.

    Attributes:
        first: The learning rate to try first; ``None`` where nothing says which.
        momentum: Heavy-ball beta of SGD, which tells how far steps go where tau is not stored.
        tau: How far k steps go under one gradient, in any unit, ``{k: tau(k)}``; may be empty.
    """

    first: float | None = None
    momentum: float = 0.0
    tau: Mapping[int, float] = {}

    @classmethod
    def of(cls, user_attrs: Mapping[str, Any]) -> Hints:
        """Those that a study's user attributes hold."""
        first = number_in(user_attrs, FIRST)
        beta = number_in(user_attrs, MOMENTUM) or 0.0
        return cls(
            first if first is not None and first > 0.0 else None,
            float(beta) if 0.0 <= beta < 1.0 else 0.0,
            _tau_in(user_attrs),
        )

    def reach(self, step: int, steps: int) -> float | None:
        """How far so many steps go beside all of them; ``None`` where tau is lacking."""
        if self.tau:
            if step not in self.tau or steps not in self.tau:
                return None
            return self.tau[step] / self.tau[steps]
        return (
            step * momentum_lag(self.momentum, step) / (steps * momentum_lag(self.momentum, steps))
        )


#: A study that says nothing.
NO_HINTS = Hints()


def _tau_in(user_attrs: Mapping[str, Any]) -> dict[int, float]:
    stored = user_attrs.get(TAU)
    if stored is None:
        return {}
    try:
        tau = {int(step): float(far) for step, far in stored}
    except (TypeError, ValueError):
        tau = {}
    ordered = [tau[step] for step in sorted(tau)]
    rises = all(a < b for a, b in zip([0.0, *ordered], ordered, strict=False))
    if tau and rises and all(map(is_number, ordered)) and math.isfinite(ordered[-1]):
        return tau
    warn_once(TAU, "a list of pairs [steps, how far they go], both ascending", stored)
    return {}
