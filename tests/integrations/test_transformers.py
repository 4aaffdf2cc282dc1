"""The Hugging Face Trainer: its short trials are its trainings, and it comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor
from torch import nn
from transformers import BertConfig
from transformers import BertForSequenceClassification
from transformers import Trainer
from transformers import TrainerCallback
from transformers import TrainingArguments

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import TooFewPointsError
from optuna_lrss import analyze
from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._result.interrupted import interrupted
from optuna_lrss.integrations import transformers as transformers_integration
from optuna_lrss.integrations.transformers import LRFinderCallback
from optuna_lrss.integrations.transformers import apply
from optuna_lrss.integrations.transformers import find_lr
from optuna_lrss.integrations.transformers import rate_for
from tests.integrations.cases import TRAIN
from tests.integrations.cases import VALIDATION
from tests.integrations.cases import digits
from tests.integrations.cases import held
from tests.integrations.cases import network
from tests.integrations.cases import random_states
from tests.integrations.cases import weights


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.network(pixels)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Counting(Classifier):
    """Divides by the number of labels in the whole step, as transformers' models do."""

    def forward(  # type: ignore[override]
        self, pixels: Tensor, labels: Tensor, num_items_in_batch: Any = None, **_: Any
    ) -> dict[str, Tensor]:
        logits = self.network(pixels)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        return {"loss": loss / (num_items_in_batch or len(labels)), "logits": logits}


def bert() -> BertForSequenceClassification:
    """A digit is a text of 64 pixels in 17 shades."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=17,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=10,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def rows(part: slice) -> list[dict[str, Tensor]]:
    pixels, labels = digits()
    return [{"pixels": x, "labels": y} for x, y in zip(pixels[part], labels[part], strict=True)]


def texts(part: slice) -> list[dict[str, Tensor]]:
    return [
        {"input_ids": (16 * row["pixels"]).long(), "labels": row["labels"]} for row in rows(part)
    ]


Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def trainer(
        model: Any = None, cls: type[Trainer] = Trainer, given: dict[str, Any] | None = None, **own
    ) -> Trainer:
        arguments = {
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 597,
            "max_steps": 20,
            "data_seed": 3,
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **own,
        }
        some = texts if isinstance(model, BertForSequenceClassification) else rows
        data = {"train_dataset": some(TRAIN), "eval_dataset": some(VALIDATION)}
        given = {**data, **(given or {})}
        if "model_init" not in given:
            given["model"] = Classifier() if model is None else model
        return cls(args=TrainingArguments(str(tmp_path), **arguments), **given)

    return trainer


QUICK = {"progress": False, "tolerance": 0.5, "steps": 10, "validation_batches": None}


def quick(trainer: Trainer, **options: Any) -> LRAnalysis:
    return find_lr(trainer, **{**QUICK, **options})


def one_trial(trainer: Trainer, lr: float) -> float:
    """The loss of a short trial, without the rest of the search."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="one")
    study.enqueue_trial({"learning_rate": lr})
    with pytest.raises(TooFewPointsError):
        quick(trainer, n_trials=1, storage=storage, study_name="one", steps=20)
    return optuna.load_study(storage=storage, study_name="one").trials[0].value


def test_a_sample_is_made_of_rows_of_all_batches(make: Make) -> None:
    result = quick(make(), validation_batches="auto", n_trials=8)
    assert result.validated is not None
    assert result.validated.samples in (64, 128, 256, 512)
    assert result.validated.of == 597


class TenTimesLower(Trainer):
    """The first layer learns at a tenth, as in layer-wise decay."""

    def create_optimizer(self, model: Any = None) -> Any:
        first, last = self.model.network[0], self.model.network[2]
        lr = self.args.learning_rate
        groups = [{"params": first.parameters(), "lr": lr / 10}, {"params": last.parameters()}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr)
        return self.optimizer


class OwnLoss(Trainer):
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(inputs["pixels"])
        loss = nn.functional.multi_margin_loss(outputs["logits"], inputs.pop("labels"))
        return (loss, outputs) if return_outputs else loss


