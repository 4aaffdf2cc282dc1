"""Many learning rates in one pass: each equals the short trial that it stands for."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim import Adam
from torch.optim import AdamW
from torch.optim import Optimizer
from torch.optim import RMSprop
from torch_cases import NO_DROPOUT
from torch_cases import OPTIMIZERS
from torch_cases import Transformer
from torch_cases import fingerprint
from torch_cases import make_batches
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import trial_at
from torch_cases import warm_up

from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss._study.claims import Claim
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr
from optuna_lrss.torch import optimize_lanes
from optuna_lrss.torch._lanes import count
from optuna_lrss.torch._lanes.one_pass import LaneTrials
from optuna_lrss.torch._lanes.one_pass import Recorded
from optuna_lrss.torch._lanes.rounds import LEAST


Trials = list[optuna.trial.FrozenTrial]

#: From a plateau to far beyond every wall.
RATES = [1e-5, 1e-3, 1e-2, 0.05, 0.3, 3.0, 1e3]


def plain_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 4),
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(x.view(-1, 8, 8))[0][:, -1])
        return out


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "cnn": plain_cnn,
    "batch-norm": NO_DROPOUT["cnn"],
    "layer-norm": NO_DROPOUT["transformer"],
    "rebound-buffer": NO_DROPOUT["hidden"],
}

Build = Callable[[Any], Optimizer]
LANE_OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda p: SGD(p, lr=0.01, weight_decay=0.1),
    "momentum": lambda p: SGD(p, lr=0.01, momentum=0.9),
    "dampening": lambda p: SGD(p, lr=0.01, momentum=0.9, dampening=0.5),
    "nesterov": lambda p: SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda p: Adam(p, lr=0.01, betas=(0.5, 0.9), amsgrad=True),
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.3),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, weight_decay=0.1),
    "centered": lambda p: RMSprop(p, lr=0.01, alpha=0.9, centered=True, momentum=0.5),
}


def pieces_of(model: Callable[[], nn.Module], build: Build, *, warm: bool = False) -> StepPieces:
    pieces = make_pieces(model, lambda m: build(m.parameters()))
    if warm:
        warm_up(pieces)
    return pieces


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 6, "progress": False, **options})


def assert_lanes_equal_trials(objective: StepObjective, rates: list[float] = RATES) -> None:
    """Every lane's outcome is that of the trial alone, up to the wall within 1e-4."""
    alone: Any = objective._source
    trials = LaneTrials(alone)
    recorded = Recorded(trials)
    expected = [alone.run(lr) for lr in rates]
    best = min(o.loss for o in expected)
    assert best < alone.baseline
    assert math.isinf(expected[-1].loss)
    for lr, outcome, recorded.recording in zip(rates, expected, trials.train(rates), strict=True):
        found = recorded.run(lr)
        assert found.diverged == outcome.diverged
        assert found.steps == pytest.approx(outcome.steps, abs=0 if outcome.loss < 9e9 else 1)
        if outcome.loss <= alone.baseline:
            assert found.loss == pytest.approx(outcome.loss, rel=1e-4)
            if outcome.stderr is not None:
                assert found.stderr == pytest.approx(outcome.stderr, rel=1e-3)


