"""What the longer trials of `steps="auto"` cost beside a search of 20 steps, and a range test.

Both searches, and a range test of 100 steps that validates nothing, take turns on the same models.

    python examples/benchmarks/longer_trials.py
    python examples/benchmarks/longer_trials.py --smoke
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Literal

import torch
from digits_tasks import batch_norm_cnn
from report import output_folder
from report import parser
from report import provenance
from report import table
from report import write_page
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from optuna_lrss.torch import find_lr


sys.path.insert(0, str(Path(__file__).parents[1]))
quickstart = importlib.import_module("quickstart")


RANGE_STEPS = 100


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Rows(nn.Module):
    """A transformer that reads an image's rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encode = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.encode(self.embed(images.squeeze(1)))
        logits: torch.Tensor = self.head(rows.mean(dim=1))
        return logits


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP": mlp,
    "CNN (the quickstart's)": quickstart.build_model,
    "CNN with batch normalisation": batch_norm_cnn,
    "transformer": Rows,
}


def search(build: Callable[[], nn.Module], steps: int | Literal["auto"]) -> dict[str, float]:
    train, validation, _ = quickstart.load_data()
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train_loader = DataLoader(train, 64, shuffle=True)
    started = time.process_time()
    result = find_lr(
        model,
        optimizer,
        cross_entropy,
        train_loader,
        DataLoader(validation, 297),
        steps=steps,
        progress=False,
    )
    seconds = time.process_time() - started
    return {"seconds": seconds, "trials": result.n_trials, "steps": result.n_steps or 0}


def range_test(build: Callable[[], nn.Module]) -> dict[str, float]:
    """One training whose learning rate rises, as the range tests of other packages do it."""
    train, _, _ = quickstart.load_data()
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7, momentum=0.9)
    batches = [b for _ in range(7) for b in DataLoader(train, 64, shuffle=True)][:RANGE_STEPS]
    started = time.process_time()
    for i, (inputs, targets) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = 1e-7 * 1e8 ** (i / (RANGE_STEPS - 1))
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.item()
        loss.backward()
        optimizer.step()
    return {"seconds": time.process_time() - started, "trials": 1, "steps": RANGE_STEPS}


def measure(build: Callable[[], nn.Module], rounds: int) -> dict[str, dict[str, float]]:
    """Medians over rounds in which all take turns."""
    kinds: dict[str, Callable[[], dict[str, float]]] = {
        "steps=20": lambda: search(build, 20),
        'steps="auto"': lambda: search(build, "auto"),
        "range test": lambda: range_test(build),
    }
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, run in kinds.items():
            runs[kind].append(run())
    return {
        kind: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for kind, found in runs.items()
    }


def render(figures: dict[str, Any]) -> str:
    rows = []
    for model, kinds in figures["models"].items():
        base = kinds["steps=20"]
        for kind, f in kinds.items():
            rows.append(
                [
                    f"{model}, {kind}",
                    f"{f['trials']:.0f}",
                    f"{f['steps']:.0f}",
                    f"{f['steps'] / base['steps']:.2f}",
                    f"{f['seconds'] / base['seconds']:.2f}",
                ]
            )
    header = ["", "trials", "optimizer steps", "steps / 20 alone", "processor time / 20 alone"]
    return f"""# Longer trials

What `steps="auto"`, the default, costs beside `steps=20`: five trials of 80 steps around the upper
end of the window, eight where little was learned, and again of up to four times as many where too
little still is. Medians of {figures["rounds"]} rounds in which all three take turns, as ratios;
what the longer trials are worth is on [The picks for a training](advice.md). The range test is the
bare loop that other packages run, {RANGE_STEPS} steps without validation.

{table(header, rows)}

{figures["source"]}
"""


def main() -> None:
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)  # on models this small, threads wait more than they work
    started = time.perf_counter()
    search(mlp, 20)  # torch's first calls are slow; they are not the search's
    rounds = 1 if arguments.smoke else 7
    models = dict(list(MODELS.items())[:1]) if arguments.smoke else MODELS
    found = {name: measure(build, rounds) for name, build in models.items()}
    took = time.perf_counter() - started
    figures = {
        "source": provenance("longer_trials", took, smoke=arguments.smoke),
        "rounds": rounds,
        "models": found,
    }
    write_page(output_folder(arguments), "longer_trials", figures, render)


if __name__ == "__main__":
    main()
