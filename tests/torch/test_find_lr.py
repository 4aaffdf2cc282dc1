"""find_lr: one call, and nothing of it stays behind."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import warm_up

from optuna_lrss import NoWindowError
from optuna_lrss import analyze
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr


def quadratic(steps: int) -> tuple[StepPieces, float]:
    """One weight, squared error: loss (1 - 2 lr)^(2 steps) exactly, lowest at lr = 1/2."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    batch = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    half = (1 - 0.5 ** (1 / (2 * steps))) / 2
    return StepPieces(model, optimizer, F.mse_loss, [batch], [batch]), half


def test_points_of_a_curve_known_in_closed_form() -> None:
    pieces, half = quadratic(steps=20)
    result = find_lr(*pieces, tolerance=0.05)
    assert result.resolved
    assert result.baseline == 1.0
    assert math.log10(result.half_loss) == pytest.approx(math.log10(half), abs=0.05)
    # The curve falls to a flat bottom at 1/2; beyond 1 it is above the baseline.
    assert half < result.recommended < 1.0
    for lr, loss in zip(result.curve.lr, result.curve.loss, strict=True):
        exact = (1 - 2 * lr) ** 40
        assert loss == (pytest.approx(exact, rel=1e-9, abs=1e-300) if exact <= 5.0 else math.inf)


def test_everything_comes_back_and_optuna_speaks_as_before() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"])
    warm_up(pieces)
    before = fingerprint(*pieces[:2])
    optuna.logging.set_verbosity(optuna.logging.INFO)
    result = find_lr(*pieces, steps=10)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert fingerprint(*pieces[:2]) == before
    assert result.resolved
    assert result.steps == 10
    assert result.min_lr < result.recommended <= result.max_lr


def test_ctrl_c_puts_everything_back() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"])
    before = fingerprint(*pieces[:2])
    calls = []

    def loss_fn(model: nn.Module, batch: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    optuna.logging.set_verbosity(optuna.logging.INFO)
    with pytest.raises(KeyboardInterrupt):
        find_lr(*pieces._replace(loss_fn=loss_fn))
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert fingerprint(*pieces[:2]) == before


def interrupted_at(call: int) -> Any:
    """A loss that is stopped by Ctrl-C when it is asked for the so manieth time."""
    calls = []

    def loss_fn(model: nn.Module, batch: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    return loss_fn


def test_ctrl_c_gives_the_answer_so_far() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"])
    before = fingerprint(*pieces[:2])
    storage = optuna.storages.InMemoryStorage()
    kept: dict[str, Any] = {"storage": storage, "study_name": "cnn", "progress": False}
    whole = find_lr(*make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"]), progress=False)
    result = find_lr(*pieces._replace(loss_fn=interrupted_at(700)), **kept)
    assert fingerprint(*pieces[:2]) == before
    assert 3 <= result.n_trials < whole.n_trials
    assert not result.resolved
    codes = [doubt.code for doubt in result.diagnostics]
    assert "interrupted" in codes
    assert not {"unresolved", "failed-trials"} & set(codes)
    # The search goes on where it was stopped, and comes to the same end.
    again = find_lr(*make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"]), **kept)
    assert again.recommended == whole.recommended
    assert "interrupted" not in [doubt.code for doubt in again.diagnostics]


def test_a_search_is_seen_as_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    result = find_lr(*make_pieces(), n_trials=5)
    said = [r.getMessage() for r in caplog.records if r.name == "optuna_lrss"]
    assert len(said) == result.n_trials + 1
    assert ", 20 steps, loss " in said[0]
    assert said[-2].endswith("nothing left")
    assert said[-1].startswith("not resolved yet after 5 short trials, in ")
    caplog.clear()
    find_lr(*make_pieces(), n_trials=5, progress=False)
    assert not [r for r in caplog.records if r.name == "optuna_lrss"]


def test_one_bar_in_a_terminal_with_the_steps_in_it(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("optuna_lrss._result.progress._REDRAW", 0.0)
    find_lr(*make_pieces(), n_trials=5)
    err = capsys.readouterr().err
    assert " step 20/20 loss " in err
    assert err.count("\n") == 1
    find_lr(*make_pieces(), n_trials=5, progress=False)
    assert capsys.readouterr().err == ""


def test_study_is_kept_and_a_finished_one_only_analysed() -> None:
    storage = optuna.storages.InMemoryStorage()
    options: dict[str, Any] = {"storage": storage, "study_name": "mlp", "param_name": "eta"}
    first = find_lr(*make_pieces(mlp, OPTIMIZERS["momentum"]), **options)
    again = find_lr(*make_pieces(mlp, OPTIMIZERS["momentum"]), **options)
    assert again.n_trials == first.n_trials
    assert again.to_json() == first.to_json()
    assert again.momentum == 0.9
    study = optuna.load_study(storage=storage, study_name="mlp")
    assert analyze(study, param_name="eta").recommended == first.recommended


def test_budget_is_kept() -> None:
    result = find_lr(*make_pieces(), n_trials=9)
    assert result.n_trials == 9
    assert not result.resolved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": -1}, "n_trials=-1 must be a whole number of at least 0"),
        ({"n_trials": 2.5}, "n_trials=2.5"),
        ({"n_trials": "9"}, "n_trials='9'"),
        ({"n_trials": True}, "n_trials=True"),
        ({"timeout": 0}, "timeout=0 must be a number of seconds above 0"),
        ({"timeout": -1.0}, "timeout=-1.0"),
        ({"timeout": math.nan}, "timeout=nan"),
        ({"timeout": "9"}, "timeout='9'"),
    ],
)
def test_budgets_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_lr(*make_pieces(), **options)


def test_no_trials_only_analyse_what_is_there() -> None:
    options: dict[str, Any] = {"storage": optuna.storages.InMemoryStorage(), "study_name": "mlp"}
    first = find_lr(*make_pieces(), n_trials=9, **options)
    assert find_lr(*make_pieces(), n_trials=0, **options).n_trials == first.n_trials == 9


def test_model_that_cannot_learn_is_named() -> None:
    pieces = make_pieces()._replace(loss_fn=lambda output, _: 0.0 * output.sum() + 1.0)
    with pytest.raises(NoWindowError):
        find_lr(*pieces, steps=2)


def test_an_error_of_a_trial_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no loss")

    optuna.logging.enable_propagation()  # to what pytest captures
    try:
        with pytest.raises(RuntimeError, match="no loss"):
            find_lr(*make_pieces()._replace(loss_fn=loss_fn), progress=False)
    finally:
        optuna.logging.disable_propagation()
    assert not [record for record in caplog.records if record.exc_info]