def run_quietly(study: optuna.Study, objective: StepObjective, **options: Any) -> None:
    """Where a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimize_lanes(study, objective, **options)


def new_study(**options: Any) -> optuna.Study:
    return optuna.create_study(sampler=LRStepSampler(**options), pruner=LRStepPruner())


# --- Each lane is the trial that it stands for ---------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"])
def test_a_lane_is_a_short_trial(model: str, optimizer: str) -> None:
    assert_lanes_equal_trials(objective_for(pieces_of(MODELS[model], LANE_OPTIMIZERS[optimizer])))


@pytest.mark.parametrize("optimizer", LANE_OPTIMIZERS)
def test_a_warm_optimizer_goes_on_from_its_state(optimizer: str) -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS[optimizer], warm=True)
    before = fingerprint(*pieces[:2])
    assert_lanes_equal_trials(objective_for(pieces))
    assert fingerprint(*pieces[:2]) == before


def test_param_groups_keep_their_ratios_and_frozen_parameters_stay() -> None:
    def grouped(parameters: Any) -> Optimizer:
        weight, bias, *rest = parameters
        bias.requires_grad_(False)
        return SGD(
            [
                {"params": [weight, bias], "lr": 0.02, "weight_decay": 0.5},
                {"params": rest, "momentum": 0.9},
            ],
            lr=0.1,
        )

    assert_lanes_equal_trials(objective_for(pieces_of(mlp, grouped)))
    assert_lanes_equal_trials(objective_for(pieces_of(mlp, grouped), base_lr=0.1))


@pytest.mark.parametrize("clip_norm", [0.05, 0.8])
def test_each_lane_is_clipped_by_its_own_norm(clip_norm: float) -> None:
    pieces = pieces_of(MODELS["batch-norm"], LANE_OPTIMIZERS["momentum"])
    rates = [lr / clip_norm for lr in RATES]
    assert_lanes_equal_trials(objective_for(pieces, clip_norm=clip_norm), rates)


def test_a_pass_may_lose_all_of_its_lanes() -> None:
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["sgd"]))
    alone: Any = objective._source
    for recording in LaneTrials(alone).train([1e6, 1e7]):
        assert len(recording.training) < 6
        assert not recording.validation


def test_bfloat16_is_the_same_within_its_own_rounding() -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["momentum"])
    objective = objective_for(pieces, autocast=torch.bfloat16)
    study = new_study()
    run_quietly(study, objective, lanes=9, n_trials=9)
    for trial in study.trials:
        alone = objective(trial_at(trial.params["lr"]))
        if alone <= objective.baseline:
            assert trial.value == pytest.approx(alone, rel=2e-2)


def test_gradients_of_a_step_s_batches_are_averaged() -> None:
    pieces = pieces_of(MODELS["batch-norm"], LANE_OPTIMIZERS["momentum"])
    assert_lanes_equal_trials(objective_for(pieces, accumulate=3))


class SometimesUnused(nn.Module):
    """A branch that every other call leaves out: its optimizer state must not move then."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = nn.Linear(64, 4), nn.Linear(64, 4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        out: Tensor = self.always(x)
        return out if self.training and self.calls % 2 else out + self.sometimes(x)


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw", "rmsprop"])
def test_a_parameter_without_a_gradient_is_skipped(optimizer: str) -> None:
    pieces = pieces_of(SometimesUnused, LANE_OPTIMIZERS[optimizer])
    assert_lanes_equal_trials(objective_for(pieces))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_frozen_and_live(momentum: float | None) -> None:
    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 8),
            nn.BatchNorm1d(8, momentum=momentum),
            nn.ReLU(),
            nn.Linear(8, 8),
            nn.BatchNorm1d(8).eval(),
            nn.Linear(8, 4),
        )

    pieces = pieces_of(model, LANE_OPTIMIZERS["momentum"], warm=True)
    pieces.model.get_submodule("4").eval()
    assert_lanes_equal_trials(objective_for(pieces, snapshots=(2, 4)))


def test_dropout_draws_what_it_draws_alone() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 4))

    assert_lanes_equal_trials(objective_for(pieces_of(model, LANE_OPTIMIZERS["adam"])))


class Scaled(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output * self.scale, target)


def test_a_loss_with_parameters_and_one_that_calls_the_model() -> None:
    torch.manual_seed(0)
    model, loss = mlp(), Scaled()
    optimizer = Adam([*model.parameters(), *loss.parameters()], lr=0.01)
    pieces = StepPieces(model, optimizer, loss, *make_pieces()[3:])
    assert_lanes_equal_trials(objective_for(pieces))

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    pieces = pieces_of(MODELS["layer-norm"], LANE_OPTIMIZERS["adamw"])
    assert_lanes_equal_trials(objective_for(pieces._replace(loss_fn=loss_fn)))


# --- A study's trials ----------------------------------------------------------------------------


