"""What is doubtful about a schedule, by the window and the picks for its length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic


#: A schedule that ends at no more than this share of its peak counts as one that decays: a tenth
#: is where many cosines for language models end.
_DECAYED = 0.1
#: A rate under this share of the peak is one at which nothing more happens.
_SPENT = 0.01
#: Rates nearer than this, in decades, are the same one: they were rounded on the way.
_SAME = 0.01


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule's learning rates.

    Attributes:
        rates: One for each optimizer step, none negative.
        end: The one that it comes to.
        wanted: Steps of the training; more than there are rates where the scheduler ends early.
        metrics: Whether what follows depends on metrics, so that the first rate alone is known.
    """

    rates: FloatArray
    end: float
    wanted: int
    metrics: bool = False

    @property
    def top(self) -> float:
        """The peak."""
        return float(self.rates.max())

    @property
    def decays(self) -> bool:
        """Whether it ends near 0."""
        return not self.metrics and self.end <= _DECAYED * self.top

    @property
    def held(self) -> bool:
        """Whether it stays at its peak for most of the training before it decays."""
        return self.decays and float(np.median(self.rates)) >= (1.0 - _SAME) * self.top

    @property
    def level(self) -> float:
        """What a pick is held against: the peak if it decays, else what it is most of the time."""
        return self.top if self.decays else float(np.median(self.rates))


def judge(result: AnalysisData, plan: Plan) -> tuple[Diagnostic, ...]:
    """All doubts about a plan, the weightiest first.

    Args:
        result: The analysis, its picks for the length of the plan.
        plan: The schedule.
    """
    misplaced = tuple(_window(result, plan)) or tuple(_pick(result, plan))
    return (*misplaced, *_shape(plan))


def _window(result: AnalysisData, plan: Plan) -> Iterator[Diagnostic]:
    """A peak beyond both the window and what the picks leave open."""
    top, (low, high) = plan.top, _open(result, plan)
    name, pick = _wanted(result, plan)
    use = f"use result.{name}, {pick:.2g} for {plan.wanted} steps"
    if top > max(result.max_lr, high) * 10.0**_SAME:
        yield Diagnostic(
            "peak-above-window",
            f"The peak, {top:.2g}, is {top / result.max_lr:.2g} times max_lr, {result.max_lr:.2g}"
            f": {_fate(result, top)}",
            use,
        )
    if top < min(result.min_lr, low) / 10.0**_SAME:
        yield Diagnostic(
            "peak-below-window",
            f"The peak, {top:.2g}, lies under min_lr, {result.min_lr:.2g}, by a factor of "
            f"{result.min_lr / top:.2g}: next to nothing will be learned",
            use,
        )


def _fate(result: AnalysisData, top: float) -> str:
    """What the short trials up there came to."""
    curve = result.curve
    ruined = curve.lr[(curve.lr > result.max_lr) & ~(curve.loss < result.baseline)]
    if ruined.size and top >= ruined[0]:
        return f"expect divergence, as short trials from {ruined[0]:.2g} on lost all they had"
    return "the short trials already learn less there"


def _pick(result: AnalysisData, plan: Plan) -> Iterator[Diagnostic]:
    """A level within the window that is not what the picks say."""
    level, (low, high) = plan.level, _open(result, plan)
    name, pick = _wanted(result, plan)
    held = not plan.decays and not plan.metrics
    if held and abs(math.log10(level / result.peak)) < _SAME:
        yield Diagnostic(
            "never-decays",
            f"The learning rate stays near {level:.2g}, the pick for a schedule that decays, and "
            f"ends at {plan.end:.2g}",
            f"hold result.recommended, {result.recommended:.2g}, or let it decay: "
            f"result.wsd(optimizer, {plan.wanted})",
        )
    elif not low / 10.0**_SAME <= level <= high * 10.0**_SAME:
        what = "peak of a schedule that decays" if plan.decays else "constant learning rate"
        yield Diagnostic(
            "peak-off",
            f"The {'peak' if plan.decays else 'learning rate'}, {level:.2g}, lies "
            f"{abs(math.log10(level / pick)):.2f} decades {'above' if level > pick else 'below'} "
            f"the pick for a {what} of {plan.wanted} steps, {pick:.2g} ({low:.2g} .. {high:.2g})",
            f"use result.{name}, {pick:.2g}",
        )


def _wanted(result: AnalysisData, plan: Plan) -> tuple[str, float]:
    """Name and value of the pick for this kind of schedule."""
    name = "peak" if plan.decays else "recommended"
    return name, getattr(result, name)


def _open(result: AnalysisData, plan: Plan) -> tuple[float, float]:
    """Learning rates that the picks leave open: both kinds' for what lies between the two."""
    intervals = result.intervals
    if plan.metrics or plan.held:
        return intervals["recommended"][0], intervals["peak"][1]
    return intervals[_wanted(result, plan)[0]]


def _shape(plan: Plan) -> Iterator[Diagnostic]:
    n = len(plan.rates)
    if n < plan.wanted and not plan.metrics:
        yield Diagnostic(
            "schedule-too-short",
            f"The scheduler refuses to go on after {n} of {plan.wanted} steps",
            f"make it for {plan.wanted} steps; if it is stepped once per epoch, check it with "
            "every=len(train_loader)",
        )
    after = plan.rates[int(np.argmax(plan.rates)) :]
    spent = np.count_nonzero(after < _SPENT * plan.top) / plan.wanted
    if spent > 0.5:
        yield Diagnostic(
            "decays-early",
            f"For {100 * spent:.0f} % of the steps the learning rate is under a hundredth of its "
            "peak, where nothing more is learned",
            "make the schedule as long as the training; if it is stepped once per epoch, check it "
            "with every=len(train_loader)",
        )
