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
    seeds=2,
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
{_why(figures)}
{figures["source"]}
"""


def _why(figures: dict[str, Any]) -> str:
    """What the length of the training has to do with a constant that is far too low."""
    seeds = {run["seed"] for run in finetuning.whole_runs(figures, LONG)}
    lost: dict[str, list[float]] = {}
    for setting in (SHORT, LONG):
        runs = [r for r in finetuning.whole_runs(figures, setting) if r["seed"] in seeds]
        for name, lr in {**FIXED, "peak": None}.items():
            each = [finetuning.lost(r, r["picks"]["peak"] if lr is None else lr) for r in runs]
            lost.setdefault(name, []).append(sum(each) / max(len(each), 1))
    if not seeds:
        return ""
    (short, long), (peak_short, peak_long) = lost["3e-4"], lost["peak"]
    return f"""## Why 3e-4 is so far behind

A constant 3e-4 is what many recipes take for LoRA, for trainings of thousands of steps. Here the
adapters and the fresh head start at next to nothing, and {SHORT.steps} steps at a low rate that
decays to 0 do not take them far. On the seeds that were trained for both lengths (number:
{len(seeds)}), it costs {short:.1f} points in {SHORT.steps} steps and {long:.1f} in {LONG.steps};
`peak` costs {peak_short:.1f} and {peak_long:.1f}. So the longer the training, the less there is to
gain over 3e-4, and what this page shows of short trainings must not be taken for long ones: one of
thousands of steps is not measured here.
"""


if __name__ == "__main__":
    finetuning.pages("lora", __doc__, [SHORT, LONG], render)
