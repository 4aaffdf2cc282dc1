"""What is known of one configuration: baseline, curve and noise, decided nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.points import NoWindowError
from optuna_lrss._method.points import noise_of
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._method.trajectory import inferred_losses
from optuna_lrss._study.curves import Observations
from optuna_lrss._study.curves import curve_of
from optuna_lrss._study.hints import NO_HINTS
from optuna_lrss._study.hints import Hints
from optuna_lrss._study.paths import paths_of
from optuna_lrss._study.paths import rises_at
from optuna_lrss._study.paths import sure_at
from optuna_lrss._study.trials import Observation


#: Numbers of learning rates at which the noise of unrepeated losses is estimated anew.
_NOISE_AT = (10, 20, 40, 80)


def baseline_for(
    own: float | None, stored: float | None, given: float | None = None
) -> float | None:
    """The loss of the untrained model that counts: the more particular word goes first.

    Args:
        own: What the configuration's own trials carry (``StepObjective.from_factory``: another
            configuration may be another model).
        stored: The study's, ``lrss:baseline``.
        given: What the caller says, ``analyze(study, baseline=...)``.
    """
    return next((b for b in (given, own, stored) if b is not None), None)


@dataclass(frozen=True)
class ConfigurationValue:
    """What a configuration is worth, which is what the base sampler is told.

    Attributes:
        loss: Loss at the pick, the log-midpoint of the window; without a window the lowest loss;
            ``inf`` where everything diverged. Lower is better.
        window: ``(min_lr, max_lr)``, or ``None``.
    """

    loss: float
    window: tuple[float, float] | None

    @property
    def pick(self) -> float | None:
        """The learning rate that ``loss`` belongs to."""
        return None if self.window is None else math.sqrt(self.window[0] * self.window[1])


class Known:
    """What is known of one configuration.

    Args:
        observations: Its finished trials; ``None`` before the first.
        stored: The study's baseline, if known.
        extra: A trial that is being told, not among the observations yet.
        given: A baseline that the caller gives.
        hints: What the study says of its search.

    Attributes:
        observations: Its finished trials.
        baseline: Loss of the untrained model, if known.
    """

    def __init__(
        self,
        observations: Observations | None,
        stored: float | None,
        extra: Observation | None = None,
        *,
        given: float | None = None,
        hints: Hints = NO_HINTS,
    ) -> None:
        self.observations = Observations((), 0) if observations is None else observations
        self._extra = extra
        own = self.observations.baseline
        if own is None and extra is not None:
            own = extra.baseline
        self.baseline = baseline_for(own, stored, given)
        self.hints = hints

    @property
    def curve(self) -> LRCurve:
        """Losses at the horizon."""
        return self.observations.curve(self.baseline, self._extra)

    @property
    def tried(self) -> LRCurve:
        """As well the trials that another pruner stopped early: tried, but no measurement."""
        return self.observations.curve(self.baseline, self._extra, early=True)

    @property
    def _items(self) -> list[Observation]:
        items = self.observations.items
        return items if self._extra is None else [*items, self._extra]

    def inferred(self, curve: LRCurve, low: float = -math.inf) -> Inferred:
        """The left flank as the trials passed through it.

        Args:
            curve: The measured losses.
            low: Lower end of the range, in decades.
        """
        paths = paths_of(self._items, self.baseline, self.hints)
        return inferred_losses(curve, self.baseline, paths, low)

    def rises(self, curve: LRCurve) -> FloatArray | None:
        """How far the training losses rose at each learning rate of a curve."""
        return rises_at(curve.x, self._items)

    def sure(self, curve: LRCurve) -> NDArray[np.bool_]:
        """At which learning rates of a curve a divergence was no accident."""
        return sure_at(curve.x, self._items)

    def noise(self, repeats: int) -> float:
        """Noise of one loss as a share of the drop: from repeats, else from the residuals.

        Without repeats the model is fitted rarely, to the first 10, 20, 40 or 80 trials by their
        numbers, one that is being told among them: the answer is then the same in every worker,
        after a restart, and when what is told has come true.

        Args:
            repeats: Most evaluations of one learning rate; above 1 only repeats tell.
        """
        curve = self.tried
        repeat_noise = curve.repeat_noise
        if repeat_noise is not None:
            finite = curve.loss[curve.finite]
            level = float(finite.max()) if self.baseline is None else self.baseline
            drop = level - float(finite.min())
            return repeat_noise / drop if drop > 0.0 else 0.0
        n = len(self.observations.items) + (self._extra is not None)
        sizes = [size for size in _NOISE_AT if size <= n]
        if repeats > 1 or not sizes:
            return 0.0
        first = self.observations.first(sizes[-1], self._extra)
        # By what they say, not by who they are: what is told and comes true is found again.
        key = ("noise", self.baseline, tuple((o.number, o.lr, o.loss) for o in first))
        return self.observations.cached(key, lambda *_: _noise_of(first, self.baseline))

    def value(self) -> ConfigurationValue:
        """What the configuration is worth (cached)."""
        key = ("value", len(self.observations.items), self.baseline)
        return self.observations.cached(key, _value)


def _noise_of(first: list[Observation], baseline: float | None) -> float:
    try:
        return noise_of(curve_of(first, baseline), baseline)
    except NoWindowError:
        return 0.0


def _value(observations: Observations, key: tuple[str, int, float | None]) -> ConfigurationValue:
    _, _, baseline = key
    known = observations.curve(baseline)
    try:
        points = points_of_interest(known, baseline)
    except NoWindowError:
        return ConfigurationValue(float(known.loss.min(initial=math.inf)), None)
    finite = known.finite
    loss = np.interp(math.log10(points.midpoint), known.x[finite], known.loss[finite])
    return ConfigurationValue(float(loss), (points.min_lr, points.max_lr))
