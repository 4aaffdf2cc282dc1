"""StepObjective inside Optuna: what it stores, refuses, prunes and repeats."""

from __future__ import annotations

import math
import pickle
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
from torch_cases import deep_copies
from torch_cases import fingerprint
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_loaders
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import random_states
from torch_cases import reference_trial
from torch_cases import trial_at

from optuna_lrss import analyze
from optuna_lrss._method.recommend import momentum_lag
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces


LRS = [1e-3, 1e-2, 1e-1]


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


def grid_study(lrs: list[float] = LRS, **options: Any) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": lrs}), **options)


# --- What is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1), 0.0),
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.8), 0.8),
        (lambda m: torch.optim.RMSprop(m.parameters(), lr=0.1, momentum=0.7), 0.7),
        (lambda m: torch.optim.Adam(m.parameters(), lr=0.1), 0.0),
    ],
)
def test_study_holds_baseline_steps_and_momentum(optimizer: Any, momentum: float) -> None:
    pieces = make_pieces(MODELS["cnn"], optimizer)
    validation = [*make_batches(2), *make_batches(1, size=5)]
    pieces = pieces._replace(train_loader=make_batches(4), validation_loader=validation)
    study = grid_study()
    objective = objective_for(pieces)
    study.optimize(objective)
    # The validation loss at a learning rate of 0: batch normalisation has seen the batches.
    untrained = reference_trial(pieces, 0.0, make_batches(4), list(pieces.validation_loader))
    assert study.user_attrs == {
        "lrss:first": 0.1,
        "lrss:baseline": pytest.approx(untrained, rel=1e-6),
        "lrss:steps": 4,
        "lrss:momentum": momentum,
        "lrss:lag": pytest.approx(momentum_lag(momentum, 4)),
        "lrss:guess": pytest.approx(entropy_of([y for _, y in validation]), rel=1e-5),
        "lrss:validation": {"samples": 37, "of": 37, "cost": pytest.approx(37 / 16 / 3)},
    }
    assert objective.baseline == study.user_attrs["lrss:baseline"]


@pytest.mark.parametrize("ratios", [[1.0, 0.1], [1.0, 1.0]])
def test_ratios_of_the_param_groups_are_stored_where_they_differ(ratios: list[float]) -> None:
    pieces = make_pieces()
    first, *others = pieces.model.parameters()
    groups = [{"params": [first]}, {"params": others, "lr": 0.1 * ratios[1]}]
    study = grid_study([1e-3])
    study.optimize(objective_for(pieces._replace(optimizer=torch.optim.SGD(groups, lr=0.1))))
    stored = study.user_attrs.get("lrss:groups")
    assert stored == (None if ratios == [1.0, 1.0] else pytest.approx(ratios))


def entropy_of(labels: list[Tensor]) -> float:
    share = torch.cat(labels).bincount().double() / len(torch.cat(labels))
    share = share[share > 0]
    return float(-(share * share.log()).sum())


def guess_of(pieces: StepPieces) -> Any:
    study = grid_study([1e-3])
    study.optimize(objective_for(pieces))
    return study.user_attrs.get("lrss:guess")


def test_guess_is_the_best_output_that_does_not_look_at_the_input() -> None:
    validation = [*make_batches(2), *make_batches(1, size=5)]
    targets = torch.cat([x[:, :4] for x, _ in validation])
    pairs = [(x, x[:, :4]) for x, _ in validation]
    squared = make_pieces()._replace(
        loss_fn=F.mse_loss, train_loader=pairs, validation_loader=pairs
    )
    variance = targets.var(dim=0, correction=0).mean().item()
    assert guess_of(squared) == pytest.approx(variance, rel=1e-5)
    summed = squared._replace(loss_fn=nn.MSELoss(reduction="sum"))
    assert guess_of(summed) == pytest.approx(4 * variance, rel=1e-5)
    hidden = make_pieces()._replace(
        loss_fn=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])
    )
    assert guess_of(hidden) is None  # the output is loss_fn's own affair


@pytest.mark.parametrize("learnable", [True, False])
def test_a_curve_no_better_than_guessing_is_doubted(learnable: bool) -> None:
    pieces = make_pieces()
    with torch.no_grad():  # a head that is wrong at first: its bias is all there is to learn
        pieces.model.get_parameter("2.bias").copy_(torch.tensor([3.0, 0.0, 0.0, -3.0]))
    if not learnable:
        shuffled = [(x, y[torch.randperm(16)]) for x, y in make_batches(9, seed=1)]
        pieces = pieces._replace(train_loader=shuffled)
    study = grid_study([10 ** (-4 + 0.5 * i) for i in range(9)])
    study.optimize(objective_for(pieces, steps=20))
    result = analyze(study)
    assert result.lowest < result.baseline - 0.1
    assert ("guessing" in [d.code for d in result.diagnostics]) is not learnable


