"""Both backends draw the same, legibly: in dark and light, in black and white, at 450 px."""

from __future__ import annotations

import functools
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from matplotlib.colors import to_rgb

from optuna_lrss import visualization
from optuna_lrss.visualization import _style
from optuna_lrss.visualization import matplotlib as twins
from optuna_lrss.visualization._lr_configurations import _results
from tests.visualization import cases


CASES = [
    ("plot_lr_curve", cases.plain),
    ("plot_lr_curve", cases.noisy),
    ("plot_lr_curve", cases.with_paths),
    ("plot_lr_curve", cases.random_search),
    ("plot_lr_curve", cases.nothing_learns),
    ("plot_lr_curve", cases.with_longer),
    ("plot_lr_curvature", cases.plain),
    ("plot_lr_refinement", cases.noisy),
    ("plot_lr_refinement", cases.random_search),
    ("plot_lr_horizons", cases.with_horizons),
    ("plot_lr_configurations", cases.with_configurations),
]
IDS = [f"{plot}-{make.__name__}" for plot, make in CASES]
Make = Callable[[], optuna.Study]


@functools.cache
def _subject(plot: str, make: Make) -> Any:
    """What to draw, analysed once."""
    if plot == "plot_lr_configurations":
        return tuple(_results(make(), None))
    return cases.analysed(make)


def _legend(axes: Any) -> list[str]:
    (legend,) = np.ravel(axes)[0].figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("plot", "make"), CASES, ids=IDS)
def test_twins_say_the_same(plot: str, make: Make) -> None:
    figure = getattr(visualization, plot)(_subject(plot, make))
    axes = getattr(twins, plot)(_subject(plot, make))
    shown = [t.name for t in figure.data if t.showlegend is not False]
    assert _legend(axes) == shown
    title, _, rest = figure.layout.title.text.partition("<br>")
    lines = np.ravel(axes)[0].get_title(loc="left").split("\n")
    assert lines[0] == title
    assert lines[1] in rest
    lowest = np.ravel(axes)[-1]
    assert lowest.get_xlabel() == figure.layout.xaxis.title.text
    labels = [ax.get_ylabel().replace("\n", "<br>") for ax in np.ravel(axes)]
    assert labels == [figure.layout[k].title.text for k in _y_axes(figure)]


def _y_axes(figure: Any) -> list[str]:
    return sorted(k for k in figure.to_plotly_json()["layout"] if k.startswith("yaxis"))


@pytest.mark.parametrize(("plot", "make"), CASES, ids=IDS)
def test_every_trace_is_on_both(plot: str, make: Make) -> None:
    """The points of each plotly trace are among those that matplotlib drew."""
    figure = getattr(visualization, plot)(_subject(plot, make))
    axes = np.ravel(getattr(twins, plot)(_subject(plot, make)))
    drawn = [np.empty((0, 2))]
    for ax in axes:
        drawn += [np.column_stack(line.get_data()) for line in ax.lines]
        for collection in ax.collections:
            drawn.append(np.atleast_2d(collection.get_offsets()))
            drawn += [path.vertices for path in collection.get_paths()]
    known = _comparable(np.concatenate(drawn))
    for trace in figure.data:
        points = _comparable(np.column_stack([trace.x, trace.y]).astype(float))
        distance = np.abs(points[:, None] - known[None]).max(axis=2).min(axis=1)
        assert distance.max() < 1e-4, trace.name


def _comparable(points: np.ndarray) -> np.ndarray:
    """Points that are drawn, learning rates or steps as logarithms."""
    points = np.asarray(points, dtype=float)
    points = points[np.isfinite(points).all(axis=1) & (points[:, 0] > 0)]
    return np.column_stack([np.log10(points[:, 0]), points[:, 1]])


