"""Cases that the test suites of pytorch-lr-finder and Lightning hold and ours did not.

The table of all their cases, and of ours for each, is docs/rivals.md.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch_cases import MODELS
from torch_cases import OPTIMIZERS
from torch_cases import make_batches
from torch_cases import make_data
from torch_cases import make_loaders
from torch_cases import make_pieces
from torch_cases import mlp

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import NoWindowError
from optuna_lrss import TooFewPointsError
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import StepPieces
from optuna_lrss.torch import find_lr


lightning = pytest.importorskip("lightning")

QUICK: dict[str, Any] = {"steps": 5, "n_trials": 8}


# --- pytorch-lr-finder ---------------------------------------------------------------------------

WORDS = {"up": 1.0, "down": -1.0, "left": 0.5, "right": -0.5}


class Tagger(nn.Module):
    """Tags words, which it is given as strings."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(1, 2)

    def forward(self, words: list[str]) -> Tensor:
        return self.out(torch.tensor([[WORDS[w]] for w in words]))  # type: ignore[no-any-return]


def test_batches_may_hold_no_tensor() -> None:
    """Lists of strings and of ints, which the loss makes tensors of."""
    words = list(WORDS)
    train = [(words[i:] + words[:i], [int(WORDS[w] > 0) for w in words[i:] + words[:i]])
             for i in range(4)]  # fmt: skip
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), torch.tensor(batch[1]))

    with torch.no_grad():
        untrained = loss_fn(model, train[0]).item()
    result = find_lr(model, optimizer, loss_fn, train, train[:1])
    assert result.resolved
    assert result.baseline == pytest.approx(untrained, rel=1e-6)
    assert result.lowest < 0.5 * untrained


def test_learning_rates_of_all_groups_come_back() -> None:
    model = mlp()
    rates = [1e-4, 3e-3]
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": rates[0]}, {"params": model[2].parameters()}],
        lr=rates[1],
    )
    find_lr(model, optimizer, F.cross_entropy, *make_loaders(), **QUICK)
    assert [group["lr"] for group in optimizer.param_groups] == rates


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_learning_rates_are_set_and_within_the_range(name: str) -> None:
    seen: list[float] = []
    pieces = make_pieces(mlp, {"sgd": OPTIMIZERS["sgd"], "adam": OPTIMIZERS["adamw"]}[name])

    def note(*_: Any) -> None:
        seen.append(pieces.optimizer.param_groups[0]["lr"])

    pieces.optimizer.register_step_pre_hook(note)
    result = find_lr(*pieces, steps=5, low=1e-4, high=0.1)
    # The looks for what a trial leaves behind, beside the first one, take fewer steps.
    tried = {lr for lr in seen if seen.count(lr) >= 5}
    assert tried == set(result.curve.lr)
    assert len(tried) == result.n_trials
    assert min(seen) >= 1e-4
    assert max(seen) <= 0.1


@pytest.mark.parametrize("lowest", [0, -1])
def test_a_lowest_loss_at_an_end_is_taken_and_doubted(lowest: int) -> None:
    losses = [2.4, 2.3, 2.1, 1.6, 1.2, 1.0]
    result = _analysis_of(losses if lowest else losses[::-1])
    assert result.max_lr == pytest.approx(result.curve.lr[lowest])
    end = "top" if lowest else "bottom"
    assert f"minimum-at-{end}" in {d.code for d in result.diagnostics}


def _analysis_of(losses: list[float]) -> LRAnalysis:
    """Of losses at half-decades from 1e-4 on; nan for a trial that failed."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", 2.4)
    study.set_user_attr("lrss:steps", 20)
    for i, loss in enumerate(losses):
        trial = optuna.create_trial(
            params={"lr": 10.0 ** (-4 + i / 2)},
            distributions={"lr": optuna.distributions.FloatDistribution(1e-7, 10.0, log=True)},
            value=None if math.isnan(loss) else loss,
            state=TrialState.FAIL if math.isnan(loss) else TrialState.COMPLETE,
        )
        study.add_trial(trial)
    return analyze(study)


# --- Lightning: the finder -----------------------------------------------------------------------

CURVE = [2.4, 2.39, 2.2, 1.4, 1.0, 0.9, 1.5, math.inf]


def test_failed_trials_move_no_pick() -> None:
    assert _analysis_of([*CURVE, math.nan]).picks == _analysis_of(CURVE).picks


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [math.nan, math.nan],
        [math.inf, math.inf, math.inf],
        [2.4, 2.0],
        [math.nan, 2.4, math.inf, 2.0, math.nan],
    ],
)
def test_too_few_finite_losses_are_a_named_error(losses: list[float]) -> None:
    with pytest.raises(NoWindowError):
        _analysis_of(losses)


def test_three_finite_losses_between_others_are_enough() -> None:
    result = _analysis_of([math.nan, 2.4, 1.5, math.nan, 1.0, math.inf, math.nan])
    assert math.isfinite(result.recommended)


def test_without_a_pick_the_optimizer_keeps_its_learning_rate() -> None:
    pieces = make_pieces(mlp, OPTIMIZERS["sgd"])
    before = pieces.optimizer.param_groups[0]["lr"]
    with pytest.raises(TooFewPointsError):
        find_lr(*pieces, steps=5, n_trials=1)
    assert pieces.optimizer.param_groups[0]["lr"] == before


def test_several_optimizers_of_the_same_parameters_are_refused() -> None:
    pieces = make_pieces(mlp, OPTIMIZERS["sgd"])
    with pytest.raises(ValueError, match="in two of the 2 optimizers"):
        find_lr(*pieces._replace(optimizer=[pieces.optimizer] * 2))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.Adagrad])
def test_the_search_again_gives_the_same(optimizer: Any) -> None:
    """Also where the pick has been put into the optimizer in between."""
    torch.manual_seed(0)
    model = MODELS["cnn"]()
    made = optimizer(model.parameters(), lr=1e-2)
    loaders = make_loaders()
    results = []
    for _ in range(3):
        results.append(find_lr(model, made, F.cross_entropy, *loaders, **QUICK))
        made.param_groups[0]["lr"] = results[-1].recommended
    assert len({result.to_json() for result in results}) == 1


class Failing:
    """A loss that raises from its nth call on."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        self.left -= 1
        if self.left <= 0:
            raise RuntimeError("no more")
        return F.cross_entropy(output, target)


