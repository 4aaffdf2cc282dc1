"""Each trap of putting a training state back is handled, or refused with what to do instead."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import fingerprint
from torch_cases import identities
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_pieces
from torch_cases import mlp
from torch_cases import reference_trial
from torch_cases import trial_at
from torch_cases import warm_up

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import _start


def objective_for(pieces: StepPieces, **options: Any) -> StepObjective:
    return StepObjective(*pieces, **{"steps": 4, **options})


# --- Models --------------------------------------------------------------------------------------


def test_lazy_model_is_refused_until_a_batch_has_run_through_it() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pieces = make_pieces()._replace(model=model, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"lazy module.*run one batch"):
        objective_for(pieces)
    model(make_batches(1)[0][0])
    assert math.isfinite(objective_for(pieces)(trial_at(0.1)))


def test_model_that_holds_no_numbers_is_refused() -> None:
    model = nn.Linear(64, 4, device="meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="meta device"):
        objective_for(make_pieces()._replace(model=model, optimizer=optimizer))


def test_model_of_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = nn.Linear(64, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="inference_mode"):
        objective_for(make_pieces()._replace(model=model, optimizer=optimizer))


def test_distributed_model_is_refused(tmp_path: Any) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(mlp())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match=r"model\.module"):
            objective_for(make_pieces()._replace(model=model, optimizer=optimizer))
    finally:
        torch.distributed.destroy_process_group()


def test_what_is_no_module_or_no_optimizer_is_refused() -> None:
    pieces = make_pieces()
    with pytest.raises(ValueError, match=r"model is a function.*torch\.nn\.Module"):
        objective_for(pieces._replace(model=lambda x: x))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"optimizer is a list of nothing: give optimizers"):
        objective_for(pieces._replace(optimizer=[]))


def test_frozen_model_is_refused() -> None:
    pieces = make_pieces()
    pieces.model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter in the optimizer requires a gradient"):
        objective_for(pieces)


def test_compiled_model_gives_the_same_losses_and_comes_back() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adam"])
    plain = objective_for(pieces)
    expected = [plain(trial_at(lr)) for lr in (0.01, 0.1)]
    compiled = torch.compile(pieces.model, backend="eager")
    assert isinstance(compiled, nn.Module)
    before = fingerprint(*pieces[:2])
    objective = objective_for(pieces._replace(model=compiled))
    assert [objective(trial_at(lr)) for lr in (0.01, 0.1)] == expected
    assert fingerprint(*pieces[:2]) == before
    assert objective(trial_at(0.01)) == expected[0]


def test_scripted_model_is_put_back() -> None:
    pieces = make_pieces(MODELS["cnn"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, in newer versions
        scripted = torch.jit.script(pieces.model)
    optimizer = torch.optim.SGD(scripted.parameters(), lr=0.1)
    before = copy.deepcopy(scripted.state_dict())
    objective = objective_for(pieces._replace(model=scripted, optimizer=optimizer))
    first = objective(trial_at(0.1))
    objective(trial_at(1.0))
    assert objective(trial_at(0.1)) == first
    assert all(torch.equal(v, before[k]) for k, v in scripted.state_dict().items())
    assert scripted.training
    scripted.eval()
    assert objective(trial_at(0.1)) == first
    assert not scripted.training


class Mover(nn.Sequential):
    """Takes new storage on every move, as between two devices."""

    moves = 0

    def _apply(self, fn: Any, recurse: bool = True) -> Mover:
        Mover.moves += 1
        super()._apply(lambda t: fn(t).clone(), recurse)  # type: ignore[no-untyped-call]
        return self


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_model_moved_for_a_trial_is_moved_back(
    warm: bool, on_host: bool, monkeypatch: Any
) -> None:
    """The device cpu:0 is another name for cpu, so that everything moves and nothing changes."""
    monkeypatch.setattr(Mover, "moves", 0)
    pieces = make_pieces(lambda: Mover(MODELS["cnn"]()), OPTIMIZERS["adam"])
    if warm:
        warm_up(pieces)
    expected = objective_for(pieces)(trial_at(0.01))
    assert Mover.moves == 0
    state_moves: list[int] = []
    pieces.optimizer.register_load_state_dict_post_hook(lambda _: state_moves.append(1))
    before, memory = fingerprint(*pieces[:2]), identities(pieces)
    monkeypatch.setattr(_start, "_device_of", lambda *_: torch.device("cpu:0"))
    objective = objective_for(pieces, device="cpu:0", snapshot_on_host=on_host)
    assert [objective(trial_at(lr)) for lr in (0.01, 0.1, 0.01)][::2] == [expected] * 2
    # For the baseline, four looks at the first trial, the untrained losses, and each trial.
    assert Mover.moves == 9
    assert len(state_moves) == (9 if warm else 0)
    assert fingerprint(*pieces[:2]) == before
    assert identities(pieces) == memory


class Tied(nn.Module):
    """One weight under two names, an expanded buffer, and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.b.weight = self.a.weight
        self.register_buffer("wide", torch.zeros(1).expand(64))
        self.wide: Tensor
        self.generator = torch.Generator().manual_seed(4)
        self.parts = {"noise": [torch.zeros(64)]}

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.parts["noise"].append(torch.randn(64, generator=self.generator))
            self.register_buffer("wide", self.wide + 0.01)
        out: Tensor = self.out(self.b(self.a(x)).relu() + self.wide + self.parts["noise"][-1])
        return out


