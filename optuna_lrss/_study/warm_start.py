"""Where a later configuration's search begins: in the window of one like it.

The windows of two configurations of one study are mostly a fraction of a decade apart. So a
later one is searched in a range around an earlier window, which grows where its own losses say
that a point of interest lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.levels import NEAR_PLATEAU
from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.curve_search import CurveSearch
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.known import Known
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.trials import Observation


Window = tuple[float, float]

#: Decades on either side of the earlier window, and the first step beyond; each step doubles.
_MARGIN = 0.5
#: The nearest that a point may come to an end of the range before the range grows, in decades.
_NEAR = 0.26
#: An earlier configuration counts from this many trials on.
_MIN_TRIALS = 5
#: Configurations after the first are resolved within this many tolerances, enough to compare them.
_LATER_TOLERANCE = 2.0


def search_over(
    arguments: Arguments,
    moment: Moment,
    observations: Observations | None,
    distribution: FloatDistribution,
    *,
    extra: Observation | None = None,
    params: dict[str, Any] | None = None,
    full: bool = False,
    given: float | None = None,
) -> CurveSearch:
    """The search over one curve.

    Configurations after the first are searched around the window of the one most like them and
    resolved within twice the tolerance: enough to compare them.

    Args:
        arguments: The sampler's.
        moment: What the decision sees.
        observations: The configuration's finished trials; ``None`` before the first.
        distribution: The whole range of the learning rate.
        extra: A trial that is being told, not among the observations yet.
        params: Values of the other parameters, as far as known, while nothing has finished.
        full: Whether to search as for the first configuration.
        given: A baseline that the caller gives.
    """
    known = Known(observations, moment.baseline, extra, given=given, hints=moment.hints)
    window = None if full else _known_window(arguments, moment, observations, params)
    if window is None:
        return CurveSearch(arguments.options, known, distribution, arguments.start)
    tolerance = min(_LATER_TOLERANCE * arguments.options.tolerance, arguments.options.coarse_step)
    options = replace(arguments.options, tolerance=tolerance)
    return CurveSearch(options, known, narrowed(known, window, distribution), window)


def _known_window(
    arguments: Arguments,
    moment: Moment,
    observations: Observations | None,
    params: dict[str, Any] | None,
) -> Window | None:
    """The window of the earlier configuration most like this one."""
    if not moment.history.is_nested:
        return None
    leader = math.inf
    if observations is not None:
        leader = observations.leader
        if observations.items:
            params = observations.params(arguments.param_name)
    earlier = [c for c in moment.history.curves.values() if c.leader < leader]
    return nearest_window(earlier, params or {}, arguments.param_name, moment.baseline)


def nearest_window(
    curves: Iterable[Observations],
    params: dict[str, Any],
    param_name: str,
    baseline: float | None,
) -> Window | None:
    """The window of the configuration most like ``params``; of equals, the latest.

    Args:
        curves: Earlier configurations.
        params: Values of the parameters except the learning rate.
        param_name: Name of the learning rate.
        baseline: The study's loss of the untrained model, if known.

    Returns:
        ``(min_lr, max_lr)``, or ``None`` if no configuration has a window yet.
    """
    long_enough = [c for c in curves if len(c.items) >= _MIN_TRIALS]
    # A window takes a fit of the curve, a distance next to nothing: the nearest is asked first.
    far = [_distance(curve, params, param_name) for curve in long_enough]
    for i in sorted(range(len(far)), key=lambda i: (far[i], -i)):
        window = Known(long_enough[i], baseline).value().window
        if window is not None:
            return window
    return None


def _distance(curve: Observations, params: dict[str, Any], param_name: str) -> float:
    """Mean distance of the parameters, each scaled to its range; 1 where one is missing."""
    item = curve.items[0]
    names = (item.params.keys() | params.keys()) - {param_name}
    total = 0.0
    for name in names:
        if name not in item.params or name not in params:
            total += 1.0
            continue
        a, b, distribution = item.params[name], params[name], item.distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            total += float(a != b)
            continue
        low, high = distribution.low, distribution.high
        if distribution.log:
            a, b, low, high = (math.log(v) for v in (a, b, low, high))
        total += abs(a - b) / (high - low) if high > low else 0.0
    return total / len(names) if names else 0.0


def narrowed(known: Known, window: Window, distribution: FloatDistribution) -> FloatDistribution:
    """The range to search in, given an earlier window: as wide as this curve turns out to need.

    Args:
        known: What is known of the configuration. Without a baseline the lower end stays where it
            is, since nothing says where the plateau is.
        window: ``(min_lr, max_lr)`` of an earlier configuration.
        distribution: The whole range.
    """
    curve, baseline = known.curve, known.baseline
    bottom, top = math.log10(distribution.low), math.log10(distribution.high)
    low, high = math.log10(window[0]) - _MARGIN, math.log10(window[1]) + _MARGIN
    if len(curve):
        low = bottom if baseline is None else low
        lowest = int(np.argmin(curve.loss))
        if not math.isfinite(curve.loss[lowest]):
            low = bottom
        elif baseline is not None and len(curve) >= 3 and not curve.loss[lowest] < baseline:
            low, high = bottom, top
        else:
            step = _MARGIN
            while low > bottom and _is_open_below(curve, baseline, lowest, low):
                low, step = low - step, 2.0 * step
            step = _MARGIN
            while high < top and lowest == len(curve) - 1 and curve.x[lowest] > high - _NEAR:
                high, step = high + step, 2.0 * step
    # An end close to the whole range's end is that end.
    low = distribution.low if low < bottom + _NEAR else 10.0**low
    high = distribution.high if high > top - _NEAR else 10.0**high
    return FloatDistribution(low, high, log=True)


def _is_open_below(curve: LRCurve, baseline: float | None, lowest: int, low: float) -> bool:
    """Whether the lowest known learning rate lies near ``low`` and learns there."""
    if baseline is None or curve.x[0] > low + _NEAR:
        return False
    if not math.isfinite(curve.loss[0]):
        return True
    share = (curve.loss[0] - curve.loss[lowest]) / (baseline - curve.loss[lowest])
    return bool(share < NEAR_PLATEAU)
