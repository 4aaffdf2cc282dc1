"""analyze(): from a study's short trials to the viable window and the picks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import TooFewPointsError
from optuna_lrss._method.points import lag_at
from optuna_lrss._method.points import momentum_lag
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.points import recommended_lr
from optuna_lrss._result.diagnostics import Diagnostic
from optuna_lrss._result.diagnostics import Facts
from optuna_lrss._result.diagnostics import diagnose
from optuna_lrss._result.report import report
from optuna_lrss._study.history import GUESS
from optuna_lrss._study.history import LAG
from optuna_lrss._study.history import MOMENTUM
from optuna_lrss._study.history import STEPS
from optuna_lrss._study.history import Observation
from optuna_lrss._study.history import Observations
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.history import at_step
from optuna_lrss._study.history import baseline_of
from optuna_lrss._study.history import configuration_of
from optuna_lrss._study.history import snapshot_steps
from optuna_lrss._study.search import CurveSearch
from optuna_lrss._study.search import Settings


if TYPE_CHECKING:
    from optuna.study import Study
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import CyclicLR
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.lr_scheduler import OneCycleLR


#: The picks in the order of the report: name and what it is.
PICKS = ("recommended", "midpoint", "half_loss", "steepest")
#: Horizon that is assumed where none is stored (paper, section 2).
_DEFAULT_STEPS = 20


@dataclass(frozen=True, eq=False)
class LRAnalysis:
    """The viable window and the picks of one learning-rate curve. Made by :func:`analyze`.

    Learning rates are floats on their natural scale; widths are in decades.

    Attributes:
        curve: The measured curve: ``curve.lr`` and ``curve.loss`` ascending, ``inf`` = diverged.
        baseline: Loss of the untrained model (lr = 0).
        min_lr: Lower end of the viable window, the knee (paper 3.1).
        max_lr: Upper end of the viable window, the lowest loss (paper 3.1).
        midpoint: Method 1, the log-midpoint of the window (paper 3.2.1).
        half_loss: Method 2, half of the possible loss reduction (paper 3.2.2).
        steepest: Method 3, the most negative slope (paper 3.2.3).
        recommended: The smoothed midpoint with the momentum lag (the method page, section 7).
        brackets: For each point its known neighbours, ``(low, high)``.
        resolved: Whether nothing more needs to be tried to know every point within the tolerance.
        diagnostics: What is doubtful, each with a remedy.
        n_trials: Finished trials of the curve.
        n_steps: Optimizer steps that they took; ``None`` where the objective does not say.
        steps: Horizon of the short trials.
        momentum: Heavy-ball beta that ``recommended`` was corrected for.
        lag: The factor of that correction: the share of its steady step that the optimizer
            delivered in the short trials.
        noise: Standard deviation of one loss as a share of the loss drop.
        lowest: Lowest loss of the fitted curve.
        param_name: Name of the learning rate.
        search_range: Range of the learning rate, ``(low, high)``.
        configuration: Values of the other parameters.
        trials: Finished trials in order, ``(number, learning rate, loss)``; ``nan`` = failed.
        roles: Why the sampler tried each trial's learning rate, ``{trial number: role}``; empty
            for other samplers.
        horizons: Picks at each snapshot step, ``{step: {pick: learning rate}}``.
        drift: How far each pick moves per factor of ten in steps, in decades.
        normalize: Whether the curvature was taken on the normalised loss.
    """

    curve: LRCurve
    baseline: float
    min_lr: float
    max_lr: float
    midpoint: float
    half_loss: float
    steepest: float
    recommended: float
    brackets: dict[str, tuple[float, float]]
    resolved: bool
    diagnostics: tuple[Diagnostic, ...]
    n_trials: int
    n_steps: int | None
    steps: int
    momentum: float
    noise: float
    lowest: float
    param_name: str
    search_range: tuple[float, float]
    configuration: dict[str, Any] = field(default_factory=dict)
    trials: tuple[tuple[int, float, float], ...] = ()
    roles: dict[int, str] = field(default_factory=dict)
    horizons: dict[int, dict[str, float]] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    normalize: bool = True
    lag: float = 1.0

    def __str__(self) -> str:
        return report(self)

    @property
    def picks(self) -> dict[str, float]:
        """``recommended`` and the paper's three picks, by name."""
        return {name: getattr(self, name) for name in PICKS}

    @cached_property
    def fit(self) -> CurveFit:
        """The smooth model that the points were read from, for plots."""
        return points_of_interest(self.curve, self.baseline, normalize=self.normalize).fit

    def _repr_html_(self) -> str:
        from optuna_lrss.visualization._html import to_html  # loads no plotting library

        return to_html(self)

    def one_cycle(
        self, optimizer: Optimizer, total_steps: int, *, peak: float | None = None, **options: Any
    ) -> OneCycleLR:
        """Torch's one-cycle schedule: from ``min_lr`` up to ``peak`` and down again.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default ``recommended``.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.OneCycleLR`.

        Returns:
            The scheduler.

        Raises:
            ValueError: If ``peak`` or ``total_steps`` is not positive.
        """
        from optuna_lrss.torch import _schedulers

        peak = self.recommended if peak is None else peak
        low = min(self.min_lr, peak / 2)
        return _schedulers.one_cycle(optimizer, total_steps, low=low, peak=peak, **options)

    def cyclical(
        self, optimizer: Optimizer, *, step_size_up: int = 2000, **options: Any
    ) -> CyclicLR:
        """Torch's cyclical schedule with the window as its bounds, ``min_lr`` to ``max_lr``.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            step_size_up: Optimizer steps of the rising half of a cycle.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.CyclicLR`.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.cyclical(
            optimizer, low=self.min_lr, peak=self.max_lr, step_size_up=step_size_up, **options
        )

    def warmup_cosine(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        peak: float | None = None,
        warmup_steps: int | None = None,
        final: float = 0.0,
    ) -> LambdaLR:
        """Warm-up from ``min_lr`` to ``peak``, then a cosine down to ``final``.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default ``recommended``.
            warmup_steps: Optimizer steps of the warm-up; ``None`` for the default share.
            final: Learning rate at the end.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        peak = self.recommended if peak is None else peak
        return _schedulers.warmup_cosine(
            optimizer,
            total_steps,
            low=min(self.min_lr, peak / 2),
            peak=peak,
            warmup_steps=warmup_steps,
            final=final,
        )

    def distribution(self) -> FloatDistribution:
        """The window as a log-scaled distribution, to narrow a second study to."""
        return FloatDistribution(self.min_lr, max(self.max_lr, self.min_lr), log=True)

    def enqueue_picks(
        self,
        study: Study,
        *,
        picks: tuple[str, ...] = PICKS,
        params: Mapping[str, Any] | None = None,
        param_name: str | None = None,
    ) -> None:
        """Enqueues the picks in a study, say one of full trainings.

        Args:
            study: The study to seed.
            picks: Which picks, of ``recommended``, ``midpoint``, ``half_loss``, ``steepest``,
                ``min_lr`` and ``max_lr``.
            params: Other parameters to fix in the enqueued trials.
            param_name: Name of the learning rate there; default the analysed one.

        Raises:
            ValueError: If a pick is unknown.
        """
        known = (*PICKS, "min_lr", "max_lr")
        unknown = [name for name in picks if name not in known]
        if unknown:
            raise ValueError(f"picks={picks!r} holds {unknown[0]!r}: use names of {known}.")
        name = param_name if param_name is not None else self.param_name
        for lr in dict.fromkeys(float(getattr(self, pick)) for pick in picks):
            study.enqueue_trial({**(params or {}), name: lr}, skip_if_exists=True)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values; diverged losses stay ``inf``."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["curve"] = {f.name: getattr(self.curve, f.name).tolist() for f in fields(self.curve)}
        plain["diagnostics"] = [dict(vars(d)) for d in self.diagnostics]
        return plain

    def to_json(self, *, indent: int | None = None) -> str:
        """As strict JSON: diverged losses are written as the string ``"inf"``."""
        return json.dumps(_encode(self.to_dict()), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> LRAnalysis:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If ``text`` is not such JSON.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"text is not the JSON of an LRAnalysis: {error!r}.") from error

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LRAnalysis:
        """Reads what :meth:`to_dict` gave, or its JSON form."""
        values = _decode(dict(plain))
        curve = values["curve"]
        values["curve"] = LRCurve(
            lr=np.asarray(curve["lr"], dtype=float),
            loss=np.asarray(curve["loss"], dtype=float),
            stderr=np.asarray(curve["stderr"], dtype=float),
            count=np.asarray(curve["count"], dtype=np.int64),
        )
        values["brackets"] = {k: (v[0], v[1]) for k, v in values["brackets"].items()}
        values["diagnostics"] = tuple(Diagnostic(**d) for d in values["diagnostics"])
        values["search_range"] = tuple(values["search_range"])
        values["trials"] = tuple((int(n), lr, loss) for n, lr, loss in values["trials"])
        values["roles"] = {int(k): v for k, v in values["roles"].items()}
        values["horizons"] = {int(k): v for k, v in values["horizons"].items()}
        return cls(**values)


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
        ValueError: If the study has several objectives or no such parameter or configuration.
        NoWindowError: If there is no viable window; the message says what to change.
    """
    observations = _select(study, param_name, configuration)
    distribution = observations.items[-1].distributions[param_name]
    stored = study.user_attrs
    known = baseline if baseline is not None else observations.baseline
    known = known if known is not None else baseline_of(study)
    horizon = steps if steps is not None else stored.get(STEPS)
    own = next((o.momentum for o in observations.items if o.momentum is not None), 0.0)
    beta = float(momentum if momentum is not None else stored.get(MOMENTUM, own))
    stored_lag = None if momentum is not None else _stored_lag(observations, stored)
    known_at = stored.get(STEPS, horizon)

    def lag(n: int) -> float:
        if stored_lag is None:
            return momentum_lag(beta, n)
        return lag_at(n, stored_lag, n if known_at is None else int(known_at), beta)

    horizons = {} if step is not None else _horizons(observations, known, lag, normalize)
    if step is not None:
        observations = at_step(observations, step)
        horizon = step
    curve = observations.curve(known)
    points = points_of_interest(curve, known, normalize=normalize)
    n = int(horizon) if horizon is not None else _DEFAULT_STEPS
    search = CurveSearch(Settings(tolerance=tolerance), observations, distribution, known)
    picks = {
        "min_lr": points.min_lr,
        "max_lr": points.max_lr,
        "midpoint": points.midpoint,
        "half_loss": points.half_loss,
        "steepest": points.steepest,
        "recommended": recommended_lr(
            curve,
            points.baseline,
            points.lowest,
            steps=n,
            lag=lag(n),
            min_lr=points.min_lr,
        ),
    }
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
        drift=_drift(horizons),
        normalize=normalize,
        lag=lag(n),
    )
    facts = Facts(
        result=result,
        observations=observations,
        baseline_known=known is not None,
        steps_known=horizon is not None,
        tolerance=tolerance,
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
    # With three finite losses a curve can have a window: those go before ones that cannot.
    return min(curves.values(), key=_rank)


def _stored_lag(observations: Observations, stored: Mapping[str, Any]) -> float | None:
    """The lag of the trials' own optimizers, or else of the study's."""
    own = next((o.lag for o in observations.items if o.lag is not None), None)
    lag = own if own is not None else stored.get(LAG)
    return float(lag) if isinstance(lag, (int, float)) and 0.0 < lag <= 1.0 else None


def _rank(observations: Observations) -> tuple[bool, float]:
    lowest = observations.lowest
    finite = int(observations.curve().finite.sum())
    return finite < 3, math.inf if lowest is None else lowest


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


def _horizons(
    observations: Observations,
    baseline: float | None,
    lag: Callable[[int], float],
    normalize: bool,
) -> dict[int, dict[str, float]]:
    """The picks at every snapshot step that has a window."""
    found: dict[int, dict[str, float]] = {}
    steps = _spread(snapshot_steps(observations))
    for step in steps if len(steps) > 1 else []:
        curve = at_step(observations, step).curve(baseline)
        try:
            points = points_of_interest(curve, baseline, normalize=normalize)
        except NoWindowError:
            continue
        found[step] = {
            "recommended": recommended_lr(
                curve,
                points.baseline,
                points.lowest,
                steps=max(step, 1),
                lag=lag(max(step, 1)),
                min_lr=points.min_lr,
            ),
            **{name: getattr(points, name) for name in _HORIZON_POINTS},
        }
    return found


#: Most horizons that are analysed: an objective may report every step.
_MOST_HORIZONS = 6


def _spread(steps: list[int]) -> list[int]:
    """At most six of the steps, evenly spread over their logarithms, the last among them."""
    if len(steps) <= _MOST_HORIZONS:
        return steps
    wanted = np.geomspace(max(steps[0], 1), steps[-1], _MOST_HORIZONS)
    known = np.asarray(steps)
    return sorted({int(known[np.argmin(np.abs(known - w))]) for w in wanted})


_HORIZON_POINTS = ("midpoint", "half_loss", "steepest", "min_lr", "max_lr")


def _drift(horizons: dict[int, dict[str, float]]) -> dict[str, float]:
    """Slope of each pick over log10(steps) by least squares: decades per factor of ten."""
    steps = [s for s in horizons if s > 0]
    if len(steps) < 2:
        return {}
    t = np.log10(steps)
    return {
        name: float(np.polyfit(t, np.log10([horizons[s][name] for s in steps]), 1)[0])
        for name in horizons[steps[0]]
    }


def _encode(value: Any) -> Any:
    """Non-finite floats as strings, since JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    return value


#: Fields that hold numbers only, where a string is an encoded non-finite float.
_NUMERIC = ("curve", "trials")


def _decode(plain: dict[str, Any]) -> dict[str, Any]:
    def numbers(value: Any) -> Any:
        if isinstance(value, str):
            return float(value)
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [numbers(v) for v in value]
        return value

    return {k: numbers(v) if k in _NUMERIC else v for k, v in plain.items()}