def summed(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    loss = nn.functional.cross_entropy(outputs["logits"], labels, reduction="sum")
    return loss / (len(labels) if num_items_in_batch is None else num_items_in_batch)


# --- A short trial is a training -----------------------------------------------------------------


THREE = {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 16}


@pytest.mark.parametrize(
    "configured",
    [
        {},
        {"max_grad_norm": 0.05},
        {"max_grad_norm": 0.0},
        THREE,
        {**THREE, "model": Counting},
        {**THREE, "given": {"compute_loss_func": summed}},
        {**THREE, "model": bert},
        {"model": bert, "label_smoothing_factor": 0.2},
        {"bf16": True},
        {"cls": OwnLoss},
        {"cls": TenTimesLower},
        {"optim": "adafactor"},
        {"per_device_train_batch_size": 100, "dataloader_drop_last": True},  # two epochs
    ],
    ids=lambda configured: ",".join(configured) or "plain",
)
def test_a_short_trial_is_a_training_at_a_constant_learning_rate(
    make: Make, configured: dict[str, Any]
) -> None:
    options = dict(configured)
    build = options.pop("model", Classifier)
    lr = 0.02

    def trainer(**more: Any) -> Trainer:
        return make(build(), **options, **more)

    trial = one_trial(trainer(), lr)
    real = trainer(lr_scheduler_type="constant", learning_rate=lr)
    untrained = real.evaluate()["eval_loss"]
    real.train()
    trained = real.evaluate()["eval_loss"]
    assert trial == pytest.approx(trained, rel=1e-3 if "bf16" in options else 1e-6)
    assert trial != pytest.approx(untrained, rel=1e-3)


def test_neftune_trains_with_noise_and_the_hook_is_gone_afterwards(make: Make) -> None:
    with_noise = make(bert(), neftune_noise_alpha=5.0)
    assert one_trial(with_noise, 1e-3) != one_trial(make(bert()), 1e-3)
    assert not with_noise.model.get_input_embeddings()._forward_hooks


def test_several_evaluation_sets_count_together(make: Make) -> None:
    pixels = rows(VALIDATION)
    parts = {"first": pixels[:100], "rest": pixels[100:]}
    apart = one_trial(make(given={"eval_dataset": parts}), 0.02)
    assert apart == pytest.approx(one_trial(make(), 0.02), rel=1e-6)


# --- The trainer comes back as it was, and trains on as a new one --------------------------------


def _belongs(value: object) -> bool:
    own = type(value).__module__.partition(".")[0] in ("transformers", "accelerate")
    return own or isinstance(value, (TrainerCallback, torch.optim.Optimizer))


class Nosy(TrainerCallback):
    """Counts what it sees: a search is not a training."""

    def __init__(self) -> None:
        self.begun = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begun += 1


@pytest.mark.parametrize("given", [False, True])
def test_nothing_of_it_is_left(make: Make, given: bool) -> None:
    model = Classifier().eval()
    model.network[0].bias.requires_grad_(False)
    model.network[2].bias.grad = torch.ones(10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.5)) if given else None
    trainer = make(model, given={"optimizers": (optimizer, None), "callbacks": [Nosy()]})
    torch.manual_seed(11)
    before, states = held(trainer, _belongs), random_states()
    quick(trainer)
    assert random_states() == states
    assert held(trainer, _belongs) == before
    assert len(before) > 300


def test_nothing_is_left_of_a_search_that_is_interrupted(make: Make) -> None:
    class Interrupted(Trainer):
        calls = 0

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            Interrupted.calls += 1
            if Interrupted.calls == 30:
                raise KeyboardInterrupt
            return super().compute_loss(*args, **kwargs)

    trainer = make(cls=Interrupted)
    before, states = held(trainer, _belongs), random_states()
    with pytest.raises(KeyboardInterrupt):
        quick(trainer)
    assert held(trainer, _belongs) == before
    assert random_states() == states


