"""Longer trials of a torch model: the batches, the steps, and what is left behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_pieces
from torch_cases import trial_at

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss._study.horizons import claimed_horizon
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr


class Seen:
    """A loss that keeps the first number of every training batch."""

    def __init__(self) -> None:
        self.batches: list[float] = []

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def model(self, inner: nn.Module) -> nn.Module:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                self.batches.append(float(inputs[0].flatten()[0]))

        inner.register_forward_pre_hook(keep)
        return inner


def watched(loader: Any) -> tuple[StepPieces, Seen]:
    seen = Seen()
    pieces = make_pieces()
    return pieces._replace(model=seen.model(pieces.model), train_loader=loader), seen


def claimed(horizon: int | None, lr: float = 0.1) -> optuna.trial.FrozenTrial:
    """A trial as the sampler asks for it."""
    claim = {"x": math.log10(lr), "role": "longer", "leader": 0}
    if horizon is not None:
        claim["horizon"] = horizon
    space = optuna.distributions.FloatDistribution(1e-7, 10.0, log=True)
    return optuna.trial.create_trial(
        params={"lr": lr},
        distributions={"lr": space},
        system_attrs={"lrss:claim": claim},
        state=optuna.trial.TrialState.RUNNING,
    )


def run(objective: StepObjective, seen: Seen, horizon: int | None) -> list[float]:
    """The training batches of one trial."""
    seen.batches.clear()
    trial = claimed(horizon)
    objective(trial)
    steps = horizon or objective._settings.steps
    assert trial.user_attrs["lrss:trial"]["steps"] == steps
    assert trial.user_attrs["lrss:trial"].get("horizon") == horizon
    return list(seen.batches)


LOADERS = {
    "shuffled": lambda: DataLoader(make_data(400), batch_size=4, shuffle=True),
    "own generator": lambda: DataLoader(
        make_data(400), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "few": lambda: DataLoader(make_data(28), batch_size=4, shuffle=True),
    "a list": lambda: make_batches(90, size=4),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_longer_trial_begins_with_the_batches_of_the_short_ones(
    kind: str, accumulate: int
) -> None:
    pieces, seen = watched(LOADERS[kind]())
    objective = StepObjective(*pieces, steps="auto", accumulate=accumulate, check_state=False)
    objective(claimed(None))  # the first trial is looked at with further steps
    short = run(objective, seen, None)
    longer = run(objective, seen, 80)
    assert len(short) == 20 * accumulate
    assert len(longer) == 80 * accumulate
    assert longer[: len(short)] == short
    assert run(objective, seen, 80) == longer
    longest = run(objective, seen, 320)
    assert len(longest) == 320 * accumulate
    assert longest[: len(longer)] == longer
    assert run(objective, seen, 80) == longer
    assert run(objective, seen, None) == short


class Moving:
    """Gives other batches at every pass, whatever the seed, and keeps count in a list."""

    def __init__(self) -> None:
        self.passes = [0]

    def __iter__(self) -> Iterator[Any]:
        self.passes[0] += 1
        yield from make_batches(400, size=4, seed=self.passes[0])


def test_the_first_batches_are_the_same_whatever_the_loader_does() -> None:
    pieces, seen = watched(Moving())
    objective = StepObjective(*pieces, steps="auto", check_state=False)
    objective(claimed(None))
    short = run(objective, seen, None)
    longer = run(objective, seen, 80)
    assert longer[:20] == short
    assert run(objective, seen, 320)[:80] == longer


@pytest.mark.parametrize("kind", ["shuffled", "a list"])
def test_repeats_of_longer_trials_begin_as_those_of_short_ones(kind: str) -> None:
    pieces, seen = watched(LOADERS[kind]())
    trials = StepObjective(*pieces, steps="auto", check_state=False)._source
    trials.run(0.1)  # type: ignore[union-attr]
    found = []
    for steps in (20, 80):
        seen.batches.clear()
        trials.run(0.1, steps=steps, repeat=1)  # type: ignore[union-attr]
        found.append(list(seen.batches))
    # The first trial of a repeat begins with what the untrained model loses on its batches.
    assert found[1][:20] == found[0][-20:]


def asked(horizon: int, lr: float) -> optuna.Trial:
    """A trial of a study that the sampler has made a longer one."""
    study = optuna.create_study(pruner=LRStepPruner())
    study.enqueue_trial({"lr": lr})
    trial = study.ask()
    claim = claimed(horizon, lr).system_attrs["lrss:claim"]
    study._storage.set_trial_system_attr(trial._trial_id, "lrss:claim", claim)
    return trial


def test_a_longer_trial_is_a_short_one_of_as_many_steps() -> None:
    auto = StepObjective(*make_pieces(), steps="auto", snapshots=(5, 20))
    plain = StepObjective(*make_pieces(), steps=80)
    trial = asked(80, 0.1)
    assert auto(trial) == plain(trial_at(0.1))
    assert list(trial.study.trials[0].intermediate_values) == [5, 20, 80]
    assert auto(trial_at(0.1)) == StepObjective(*make_pieces())(trial_at(0.1))


def test_a_longer_trial_diverges_by_the_same_baseline() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    batch = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    objective = StepObjective(model, optimizer, F.mse_loss, [batch], [batch], steps="auto")
    # The loss after n steps is (1 - 2 lr)^(2 n): 2.7 after 20, 52 after 80, from a baseline of 1.
    lr = (1.0 + 2.7 ** (1 / 40)) / 2
    assert objective(trial_at(lr)) == pytest.approx(2.7)
    trial = asked(80, lr)
    assert objective(trial) == math.inf
    info = {"steps": 80, "diverged": True, "horizon": 80}
    assert trial.study.trials[0].user_attrs["lrss:trial"] == info
    trial = asked(80, 5.0)
    assert objective(trial) == math.inf
    assert trial.study.trials[0].user_attrs["lrss:trial"]["steps"] < 20


def test_a_whole_search_and_nothing_is_left_behind() -> None:
    def epoch(*, search: bool) -> list[float]:
        pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adamw"])
        before = fingerprint(*pieces[:2])
        if search:
            options = {"storage": storage, "study_name": "s"}
            result = find_lr(*pieces, steps="auto", total_steps=300, **options)
            assert result.resolved
            assert list(result.longer) == [80]
            assert fingerprint(*pieces[:2]) == before
        return [float(x.sum()) for x, _ in pieces.train_loader]

    storage = optuna.storages.InMemoryStorage()
    assert epoch(search=True) == epoch(search=False)
    study = optuna.load_study(study_name="s", storage=storage)
    stored = {k: study.user_attrs[f"lrss:{k}"] for k in ("auto", "steps", "total_steps")}
    assert stored == {"auto": True, "steps": 20, "total_steps": 300}
    for trial in study.trials:
        horizon = claimed_horizon(trial)
        info = trial.user_attrs["lrss:trial"]
        assert info.get("horizon") == horizon
        assert info["steps"] == (horizon or 20) or info["diverged"]


def test_a_search_of_short_trials_goes_on_with_longer_ones() -> None:
    where = {"storage": optuna.storages.InMemoryStorage(), "study_name": "s"}
    short = find_lr(*make_pieces(), steps=20, **where)
    assert short.longer == {}
    result = find_lr(*make_pieces(), **where)
    assert result.longer.keys() >= {80}
    for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest"):
        assert getattr(result, name) == getattr(short, name)
    assert result.horizon == max(result.longer)
    curve = result.longer[result.horizon]  # the picks are read from these trials alone
    up = (result.total_steps / result.horizon) ** 0.3 / momentum_lag(
        result.momentum, result.horizon
    )
    assert curve.lr[0] <= result.recommended * up * (1 + 1e-9)
    assert result.recommended * up <= curve.lr[-1] * (1 + 1e-9)
    assert find_lr(*make_pieces(), steps="auto", **where).n_trials == result.n_trials
    with pytest.raises(ValueError, match="lrss:steps=20"):
        find_lr(*make_pieces(), steps=5, **where, total_steps=100)


def test_other_hyperparameters() -> None:
    def build(trial: Any) -> StepPieces:
        decay = trial.suggest_categorical("decay", [0.0, 1e-2])
        pieces = make_pieces()
        optimizer = torch.optim.SGD(pieces.model.parameters(), lr=0.1, weight_decay=decay)
        return pieces._replace(optimizer=optimizer)

    sampler = LRStepSampler(max_configurations=2, seed=0)
    study = optuna.create_study(sampler=sampler, pruner=LRStepPruner())
    study.optimize(StepObjective.from_factory(build, steps="auto"), n_trials=100)
    assert sampler.is_resolved(study)
    result = analyze(study)
    assert result.longer.keys() >= {80}
    assert {t.params["decay"] for t in study.trials if claimed_horizon(t) is not None} == {
        result.configuration["decay"]
    }


@pytest.mark.parametrize("steps", ["automatic", "20", 0, 2.5, True, None])
def test_steps_are_a_number_or_auto(steps: Any) -> None:
    with pytest.raises(ValueError, match="steps="):
        StepObjective(*make_pieces(), steps=steps)
    with pytest.raises(ValueError, match="steps="):
        StepObjective.from_factory(make_pieces, steps=steps)


@pytest.mark.parametrize("total_steps", ["auto", 0, 2.5, True])
def test_total_steps_are_a_number(total_steps: Any) -> None:
    with pytest.raises(ValueError, match="total_steps="):
        StepObjective(*make_pieces(), total_steps=total_steps)
