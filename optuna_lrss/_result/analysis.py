"""analyze(): from a study's short trials to the viable window and the picks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import TooFewPointsError
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.trajectory import filled
from optuna_lrss._method.trajectory import inferred_losses
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
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.curve_search import GUIDED
from optuna_lrss._study.curve_search import CurveSearch
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import at_step
from optuna_lrss._study.curves import best_of
from optuna_lrss._study.curves import ranked
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.keys import GUESS
from optuna_lrss._study.keys import MOMENTUM
from optuna_lrss._study.keys import STEPS
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.known import baseline_for
from optuna_lrss._study.moment import Moment
from optuna_lrss._study.paths import paths_of
from optuna_lrss._study.stored_search import stored_search
from optuna_lrss._study.trials import baseline_of
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

    Returns:
        The analysis.

    Raises:
        ValueError: If an argument is of the wrong kind, or the study has several objectives or no
            such parameter or configuration.
        NoWindowError: If there is no viable window; the message says what to change.
    """
    require_arguments(study, param_name, step, baseline, steps, momentum, tolerance)
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
    """
    param_name = history.param_name
    distribution = observations.items[-1].distributions[param_name]
    stored = study.user_attrs
    given = None if baseline is None else float(baseline)
    known = baseline_for(observations.baseline, baseline_of(study), given)
    horizon = steps if steps is not None else number_in(stored, STEPS)
    own = next((o.momentum for o in observations.items if o.momentum is not None), 0.0)
    beta = next(float(b) for b in (momentum, number_in(stored, MOMENTUM), own) if b is not None)
    lag = lag_of(observations, stored, horizon, beta, given=momentum is not None)
    horizons = {} if step is not None else picks_at_each_step(observations, known, lag, normalize)
    if step is not None:
        observations = at_step(observations, step)
        horizon = step
    curve = observations.curve(known)
    # Under other strategies a curve is what was measured, whatever its trials report on the way.
    searched = stored_search(stored, param_name)
    guided = searched is not None and searched.options.strategy == GUIDED and step is None
    paths = paths_of(observations.items, known, Hints.of(stored)) if guided else []
    inferred = inferred_losses(curve, known, paths, math.log10(distribution.low))
    whole = filled(curve, inferred)
    points = points_of_interest(
        whole,
        known,
        normalize=normalize,
        search_range=(distribution.low, distribution.high),
    )
    horizon = None if horizon is None else int(horizon)
    n = horizon if horizon is not None else _DEFAULT_STEPS
    search = _search(study, history, observations, known, tolerance)
    picks = picks_of(whole, points, n, lag)
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
        configuration=observations.params(param_name),
        trials=tuple((o.number, o.lr, o.loss) for o in observations.items),
        roles={o.number: o.role for o in observations.items if o.role is not None},
        horizons=horizons,
        drift=drift_of(horizons),
        normalize=normalize,
        lag=lag(n),
        steps_known=horizon is not None,
        groups=groups_of(stored),
        inferred=inferred.as_tuples(),
    )
    facts = Facts(
        result=result,
        trials=observations.items,
        baseline_known=known is not None,
        steps_known=horizon is not None,
        tolerance=search.tolerance,
        guess=number_in(stored, GUESS),
    )
    return replace(result, diagnostics=diagnose(facts))


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
    key = configuration_of(dict(configuration), history.param_name)
    if key not in curves:
        raise ValueError(
            f"configuration={dict(configuration)!r} is not in the study; it has "
            f"{[dict(c) for c in curves]}."
        )
    return curves[key]


def _search(
    study: Study,
    history: StudyHistory,
    observations: Observations,
    baseline: float | None,
    tolerance: float | None,
) -> CurveSearch:
    """What is left to do on a curve, as the sampler that searched it last sees it.

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
    return search_over(
        arguments,
        Moment.of_finished(history, baseline_of(study), Hints.of(attrs)),
        observations,
        observations.items[-1].range_of(history.param_name),
        full=stored is None or tolerance is not None or is_best,
        given=baseline,
    )


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


def _total_steps(observations: Observations, steps: int | None) -> int | None:
    """Optimizer steps of all trials; those that do not say took the whole horizon."""
    counts = [o.steps if o.steps is not None else steps for o in observations.items]
    known = [int(c) for c in counts if c is not None]
    return sum(known) if len(known) == len(counts) else None
