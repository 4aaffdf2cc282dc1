"""Checks of the sampler's arguments and distributions; errors name the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution

from optuna_lrss._method.points import POINT_NAMES


if TYPE_CHECKING:
    from optuna_lrss._result.lr_analysis import LRAnalysis


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
    start: LRAnalysis | tuple[float, float] | float | None,
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


def require_count(name: str, value: int | None) -> None:
    """Refuses what is neither None nor a whole number of at least 1."""
    if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")


def require_positive(name: str, value: float, what: str) -> None:
    if isinstance(value, bool) or not 0.0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be positive and finite: {what}.")