def cosine(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def passed(kind: str, lr: float) -> dict[str, Any]:
    """A Trainer's arguments with a learning rate in the place where this kind has it."""
    if kind == "model_init":
        return {"learning_rate": lr, "given": {"model_init": Classifier}}
    if kind == "class":
        return {"given": {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": lr})}}
    if kind in ("optimizer", "scheduler"):
        model = Classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        scheduler = cosine(optimizer) if kind == "scheduler" else None
        return {"model": model, "given": {"optimizers": (optimizer, scheduler)}}
    if kind == "warm-up":
        return {"learning_rate": lr, "warmup_steps": 4}
    if kind == "floor":
        own = {"min_lr": 1e-3}
        schedule = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": own}
        return {"learning_rate": lr, **schedule}
    if kind == "held":
        return {"learning_rate": lr, **_named("warmup_stable_decay", num_decay_steps=4)}
    return {"learning_rate": lr}


KINDS = ["linear", "warm-up", "floor", "held", "model_init", "class", "optimizer", "scheduler"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_afterwards_is_that_of_a_new_trainer(make: Make, kind: str) -> None:
    searched, called = make(**passed(kind, 0.1)), make(**passed(kind, 0.1))
    result = quick(searched, apply=True)
    callback = LRFinderCallback(called, **QUICK)
    called.add_callback(callback)
    new = make(**passed(kind, rate_for(searched, result)))
    for trainer in (searched, called, new):
        torch.manual_seed(1)
        trainer.train()
    assert callback.result is not None
    assert callback.result.trials == result.trials
    assert weights(searched.model) == weights(new.model)
    assert weights(called.model) == weights(new.model)
    # Not what it would have been without the search:
    other = make(**passed(kind, 0.1))
    torch.manual_seed(1)
    other.train()
    assert weights(other.model) != weights(new.model)


def test_ctrl_c_in_the_search_of_a_callback_ends_the_training(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = interrupted(quick(make()))
    monkeypatch.setattr(transformers_integration, "_find_lr", lambda *args, **options: stopped)
    assert find_lr(make(), progress=False) is stopped
    called = make()
    called.add_callback(LRFinderCallback(called, **QUICK))
    with pytest.raises(KeyboardInterrupt):
        called.train()
    assert called.state.global_step == 0


def test_a_search_that_is_not_applied_changes_no_training(make: Make) -> None:
    searched, plain = make(learning_rate=0.01), make(learning_rate=0.01)
    quick(searched)
    for trainer in (searched, plain):
        torch.manual_seed(1)
        trainer.train()
    assert weights(searched.model) == weights(plain.model)


def test_a_trained_trainer_is_searched_from_where_it_is_and_trains_on(make: Make) -> None:
    trainer = make(learning_rate=0.01)
    trainer.train()
    trained = weights(trainer.model)
    result = quick(trainer, apply=True)
    assert weights(trainer.model) == trained
    assert result.baseline == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)
    trainer.lr_scheduler = None
    trainer.create_scheduler(10)
    assert trainer.lr_scheduler.base_lrs == [rate_for(trainer, result)] * 2


def test_a_resumed_training_keeps_its_learning_rate(make: Make) -> None:
    first = make(learning_rate=0.01, save_strategy="steps", save_steps=10)
    first.train()
    checkpoint = f"{first.args.output_dir}/checkpoint-10"
    resumed = make(learning_rate=0.01)
    callback = LRFinderCallback(resumed)
    resumed.add_callback(callback)
    resumed.train(resume_from_checkpoint=checkpoint)
    assert callback.result is None
    assert weights(resumed.model) == weights(first.model)


# --- Learning rates of several param groups ------------------------------------------------------


def test_the_learning_rate_is_the_arguments_and_not_the_first_groups(make: Make) -> None:
    searched = make(cls=TenTimesLower)
    result = quick(searched, apply=True)
    new = make(cls=TenTimesLower, learning_rate=rate_for(searched, result))
    for trainer in (searched, new):
        torch.manual_seed(1)
        trainer.train()
    assert weights(searched.model) == weights(new.model)


def test_apply_keeps_ratios_and_the_shape_of_schedules(make: Make) -> None:
    model = Classifier()
    first, last = model.network[0].parameters(), model.network[2].parameters()
    groups = [{"params": first, "lr": 0.1}, {"params": last, "lr": 0.3}]
    optimizer = torch.optim.SGD(groups)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.1, 0.3], total_steps=20)
    trainer = make(model, given={"optimizers": (optimizer, one_cycle)})
    apply(trainer, 0.2)
    assert [g["max_lr"] for g in optimizer.param_groups] == [0.2, pytest.approx(0.6)]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.2 / 25, 0.6 / 25])
    assert one_cycle.get_last_lr() == pytest.approx([0.2 / 25, 0.6 / 25])
    assert trainer.args.learning_rate == 0.2
    for lr in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"lr={lr!r} must be a number above 0"):
            apply(trainer, lr)


