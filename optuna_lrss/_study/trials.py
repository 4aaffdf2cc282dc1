"""The only reader of trials: what Optuna stores, as observations and as trials under way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_lrss._method.curve import SAME_LR
from optuna_lrss._method.trajectory import PathPoint
from optuna_lrss._study.attributes import number_in
from optuna_lrss._study.attributes import warn_once
from optuna_lrss._study.claims import Claim
from optuna_lrss._study.claims import Pending
from optuna_lrss._study.horizons import claimed_horizon
from optuna_lrss._study.keys import BASELINE
from optuna_lrss._study.keys import TRIAL
from optuna_lrss._study.keys import Configuration
from optuna_lrss._study.keys import configuration_of
from optuna_lrss._study.keys import constraints_of
from optuna_lrss._study.keys import others_of


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


class Observation(NamedTuple):
    """One finished short trial."""

    number: int
    configuration: Configuration
    lr: float
    state: TrialState
    loss: float  # lower is better; inf = diverged; nan = failed
    steps: int | None
    baseline: float | None  # lower is better
    momentum: float | None  # of the trial's own optimizer, where a factory makes one
    lag: float | None  # the same
    stderr: float | None  # standard error of the validation loss, over the validation set
    leader: int | None  # first trial of the configuration that the sampler had in mind
    role: str | None  # why the sampler proposed this learning rate; None if it did not
    horizon: int | None  # of a longer trial; None for the study's short trials
    killed: bool  # failed without a word from the objective: its worker was lost
    reports: dict[int, float]  # step -> loss, lower is better
    params: dict[str, Any]
    distributions: dict[str, Any]
    path: tuple[PathPoint, ...]  # what StepObjective's trial passed through
    rise: float | None  # highest training loss above the untrained one, as a share of that
    sure: bool  # diverged after its loss had been high for several steps: no accident
    constraints: dict[str, Any]  # as Optuna keeps them; none is above 0 where all are met

    @property
    def is_feasible(self) -> bool:
        """Whether all constraints are met, as :attr:`optuna.study.Study.best_trial` judges it."""
        lists = (v if isinstance(v, list | tuple) else [v] for v in self.constraints.values())
        return not any(isinstance(c, int | float) and c > 0.0 for values in lists for c in values)

    def range_of(self, param_name: str) -> FloatDistribution:
        """The learning rate's range in this trial."""
        distribution = self.distributions[param_name]
        if not isinstance(distribution, FloatDistribution):
            raise ValueError(f"{param_name!r} is not a float in trial {self.number}.")
        return distribution


def observe(
    trial: FrozenTrial,
    param_name: str,
    direction: StudyDirection,
    result: tuple[TrialState, Sequence[float] | None] | None = None,
) -> Observation | None:
    """A trial as an observation.

    Args:
        trial: A trial.
        param_name: Name of the learning rate.
        direction: The study's; losses of a maximised study are the negative values.
        result: State and values that the trial is about to get (``after_trial``); ``None`` takes
            what it holds.

    Returns:
        The observation, or ``None`` where the trial has no log-scaled learning rate.
    """
    lr = trial.params.get(param_name)
    distribution = trial.distributions.get(param_name)
    if lr is None or not isinstance(distribution, FloatDistribution) or not distribution.log:
        return None
    state, values = result if result is not None else (trial.state, trial.values)
    sign = sign_of(direction)
    claim = Claim.of(trial)
    info = _info(trial)
    # A trial that is being told now was not lost, whatever its attributes say.
    killed = state == TrialState.FAIL and result is None and claim is not None and not claim.failed
    return Observation(
        number=trial.number,
        configuration=configuration_of(trial.params, param_name),
        lr=float(lr),
        state=state,
        loss=_loss(trial, sign, state, values),
        steps=_steps(info),
        baseline=_own_baseline(info, sign),
        momentum=number_in(info, "momentum", TRIAL),
        lag=number_in(info, "lag", TRIAL),
        stderr=number_in(info, "stderr", TRIAL),
        leader=None if claim is None else claim.leader,
        role=_role(claim, float(lr)),
        horizon=None if claim is None else claim.horizon,
        killed=killed,
        reports={k: sign * v for k, v in trial.intermediate_values.items()},
        params=trial.params,
        distributions=trial.distributions,
        path=_path(info),
        rise=number_in(info, "rise", TRIAL),
        sure=info.get("sure") is True,
        constraints=constraints_of(trial.system_attrs),
    )


def _path(info: dict[str, Any]) -> tuple[PathPoint, ...]:
    """The path, without what a foreign hand may have left there."""
    stored = info.get("path", ())
    try:
        points = tuple(PathPoint(float(reach), float(excess)) for reach, excess in stored)
    except (TypeError, ValueError):
        points = ()
    far = [p.reach for p in points]
    ordered = all(0.0 < r <= 1.0 for r in far) and far == sorted(far)
    if points and ordered and all(math.isfinite(p.excess) for p in points):
        return points
    if stored:
        warn_once(f"{TRIAL}['path']", "a list of pairs [reach, excess], reach ascending", stored)
    return ()


def _loss(
    trial: FrozenTrial, sign: float, state: TrialState, values: Sequence[float] | None
) -> float:
    """The loss, lower is better: ``inf`` if it diverged, ``nan`` if it failed."""
    if state == TrialState.FAIL:
        return math.nan
    value = values[0] if values else None
    if value is None and state == TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return sign * value if value is not None and math.isfinite(value) else math.inf


def _role(claim: Claim | None, lr: float) -> str | None:
    """The claim's role, if the trial ran at the learning rate that it claimed."""
    if claim is None or claim.x is None or abs(math.log10(lr) - claim.x) > SAME_LR:
        return None
    return claim.role


