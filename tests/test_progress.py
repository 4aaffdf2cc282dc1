"""A search as it comes: what remains is honest, and it is told once, where a person looks."""

from __future__ import annotations

import itertools
import logging
import math
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from optuna_lrss import LRStepSampler
from optuna_lrss import SearchProgress
from optuna_lrss._method.curve import LRCurve
from optuna_lrss._result.progress import Pace
from optuna_lrss._result.progress import duration
from optuna_lrss._result.standing import Standing
from optuna_lrss._study.curve_search import CurveSearch
from optuna_lrss._study.curve_search import SearchOptions
from optuna_lrss._study.known import Known
from optuna_lrss.visualization import _live
from tests.curves import CURVES
from tests.curves import Curve
from tests.searching import run_search
from tests.studies import new_study
from tests.studies import objective_of


# --- What remains ----------------------------------------------------------------------------


class Stub(Known):
    """A curve that is known without any trial."""

    def __init__(self, curve: LRCurve, baseline: float | None) -> None:
        super().__init__(None, baseline)
        self._curve = curve

    @property
    def tried(self) -> LRCurve:
        return self._curve


def left_after(curve: Curve, n: int, strategy: str) -> tuple[int, int]:
    """Trials that are said to be left after the first n, and those that were."""
    options = SearchOptions(strategy=strategy)
    known, rounds = run_search(
        curve.loss, curve.low, curve.high, strategy=strategy, baseline=curve.baseline
    )
    lrs = [10.0**p.x for (p,) in rounds]
    first = LRCurve.from_observations(lrs[:n], [curve.loss(lr) for lr in lrs[:n]])
    search = CurveSearch(
        options, Stub(first, curve.baseline), FloatDistribution(*curve.range, log=True)
    )
    return search.trials_left(), len(known) - n


@pytest.mark.parametrize("strategy", ["frugal", "paper"])
@pytest.mark.parametrize("n", [0, 5])
def test_what_remains_is_honest(n: int, strategy: str) -> None:
    said, true = np.array([left_after(curve, n, strategy) for curve in CURVES]).T
    assert (true >= 4).all()
    ratio = said / true
    assert 0.8 <= np.median(ratio) <= 1.25
    assert np.mean((ratio >= 0.5) & (ratio <= 2.0)) >= 0.9


def test_nothing_remains_of_a_search_that_has_ended() -> None:
    for curve in CURVES:
        lrs = [t.params["lr"] for t in ended(curve).trials]
        known = LRCurve.from_observations(lrs, [curve.loss(lr) for lr in lrs])
        search = CurveSearch(
            SearchOptions(), Stub(known, curve.baseline), FloatDistribution(*curve.range, log=True)
        )
        assert search.is_resolved() == (search.trials_left() == 0)


def ended(curve: Curve, **options: Any) -> optuna.Study:
    study = new_study(curve=curve)
    study.optimize(objective_of(curve), n_trials=60, **options)
    return study


def test_pace_is_that_of_the_trials_after_the_first() -> None:
    pace = Pace(100.0)
    pace.finished(160.0, timedelta(seconds=50))
    assert pace.seconds == 50.0  # the first alone, which is slower
    for i in range(1, 5):
        pace.finished(160.0 + 10.0 * i, timedelta(seconds=9))
    assert (pace.trials, pace.seconds, pace.elapsed(205.0)) == (5, 10.0, 105.0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (3.21, "3.2 s"), (41.0, "41 s"), (600.0, "10 min"), (9000.0, "2.5 h")],
)
def test_times_are_said_as_one_says_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# --- Without a terminal: a line a trial ----------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "optuna_lrss"]


def test_a_line_a_trial(caplog: pytest.LogCaptureFixture) -> None:
    study = ended(CURVES[0], callbacks=[SearchProgress()])
    said = lines(caplog)
    assert len(said) == len(study.trials)
    for trial, line in zip(study.trials, said, strict=True):
        assert line.startswith(f"trial {trial.number}: lr {trial.params['lr']:.2e}")
        assert f"loss {trial.value:.4g}" in line
    assert "no window yet" in said[0]
    assert "trials left" in said[0]
    assert "; recommended " in said[-1]
    assert said[-1].endswith("; nothing left")
    assert logging.getLogger("optuna_lrss").level == logging.NOTSET


def test_a_budget_bounds_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    study = new_study()
    study.optimize(objective_of(), n_trials=3, callbacks=[SearchProgress(n_trials=3)])
    assert [line.rpartition("; ")[2].partition(" left")[0] for line in lines(caplog)] == [
        "about 2 trials",
        "about 1 trial",
        "nothing",
    ]


def test_nobody_knows_where_other_parameters_are_searched_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("other", 0.0, 1.0)
        return objective_of()(trial)

    study = new_study(LRStepSampler(seed=0))
    study.optimize(objective, n_trials=4, callbacks=[SearchProgress()])
    assert all("nobody knows how many are left" in line for line in lines(caplog))
    assert len(lines(caplog)) == 4