def test_apply_moves_both_ends_of_a_cycle(make: Make) -> None:
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    options = {"step_size_up": 4, "cycle_momentum": False}
    cycle = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, **options)
    trainer = make(model, given={"optimizers": (optimizer, cycle)})
    apply(trainer, 0.2)
    rates = []
    for _ in range(9):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    assert rates == pytest.approx([0.02, 0.065, 0.11, 0.155, 0.2, 0.155, 0.11, 0.065, 0.02])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_lora_trains_its_adapters_alone(make: Make) -> None:
    peft = pytest.importorskip("peft")

    def adapted() -> Any:
        options = {"r": 4, "target_modules": ["query", "value"]}
        model = bert()
        return peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", **options))

    data = {"train_dataset": texts(TRAIN)[:200], "eval_dataset": texts(VALIDATION)[:100]}
    options = {"given": data, "weight_decay": 0.01, "per_device_train_batch_size": 8}
    searched = make(adapted(), **options)
    before = weights(searched.model)
    result = quick(searched, apply=True, steps=20)
    assert weights(searched.model) == before
    new = make(adapted(), **options, learning_rate=rate_for(searched, result))
    for trainer in (searched, new):
        torch.manual_seed(1)
        trainer.train()
    assert weights(searched.model) == weights(new.model)
    changed = [
        name
        for (name, parameter), old in zip(searched.model.named_parameters(), before, strict=True)
        if parameter.detach().numpy().tobytes() != old
    ]
    assert changed
    assert all("lora_" in name or "classifier" in name for name in changed)
    assert len(searched.optimizer.param_groups) == 2


# --- The Trainer's own search --------------------------------------------------------------------


def test_hyperparameter_search_gives_the_curve_and_its_best_run_is_no_pick(make: Make) -> None:
    storage = optuna.storages.InMemoryStorage()
    trainer = make(lr_scheduler_type="constant", given={"model_init": Classifier})

    def space(trial: optuna.Trial) -> dict[str, float]:
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-7, 10, log=True)}

    best = trainer.hyperparameter_search(
        space,
        backend="optuna",
        n_trials=40,
        sampler=LRStepSampler(param_name="learning_rate", tolerance=0.3),
        storage=storage,
        study_name="digits",
        catch=(ValueError,),
    )
    study = optuna.load_study(storage=storage, study_name="digits")
    untrained = make().evaluate()["eval_loss"]
    result = analyze(
        study, param_name="learning_rate", baseline=untrained, steps=20, tolerance=0.3
    )
    assert result.resolved
    assert result.n_trials < 40
    lowest = best.hyperparameters["learning_rate"]
    assert lowest == pytest.approx(result.max_lr, rel=0.6)
    assert lowest > 1.8 * result.recommended
    ours = quick(make(given={"model_init": Classifier}), steps=20)
    assert result.midpoint == pytest.approx(ours.midpoint, rel=0.3)


# --- Errors --------------------------------------------------------------------------------------


def test_what_cannot_be_searched_says_what_to_do(make: Make) -> None:
    quick(make(given={"eval_dataset": None}), eval_dataset=rows(VALIDATION))
    unlabelled = [{"pixels": row["pixels"]} for row in rows(VALIDATION)]
    with pytest.raises(ValueError, match=r"no loss on the evaluation data.*label_names"):
        quick(make(given={"eval_dataset": unlabelled}))
    with pytest.raises(ValueError, match="accumulate=2 is no option here: the Trainer decides"):
        find_lr(make(), accumulate=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"gives 1 batches.*gradient_accumulation_steps=2: lower"):
        quick(make(per_device_train_batch_size=1200, gradient_accumulation_steps=2))
    several = make()
    several.args._n_gpu = 2
    with pytest.raises(ValueError, match=r"distributed.*gradient_accumulation_steps"):
        quick(several)
    with pytest.raises(ValueError, match="steps=0"):
        quick(make(), steps=0)


# --- Without evaluation data ---------------------------------------------------------------------


