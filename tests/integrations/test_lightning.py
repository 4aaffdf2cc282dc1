"""Lightning: its short trials are its trainings, and trainer and module come back as they were."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from typing import NamedTuple

import lightning.pytorch as pl
import optuna
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss import LRAnalysis
from optuna_lrss import TooFewPointsError
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._result.interrupted import interrupted
from optuna_lrss.integrations import _lightning
from optuna_lrss.integrations.lightning import LRStepFinder
from optuna_lrss.integrations.lightning import ManualOptimizationError
from optuna_lrss.integrations.lightning import apply
from optuna_lrss.integrations.lightning import find_lr
from tests.integrations.cases import TRAIN
from tests.integrations.cases import VALIDATION
from tests.integrations.cases import digits
from tests.integrations.cases import held
from tests.integrations.cases import network
from tests.integrations.cases import random_states
from tests.integrations.cases import weights


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*have no .val_dataloader"),
    pytest.mark.filterwarnings("ignore:.*configure_optimizers. returned .None"),
    pytest.mark.filterwarnings("ignore:.*dataloader_iter"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start of training"),
    pytest.mark.filterwarnings("ignore:.*LightningCLI|.*litlogger|.*upgrade"),
]


class Classifier(pl.LightningModule):
    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.network = network()

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log_dict({"val_loss": self.loss(batch)})

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class Data(NamedTuple):
    train: DataLoader[Any]
    validation: DataLoader[Any]


def loaders(size: int = 32, *, shuffle: bool = False) -> Data:
    pixels, labels = digits()
    train = TensorDataset(pixels[TRAIN], labels[TRAIN])
    validation = TensorDataset(pixels[VALIDATION], labels[VALIDATION])
    return Data(DataLoader(train, size, shuffle=shuffle), DataLoader(validation, 597))


MakeTrainer = Callable[..., pl.Trainer]


@pytest.fixture
def make(tmp_path: Path) -> MakeTrainer:
    def trainer(**options: Any) -> pl.Trainer:
        quiet = {
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "logger": False,
            "num_sanity_val_steps": 0,
        }
        here = {"accelerator": "cpu", "default_root_dir": tmp_path, "max_steps": 20}
        return pl.Trainer(**{**quiet, **here, **options})

    return trainer


QUICK = {"progress": False, "tolerance": 0.5, "steps": 10, "validation_batches": None}


def quick(trainer: pl.Trainer, module: Any, *data: Any, **options: Any) -> LRAnalysis:
    return find_lr(trainer, module, *data, **{**QUICK, **options})


def one_trial(trainer: pl.Trainer, module: Any, *data: Any, lr: float, **options: Any) -> float:
    """The loss of a short trial, without the rest of the search."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="one")
    study.enqueue_trial({"lr": lr})
    one = {"n_trials": 1, "storage": storage, "study_name": "one", "steps": 20}
    with pytest.raises(TooFewPointsError):
        quick(trainer, module, *data, **one, **options)
    return optuna.load_study(storage=storage, study_name="one").trials[0].value


def test_a_sample_is_made_of_rows_of_all_batches(make: MakeTrainer) -> None:
    result = quick(make(), Classifier(), *loaders(), validation_batches="auto", n_trials=8)
    assert result.validated is not None
    assert result.validated.samples in (64, 128, 256, 512)  # in whole batches at least 8 of them
    assert result.validated.of == 597


# --- A short trial is a training -----------------------------------------------------------------


class AsDict(Classifier):
    def training_step(self, batch: Any) -> Any:
        return {"loss": self.loss(batch), "extra": 1}


class OwnClipping(Classifier):
    def configure_gradient_clipping(self, optimizer: Any, **_: Any) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.02, gradient_clip_algorithm="value")


class Picture(NamedTuple):
    """A batch that the default transfer does not know how to change."""

    pixels: Tensor
    labels: Tensor


class Hooked(Classifier):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * 2, batch[1]]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return Picture(batch[0].to(device), batch[1].to(device))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert isinstance(batch, Picture)
        return batch._replace(pixels=-batch.pixels) if self.trainer.training else batch


