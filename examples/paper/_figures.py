"""Figures 3 to 9 of the paper, drawn from the studies; nothing here computes a pick."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.paper._config import PAPER_EXPERIMENTS
from examples.paper._results import Results
from optuna_lrss import LRAnalysis
from optuna_lrss._method.fit import STEP
from optuna_lrss._method.knee import flank_curvature


#: The paper's colours of its methods 1, 2, 3 (section 5); ``recommended`` and
#: ``peak`` are ours.
COLORS = {
    "midpoint": "tab:orange",
    "half_loss": "tab:blue",
    "steepest": "tab:green",
    "recommended": "tab:red",
    "peak": "tab:purple",
}
LABELS = {
    "midpoint": "method 1",
    "half_loss": "method 2",
    "steepest": "method 3",
    "recommended": "recommended",
    "peak": "peak, decaying",
}
#: The package's own picks are drawn in lines of their own.
_LINES = {"recommended": ":", "peak": "--"}
_DPI = 110

Panel = Callable[[Axes, LRAnalysis], None]


def figure_names(scale: str) -> dict[str, str]:
    """File names by figure, the paper's numbers and ``finetune``."""
    prefix = "" if scale == "cpu" else f"{scale}-"
    return {key: f"{prefix}fig{key}.png" for key in "3456789"} | {
        "finetune": f"{prefix}finetune.png"
    }


def draw_all(results: Mapping[str, Results], out: Path) -> list[Path]:
    """Draws all figures that the results allow.

    Args:
        results: Results by experiment, of one scale.
        out: Folder to write to.

    Returns:
        The files.
    """
    mpl.use("agg")
    drawn = []
    paper = [results[name] for name in PAPER_EXPERIMENTS if name in results]
    scale = next(iter(results.values()))["scale"] if results else "cpu"
    names = figure_names(scale)
    if paper:
        single: dict[str, Panel] = {
            "3": _loss_curve,
            "4": _curvature,
            "5": _method_1,
            "6": _method_2,
            "8": _refined,
        }
        for key, panel in single.items():
            drawn.append(_save(_row_of(paper, panel), out / names[key]))
        drawn.append(_save(_method_3(paper), out / names["7"]))
        drawn.append(_save(_final_accuracies(paper), out / names["9"]))
    if "finetune" in results:
        drawn.append(_save(_finetune(results["finetune"]), out / names["finetune"]))
    return drawn


def _save(figure: Figure, path: Path) -> Path:
    # Without the version and date that matplotlib adds, the same figures give the same file.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return path


def _analysis(results: Results) -> LRAnalysis:
    return LRAnalysis.from_dict(results["analysis"])


def _row_of(paper: list[Results], panel: Panel) -> Figure:
    """One panel per experiment, side by side."""
    figure = Figure(figsize=(4.2 * len(paper), 3.5), layout="constrained")
    axes = figure.subplots(1, len(paper), squeeze=False)[0]
    for ax, results in zip(axes, paper, strict=True):
        panel(ax, _analysis(results))
        ax.set(title=results["title"], xlabel="learning rate")
        _legend(ax)
    return figure


def _legend(ax: Axes) -> None:
    handles, _ = ax.get_legend_handles_labels()
    if handles:
        ax.legend(frameon=False, fontsize=8)


# --- Figures 3, 4, 5, 6, 8: one panel per experiment ---------------------------------------------


def _top(analysis: LRAnalysis) -> float:
    """Losses above this are drawn at the upper edge: how high they are says nothing."""
    return analysis.baseline + 0.6 * (analysis.baseline - analysis.lowest)


def _points(ax: Axes, analysis: LRAnalysis, color: Any = "0.3") -> None:
    lr, loss = analysis.curve.lr, analysis.curve.loss
    top = _top(analysis)
    high = loss > top
    ax.plot(lr[~high], loss[~high], "o", color=color, ms=4)
    ax.plot(lr[high], np.full(high.sum(), top), "^", color=color, ms=5, clip_on=False)
    margin = 0.08 * (top - analysis.lowest)
    lowest = min(float(loss.min()), analysis.lowest)
    ax.set(xscale="log", ylim=(lowest - margin, top))
    ax.set_ylabel(f"validation loss after {analysis.steps} steps")


