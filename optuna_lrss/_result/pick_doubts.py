"""Doubts about ``recommended`` and ``peak``: is there enough to say where a training goes?

How often each announces a pick that loses over 5 points, and how often it cries wolf, is counted
on the landscapes (docs/results/advice.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from optuna_lrss._method.recommend import ENOUGH
from optuna_lrss._method.recommend import PER_LENGTH
from optuna_lrss._method.recommend import share_gained
from optuna_lrss._method.recommend import upper_end
from optuna_lrss._method.search.longer import next_horizon
from optuna_lrss._method.sureness import PROBABILITY
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic


#: A share of the untrained loss below which the longest trials have gained too little: of the
#: picks read from so little one in five loses over 5 points, of the others one in twenty.
LITTLE = 0.2
#: Decades by which longer trials may move the upper end: of the picks where it moved further one
#: in eight loses over 5 points.
MOVED = 0.8
#: Decades within which a learning rate that loses all it had is too near to `recommended`: of
#: such picks more than half lose over 5 points.
CLIFF = 0.5
#: Decades of a window in which nobody should train: it lies within the width of a smoothed cliff,
#: twice the Gaussian that ``recommended`` smooths with.
NARROW = 0.4
#: How many times as long as the trials a training may be: trials of 80 steps have been checked
#: against trainings of up to 47,000.
LONGEST = 600.0


def pick_doubts(result: AnalysisData) -> Iterator[Diagnostic]:
    """All of them, the weightiest first."""
    yield from _little(result)
    yield from _moved(result)
    yield from _cliff(result)
    yield from _narrow(result)
    yield from _far(result)


def judged_by_length(result: AnalysisData) -> tuple[Diagnostic, ...]:
    """The doubts of an analysis whose ``total_steps`` has been changed."""
    return (*_far(result), *(d for d in result.diagnostics if d.code != "long-training"))


def _little(result: AnalysisData) -> Iterator[Diagnostic]:
    short = share_gained(result.baseline, result.lowest)
    if result.gained >= LITTLE and short >= ENOUGH:
        return
    alone = result.horizon == result.steps
    what = "The trials" if alone else f"The trials of {result.horizon} steps"
    if result.gained >= LITTLE:
        what = f"Trials of {result.steps} steps"
    gained = min(result.gained, short)
    yield Diagnostic(
        "small-drop",
        f"{what} gain {100 * gained:.2g} % of the untrained loss, so they may show how fast the "
        "output's level is found, or a plateau, and not how fast the model learns; picks from so "
        "little fail several times as often as others",
        _longer_remedy(result) + "; where so little is gained still, check that inputs and "
        "targets belong together",
    )


def _longer_remedy(result: AnalysisData) -> str:
    if not result.steps_known:
        return "take more steps per trial"
    if result.horizon == result.steps:
        short = result.total_steps_known and not _leaves_room(result)
        if short and result.total_steps > result.steps:
            return (
                f"search with steps={result.total_steps}, since a training of that many is too "
                "short for longer trials"
            )
        return f'use steps="auto", or steps={4 * result.steps}'
    return f"search with steps={result.horizon}, or with {4 * result.horizon}"


def _leaves_room(result: AnalysisData) -> bool:
    """Whether the training is long enough for trials that are longer than these."""
    curve, known, steps = result.curve, result.baseline, result.steps
    return next_horizon(curve, known, steps, result.total_steps, base=steps) is not None


def _moved(result: AnalysisData) -> Iterator[Diagnostic]:
    if result.horizon == result.steps:
        return
    longest = result.longer[result.horizon]
    least = float(longest.loss[longest.finite].min())
    ends = (
        upper_end(result.curve, result.baseline, result.lowest),
        upper_end(longest, result.baseline, least),
    )
    moved = math.log10(ends[1] / ends[0])
    if abs(moved) > MOVED:
        yield Diagnostic(
            "upper-end-moved",
            f"From {result.steps} to {result.horizon} steps the best learning rate moves by "
            f"{moved:+.1f} decades, so that it may be elsewhere again for the training",
            f"search with steps={result.horizon}: the whole curve at that horizon",
        )


def _cliff(result: AnalysisData) -> Iterator[Diagnostic]:
    """What the longest trials say of the learning rates just above."""
    curve = result.longer.get(result.horizon, result.curve)
    ruined = curve.lr[(curve.lr > result.recommended) & ~(curve.loss < result.baseline)]
    if ruined.size and math.log10(ruined[0] / result.recommended) < CLIFF:
        yield Diagnostic(
            "cliff",
            f"At {ruined[0]:.2g}, {math.log10(ruined[0] / result.recommended):.2f} decades above "
            f"recommended, trials of {result.horizon} steps end no better than untrained",
            f"train with result.pick(risk=0.05), or search with steps={4 * result.horizon} to see "
            "whether the cliff comes nearer",
        )


def is_narrow(result: AnalysisData) -> bool:
    """Whether the window is too narrow for anybody to train in."""
    return math.log10(result.max_lr / result.min_lr) < NARROW


def _narrow(result: AnalysisData) -> Iterator[Diagnostic]:
    if is_narrow(result):
        width = math.log10(result.max_lr / result.min_lr)
        yield Diagnostic(
            "narrow-window",
            f"The window is {width:.2f} decades wide: within {result.steps} steps the model "
            "learns beside the cliff only",
            _longer_remedy(result),
        )


def _far(result: AnalysisData) -> Iterator[Diagnostic]:
    times = result.total_steps / result.horizon
    if times > LONGEST:
        yield Diagnostic(
            "long-training",
            f"The training of {result.total_steps} steps is {times:.0f} times as long as the "
            f"trials that the picks are read from; such picks have been checked up to {LONGEST:g} "
            "times",
            f"take longer trials, {_longer_for(result)}, or try half of the pick beside it",
        )


def _longer_for(result: AnalysisData) -> str:
    """Trials that are long enough for the training."""
    needed = math.ceil(result.total_steps / LONGEST)
    auto = result.steps_known and result.horizon == result.steps
    # With "auto" the next horizon has four times as many steps.
    return 'steps="auto"' if auto and needed <= 4 * result.steps else f"steps={needed}"


def outside_note(result: AnalysisData) -> str | None:
    """Why ``recommended`` lies outside the window, where it does."""
    if result.min_lr <= result.recommended <= result.max_lr:
        return None
    side = "below" if result.recommended < result.min_lr else "above"
    ends = f"the window is that of {result.steps} steps"
    read = f"the pick is for {result.total_steps}, read from trials of {result.horizon}"
    return f"recommended lies {side} the window: {ends}, {read}."


def training_note(result: AnalysisData) -> str:
    """What the picks are for, and how they move with the length of the training."""
    factor = round(10.0**-PER_LENGTH, 1)
    told = "" if result.total_steps_known else " (total_steps=... says how many it will be)"
    return (
        f"recommended and peak are for a training of {result.total_steps} steps{told}; ten times "
        f"as many want {factor:g} times as much. Intervals of these two hold a learning rate that "
        f"loses less than a point in {100 * PROBABILITY:.0f} % of trainings."
    )
