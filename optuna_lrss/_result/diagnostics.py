"""What is doubtful about an analysis, in plain words, each with a remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import TrialState

from optuna_lrss._method.curve import FloatArray
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._method.curve import holds
from optuna_lrss._method.divergence import contradicted
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic
from optuna_lrss._result.pick_doubts import pick_doubts
from optuna_lrss._study.trials import Observation


#: A second minimum counts when it lies this share of the drop above the lowest at most ...
_RIVAL_DEPTH = 0.2
#: ... and a hill of at least this share (and 3 noise widths) stands between them.
_HILL = 0.1
#: A loss below this share of the untrained one is exhausted before the horizon.
_EXHAUSTED = 0.01
#: Picks that move more than this per factor of ten in steps drift, in decades.
_DRIFT = 0.5
#: Standard error of one validation loss that hides differences, as a share of the loss drop. All
#: learning rates share the validation set, so differences are several times surer than that.
_VALIDATION_ERROR = 0.2
#: Paired standard error of losses at neighbouring learning rates, as a share of the drop, which a
#: sample has only where it may not grow: twice what samples are made for. In a fifth of trainings
#: with so much `max_lr` moves by over a tenth of a decade (docs/results/validation_sample.md).
_PAIRED_ERROR = 0.04


@dataclass(frozen=True, eq=False)
class Facts:
    """What diagnoses look at: the analysis, and what it does not say itself.

    Attributes:
        result: What was found.
        trials: The finished trials behind it.
        baseline_known: Whether the baseline is the untrained model's own.
        steps_known: Whether the horizon is.
        tolerance: How well every point was to be known, in decades.
        guess: Loss of the best output that does not look at its input, where it is known.
        short_steps: Steps of the short trials, where they differ from those of the window.
    """

    result: AnalysisData
    trials: Sequence[Observation]
    baseline_known: bool
    steps_known: bool
    tolerance: float
    guess: object = None
    short_steps: int | None = None


def diagnose(facts: Facts) -> tuple[Diagnostic, ...]:
    """All diagnostics of an analysis, the weightiest first."""
    checks = (
        _plateau,
        _picks,
        _edges,
        _lone_divergence,
        _several_minima,
        _noise,
        _momentum,
        _drift,
        _validation,
        _exhausted,
        _baseline,
        _states,
        _unresolved,
    )
    return tuple(d for check in checks for d in check(facts))


def _edges(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    curve = result.curve
    finite = np.flatnonzero(curve.finite)
    lowest = int(finite[np.argmin(curve.loss[finite])])
    if lowest == len(curve) - 1:
        yield Diagnostic(
            "minimum-at-top",
            f"The lowest loss is at the top of the known range, {curve.lr[-1]:.2g}",
            f"raise the upper bound above {max(result.search_range[1], curve.lr[-1]):.2g}",
        )
    if lowest == 0:
        yield Diagnostic(
            "minimum-at-bottom",
            f"The lowest loss is at the bottom of the known range, {curve.lr[0]:.2g}",
            f"lower the lower bound below {min(result.search_range[0], curve.lr[0]):.2g}",
        )
    elif not _shows_plateau(result) and not _on_plateau(facts):
        yield Diagnostic(
            "no-plateau",
            f"Even the lowest known learning rate, {curve.lr[0]:.2g}, gains more than half of "
            "the loss reduction, so the window's lower end lies below it",
            f"lower the lower bound below {min(result.search_range[0], curve.lr[0]):.2g}",
        )


def _shows_plateau(result: AnalysisData) -> bool:
    """Whether the lowest known learning rate, measured or inferred, gains less than half."""
    known = result.known
    first = known.loss[int(np.flatnonzero(known.finite)[0])]
    return bool(first - result.lowest >= 0.5 * (result.baseline - result.lowest))


def _normalised(result: AnalysisData) -> FloatArray:
    return np.asarray((result.curve.loss - result.lowest) / (result.baseline - result.lowest))


def _lone_divergence(facts: Facts) -> Iterator[Diagnostic]:
    curve = facts.result.curve
    lone = curve.lr[contradicted(curve.loss, facts.result.baseline)]
    if lone.size:
        rates = ", ".join(f"{lr:.2g}" for lr in lone[:3]) + (", ..." if lone.size > 3 else "")
        yield Diagnostic(
            "lone-divergence",
            f"{lone.size} learning rate{'s' if lone.size > 1 else ''} ({rates}) diverged or "
            "failed although higher ones learn, which an accident explains better than the "
            "learning rate does; the picks lean away from there",
            "look at what happened in these trials and evaluate them again, "
            f'study.enqueue_trial({{"{facts.result.param_name}": {lone[0]:.17g}}}); a finite loss '
            "replaces the divergence, and if it comes back, train below it",
        )


def _several_minima(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    yn = _normalised(result)
    lowest = int(np.argmin(yn))
    hill = max(_HILL, 3.0 * result.noise)
    for i in map(int, np.flatnonzero(yn <= yn[lowest] + _RIVAL_DEPTH)):
        between = yn[min(i, lowest) + 1 : max(i, lowest)]
        if between.size and between.max() >= max(yn[i], yn[lowest]) + hill:
            yield Diagnostic(
                "several-minima",
                f"The curve has a second minimum near {result.curve.lr[i]:.2g}, "
                f"{100 * (yn[i] - yn[lowest]):.0f} % of the loss drop above the lowest near "
                f"{result.curve.lr[lowest]:.2g}",
                "use repeats=3 to see whether both are real, and prefer the lower learning rate",
            )
            return


def _noise(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    # Neighbours closer than about sqrt(noise) decades cannot be told apart (method page, 5).
    useful = 0.5 * math.sqrt(result.noise)
    if useful > facts.tolerance:
        yield Diagnostic(
            "noise",
            f"One loss is uncertain by {100 * result.noise:.1f} % of the loss drop, too much for "
            f"a tolerance of {facts.tolerance:g} decades; refinement below {useful:.2g} decades "
            "is pointless and was left out",
            "use LRStepSampler(repeats=3), a larger validation set, or a tolerance of "
            f"{useful:.2g}",
        )


def _momentum(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    if not facts.steps_known:  # which is a doubt of its own
        return
    needed = 1.0 / (1.0 - result.momentum)
    if result.horizon >= needed:  # longer trials say what the short ones cannot
        return
    # A velocity that was built up before the trial counts as steps taken.
    if result.lag < momentum_lag(result.momentum, math.ceil(needed)):
        yield Diagnostic(
            "short-horizon",
            f"{result.steps} steps are fewer than the {needed:.0f} that momentum "
            f"{result.momentum:g} needs to build up",
            f"use steps={math.ceil(needed)} or more",
        )


def _drift(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    drift = result.drift.get("recommended", 0.0)
    if abs(drift) > _DRIFT:
        yield Diagnostic(
            "drift",
            f"The recommended learning rate moves by {drift:+.2f} decades per factor of ten in "
            "steps",
            "take more steps per trial until it settles",
        )


def _validation(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    lowest = min(facts.trials, key=lambda o: o.loss if o.loss == o.loss else math.inf)
    drop = result.baseline - result.lowest
    sample = result.validated
    if sample is not None and sample.error is not None:  # what counts, and it is known
        if sample.error > _PAIRED_ERROR:
            yield Diagnostic(
                "small-validation-set",
                f"On {sample.samples} of {sample.of} validation samples, losses at neighbouring "
                f"learning rates are uncertain by {100 * sample.error:.1f} % of the loss drop, "
                "and more would have taken longer than the training",
                "mind the interval of max_lr, or validate on all, validation_batches=None",
            )
        return
    if lowest.stderr is not None and lowest.stderr > _VALIDATION_ERROR * drop:
        yield Diagnostic(
            "small-validation-set",
            f"The validation loss is uncertain by {100 * lowest.stderr / drop:.0f} % of the loss "
            "drop, because its set is small for the differences seen",
            "validate on more batches (validation_batches=...)",
        )


def _on_plateau(facts: Facts) -> bool:
    """Whether the window is that of longer trials, since the short ones learn nothing."""
    return facts.short_steps is not None and facts.short_steps < facts.result.steps


def _plateau(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    if _on_plateau(facts):
        yield Diagnostic(
            "plateau",
            f"No learning rate learns anything within {facts.short_steps} steps, so the window "
            f"is that of {len(result.curve)} trials of {result.steps}",
            f"search with steps={result.steps}: the whole curve at that horizon",
        )


def _picks(facts: Facts) -> Iterator[Diagnostic]:
    """Of two signs of one trouble one word is enough: the surer one goes first."""
    guessing = tuple(_guessing(facts))
    yield from guessing
    doubts = pick_doubts(facts.result)
    yield from (d for d in doubts if not (guessing and d.code == "small-drop"))


def _guessing(facts: Facts) -> Iterator[Diagnostic]:
    result, guess = facts.result, facts.guess
    if not isinstance(guess, (int, float)):
        return
    lowest = min(facts.trials, key=lambda o: o.loss if o.loss == o.loss else math.inf)
    # Two standard errors: a loss that is lower by less may be so by chance.
    if result.lowest > guess - 2.0 * (lowest.stderr or 0.0):
        yield Diagnostic(
            "guessing",
            f"The lowest loss, {result.lowest:.4g}, is no better than guessing: the best output "
            f"that does not look at the input has {guess:.4g}",
            "take more steps per trial, validate on more batches, or check that inputs and "
            "targets belong together",
        )


def _exhausted(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    if result.baseline > 0.0 and 0.0 <= result.lowest < _EXHAUSTED * result.baseline:
        yield Diagnostic(
            "exhausted",
            f"The loss falls to {100 * result.lowest / result.baseline:.2g} % of the untrained "
            f"one within {_horizon(facts)}, so that the horizon sees the end of the training",
            "use fewer steps per trial",
        )


def _horizon(facts: Facts) -> str:
    return f"{facts.result.steps} steps" if facts.steps_known else "the horizon"


def _baseline(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    if not facts.baseline_known:
        yield Diagnostic(
            "no-baseline",
            f"The untrained model's loss is not known; the loss on the lowest plateau, "
            f"{result.baseline:.4g}, stands in",
            'store it, study.set_user_attr("lrss:baseline", loss), or pass baseline=... to '
            "analyze",
        )
    if not facts.steps_known and result.momentum > 0.0:
        yield Diagnostic(
            "no-steps",
            f"The horizon of the trials is not known; {result.steps} steps are assumed for the "
            "momentum lag",
            'store it: study.set_user_attr("lrss:steps", n), or analyze(study, steps=...)',
        )


def _states(facts: Facts) -> Iterator[Diagnostic]:
    items, curve = facts.trials, facts.result.curve
    # A failure that another trial made up for, after Ctrl-C say, is no reason to doubt.
    failed = sum(o.state == TrialState.FAIL and not _measured(curve, o.lr) for o in items)
    if failed:
        yield Diagnostic(
            "failed-trials",
            f"{failed} of {len(items)} trials failed and their learning rates have no loss; one "
            "that failed twice counts as diverged",
            "look at the errors of the failed trials",
        )
    early = [o for o in items if o.state == TrialState.PRUNED and not _diverged(curve, o.lr)]
    if early:
        yield Diagnostic(
            "pruned-early",
            f"{len(early)} of {len(items)} trials were pruned without having diverged, so they "
            "say little or nothing about the horizon",
            "use LRStepPruner, which stops diverged trials only",
        )


def _diverged(curve: LRCurve, lr: float) -> bool:
    """Whether a learning rate is on the curve, as diverged."""
    return holds(curve.x[~curve.finite], math.log10(lr))


def _measured(curve: LRCurve, lr: float) -> bool:
    """Whether a learning rate is on the curve, with a loss."""
    return holds(curve.x[curve.finite], math.log10(lr))


def _unresolved(facts: Facts) -> Iterator[Diagnostic]:
    result = facts.result
    if not result.resolved:
        yield Diagnostic(
            "unresolved",
            f"Not every point is known within the tolerance of {facts.tolerance:g} decades yet",
            "run more trials: study.optimize(objective) with LRStepSampler goes on where it "
            "stopped",
        )
