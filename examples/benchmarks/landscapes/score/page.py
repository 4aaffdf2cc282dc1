"""The score's sections of docs/results/landscapes.md and the table of README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from report import table

from examples.benchmarks.landscapes.record import SCHEDULES
from examples.benchmarks.landscapes.score.cell import GROUPS
from examples.benchmarks.landscapes.score.cell import SEARCH_TRIALS
from examples.benchmarks.landscapes.score.forms import by_mean
from examples.benchmarks.landscapes.score.forms import interval
from examples.benchmarks.landscapes.score.forms import mean
from examples.benchmarks.landscapes.score.forms import percent
from examples.benchmarks.landscapes.score.forms import short
from examples.benchmarks.landscapes.score.forms import steps
from examples.benchmarks.landscapes.score.forms import tasks
from examples.benchmarks.landscapes.score.summary import BESIDE
from examples.benchmarks.landscapes.score.summary import FULL_GRID
from examples.benchmarks.landscapes.score.summary import OURS


#: Rules of the README's table, in the order of their mean there; the page has all of them.
README_RULES = (
    OURS,
    "recommended, constants fitted on the other tasks",
    "recommended, steps=20",
    "smoothed midpoint (version 0.1)",
    "method 1, log-midpoint",
    "method 2, half-loss",
    "method 3, steepest",
    "lowest short loss (argmin)",
    "fastai valley",
    "fastai valley, 300 steps",
    "fastai slide",
    "fastai minimum/10",
    "fastai minimum/10, 300 steps",
    "fastai steep",
    "Lightning",
    "Lightning, corrected",
    "pytorch-lr-finder",
    "optimizer's default",
    "constant fitted on the other tasks",
    FULL_GRID,
)


def readme_table(figures: dict[str, Any]) -> str:
    """One row for each rule, best first."""
    score = figures["score"]
    overall = score["all"]["rules"]
    rows = [
        (
            name,
            mean(overall[name]),
            *(f"{score[s]['rules'][name]['mean']:.1f}" for s in ("constant", "cosine")),
            f"{overall[name]['p90']:.1f}",
            percent(overall[name]["over_5"]),
            steps(overall[name]["steps"]),
        )
        for name in by_mean(overall)
        if name in README_RULES
    ]
    header = ("rule", "points lost, mean", "constant", "cosine", "90th pct", "over 5", "steps")
    return table(header, rows)


def score_section(figures: dict[str, Any]) -> str:
    """The tables of all rules: overall, by schedule, by optimizer, fine-tuning, pairs."""
    score = figures["score"]
    everything = score["all"]
    tuned = score.get("fine-tuning")
    parts = [
        f"{everything['trainings']} trainings ({everything['cells']} cells of "
        f"{everything['tasks']} tasks, at one or two lengths with four schedules), every seed's "
        f"pick by itself. They take {everything['steps'][0]:,} to {everything['steps'][1]:,} "
        "steps: longer ones want other rates ([below](#what-moves-the-best-learning-rate)), and a "
        "rule that suits these need not suit them. Every task counts the same. "
        f"{len(figures['left_out'])} more are left out, since no learning rate learns anything in "
        "them. "
        "Written by `python -m examples.benchmarks.landscapes score`.",
        rules_table(everything["rules"]),
        f"*points lost*: of final test accuracy or R2 against the best learning rate of the grid, "
        "both as the mean over seeds; for a task with a loss alone, quarters of a percent of what "
        "there is to gain (from the untrained model to the best), since 20 % of that is called a "
        "failure as 5 points are. A divergence, and a rule without an answer, ends where no "
        "training would. *within 1 %*: of the best metric. *decades*: from the middle of the "
        "learning rates that lose less than half a point, median, signed / absolute. *steps*: "
        f"optimizer steps that the rule looks at; a search counts as {SEARCH_TRIALS} short trials "
        "(the median of [Refinement](refinement.md)). "
        "Brackets: 95 % intervals by resampling tasks; tasks made from the same data count as "
        "different ones. The row of a full grid chosen on validation data says what cannot be "
        "told apart: the best of a grid is the best of many noisy means.",
        "### Against `recommended`",
        verdict(everything["rules"]),
        against_table(everything["rules"]),
        "### By schedule",
        group_table(score, SCHEDULES),
        "### By optimizer",
        group_table(score, GROUPS),
        "### By length and data",
        group_table(score, ("shorter of two", "longer of two", "real data", "generated data")),
    ]
    if tuned is not None:
        parts += [
            "### Fine-tuning",
            f"{tuned['trainings']} trainings of {tuned['cells']} cells and {tuned['tasks']} "
            "tasks, in none of the tables above.",
            rules_table(tuned["rules"]),
        ]
    if figures.get("trained"):
        parts.append(trained_section(figures["trained"]))
    return "\n\n".join(parts)


def trained_section(trained: dict[str, Any]) -> str:
    """Rivals that need no learning rate, beside rules on the same trainings."""
    rows = []
    for name, t in trained.items():
        rival, beside = t["rival"], t["beside"]
        rows.append(
            (
                name,
                t["cells"],
                mean(rival),
                f"{rival['p90']:.1f}",
                percent(rival["over_5"]),
                *(f"{beside[k]['mean']:.2f}" for k in BESIDE),
                interval(rival["minus_ours_interval"], "+.1f").strip(),
            )
        )
    header = (
        "rival against the best of", "cells", "points lost, mean", "90th pct", "over 5",
        *BESIDE, f"rival minus {OURS}",
    )  # fmt: skip
    return "\n\n".join(
        [
            "### Optimizers that set their own learning rate",
            "Trained, not replayed, on cells of Adam and AdamW at the shorter length, with their "
            "own defaults (`score/trained.py` says which). They spend no steps on a search. "
            "Beside them the points that rules lose on the same trainings.",
            table(header, rows),
        ]
    )


def rules_table(rules: dict[str, Any]) -> str:
    """Every column, best mean first."""
    header = (
        "rule", "points lost, mean", "90th pct", "worst", "over 1", "over 5", "within 1 %",
        "decades", "no answer", "steps",
    )  # fmt: skip
    rows = [
        (
            name if r["replayed"] == 1.0 else f"{name} (on {percent(r['replayed'])})",
            mean(r),
            f"{r['p90']:.1f}",
            f"{r['worst']:.0f}",
            percent(r["over_1"]),
            percent(r["over_5"]),
            percent(r["reliable"]),
            "" if r["decades"] is None else f"{r['decades']:+.2f} / {r['absolute_decades']:.2f}",
            percent(r["unanswered"]) if r["unanswered"] and name != FULL_GRID else "",
            steps(r["steps"]),
        )
        for name, r in ((n, rules[n]) for n in by_mean(rules))
    ]
    return table(header, rows)


def verdict(rules: dict[str, Any]) -> str:
    """In words: which rules can be told apart from `recommended`, and on which side."""
    sides: dict[str, list[str]] = {"less": [], "more": [], "as much, for all that can be told": []}
    for name in by_mean(rules):
        low, high = rules[name].get("minus_ours_interval", (None, None))
        if low is not None and high is not None:
            sides["less" if high < 0 else "more" if low > 0 else list(sides)[2]].append(name)
    ours = rules[OURS]
    lines = [
        f"`{OURS}`, as the package has it, loses {mean(ours)} points, and more than five in "
        f"{percent(ours['over_5'])} of the trainings."
    ]
    lines += [f"- Lose {side}: {'; '.join(names) or 'none'}." for side, names in sides.items()]
    return "\n".join([lines[0], "", *lines[1:]])


def against_table(rules: dict[str, Any]) -> str:
    """Paired differences from `recommended`."""
    rows = [
        (
            name,
            f"{rules[name]['minus_ours']:+.2f}",
            interval(rules[name]["minus_ours_interval"], "+.2f").strip(),
        )
        for name in by_mean(rules)
        if "minus_ours" in rules[name]
    ]
    return table(("rule", "points lost minus `recommended`'s", "95 % over tasks"), rows)


def group_table(score: dict[str, Any], names: Sequence[str]) -> str:
    """Mean and share over five points of every rule in some groups of trainings."""
    known = [n for n in names if n in score]
    header = ["rule", *(f"{n} ({tasks(score[n]['tasks'])})" for n in known)]
    rows = [
        (
            rule,
            *(
                "" if rule not in score[n]["rules"] else short(score[n]["rules"][rule])
                for n in known
            ),
        )
        for rule in by_mean(score["all"]["rules"])
    ]
    return table(header, rows) + "\n\n*points lost, mean [95 %]; share over 5 points*"


def picks_guide(figures: dict[str, Any]) -> str:
    """What the package's own picks lose, for the guide to them."""
    score = figures["score"]
    names = {
        "`recommended`": OURS,
        "`midpoint`": "method 1, log-midpoint",
        "`half_loss`": "method 2, half-loss",
        "`steepest`": "method 3, steepest",
        "lowest short loss": "lowest short loss (argmin)",
    }
    groups = [g for g in ("all", "fine-tuning") if g in score]
    rows = [
        (
            pick,
            *(short(score[g]["rules"][rule]) for g in groups),
        )
        for pick, rule in names.items()
    ]
    return table(("pick", *("from scratch" if g == "all" else g for g in groups)), rows)