class TenTimesLower(Classifier):
    def configure_optimizers(self) -> Any:
        groups = [
            {"params": self.network[0].parameters(), "lr": self.lr / 10},
            {"params": self.network[2].parameters()},
        ]
        return torch.optim.AdamW(groups, lr=self.lr)


class Batched(Classifier):
    """Normalises over batches: the model has a mode and buffers."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__(lr)
        self.network.insert(1, nn.BatchNorm1d(32))


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Classifier, {}),
        (Classifier, {"accumulate_grad_batches": 3}),
        (Classifier, {"gradient_clip_val": 0.05}),
        (Classifier, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
        (Classifier, {"precision": "bf16-mixed"}),
        (Classifier, {"precision": "64-true"}),
        (Classifier, {"limit_train_batches": 7}),
        (OwnClipping, {}),
        (AsDict, {}),
        (Hooked, {}),
        (TenTimesLower, {}),
        (Batched, {}),
    ],
)
def test_a_short_trial_is_a_training_at_a_constant_learning_rate(
    make: MakeTrainer, cls: type[Classifier], options: dict[str, Any]
) -> None:
    lr, data = 0.02, loaders(16)
    trial = one_trial(make(**options), cls(), *data, lr=lr)
    module, trainer = cls(lr), make(**options)
    untrained = trainer.validate(module, data.validation, verbose=False)[0]["val_loss"]
    trainer.fit(module, *data)
    # Statistics are measured on the trial's batches; without normalisation this does nothing.
    update_bn([x for x, _ in islice(data.train, 20)], module.network)
    trained = trainer.validate(module, data.validation, verbose=False)[0]["val_loss"]
    assert trainer.global_step == 20
    assert trial == pytest.approx(trained, rel=1e-3 if "precision" in options else 1e-6)
    assert trial != pytest.approx(untrained, rel=1e-3)


def test_the_validation_loss_may_be_a_value_that_is_logged(make: MakeTrainer) -> None:
    class Unlike(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("half", self.loss(batch).item() / 2)
            self.log("word", "blue")  # type: ignore[arg-type]

    data = loaders()
    whole = one_trial(make(), Unlike(), *data, lr=0.02)
    half = one_trial(make(), Unlike(), *data, lr=0.02, monitor="half")
    assert half == pytest.approx(whole / 2, rel=1e-6)
    two = [data.validation, data.validation]
    assert one_trial(make(), Unlike(), data.train, two, lr=0.02, monitor="half") == half
    for name in ("word", "absent"):
        with pytest.raises(ValueError, match=rf"monitor='{name}': .* \['half', 'word'\]"):
            quick(make(), Unlike(), *data, monitor=name)


def test_validation_data_is_limited_as_the_trainer_limits_it(make: MakeTrainer) -> None:
    train, _ = loaders()
    pixels, labels = digits()
    ten = DataLoader(TensorDataset(pixels[:500], labels[:500]), 50)
    first = DataLoader(TensorDataset(pixels[:100], labels[:100]), 50)
    expected = one_trial(make(), Classifier(), train, first, lr=0.02)
    for limit in (2, 0.2):
        trainer = make(limit_val_batches=limit)
        assert one_trial(trainer, Classifier(), train, ten, lr=0.02) == expected


# --- Everything comes back as it was, and the training is that without a search ------------------


def _belongs(value: object) -> bool:
    return any(c.__module__.partition(".")[0] == "lightning" for c in type(value).__mro__)


class DigitsModule(pl.LightningDataModule):
    """Its hooks count; the split is drawn anew in setup."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare_data")

    def setup(self, stage: str) -> None:
        self.calls.append("setup " + stage)
        pixels, labels = digits()
        order = torch.randperm(len(labels))
        self.parts = [TensorDataset(pixels[i], labels[i]) for i in (order[:1200], order[1200:])]

    def train_dataloader(self) -> Any:
        return DataLoader(self.parts[0], 32, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.parts[1], 597)

    def teardown(self, stage: str) -> None:
        self.calls.append("teardown " + stage)


