"""How an analysis shows itself in a notebook."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from optuna_lrss import analyze
from optuna_lrss.visualization._html import to_html
from tests.visualization import cases


def _parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # strict: unclosed or unescaped parts are errors


def test_shows_curve_window_and_table() -> None:
    result = analyze(cases.plain())
    text = to_html(result)
    root = _parsed(text)
    assert len(text) < 20_000
    drawing = root.find("svg")
    assert drawing is not None
    n_dots = len(drawing.findall("circle")) + sum(
        p.find("title") is not None for p in drawing.findall("path")
    )
    assert n_dots == len(result.trials)
    cells = [[c.text for c in row.findall("td")] for row in root.iter("tr")][1:]
    assert [row[2] for row in cells] == [
        f"{getattr(result, name):.2e}" for name in (*result.picks, "min_lr", "max_lr")
    ]
    assert [row[3] for row in cells] == [
        "{:.2e} .. {:.2e}".format(*result.intervals[name])
        for name in (*result.picks, "min_lr", "max_lr")
    ]
    assert "for a training of 1000 steps" in text


def test_longer_trials_have_lines_of_their_own() -> None:
    result = analyze(cases.with_longer())
    drawing = _parsed(to_html(result)).find("svg")
    assert drawing is not None
    lines = [g.find("path") for g in drawing.findall("g")]
    titles = [g.findtext("title") for g in drawing.findall("g")]
    assert titles == [f"after {steps} steps" for steps in result.longer] != []
    for line, curve in zip(lines, result.longer.values(), strict=True):
        assert line is not None
        shown = line.get("d", "").count("M") + line.get("d", "").count("L")
        assert shown == curve.finite.sum()


def test_window_is_as_wide_as_its_decades() -> None:
    result = analyze(cases.plain())
    drawing = _parsed(to_html(result)).find("svg")
    assert drawing is not None
    (window,) = drawing.findall("rect")
    dots = [float(c.get("cx", "nan")) for c in drawing.findall("circle")]
    lrs = [lr for _, lr, loss in result.trials if loss < 3.0]
    per_decade = (max(dots) - min(dots)) / math.log10(max(lrs) / min(lrs))
    width = float(window.get("width", "nan")) / per_decade
    assert width == pytest.approx(math.log10(result.max_lr / result.min_lr), abs=0.02)


def test_follows_the_page_s_text_colour() -> None:
    drawing = _parsed(to_html(analyze(cases.plain()))).find("svg")
    assert drawing is not None
    assert drawing.get("fill") == "currentColor"
    assert {"#ffffff", "#000000", "white", "black"}.isdisjoint(
        v for e in drawing.iter() for v in e.attrib.values()
    )


def test_text_of_the_user_is_no_markup() -> None:
    result = replace(
        analyze(cases.plain()), configuration={"<b>": "</div><script>alert(1)</script>"}
    )
    root = _parsed(to_html(result))
    assert list(root.iter("script")) == []
    assert "</div><script>" in "".join(root.itertext())


def test_needs_neither_plotly_nor_matplotlib_nor_torch() -> None:
    code = (
        "import sys\nfrom tests.visualization import cases\nfrom optuna_lrss import analyze\n"
        "from optuna_lrss.visualization._html import to_html\nto_html(analyze(cases.plain()))\n"
        "print([m for m in ('plotly', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_is_what_a_notebook_asks_for() -> None:
    result = analyze(cases.plain())
    assert result._repr_html_() == to_html(result)
