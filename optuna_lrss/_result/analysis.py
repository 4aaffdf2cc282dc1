"""analyze(): from a study's short trials to the viable window and the picks."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import PointsOfInterest
from optuna_lrss._method.points import TooFewPointsError
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import TOTAL_STEPS as _DEFAULT_TOTAL_STEPS
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._method.trajectory import filled
from optuna_lrss._method.trajectory import inferred_losses
from optuna_lrss._result.advice import advice_of
from optuna_lrss._result.data import POINTS
from optuna_lrss._result.diagnostics import Facts
from optuna_lrss._result.diagnostics import diagnose
from optuna_lrss._result.horizons import drift_of
from optuna_lrss._result.horizons import picks_at_each_step
from optuna_lrss._result.horizons import picks_of
from optuna_lrss._result.inputs import groups_of
from optuna_lrss._result.inputs import lag_of
from optuna_lrss._result.inputs import require_arguments
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._study.arguments import Arguments
from optuna_lrss._study.arguments import checked_values
from optuna_lrss._study.attributes import count_in
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.curve_search import GUIDED
from optuna_lrss._study.curve_search import CurveSearch
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import at_step
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.curves import ranked
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.horizons import Horizons
from optuna_lrss._study.keys import GUESS
from optuna_lrss._study.keys import HELD_OUT
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import TOTAL_STEPS
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.known import baseline_for
from optuna_lrss._study.longer_search import open_horizon
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.paths import paths_of
from optuna_lrss._study.stored_search import stored_search
from optuna_lrss._study.trials import baseline_of
from optuna_lrss._study.validated import Validated
from optuna_lrss._study.warm_start import search_over


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
    tolerance: float | None = None,
    total_steps: int | None = None,
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
        tolerance: Width in decades that counts as resolved; default what the study was searched
            with (``lrss:search:lr``, the last :class:`LRStepSampler` to begin), else 0.1.
        total_steps: Optimizer steps of the training that ``recommended`` and ``peak`` are for;
            default what the study stores (``lrss:total_steps``), else 1000.

    Returns:
        The analysis.

    Raises:
        ValueError: If an argument is of the wrong kind, or the study has several objectives or no
            such parameter or configuration.
        NoWindowError: If there is no viable window; the message says what to change.
    """
    require_arguments(study, param_name, step, baseline, steps, momentum, tolerance, total_steps)
    history = _history(study, param_name)
    return analysis_of(
        study,
        history,
        _select(history, configuration),
        step=step,
        baseline=baseline,
        steps=steps,
        momentum=momentum,
        normalize=normalize,
        tolerance=tolerance,
        total_steps=total_steps,
    )


