"""A search as it comes, for a person who waits: a bar, a line a trial, or a live curve."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any
from typing import TextIO

from tqdm import tqdm

from optuna_lrss._result.standing import Standing
from optuna_lrss._result.standing import lowest_loss
from optuna_lrss._result.standing import standing
from optuna_lrss._study.arguments import checked_name
from optuna_lrss._study.arguments import require_budget
from optuna_lrss._study.clock import Clock
from optuna_lrss._study.history import StudyHistory
from optuna_lrss._study.trials import Observation
from optuna_lrss._study.trials import observe


if TYPE_CHECKING:
    from types import TracebackType

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_lrss._result.lr_analysis import LRAnalysis


_logger = logging.getLogger("optuna_lrss")
#: Looking at the whole search may take a twentieth of the time: where trials take a second, each
#: is looked at; where they take milliseconds, nobody can read so fast.
_LOOK_SHARE = 0.05
#: Seconds between two movements of the bar, as tqdm has it.
_REDRAW = 0.1
_BAR = "|{bar:10}| {elapsed} {desc}"


class SearchProgress:
    """Shows a search as it comes; a callback for ``study.optimize``.

    A person who waits sees the learning rate, the step and the loss of the trial under way, the
    window and ``recommended`` as known by now, and how many trials and how much time probably
    remain. In a terminal that is one bar over the whole search. Without one (nohup, Slurm, a
    pipe, a notebook) it is a line a trial at level INFO of the logger ``optuna_lrss``: through the
    handlers that logging has, or to standard error if it has none. What remains is what the
    strategy itself would still try, were the losses as the known ones let expect, times the
    trials' pace so far; with other parameters than the learning rate nobody knows.

    Example:
        .. code-block:: python

            show = SearchProgress(plot=True)
            objective = StepObjective(..., progress=show)  # its steps go in the same bar
            study.optimize(objective, callbacks=[show])

    Args:
        param_name: Name of the learning rate.
        plot: Draw the curve too, and again as it grows, in a notebook; elsewhere a warning says
            that there is none. Needs matplotlib.
        text: Whether to show the bar or the lines.
        n_trials: At most so many trials are to come, as ``study.optimize`` was told.
        timeout: The same in seconds.

    Raises:
        ValueError: If the name is none, or a limit is out of its range.
        ImportError: If ``plot`` is asked for without matplotlib.
    """

    def __init__(
        self,
        param_name: str = "lr",
        *,
        plot: bool = False,
        text: bool = True,
        n_trials: int | None = None,
        timeout: float | None = None,
    ) -> None:
        require_budget(n_trials, timeout)
        self._history = StudyHistory(checked_name(param_name))
        self._text = text
        self._n_trials = n_trials
        self._timeout = timeout
        self._curve = _live_curve() if plot else None
        self._clock = Clock()
        self._lock = threading.Lock()
        self._pace = Pace(self._clock.monotonic())
        self._standing = Standing()
        self._look_again: float | None = None  # at this time, or when the end is near
        self._bar: _Bar | None = None

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Shows a finished trial; called by ``study.optimize``.

        Args:
            study: The study.
            trial: The trial.
        """
        if not self._text and self._curve is None:
            return
        with self._lock:
            seen = observe(trial, self._history.param_name, study.direction)
            if seen is None:
                return
            self._pace.finished(self._clock.monotonic(), trial.duration)
            self._look(study)
            if self._text:
                self._tell(study, seen)
            if self._curve is not None:
                self._curve.draw(study, self._history.param_name, last=self._standing.left == 0)
            if self._standing.left == 0:
                self.close()

    def step(self, lr: float, step: int, steps: int, loss: float) -> None:
        """Shows a step of the trial under way; called by ``StepObjective``.

        Args:
            lr: Learning rate of the trial.
            step: Steps that it has taken.
            steps: Steps that it is to take.
            loss: Training loss of the last.
        """
        if not self._text or not _in_terminal():
            return
        current = f"lr {lr:.2e} step {step}/{steps} loss {loss:.4g}"
        self._open_bar().step(self._clock.monotonic(), lambda: self._words(current))

    def finish(self, study: Study, result: LRAnalysis) -> None:
        """Shows what was found.

        Args:
            study: The study.
            result: Its analysis.
        """
        self.close()
        if self._curve is not None:
            self._curve.draw(study, self._history.param_name, last=True)
        if self._text and not _in_terminal():
            state = "resolved" if result.resolved else "not resolved yet"
            took = duration(self._pace.elapsed(self._clock.monotonic()))
            _say(f"{state} after {result.n_trials} short trials, in {took}{_found(result)}")

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    # --- What is known ------------------------------------------------------------------------

    def _look(self, study: Study) -> None:
        """Looks at the whole search, as often as its time allows; between looks, counts down."""
        started = self._clock.monotonic()
        left = self._standing.left
        first, due = self._look_again is None, self._look_again or started
        ends = study._stop_flag or self._pace.trials == self._n_trials
        if started < due and not ends and (left is None or left > 1):
            if left is not None:
                found = self._standing
                self._standing = Standing(left - 1, found.window, found.recommended)
            return
        self._standing = standing(study, self._history)
        ended = self._clock.monotonic()
        # The first look loads SciPy, which no later one does.
        self._look_again = ended if first else ended + (ended - started) / _LOOK_SHARE

    def _left(self) -> tuple[int | None, float | None]:
        """Trials and seconds that probably remain, within what the search may take."""
        left = self._standing.left
        if self._n_trials is not None:
            allowed = max(self._n_trials - self._pace.trials, 0)
            left = allowed if left is None else min(left, allowed)
        seconds = None if left is None else left * self._pace.seconds
        if self._timeout is not None and (left is None or left > 0):
            elapsed = self._pace.elapsed(self._clock.monotonic())
            rest = max(self._timeout - elapsed, 0.0)
            seconds = rest if seconds is None else min(seconds, rest)
        return left, seconds

    # --- What is shown ------------------------------------------------------------------------

    def _tell(self, study: Study, seen: Observation) -> None:
        loss = f"loss {seen.loss:.4g}" if math.isfinite(seen.loss) else "diverged"
        if seen.loss != seen.loss:
            loss = "failed"
        if _in_terminal():
            self._open_bar().trial(
                self._pace.trials, self._left()[0], self._words(f"lr {seen.lr:.2e} {loss}")
            )
            return
        steps = "" if seen.steps is None else f", {seen.steps} steps"
        lowest = lowest_loss(self._history.refresh(study))
        so_far = f" (lowest {lowest:.4g})" if math.isfinite(lowest) else ""
        left, seconds = self._left()
        _say(
            f"trial {seen.number}: lr {seen.lr:.2e}{steps}, {loss}{so_far}"
            f"{_found(self._standing)}; {_what_is_left(left, seconds)}"
        )

    def _words(self, current: str) -> str:
        """One line of the bar: what remains, the trial under way, what is known."""
        left, seconds = self._left()
        n = self._pace.trials
        count = f"{n} trials" if left is None else f"{n} of ~{n + left} trials"
        time = "" if not seconds or n == 0 else f", ~{duration(seconds)} left"
        return f"{count}{time}; {current}{_found(self._standing)}"

    def _open_bar(self) -> _Bar:
        if self._bar is None:
            self._bar = _Bar()
        return self._bar