def test_tied_weights_expanded_buffers_and_own_generators() -> None:
    pieces = make_pieces(Tied, OPTIMIZERS["momentum"])
    assert isinstance(pieces.model, Tied)
    before, wide = fingerprint(*pieces[:2]), pieces.model.wide
    objective = objective_for(pieces)
    first = objective(trial_at(0.01))
    objective(trial_at(0.1))
    assert objective(trial_at(0.01)) == first
    assert fingerprint(*pieces[:2]) == before
    assert pieces.model.wide is wide
    assert pieces.model.a.weight is pieces.model.b.weight


class Merging(nn.Linear):
    """An adapter that is merged into the weight in eval mode, as low-rank adapters may be."""

    def __init__(self) -> None:
        super().__init__(64, 4)
        self.extra = nn.Parameter(torch.zeros(4, 64))
        self.merged = False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode is self.merged:
            self.weight.data += -self.extra if mode else self.extra
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + (0 if self.merged else self.extra), self.bias)


def test_modes_are_changed_by_train_and_eval() -> None:
    pieces = make_pieces(Merging)
    assert isinstance(pieces.model, Merging)
    twin = make_pieces(Merging)
    with_snapshots = objective_for(pieces, snapshots=[1, 2, 3])(trial_at(0.1))
    assert with_snapshots == pytest.approx(objective_for(twin)(trial_at(0.1)), rel=1e-5)
    assert not pieces.model.merged


# --- Optimizers ----------------------------------------------------------------------------------


def test_optimizer_of_another_model_is_refused() -> None:
    pieces, other = make_pieces(), make_pieces()
    with pytest.raises(ValueError, match=r"4 parameter\(s\) that are not the model's"):
        objective_for(pieces._replace(optimizer=other.optimizer))


class Margin(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output * self.scale, target)


