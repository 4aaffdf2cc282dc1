"""The page on `recommended` and `peak`, docs/results/advice.md, and the table in the package."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import RESULTS
from report import table

import optuna_lrss
from examples.benchmarks.landscapes.record import DATA
from examples.benchmarks.landscapes.record import load_all
from examples.benchmarks.landscapes.score import advice
from examples.benchmarks.landscapes.score import deepobs
from examples.benchmarks.landscapes.score.forms import percent
from examples.benchmarks.landscapes.score.replay import solve
from optuna_lrss._method.sureness import PROBABILITY


SURENESS = Path(optuna_lrss.__file__).parent / "_method" / "sureness.py"
_BEGIN, _END = "    # begin table\n", "    # end table\n"


_INTRODUCTION = (
    "# The picks for a training",
    "",
    "How `recommended` and `peak` were fitted, how sure they are, and what their doubts are "
    "worth, "
    "on the [landscapes](landscapes.md); what they lose beside other finders is "
    "[there](landscapes.md#score). Written by `python -m examples.benchmarks.landscapes advice "
    "--write`, from the figures in `advice.json` beside this page. Every task counts the same; "
    "fine-tuning is left out but where it is named.",
    "",
    "## The rule and its constants",
    "",
    "The rule is on the [method page](../method.md). Points lost, mean over tasks, when one "
    "constant is moved and the others stay; in brackets the share of trainings that lose over 5 "
    "points. Trainings without a window, which end in an error, count as not trained at all.",
    "",
)
_LEFT_OUT = (
    "The rule fitted on all tasks but one loses what the package's constants lose (the score's "
    "first rows), so they are no luck of the fit. Tried, and left out because on tasks left out "
    "they lost as much or gained less than a tenth of a point, on an earlier state of the "
    "records: "
    "constants for each kind of optimizer; a term for batch size, number of classes, momentum, "
    "width and depth of the basin, the drop of the loss after 20 and after 80 steps, and how far "
    "the upper end moved between them.",
    "",
    "## How sure",
    "",
    f"An interval holds a learning rate that loses less than a point in {percent(PROBABILITY)} of "
    "trainings. Here the quantiles come from all tasks but one, and the share is counted on that "
    "one, for each in turn. *pick*: the pick itself loses less than a point. *too high*: what "
    "`pick(risk=0.1)` gives lies above all that do.",
    "",
    '"longer": read off longer trials that gained a tenth of the untrained loss or more; "short": '
    'the same off the search\'s own 20 steps (`steps=20`); "little": the trials gained less.',
    "",
)
_DOUBTS = (
    "## Doubts as classifiers",
    "",
    "*flagged*: trainings whose pick carries the doubt. *announced*: of the picks that lose over "
    "5 "
    "points, those that carry it. *right*: of those that carry it, the ones that lose over 5 "
    "points. The last two columns are of the picks without it.",
    "",
)
_OTHER_SIGNS = (
    '"no window" is no doubt but an error. A pick outside its window is explained in the report; '
    "as an announcement it is worth nothing, so it is no doubt. A logistic regression on ten such "
    "figures (drop after 20 and 80 steps, how far the upper end moved, width, noise, side of the "
    "window, length), fitted on the other tasks, announced fewer failures than these doubts at "
    "the "
    "same share of flags.",
)


def figures(folder: Path, deep: Path | None, every: int = 1) -> dict[str, Any]:
    """All figures of the page."""
    solved = solve(load_all(folder)[::every])
    plain = [s for s in solved if not s.landscape.finetune]
    tuned = [s for s in solved if s.landscape.finetune]
    rows = advice.rows_of(plain)
    found = {
        "sure": advice.sureness_figures(rows, advice.rows_of(plain, longer=False)),
        "doubts": advice.doubt_figures(rows),
        "tuned": advice.doubt_figures(advice.rows_of(tuned)) if tuned else {},
        "moved": advice.sensitivity(plain),
        "deepobs": {} if deep is None else deepobs.figures(deep),
    }
    return dict(json.loads(json.dumps(found, allow_nan=False)))


def page(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        *_INTRODUCTION,
        *_moved(found["moved"]),
        "",
        *_LEFT_OUT,
        _coverage(found["sure"]["coverage"]),
        "",
        *_DOUBTS,
        _doubts(found["doubts"]),
        "",
        *_OTHER_SIGNS,
        *_tuned(found["tuned"]),
        *_deepobs(found["deepobs"]),
        "",
    ]
    return "\n".join(lines)


def _moved(moved: dict[str, Any]) -> list[str]:
    lines = []
    for name, values in moved.items():
        cells = ", ".join(
            f"{value}: {f['mean']:.2f} ({percent(f['over_5'])})" for value, f in values.items()
        )
        lines.append(f"- `{name}` {cells}")
    return lines


_COVERED = ("held", "pick", "too_high")


def _coverage(coverage: dict[str, Any]) -> str:
    header = ["", "tasks", "interval holds", "pick", "too high at risk 0.1"]
    rows = [
        [
            f"`{kind}`, {evidence}",
            f["tasks"],
            *(percent(f[k]) for k in ("held", "pick", "too_high")),
        ]
        for evidence, kinds in coverage.items()
        for kind, f in kinds.items()
    ]
    return table(header, rows)


def _doubts(doubts: dict[str, Any]) -> str:
    header = ["doubt", "flagged", "announced", "right", "mean without", "over 5 without"]
    rows = [
        [
            name,
            *(percent(f[k]) for k in ("flagged", "announced", "right")),
            f"{f['mean_rest']:.2f}",
            f"{100 * f['fails_rest']:.1f} %",
        ]
        for name, f in doubts.items()
    ]
    return table(header, rows)


def _tuned(tuned: dict[str, Any]) -> list[str]:
    if not tuned:
        return []
    return [
        "",
        "The same on the fine-tuning cells, which took no part in any fit:",
        "",
        _doubts(tuned),
    ]


def _deepobs(cells: dict[str, Any]) -> list[str]:
    if not cells:
        return []
    names = list(next(iter(cells.values()))["lost"])
    rows = [
        [name, f"{f['steps']:,}", *(f"{f['lost'][k]:.1f} / {f['decades'][k]:+.2f}" for k in names)]
        for name, f in cells.items()
    ]
    lost = {k: np.array([f["lost"][k] for f in cells.values()]) for k in names}
    off = {k: np.array([abs(f["decades"][k]) for f in cells.values()]) for k in names}
    rows.append(
        [
            "**mean / median distance**",
            "",
            *(f"{lost[k].mean():.2f} / {np.median(off[k]):.2f}" for k in names),
        ]
    )
    rows.append(["**over 5 points**", "", *(percent(float((lost[k] > 5).mean())) for k in names)])
    return [
        "",
        "## Long trainings",
        "",
        "Baselines of DeepOBS, a constant rate, trainings that took no part in the fit of the "
        "landscapes; but the size of `PER_LENGTH` was looked at here too. Points lost / decades "
        "above the best.",
        "",
        table(["cell", "steps", *names], rows),
    ]


def sureness_table(sure: dict[str, Any]) -> str:
    """The lines between the markers of `_method/sureness.py`."""
    lines = []
    for evidence, kinds in sure["table"].items():
        lines.append(f'    "{evidence}": {{\n')
        for kind, f in kinds.items():
            risks = ", ".join(f"{round(v, 2) + 0.0:g}" for v in f["too_high"])
            ends = f"{round(f['low'], 2) + 0.0:g}, {round(f['high'], 2) + 0.0:g}"
            lines.append(f'        "{kind}": Sureness({ends}, ({risks})),\n')
        lines.append("    },\n")
    return "".join(lines)


def put_sureness(sure: dict[str, Any]) -> None:
    text = SURENESS.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    SURENESS.write_text(before + _BEGIN + sureness_table(sure) + _END + after, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="landscapes advice", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of records")
    parser.add_argument("--deepobs", type=Path, help="folder of the DeepOBS cells")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th cell only")
    parser.add_argument("--write", action="store_true", help="write page, figures and table")
    given = parser.parse_args(arguments)
    found = figures(given.data, given.deepobs, given.every)
    print(page(found))
    if given.write:
        text = json.dumps(found, indent=1, allow_nan=False) + "\n"
        (RESULTS / "advice.json").write_text(text, encoding="utf-8")
        (RESULTS / "advice.md").write_text(page(found), encoding="utf-8")
        put_sureness(found["sure"])