def analysis_of(
    study: Study,
    history: StudyHistory,
    observations: Observations,
    *,
    step: int | None = None,
    baseline: float | None = None,
    steps: int | None = None,
    momentum: float | None = None,
    normalize: bool = True,
    tolerance: float | None = None,
    total_steps: int | None = None,
) -> LRAnalysis:
    """As :func:`analyze`, of a study that was read already.

    Args:
        study: The study.
        history: Its finished trials.
        observations: The trials of the wanted configuration.
        step: See :func:`analyze`, as for all that follow.
        baseline: The same.
        steps: The same.
        momentum: The same.
        normalize: The same.
        tolerance: The same.
        total_steps: The same.
    """
    param_name = history.param_name
    distribution = observations.items[-1].distributions[param_name]
    search_range = (distribution.low, distribution.high)
    stored = study.user_attrs
    given = None if baseline is None else float(baseline)
    known = baseline_for(observations.baseline, baseline_of(study), given)
    facts = _given(stored, observations, step, steps, momentum, total_steps)
    search, resolved = search_of(study, history, observations, known, tolerance)
    horizons = {}
    if step is None:
        all_trials = {facts.steps: observations, **history.longer_of(observations.configuration)}
        horizons = picks_at_each_step(observations, known, facts.lag, normalize, facts.total_steps)
    else:
        all_trials = {facts.steps: at_step(observations, step)}
    measured = {m: o.curve(known) for m, o in all_trials.items()}
    inferred = Inferred()
    if step is None and _is_guided(study, param_name):
        paths = paths_of(observations.items, known, Hints.of(stored))
        short = measured[facts.steps]
        inferred = inferred_losses(short, known, paths, math.log10(distribution.low))
    curves = {**measured, facts.steps: filled(measured[facts.steps], inferred)}
    n, points = _first_window(
        curves,
        lambda curve: points_of_interest(
            curve, known, normalize=normalize, search_range=search_range
        ),
    )
    trials = all_trials[n]
    curves = {m: curve for m, curve in curves.items() if m >= n}
    picks = picks_of(curves[n], points, n, facts.lag, facts.total_steps)
    advice = advice_of(curves, {n: points.lowest}, points.baseline, facts.lag, facts.total_steps)
    picks |= {"recommended": advice.recommended, "peak": advice.peak}
    result = LRAnalysis(
        curve=measured[n],
        baseline=points.baseline,
        **picks,
        brackets={name: _bracket(measured[n], picks[name], name) for name in POINTS},
        resolved=resolved,
        diagnostics=(),
        n_trials=sum(len(o.items) for o in all_trials.values()),
        n_steps=_total_steps(all_trials, facts.steps if facts.steps_known else None),
        steps=n,
        momentum=facts.momentum,
        noise=points.noise,
        lowest=points.lowest,
        param_name=param_name,
        search_range=search_range,
        configuration=observations.params(param_name),
        trials=tuple((o.number, o.lr, o.loss) for o in trials.items),
        roles={o.number: o.role for o in trials.items if o.role is not None},
        horizons=horizons,
        drift=drift_of(horizons),
        normalize=normalize,
        lag=facts.lag(n),
        steps_known=facts.steps_known,
        groups=groups_of(stored),
        longer={m: curve for m, curve in curves.items() if m > n},
        total_steps=facts.total_steps,
        total_steps_known=facts.total_steps_known,
        horizon=advice.horizon,
        gained=advice.gained,
        held_out=int(number_in(stored, HELD_OUT) or 0),
        inferred=inferred.as_tuples() if n == facts.steps else (),
        validated=Validated.stored(stored),
        n_validations=1 + sum(len(o.reports) for of in all_trials.values() for o in of.items),
    )
    doubts = diagnose(
        Facts(
            result=result,
            trials=trials.items,
            baseline_known=known is not None,
            steps_known=facts.steps_known,
            tolerance=search.tolerance,
            guess=number_in(stored, GUESS),
            short_steps=facts.steps,
        )
    )
    return replace(result, diagnostics=doubts)


class _Given(NamedTuple):
    """What the caller or the study says of trials and training."""

    steps: int
    steps_known: bool
    momentum: float
    lag: Callable[[int], float]
    total_steps: int
    total_steps_known: bool


def _given(
    stored: Mapping[str, Any],
    observations: Observations,
    step: int | None,
    steps: int | None,
    momentum: float | None,
    total_steps: int | None,
) -> _Given:
    horizon = steps if steps is not None else number_in(stored, STEPS)
    own = next((o.momentum for o in observations.items if o.momentum is not None), 0.0)
    beta = next(float(b) for b in (momentum, number_in(stored, MOMENTUM), own) if b is not None)
    lag = lag_of(observations, stored, horizon, beta, given=momentum is not None)
    told = total_steps if total_steps is not None else count_in(stored, TOTAL_STEPS)
    horizon = horizon if step is None else step
    return _Given(
        steps=_DEFAULT_STEPS if horizon is None else int(horizon),
        steps_known=horizon is not None,
        momentum=beta,
        lag=lag,
        total_steps=_DEFAULT_TOTAL_STEPS if told is None else int(told),
        total_steps_known=told is not None,
    )


def _is_guided(study: Study, param_name: str) -> bool:
    """Whether paths count: under other strategies a curve is what was measured."""
    attrs = study._storage.get_study_user_attrs(study._study_id)
    searched = stored_search(attrs, param_name)
    return searched is not None and searched.options.strategy == GUIDED