class Adding(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.seen.append("setup")

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append("on_fit_start")


def test_nothing_of_it_is_left(make: MakeTrainer, tmp_path: Path) -> None:
    class Bringing(Classifier):
        def configure_callbacks(self) -> Any:
            return [Adding()]

    module = Bringing().eval()
    module.network[0].bias.requires_grad_(False)
    module.network[2].bias.grad = torch.ones(10)
    trainer = make(
        callbacks=[Adding()],
        logger=CSVLogger(tmp_path / "logs"),
        enable_checkpointing=True,
        precision="bf16-true",
    )
    data = DigitsModule()
    torch.manual_seed(11)
    objects = (trainer, module, data)
    before, states = [held(o, _belongs) for o in objects], random_states()
    quick(trainer, module, datamodule=data, steps=5)
    assert random_states() == states
    assert [held(o, _belongs) for o in objects] == before
    assert module.network[0].weight.dtype == torch.float32
    assert len(before[0]) > 300
    assert not any(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_a_search_that_fails(
    make: MakeTrainer, error: type[BaseException], tmp_path: Path
) -> None:
    class Failing(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 4 and self.training:
                raise error
            return super().training_step(batch, batch_idx)

    trainer, module = make(callbacks=[Adding()]), Failing()
    before, states = [held(o, _belongs) for o in (trainer, module)], random_states()
    with pytest.raises(error):
        quick(trainer, module, *loaders())
    assert [held(o, _belongs) for o in (trainer, module)] == before
    assert random_states() == states
    assert not any(tmp_path.rglob("*"))


class Scheduled(Classifier):
    form = "plain"

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        match self.form:
            case "list":
                return [optimizer]
            case "lists":
                return [optimizer], [cosine]
            case "dict":
                return {"optimizer": optimizer, "lr_scheduler": cosine}
            case "one-cycle":
                total = self.trainer.estimated_stepping_batches
                cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, int(total))
                every = {"scheduler": cycle, "interval": "step"}
                return {"optimizer": optimizer, "lr_scheduler": every}
            case "warm-up":
                start = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5)
                both = torch.optim.lr_scheduler.SequentialLR(optimizer, [start, cosine], [5])
                return [optimizer], [{"scheduler": both, "interval": "step"}]
            case "plateau":
                plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
                own = {"scheduler": plateau, "monitor": "val_loss"}
                return {"optimizer": optimizer, "lr_scheduler": own}
        return optimizer


FORMS = ["plain", "list", "lists", "dict", "one-cycle", "warm-up", "plateau"]


@pytest.mark.parametrize("form", FORMS)
def test_the_training_afterwards_is_that_without_a_search(make: MakeTrainer, form: str) -> None:
    def module(lr: float = 1e-3) -> Scheduled:
        made = Scheduled(lr)
        made.form = form
        return made

    found, called = module(), module()
    torch.manual_seed(1)
    result = quick(make(), found, *loaders(shuffle=True), apply=True)
    assert found.lr in _for_a_schedule(result)
    finder = LRStepFinder(**QUICK)
    new = module(found.lr)
    for model, callbacks in ((found, []), (called, [finder]), (new, [])):
        torch.manual_seed(1)
        make(callbacks=callbacks, gradient_clip_val=1.0).fit(model, *loaders(shuffle=True))
    assert weights(found) == weights(new)
    assert finder.result is not None
    assert called.lr == finder.lr
    assert finder.lr in _for_a_schedule(finder.result)
    expected = module(finder.lr)
    torch.manual_seed(1)
    make(gradient_clip_val=1.0).fit(expected, *loaders(shuffle=True))
    assert weights(called) == weights(expected)


def _for_a_schedule(result: LRAnalysis) -> tuple[float, float]:
    return result.recommended, getattr(result, "peak", result.recommended)


def test_ctrl_c_in_the_search_of_a_callback_ends_the_run(
    make: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = interrupted(quick(make(), Scheduled(), *loaders()))
    monkeypatch.setattr(_lightning, "_find_lr", lambda *args, **options: stopped)
    assert find_lr(make(), Scheduled(), *loaders(), progress=False) is stopped
    trainer = make(callbacks=[LRStepFinder(**QUICK)])
    with pytest.raises((KeyboardInterrupt, SystemExit)):  # what Lightning makes of Ctrl-C
        trainer.fit(Scheduled(), *loaders())
    assert trainer.global_step == 0


def test_schedules_do_not_change_what_is_found(make: MakeTrainer) -> None:
    found = set()
    for form in ("plain", "one-cycle", "warm-up"):
        module = Scheduled()
        module.form = form
        found.add(quick(make(), module, *loaders(), steps=5).trials)
    assert len(found) == 2, "only the betas that one-cycle sets differ"


def test_a_data_module_is_set_up_for_the_search_and_again_for_the_training(
    make: MakeTrainer,
) -> None:
    data, module = DigitsModule(), Classifier()
    torch.manual_seed(5)
    result = quick(make(), module, data, apply=True)
    assert data.calls == []
    make().fit(module, datamodule=data)
    assert data.calls == ["prepare_data", "setup fit", "teardown fit"]
    new = Classifier(result.recommended)
    torch.manual_seed(5)
    make().fit(new, datamodule=DigitsModule())
    assert weights(module) == weights(new)


def test_it_finds_the_same_again_and_goes_on_with_a_study(make: MakeTrainer, tmp_path) -> None:
    trainer, module, data = make(), Classifier(), loaders(shuffle=True)
    stored = {"storage": f"sqlite:///{tmp_path}/s.db", "study_name": "digits"}
    first = quick(trainer, module, *data)
    assert quick(trainer, module, *data).trials == first.trials
    assert quick(trainer, module, *data, n_trials=5, **stored).n_trials == 5
    assert quick(trainer, module, *data, **stored).trials == first.trials
    assert quick(trainer, module, *data, seed=1).trials != first.trials


# --- The module's learning rate ------------------------------------------------------------------


class InHparams(Classifier):
    def __init__(self, learning_rate: float = 1e-3, **rest: Any) -> None:
        super().__init__()
        del self.lr
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)


class Named(Classifier):
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.speed)