def _fitted(ax: Axes, analysis: LRAnalysis) -> None:
    fit = analysis.fit
    loss = analysis.lowest + fit.value * (analysis.baseline - analysis.lowest)
    lr = 10**fit.x
    wall = (lr > analysis.max_lr) & (fit.value > 1.2)  # from there on the model is cut off
    end = int(np.argmax(wall)) if wall.any() else lr.size
    ax.plot(lr[:end], loss[:end], color="0.55", lw=1.2)


def _loss_curve(ax: Axes, analysis: LRAnalysis) -> None:
    _fitted(ax, analysis)
    _points(ax, analysis)
    ax.axhline(analysis.baseline, color="0.6", ls=":", label="untrained model")


def _curvature(ax: Axes, analysis: LRAnalysis) -> None:
    fit = analysis.fit
    flank = fit.x < fit.flank_end - STEP  # a kink where it ends says nothing about the curve
    ax.plot(10 ** fit.x[flank], flank_curvature(fit)[flank], color="0.3")
    ax.axvline(analysis.min_lr, color="tab:purple", label=f"min_lr {analysis.min_lr:.2g}")
    ax.set(xscale="log", ylabel="curvature of the left flank")


def _window(ax: Axes, analysis: LRAnalysis) -> None:
    ax.axvspan(analysis.min_lr, analysis.max_lr, color="tab:orange", alpha=0.12, lw=0)
    for lr in (analysis.min_lr, analysis.max_lr):
        ax.axvline(lr, color="0.5", lw=1)


def _pick(ax: Axes, analysis: LRAnalysis, name: str) -> None:
    lr = getattr(analysis, name)
    ax.axvline(lr, color=COLORS[name], lw=2, label=f"{LABELS[name]} {lr:.2g}")


def _method_1(ax: Axes, analysis: LRAnalysis) -> None:
    _window(ax, analysis)
    _fitted(ax, analysis)
    _points(ax, analysis)
    _pick(ax, analysis, "midpoint")


def _method_2(ax: Axes, analysis: LRAnalysis) -> None:
    _fitted(ax, analysis)
    _points(ax, analysis)
    half = (analysis.baseline + analysis.lowest) / 2
    for loss, text in ((analysis.baseline, "untrained"), (analysis.lowest, "lowest")):
        ax.axhline(loss, color="0.6", ls=":", lw=1)
        ax.annotate(
            text, (0.01, loss), xycoords=("axes fraction", "data"), fontsize=7, va="bottom"
        )
    ax.axhline(half, color=COLORS["half_loss"], ls="--", lw=1)
    _pick(ax, analysis, "half_loss")


def _refined(ax: Axes, analysis: LRAnalysis) -> None:
    """The points in the order they were chosen, first light, last dark."""
    numbers, lrs, losses = (np.array(column) for column in zip(*analysis.trials, strict=True))
    _points(ax, analysis, color="none")
    shown = np.minimum(np.where(np.isnan(losses), np.inf, losses), _top(analysis))
    dots = ax.scatter(lrs, shown, c=numbers, cmap="viridis_r", s=26, zorder=3, clip_on=False)
    bar = ax.figure.colorbar(dots, ax=ax, pad=0.01)
    bar.set_label("trial", fontsize=8)
    for name in ("min_lr", "half_loss", "steepest", "max_lr"):
        ax.axvline(getattr(analysis, name), color="0.7", lw=1, zorder=1)


# --- Figure 7: the derivative, and its minimum on the curve --------------------------------------


def _method_3(paper: list[Results]) -> Figure:
    figure = Figure(figsize=(4.2 * len(paper), 5.6), layout="constrained")
    axes = figure.subplots(2, len(paper), squeeze=False, sharex="col")
    for (above, below), results in zip(axes.T, paper, strict=True):
        analysis = _analysis(results)
        fit = analysis.fit
        known = 10**fit.x <= analysis.max_lr
        slope = np.gradient(fit.value, fit.x)[known] * (analysis.baseline - analysis.lowest)
        above.plot(10 ** fit.x[known], slope, color="0.3")
        _pick(above, analysis, "steepest")
        above.set(title=results["title"], xscale="log", ylabel="slope, loss per decade")
        _fitted(below, analysis)
        _points(below, analysis)
        _pick(below, analysis, "steepest")
        below.set(xlabel="learning rate")
        _legend(above)
    return figure


