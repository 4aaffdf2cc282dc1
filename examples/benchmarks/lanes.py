"""Many learning rates in one pass against one after the other, on one processor core.

A pass over 17 learning rates, a first look, is held against 17 short trials, a pass over 4 of the
longer trials against these 4, and whole searches with lanes against one with single trials:
`lanes="auto"`, and rounds of 6 and 17. Processor time, since a machine may have other work; the
sides take turns, and ratios are those of a turn.

    python examples/benchmarks/lanes.py
    python examples/benchmarks/lanes.py --searches auto
    python examples/benchmarks/lanes.py --smoke
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import Literal

import digits_tasks
import optuna
import torch
from report import RESULTS
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from optuna_lrss import LRStepSampler
from optuna_lrss.torch import StepObjective
from optuna_lrss.torch import optimize_lanes
from optuna_lrss.torch._lanes.count import WORTHWHILE_FLOPS
from optuna_lrss.torch._lanes.count import measure
from optuna_lrss.torch._lanes.one_pass import LaneTrials
from optuna_lrss.torch._lanes.one_pass import Recorded


LANES = 17
#: Longer trials that a search asks for at once, and their steps.
LONGER, LONGER_STEPS = 4, 80
#: Searches, by what `lanes` is; the first one takes one trial after the other.
ALONE = "1"
SEARCHES: dict[str, int | Literal["auto"]] = {ALONE: 1, "auto": "auto", "6": 6, "17": LANES}
BATCH_SIZE = 32
RATES = [10 ** (-7 + 0.5 * i) for i in range(LANES)]


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def cnn(channels: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        norm(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        norm(2 * channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * channels, 10),
    )


def plain(_: int) -> nn.Module:
    return nn.Identity()


class Transformer(nn.Module):
    """A row of the image is a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.embed(x.flatten(1, 2))).mean(dim=1))
        return out


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP, 64 wide": lambda: mlp(64),
    "CNN, 8 channels": lambda: cnn(8, plain),
    "CNN, 8 channels, batch normalisation": lambda: cnn(8, nn.BatchNorm2d),
    "transformer, 32 wide": lambda: Transformer(32),
    "MLP, 256 wide": lambda: mlp(256),
}
#: From sizes that gain for sure to sizes that do not.
SIZES: dict[str, Callable[[], nn.Module]] = {
    "MLP, 128 wide": lambda: mlp(128),
    "CNN, 16 channels": lambda: cnn(16, plain),
    "MLP, 384 wide": lambda: mlp(384),
}
SMOKE = ("MLP, 64 wide",)