def _first_window(
    curves: Mapping[int, LRCurve], read: Callable[[LRCurve], PointsOfInterest]
) -> tuple[int, PointsOfInterest]:
    """The first horizon that has a window, and what is read off it.

    Raises:
        NoWindowError: If none has; what is wrong with the shortest trials.
    """
    wrong: NoWindowError | None = None
    for steps in sorted(curves):
        try:
            return steps, read(curves[steps])
        except NoWindowError as error:
            wrong = error if wrong is None else wrong
    assert wrong is not None
    raise wrong


def _history(study: Study, param_name: str) -> StudyHistory:
    """The study's finished trials."""
    if len(study.directions) != 1:
        raise ValueError(
            f"study={study.study_name!r} has {len(study.directions)} objectives; a curve has one "
            "loss. Analyse a study that minimises the validation loss alone."
        )
    history = StudyHistory(param_name).refresh(study)
    if not history.curves:
        raise TooFewPointsError(
            f"study={study.study_name!r} has no finished trial with a log-scaled float "
            f"{param_name!r}: run short trials that call trial.suggest_float({param_name!r}, "
            "1e-7, 10, log=True), or pass param_name=..."
        )
    return history


def _select(history: StudyHistory, configuration: Mapping[str, Any] | None) -> Observations:
    """The wanted configuration's trials; by default those of the lowest loss."""
    curves = history.curves
    if configuration is None:
        chosen = ranked(curves.values())[0]
        if len(curves) > 1 and len(chosen.curve()) < 3:
            raise TooFewPointsError(_scattered(list(curves.values()), history.param_name))
        return chosen
    values = checked_values("configuration", configuration)
    key = configuration_of(values, history.param_name)
    if key not in curves:
        raise ValueError(
            f"configuration={values!r} is not in the study; it has {[dict(c) for c in curves]}."
        )
    return curves[key]


def search_of(
    study: Study,
    history: StudyHistory,
    observations: Observations,
    baseline: float | None,
    tolerance: float | None,
) -> tuple[CurveSearch, bool]:
    """What is left to do on a curve, as the sampler that searched it last sees it.

    And whether nothing is, at longer horizons neither.

    Args:
        study: The study.
        history: Its trials.
        observations: Those of the curve.
        baseline: The loss of the untrained model that counts.
        tolerance: The caller's, which this curve is then held to whatever its configuration.
    """
    # The storage is asked: under HyperbandPruner `study` has no user attributes.
    attrs = study._storage.get_study_user_attrs(study._study_id)
    stored = stored_search(attrs, history.param_name)
    arguments = Arguments(history.param_name) if stored is None else stored
    if tolerance is not None:
        arguments = replace(arguments, options=replace(arguments.options, tolerance=tolerance))
    best = None if arguments.max_configurations is None else best_of(history.curves.values())
    is_best = best is not None and best.configuration == observations.configuration
    moment = Moment.of_finished(
        history, baseline_of(study), Horizons.stored(attrs), Hints.of(attrs)
    )
    distribution = observations.items[-1].range_of(history.param_name)
    search = search_over(
        arguments,
        moment,
        observations,
        distribution,
        full=stored is None or tolerance is not None or is_best,
        given=baseline,
    )
    resolved = search.is_resolved()
    if resolved and (is_best or not history.is_nested):
        resolved = open_horizon(moment, observations, distribution, given=baseline) is None
    return search, resolved


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


def _total_steps(trials: Mapping[int, Observations], steps: int | None) -> int | None:
    """Optimizer steps of all trials; those that do not say took the whole horizon.

    Args:
        trials: The trials of each horizon, the shortest first.
        steps: The shortest horizon, if known.
    """
    counts = [
        o.steps if o.steps is not None else (steps if n == min(trials) else n)
        for n, of in trials.items()
        for o in of.items
    ]
    known = [int(c) for c in counts if c is not None]
    return sum(known) if len(known) == len(counts) else None
