"""LoRA adapters of MiniLM on AG News through the Trainer: the picks beside a constant 3e-4.

PYTHONPATH=. python examples/benchmarks/lora.py          # measures what is missing, scores
PYTHONPATH=. python examples/benchmarks/lora.py score    # scores what is there
"""

from __future__ import annotations

from typing import Any

import finetuning
from finetuning import STEPS
from report import table
from torch import nn


#: What is taken for LoRA without a search.
FIXED = {"3e-4": 3e-4}
#: The grid, in thirds of a decade: 2.2e-4 to 4.6e-3.
EXPONENTS = range(-11, -6)
SEEDS = 3
RANK = 8


def adapted() -> nn.Module:
    """MiniLM with adapters of rank 8 beside its queries and values, and a trained head."""
    import peft

    config = peft.LoraConfig(task_type="SEQ_CLS", r=RANK, lora_alpha=2 * RANK)
    net: nn.Module = peft.get_peft_model(finetuning.minilm(), config)
    return net


def render(figures: dict[str, Any]) -> str:
    runs = [run for run in figures["runs"] if "picks" in run]
    return f"""# LoRA through the Trainer

Adapters of rank {RANK} beside the queries and values of all-MiniLM-L6-v2, and a fresh head, on AG
News rows of {finetuning.PIECES} word pieces: AdamW, {STEPS} steps of {finetuning.BATCH} rows,
linear decay to 0, clipping at 1. Seeds, of adapters, head, the data's order and the dropout:
{len(runs)}.

`find_lr(trainer)` took {finetuning.trials_of(runs)} trials of 20 steps.

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
        "lora", __doc__, adapted, render, fixed=FIXED, exponents=EXPONENTS, seeds=SEEDS
    )