class Noting(Trainer):
    """Notes the rows that each forward pass sees, by whether they are trained on."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        self.seen[model.training].update(x.numpy().tobytes() for x in inputs["pixels"])
        return super().compute_loss(model, inputs, *args, **options)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_without_evaluation_data_batches_are_held_out_of_training(
    make: Make, accumulate: int
) -> None:
    given = {"eval_dataset": None}
    trainer = make(
        cls=Noting,
        given=given,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=accumulate,
    )
    trainer.seen = {True: set(), False: set()}
    result = quick(trainer)
    assert result.held_out == {1: 8, 3: 9}[accumulate]  # whole steps
    assert len(trainer.seen[False]) >= 120
    assert not trainer.seen[True] & trainer.seen[False]
    assert "batches were held" in str(result)


# --- The schedule and the length of the training -------------------------------------------------


def _named(name: str, **own: Any) -> dict[str, Any]:
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": own}


@pytest.mark.parametrize(
    ("configured", "kind"),
    [
        (_named("linear"), "decaying"),
        (_named("cosine"), "decaying"),
        ({**_named("cosine"), "warmup_steps": 5}, "decaying"),
        (_named("cosine_with_restarts", num_cycles=2), "decaying"),
        (_named("cosine_with_min_lr", min_lr_rate=0.1), "decaying"),
        (_named("cosine_with_min_lr", min_lr_rate=0.9), "unknown"),  # it hardly falls
        (_named("cosine_warmup_with_min_lr", min_lr_rate=0.1), "decaying"),
        (_named("polynomial", power=2), "decaying"),
        (_named("constant"), "constant"),
        ({**_named("constant_with_warmup"), "warmup_steps": 5}, "constant"),
        (_named("warmup_stable_decay", num_decay_steps=4), "held"),
        ({**_named("warmup_stable_decay", num_decay_steps=4), "warmup_steps": 4}, "held"),
        (_named("warmup_stable_decay", num_decay_steps=14), "decaying"),  # for most of it
        (_named("inverse_sqrt"), "unknown"),  # over 10,000 steps, of which 20 are nothing
        ({**_named("inverse_sqrt"), "warmup_steps": 1}, "decaying"),
        (
            {**_named("reduce_lr_on_plateau"), "eval_strategy": "epoch"},
            "unknown",
        ),  # it depends on metrics
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["lr_scheduler_type"]),
)
def test_the_schedule_says_which_learning_rate_is_given(
    make: Make, configured: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(**configured)
    picks = _known_search(monkeypatch)
    find_lr(trainer, apply=True)
    assert trainer.args.learning_rate == _for_schedule(picks, kind)
    assert rate_for(make(**configured), picks) == _for_schedule(picks, kind)


def _for_schedule(picks: Any, kind: str) -> float:
    held = peak_lr(picks.recommended, held=True)
    return {"decaying": picks.peak, "held": held}.get(kind, picks.recommended)


def test_a_length_in_epochs_is_known_to_a_result_that_is_applied(make: Make) -> None:
    trainer = make(max_steps=-1, num_train_epochs=1, **_named("cosine"))
    result = quick(trainer)
    assert result.total_steps == 38  # 1200 rows in batches of 32
    result.apply(trainer)
    assert trainer.args.learning_rate == result.peak


def test_a_trainers_own_create_scheduler_is_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(Trainer):
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                ends = {"start_factor": 1.0, "end_factor": 0.0, "total_iters": num_training_steps}
                self.lr_scheduler = torch.optim.lr_scheduler.LinearLR(
                    optimizer or self.optimizer, **ends
                )
                self._created_lr_scheduler = True
            return self.lr_scheduler

    trainer = make(cls=Own, **_named("constant"))
    picks = _known_search(monkeypatch)
    find_lr(trainer, apply=True)
    assert trainer.args.learning_rate == picks.peak
    assert trainer.lr_scheduler is None


@pytest.mark.parametrize(
    ("share", "kind"),
    [
        (lambda step: 1 - step / 20, "decaying"),
        (lambda step: min(1.0, (20 - step) / 4), "held"),
        (lambda step: 1.0, "constant"),
        (lambda step: -1.0, "unknown"),  # no learning rate: the training will tell
    ],
)
def test_a_scheduler_that_was_passed_in_counts_by_its_shape(
    make: Make, share: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    trainer = make(model, given={"optimizers": (optimizer, scheduler)})
    picks = _known_search(monkeypatch)
    find_lr(trainer, apply=True)
    assert optimizer.param_groups[0]["initial_lr"] == _for_schedule(picks, kind)
    assert scheduler.last_epoch == 0


def test_the_search_is_told_the_optimizer_steps_of_the_whole_training(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = _known_search(monkeypatch).told
    find_lr(make(max_steps=37))
    epochs = make(max_steps=-1, num_train_epochs=3, gradient_accumulation_steps=2)
    find_lr(epochs)
    assert told == [37, 3 * 19]  # 1200 rows in batches of 32, two a step


def _known_search(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the search by one that finds two known rates; notes the training's length."""

    found = SimpleNamespace(recommended=0.0125, peak=0.03, told=[], total_steps=20)

    def search(*_: Any, **options: Any) -> Any:
        found.told.append(options.get("total_steps"))
        return found

    monkeypatch.setattr("optuna_lrss.integrations.transformers._find_lr", search)
    return found


def test_a_result_is_applied_to_a_trainer_as_its_schedule_wants(make: Make) -> None:
    result = quick(make())
    for kind, lr in (("linear", result.peak), ("constant", result.recommended)):
        trainer = make(lr_scheduler_type=kind)
        result.apply(trainer)
        assert trainer.args.learning_rate == lr
        result.apply(trainer, "max_lr")
        assert trainer.args.learning_rate == result.max_lr