def test_a_study_holds_what_one_trial_after_the_other_writes() -> None:
    pieces = pieces_of(MODELS["batch-norm"], LANE_OPTIMIZERS["momentum"])
    objective = objective_for(pieces, snapshots=(2, 4), validation_batches=None)
    before = fingerprint(*pieces[:2])
    together, alone = new_study(), new_study()
    run_quietly(together, objective, lanes=6, n_trials=11)
    assert fingerprint(*pieces[:2]) == before
    assert len(together.trials) == 11
    assert len({t.params["lr"] for t in together.trials}) == 11
    for trial in together.trials:
        alone.enqueue_trial(trial.params)
    alone.optimize(objective, n_trials=11)
    assert together.user_attrs.keys() >= {"lrss:baseline", "lrss:steps", "lrss:momentum"}
    alone.set_user_attr("lrss:search:lr", together.user_attrs["lrss:search:lr"])
    assert together.user_attrs == alone.user_attrs
    for a, b in zip(together.trials, alone.trials, strict=True):
        assert a.state == b.state
        assert a.params == b.params
        assert a.intermediate_values.keys() == b.intermediate_values.keys()
        assert a.user_attrs["lrss:trial"].keys() == b.user_attrs["lrss:trial"].keys()
        if b.value is not None and b.value < together.user_attrs["lrss:baseline"]:
            assert a.value == pytest.approx(b.value, rel=1e-4)
            assert a.intermediate_values == pytest.approx(b.intermediate_values, rel=1e-4)


def test_rounds_end_in_the_window_that_single_trials_find() -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["momentum"])
    objective = objective_for(pieces, steps=20)
    together, alone = new_study(), new_study()
    run_quietly(together, objective, lanes=17)
    alone.optimize(objective)
    found, expected = analyze(together), analyze(alone)
    assert found.resolved
    for name in ("min_lr", "half_loss", "max_lr"):
        distance = math.log10(getattr(found, name) / getattr(expected, name))
        assert abs(distance) <= 0.1, name  # the tolerance to which each of them is known


