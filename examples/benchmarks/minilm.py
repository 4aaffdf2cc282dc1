"""MiniLM fine-tuned on AG News through the Trainer: what the picks lose against a grid.

    PYTHONPATH=. python examples/benchmarks/minilm.py          # measures what is missing, scores
    PYTHONPATH=. python examples/benchmarks/minilm.py score    # scores what is there

Every loss of every search is kept in the JSON file, so that `score` can ask the package anew
without a training.
"""

from __future__ import annotations

from typing import Any

import finetuning
from finetuning import STEPS
from report import table


#: Learning rates that people take without a search: those of many fine-tuning recipes.
FIXED = {"2e-5": 2e-5, "5e-5": 5e-5}
#: The grid, in thirds of a decade: 1e-4 to 2.2e-3.
EXPONENTS = range(-12, -7)
SEEDS = 5


def render(figures: dict[str, Any]) -> str:
    runs = [run for run in figures["runs"] if "picks" in run]
    return f"""# A pretrained MiniLM through the Trainer

all-MiniLM-L6-v2 (22 million weights, all trained, a fresh head) on AG News rows of
{finetuning.PIECES} word pieces, with the `Trainer`'s own defaults: AdamW, {STEPS} steps of
{finetuning.BATCH} rows, linear decay to 0, clipping at 1. Seeds, of the head, the data's order and
the dropout: {len(runs)}.

`find_lr(trainer)` took {finetuning.trials_of(runs)} trials of 20 steps. Of its picks
`recommended` is for a constant learning rate, which this schedule does not have. fastai's come
from its range test over 100 steps of the same trainer.

## Points of test accuracy lost

Against the best learning rate of the grid below, for each seed; between the grid's learning rates
accuracy is taken straight.

{table(finetuning.LOST_HEAD, finetuning.loss_rows(runs, FIXED))}

## The grid

Test accuracy in percent after the whole training, on {finetuning.ROWS["test"]} rows.

{table(finetuning.GRID_HEAD, finetuning.grid_rows(runs))}

{figures["source"]}
"""


if __name__ == "__main__":
    finetuning.pages(
        "minilm",
        __doc__,
        finetuning.minilm,
        render,
        fixed=FIXED,
        exponents=EXPONENTS,
        seeds=SEEDS,
        extras=("range_test", "longer"),
    )
