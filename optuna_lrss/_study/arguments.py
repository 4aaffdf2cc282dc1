"""The sampler's arguments, checked; errors name the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution

from optuna_lrss._method.points import POINT_NAMES
from optuna_lrss._study.curve_search import STRATEGY_NAMES
from optuna_lrss._study.curve_search import SearchOptions


class HasWindow(Protocol):
    """What a search can start from: an :class:`~optuna_lrss.LRAnalysis`, say."""

    @property
    def min_lr(self) -> float:
        """Lower end of the window."""

    @property
    def max_lr(self) -> float:
        """Upper end of the window."""


Start = HasWindow | tuple[float, float] | float


@dataclass(frozen=True)
class Arguments:
    """What LRStepSampler was given, but for the base sampler."""

    param_name: str
    options: SearchOptions = field(default_factory=SearchOptions)
    start: tuple[float, float] | None = None
    max_configurations: int | None = None
    grace_period: float = 60.0  # seconds


def checked_options(
    *,
    coarse_step: float,
    tolerance: float,
    points: Iterable[str] | None,
    strategy: str,
    repeats: int,
) -> SearchOptions:
    """How to search.

    Raises:
        ValueError: If one is out of its range.
    """
    require_positive("coarse_step", coarse_step, "a spacing in decades, such as 0.5")
    require_positive("tolerance", tolerance, "a width in decades, such as 0.1")
    if tolerance > coarse_step:
        raise ValueError(
            f"tolerance={tolerance!r} is above coarse_step={coarse_step!r}: the first look "
            "would already be finer than asked for; lower the tolerance."
        )
    if strategy not in STRATEGY_NAMES:
        raise ValueError(f"strategy={strategy!r} is unknown: use one of {list(STRATEGY_NAMES)}.")
    require_count("repeats", repeats)
    return SearchOptions(
        coarse_step=float(coarse_step),
        tolerance=float(tolerance),
        points=checked_points(points),
        strategy=strategy,
        repeats=repeats,
    )


def checked_distribution(name: str, distribution: BaseDistribution) -> FloatDistribution:
    remedy = f"write trial.suggest_float({name!r}, 1e-7, 10, log=True)."
    if not isinstance(distribution, FloatDistribution):
        raise ValueError(
            f"The learning rate {name!r} has distribution {distribution}; it must be a "
            f"log-scaled float: {remedy}"
        )
    if not distribution.log:
        zero = " (and a low above 0)" if distribution.low <= 0 else ""
        raise ValueError(
            f"The learning rate {name!r} is suggested on a linear scale, {distribution}; only "
            f"proportional changes of a learning rate matter: {remedy}{zero}"
        )
    return distribution


def checked_points(points: Iterable[str] | None) -> tuple[str, ...]:
    if points is None:
        return POINT_NAMES
    wanted = (points,) if isinstance(points, str) else tuple(points)
    unknown = [p for p in wanted if p not in (*POINT_NAMES, "midpoint")]
    if unknown or not wanted:
        raise ValueError(
            f"points={wanted!r} must name some of {POINT_NAMES} or 'midpoint', or be None for all."
        )
    both = ("min_lr", "max_lr") if "midpoint" in wanted else ()
    return tuple(p for p in POINT_NAMES if p in wanted or p in both)


def checked_start(
    start: Start | None,
) -> tuple[float, float] | None:
    """The interval of learning rates to begin in."""
    if start is None:
        return None
    if isinstance(start, (int, float)):
        low = high = float(start)
    elif isinstance(start, tuple | list) and len(start) == 2:
        low, high = float(start[0]), float(start[1])
    elif hasattr(start, "min_lr") and hasattr(start, "max_lr"):
        low, high = float(start.min_lr), float(start.max_lr)
    else:
        low = high = math.nan
    if not (0.0 < low <= high < math.inf):
        raise ValueError(
            f"start={start!r} must be an LRAnalysis, an interval (low, high) or a learning rate, "
            "with 0 < low <= high."
        )
    return low, high


def require_count(name: str, value: object, *, at_least: int = 1) -> None:
    """Refuses what is not a whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {at_least}.")


def require_positive(name: str, value: float, what: str) -> None:
    if isinstance(value, bool) or not 0.0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be positive and finite: {what}.")