def told_of(trial: FrozenTrial, param_name: str, direction: StudyDirection) -> Observation | None:
    """The announced result of a trial under way, if its worker has announced one."""
    claim = Claim.of(trial)
    if claim is None or claim.told is None:
        return None
    state, value = claim.told
    return observe(trial, param_name, direction, (TrialState[state], _values(value)))


def _values(value: float | None) -> list[float] | None:
    return None if value is None else [value]


def result_of(observation: Observation, direction: StudyDirection) -> tuple[str, float | None]:
    """An observation's state and value as a claim announces them."""
    value = sign_of(direction) * observation.loss
    return observation.state.name, value if math.isfinite(value) else None


def pending_of(trial: FrozenTrial, param_name: str) -> Pending | None:
    """A trial under way, or ``None`` where it is in nobody's way."""
    fixed = trial.system_attrs.get("fixed_params", {})
    claim = Claim.of(trial)
    lr = trial.params.get(param_name, fixed.get(param_name))
    distribution = trial.distributions.get(param_name)
    if distribution is not None and not getattr(distribution, "log", False):
        return None
    committed = isinstance(lr, (int, float))
    if lr is None and claim is not None and claim.x is not None:
        lr = 10.0**claim.x
    if trial.state == TrialState.WAITING and lr is None:
        return None
    return Pending(
        number=trial.number,
        x=math.log10(lr) if isinstance(lr, (int, float)) and lr > 0 else None,
        configuration=configuration_of({**fixed, **trial.params}, param_name),
        leader=None if claim is None else claim.leader,
        started=trial.datetime_start,
        committed=committed,
        horizon=None if claim is None else claim.horizon,
        params=others_of(trial.params, param_name),
        distributions=others_of(trial.distributions, param_name),
    )


def given_params(trial: FrozenTrial) -> dict[str, Any]:
    """Values that were set before the trial began: enqueued, or kept from a lost trial."""
    fixed = trial.system_attrs.get("fixed_params", {})
    kept = {k: v for k, v in trial.params.items() if not trial.distributions[k].single()}
    return {**fixed, **kept}


def known_params(trial: FrozenTrial) -> dict[str, Any]:
    """Values that a running trial has, or will get for certain."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


# --- The loss of the untrained model ----------------------------------------------------------


def sign_of(direction: StudyDirection) -> float:
    """What a value is multiplied by to be a loss, of which lower is better."""
    return -1.0 if direction == StudyDirection.MAXIMIZE else 1.0


def baseline_of(study: Study) -> float | None:
    """The study's stored loss of the untrained model, as a loss to be minimised."""
    # The storage is asked: under HyperbandPruner `study` has no user attributes.
    return baseline_in(study._storage.get_study_user_attrs(study._study_id), study.direction)


def baseline_in(user_attrs: Mapping[str, Any], direction: StudyDirection) -> float | None:
    """As :func:`baseline_of`, of a study's user attributes."""
    return _to_loss(number_in(user_attrs, BASELINE), sign_of(direction))


def own_baseline(trial: FrozenTrial, direction: StudyDirection) -> float | None:
    """The baseline that a trial itself carries, as a loss to be minimised."""
    return _own_baseline(_info(trial), sign_of(direction))


def _own_baseline(info: dict[str, Any], sign: float) -> float | None:
    return _to_loss(number_in(info, "baseline", TRIAL), sign)


def _to_loss(value: float | None, sign: float) -> float | None:
    return None if value is None else sign * value


def _info(trial: FrozenTrial) -> dict[str, Any]:
    info = trial.user_attrs.get(TRIAL, {})
    if isinstance(info, dict):
        return info
    warn_once(TRIAL, "a dictionary with the steps run", info)
    return {}


def _steps(info: dict[str, Any]) -> int | None:
    steps = number_in(info, "steps", TRIAL)
    return None if steps is None else int(steps)


# --- Repeats ----------------------------------------------------------------------------------


def repeat_index(
    trial: Trial | FrozenTrial, *, param_name: str = "lr", study: Study | None = None
) -> int:
    """Which repeat of its learning rate a short trial is: 0 for the first.

    Repeat k of every learning rate is to use the same seed k and the same batches, so that
    comparisons between learning rates stay paired.

    Args:
        trial: The running trial; its learning rate has been suggested.
        param_name: Name of the learning rate.
        study: The study, where ``trial`` is a FrozenTrial, which does not know it.

    Returns:
        Number of earlier trials with the same parameters and steps that finished with a finite
        loss or are running. One that diverged or was pruned does not count: the trial that is to
        check on it sees the same batches.

    Raises:
        ValueError: If the trial has no learning rate yet, or its study is unknown.
    """
    study = study if study is not None else getattr(trial, "study", None)
    if study is None:
        raise ValueError("study=None: repeat_index needs the study of a FrozenTrial.")
    if param_name not in trial.params:
        raise ValueError(
            f"param_name={param_name!r} has no value in trial {trial.number} yet: call "
            f"trial.suggest_float({param_name!r}, low, high, log=True) first."
        )
    mine = configuration_of(trial.params, param_name)
    x = math.log10(trial.params[param_name])
    counted = (TrialState.COMPLETE, TrialState.RUNNING)
    earlier = study.get_trials(deepcopy=False, states=counted)
    horizon = claimed_horizon(trial)
    return sum(
        t.number < trial.number
        and (t.state == TrialState.RUNNING or _has_loss(t))
        and param_name in t.params
        and abs(math.log10(t.params[param_name]) - x) <= SAME_LR
        and configuration_of(t.params, param_name) == mine
        and claimed_horizon(t) == horizon
        for t in earlier
    )


def _has_loss(trial: FrozenTrial) -> bool:
    return trial.value is not None and math.isfinite(trial.value)
