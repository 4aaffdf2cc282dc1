"""LoRA adapters of MiniLM on AG News through the Trainer: the picks beside a constant 3e-4.

PYTHONPATH=. python examples/benchmarks/lora.py          # measures what is missing, scores
PYTHONPATH=. python examples/benchmarks/lora.py score    # scores what is there
"""

from __future__ import annotations

from typing import Any

import finetuning
from finetuning import Setting
from report import table
from torch import nn


RANK = 8


def adapted() -> nn.Module:
    """MiniLM with adapters of rank 8 beside its queries and values, and a trained head."""
    import peft

    config = peft.LoraConfig(task_type="SEQ_CLS", r=RANK, lora_alpha=2 * RANK)
    net: nn.Module = peft.get_peft_model(finetuning.minilm(), config)
    return net


#: What is taken for LoRA without a search.
FIXED = {"3e-4": 3e-4}
SHORT = Setting(adapted, FIXED, exponents=range(-11, -6), seeds=3)  # 2.2e-4 to 4.6e-3
#: Twice through the data, where a learning rate that is low has the time that it needs.
LONG = Setting(
    adapted,
    FIXED,
    exponents=range(-9, -6),  # 1e-3 to 4.6e-3
    seeds=1,
    steps=400,
    search_of=SHORT.steps,
    shown=("peak", "recommended"),
)


def section(figures: dict[str, Any], setting: Setting) -> str:
    """What is lost in trainings of one length, and the grid behind it."""
    runs = finetuning.whole_runs(figures, setting)
    if not runs:
        return ""
    return f"""## Trainings of {setting.steps} steps

{_search_of(setting, runs)}

{table(finetuning.LOST_HEAD, finetuning.loss_rows(runs, setting.fixed))}

Test accuracy in percent after the whole training, on {finetuning.ROWS["test"]} rows:

{table(finetuning.GRID_HEAD, finetuning.grid_rows(runs))}
"""


def _search_of(setting: Setting, runs: list[finetuning.Run]) -> str:
    seeds = f"Seeds, of adapters, head, the data's order and the dropout: {len(runs)}."
    if setting.search_of is not None:
        return f"""{seeds} The searches are
those above, their picks for this length: `result.with_total_steps({setting.steps})`."""
    return f"""{seeds} `find_lr(trainer)`, with
no option, took {finetuning.trials_of(runs)}; {finetuning.seconds_of(runs)} on a machine that
others used too."""


def render(figures: dict[str, Any]) -> str:
    return f"""# LoRA through the Trainer

Adapters of rank {RANK} beside the queries and values of all-MiniLM-L6-v2, and a fresh head, on AG
News rows of {finetuning.PIECES} word pieces: AdamW, steps of {finetuning.BATCH} rows, linear decay
to 0, clipping at 1.

Points of test accuracy are lost against the best learning rate of the grid, for each seed; between
the grid's learning rates accuracy is taken straight. {finetuning.ONE_ROW} `peak` is what
`find_lr(trainer)` gives a trainer whose schedule decays.

{section(figures, SHORT)}
{section(figures, LONG)}
{figures["source"]}
"""


if __name__ == "__main__":
    finetuning.pages("lora", __doc__, [SHORT, LONG], render)