def test_trial_holds_one_attribute_and_its_reports(tmp_path: Any) -> None:
    study = grid_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    study.optimize(objective_for(make_pieces(), snapshots=(1, 3), steps=5))
    assert len(study.trials) == 3
    for trial in study.trials:
        assert trial.user_attrs == {"lrss:trial": {"steps": 5, "diverged": False}}
        assert list(trial.intermediate_values) == [1, 3, 5]
        assert trial.intermediate_values[5] == trial.value


def test_reports_are_the_losses_of_shorter_trials() -> None:
    pieces = make_pieces(MODELS["transformer"], OPTIMIZERS["adam"])
    study = grid_study([0.01])
    study.optimize(objective_for(pieces, steps=6, snapshots=(2, 4)))
    shorter = [objective_for(pieces, steps=n)(trial_at(0.01)) for n in (2, 4, 6)]
    assert list(study.trials[0].intermediate_values.values()) == shorter


def test_standard_error_is_that_of_the_samples() -> None:
    x, y = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(4000, 1)
    batches = list(zip(x.split(10), y.split(10), strict=True))
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    study = grid_study([1e-7])
    pieces = StepPieces(model, optimizer, F.l1_loss, batches, batches)
    study.optimize(objective_for(pieces, validation_batches=None))
    with torch.no_grad():
        expected = model(x).abs().std().item() / math.sqrt(len(x))
    # From 400 batch means: within 3.5 % in most draws.
    assert study.trials[0].user_attrs["lrss:trial"]["stderr"] == pytest.approx(expected, rel=0.1)


def test_first_validation_batches_are_used() -> None:
    validation = make_batches(5, seed=2)
    pieces = make_pieces()._replace(train_loader=make_batches(4), validation_loader=validation)
    expected = reference_trial(pieces, 0.1, make_batches(4), validation[:2])
    loss = objective_for(pieces, validation_batches=2)(trial_at(0.1))
    assert loss == pytest.approx(expected, rel=1e-6)
    uneven = pieces._replace(validation_loader=[*validation[:2], *make_batches(1, size=3)])
    every = objective_for(uneven)(trial_at(0.1))
    assert objective_for(uneven, validation_batches=5)(trial_at(0.1)) == every


# --- What is refused -----------------------------------------------------------------------------


def test_studies_that_are_not_one_minimised_loss_are_refused() -> None:
    objective = objective_for(make_pieces())
    several = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match=r"2 objectives.*single direction"):
        several.optimize(objective, n_trials=1)
    upwards = optuna.create_study(direction="maximize")
    with pytest.raises(ValueError, match="direction='minimize'"):
        upwards.optimize(objective, n_trials=1)


def test_resuming_from_another_start_is_refused() -> None:
    study = grid_study()
    study.optimize(objective_for(make_pieces(seed=0)), n_trials=1)
    study.optimize(objective_for(make_pieces(seed=0)), n_trials=1)  # the same start: fine
    with pytest.raises(ValueError, match=r"lrss:baseline=.*other weights or.*torch.manual_seed"):
        study.optimize(objective_for(make_pieces(seed=1)), n_trials=1)
    with pytest.raises(ValueError, match=r"lrss:steps=4.*has 5"):
        study.optimize(objective_for(make_pieces(seed=0), steps=5), n_trials=1)
    momentum = make_pieces(mlp, OPTIMIZERS["momentum"], seed=0)
    with pytest.raises(ValueError, match=r"lrss:momentum=0.0.*has 0\.9"):
        study.optimize(objective_for(momentum), n_trials=1)


def test_baseline_may_differ_by_float_noise() -> None:
    study = grid_study()
    objective = objective_for(make_pieces())
    study.set_user_attr("lrss:baseline", objective.baseline * (1 + 1e-6))
    study.optimize(objective, n_trials=1)
    assert study.user_attrs["lrss:baseline"] != objective.baseline


# --- Divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "lbfgs"])
def test_absurd_learning_rates_give_inf_and_never_nan(optimizer: str) -> None:
    pieces = make_pieces(mlp, OPTIMIZERS[optimizer])
    before = fingerprint(*pieces[:2])
    study = grid_study([1e6, 1e12, 1e30])
    study.optimize(objective_for(pieces, steps=20, high=1e30))
    assert [t.value for t in study.trials] == [math.inf] * 3
    assert all(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)
    assert all(t.user_attrs["lrss:trial"]["diverged"] for t in study.trials)
    assert all(t.user_attrs["lrss:trial"]["steps"] <= 20 for t in study.trials)
    assert fingerprint(*pieces[:2]) == before