def test_a_failed_and_a_diverged_trial_are_told(caplog: pytest.LogCaptureFixture) -> None:
    losses = iter([math.nan, math.inf])
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        objective_of()(trial)
        return next(losses)

    study.optimize(objective, n_trials=2, callbacks=[SearchProgress()])
    failed, diverged = lines(caplog)
    assert ", failed; " in failed
    assert ", diverged; " in diverged


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("pass", 1),
        ("logging.basicConfig()", 1),  # the user's handler, and no second one
        ("logging.basicConfig(); logging.getLogger('optuna_lrss').setLevel('WARNING')", 0),
        ("logging.getLogger('optuna_lrss').addHandler(logging.StreamHandler())", 1),
    ],
)
def test_lines_reach_a_person_once(setup: str, expected: int) -> None:
    code = (
        f"import logging\nimport optuna\n{setup}\nfrom optuna_lrss import SearchProgress\n"
        "optuna.logging.set_verbosity(optuna.logging.ERROR)\nstudy = optuna.create_study()\n"
        "def objective(trial):\n    return trial.suggest_float('lr', 1e-3, 1, log=True)\n"
        "study.optimize(objective, n_trials=1, callbacks=[SearchProgress()])\n"
        "assert logging.getLogger('optuna_lrss').level in (0, 30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("trial 0: lr") == expected
    assert done.stdout == ""


# --- In a terminal: one bar ----------------------------------------------------------------------


class Ticks:
    """Every look at the clock is a second later."""

    def __init__(self) -> None:
        self._seconds: Iterator[float] = itertools.count(0.0, 1.0)

    def monotonic(self) -> float:
        return next(self._seconds)


def test_one_bar_over_the_search(
    capsys: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = SearchProgress()
    show._clock = Ticks()  # type: ignore[assignment]

    def objective(trial: optuna.Trial) -> float:
        loss = objective_of()(trial)
        show.step(trial.params["lr"], 7, 20, 0.125)
        return loss

    study = new_study()
    study.optimize(objective, callbacks=[show])
    err = capsys.readouterr().err
    assert "lr 1.00e-03 step 7/20 loss 0.125" in err
    assert f"{len(study.trials)} of ~{len(study.trials)} trials" in err
    assert " left; " in err
    assert "; recommended " in err
    assert err.count("\n") == 1  # one bar, left as it stands
    assert lines(caplog) == []


def test_steps_move_the_bar_ten_times_a_second_at_most(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = SearchProgress()
    show._clock = types.SimpleNamespace(monotonic=lambda: 1.0)  # type: ignore[assignment]
    for step in range(1, 100):
        show.step(0.1, step, 100, 1.0)
    show.close()
    err = capsys.readouterr().err
    assert "step 1/100" in err
    assert "step 2/100" not in err


def test_looks_take_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trials come faster than one can look, it counts down between the looks."""
    looks: list[int] = []
    show = SearchProgress()
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    show._clock = clock  # type: ignore[assignment]

    def look(study: Any, history: Any) -> Any:
        looks.append(1)
        clock.now += 1.0
        return Standing(left=100)

    monkeypatch.setattr("optuna_lrss._result.progress.standing", look)
    monkeypatch.setattr("optuna_lrss._result.progress._say", lambda line: None)

    def objective(trial: optuna.Trial) -> float:
        clock.now += 1.0
        return trial.suggest_float("lr", 1e-3, 1, log=True)

    optuna.create_study().optimize(objective, n_trials=42, callbacks=[show])
    # The first look, which loads what it needs, the second, and one for 20 seconds each.
    assert len(looks) == 4
    assert show._standing.left == 100


# --- In a notebook: a curve that grows ---------------------------------------------------------


class Notebook:
    """Stands in for IPython: what was displayed, and what took its place."""

    def __init__(self, shell: object) -> None:
        self.pictures: list[bytes] = []
        self.places = 0
        display = types.ModuleType("IPython.display")
        display.Image = lambda data: data  # type: ignore[attr-defined]
        display.display = self._display  # type: ignore[attr-defined]
        package = types.ModuleType("IPython")
        package.version_info = (9, 0)  # type: ignore[attr-defined]  # matplotlib asks
        package.get_ipython = lambda: shell  # type: ignore[attr-defined]
        package.display = display  # type: ignore[attr-defined]
        self.modules = {"IPython": package, "IPython.display": display}

    def _display(self, picture: bytes, *, display_id: bool) -> Notebook:
        assert display_id
        self.places += 1
        self.pictures.append(picture)
        return self

    def update(self, picture: bytes) -> None:
        self.pictures.append(picture)


class ZMQInteractiveShell:
    pass


class TerminalInteractiveShell:
    pass


def test_a_notebook_gets_a_curve_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")  # before it looks for a real IPython
    open_before = plt.get_fignums()
    notebook = Notebook(ZMQInteractiveShell())
    monkeypatch.setattr(_live, "_SHARE", math.inf)  # however long a drawing takes
    for name, module in notebook.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    study = new_study()
    study.optimize(objective_of(), n_trials=3, callbacks=[SearchProgress(plot=True, text=False)])
    assert notebook.places == 1
    assert len(notebook.pictures) == len(set(notebook.pictures)) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in notebook.pictures)
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize("shell", [None, TerminalInteractiveShell()])
def test_without_a_notebook_a_warning_says_how_to_draw(
    shell: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in Notebook(shell).modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.warns(UserWarning, match=r"plot_lr_curve\(result\)"):
        show = SearchProgress(plot=True, text=False)
    study = new_study()
    study.optimize(objective_of(), n_trials=1, callbacks=[show])


def test_a_silent_search_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(study: Any, history: Any) -> Any:
        raise AssertionError("nobody sees it")

    monkeypatch.setattr("optuna_lrss._result.progress.standing", look)
    new_study().optimize(objective_of(), n_trials=2, callbacks=[SearchProgress(text=False)])


def test_no_plot_loads_no_plotting_library() -> None:
    code = (
        "import sys\nfrom optuna_lrss import SearchProgress\nSearchProgress()\n"
        "assert not {'matplotlib', 'plotly', 'IPython', 'torch'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
