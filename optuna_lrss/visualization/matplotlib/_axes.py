"""What all matplotlib plots share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization._style import NOTE_WIDTH
from optuna_lrss.visualization._style import WINDOW_COLOR
from optuna_lrss.visualization._style import WINDOW_OPACITY
from optuna_lrss.visualization._style import Style
from optuna_lrss.visualization._style import wrap


if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pyplot() -> Any:
    """matplotlib.pyplot, imported when a figure is drawn.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'optuna-lrss[plot]'. "
            "optuna_lrss.visualization draws the same with plotly."
        ) from error
    return plt


def axes(title: str, subtitle: str = "", *, rows: int = 1, height: float = 4.8) -> Any:
    """Axes with a title, above each other if there are several; in the user's own style."""
    _, ax = pyplot().subplots(
        rows, 1, sharex=True, squeeze=False, layout="constrained", figsize=(6.4, height)
    )
    text = f"{title}\n{subtitle}" if subtitle else title
    ax[0, 0].set_title(text, loc="left", fontsize="medium")
    return ax[:, 0]


def legend(*axes: Axes) -> None:
    """One legend below the axes, legible from a width of 450 px on."""
    handles = [handle for ax in axes for handle in ax.get_legend_handles_labels()[0]]
    if handles:
        axes[0].figure.legend(
            handles=handles, loc="outside lower center", ncols=2, fontsize="small", frameon=False
        )


def window(ax: Axes, low_high: tuple[float, float] | None) -> None:
    """The viable window, where there is one, shaded over the whole height."""
    if low_high is not None:
        ax.axvspan(*low_high, color=WINDOW_COLOR, alpha=WINDOW_OPACITY, lw=0)


def vertical(ax: Axes, lr: float, style: Style) -> None:
    """A line over the whole height at a learning rate."""
    ax.axvline(lr, color=style.color, ls=style.linestyle, lw=1.4)


def note(ax: Axes, text: str) -> None:
    """A remark in the middle of the plot."""
    ax.text(
        0.5,
        0.5,
        "\n".join(wrap(text, NOTE_WIDTH)),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize="small",
        bbox={"boxstyle": "round", "facecolor": "#80808030", "edgecolor": "#808080"},
    )


def outline(style: Style) -> dict[str, Any]:
    """An open symbol, so that one under it is seen, or a filled one with a light edge."""
    if style.symbol.endswith("-open"):
        return {"mfc": "none", "mec": style.color, "mew": 1.8}
    return {"mec": "white", "mew": 0.8}