def test_parameters_of_the_loss_and_of_extra_state_are_trained_and_put_back() -> None:
    pieces, loss = make_pieces(), Margin()
    head = nn.Linear(4, 4)
    parameters = [*pieces.model.parameters(), *loss.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    pieces = pieces._replace(optimizer=optimizer, loss_fn=loss)
    before = fingerprint(pieces.model, optimizer, loss, head)
    with pytest.raises(
        ValueError, match=r"2 parameter\(s\) that are not the model's.*extra_state"
    ):
        objective_for(pieces)
    objective = objective_for(pieces, extra_state=[head])
    first = objective(trial_at(0.1))
    objective(trial_at(1.0))
    assert objective(trial_at(0.1)) == first
    assert fingerprint(pieces.model, optimizer, loss, head) == before


class References:
    """Hands out and keeps references."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"seen": [0]}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class InPlace:
    """Hands out references and copies into what it has."""

    def __init__(self) -> None:
        self.seen = [0]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen[:] = state["seen"]


def test_averaged_weights_kept_by_an_optimizer_hook_are_put_back() -> None:
    pieces = make_pieces(MODELS["cnn"], OPTIMIZERS["adam"])
    average = torch.optim.swa_utils.AveragedModel(pieces.model)
    pieces.optimizer.register_step_post_hook(lambda *_: average.update_parameters(pieces.model))

    references, in_place = References(), InPlace()
    at_step: list[tuple[int, int]] = []

    def count(*_: Any) -> None:
        at_step.append((len(references.state["seen"]), len(in_place.seen)))
        references.state["seen"].append(1)
        in_place.seen.append(1)

    pieces.optimizer.register_step_post_hook(count)
    before = fingerprint(average)
    objective = objective_for(pieces, extra_state=[average, references, in_place])
    for _ in range(3):
        objective(trial_at(0.1))
        assert fingerprint(average) == before
        assert references.state == {"seen": [0]}
        assert in_place.seen == [0]
    trial, look = [(1, 1), (2, 2), (3, 3), (4, 4)], [(1, 1), (2, 2)]
    assert at_step == [*look, *look, *trial, *look, *trial, *trial]
    with pytest.raises(ValueError, match="extra_state holds a generator"):
        objective_for(pieces, extra_state=[(i for i in range(3))])


def test_leftovers_of_a_scheduler_come_back_and_do_not_matter() -> None:
    plain = objective_for(make_pieces())(trial_at(0.1))
    pieces = make_pieces()
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        pieces.optimizer, lambda step: min(step / 9, 1.0)
    )
    assert pieces.optimizer.param_groups[0]["lr"] == 0.0  # a warm-up starts at zero
    before, state = fingerprint(*pieces[:2]), scheduler.state_dict()
    assert objective_for(pieces)(trial_at(0.1)) == plain
    assert fingerprint(*pieces[:2]) == before
    assert scheduler.state_dict() == state
    warm_up(pieces, 1)
    scheduler.step()  # would warn of the wrong order, had a trial left its mark
    assert pieces.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 9)


def test_ratios_of_a_warm_up_are_those_of_the_initial_rates() -> None:
    def two_groups(model: nn.Module) -> torch.optim.Optimizer:
        first, *rest = model.parameters()
        return torch.optim.SGD([{"params": [first], "lr": 0.2}, {"params": rest, "lr": 0.1}])

    expected = objective_for(make_pieces(optimizer=two_groups))(trial_at(0.1))
    pieces = make_pieces(optimizer=two_groups)
    torch.optim.lr_scheduler.LambdaLR(pieces.optimizer, lambda _: 0.0)
    assert objective_for(pieces)(trial_at(0.1)) == expected


def test_groups_keep_their_ratio_to_the_base_that_is_named() -> None:
    def two_groups(model: nn.Module) -> torch.optim.Optimizer:
        first, *rest = model.parameters()
        return torch.optim.SGD([{"params": [first], "lr": 0.01}, {"params": rest, "lr": 0.1}])

    pieces = make_pieces(optimizer=two_groups)
    of_the_first = objective_for(pieces)(trial_at(0.01))
    assert objective_for(pieces, base_lr=0.1)(trial_at(0.1)) == of_the_first
    assert objective_for(pieces, base_lr=0.1)(trial_at(0.01)) != of_the_first


def test_a_function_clips_in_the_place_of_the_norm() -> None:
    pieces = make_pieces()
    parameters = list(pieces.model.parameters())

    def by_norm() -> object:
        return nn.utils.clip_grad_norm_(parameters, 0.1)

    def by_value() -> object:
        return nn.utils.clip_grad_value_(parameters, 1e-3)

    at_norm = objective_for(pieces, clip_norm=0.1)(trial_at(0.1))
    assert objective_for(pieces, clip_norm=by_norm)(trial_at(0.1)) == at_norm
    at_value = objective_for(pieces, clip_norm=by_value)(trial_at(0.1))
    assert at_value not in (at_norm, objective_for(pieces)(trial_at(0.1)))


def test_a_first_group_without_a_learning_rate_is_refused() -> None:
    pieces = make_pieces(optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.0))
    with pytest.raises(ValueError, match=r"learning rates \[0.0\]: the first must be above 0"):
        objective_for(pieces)
    del pieces.optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="param group 0 of the optimizer has lr=None"):
        objective_for(pieces)


def test_learning_rate_in_a_tensor_is_set_in_place_and_comes_back() -> None:
    def tensor_lr(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=torch.tensor(0.25), foreach=False)

    pieces = make_pieces(optimizer=tensor_lr)
    rate = pieces.optimizer.param_groups[0]["lr"]
    seen = []
    pieces.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"])
    )
    loss = objective_for(pieces)(trial_at(0.125))
    assert all(lr is rate for lr in seen)
    assert rate.item() == 0.25
    twin = make_pieces(optimizer=lambda m: torch.optim.Adam(m.parameters(), lr=1.0, foreach=False))
    assert loss == pytest.approx(objective_for(twin)(trial_at(0.125)), rel=1e-5)


class Sam(torch.optim.SGD):
    """Its closure looks optional and is not."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is None:
            raise RuntimeError("no closure")
        with torch.enable_grad():
            closure()
        super().step()


def test_closure_can_be_asked_for_and_is_checked() -> None:
    pieces = make_pieces(optimizer=lambda m: Sam(m.parameters(), lr=0.1))
    with pytest.raises(RuntimeError, match="no closure"):
        objective_for(pieces)(trial_at(0.1))
    loss = objective_for(pieces, closure=True)(trial_at(0.1))
    assert loss == objective_for(make_pieces())(trial_at(0.1))

    class Deaf(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            pass

    deaf = make_pieces(optimizer=lambda m: Deaf(m.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"Deaf\.step\(\) never called the closure"):
        objective_for(deaf, closure=True)(trial_at(0.1))


class ScheduleFree(torch.optim.SGD):
    """Refuses to step in eval mode, like the schedule-free optimizers."""

    train_mode = False

    def train(self) -> None:
        self.train_mode = True

    def eval(self) -> None:
        self.train_mode = False

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if not self.train_mode:
            raise RuntimeError("not in train mode")
        super().step(closure)


def test_optimizer_with_modes_of_its_own() -> None:
    pieces = make_pieces(optimizer=lambda m: ScheduleFree(m.parameters(), lr=0.1))
    optimizer, modes = pieces.optimizer, set()
    assert isinstance(optimizer, ScheduleFree)

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        modes.add((model.training, optimizer.train_mode))
        return F.cross_entropy(model(batch[0]), batch[1])

    loss = objective_for(pieces._replace(loss_fn=loss_fn), snapshots=[1, 2])(trial_at(0.1))
    assert modes == {(True, True), (False, False)}
    assert loss == objective_for(make_pieces())(trial_at(0.1))
    assert "train_mode" not in vars(pieces.optimizer)


# --- Precision -----------------------------------------------------------------------------------


def test_autocast_computes_in_the_type_asked_for() -> None:
    seen = set()

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        seen.add(output.dtype)
        return F.cross_entropy(output.float(), target)

    pieces = make_pieces()._replace(loss_fn=loss_fn)
    full = objective_for(pieces)(trial_at(0.1))
    assert seen == {torch.float32}
    seen.clear()
    half = objective_for(pieces, autocast=torch.bfloat16)(trial_at(0.1))
    assert seen == {torch.bfloat16}
    assert half != full
    assert half == pytest.approx(full, rel=0.02)


def test_float16_makes_up_for_steps_that_overflow() -> None:
    updates, losses = [], []

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        losses.append(1)
        return 50 * F.cross_entropy(output, target)  # 50 * 65536 overflows float16 at first

    pieces = make_pieces()._replace(loss_fn=loss_fn)
    full = objective_for(pieces)(trial_at(1e-3))
    pieces.optimizer.register_step_post_hook(lambda *_: updates.append(1))
    before = fingerprint(*pieces[:2])
    objective = objective_for(pieces, autocast=torch.float16)
    half = objective(trial_at(1e-3))
    updates.clear()  # the first trial is looked at with further steps
    assert objective(trial_at(1e-3)) == half
    assert len(updates) == 4
    assert half == pytest.approx(full, rel=0.02)
    per_trial = []
    for _ in range(2):  # the scale starts anew, so that as many steps overflow again
        losses.clear()
        assert objective(trial_at(1e-3)) == half
        per_trial.append(len(losses))
    assert per_trial[0] == per_trial[1] > 4 + 3
    assert fingerprint(*pieces[:2]) == before


def test_float16_gradients_are_clipped_at_their_own_scale() -> None:
    pieces = make_pieces()
    full = objective_for(pieces, clip_norm=0.1)(trial_at(0.1))
    half = objective_for(pieces, clip_norm=0.1, autocast=torch.float16)(trial_at(0.1))
    unclipped = objective_for(pieces)(trial_at(0.1))
    untrained = objective_for(pieces).baseline
    assert half == pytest.approx(full, abs=0.05 * abs(untrained - full))
    assert abs(unclipped - full) > 0.2 * abs(untrained - full)


def test_float16_and_a_closure_are_refused_together() -> None:
    with pytest.raises(ValueError, match="LBFGS with its closure"):
        objective_for(make_pieces(optimizer=OPTIMIZERS["lbfgs"]), autocast=torch.float16)
    with pytest.raises(ValueError, match="does not go with closure=True"):
        objective_for(make_pieces(), autocast=torch.float16, closure=True)


# --- Losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda *_: 3, "returned a int"),
        (lambda o, t: F.cross_entropy(o, t).item(), "returned a float"),
        (lambda o, t: F.cross_entropy(o, t, reduction="none"), r"shape \(16,\).*mean"),
        (lambda o, t: F.cross_entropy(o, t).detach(), "does not depend on a parameter"),
        (lambda o, t: F.cross_entropy(o, t) * torch.tensor(1j), "complex"),
        (lambda o, t: F.cross_entropy(o, t) * math.nan, "untrained model is inf.*NaN"),
    ],
)
def test_loss_that_is_no_loss_is_refused(loss_fn: Any, message: str) -> None:
    pieces = make_pieces()._replace(loss_fn=loss_fn)
    with pytest.raises(ValueError, match=message):
        objective_for(pieces)(trial_at(0.1))


def test_loss_function_that_is_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss_fn=CrossEntropyLoss is a class.*Loss\(\)"):
        objective_for(make_pieces()._replace(loss_fn=nn.CrossEntropyLoss))


def test_loss_function_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ValueError, match="loss_fn='mse' cannot be called"):
        objective_for(make_pieces()._replace(loss_fn="mse"))  # type: ignore[arg-type]