@pytest.mark.parametrize("n", [1, 30])
def test_no_file_is_written_whatever_happens(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    find_lr(*make_pieces(), **QUICK)
    with pytest.raises(RuntimeError, match="no more"):
        find_lr(*make_pieces()._replace(loss_fn=Failing(n)), **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_backbone_stays_frozen_and_can_be_trained_later() -> None:
    torch.manual_seed(0)
    model = mlp()
    backbone, head = model[0], model[2]
    backbone.requires_grad_(False)
    weight = backbone.weight.clone()
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    result = find_lr(model, optimizer, F.cross_entropy, *make_loaders())
    assert math.isfinite(result.recommended)
    assert torch.equal(backbone.weight, weight)
    assert not backbone.weight.requires_grad
    assert head.weight.requires_grad
    optimizer.add_param_group({"params": backbone.requires_grad_(True).parameters()})
    for x, y in make_batches(1):
        F.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert not torch.equal(backbone.weight, weight)


# --- Lightning: modules --------------------------------------------------------------------------


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """Logs, and needs its trainer for a schedule, as many do."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = mlp()

    def training_step(self, batch: Any, _: int = 0) -> Tensor:
        loss = F.cross_entropy(self.network(batch[0]), batch[1])
        self.log("loss", loss)
        self.log_dict({"again": loss}, prog_bar=True)
        return loss

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer()
        total = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=int(total))
        return [optimizer], [schedule]


class Data(lightning.LightningDataModule):  # type: ignore[misc, name-defined]
    def setup(self, stage: str) -> None:
        self.train, self.validation = make_data(160, 1), make_data(48, 2)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.validation, batch_size=16)


def _training_loss(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model.training_step(batch)
    return loss


@pytest.fixture
def pieces() -> Iterator[StepPieces]:
    """Of a module that logs; without a Trainer Lightning warns that nothing is logged."""
    torch.manual_seed(0)
    module, data = Module(), Data()
    data.setup("fit")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are trying to `self.log")
        yield StepPieces(
            module,
            module.make_optimizer(),
            _training_loss,
            data.train_dataloader(),
            data.val_dataloader(),
        )


def test_a_lightning_module_may_log(pieces: StepPieces) -> None:
    """And is searched as the network in it is."""
    result = find_lr(*pieces, **QUICK)
    network = pieces.model.network
    plain = pieces._replace(
        model=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3),
        loss_fn=F.cross_entropy,
    )
    assert result.picks == find_lr(*plain, **QUICK).picks


def test_the_pick_reaches_the_optimizer_through_the_module(pieces: StepPieces) -> None:
    module: Any = pieces.model
    module.hparams.lr = find_lr(*pieces, **QUICK).recommended
    assert module.make_optimizer().param_groups[0]["lr"] == module.hparams.lr != 1e-3


def test_what_needs_a_trainer_says_so(pieces: StepPieces) -> None:
    """As the Lightning guide does."""
    with pytest.raises(RuntimeError, match="not attached to a `Trainer`"):
        pieces.model.configure_optimizers()


def test_a_step_that_is_left_out_is_refused(pieces: StepPieces) -> None:
    """Lightning skips a batch whose training_step returns None; here that would be no step."""
    with pytest.raises(ValueError, match="None"):
        find_lr(*pieces._replace(loss_fn=lambda model, batch: None))


def test_a_search_in_the_middle_of_a_training_starts_there() -> None:
    """Lightning's callback searches again at later epochs."""
    made = make_pieces(mlp, OPTIMIZERS["sgd"])
    study = optuna.create_study(sampler=LRStepSampler())
    study.optimize(StepObjective(*made, steps=5), n_trials=4)
    for x, y in make_batches(20):
        made.optimizer.zero_grad()
        F.cross_entropy(made.model(x), y).backward()
        made.optimizer.step()
    later = optuna.create_study(sampler=LRStepSampler())
    later.optimize(StepObjective(*made, steps=5), n_trials=4)
    assert later.user_attrs["lrss:baseline"] < study.user_attrs["lrss:baseline"]
