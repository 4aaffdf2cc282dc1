"""What an analysis holds: plain data, which reports, JSON, diagnostics and plots are made from."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.fit import CurveFit
from optuna_lrss._method.points import points_of_interest
from optuna_lrss._method.recommend import ENOUGH
from optuna_lrss._method.recommend import TOTAL_STEPS
from optuna_lrss._method.sureness import Sureness
from optuna_lrss._method.sureness import sureness
from optuna_lrss._method.sureness import tied
from optuna_lrss._method.sureness import widened
from optuna_lrss._method.trajectory import Inferred
from optuna_lrss._method.trajectory import filled
from optuna_lrss._study.validated import NEIGHBOURS
from optuna_lrss._study.validated import Validated


#: The picks in the order of the report.
PICKS = ("recommended", "peak", "midpoint", "half_loss", "steepest")
#: Those that are for a training of a certain length.
FOR_TRAINING = PICKS[:2]
#: The points that are read off the curve itself, at every horizon.
POINTS = (*PICKS[2:], "min_lr", "max_lr")


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
        recommended: Learning rate to hold constant for ``total_steps`` (the method page, section
            7).
        peak: Highest learning rate of a schedule that decays to 0 within ``total_steps``.
        brackets: Of each point that is read off the curve its known neighbours, ``(low, high)``.
        resolved: Whether nothing more needs to be tried to know every point within the tolerance.
        diagnostics: What is doubtful, each with a remedy.
        n_trials: Finished trials, longer ones too.
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
        trials: Finished short trials in order, ``(number, learning rate, loss)``; ``nan`` =
            failed.
        roles: Why the sampler tried each trial's learning rate, ``{trial number: role}``; empty
            for other samplers.
        horizons: Picks at each snapshot step, ``{step: {pick: learning rate}}``.
        drift: How far each pick moves per factor of ten in steps, in decades.
        normalize: Whether the curvature was taken on the normalised loss.
        longer: Losses of longer trials, ``{steps: curve}``; empty where there are none.
        total_steps: Optimizer steps of the training that ``recommended`` and ``peak`` are for;
            1000 where nobody said.
        total_steps_known: Whether somebody did.
        horizon: Steps of the trials that ``recommended`` and ``peak`` were read from.
        gained: Share of the untrained loss that these trials gained.
        groups: Learning rate of each of the optimizer's param groups relative to the first one's,
            which is the one searched; empty where they are equal or the study does not say.
        held_out: Batches of the training loader that validated, for want of validation data; 0
            where there is some or the study does not say.
        validated: On how much the trials validated; ``None`` where the study does not say.
        n_validations: How often they did.
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
    peak: float
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
    longer: dict[int, LRCurve] = field(default_factory=dict)
    total_steps: int = TOTAL_STEPS
    total_steps_known: bool = False
    horizon: int = 20
    gained: float = 1.0
    held_out: int = 0
    inferred: tuple[tuple[float, float, float], ...] = ()
    validated: Validated | None = None
    n_validations: int = 0

    @cached_property
    def known(self) -> LRCurve:
        """The curve with the inferred losses, which the points are read off."""
        return filled(self.curve, Inferred.from_tuples(self.inferred))

    @property
    def picks(self) -> dict[str, float]:
        """``recommended``, ``peak`` and the paper's three picks, by name."""
        return {name: getattr(self, name) for name in PICKS}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """How sure each point is, ``(low, high)`` by name.

        Of ``recommended`` and ``peak``: learning rates that hold one which loses less than a
        point after the training, in 80 % of trainings, by the landscapes. Of the points that are
        read off the curve: where brackets and noise leave them; ``max_lr`` also wherever the loss
        cannot be told from the lowest on the samples that were validated on.
        """
        found = {
            name: (
                self.sureness(name).interval(getattr(self, name))
                if name in FOR_TRAINING
                else widened(getattr(self, name), self.brackets[name], self.noise)
            )
            for name in (*PICKS, "min_lr", "max_lr")
        }
        if self._cannot_be_told > 0.0:
            low, high = tied(self.curve.lr, self.curve.loss, self._cannot_be_told)
            found["max_lr"] = min(low, found["max_lr"][0]), max(high, found["max_lr"][1])
        return found

    @property
    def _cannot_be_told(self) -> float:
        """How far losses may lie apart by the choice of samples: two errors, for each decade."""
        error = None if self.validated is None else self.validated.error
        drop = max(self.baseline - float(self.curve.loss.min()), 0.0)
        return 2.0 * (error or 0.0) * drop / NEIGHBOURS

    @property
    def validation_share(self) -> float | None:
        """Share of the search's work that went into validation; ``None`` if it is not known.

        Counted in optimizer steps, of which a forward pass of as many samples is a third; with
        what it cost to decide on how much to validate.
        """
        if self.validated is None or not self.n_steps:
            return None
        work = self.validated.pilot + self.n_validations * self.validated.cost
        return work / (self.n_steps + work)

    def sureness(self, pick: str) -> Sureness:
        """What the landscapes say of ``recommended`` or ``peak``, as they were measured here.

        Raises:
            ValueError: If it is neither.
        """
        if pick not in ("recommended", "peak"):
            raise ValueError(f"pick={pick!r} must be 'recommended' or 'peak'.")
        return sureness(pick, longer=self.horizon > self.steps, enough=self.gained >= ENOUGH)

    @cached_property
    def fit(self) -> CurveFit:
        """The smooth model that the points were read from, for plots."""
        return points_of_interest(self.known, self.baseline, normalize=self.normalize).fit
