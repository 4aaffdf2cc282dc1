"""What ``analyze`` is given: its arguments checked, and what the study itself stores."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from optuna_lrss._method.recommend import lag_at
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._study.arguments import is_number
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.keys import GROUPS
from optuna_lrss._study.keys import LAG
from optuna_lrss._study.keys import STEPS


def require_arguments(
    study: object,
    param_name: object,
    step: Any,
    baseline: Any,
    steps: Any,
    momentum: Any,
    tolerance: Any,
    total_steps: Any = None,
) -> None:
    """Refuses what ``analyze`` cannot take.

    Raises:
        ValueError: With the argument, its value and the remedy.
    """
    if not hasattr(study, "directions"):
        raise ValueError(
            f"study={study!r} must be an optuna.Study, such as optuna.load_study(study_name=..., "
            "storage=...)."
        )
    if not isinstance(param_name, str):
        raise ValueError(f"param_name={param_name!r} must be a string, such as 'lr'.")
    if not (baseline is None or (is_number(baseline) and math.isfinite(baseline))):
        raise ValueError(
            f"baseline={baseline!r} must be a finite number, the untrained model's loss, or None."
        )
    for name, value, least, what in (
        ("steps", steps, 1, "a short trial"),
        ("step", step, 0, "a short trial"),
        ("total_steps", total_steps, 1, "the training"),
    ):
        if not (value is None or is_count(value, least)):
            raise ValueError(
                f"{name}={value!r} must be a whole number of at least {least}, the optimizer "
                f"steps of {what}, or None."
            )
    if not (momentum is None or (is_number(momentum) and 0.0 <= momentum < 1.0)):
        raise ValueError(
            f"momentum={momentum!r} must be a number in [0, 1), SGD's heavy-ball beta, or None."
        )
    if not (tolerance is None or (is_number(tolerance) and 0.0 < tolerance < math.inf)):
        raise ValueError(f"tolerance={tolerance!r} must be a width in decades, such as 0.1.")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number, NumPy's among them, and not too small."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and int(value) >= least


def groups_of(stored: Mapping[str, Any]) -> tuple[float, ...]:
    """Learning rate of each param group relative to the first one's; empty where all are equal."""
    ratios = stored.get(GROUPS, ())
    if not isinstance(ratios, (list, tuple)) or not all(map(is_number, ratios)):
        return ()
    return tuple(float(ratio) for ratio in ratios)


def lag_of(
    observations: Observations,
    stored: Mapping[str, Any],
    horizon: float | None,
    momentum: float,
    *,
    given: bool,
) -> Callable[[int], float]:
    """The share of its steady step that the optimizer delivers within so many steps.

    Of an optimizer that starts at rest, unless the lag of the real one was stored and the caller
    has not ``given`` another momentum.
    """
    own = next((o.lag for o in observations.items if o.lag is not None), None)
    lag = own if own is not None else number_in(stored, LAG)
    if given or lag is None or not 0.0 < lag <= 1.0:
        return lambda n: momentum_lag(momentum, n)
    at = number_in(stored, STEPS)
    known, known_at = float(lag), horizon if at is None else at
    return lambda n: lag_at(n, known, n if known_at is None else int(known_at), momentum)
