"""The sampler's arguments, checked; errors name the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler

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


Start = HasWindow | tuple[float, float] | NDArray[Any] | float


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
    strategy: object,
    repeats: int,
) -> SearchOptions:
    """How to search.

    Raises:
        ValueError: If one is out of its range.
    """
    coarse_step = require_positive("coarse_step", coarse_step, "a spacing in decades, such as 0.5")
    tolerance = require_positive("tolerance", tolerance, "a width in decades, such as 0.1")
    if tolerance > coarse_step:
        raise ValueError(
            f"tolerance={tolerance!r} is above coarse_step={coarse_step!r}: the first look "
            "would already be finer than asked for; lower the tolerance."
        )
    if not isinstance(strategy, str) or strategy not in STRATEGY_NAMES:
        raise ValueError(f"strategy={strategy!r} is unknown: use one of {list(STRATEGY_NAMES)}.")
    require_count("repeats", repeats)
    return SearchOptions(
        coarse_step=coarse_step,
        tolerance=tolerance,
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
    listed = isinstance(points, Iterable)
    wanted = (points,) if isinstance(points, str) or not listed else tuple(points)
    known = [p for p in wanted if isinstance(p, str) and p in (*POINT_NAMES, "midpoint")]
    if len(known) < len(wanted) or not wanted:
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
    low, high = (getattr(start, name, None) for name in ("min_lr", "max_lr"))
    ends = _as_array(start if low is None or high is None else [low, high])
    if ends.shape in {(), (2,)} and ends.dtype.kind in "iuf":
        low, high = float(ends.flat[0]), float(ends.flat[-1])
        if 0.0 < low <= high < math.inf:
            return low, high
    raise ValueError(
        f"start={start!r} must be an LRAnalysis, an interval (low, high) or a learning rate, "
        "with 0 < low <= high."
    )


def _as_array(value: object) -> NDArray[Any]:
    """A number, or several, as an array; anything else as an array of objects."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError):  # lists of lists of several lengths, say
        return np.asarray(None)


def checked_name(param_name: object) -> str:
    """The name of the learning rate."""
    if not isinstance(param_name, str) or not param_name:
        raise ValueError(
            f"param_name={param_name!r} must be the name that the objective suggests the learning "
            "rate by, such as 'lr'."
        )
    return param_name


def checked_base_sampler(base_sampler: object) -> BaseSampler | None:
    """The sampler of the other parameters."""
    if base_sampler is None or isinstance(base_sampler, BaseSampler):
        return base_sampler
    raise ValueError(
        f"base_sampler={base_sampler!r} must be an Optuna sampler, such as TPESampler(), or be "
        "None for TPE."
    )


def require_wide(name: str, low: float, high: float, coarse_step: float) -> None:
    """Refuses a range of which the first look sees no more than both ends."""
    width = math.log10(high) - math.log10(low)
    if width > coarse_step:
        return
    remedy = f"suggest_float({name!r}, 1e-7, 10, log=True)"
    lower = f", or pass a coarse_step below {width:.3g}" if width > 0.0 else ""
    raise ValueError(
        f"The learning rate {name!r} has the range {low:g} to {high:g}, which is {width:.3g} "
        f"decades and no more than coarse_step={coarse_step:g}, so there is nothing between its "
        f"ends to look at: widen it, trial.{remedy}{lower}."
    )


def require_count(name: str, value: object, *, at_least: int = 1) -> None:
    """Refuses what is not a whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {at_least}.")


def require_budget(n_trials: object, timeout: object) -> None:
    """Refuses what ``study.optimize`` could not stop at; ``None`` is no limit."""
    if n_trials is not None:
        require_count("n_trials", n_trials, at_least=0)
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        raise ValueError(
            f"timeout={timeout!r} must be a number of seconds above 0, or None for no limit."
        )


def checked_seed(seed: object) -> int | None:
    """A seed for random numbers; ``None`` for another one each time."""
    if seed is None or isinstance(seed, numbers.Integral):
        return None if seed is None else int(seed)
    raise ValueError(f"seed={seed!r} must be a whole number, or None for another one each time.")


def checked_values(name: str, values: object) -> dict[str, Any]:
    """Values of parameters by their names."""
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{name}={values!r} must be a dict from the names of parameters to their values, such "
            "as {'batch_size': 64}."
        )
    return dict(values)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, NumPy's among them; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def require_positive(name: str, value: object, what: str) -> float:
    """The number, a NumPy one too; anything else is refused."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        number = float(value) if not isinstance(value, np.complexfloating) else math.nan
        if 0.0 < number < math.inf:
            return number
    raise ValueError(f"{name}={value!r} must be positive and finite: {what}.")
