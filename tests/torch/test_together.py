"""Several optimizers over one model: one learning rate, their ratios kept, all of them reset."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import apply_learning_rate
from optuna_lrss.torch import find_lr
from optuna_lrss.torch._together import as_one


STEPS = 5


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)
    )


def batches(seed: int, n: int = 8) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 16, 6, generator=generator)
    return [(rows, torch.sin(rows[:, :1] + rows[:, 1:2])) for rows in x]


def parts(net: nn.Module, kind: str, lr: float = 0.2) -> list[torch.optim.Optimizer]:
    """Matrices by one, the rest at a quarter of its learning rate by AdamW."""
    matrices = [p for p in net.parameters() if p.ndim == 2]
    rest = [p for p in net.parameters() if p.ndim != 2]
    if kind == "muon":
        if not hasattr(torch.optim, "Muon"):
            pytest.skip("torch.optim.Muon is not in this torch")
        first: Any = torch.optim.Muon(matrices, lr=lr)
    elif kind == "sgd":
        first = torch.optim.SGD(matrices, lr=lr, momentum=0.9)
    else:
        first = torch.optim.RMSprop(matrices, lr=lr)
    return [first, torch.optim.AdamW(rest, lr=lr / 4, weight_decay=0.1)]


def trained(kind: str, lr: float, accumulate: int = 1) -> float:
    """The validation loss of the training that a short trial is to be."""
    net = model()
    both = parts(net, kind, lr)
    data = batches(1)
    for step in range(STEPS):
        for part in both:
            part.zero_grad()
        for i in range(accumulate):
            x, y = data[(step * accumulate + i) % len(data)]
            (F.mse_loss(net(x), y) / accumulate).backward()
        for part in both:
            part.step()
    with torch.no_grad():
        return sum(F.mse_loss(net(x), y).item() for x, y in batches(2)) / 8


def state_of(net: nn.Module, both: list[torch.optim.Optimizer]) -> list[Any]:
    held = [p.detach().numpy().tobytes() for p in net.parameters()]
    for part in both:
        held += [{k: v for k, v in g.items() if k != "params"} for g in part.param_groups]
        for p in part.param_groups[0]["params"]:
            values = part.state.get(p, {})
            held.append({k: v.numpy().tobytes() for k, v in values.items() if v is not None})
    return held


def step(net: nn.Module, both: list[torch.optim.Optimizer]) -> None:
    x, y = batches(3)[0]
    F.mse_loss(net(x), y).backward()
    for part in both:
        part.step()
        part.zero_grad()


@pytest.mark.parametrize("kind", ["sgd", "rmsprop", "muon"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_short_trial_steps_all_of_them_at_their_ratio(kind: str, accumulate: int) -> None:
    net = model()
    options: Any = {"steps": STEPS, "progress": False, "accumulate": accumulate}
    objective = StepObjective(net, parts(net, kind), F.mse_loss, batches(1), batches(2), **options)
    found = {}
    for rates in ([1e-3, 1e-2], [1e-2, 1e-3]):  # what is left of a trial would show in the next
        study = optuna.create_study()
        for lr in rates:
            study.enqueue_trial({"lr": lr})
        study.optimize(objective, n_trials=2)
        losses = [t.value for t in study.trials]
        assert losses == pytest.approx([trained(kind, lr, accumulate) for lr in rates], rel=1e-6)
        assert found.setdefault("losses", sorted(losses)) == sorted(losses)
        assert study.user_attrs["lrss:groups"] == [1.0, 0.25]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_model_and_all_optimizers_come_back_to_the_bit(kind: str, *, warm: bool) -> None:
    net = model()
    both = parts(net, kind)
    if warm:
        step(net, both)
    before = state_of(net, both)
    find_lr(net, both, F.mse_loss, batches(1), batches(2), steps=STEPS, progress=False, n_trials=8)
    assert state_of(net, both) == before
    twin = model()
    others = parts(twin, kind)
    for _ in range(1 + warm):
        step(twin, others)
    step(net, both)
    assert state_of(net, both) == state_of(twin, others)


def test_the_momentum_is_that_of_the_heaviest() -> None:
    net = model()
    for order in (1, -1):
        both = parts(net, "sgd")[::order]
        study = optuna.create_study()
        study.enqueue_trial({"lr": 1e-3})
        objective = StepObjective(
            net, both, F.mse_loss, batches(1), batches(2), steps=STEPS, progress=False
        )
        study.optimize(objective, n_trials=1)
        assert study.user_attrs["lrss:momentum"] == 0.9
        assert 0.0 < study.user_attrs["lrss:lag"] < 0.7


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_in_half_precision_and_clipped_all_of_them_learn(autocast: torch.dtype) -> None:
    net = model()
    options: Any = {"steps": STEPS, "progress": False, "clip_norm": 1.0, "autocast": autocast}
    objective = StepObjective(
        net, parts(net, "sgd"), F.mse_loss, batches(1), batches(2), **options
    )
    loss = objective(optuna.trial.FixedTrial({"lr": 1e-2}))
    single = objective(optuna.trial.FixedTrial({"lr": 1e-7}))
    assert loss == pytest.approx(trained("sgd", 1e-2), rel=0.05)
    assert abs(loss - single) > 0.02


def test_a_list_of_one_is_that_one() -> None:
    net = model()
    data = F.mse_loss, batches(1), batches(2)
    found = [
        find_lr(net, given, *data, steps=STEPS, progress=False)
        for given in (torch.optim.Adam(net.parameters()), [torch.optim.Adam(net.parameters())])
    ]
    assert found[0].trials == found[1].trials


def test_apply_keeps_the_ratios_of_all() -> None:
    net = model()
    both = parts(net, "sgd")
    apply_learning_rate(both, 0.01)
    rates = [group["lr"] for part in both for group in part.param_groups]
    assert rates == [0.01, 0.0025]
    result = find_lr(net, both, F.mse_loss, batches(1), batches(2), steps=STEPS, progress=False)
    result.apply(tuple(both), pick="max_lr")
    rates = [group["lr"] for part in both for group in part.param_groups]
    assert rates == pytest.approx([result.max_lr, result.max_lr / 4])
    assert "the others have 0.25 times" in str(result).replace("\n  ", " ")


def test_what_cannot_go_together_is_a_named_error() -> None:
    net = model()
    adam = torch.optim.Adam(net.parameters())
    for given, match in (
        ([], "list of nothing"),
        ([adam, net], r"list of Adam, Sequential"),
        ([adam, torch.optim.SGD(net.parameters(), lr=0.1)], r"6 parameter\(s\) are in two"),
        (
            [torch.optim.LBFGS([next(net.parameters())]), torch.optim.SGD([net[2].weight], lr=1)],
            "LBFGS evaluates the loss several times",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            StepObjective(net, given, F.mse_loss, batches(1), batches(2))


def test_the_whole_shows_its_parts_groups_and_state_and_adds_none() -> None:
    net = model()
    both = parts(net, "sgd")
    whole = as_one(both)
    step(net, both[1:])  # only the second has state
    rest = both[1].param_groups[0]["params"][0]
    assert whole.state[rest] is both[1].state[rest]
    assert len(whole.state) == len(both[1].state)
    assert not both[0].state
    handle = both[1].register_step_post_hook(lambda *_: None)
    assert list(whole._optimizer_step_post_hooks) == [handle.id]
