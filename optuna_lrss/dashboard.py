"""A study's window, picks and curve in optuna-dashboard.

:func:`publish` writes one figure (History page), a section of the study's note and summary
attributes. Call it after ``optimize``, or hand it to ``optimize`` as a callback.
"""

from __future__ import annotations

import functools
import math
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

from optuna import TrialPruned

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze
from optuna_lrss._result.pick_doubts import training_note
from optuna_lrss._result.report import cost_of
from optuna_lrss._result.report import window_name
from optuna_lrss._study.arguments import is_number
from optuna_lrss._study.claims import Claim
from optuna_lrss._study.keys import TRIAL
from optuna_lrss.visualization import plot_lr_curve
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial
    from plotly.graph_objects import Figure

    from optuna_lrss._result.lr_analysis import LRAnalysis


#: Id of the figure. The dashboard answers 500 to ids with a colon.
FIGURE_ID = "lrss-curve"
#: Study user attributes that publish writes; None where there is no window.
SUMMARY = ("min_lr", "max_lr", "recommended", "peak", "midpoint", "half_loss", "steepest")
PUBLISHED = "lrss:published"
STATUS = "lrss:status"

#: Fences of our part of the note: link definitions, which Markdown does not render. The dashboard
#: shows HTML comments as text.
BEGIN = "[lrss:begin]: # (written by optuna_lrss: edits between here and lrss:end are lost)"
END = "[lrss:end]: # (your own notes are kept)"

_MEANING = {
    "recommended": "constant, for a whole training",
    "peak": "highest of a schedule that decays to 0",
    "midpoint": "method 1: log-midpoint of the window",
    "half_loss": "method 2: half of the possible loss reduction",
    "steepest": "method 3: steepest descent",
    "min_lr": "lower end of the window",
    "max_lr": "upper end of the window",
}

_one_at_a_time = threading.Lock()


def publish(
    study: Study,
    trial: FrozenTrial | None = None,
    *,
    param_name: str = "lr",
    min_interval: float = 10.0,
) -> None:
    """Puts the curve, the window and the picks where optuna-dashboard shows them.

    Writes one figure (on the study's History page), a section in the study's Markdown note, and
    the user attributes ``lrss:status``, ``lrss:min_lr``, ``lrss:max_lr``, ``lrss:recommended``,
    ``lrss:midpoint``, ``lrss:half_loss``, ``lrss:steepest`` and ``lrss:published``. What else the
    note says is kept. Without a viable window the section says why. With other hyperparameters
    they are those of the configuration with the lowest loss.

    As a callback it keeps them current. Writes are many rows, so it writes at most once per
    ``min_interval``, over all workers of the study, and once more when the search is over; after
    an ``optimize`` that ends by ``n_trials`` or ``timeout``, call it once yourself.

    Example:
        .. code-block:: python

            study.optimize(objective, callbacks=[publish])
            publish(study)

    Args:
        study: The study, in a storage that the dashboard reads.
        trial: Given by ``optimize`` when this is a callback: then the rate is bounded.
        param_name: Name of the learning rate.
        min_interval: Seconds between two publications by the callback.

    Raises:
        ValueError: If the study has several objectives, or ``min_interval`` is negative.
        ImportError: If optuna-dashboard or plotly is not installed.
    """
    if not (is_number(min_interval) and min_interval >= 0.0):
        raise ValueError(f"min_interval={min_interval!r} must be 0 or more seconds.")
    dashboard = _dashboard()
    if trial is None:
        with _one_at_a_time:
            _publish(dashboard, study, param_name)
        return
    # Other threads of `optimize(n_jobs=...)` do not wait for one that is publishing.
    if not _one_at_a_time.acquire(blocking=False):
        return
    try:
        if _is_due(study, min_interval):
            _publish(dashboard, study, param_name)
    finally:
        _one_at_a_time.release()


def _dashboard() -> Any:
    try:
        import optuna_dashboard
    except ImportError as error:
        raise ImportError(
            "publish needs optuna-dashboard and plotly: pip install 'optuna-lrss[dashboard,plot]'."
        ) from error
    return optuna_dashboard


def _is_due(study: Study, min_interval: float) -> bool:
    """Whether the last publication is old enough, or the search is over."""
    if getattr(study, "_stop_flag", False):  # set by study.stop(): no later trial will call us
        return True
    last = study.user_attrs.get(PUBLISHED)
    return not isinstance(last, (int, float)) or abs(time.time() - last) >= min_interval


def _publish(dashboard: Any, study: Study, param_name: str) -> None:
    result: LRAnalysis | None = None
    reason = ""
    try:
        result = analyze(study, param_name=param_name)
    except NoWindowError as error:
        reason = str(error)
    # First of all: a second worker that comes meanwhile finds it not due.
    study.set_user_attr(PUBLISHED, round(time.time(), 1))
    _write_summary(study, result)
    note = dashboard.get_note(study)
    merged = merge_note(note, _section(result, reason))
    if merged != note:
        dashboard.save_note(study, merged)
    figure = (
        plot_lr_curve(study, param_name=param_name) if result is None else plot_lr_curve(result)
    )
    dashboard.save_plotly_graph_object(study, _for_dashboard(figure), graph_object_id=FIGURE_ID)


