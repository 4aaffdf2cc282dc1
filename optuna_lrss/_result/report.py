"""The readable report of an analysis."""

from __future__ import annotations

import math
import textwrap

from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.pick_doubts import is_narrow
from optuna_lrss._result.pick_doubts import outside_note
from optuna_lrss._result.pick_doubts import training_note


_WIDTH = 79
_MEANING = {
    "recommended": "to hold constant for a whole training",
    "peak": "highest of a schedule that decays to 0",
    "midpoint": "method 1: log-midpoint of the window",
    "half_loss": "method 2: half of the possible loss reduction",
    "steepest": "method 3: steepest descent of the curve",
    "min_lr": "lower end of the window: the knee",
    "max_lr": "upper end of the window: the lowest loss",
}
#: Without it "resolved" and neighbours half a decade apart look like a contradiction.
_RESOLVED = (
    "Resolved: the other points are read off a curve through all losses, which places them more "
    "exactly than their intervals, the known neighbours, say."
)


def report(result: AnalysisData) -> str:
    """At most 79 columns: what it cost, the window, the picks, the doubts."""
    lines = [_headline(result), ""]
    width = math.log10(result.max_lr / result.min_lr)
    noise = f", noise {100 * result.noise:.1f} % of the drop" if result.noise >= 5e-4 else ""
    lines += [
        f"  recommended     {result.recommended:.2e}   constant learning rate",
        f"  peak            {result.peak:.2e}   of a schedule that decays to 0",
        f"  {window_name(result):<14}  {result.min_lr:.2e} .. {result.max_lr:.2e}   "
        f"({width:.2f} decades)",
        f"  loss            {result.baseline:.4g} untrained, {result.lowest:.4g} lowest{noise}",
        *longer_lines(result),
        *validation_lines(result),
        "",
        "  point         learning rate   interval",
    ]
    intervals = result.intervals
    for name, meaning in _MEANING.items():
        low, high = intervals[name]
        lines.append(f"  {name:<12}  {getattr(result, name):<13.2e}   {low:.2e} .. {high:.2e}")
        lines.append(f"  {'':<12}  {meaning}")
    lines += ["", *_wrapped(training_note(result), hanging="  ")]
    if result.resolved:
        lines += ["", *_wrapped(_RESOLVED, hanging="  ")]
    outside = outside_note(result)
    if outside is not None:
        lines += ["", *_wrapped(outside, hanging="  ")]
    if result.groups:
        lines += ["", *_wrapped(groups_note(result), hanging="  ")]
    if result.held_out:
        lines += ["", *_wrapped(held_out_note(result), hanging="  ")]
    if result.horizons:
        lines += ["", "  steps         recommended     midpoint"]
        lines += [
            f"  {step:<12}  {picks['recommended']:<13.2e}   {picks['midpoint']:.2e}"
            for step, picks in result.horizons.items()
        ]
        lines.append(f"  drift         {result.drift['recommended']:+.2f} decades per 10x steps")
    for diagnostic in result.diagnostics:
        lines += ["", *_wrapped(f"! {diagnostic}")]
    return "\n".join(lines)


def window_name(result: AnalysisData) -> str:
    """A window that nobody should train in is not called viable."""
    return "narrow window" if is_narrow(result) else "viable window"


def longer_lines(result: AnalysisData) -> list[str]:
    """What was spent at each longer horizon, a line each."""
    return [
        f"  longer          {int(curve.count.sum())} trials of {steps} steps"
        for steps, curve in result.longer.items()
    ]


def validation_lines(result: AnalysisData) -> list[str]:
    """On how much was validated, and what share of the work that was, where it is known."""
    share, on = result.validation_share, result.validated
    if share is None or on is None:
        return []
    of = "all " if on.is_all else ""
    among = f" of {on.of}" if on.of is not None and not on.is_all else ""
    return [f"  validation      {of}{on.samples}{among} samples, {100 * share:.0f} % of the work"]


def cost_of(result: AnalysisData) -> str:
    """What the curve cost."""
    horizon = f" of {result.steps} steps" if result.steps_known else ""
    short = len(result.trials)
    longer = f" and {result.n_trials - short} longer" if result.longer else ""
    return f"{short} short trials{horizon}{longer}"


def groups_note(result: AnalysisData) -> str:
    """Whose learning rate was searched, where the optimizer's param groups have several."""
    ratios = ", ".join(f"{ratio:.3g}" for ratio in result.groups[1:])
    return (
        f"These are learning rates of the optimizer's first param group; the others have {ratios} "
        "times as much. result.apply(optimizer) sets all of them."
    )


def held_out_note(result: AnalysisData) -> str:
    """What was validated on, where there was no validation data."""
    return (
        f"Without validation data, {result.held_out} of the training loader's batches were held "
        "out of the short trials to validate on. Give a validation loader if you have one: "
        "validation_loader=..., a Trainer's eval_dataset, Lightning's val_dataloaders."
    )


def _headline(result: AnalysisData) -> str:
    cost = cost_of(result)
    if result.n_steps is not None:
        cost += f" ({result.n_steps} optimizer steps)"
    state = "resolved" if result.resolved else "not resolved yet"
    where = ", ".join(f"{k}={v}" for k, v in result.configuration.items())
    head = f"Learning rate {result.param_name!r} from {cost}, {state}"
    return "\n".join(_wrapped(head + (f", at {where}" if where else ""), indent=""))


def _wrapped(text: str, indent: str = "  ", hanging: str | None = None) -> list[str]:
    hanging = (indent and indent + "  ") if hanging is None else hanging
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=hanging)