# --- Figure 9: final accuracies, with the picks and the window -----------------------------------


def _final_accuracies(paper: list[Results]) -> Figure:
    figure = Figure(figsize=(4.2 * len(paper), 3.9), layout="constrained")
    axes = figure.subplots(1, len(paper), squeeze=False)[0]
    for ax, results in zip(axes, paper, strict=True):
        _accuracy(ax, results)
        ax.set(title=results["title"])
    _legend_below(figure, axes[-1])  # which alone is sure to have every pick
    return figure


def _accuracy(ax: Axes, results: Results) -> None:
    """The grid's curve; picks as bars; the window's ends as orange dots, as in the paper."""
    entries = sorted(
        [*results["grid"], *_constant(results), *results["rivals"].values()],
        key=lambda entry: entry["lr"],
    )
    for entry in entries:
        n = len(entry["accuracies"])
        ax.plot([entry["lr"]] * n, entry["accuracies"], ".", color="0.65", ms=4, zorder=2)
    lrs = [entry["lr"] for entry in results["grid"]]
    heights = curve_of(results)
    ax.plot(lrs, heights, "o-", color="0.3", ms=4, lw=1.2)
    for name, entry in results["picks"].items():
        style = _LINES.get(name, "-")
        ax.axvline(entry["lr"], color=COLORS[name], ls=style, lw=2, label=LABELS[name], zorder=1)
        if name == "peak":  # another schedule than the curve's
            ax.plot(entry["lr"], entry["mean"], "D", color=COLORS[name], mec="k", ms=6, zorder=3)
    window = [results["analysis"]["min_lr"], results["analysis"]["max_lr"]]
    ends = np.interp(np.log10(window), np.log10(lrs), heights)
    ax.plot(window, ends, "o", color="tab:orange", mec="k", ms=8, label="window", zorder=3)
    ax.set(xscale="log", xlabel="learning rate", ylabel="final test accuracy, %")


def _constant(results: Results) -> list[Results]:
    """Picks whose accuracies were measured at a constant rate."""
    return [
        found
        for name, found in results["picks"].items()
        if name != "peak" and "read_off" not in found
    ]


def curve_of(results: Results) -> list[float]:
    """The grid's accuracies: of its first seed, or the mean where every seed trained it all."""
    n = results["grid_seeds"]
    return [float(np.mean(found["accuracies"][:n])) for found in results["grid"]]


def _legend_below(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8
    )


# --- Fine-tuning: the search, a range test and the full trainings --------------------------------


def _finetune(results: Results) -> Figure:
    figure = Figure(figsize=(8, 9), layout="constrained")
    search, sweep, final = figure.subplots(3, 1, sharex=True)
    analysis = _analysis(results)
    _window(search, analysis)
    _fitted(search, analysis)
    _points(search, analysis)
    for name in results["picks"]:
        _pick(search, analysis, name)
    search.set(title=f"{results['title']}: short trials, each from the same start")
    search.legend(frameon=False, fontsize=8, loc="lower left")
    lr, loss = np.array(results["sweep"]["lr"]), np.array(results["sweep"]["loss"])
    sweep.plot(lr, loss, color="0.3")
    fall = float(loss[0] - loss.min())
    sweep.set(
        title="one range test (fastai): the learning rate rises at every step",
        ylabel="smoothed minibatch loss",
        ylim=(loss.min() - 2.5 * fall, loss[0] + 2.5 * fall),  # beyond it only blows up
    )
    _accuracy(final, results)
    final.set(title=f"full trainings of {results['full_steps']} steps")
    lines = ("-", "--", "-.", ":", (0, (1, 3)), (0, (5, 5)))
    for (name, entry), line in zip(results["rivals"].items(), lines, strict=False):
        for ax in (sweep, final):
            ax.axvline(entry["lr"], color="0.5", ls=line, lw=1.3, label=name)
    sweep.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    handles, labels = final.get_legend_handles_labels()
    ours = [i for i, label in enumerate(labels) if label not in results["rivals"]]
    final.legend(
        [handles[i] for i in ours],
        [labels[i] for i in ours],
        frameon=False,
        fontsize=8,
        loc="lower left",
    )
    shown = [*analysis.curve.lr, *(entry["lr"] for entry in results["grid"])]
    final.set_xlim(min(shown) / 2, max(shown) * 2)
    return figure