def _write_summary(study: Study, result: LRAnalysis | None) -> None:
    """Only what has changed: each attribute costs a transaction."""
    status = "no viable window"
    if result is not None:
        status = "resolved" if result.resolved else "not resolved yet"
    values: dict[str, Any] = {STATUS: status}
    values |= {f"lrss:{name}": getattr(result, name, None) for name in SUMMARY}
    stored = study.user_attrs
    for key, value in values.items():
        if stored.get(key) != value:
            study.set_user_attr(key, value)


def _for_dashboard(figure: Figure) -> Figure:
    """Without plotly's template, which is most of the JSON and is sent with every poll.

    The dashboard draws figures as they are, on its light or dark page.
    """
    axis = {
        "automargin": True,
        "gridcolor": "rgba(128,128,128,0.25)",
        "linecolor": "#808080",
        "title": {"standoff": 6},
        "zeroline": False,
    }
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


# --- The note ---------------------------------------------------------------------------------


def merge_note(note: str, section: str) -> str:
    """Puts our section into a user's note, in place of an earlier one, else at the end.

    Args:
        note: The note as it is.
        section: Markdown of ours, without fences.

    Returns:
        The note; every line that is not between the fences is as it was.
    """
    fenced = f"{BEGIN}\n\n{section.strip()}\n\n{END}"
    begin = note.find(BEGIN)
    end = note.find(END, begin)
    if begin >= 0 and end >= 0:
        return note[:begin] + fenced + note[end + len(END) :]
    if begin >= 0:  # the closing fence was deleted: what follows may be the user's, so it stays
        note = note[:begin] + note[begin + len(BEGIN) :]
    kept = note.rstrip("\n")
    return f"{kept}\n\n{fenced}\n" if kept else f"{fenced}\n"


def _section(result: LRAnalysis | None, reason: str) -> str:
    if result is None:
        return f"## Learning rate\n\nNo viable window yet. {_plain(reason)}"
    cost = cost_of(result)
    state = "resolved" if result.resolved else "not resolved yet"
    lines = [
        "## Learning rate",
        "",
        f"**Use {short(result.recommended)}**, or a schedule that decays from "
        f"**{short(result.peak)}**. The {window_name(result)} is {short(result.min_lr)} to "
        f"{short(result.max_lr)} ({math.log10(result.max_lr / result.min_lr):.2f} decades), "
        f"from {cost}, {state}.",
        "",
    ]
    if result.configuration:
        where = ", ".join(f"{_code(k)} = {_code(str(v))}" for k, v in result.configuration.items())
        lines += [f"For the configuration with the lowest loss: {where}.", ""]
    lines += ["| point | learning rate | interval | |", "|---|---|---|---|"]
    intervals = result.intervals
    for name, meaning in _MEANING.items():
        low, high = (short(v) for v in intervals[name])
        lines.append(f"| {name} | {short(getattr(result, name))} | {low} to {high} | {meaning} |")
    lines += ["", _plain(training_note(result))]
    lines += ["", f"Loss: {result.baseline:.4g} untrained, {result.lowest:.4g} lowest."]
    if result.diagnostics:
        lines += ["", "Doubts:", "", *(f"- {_plain(str(d))}" for d in result.diagnostics)]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown leaves alone."""
    text = _one_line(text)
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text


def _code(text: str) -> str:
    """A user's text as a code span that it cannot leave (CommonMark 0.31, section 6.1)."""
    text = _one_line(text) or '""'
    if "[lrss:" in text:  # it could hold a fence of ours, which `merge_note` looks for
        return _plain(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def _one_line(text: str) -> str:
    """Line ends and other invisible characters as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# --- Columns of the trial table -----------------------------------------------------------------


def with_columns(objective: Callable[[Trial], float]) -> Callable[[Trial], float]:
    """An objective whose trials also get columns in the dashboard's trial table.

    Columns come from flat trial user attributes, and only a running trial can be written to: so
    they are written at the end of each trial, ``lrss:diverged`` (0 or 1) and ``lrss:steps``
    (optimizer steps that were run), both sortable, and ``lrss:role`` (why the sampler chose the
    learning rate). They cost up to three small transactions per trial, some 0.1 s on SQLite.

    Example:
        .. code-block:: python

            study.optimize(with_columns(objective), callbacks=[publish])

    Args:
        objective: Any objective; one that is no StepObjective gets no ``lrss:steps``.

    Returns:
        The objective with columns.

    Raises:
        ValueError: If it cannot be called.
    """
    if not callable(objective):
        raise ValueError(f"objective={objective!r} must be a function of a trial.")

    def wrapped(trial: Trial) -> float:
        try:
            value = objective(trial)
        except TrialPruned:
            _write_columns(trial, None)
            raise
        _write_columns(trial, value)
        return value

    functools.update_wrapper(wrapped, objective)
    return wrapped


def _write_columns(trial: Trial, value: float | None) -> None:
    stored = trial.study._storage.get_trial(trial._trial_id)
    info = stored.user_attrs.get(TRIAL)
    info = info if isinstance(info, dict) else {}
    diverged = info.get("diverged")
    if diverged is None and isinstance(value, (int, float)):
        diverged = not math.isfinite(value)
    claim = Claim.of(stored)
    columns = {
        "lrss:diverged": None if diverged is None else int(diverged),
        "lrss:steps": info.get("steps"),
        "lrss:role": None if claim is None else claim.role,
    }
    for key, column in columns.items():
        if column is not None:
            trial.set_user_attr(key, column)