def test_the_learning_rate_is_set_where_the_module_keeps_it(make: MakeTrainer) -> None:
    module: Any = InHparams()
    result = quick(make(), module, *loaders(), apply=True)
    assert module.hparams.learning_rate == result.recommended
    module = Named()
    module.speed = 0.5
    again = quick(make(), module, *loaders(), apply=True, attr_name="speed")
    assert module.speed == again.recommended == result.recommended
    apply(module, 0.25, attr_name="speed")
    assert module.speed == 0.25
    with pytest.raises(ValueError, match=r"lr=0.0 must be a number above 0"):
        apply(module, 0.0)


def test_a_learning_rate_that_cannot_be_set_says_what_to_do(make: MakeTrainer) -> None:
    class Fixed(Classifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    class Without(Fixed):
        def __init__(self) -> None:
            super().__init__()
            del self.lr

    data = loaders()
    for cls, options, message in [
        (Without, {"apply": True}, "neither the module nor its hparams has 'lr' or 'learning_"),
        (Classifier, {"attr_name": "speed"}, "has 'speed'.*attr_name="),
        (Fixed, {"apply": True}, "the module's lr is without effect on the optimizer"),
        (lambda: Classifier(0.0), {"apply": True}, "lr=0.0 must be a number above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            quick(make(), cls(), *data, **options)
    assert quick(make(), Without(), *data).trials == quick(make(), Fixed(), *data).trials


def test_groups_that_do_not_follow_the_learning_rate_are_named(make: MakeTrainer) -> None:
    class Half(TenTimesLower):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            optimizer.param_groups[1]["lr"] = 1e-3
            return optimizer

    with pytest.warns(UserWarning, match=r"param groups \[1\] of configure_optimizers do not"):
        quick(make(), Half(), *loaders(), n_trials=8)


# --- What cannot be searched ---------------------------------------------------------------------


def test_manual_optimization_is_refused_with_what_to_do(make: MakeTrainer) -> None:
    class Manual(Classifier):
        automatic_optimization = False

    class Gan(Classifier):
        def configure_optimizers(self) -> Any:
            parts = self.network[0], self.network[2]
            return [torch.optim.Adam(part.parameters()) for part in parts], []

    for cls, what in ((Manual, "optimizes by itself"), (Gan, "has several optimizers")):
        with pytest.raises(ManualOptimizationError, match=f"{what}.*one learning rate at a time"):
            quick(make(), cls(), *loaders())


def test_missing_data_and_steps_that_cannot_be_repeated_are_refused(make: MakeTrainer) -> None:
    class Drawing(Classifier):
        def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
            return self.loss(next(dataloader_iter)[0])

    class Silent(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    class Idle(Classifier):
        def configure_optimizers(self) -> Any:
            return None

    train, validation = loaders()
    with pytest.raises(ValueError, match="takes a dataloader_iter"):
        quick(make(), Drawing(), train, validation)
    with pytest.raises(ValueError, match="training_step returned NoneType without a loss"):
        quick(make(), Silent(), train, validation)
    with pytest.raises(ValueError, match="clip_norm=1 is no option here"):
        find_lr(make(), Classifier(), train, validation, clip_norm=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="configure_optimizers gives no optimizer"):
        quick(make(), Idle(), train, validation)


def test_a_dry_run_is_left_alone(make: MakeTrainer) -> None:
    module, data = Classifier(), loaders()
    with pytest.raises(ValueError, match="fast_dev_run"):
        quick(make(fast_dev_run=True), module, *data)
    finder = LRStepFinder()
    with pytest.warns(UserWarning, match="leaves a run with fast_dev_run alone"):
        make(fast_dev_run=True, callbacks=[finder]).fit(module, *data)
    assert finder.result is None
    assert module.lr == 1e-3


def test_a_run_from_a_checkpoint_keeps_its_learning_rate(make: MakeTrainer, tmp_path) -> None:
    module, data, trainer = Classifier(0.01), loaders(150), make(max_steps=8)
    trainer.fit(module, *data)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt")
    finder = LRStepFinder()
    make(callbacks=[finder]).fit(module, *data, ckpt_path=tmp_path / "epoch.ckpt")
    assert finder.result is None
    assert module.lr == 0.01


# --- Without validation data ---------------------------------------------------------------------


class Noting(Classifier):
    """Notes the rows that its training steps see, by whether they are trained on."""

    def __init__(self) -> None:
        super().__init__()
        notes.clear()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        rows = (x.numpy().tobytes() for x in batch[0])
        notes.setdefault((self.training, self.trainer.training), set()).update(rows)
        return self.loss(batch)


notes: dict[tuple[bool, bool], set[bytes]] = {}


@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 0}])
def test_without_validation_data_batches_are_held_out_of_training(
    make: MakeTrainer, options: dict[str, Any]
) -> None:
    data = loaders(shuffle=True)
    result = quick(make(**options), Noting(), *(data if options else data[:1]))
    assert result.held_out == 8
    assert set(notes) == {(True, True), (False, False)}
    assert len(notes[False, False]) > 200
    assert not notes[True, True] & notes[False, False]


def test_the_monitored_value_of_held_out_batches(make: MakeTrainer) -> None:
    train, _ = loaders()
    monitored = one_trial(make(), Classifier(), train, lr=0.02, monitor="val_loss")
    assert monitored == pytest.approx(one_trial(make(), Classifier(), train, lr=0.02))


# --- The schedule and the length of the training -------------------------------------------------


def _half(step: int) -> float:
    return 1.0 if step < 10 else 0.1


BY_EPOCH = {"interval": "epoch"}


def _up_and_down(o: Any) -> Any:
    return lr_scheduler.CyclicLR(o, 1e-5, o.defaults["lr"], 5, cycle_momentum=False)


def _warm_up_and_cosine(o: Any) -> Any:
    parts = [lr_scheduler.LinearLR(o, 0.01, total_iters=5), lr_scheduler.CosineAnnealingLR(o, 15)]
    return lr_scheduler.SequentialLR(o, parts, [5])


@pytest.mark.parametrize(
    ("scheduler", "kind"),
    [
        (None, "constant"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 20), "decaying"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10), "decaying"),
        (lambda o: lr_scheduler.OneCycleLR(o, o.defaults["lr"], total_steps=20), "decaying"),
        (lambda o: lr_scheduler.PolynomialLR(o, total_iters=20), "decaying"),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.8), "decaying"),
        (lambda o: lr_scheduler.StepLR(o, 5), "decaying"),
        (lambda o: lr_scheduler.MultiStepLR(o, [5, 15]), "decaying"),
        (lambda o: lr_scheduler.MultiStepLR(o, [16]), "held"),
        (_warm_up_and_cosine, "decaying"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 - step / 20), "decaying"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1, (20 - step) / 4)), "held"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1, step / 5)), "constant"),
        (lambda o: lr_scheduler.LambdaLR(o, _half), "decaying"),
        (lambda o: {"scheduler": lr_scheduler.LambdaLR(o, _half), **BY_EPOCH}, "constant"),
        (lambda o: {"scheduler": lr_scheduler.StepLR(o, 1, 0.5), "frequency": 18}, "unknown"),
        (lambda o: lr_scheduler.LinearLR(o, total_iters=5), "constant"),
        (lambda o: lr_scheduler.ConstantLR(o, total_iters=5), "constant"),
        (_up_and_down, "unknown"),
        (
            lambda o: {"scheduler": lr_scheduler.ReduceLROnPlateau(o), "monitor": "val_loss"},
            "unknown",
        ),
    ],
)
def test_the_schedule_says_which_learning_rate_is_given(
    make: MakeTrainer, scheduler: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scheduled(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            if scheduler is None:
                return optimizer
            made = scheduler(optimizer)
            made = made if isinstance(made, dict) else {"scheduler": made}
            return {"optimizer": optimizer, "lr_scheduler": {"interval": "step", **made}}

    found, module = _known_search(monkeypatch), Scheduled()
    find_lr(make(), module, *loaders(), apply=True)
    held = peak_lr(found.recommended, held=True)
    assert module.lr == {"decaying": found.peak, "held": held}.get(kind, found.recommended)


@pytest.mark.parametrize(("epochs", "decays"), [(6, True), (-1, False)])
def test_a_scheduler_of_epochs_counts_the_steps_of_an_epoch(
    make: MakeTrainer, epochs: int, *, decays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ByEpoch(Classifier):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            return [optimizer], [lr_scheduler.CosineAnnealingLR(optimizer, 6)]

    found, module = _known_search(monkeypatch), ByEpoch()
    trainer = make(max_steps=-1, max_epochs=epochs, accumulate_grad_batches=3)
    find_lr(trainer, module, *loaders(), apply=True)
    assert module.lr == (found.peak if decays else found.recommended)


def test_the_search_is_told_the_optimizer_steps_of_the_whole_training(
    make: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _known_search(monkeypatch)
    find_lr(make(max_steps=37), Classifier(), *loaders())
    epochs = make(max_steps=-1, max_epochs=3, accumulate_grad_batches=2)
    find_lr(epochs, Classifier(), *loaders())
    endless = make(max_steps=-1, max_epochs=-1)
    find_lr(endless, Classifier(), *loaders())
    assert found.told == [37, 3 * 19, None]  # 1200 rows in batches of 32, two a step


def _known_search(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the search by one that finds two known rates; notes the training's length."""
    found = SimpleNamespace(recommended=0.0125, peak=0.03, told=[])

    def search(*_: Any, **options: Any) -> Any:
        found.told.append(options.get("total_steps"))
        return found

    monkeypatch.setattr("optuna_lrss.integrations._lightning._find_lr", search)
    return found


def test_a_result_is_applied_to_a_module(make: MakeTrainer) -> None:
    module = Classifier()
    result = quick(make(), module, *loaders())
    result.apply(module)
    assert module.lr == result.recommended
    result.apply(module, "max_lr")
    assert module.lr == result.max_lr