def test_a_round_asks_for_no_more_trials_than_are_of_use() -> None:
    sizes: list[int] = []

    def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        told = sum(t.state.is_finished() for t in study.trials)
        if not sizes or sizes[-1] != told:
            sizes.append(told)

    study = new_study()
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["momentum"]))
    run_quietly(study, objective, lanes=40, callbacks=[note])
    # 17 learning rates at half a decade cover the range; later rounds narrow a few brackets.
    assert sizes[0] == 17
    assert all(b - a <= 8 for a, b in itertools.pairwise(sizes))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Lanes and steps of each pass."""
    train, found = LaneTrials.train, []

    def noted(
        self: LaneTrials, lrs: list[float], repeat: int = 0, steps: int | None = None
    ) -> Any:
        found.append((len(lrs), steps or self._settings.steps))
        return train(self, lrs, repeat, steps)

    monkeypatch.setattr(LaneTrials, "train", noted)
    return found


def test_longer_trials_go_together_and_what_is_left_alone(passes: list[tuple[int, int]]) -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["momentum"])
    objective = objective_for(pieces, steps="auto", check_state=False)
    study = new_study()
    run_quietly(study, objective, lanes=17)
    assert passes[0] == (17, 20)
    assert passes[-1] == (4, 80)  # the first look around the upper end
    assert all(lanes >= LEAST for lanes, _ in passes)
    longer = [t for t in study.trials if t.user_attrs["lrss:trial"].get("horizon") == 80]
    assert len(longer) > 4  # the others depend on what these four find
    alone: Any = objective._source
    losses = [alone.run(t.params["lr"], steps=80).loss for t in longer]
    known = [(t.value, loss) for t, loss in zip(longer, losses, strict=True)]
    learnt = [(found, loss) for found, loss in known if loss < alone.baseline]
    assert learnt
    for found, loss in learnt:
        assert found == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"lanes": 17, "strategy": "guided"}, {"lanes": "auto"}], ids=["paths", "auto"]
)
def test_short_trials_with_paths_or_by_default_on_a_cpu_go_alone(
    options: Any, passes: list[tuple[int, int]]
) -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["momentum"])
    strategy = options.get("strategy", "frugal")
    alone = find_lr(*pieces, strategy=strategy, progress=False)
    together = find_lr(*pieces, progress=False, **options)
    assert passes
    assert all(steps > 20 for _, steps in passes)
    assert together.curve.loss == pytest.approx(alone.curve.loss)  # the same search
    assert together.recommended == pytest.approx(alone.recommended, rel=1e-3)


def test_repeats_train_on_their_own_batches() -> None:
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["momentum"]))
    study = new_study(repeats=2)
    run_quietly(study, objective, lanes=8)
    rates = [t.params["lr"] for t in study.trials]
    twice = next(lr for lr in rates if rates.count(lr) == 2)
    first, second = [t.value for t in study.trials if t.params["lr"] == twice]
    alone: Any = objective._source
    assert first == pytest.approx(alone.run(twice).loss, rel=1e-4)
    assert second == pytest.approx(alone.run(twice, repeat=1).loss, rel=1e-4)


def test_callbacks_can_stop_and_a_study_goes_on_later() -> None:
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["momentum"]))
    study = new_study()
    run_quietly(study, objective, lanes=4, callbacks=[lambda study, _: study.stop()])
    assert len(study.trials) == 4
    run_quietly(study, objective, lanes=4)
    assert study.sampler.is_resolved(study)  # type: ignore[attr-defined]
    rates = [t.params["lr"] for t in study.trials]
    assert len(set(rates)) >= len(rates) - 1  # a divergence may have been checked


def test_other_samplers_stop_and_go_on_as_in_optimize() -> None:
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["sgd"]))
    grid = optuna.samplers.GridSampler({"lr": [1e-3, 1e-2, 0.1, 1.0, 3.0]})
    study = optuna.create_study(sampler=grid)
    run_quietly(study, objective, lanes=2)
    assert {t.params["lr"] for t in study.trials} == {1e-3, 1e-2, 0.1, 1.0, 3.0}
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    run_quietly(random, objective, lanes=2, n_trials=5)
    assert len(random.trials) == 5


def test_find_lr_takes_lanes() -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["adam"])
    before = fingerprint(*pieces[:2])
    alone = find_lr(*pieces, steps=10)
    together = find_lr(*pieces, steps=10, lanes=17)
    assert fingerprint(*pieces[:2]) == before
    assert together.resolved
    assert together.n_trials > alone.n_trials  # a whole first look at once
    assert abs(math.log10(together.max_lr / alone.max_lr)) <= 0.1


# --- What goes wrong -----------------------------------------------------------------------------


def test_ctrl_c_puts_everything_back_and_blames_no_learning_rate() -> None:
    pieces = pieces_of(MODELS["batch-norm"], LANE_OPTIMIZERS["adamw"], warm=True)
    before = fingerprint(*pieces[:2])
    calls: list[int] = []
    stop_at = 10**9

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    objective = objective_for(pieces._replace(loss_fn=loss_fn))
    study = new_study()
    run_quietly(study, objective, lanes=5, n_trials=5)
    stop_at = len(calls) + 40  # past the comparison of the first steps
    with pytest.raises(KeyboardInterrupt):
        run_quietly(study, objective, lanes=5)
    assert fingerprint(*pieces[:2]) == before
    broken = [t for t in study.trials if t.state == optuna.trial.TrialState.FAIL]
    assert len(broken) == 5
    assert not any(claim.failed for t in broken if (claim := Claim.of(t)) is not None)
    run_quietly(study, objective, lanes=5)
    assert study.sampler.is_resolved(study)  # type: ignore[attr-defined]
    done = {t.params["lr"] for t in study.trials if t.value is not None}
    assert {t.params["lr"] for t in broken} <= done


def test_a_pass_that_breaks_off_is_run_one_by_one() -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["sgd"])
    steps = 0

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        nonlocal steps
        steps += model.training
        loss = F.cross_entropy(model(batch[0]), batch[1])
        if steps > 17 and loss > 1e9:  # data-dependent, but not in the first steps
            return loss * 2
        return loss

    objective = objective_for(pieces._replace(loss_fn=loss_fn))
    study = new_study()
    with pytest.warns(UserWarning, match="one short trial after the other") as caught:
        optimize_lanes(study, objective, lanes=9)
    assert len(caught) == 1
    assert study.sampler.is_resolved(study)  # type: ignore[attr-defined]
    assert all(t.state.is_finished() and t.value is not None for t in study.trials)


def test_a_trial_s_own_error_fails_that_trial_and_ends_the_study() -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["sgd"])

    class Pruner(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            if trial.number == 2:
                raise OSError("no connection")
            return False

    objective = objective_for(pieces, snapshots=(2,))
    for catch, states in (((), "CCFFF"), (OSError, "CCFCC")):
        study = optuna.create_study(sampler=LRStepSampler(), pruner=Pruner())
        if catch:
            run_quietly(study, objective, lanes=5, n_trials=5, catch=catch)
        else:
            with pytest.raises(OSError, match="no connection"):
                run_quietly(study, objective, lanes=5, n_trials=5)
        assert "".join(t.state.name[0] for t in study.trials) == states


def test_a_pass_that_memory_does_not_hold_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    train, widths = LaneTrials.train, []

    def scarce(
        self: LaneTrials, lrs: list[float], repeat: int = 0, steps: int | None = None
    ) -> Any:
        widths.append(len(lrs))
        if len(lrs) > 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return train(self, lrs, repeat, steps)

    monkeypatch.setattr(LaneTrials, "train", scarce)
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["sgd"]))
    study = new_study()
    run_quietly(study, objective, lanes=9, n_trials=12)
    assert widths == [9, 5, 3, 2, 4, 2, 2]  # what is left goes one by one
    assert [t.value for t in study.trials] == pytest.approx(
        [objective(trial_at(t.params["lr"])) for t in study.trials], rel=1e-4
    )


# --- What is refused -----------------------------------------------------------------------------


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out if out.mean() > 0 else 2 * out


class Remembering(nn.Module):
    """Keeps a number of its last output outside its buffers, and uses it."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(64, 4), norm)
        self.memory = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * (1 + self.memory)
        self.memory = out.detach().std()
        return out


