"""Plotly's figures in a browser 450 px wide, as readers of a page on a phone see them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from plotly.offline import get_plotlyjs

from optuna_lrss import LRStepSampler
from optuna_lrss import visualization
from optuna_lrss.visualization._plotly import write_page
from tests.visualization import cases


@functools.cache
def _small_learning_rates() -> optuna.Study:
    """Learning rates that take many digits to write."""
    study = cases.new_study(LRStepSampler())
    study.optimize(lambda trial: cases.loss_at(cases.suggest_x(trial), centre=-3.6))
    return study


CASES = [
    ("plot_lr_curve", cases.plain),
    ("plot_lr_curve", cases.noisy),
    ("plot_lr_curve", _small_learning_rates),
    ("plot_lr_curve", cases.nothing_learns),
    ("plot_lr_curvature", cases.plain),
    ("plot_lr_refinement", cases.noisy),
    ("plot_lr_horizons", cases.with_horizons),
    ("plot_lr_configurations", cases.with_configurations),
]
IDS = [f"{plot}-{make.__name__.strip('_')}" for plot, make in CASES]


#: ms. Machines that run the tests may be busy; nothing here measures time.
PATIENCE = 300_000


@contextmanager
def _small_page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 450, "height": 600})
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def blank(browser: Any) -> Iterator[Any]:
    """A page that has plotly.js and an element to draw into, as large as the page."""
    with _small_page(browser) as page:
        page.set_content('<body style="margin:0"><div id="plot" style="height:600px"></div>')
        page.add_script_tag(content=get_plotlyjs())
        yield page


@pytest.mark.parametrize(("plot", "make"), CASES, ids=IDS)
def test_the_tool_bar_covers_no_title_and_the_legend_cuts_no_label(
    blank: Any, plot: str, make: Any
) -> None:
    _draw(blank, getattr(visualization, plot)(make()))
    bar = blank.locator(".modebar").bounding_box()
    title = blank.locator(".gtitle").bounding_box()
    assert bar["width"] > 200, "the bar is over the title's place"
    assert title["y"] >= bar["y"] + bar["height"] - 2.0  # px of a line above its letters
    assert title["x"] + title["width"] <= 450
    plotted = blank.locator(".nsewdrag").first.bounding_box()
    assert plotted["y"] >= title["y"] + title["height"]
    legend = blank.locator(".legend .bg").bounding_box()
    for label in blank.locator(".legendtext").all():
        box = label.bounding_box()
        assert box["x"] + box["width"] <= legend["x"] + legend["width"]


def test_the_legend_of_a_curve_leaves_it_half_of_a_small_page(blank: Any) -> None:
    _draw(blank, visualization.plot_lr_curve(_small_learning_rates()))
    assert blank.locator(".nsewdrag").first.bounding_box()["height"] > 300


def _draw(page: Any, figure: Any) -> None:
    page.evaluate(
        "f => Plotly.newPlot('plot', f.data, f.layout, {responsive: true})",
        json.loads(figure.to_json()),
    )


@pytest.mark.parametrize(
    ("template", "color"), [("plotly", "rgb(255, 255, 255)"), ("plotly_dark", "rgb(17, 17, 17)")]
)
def test_a_page_is_as_dark_as_its_figure(
    browser: Any, tmp_path: Path, template: str, color: str
) -> None:
    figure = visualization.plot_lr_curve(cases.plain()).update_layout(template=template)
    path = tmp_path / "plot.html"
    write_page(figure, path)
    with _small_page(browser) as page:
        page.goto(path.as_uri())
        page.locator(".gtitle").wait_for()
        body = page.locator("body")
        assert body.evaluate("e => getComputedStyle(e).backgroundColor") == color
        drawn = page.locator(".main-svg").first
        assert drawn.evaluate("e => getComputedStyle(e).backgroundColor") == color
        assert drawn.bounding_box() == {"x": 0, "y": 0, "width": 450, "height": 600}
        assert page.title() == "Learning-rate curve"
