"""What all plotly figures share."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization._style import NOTE_WIDTH
from optuna_lrss.visualization._style import WINDOW_COLOR
from optuna_lrss.visualization._style import WINDOW_OPACITY
from optuna_lrss.visualization._style import Style
from optuna_lrss.visualization._style import wrap


if TYPE_CHECKING:
    from plotly.graph_objects import Figure


#: In px. Plotly's tool bar covers the upper 25 px of a figure, and 300 px of its width, which on a
#: small page is most of a title: titles stand below it, the foot of their first line here.
_BELOW_TOOL_BAR = 40
#: A page of its own for a figure: as dark as the figure, up to its edges, and at a phone's width.
_PAGE = """<!doctype html>
<html lang="en" style="height:100%">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body style="height:100%;margin:0;background:{background}">
{figure}
</body>
</html>
"""


def graph_objects() -> Any:
    """plotly.graph_objects, imported when a figure is drawn.

    Raises:
        ImportError: If plotly is not installed.
    """
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise ImportError(
            "Plots need plotly: pip install 'optuna-lrss[plot]'. "
            "optuna_lrss.visualization.matplotlib draws the same with matplotlib."
        ) from error
    return plotly.graph_objects


def figure(title: str, subtitle: str = "") -> Figure:
    """An empty figure with a title, and its legend below: legible from a width of 450 px on."""
    text = html.escape(title)
    if subtitle:
        text += f"<br><span style='font-size:12px'>{html.escape(subtitle)}</span>"
    drawn: Figure = graph_objects().Figure()
    drawn.update_layout(
        title={"text": text, "font": {"size": 16}, "x": 0.02, "xanchor": "left", "y": 1.0,
               "yanchor": "top", "pad": {"t": _BELOW_TOOL_BAR}},
        margin={"l": 50, "r": 5, "t": _BELOW_TOOL_BAR + 36, "b": 40},
        legend={"orientation": "h", "xref": "container", "x": 0.02, "xanchor": "left",
                "yref": "container", "y": 0.01, "yanchor": "bottom", "font": {"size": 10},
                "itemwidth": 30},
        showlegend=True,
        hovermode="closest",
    )  # fmt: skip
    return drawn


def write_page(drawn: Figure, path: Path) -> None:
    """Writes a figure as a page that needs no network, in the colour of the figure's template.

    Args:
        drawn: The figure.
        path: The page's file.
    """
    title = (drawn.layout.title.text or "").partition("<br>")[0]  # escaped already
    background = drawn.layout.template.layout.paper_bgcolor or "white"
    page = _PAGE.format(title=title, background=background, figure=drawn.to_html(full_html=False))
    path.write_text(page, encoding="utf-8")


def note(drawn: Figure, text: str) -> None:
    """A remark in the middle of the plot."""
    drawn.add_annotation(
        text="<br>".join(html.escape(line) for line in wrap(text, NOTE_WIDTH)),
        x=0.5, xref="paper", y=0.5, yref="paper", showarrow=False, align="left",
        bordercolor="#808080", borderwidth=1, borderpad=6, bgcolor="rgba(128,128,128,0.15)",
    )  # fmt: skip


def stack(drawn: Figure, rows: int, lr_label: str) -> None:
    """Rows above each other over one learning-rate axis, the first on top."""
    height = 1.0 / rows
    for i in range(1, rows + 1):
        top = 1.0 - (i - 1) * height
        domain = [max(top - 0.88 * height, 0.0), top]
        drawn.update_layout({f"yaxis{i}": {"domain": domain, "anchor": "x"}})
    lr_axis(drawn, lr_label)
    drawn.update_layout(xaxis={"anchor": f"y{rows}"})


def lr_axis(drawn: Figure, label: str) -> None:
    """A logarithmic axis with one tick per decade."""
    drawn.update_xaxes(title_text=label, type="log", exponentformat="power", dtick=1)


def window(drawn: Figure, low_high: tuple[float, float] | None) -> None:
    """The viable window, where there is one, shaded over the whole height."""
    if low_high is None:
        return
    low, high = low_high
    drawn.add_shape(
        type="rect", x0=low, x1=high, y0=0, y1=1, yref="paper", fillcolor=WINDOW_COLOR,
        opacity=WINDOW_OPACITY, line={"width": 0}, layer="below",
    )  # fmt: skip


def vertical(drawn: Figure, lr: float, style: Style) -> None:
    """A line over the whole height at a learning rate."""
    drawn.add_shape(
        type="line", x0=lr, x1=lr, y0=0, y1=1, yref="paper",
        line={"color": style.color, "dash": style.dash, "width": 1.4},
    )  # fmt: skip
