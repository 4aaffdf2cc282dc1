"""MiniLM fine-tuned on AG News through the Trainer: what the picks lose against a grid.

    PYTHONPATH=. python examples/benchmarks/minilm.py          # measures what is missing, scores
    PYTHONPATH=. python examples/benchmarks/minilm.py score    # scores what is there

Every loss of every search is kept in the JSON file, so that `score` can ask the package anew
without a training.
"""

from __future__ import annotations

from typing import Any

import finetuning
from report import table


SETTING = finetuning.Setting(
    finetuning.minilm,
    fixed={"2e-5": 2e-5, "5e-5": 5e-5},  # those of many fine-tuning recipes
    exponents=range(-12, -7),  # 1e-4 to 2.2e-3
    seeds=5,
    range_test=True,
)


def render(figures: dict[str, Any]) -> str:
    runs = finetuning.whole_runs(figures, SETTING)
    return f"""# A pretrained MiniLM through the Trainer

all-MiniLM-L6-v2 (22 million weights, all trained, a fresh head) on AG News rows of
{finetuning.PIECES} word pieces, with the `Trainer`'s own defaults: AdamW, {SETTING.steps} steps of
{finetuning.BATCH} rows, linear decay to 0, clipping at 1. Seeds, of the head, the data's order and
the dropout: {len(runs)}.

`find_lr(trainer)`, with no option, took {finetuning.trials_of(runs)};
{finetuning.seconds_of(runs)} on a machine that others used too. `peak` is what it gives a trainer
whose schedule decays; `recommended` is for a learning rate that stays. fastai's picks come from
its range test over 100 steps of the same trainer; 2e-5 and 5e-5 are what many recipes take without
a search.

## Points of test accuracy lost

Against the best learning rate of the grid below, for each seed; between the grid's learning rates
accuracy is taken straight. {finetuning.ONE_ROW}

{table(finetuning.LOST_HEAD, finetuning.loss_rows(runs, SETTING.fixed))}

## The grid

Test accuracy in percent after the whole training, on {finetuning.ROWS["test"]} rows.

{table(finetuning.GRID_HEAD, finetuning.grid_rows(runs))}

{figures["source"]}
"""


if __name__ == "__main__":
    finetuning.pages("minilm", __doc__, [SETTING], render)