def test_runaway_ends_the_trial_early_and_a_finite_end_far_above_is_inf() -> None:
    """Squared error of one weight w: each step multiplies it by 1 - 2 lr exactly."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    batch = (torch.ones(1, 1), torch.zeros(1, 1))
    pieces = StepPieces(
        model, torch.optim.SGD(model.parameters(), lr=1.0), F.mse_loss, [batch], [batch]
    )
    # Loss after n steps is (1 - 2 lr)^(2 n), the baseline is 1.
    study = grid_study([1.5, 0.25, 1.0, 1.1])
    study.optimize(objective_for(pieces, steps=8))
    got: dict[float, Any] = {
        t.params["lr"]: (t.value, t.user_attrs["lrss:trial"]["steps"]) for t in study.trials
    }
    assert got[0.25] == (pytest.approx(0.5**16), 8)
    assert got[1.0] == (1.0, 8)
    # Before the seventh step 1.2^(8, 10, 12) are 5.5 above 1 in the mean, beyond the wall.
    assert got[1.1] == (math.inf, 7)
    assert got[1.5] == (math.inf, 6)  # 2^10 before the sixth step is beyond 1 + 1000


class Script(nn.Module):
    """Validation losses in a given order, whatever is trained; every trial starts over."""

    def __init__(self, validation: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.validation, self.calls = validation, 0

    def loss(self) -> Tensor:
        if self.training:
            return 1.0 + 0.0 * self.weight
        self.calls += 1
        return torch.tensor(self.validation[min(self.calls, len(self.validation)) - 1])


def scripted_losses(validation: list[float], steps: int) -> optuna.trial.FrozenTrial:
    model = Script(validation)
    pieces = StepPieces(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        lambda model, _: model.loss(),
        [0],
        [0],
    )
    study = optuna.create_study()
    objective = objective_for(pieces, steps=steps, snapshots=range(1, steps))
    assert objective.baseline == validation[0]
    study.optimize(objective, n_trials=1)
    return study.trials[0]


def test_losses_may_rise_far_in_the_middle() -> None:
    risen = scripted_losses([1.0, 900.0, 0.5], steps=3)
    assert risen.value == 0.5
    assert risen.intermediate_values == {1: 1.0, 2: 900.0, 3: 0.5}
    gone = scripted_losses([1.0, 1002.0, 0.5], steps=3)
    assert gone.value == math.inf
    assert gone.user_attrs["lrss:trial"] == {"steps": 2, "diverged": True}


def test_nan_is_reported_as_inf() -> None:
    gone = scripted_losses([1.0, math.nan, 0.5], steps=3)
    assert gone.value == math.inf
    assert gone.intermediate_values == {1: 1.0, 2: math.inf}
    assert gone.user_attrs["lrss:trial"] == {"steps": 2, "diverged": True}


# --- Pruning -------------------------------------------------------------------------------------


def test_pruner_is_obeyed_at_snapshots() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adam"])
    before = fingerprint(*pieces[:2])
    study = grid_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))
    study.optimize(objective_for(pieces, steps=6, snapshots=(2, 4)))
    for trial in study.trials:
        assert trial.state == optuna.trial.TrialState.PRUNED
        assert list(trial.intermediate_values) == [2]
        assert trial.user_attrs["lrss:trial"] == {"steps": 2, "diverged": False}
    assert fingerprint(*pieces[:2]) == before


def test_without_snapshots_nothing_is_pruned() -> None:
    study = grid_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))
    study.optimize(objective_for(make_pieces()))
    assert {t.state for t in study.trials} == {optuna.trial.TrialState.COMPLETE}


# --- Repeats, threads ----------------------------------------------------------------------------


def repeated(lrs: list[float], pieces: StepPieces, **options: Any) -> dict[float, list[float]]:
    study = optuna.create_study()
    for lr in lrs:
        study.enqueue_trial({"lr": lr})
    study.optimize(objective_for(pieces, **options), n_trials=len(lrs))
    losses: dict[float, list[float]] = {}
    for trial in study.trials:
        assert trial.value is not None
        losses.setdefault(trial.params["lr"], []).append(trial.value)
    return losses


def test_repeats_differ_and_are_the_same_at_every_learning_rate_and_in_any_order() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["sgd"])
    one = repeated([0.1, 0.1, 0.1, 0.01, 0.01, 0.01], pieces)
    other = repeated([0.01, 0.1, 0.01, 0.1, 0.1, 0.01], pieces)
    assert one == other
    assert len(set(one[0.1])) == 3
    nothing = repeated([1e-7] * 3, pieces)[1e-7]
    assert nothing == pytest.approx([objective_for(pieces).baseline] * 3, rel=0.05)


def test_repeats_of_a_fixed_order_take_the_next_batches() -> None:
    train, validation = make_batches(12, seed=1), make_batches(2, seed=2)
    pieces = make_pieces()._replace(train_loader=train, validation_loader=validation)
    losses = repeated([0.1] * 3, pieces)[0.1]
    expected = [
        reference_trial(pieces, 0.1, train[4 * k : 4 * k + 4], validation) for k in range(3)
    ]
    assert losses == pytest.approx(expected, rel=1e-6)


def test_repeats_with_the_same_batches_have_random_numbers_of_their_own() -> None:
    pieces = make_pieces(MODELS["cnn"])._replace(train_loader=make_batches(4))
    losses = repeated([0.1] * 3, pieces)[0.1]
    assert len(set(losses)) == 3


class Noisy(nn.Module):
    """Draws noise in eval mode too, as a variational autoencoder does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out + torch.randn_like(out)


