"""Names, colours, dashes and symbols that both backends share.

Colours are of middle lightness: each has a contrast of at least 3 to white and to a dark page.
None carries a meaning alone; dash and symbol say the same, for print and for colour-blind eyes.
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple


class Style(NamedTuple):
    """How one thing looks in plotly and in matplotlib."""

    label: str
    color: str
    dash: str
    symbol: str
    linestyle: str | tuple[int, tuple[int, ...]]
    marker: str

    def at(self, lr: float) -> str:
        """The label with its learning rate, for a legend."""
        return f"{self.label} {short(lr)}"


GREY = "#808080"
WINDOW_COLOR = "#3b82c4"
WINDOW_OPACITY = 0.18
#: Longest line of a remark, in characters: so much fits into a plot 450 px wide.
NOTE_WIDTH = 48

#: Picks and window edges.
POINTS: dict[str, Style] = {
    "recommended": Style("recommended", "#e0433a", "solid", "star", "-", "*"),
    "peak": Style("peak", "#b8275f", "longdashdot", "star-triangle-up", (0, (8, 2, 2, 2)), "P"),
    "midpoint": Style("midpoint", "#d07010", "dash", "diamond", "--", "D"),
    "half_loss": Style("half-loss", "#2a9463", "dashdot", "square-open", "-.", "s"),
    "steepest": Style("steepest", "#a05fc4", "dot", "x", ":", "X"),
    "min_lr": Style("min_lr", WINDOW_COLOR, "longdash", "triangle-right", (0, (8, 3)), ">"),
    "max_lr": Style("max_lr", WINDOW_COLOR, "longdash", "triangle-left", (0, (8, 3)), "<"),
}
PICKS = ("recommended", "peak", "midpoint", "half_loss", "steepest")

#: Short trials: those that are drawn where they are, and those pinned to the top edge.
TRIALS: dict[bool, Style] = {
    False: Style("short trial", GREY, "solid", "circle", "-", "o"),
    True: Style("diverged or beyond", GREY, "solid", "triangle-up", "-", "^"),
}

#: Losses that no trial measured but others passed through: hollow.
INFERRED = Style("inferred", GREY, "solid", "circle-open", "-", "o")

#: Why the sampler tried a learning rate.
ROLES: dict[str, Style] = {
    "coarse": Style("coarse look", GREY, "solid", "circle", "-", "o"),
    "min_lr": Style("refines min_lr", WINDOW_COLOR, "solid", "triangle-right", "-", ">"),
    "half_loss": Style("refines half-loss", "#2a9463", "solid", "square", "-", "s"),
    "steepest": Style("refines steepest", "#a05fc4", "solid", "x", "-", "X"),
    "max_lr": Style("refines max_lr", "#e0433a", "solid", "triangle-left", "-", "<"),
    "noise": Style("measures the noise", "#d07010", "solid", "star", "-", "*"),
    "repeat": Style("repeats", "#d07010", "solid", "diamond", "-", "D"),
    "recheck": Style("checks a divergence", "#d07010", "solid", "hourglass", "-", "d"),
    "": Style("role not recorded", GREY, "solid", "circle-open", "-", "o"),
}

#: For things that are counted, such as configurations.
SERIES: tuple[Style, ...] = tuple(
    Style("", color, dash, symbol, linestyle, marker)
    for color, dash, symbol, linestyle, marker in (
        ("#3b82c4", "solid", "circle", "-", "o"),
        ("#e0433a", "dash", "square", "--", "s"),
        ("#2a9463", "dashdot", "diamond", "-.", "D"),
        ("#a05fc4", "dot", "triangle-up", ":", "^"),
        ("#d07010", "longdash", "x", "--", "X"),
        ("#808080", "longdashdot", "star", "-.", "*"),
        ("#1b91a3", "solid", "triangle-down", "-", "v"),
        ("#c2528b", "dash", "hexagon", "--", "h"),
    )
)

#: Longer trials, one for each horizon: colours that no pick has.
LONGER: tuple[Style, ...] = SERIES[-2:]


def lr_label(param_name: str) -> str:
    """Title of the learning-rate axis."""
    return "learning rate" if param_name == "lr" else f"learning rate ({param_name})"


def loss_label(steps: int | None, loss: str = "validation loss") -> str:
    """Title of the loss axis.

    Args:
        steps: Horizon of the short trials, if known.
        loss: What the loss is.
    """
    return loss if steps is None else f"{loss} after {steps} steps"


def window_label(low: float, high: float) -> str:
    """The viable window in words."""
    return f"window {short(low)} to {short(high)}"


def short(value: float) -> str:
    """A learning rate or loss in three digits."""
    return f"{value:.3g}"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` characters."""
    return textwrap.wrap(text, width)


def rounded(values: list[float]) -> list[float]:
    """Six digits: what an eye can see, and a figure of a third of the size."""
    return [float(f"{v:.6g}") for v in values]
