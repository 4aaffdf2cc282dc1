"""Models that return more than a tensor: what loss_fn(output, target) gets."""

from __future__ import annotations

import functools
import warnings
from typing import Any
from typing import NamedTuple

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from optuna_lrss.torch import StepObjective


class Named(NamedTuple):
    features: Tensor
    logits: Tensor


class Returning(nn.Module):
    """A classifier whose output is made into something else."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(5, 7), nn.Linear(7, 3)
        self.shape = shape

    def forward(self, x: Tensor) -> Any:
        features = self.body(x).tanh()
        return self.shape(features, self.head(features))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 8, 5, generator=generator)
    return [(rows, rows[:, :3].argmax(dim=1)) for rows in x]


def model_output(features: Tensor, logits: Tensor) -> Any:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    return outputs.SequenceClassifierOutput(logits=logits, hidden_states=(features,))


def trial(shape: Any, loss_fn: Any = F.cross_entropy, **options: Any) -> tuple[float, Any]:
    net = Returning(shape)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    options = {"steps": 3, "progress": False, **options}
    objective = StepObjective(net, optimizer, loss_fn, batches(), batches(), **options)
    study = optuna.create_study()
    study.enqueue_trial({"lr": 0.3})
    study.optimize(objective, n_trials=1)
    return study.trials[0].value, study.user_attrs["lrss:guess"]


@pytest.mark.parametrize(
    "shape",
    [
        model_output,
        Named,
        lambda features, logits: {"features": features, "logits": logits},
        lambda _, logits: {"scores": logits},
        lambda _, logits: (logits,),
        lambda _, logits: [logits],
    ],
    ids=["ModelOutput", "named tuple", "dict", "dict of one", "tuple of one", "list of one"],
)
@pytest.mark.parametrize(
    "loss_fn",
    [nn.CrossEntropyLoss(), functools.partial(F.cross_entropy, reduction="mean")],
    ids=["module", "function"],
)
def test_torchs_own_losses_get_the_logits(shape: Any, loss_fn: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trial(shape, loss_fn) == trial(lambda _, logits: logits)


def test_of_a_tuple_the_first_item_with_a_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"a tuple of 2: loss_fn gets its first.*loss_form"
    ) as got:
        assert trial(lambda features, logits: (logits, features)) == trial(
            lambda _, logits: logits
        )
    assert len(got) == 1


def test_an_own_function_gets_the_whole_output() -> None:
    def own(output: Any, target: Tensor) -> Tensor:
        features, logits = output
        return F.cross_entropy(logits, target) + 0.1 * features.square().mean()

    def by_hand(model: nn.Module, batch: Any) -> Tensor:
        return own(model(batch[0]), batch[1])

    losses = []
    for loss_fn in (own, by_hand):
        net = Returning(lambda features, logits: (features, logits))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        form: Any = "output" if loss_fn is own else "model"
        objective = StepObjective(
            net, optimizer, loss_fn, batches(), batches(), steps=3, loss_form=form
        )
        losses.append(objective(optuna.trial.FixedTrial({"lr": 0.3})))
    assert losses[0] == losses[1]


def test_what_is_ambiguous_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"dict of 'a', 'b', none of them.*lambda output, target"):
        trial(lambda features, logits: {"a": features, "b": logits})
    with pytest.raises(ValueError, match=r"returns a str, and torch's own losses.*loss_form"):
        trial(lambda *_: "logits")

    def own(output: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    with pytest.raises(TypeError) as raised:
        trial(model_output, own)
    assert "SequenceClassifierOutput of 'logits'" in str(raised.value.__notes__)
    assert "loss_form='model'" in str(raised.value.__notes__)


def test_a_dict_batch_with_torchs_own_loss_says_what_to_do() -> None:
    net = Returning(lambda _, logits: logits)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    data = [{"x": x, "y": y} for x, y in batches()]
    objective = StepObjective(net, optimizer, F.cross_entropy, data, data, steps=2)
    with pytest.raises(ValueError, match=r"needs pairs.*write loss_fn\(model, batch\)"):
        objective(optuna.trial.FixedTrial({"lr": 0.3}))