def hooked(m: nn.Module) -> Optimizer:
    m.register_forward_hook(lambda *_: None)
    return SGD(m.parameters(), lr=0.01)


def optimizer_hooked(m: nn.Module) -> Optimizer:
    optimizer = SGD(m.parameters(), lr=0.01)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


def parameter_hooked(m: nn.Module) -> Optimizer:
    next(m.parameters()).register_hook(lambda grad: grad)
    return SGD(m.parameters(), lr=0.01)


class OwnSGD(SGD):
    pass


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, dict[str, Any], str]] = {
    "optimizer": (mlp, OPTIMIZERS["adagrad"], {}, "Adagrad has no rule"),
    "derived": (mlp, lambda m: OwnSGD(m.parameters(), lr=0.01), {}, "OwnSGD has no rule"),
    "lbfgs": (mlp, OPTIMIZERS["lbfgs"], {}, "LBFGS has no rule"),
    "closure": (mlp, OPTIMIZERS["sgd"], {"closure": True}, "closure"),
    "clip": (mlp, OPTIMIZERS["sgd"], {"clip_norm": lambda: None}, "clip_norm"),
    "hook": (mlp, hooked, {}, "has a hook"),
    "step-hook": (mlp, optimizer_hooked, {}, "step hooks"),
    "parameter-hook": (mlp, parameter_hooked, {}, "parameter has a hook"),
    "extra": (mlp, OPTIMIZERS["sgd"], {"extra_state": [torch.ones(1)]}, "extra_state"),
    "lstm": (Recurrent, OPTIMIZERS["adam"], {}, "aten::lstm"),
    "branch": (Branching, OPTIMIZERS["adam"], {}, "data-dependent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_vectorised_runs_one_by_one_and_says_why(case: str) -> None:
    model, build, options, reason = REFUSED[case]
    pieces = make_pieces(model, build)
    objective = objective_for(pieces, steps=4, **options)
    before = fingerprint(*pieces[:2])
    study, alone = new_study(), new_study()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimize_lanes(study, objective, lanes=5, n_trials=4)
    ours = [str(w.message) for w in caught if "one short trial after" in str(w.message)]
    assert len(ours) == 1
    assert reason in ours[0]
    assert fingerprint(*pieces[:2]) == before
    alone.optimize(objective, n_trials=4)
    assert [t.value for t in study.trials] == [t.value for t in alone.trials]


def test_dropout_in_attention_is_that_of_a_trial_alone_or_refused() -> None:
    """Some versions of torch draw the masks of all lanes as one model does, others do not."""
    objective = objective_for(make_pieces(Transformer, OPTIMIZERS["adam"]), steps=4)
    study, alone = new_study(), new_study()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimize_lanes(study, objective, lanes=5, n_trials=4)
    ours = [str(w.message) for w in caught if "one short trial after" in str(w.message)]
    assert all("dropout" in message for message in ours)
    for trial in study.trials:
        alone.enqueue_trial(trial.params)
    alone.optimize(objective, n_trials=4)
    for a, b in zip(study.trials, alone.trials, strict=True):
        assert a.value == pytest.approx(b.value, rel=0.0 if ours else 1e-4)


@pytest.mark.filterwarnings("ignore:optimize_lanes runs one short trial")
@pytest.mark.parametrize("norm", [nn.Identity, lambda: nn.BatchNorm1d(4)])
def test_a_number_kept_outside_of_buffers_is_never_another_lane_s(norm: Any) -> None:
    pieces = pieces_of(lambda: Remembering(norm()), LANE_OPTIMIZERS["momentum"])
    before = fingerprint(*pieces[:2])
    objective = objective_for(pieces)
    study = new_study()
    optimize_lanes(study, objective, lanes=9, n_trials=9)
    assert fingerprint(*pieces[:2]) == before
    for trial in study.trials:
        alone = objective(trial_at(trial.params["lr"]))
        if alone <= objective.baseline:
            assert trial.value == pytest.approx(alone, rel=1e-4)


def test_a_factory_runs_one_by_one() -> None:
    objective = StepObjective.from_factory(lambda _: make_pieces(), steps=3)
    study = new_study()
    with pytest.warns(UserWarning, match="from_factory"):
        optimize_lanes(study, objective, n_trials=3)
    assert len(study.trials) == 3


def test_bad_arguments_are_named() -> None:
    objective = objective_for(pieces_of(mlp, LANE_OPTIMIZERS["sgd"]))
    for options, match in (
        ({"lanes": 0}, "lanes=0"),
        ({"lanes": "many"}, "lanes='many'"),
        ({"n_trials": -1}, "n_trials=-1"),
        ({"timeout": 0}, "timeout=0"),
    ):
        with pytest.raises(ValueError, match=match):
            optimize_lanes(new_study(), objective, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="objective is a function"):
        optimize_lanes(new_study(), lambda _: 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lanes=0"):
        find_lr(*pieces_of(mlp, LANE_OPTIMIZERS["sgd"]), lanes=0)


# --- How many ------------------------------------------------------------------------------------


def auto(model: Callable[[], nn.Module], size: int = 16, **options: Any) -> int:
    pieces = pieces_of(model, LANE_OPTIMIZERS["adam"])
    pieces = pieces._replace(train_loader=make_batches(2, size=size))
    objective = objective_for(pieces, **options)
    alone: Any = objective._source
    return count.lanes_for(alone, objective._space)


def test_a_small_model_gets_a_lane_for_each_learning_rate_of_the_first_look() -> None:
    assert auto(mlp) == 17  # half decades from 1e-7 to 10
    assert auto(mlp, low=1e-4, high=1.0) == 9


def test_a_model_too_large_to_gain_on_a_cpu_runs_one_by_one_without_a_warning() -> None:
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 4))

    assert auto(wide, size=16) == 1
    assert auto(wide, size=1) > 1  # what counts is arithmetic, not weights alone
    study = new_study()
    objective = objective_for(pieces_of(wide, LANE_OPTIMIZERS["sgd"]), steps=1)
    run_quietly(study, objective, n_trials=2)
    assert len(study.trials) == 2


def test_lanes_fit_into_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = pieces_of(mlp, LANE_OPTIMIZERS["adam"])
    alone: Any = objective_for(pieces)._source
    weights = 4 * sum(p.numel() for p in pieces.model.parameters())
    lane = count.measure(alone).lane_bytes
    assert lane > 6 * weights  # weights, gradients, two moments, two in between; activations
    monkeypatch.setattr(count, "_free_bytes", lambda _: 10 * lane)
    assert auto(mlp) == 5
    monkeypatch.setattr(count, "_free_bytes", lambda _: 0)
    assert auto(mlp) == 1
    monkeypatch.setattr(count, "_free_bytes", lambda _: None)
    assert auto(mlp) == 17


def test_free_memory_of_this_machine_can_be_told() -> None:
    free = count._free_bytes(torch.device("cpu"))
    assert free is None or 0 < free < 2**50