def test_validation_has_the_same_noise_whatever_was_trained_before() -> None:
    objective = objective_for(make_pieces(Noisy))
    assert objective(trial_at(1e-7)) == pytest.approx(objective.baseline, rel=1e-5)


def test_repeats_share_batches_between_learning_rates() -> None:
    seen: dict[tuple[float, int], list[float]] = {}
    pieces = make_pieces()
    generator = torch.Generator().manual_seed(1)
    train = DataLoader(make_data(160), batch_size=16, shuffle=True, generator=generator)

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            seen.setdefault(key, []).append(batch[0].sum().item())
        return F.cross_entropy(model(batch[0]), batch[1])

    objective = objective_for(pieces._replace(train_loader=train, loss_fn=loss_fn))
    study = optuna.create_study()
    key = (0.0, 0)
    objective(trial_at(0.1))  # the first trial is looked at with further steps
    for key in [(0.1, 0), (0.1, 1), (0.01, 0), (0.01, 1)]:
        study.enqueue_trial({"lr": key[0]})
        study.optimize(objective, n_trials=1)
    # A new repeat's batches are first seen by the untrained model.
    seen = {key: sums[-4:] for key, sums in seen.items()}
    assert seen[0.1, 0] == seen[0.01, 0]
    assert seen[0.1, 1] == seen[0.01, 1]
    assert seen[0.1, 0] != seen[0.1, 1]
    # Repeat 0 is what the loader would have given the caller.
    assert seen[0.1, 0] == [x.sum().item() for x, _ in list(train)[:4]]


def test_progress_shows_on_a_terminal_only(capsys: Any, monkeypatch: Any) -> None:
    objective_for(make_pieces())(trial_at(0.1))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    objective_for(make_pieces())(trial_at(0.1))
    assert "lr 1.00e-01" in capsys.readouterr().err
    objective_for(make_pieces(), progress=False)(trial_at(0.1))
    assert capsys.readouterr() == ("", "")


def test_a_caller_under_no_grad_gets_the_same_loss() -> None:
    objective = objective_for(make_pieces())
    expected = objective(trial_at(0.1))
    with torch.no_grad():
        assert objective(trial_at(0.1)) == expected


def test_the_seed_decides_and_the_global_one_does_not() -> None:
    losses = []
    for seed, global_seed in [(0, 1), (0, 2), (3, 1)]:
        pieces = make_pieces(MODELS["cnn"])
        torch.manual_seed(global_seed)
        losses.append(objective_for(pieces, seed=seed)(trial_at(0.1)))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_threads_wait_for_each_other() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adam"])
    before = fingerprint(*pieces[:2])
    lrs = [10.0**-k for k in range(1, 6)]
    alone, together = grid_study(lrs), grid_study(lrs)
    alone.optimize(objective_for(pieces))
    together.optimize(objective_for(pieces), n_jobs=4, n_trials=5)
    values = [{t.params["lr"]: t.value for t in s.trials} for s in (alone, together)]
    assert {k: values[0][k] for k in values[1]} == values[1]
    assert fingerprint(*pieces[:2]) == before


# --- from_factory --------------------------------------------------------------------------------


