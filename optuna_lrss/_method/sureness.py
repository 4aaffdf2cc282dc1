"""How sure the picks are: what the landscapes say about the distance to the best learning rate.

A learning rate is *right* for a training when it loses less than a point against the best one (a
point of accuracy or R2, or 4 % of what there is to gain where the loss alone is known). The table
holds quantiles, over the tasks of the landscapes, of how far the right ones lie from a pick: no
model, only counts. Written by ``python -m examples.benchmarks.landscapes advice --write``;
its coverage on tasks left out is in docs/results/advice.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from optuna_lrss._method.curve import FloatArray


#: Share of the trainings for which an interval holds a right learning rate.
PROBABILITY = 0.8
#: Risks of a pick that is too high which the table knows.
RISKS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Sureness:
    """Distances from a pick, in decades.

    Attributes:
        low: Lower end of the interval, at most 0.
        high: Upper end of the interval, at least 0.
        too_high: For each of ``RISKS``, how far above the pick a learning rate lies that is above
            every right one in that share of the trainings.
    """

    low: float
    high: float
    too_high: tuple[float, ...]

    def interval(self, pick: float) -> tuple[float, float]:
        """Learning rates that hold a right one in four trainings of five."""
        return pick * 10.0**self.low, pick * 10.0**self.high

    def at_risk(self, pick: float, risk: float) -> float:
        """A learning rate that is too high in a share ``risk`` of the trainings."""
        return float(pick * 10.0 ** np.interp(risk, RISKS, self.too_high))


#: By how the pick was measured, then by kind of schedule. "longer": on longer trials than the
#: search's that gained enough; "short": on the search's own trials; "little": wherever the trials
#: gained too little.
_TABLE: dict[str, dict[str, Sureness]] = {
    # begin table
    "longer": {
        "recommended": Sureness(-0.21, 0.08, (-0.39, -0.21, 0, 0.12, 0.32)),
        "peak": Sureness(-0.03, 0.16, (-0.21, -0.03, 0.1, 0.2, 0.36)),
    },
    "short": {
        "recommended": Sureness(-0.33, 0.17, (-0.51, -0.33, -0.08, 0.12, 0.35)),
        "peak": Sureness(-0.22, 0.24, (-0.46, -0.22, 0.03, 0.18, 0.42)),
    },
    "little": {
        "recommended": Sureness(-0.22, 0.91, (-0.31, -0.22, -0.03, 0.11, 0.26)),
        "peak": Sureness(-0.24, 1.21, (-0.65, -0.24, -0.23, 0.02, 0.38)),
    },
    # end table
}


def sureness(pick: str, *, longer: bool, enough: bool) -> Sureness:
    """What is known of a pick.

    Args:
        pick: ``"recommended"`` or ``"peak"``.
        longer: Whether it was read off longer trials than the search's.
        enough: Whether these trials gained enough.
    """
    return _TABLE["little" if not enough else "longer" if longer else "short"][pick]


def tied(lr: FloatArray, loss: FloatArray, per_decade: float) -> tuple[float, float]:
    """Interval of the lowest point: learning rates around it whose loss cannot be told from its.

    Args:
        lr: Learning rates, ascending, shape ``(n,)``.
        loss: Their losses, shape ``(n,)``.
        per_decade: How far two losses may lie apart and still be in either order, for each decade
            between their learning rates: the closer these are, the more alike the trials, and
            the less does their difference depend on the sample.

    Returns:
        The known neighbours of these learning rates; of the lowest one's alone where there is no
        other.
    """
    lowest = int(np.argmin(loss))
    away = np.abs(np.log10(lr / lr[lowest]))
    told = np.flatnonzero(loss > loss[lowest] + per_decade * away)
    below, above = told[told < lowest], told[told > lowest]
    return (
        float(lr[below[-1] if below.size else 0]),
        float(lr[above[0] if above.size else len(lr) - 1]),
    )


def widened(lr: float, bracket: tuple[float, float], noise: float) -> tuple[float, float]:
    """Interval of a point that is read off the curve: its bracket, or as far as noise moves it.

    Losses closer than about ``sqrt(noise)`` decades cannot be told apart (the method page,
    section 5), so a point is uncertain by half of that to either side. What the model of the
    curve places more exactly than its neighbours lie stays within them.
    """
    reach = 0.5 * math.sqrt(noise)
    low, high = min(bracket[0], lr), max(bracket[1], lr)
    return min(low, lr * 10.0**-reach), max(high, lr * 10.0**reach)
