"""analyze(): from a study's short trials to the viable window and the picks."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeGuard

import numpy as np

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import TooFewPointsError
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import lag_at
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._result.diagnostics import Facts
from optuna_lrss._result.diagnostics import diagnose
from optuna_lrss._result.horizons import drift_of
from optuna_lrss._result.horizons import picks_at_each_step
from optuna_lrss._result.horizons import picks_of
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.curve_search import CurveSearch
from optuna_lrss._study.curve_search import SearchOptions
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import at_step
from optuna_lrss._study.curves import ranked
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.keys import GROUPS
from optuna_lrss._study.keys import GUESS
from optuna_lrss._study.keys import LAG
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.known import Known
from optuna_lrss._study.known import baseline_for
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import baseline_of


if TYPE_CHECKING:
    from optuna.study import Study


#: Horizon that is assumed where none is stored (paper, section 2).
_DEFAULT_STEPS = 20


def analyze(
    study: Study,
    *,
    param_name: str = "lr",
    configuration: Mapping[str, Any] | None = None,
    step: int | None = None,
    baseline: float | None = None,
    steps: int | None = None,
    momentum: float | None = None,
    normalize: bool = True,
    tolerance: float = 0.1,
) -> LRAnalysis:
    """Reads the viable window and the picks off a study's short trials, whoever sampled them.

    Args:
        study: A single-objective study whose trials have a log-scaled float ``param_name``.
        param_name: Name of the learning rate.
        configuration: Values of the other parameters whose curve is wanted; ``None`` takes the
            configuration with the lowest loss.
        step: Analyse the losses reported at this step instead of the final ones.
        baseline: Loss of the untrained model; default what the objective stored as
            ``lrss:baseline``, else the loss on the lowest plateau.
        steps: Horizon of the short trials; default ``lrss:steps``.
        momentum: Heavy-ball beta of SGD, 0 for plain SGD and Adam, of an optimizer that started
            at rest; default ``lrss:momentum`` with the lag that was stored, ``lrss:lag``.
        normalize: Whether the curvature is taken on the normalised loss.
        tolerance: Width in decades that counts as resolved.

    Returns:
        The analysis.

    Raises:
        ValueError: If an argument is of the wrong kind, or the study has several objectives or no
            such parameter or configuration.
        NoWindowError: If there is no viable window; the message says what to change.
    """
    _require_arguments(study, param_name, step, baseline, steps, momentum, tolerance)
    observations = _select(study, param_name, configuration)
    distribution = observations.items[-1].distributions[param_name]
    stored = study.user_attrs
    given = None if baseline is None else float(baseline)
    known = baseline_for(observations.baseline, baseline_of(study), given)
    horizon = steps if steps is not None else stored.get(STEPS)
    own = next((o.momentum for o in observations.items if o.momentum is not None), 0.0)
    beta = float(momentum if momentum is not None else stored.get(MOMENTUM, own))
    lag = _lag_of(observations, stored, horizon, beta, given=momentum is not None)
    horizons = {} if step is not None else picks_at_each_step(observations, known, lag, normalize)
    if step is not None:
        observations = at_step(observations, step)
        horizon = step
    curve = observations.curve(known)
    points = points_of_interest(
        curve,
        known,
        normalize=normalize,
        search_range=(distribution.low, distribution.high),
    )
    n = int(horizon) if horizon is not None else _DEFAULT_STEPS
    search = CurveSearch(
        SearchOptions(tolerance=float(tolerance)),
        Known(observations, None, given=known),
        distribution,
    )
    picks = picks_of(curve, points, n, lag)
    result = LRAnalysis(
        curve=curve,
        baseline=points.baseline,
        **picks,
        brackets={name: _bracket(curve, lr, name) for name, lr in picks.items()},
        resolved=search.is_resolved(),
        diagnostics=(),
        n_trials=len(observations.items),
        n_steps=_total_steps(observations, horizon),
        steps=n,
        momentum=beta,
        noise=points.noise,
        lowest=points.lowest,
        param_name=param_name,
        search_range=(distribution.low, distribution.high),
        configuration=dict(_values(observations.items[0], param_name)),
        trials=tuple((o.number, o.lr, o.loss) for o in observations.items),
        roles={o.number: o.role for o in observations.items if o.role is not None},
        horizons=horizons,
        drift=drift_of(horizons),
        normalize=normalize,
        lag=lag(n),
        steps_known=horizon is not None,
        groups=_groups_of(stored),
    )
    facts = Facts(
        result=result,
        trials=observations.items,
        baseline_known=known is not None,
        steps_known=horizon is not None,
        tolerance=float(tolerance),
        guess=stored.get(GUESS),
    )
    return replace(result, diagnostics=diagnose(facts))


def _select(
    study: Study, param_name: str, configuration: Mapping[str, Any] | None
) -> Observations:
    """The wanted configuration's trials; by default those of the lowest loss."""
    if len(study.directions) != 1:
        raise ValueError(
            f"study={study.study_name!r} has {len(study.directions)} objectives; a curve has one "
            "loss. Analyse a study that minimises the validation loss alone."
        )
    curves = StudyHistory(param_name).refresh(study).curves
    if not curves:
        raise TooFewPointsError(
            f"study={study.study_name!r} has no finished trial with a log-scaled float "
            f"{param_name!r}: run short trials that call trial.suggest_float({param_name!r}, "
            "1e-7, 10, log=True), or pass param_name=..."
        )
    if configuration is not None:
        key = configuration_of(dict(configuration), param_name)
        if key not in curves:
            raise ValueError(
                f"configuration={dict(configuration)!r} is not in the study; it has "
                f"{[dict(c) for c in curves]}."
            )
        return curves[key]
    chosen = ranked(curves.values())[0]
    if len(curves) > 1 and len(chosen.curve()) < 3:
        raise TooFewPointsError(_scattered(list(curves.values()), param_name))
    return chosen