def test_nan_in_the_training_data_is_no_divergence() -> None:
    train = [(x * math.nan, y) for x, y in make_batches(4)]
    with pytest.raises(ValueError, match="training loss is nan before the first update"):
        objective_for(make_pieces()._replace(train_loader=train))(trial_at(0.1))


# --- Batches -------------------------------------------------------------------------------------


def dictionaries(n: int, seed: int) -> list[dict[str, Any]]:
    return [{"x": x, "meta": {"y": [y]}, "id": "a"} for x, y in make_batches(n, seed=seed)]


def test_batches_of_any_structure_give_the_same_loss_as_pairs() -> None:
    pairs = make_pieces()._replace(
        train_loader=make_batches(4, seed=1), validation_loader=make_batches(2, seed=2)
    )
    expected = objective_for(pairs)(trial_at(0.1))

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch["x"]), batch["meta"]["y"][0])

    by_name = pairs._replace(
        loss_fn=loss_fn,
        train_loader=dictionaries(4, 1),
        validation_loader=dictionaries(2, 2),
    )
    assert objective_for(by_name)(trial_at(0.1)) == expected

    def other_names(m: nn.Module, b: Any) -> Tensor:
        return loss_fn(m, b)

    by_structure = by_name._replace(loss_fn=other_names)
    assert objective_for(by_structure)(trial_at(0.1)) == expected
    by_option = pairs._replace(loss_fn=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert objective_for(by_option, loss_form="model")(trial_at(0.1)) == expected
    model_by_name = pairs._replace(loss_fn=lambda model, b: F.cross_entropy(model(b[0]), b[1]))
    assert objective_for(model_by_name)(trial_at(0.1)) == expected


def test_wrong_guess_of_the_form_says_what_to_pass() -> None:
    pieces = make_pieces()._replace(loss_fn=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    with pytest.raises(TypeError, match="not callable") as error:
        objective_for(pieces)(trial_at(0.1))
    assert "loss_form='model'" in str(error.value.__notes__)
    triples = [(x, x, y) for x, y in make_batches(4)]
    pieces = make_pieces()._replace(validation_loader=triples, loss_fn=nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"tuple of 3.*loss_form='model'"):
        objective_for(pieces)(trial_at(0.1))
    with pytest.raises(ValueError, match=r"tuple of 3.*loss_form='model'"):
        objective_for(pieces._replace(loss_fn=F.cross_entropy), loss_form="output")(trial_at(0.1))


def test_loss_function_may_change_its_batch() -> None:
    def greedy(model: nn.Module, batch: dict[str, Any]) -> Tensor:
        target = batch.pop("meta")["y"].pop()
        return F.cross_entropy(model(batch["x"].mul_(0.5)), target)

    pieces = make_pieces()._replace(
        loss_fn=greedy, train_loader=dictionaries(4, 1), validation_loader=dictionaries(2, 2)
    )
    objective = objective_for(pieces)
    assert objective(trial_at(0.1)) == objective(trial_at(0.1))


class Empty:
    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize("name", ["train_loader", "validation_loader"])
@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "holds no batch"),
        (Empty(), "holds no batch"),
        (iter(make_batches(9)), "is an iterator"),
        (make_data(8), "data set, which gives single samples"),
        (7, "cannot be iterated"),
    ],
)
def test_loaders_that_give_no_batches_are_refused(name: str, loader: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        objective_for(make_pieces()._replace(**{name: loader}))


def test_short_loader_starts_over() -> None:
    train, validation = make_batches(2, seed=1), make_batches(2, seed=2)
    pieces = make_pieces()._replace(train_loader=train, validation_loader=validation)
    expected = reference_trial(pieces, 0.1, [*train, *train], validation)
    assert objective_for(pieces)(trial_at(0.1)) == pytest.approx(expected, rel=1e-6)


# --- Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"steps": True}, "steps=True"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"validation_batches": 0}, "validation_batches=0"),
        ({"snapshots": [2, 9]}, "snapshots holds 9.*steps=4"),
        ({"snapshots": [0]}, "snapshots=0"),
        ({"low": 0.0}, "low=0.0 and high=10.0"),
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"low": "1e-7"}, "low='1e-7' and high=10.0 must be numbers"),
        ({"high": None}, "high=None must be numbers"),
        ({"high": True}, "high=True must be numbers"),
        ({"param_name": 3}, "param_name=3 must be a string"),
        ({"clip_norm": "1"}, "clip_norm='1' must be a number"),
        ({"clip_norm": True}, "clip_norm=True"),
        ({"snapshots": 5}, "snapshots=5 must be a sequence of steps"),
        ({"snapshots": "12"}, "snapshots='12' must be a sequence of steps"),
        ({"snapshots": ["2"]}, "snapshots='2'"),
        ({"extra_state": nn.Sequential(nn.Linear(1, 1))}, r"Sequential.*extra_state=\[...\]"),
        ({"extra_state": None}, r"extra_state is a NoneType.*a list"),
        ({"device": "gpu"}, "device='gpu' is unknown to torch"),
        ({"device": 1.5}, "device=1.5 must be a torch.device"),
        ({"high": math.inf}, "high=inf"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"clip_norm": math.nan}, "clip_norm=nan"),
        ({"base_lr": 0.0}, "base_lr=0.0"),
        ({"base_lr": math.inf}, "base_lr=inf"),
        ({"autocast": torch.int8}, "autocast=torch.int8"),
        ({"loss_form": "both"}, "loss_form='both'"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective_for(make_pieces(), **options)
    with pytest.raises(ValueError, match=message):
        StepObjective.from_factory(lambda _: make_pieces(), **{"steps": 4, **options})
