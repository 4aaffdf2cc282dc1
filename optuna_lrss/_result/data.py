"""What an analysis holds: plain data, which reports, JSON, diagnostics and plots are made from."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._method.trajectory import filled


#: The picks in the order of the report.
PICKS = ("recommended", "midpoint", "half_loss", "steepest")
#: The points that are read off the curve itself, at every horizon.
POINTS = (*PICKS[1:], "min_lr", "max_lr")


@dataclass(frozen=True)
class Diagnostic:
    """One doubt about an analysis.

    Attributes:
        code: Its name, as on the troubleshooting page.
        message: What was seen.
        remedy: What to change.
    """

    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


@dataclass(frozen=True, eq=False)
class AnalysisData:
    """The viable window and the picks of one learning-rate curve. Made by ``analyze``.

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
        steps: Horizon of the short trials; 20, the paper's, where it is not known.
        steps_known: Whether it is.
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
        groups: Learning rate of each of the optimizer's param groups relative to the first one's,
            which is the one searched; empty where they are equal or the study does not say.
        inferred: Losses of the fall that no trial measured but others passed through (the method
            page, section 9): ``(learning rate, loss, expected error as a share of the drop)``.
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
    steps_known: bool = True
    groups: tuple[float, ...] = ()
    inferred: tuple[tuple[float, float, float], ...] = ()

    @cached_property
    def known(self) -> LRCurve:
        """The curve with the inferred losses, which the points are read off."""
        return filled(self.curve, Inferred.from_tuples(self.inferred))

    @property
    def picks(self) -> dict[str, float]:
        """``recommended`` and the paper's three picks, by name."""
        return {name: getattr(self, name) for name in PICKS}

    @cached_property
    def fit(self) -> CurveFit:
        """The smooth model that the points were read from, for plots."""
        return points_of_interest(self.known, self.baseline, normalize=self.normalize).fit