@pytest.mark.parametrize(("plot", "make"), CASES, ids=IDS)
def test_plotly_figure_is_small_strict_json_with_hover_text(plot: str, make: Make) -> None:
    figure = getattr(visualization, plot)(_subject(plot, make))
    figure.update_layout(template="none")
    text = figure.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "bdata" not in text  # typed arrays, which older plotly.js does not read
    assert len(text) < 80_000
    explained = [t for t in figure.data if t.hovertemplate or t.hoverinfo == "skip"]
    assert len(explained) == len(figure.data)


@pytest.mark.parametrize(("plot", "make"), CASES, ids=IDS)
def test_matplotlib_keeps_everything_inside_450_px(plot: str, make: Make) -> None:
    axes = np.ravel(getattr(twins, plot)(_subject(plot, make)))
    figure = axes[0].figure
    figure.set_size_inches(4.5, figure.get_size_inches()[1])
    figure.set_dpi(100)
    figure.savefig(io.BytesIO(), format="png", dpi=100)
    width, height = figure.bbox.size
    (legend,) = figure.legends
    renderer = figure.canvas.get_renderer()
    box = legend.get_window_extent(renderer)
    assert box.x0 >= -1
    assert box.x1 <= width + 1
    assert box.y0 >= -1
    for ax in axes:
        plotted = ax.get_window_extent(renderer)
        assert not plotted.overlaps(box)
        assert plotted.width > 0.5 * width
        assert ax.title.get_window_extent(renderer).x1 <= width
    assert axes[0].get_window_extent(renderer).height > 0.2 * height


def test_styles_of_the_user_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    twins.plot_lr_curve(cases.plain())
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "styles",
    [_style.POINTS.values(), _style.ROLES.values(), _style.SERIES],
    ids=["points", "roles", "series"],
)
def test_nothing_is_told_by_colour_alone(styles: Any) -> None:
    for one, other in itertools.combinations(styles, 2):
        assert (one.dash, one.symbol) != (other.dash, other.symbol)
        assert (one.linestyle, one.marker, "open" in one.symbol) != (
            other.linestyle, other.marker, "open" in other.symbol,
        )  # fmt: skip


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
def test_colours_stand_out_on_light_and_dark_pages(page: str) -> None:
    """WCAG 2: graphics need a contrast of 3."""
    styles = [*_style.POINTS.values(), *_style.ROLES.values(), *_style.SERIES]
    for color in {s.color for s in styles}:
        light, dark = sorted((_luminance(color), _luminance(page)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.0, color


def _luminance(color: str) -> float:
    rgb = np.asarray(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_importing_the_plots_loads_no_backend() -> None:
    code = (
        "import sys, optuna_lrss.visualization, optuna_lrss.visualization.matplotlib\n"
        "print([m for m in ('plotly', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("missing", "module"),
    [("plotly", visualization), ("matplotlib", twins)],
    ids=["plotly", "mpl"],
)
def test_missing_backend_names_the_extra(
    missing: str, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"{missing}.graph_objects", None)
    monkeypatch.setitem(sys.modules, f"{missing}.pyplot", None)
    with pytest.raises(ImportError, match=r"optuna-lrss\[plot\]"):
        module.plot_lr_curve(cases.plain())


@pytest.mark.parametrize(
    ("backend", "module"),
    [("plotly", visualization), ("matplotlib", twins)],
    ids=["plotly", "mpl"],
)
def test_an_analysis_plots_itself(backend: str, module: Any) -> None:
    result = cases.analysed(cases.plain)
    drawn, expected = result.plot(backend=backend), module.plot_lr_curve(result)
    assert type(drawn) is type(expected)
    if backend == "plotly":
        assert drawn.to_json() == expected.to_json() == result.plot().to_json()
    else:
        assert _legend(drawn) == _legend(expected)


@pytest.mark.parametrize("backend", ["bokeh", None, ["plotly"]])
def test_an_unknown_backend_is_refused(backend: Any) -> None:
    with pytest.raises(ValueError, match=r"backend=.*'plotly' or 'matplotlib'"):
        cases.analysed(cases.plain).plot(backend=backend)