class Pace:
    """How fast trials come.

    Args:
        started: When the search began, in seconds of a clock.
    """

    def __init__(self, started: float) -> None:
        self.trials = 0
        self._started = started
        self._first = self._last = started
        self._first_took = 0.0

    def finished(self, now: float, took: Any) -> None:
        """Takes a trial in.

        Args:
            now: When it finished.
            took: How long it took, a timedelta, if that is known.
        """
        self.trials += 1
        self._last = now
        if self.trials == 1:
            self._first = now
            self._first_took = 0.0 if took is None else took.total_seconds()

    @property
    def seconds(self) -> float:
        """Seconds from one trial to the next.

        The first trial, which also measures the untrained model and is looked at, counts only
        while there is no other.
        """
        if self.trials < 2:
            return self._first_took
        return (self._last - self._first) / (self.trials - 1)

    def elapsed(self, now: float) -> float:
        """Seconds since the search began."""
        return now - self._started


class _Bar:
    """One bar over a whole search, in a terminal."""

    def __init__(self) -> None:
        self._tqdm = tqdm(total=1.0, bar_format=_BAR, dynamic_ncols=True, disable=None)
        self._drawn = -math.inf

    def step(self, now: float, words: Callable[[], str]) -> None:
        if now - self._drawn >= _REDRAW:
            self._drawn = now
            self._tqdm.set_description_str(words())

    def trial(self, done: int, left: int | None, words: str) -> None:
        self._tqdm.n = 0.0 if left is None else done / (done + left)
        self._tqdm.set_description_str(words)

    def close(self) -> None:
        self._tqdm.close()


def _live_curve() -> Any:
    from optuna_lrss.visualization import _live

    return _live.live_curve()


def _in_terminal() -> bool:
    stream: TextIO | None = sys.stderr  # None without a console
    return stream is not None and stream.isatty()


def duration(seconds: float) -> str:
    """Some seconds as one would say them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 99.5 else f"{minutes / 60.0:.1f} h"


def _what_is_left(left: int | None, seconds: float | None) -> str:
    if left == 0:
        return "nothing left"
    time = "" if seconds is None else f"{duration(seconds)}"
    if left is None:
        return f"at most {time} left" if time else "nobody knows how many are left"
    return f"about {left} trial{'s' if left > 1 else ''} left" + (f", {time}" if time else "")


def _found(known: Standing | LRAnalysis) -> str:
    if isinstance(known, Standing):
        if known.window is None:
            return "; no window yet"
        low, high = known.window
    else:
        low, high = known.min_lr, known.max_lr
    return f"; recommended {known.recommended:.2e} in {low:.2e} .. {high:.2e}"


def _say(line: str) -> None:
    with _heard():
        _logger.info(line)


@contextmanager
def _heard() -> Iterator[None]:
    """Inside, the logger's lines reach a person, unless somebody has told it otherwise.

    Through the handlers there are; to standard error where there are none. Nothing stays behind.
    """
    own = None if _logger.hasHandlers() else logging.StreamHandler()
    unset = _logger.level == logging.NOTSET
    if own is not None:
        own.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        _logger.addHandler(own)
    if unset:
        _logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        if unset:
            _logger.setLevel(logging.NOTSET)
        if own is not None:
            _logger.removeHandler(own)