def build(trial: Any) -> StepPieces:
    width = trial.suggest_int("width", 4, 16)
    model = nn.Sequential(nn.Linear(64, width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    return StepPieces(model, optimizer, F.cross_entropy, *make_loaders())


def test_factory_gives_each_configuration_one_start() -> None:
    study = optuna.create_study()
    for width, lr in [(4, 0.1), (8, 0.1), (4, 0.01), (4, 0.1), (8, 0.1)]:
        study.enqueue_trial({"width": width, "lr": lr})
    before = random_states()
    study.optimize(StepObjective.from_factory(build, steps=4), n_trials=3)
    after = random_states()
    assert torch.equal(before.pop("torch"), after.pop("torch"))
    assert before == after
    torch.manual_seed(12)  # another process resumes: nothing is remembered
    study.optimize(StepObjective.from_factory(build, steps=4), n_trials=2)
    info = [t.user_attrs["lrss:trial"] for t in study.trials]
    baselines = [i["baseline"] for i in info]
    assert baselines[0] == baselines[2] == baselines[3]
    assert baselines[1] == baselines[4] != baselines[0]
    assert [i["momentum"] for i in info] == [0.5] * 5
    assert set(study.user_attrs) == {"lrss:first", "lrss:steps", "lrss:validation"}
    values = [t.value for t in study.trials]
    assert len({values[0], values[1], values[2]}) == 3


def test_factory_and_fixed_pieces_agree() -> None:
    pieces: list[StepPieces] = []

    def keep(trial: Any) -> tuple[Any, ...]:
        pieces.append(build(optuna.trial.FixedTrial({"width": 8})))
        return tuple(pieces[-1])

    value = StepObjective.from_factory(keep, steps=4)(trial_at(0.1))
    model, optimizer = deep_copies(pieces[0])
    fixed = pieces[0]._replace(model=model, optimizer=optimizer)
    assert objective_for(fixed)(trial_at(0.1)) == value


def test_factory_is_called_once_per_trial_and_its_baseline_evaluated_once_per_configuration() -> (
    None
):
    calls, validations = [], []

    def counting(trial: Any) -> StepPieces:
        calls.append(trial.number)
        pieces = build(trial)

        def loss_fn(model: nn.Module, batch: Any) -> Tensor:
            if not model.training:
                validations.append(trial.number)
            return F.cross_entropy(model(batch[0]), batch[1])

        return pieces._replace(loss_fn=loss_fn)

    study = optuna.create_study()
    for lr in LRS:
        study.enqueue_trial({"width": 4, "lr": lr})
    study.optimize(StepObjective.from_factory(counting, steps=4, validation_batches=1), n_trials=3)
    assert calls == [0, 1, 2]
    # Each object divides a batch once, to see whether the loss is a sum.
    assert validations == [0] * (2 + 2) + [1] * (1 + 2) + [2] * (1 + 2)


def test_the_untrained_losses_of_a_configuration_are_evaluated_once() -> None:
    looks: list[int] = []

    def counting(trial: optuna.Trial) -> StepPieces:
        pieces = build(trial)

        def loss_fn(model: nn.Module, batch: Any) -> Tensor:
            if model.training and not torch.is_grad_enabled():
                looks.append(trial.number)
            return F.cross_entropy(model(batch[0]), batch[1])

        return pieces._replace(loss_fn=loss_fn)

    study = optuna.create_study()
    for width, lr in zip((4, 4, 8), LRS, strict=True):
        study.enqueue_trial({"width": width, "lr": lr})
    study.optimize(StepObjective.from_factory(counting, steps=4), n_trials=3)
    assert looks == [0] * 4 + [2] * 4


def test_factory_travels_to_other_processes_and_a_model_does_not() -> None:
    twin = pickle.loads(pickle.dumps(StepObjective.from_factory(build, steps=4)))
    trial = optuna.trial.FixedTrial({"width": 8, "lr": 0.1})
    assert twin(trial) == StepObjective.from_factory(build, steps=4)(trial)
    with pytest.raises(TypeError, match="build it in each process"):
        pickle.dumps(objective_for(make_pieces()))


def test_factory_that_returns_no_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"build returned list.*StepPieces"):
        StepObjective.from_factory(lambda _: [1], steps=4)(trial_at(0.1))  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="build=3 cannot be called"):
        StepObjective.from_factory(3, steps=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each configuration has its own"):
        _ = StepObjective.from_factory(build, steps=4).baseline
    with pytest.raises(TypeError, match="stepz"):
        StepObjective.from_factory(build, stepz=4)  # type: ignore[call-arg]