def _scattered(curves: Sequence[Observations], param_name: str) -> str:
    """What is wrong where a sampler changes all parameters at once."""
    names = ", ".join(repr(name) for name in curves[0].params(param_name)) or "none"
    most = max(len(c.curve()) for c in curves)
    trials = sum(len(c.items) for c in curves)
    return (
        f"The {trials} trials have {len(curves)} different values of the other parameters "
        f"({names}), with at most {most} learning rate{'s' if most > 1 else ''} each, and a curve "
        "needs three at the same values: fix the other parameters, or search with LRStepSampler("
        "base_sampler=...), which takes a whole curve at each of their values."
    )


def _require_arguments(
    study: object,
    param_name: object,
    step: Any,
    baseline: Any,
    steps: Any,
    momentum: Any,
    tolerance: Any,
) -> None:
    if not hasattr(study, "directions"):
        raise ValueError(
            f"study={study!r} must be an optuna.Study, such as optuna.load_study(study_name=..., "
            "storage=...)."
        )
    if not isinstance(param_name, str):
        raise ValueError(f"param_name={param_name!r} must be a string, such as 'lr'.")
    if not (baseline is None or (_is_number(baseline) and math.isfinite(baseline))):
        raise ValueError(
            f"baseline={baseline!r} must be a finite number, the untrained model's loss, or None."
        )
    for name, value in (("steps", steps), ("step", step)):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        least = 1 if name == "steps" else 0
        if value is not None and not (whole and int(value) >= least):
            raise ValueError(
                f"{name}={value!r} must be a whole number of at least {least}, the optimizer "
                "steps of a short trial, or None."
            )
    if not (momentum is None or (_is_number(momentum) and 0.0 <= momentum < 1.0)):
        raise ValueError(
            f"momentum={momentum!r} must be a number in [0, 1), SGD's heavy-ball beta, or None."
        )
    if not (_is_number(tolerance) and 0.0 < tolerance < math.inf):
        raise ValueError(f"tolerance={tolerance!r} must be a width in decades, such as 0.1.")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, NumPy's among them; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _groups_of(stored: Mapping[str, Any]) -> tuple[float, ...]:
    ratios = stored.get(GROUPS, ())
    if not isinstance(ratios, (list, tuple)) or not all(map(_is_number, ratios)):
        return ()
    return tuple(float(ratio) for ratio in ratios)


def _lag_of(
    observations: Observations,
    stored: Mapping[str, Any],
    horizon: int | None,
    momentum: float,
    *,
    given: bool,
) -> Callable[[int], float]:
    """The share of its steady step that the optimizer delivers within so many steps.

    Of an optimizer that starts at rest, unless the lag of the real one was stored and the caller
    has not ``given`` another momentum.
    """
    own = next((o.lag for o in observations.items if o.lag is not None), None)
    lag = own if own is not None else stored.get(LAG)
    if given or not isinstance(lag, (int, float)) or not 0.0 < lag <= 1.0:
        return lambda n: momentum_lag(momentum, n)
    known_at = stored.get(STEPS, horizon)
    known, at = float(lag), known_at
    return lambda n: lag_at(n, known, n if at is None else int(at), momentum)


def _values(observation: Observation, param_name: str) -> dict[str, Any]:
    return {k: v for k, v in observation.params.items() if k != param_name}


def _bracket(curve: LRCurve, lr: float, name: str) -> tuple[float, float]:
    """The known neighbours of a point; the point's own learning rate at an end of the curve."""
    x, at = curve.x, math.log10(lr)
    nearest = int(np.argmin(np.abs(x - at)))
    if name == "max_lr" or abs(x[nearest] - at) <= 1e-6:
        low, high = nearest - 1, nearest + 1
    else:
        high = int(np.searchsorted(x, at))
        low = high - 1
    low, high = max(low, 0), min(high, len(curve) - 1)
    return float(curve.lr[low]), float(curve.lr[high])


def _total_steps(observations: Observations, steps: int | None) -> int | None:
    """Optimizer steps of all trials; those that do not say took the whole horizon."""
    counts = [o.steps if o.steps is not None else steps for o in observations.items]
    known = [int(c) for c in counts if c is not None]
    return sum(known) if len(known) == len(counts) else None