def objective_for(build: Callable[[], nn.Module]) -> StepObjective:
    torch.manual_seed(0)
    model = build()
    data = digits_tasks.digits()
    train = list(zip(*(t.split(BATCH_SIZE) for t in data.train), strict=True))
    validation = list(zip(*(t.split(BATCH_SIZE) for t in data.validation), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return StepObjective(model, optimizer, F.cross_entropy, train, validation, progress=False)


def seconds(work: Callable[[], object]) -> float:
    """Processor time."""
    started = time.process_time()
    work()
    return time.process_time() - started


def turns(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Median times of all sides, and medians of how much faster than the first a turn is."""
    runs = [{name: seconds(work) for name, work in sides.items()} for _ in range(rounds)]
    first = next(iter(sides))
    return {
        name: {
            "seconds": statistics.median(run[name] for run in runs),
            "ratio": statistics.median(run[first] / run[name] for run in runs),
        }
        for name in sides
    }


def measure_searches(objective: StepObjective, names: list[str], rounds: int) -> dict[str, Any]:
    """Times and trials of searches."""
    trials: dict[str, int] = {}

    def search(name: str) -> None:
        study = optuna.create_study(sampler=LRStepSampler())
        if name == ALONE:
            study.optimize(objective)
        else:
            optimize_lanes(study, objective, lanes=SEARCHES[name])
        trials[name] = len(study.trials)

    sides = {name: functools.partial(search, name) for name in names}
    return {"search": turns(sides, rounds), "trials": trials}


def measure_model(build: Callable[[], nn.Module], rounds: int) -> dict[str, Any]:
    objective = objective_for(build)
    alone: Any = objective._source
    trials = LaneTrials(alone)
    recorded = Recorded(trials)
    outcomes = [alone.run(lr).loss for lr in RATES]
    difference = 0.0
    for lr, loss, recorded.recording in zip(RATES, outcomes, trials.train(RATES), strict=True):
        if loss <= alone.baseline:
            difference = max(difference, abs(recorded.run(lr).loss / loss - 1.0))
    longer = [10 ** (-3 + 0.25 * i) for i in range(LONGER)]
    passes = {
        "alone": lambda: [alone.run(lr) for lr in RATES],
        "together": lambda: trials.train(RATES),
    }
    longer_passes = {
        "alone": lambda: [alone.run(lr, steps=LONGER_STEPS) for lr in longer],
        "together": lambda: trials.train(longer, 0, LONGER_STEPS),
    }
    return {
        "parameters": sum(p.numel() for p in build().parameters()),
        "mflop": measure(alone).flops / 1e6,
        "difference": difference,
        "pass": turns(passes, rounds),
        "longer": turns(longer_passes, rounds),
        **measure_searches(objective, list(SEARCHES), rounds),
    }


def rows_of(models: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, m in models.items():
        yield (
            name,
            f"{m['parameters']:,}",
            f"{m['mflop']:.2f}",
            f"{1000 * m['pass']['alone']['seconds']:.0f} ms",
            f"{m['pass']['together']['ratio']:.2f}",
            f"{m['longer']['together']['ratio']:.2f}",
            f"{1000 * m['search'][ALONE]['seconds']:.0f} ms",
            ", ".join(str(m["trials"][name]) for name in SEARCHES),
            *(f"{m['search'][name]['ratio']:.2f}" for name in _WITH_LANES),
        )


_WITH_LANES = [name for name in SEARCHES if name != ALONE]
HEADER = (
    "model",
    "parameters",
    "MFLOP",
    f"{LANES} short trials",
    "one pass faster by",
    f"pass of {LONGER} longer ones faster by",
    "search",
    "trials",
    *(f"`lanes={name}` faster by" for name in _WITH_LANES),
)


def pays_up_to(models: dict[str, Any], what: str, side: str) -> tuple[float, float]:
    """The size up to which every model gains, and the smallest one above which none does."""
    sizes = sorted((m["mflop"], m[what][side]["ratio"]) for m in models.values())
    gains = itertools.takewhile(lambda size: size[1] > 1.0, sizes)
    losses = itertools.takewhile(lambda size: size[1] <= 1.0, reversed(sizes))
    return (
        max((mflop for mflop, _ in gains), default=0.0),
        min((mflop for mflop, _ in losses), default=math.inf),
    )


def sentence(models: dict[str, Any], what: str, side: str, name: str) -> str:
    all_gain, none_gains = pays_up_to(models, what, side)
    above = "" if math.isinf(none_gains) else f", and none from {none_gains:.1f} MFLOP on"
    return f"Of these models all gain in {name} up to {all_gain:.1f} MFLOP{above}."


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    models, sizes = figures["models"], figures["sizes"]
    both = {**models, **sizes}
    worst = max(m["difference"] for m in both.values())
    ordered = dict(sorted(both.items(), key=lambda item: item[1]["mflop"]))
    searches = " ".join(
        sentence(both, "search", name, f"a whole search with `lanes={name}`")
        for name in _WITH_LANES
    )
    return f"""# Lanes

`optimize_lanes` trains several learning rates in one vectorised pass. Here a pass over {LANES}
learning rates, half a decade apart from 1e-7 to 10, is held against {LANES} short trials one after
the other, a pass over {LONGER} longer trials of {LONGER_STEPS} steps against these, and whole
searches with lanes against one with single trials. With `lanes=auto` only the longer trials go
together on a CPU, with 6 and 17 also the short ones.

## Five models, on one core of a CPU

{table(HEADER, rows_of(models))}

Medians of {figures["rounds"]} turns on digits: SGD with momentum 0.9, batches of {BATCH_SIZE},
processor time of one thread. MFLOP is that of one forward pass, in matrix products and
convolutions. Trials are those of the searches alone and with lanes, in the table's order: rounds
of short trials take more, since a whole round is under way before anything of it is known, and
the sampler's own time is the same for each of them; so such a search gains less than a pass does.
One or two learning rates are trained one after the other. Up to the wall no loss differs from that
of the trial alone by more than {worst:.0e} of it, in all models of this page.

## From which size on it does not pay

{table(HEADER, rows_of(ordered))}

{sentence(both, "pass", "together", f"a pass of {LANES}")} {
        sentence(both, "longer", "together", f"one of {LONGER} longer trials")
    } {searches}
A small model spends its time on starting operations, which lanes share; a large one on arithmetic,
which they do not share.
Above its bound `lanes="auto"` is the search alone: how far from 1 its ratio is there says how
sure the others are. It takes one learning rate after the other on a CPU above {
        WORTHWHILE_FLOPS / 1e6:.0f} MFLOP.

## On a GPU

Not measured: none was at hand.

{figures["source"]}
"""


def measure_again(folder: Path | None, names: list[str], rounds: int) -> None:
    """Some searches beside those alone, of which only the ratio is taken."""
    path = (folder or RESULTS) / "lanes.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    for kind, models in (("models", MODELS), ("sizes", SIZES)):
        for name, known in figures[kind].items():
            objective = objective_for(models[name])
            found = measure_searches(objective, [ALONE, *names], rounds)
            for key in ("search", "trials"):
                known[key] |= {n: found[key][n] for n in names}
            print(f"{name}: {found}", flush=True)
    write_page(folder, "lanes", figures, render)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=3, help="how often each side is measured")
    options.add_argument(
        "--searches", nargs="+", choices=SEARCHES, help="measure these again, keep the rest"
    )
    arguments = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    started = time.perf_counter()
    rounds = 1 if arguments.smoke else arguments.turns
    if arguments.searches:
        measure_again(output_folder(arguments), arguments.searches, rounds)
        return
    figures: dict[str, Any] = {
        "rounds": rounds,
        "models": {},
        "sizes": {},
    }
    for kind, models in (("models", MODELS), ("sizes", SIZES)):
        for name, build in models.items():
            if not arguments.smoke or name in SMOKE:
                figures[kind][name] = measure_model(build, rounds)
                print(f"{name}: {figures[kind][name]}", flush=True)
    wall = time.perf_counter() - started
    figures["source"] = provenance("lanes", wall, smoke=arguments.smoke)
    write_page(output_folder(arguments), "lanes", figures, render)


if __name__ == "__main__":
    main()
