"""What README.md and docs/ say is true: code runs, output is real, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import io
import json
import re
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest

import optuna_lrss
from optuna_lrss._method.sureness import sureness


ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)
#: A code block, and the output block that may stand right under it.
CODE = re.compile(
    r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def _same_output(got: str, shown: str) -> None:
    """Equal up to trailing blanks and to what another processor changes in a number's tail."""
    got_lines = [line.rstrip() for line in got.strip().splitlines()]
    shown_lines = [line.rstrip() for line in shown.strip().splitlines()]
    assert [NUMBER.sub("#", line) for line in got_lines] == [
        NUMBER.sub("#", line) for line in shown_lines
    ]
    numbers = [float(n) for n in NUMBER.findall(" ".join(got_lines))]
    assert numbers == pytest.approx([float(n) for n in NUMBER.findall(shown)], rel=0.05)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # Lightning's advice
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft's call
@pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX`")
@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda p: p.stem)
def test_code_runs_and_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    blocks = CODE.findall(page.read_text(encoding="utf-8"))
    if not blocks:
        pytest.skip("no code on this page")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, shown in blocks:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), namespace)  # the page's blocks build on another
        if shown:
            _same_output(printed.getvalue(), shown)


def test_readme_example_goes_on_with_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(block for block, _ in CODE.findall(README.read_text(encoding="utf-8")))
    n_trials = []
    for _ in range(2):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        with redirect_stdout(io.StringIO()):
            exec(compile(code, str(README), "exec"), namespace)
        n_trials.append(len(namespace["study"].trials))
    assert n_trials[0] > 5
    assert n_trials[1] == n_trials[0] + 1  # optimize runs one trial at least


def test_readme_reaches_code_early_and_its_example_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    example = CODE.search(text)
    assert example is not None
    first = "**Every learning rate starts from the same weights and sees the same batches.**"
    assert text.startswith(f"# optuna_lrss\n\n{first}")
    assert text[: text.index("```")].count("\n") < 30
    assert text.index("](docs/images/quickstart.png)") < example.start()
    assert example.end() < text.index("<!-- landscapes -->")
    assert len([line for line in example[1].splitlines() if line.strip()]) <= 20
    assert example[2].strip(), "the example's output is missing"


def _split_off_too_high(output: str) -> tuple[str, float]:
    """The output without its last line, and the accuracy that the last line ends in.

    A training at ten times the recommended learning rate magnifies rounding errors: its accuracy
    differs by tens of points between processors.
    """
    rest, _, last = output.rstrip().rpartition("\n")
    assert "a decade above" in last
    return rest, float(NUMBER.findall(last)[-1])


def test_quickstart_prints_what_its_page_shows_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    quickstart = importlib.import_module("quickstart")
    quickstart.main()
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    _, _, after = page.partition("<!-- quickstart-output -->\n```text\n")
    got, got_too_high = _split_off_too_high(capsys.readouterr().out)
    shown, shown_too_high = _split_off_too_high(after.partition("```")[0])
    _same_output(got, shown)
    for accuracy in (got_too_high, shown_too_high):
        assert 5.0 < accuracy < 95.0
    assert (tmp_path / "quickstart.png").stat().st_size > 10_000
    study = optuna.load_study(study_name="quickstart", storage=quickstart.STORAGE)
    n_trials = len(study.trials)
    assert quickstart.search().n_trials == n_trials
    assert len(study.trials) == n_trials


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda p: p.stem)
def test_links_and_pictures_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [t.partition("#")[0] for t in targets if not re.match(r"https?:|#|mailto:", t)]
    missing = [f for f in files if not (page.parent / f).exists()]
    assert not missing


def test_tests_that_the_rivals_page_names_exist() -> None:
    page = (ROOT / "docs" / "rivals.md").read_text(encoding="utf-8")
    last_column = re.findall(r"^\|.*\|(.*)\|$", page, re.MULTILINE)
    named = set(re.findall(r"`(test_\w+)`", "\n".join(last_column)))
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "tests" / "torch").glob("*.py")]
    ours = set(re.findall(r"^def (test_\w+)", "\n".join(sources), re.MULTILINE))
    assert len(named) >= 30, "the search in the page has gone stale"
    assert named <= ours


def test_every_diagnostic_and_error_has_an_entry_in_troubleshooting() -> None:
    results = ROOT / "optuna_lrss" / "_result"
    source = "".join(path.read_text(encoding="utf-8") for path in results.glob("*.py"))
    codes = set(re.findall(r'Diagnostic\(\s*"([a-z-]+)"', source))
    errors = {n for n in optuna_lrss.__all__ if n.endswith("Error") and n != "NoWindowError"}
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### `([^`]+)`", page, re.MULTILINE)
    assert len(codes) >= 10, "the search in the source has gone stale"
    assert sorted(entries) == sorted(codes | errors)


def _benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, dict[str, Any]]:
    """A benchmark script as a module, and the figures it wrote."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples" / "benchmarks"), *sys.path])
    figures = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return importlib.import_module(name), figures


@pytest.mark.parametrize(
    "name",
    [
        "picks",
        "refinement",
        "nested",
        "workers",
        "faults",
        "long_studies",
        "overhead",
        "longer_trials",
        "beside_range_tests",
        "lanes",
        "minilm",
        "lora",
        "schedules",
        "cost",
    ],
)
def test_result_pages_hold_nothing_but_their_figures(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, figures = _benchmark(name, monkeypatch)
    page = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    assert script.render(figures) == page


def test_the_score_and_readme_hold_the_landscapes_figures() -> None:
    score = "examples.benchmarks.landscapes.score"
    page = importlib.import_module(f"{score}.page")
    price = importlib.import_module(f"{score}.price_page")
    between = importlib.import_module(f"{score}.forms").between
    results = ROOT / "docs" / "results"
    figures = json.loads((results / "landscapes.json").read_text(encoding="utf-8"))
    text = (results / "landscapes.md").read_text(encoding="utf-8")
    assert between(text, "score") == page.score_section(figures)
    assert between(text, "price") == price.price_section(figures)
    guide = ROOT / "docs" / "guide"
    for path, marker, expected in (
        (README, "landscapes", page.readme_table(figures)),
        (guide / "which-pick.md", "landscapes", price.offsets_guide(figures)),
        (guide / "which-pick.md", "landscapes-picks", page.picks_guide(figures)),
        (guide / "schedules.md", "landscapes", price.moves_guide(figures)),
    ):
        assert between(path.read_text(encoding="utf-8"), marker) == expected


def test_how_sure_the_picks_are_is_what_the_landscapes_say() -> None:
    page = importlib.import_module("examples.benchmarks.landscapes.score.advice_page")
    results = ROOT / "docs" / "results"
    figures = json.loads((results / "advice.json").read_text(encoding="utf-8"))
    assert (results / "advice.md").read_text(encoding="utf-8") == page.page(figures)
    for evidence, kinds in figures["sure"]["table"].items():
        assert evidence in ("longer", "short", "little")
        for pick, known in kinds.items():
            held = sureness(pick, longer=evidence == "longer", enough=evidence != "little")
            for name in ("low", "high", "too_high"):
                assert getattr(held, name) == pytest.approx(np.round(known[name], 2), abs=1e-9)
    assert {(e, p) for e, kinds in figures["sure"]["table"].items() for p in kinds} == {
        (e, p) for e in ("longer", "short", "little") for p in ("recommended", "peak")
    }
    source = Path(page.SURENESS).read_text(encoding="utf-8")
    assert page.sureness_table(figures["sure"]) in source  # as the script would write it


def test_vectorised_full_trainings_equal_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    script, _ = _benchmark("picks", monkeypatch)
    tasks = script.digits_tasks
    for task in tasks.TASKS[::3]:
        assert tasks.largest_difference(task, [1e-3, 3e-2], steps=10) < 1e-4


# --- What a page's install line brings is what its code imports ----------------------------------


GUIDES = ROOT / "docs" / "guide"
#: Extras, and what else is named, of a line for a clone.
INSTALL = re.compile(
    r"pip install (?:-c constraints\.txt )?-e ['\"]?\.(?:\[([\w,]+)\])?['\"]?([^`\n&]*)"
)
MODULE_OF = {"pyyaml": "yaml", "scikit-learn": "sklearn"}


def _brought(extras: set[str]) -> set[str]:
    """Modules of the run-time dependencies, and of these extras and those that they name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    wanted, seen = list(extras), set()
    lines = list(project["dependencies"])
    while wanted:
        extra = wanted.pop()
        if extra not in seen:
            seen.add(extra)
            lines += optional[extra]
    for line in lines:
        own = re.match(r"optuna-lrss\[([\w,]+)\]", line)
        if own:
            lines += [r for e in own[1].split(",") for r in optional[e]]
    return {_module(re.split(r"[<>=\[;~! ]", line, maxsplit=1)[0].lower()) for line in lines}


def _module(distribution: str) -> str:
    return MODULE_OF.get(distribution, distribution.replace("-", "_"))


@pytest.mark.parametrize("page", [README, *sorted(GUIDES.glob("*.md"))], ids=lambda p: p.stem)
def test_the_install_line_brings_what_the_code_imports(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = INSTALL.findall(text)
    assert not lines or "PyPI" in text, "not said what it will be on PyPI"
    extras = {e for listed, _ in lines for e in listed.split(",") if e}
    named = {_module(n) for _, rest in lines for n in rest.split()}
    tree = ast.parse("".join(block for block, _ in CODE.findall(text)))
    imported = {name.partition(".")[0] for node in ast.walk(tree) for name in _names_of(node)}
    known = _brought(extras) | named
    known |= set(sys.stdlib_module_names) | {"optuna_lrss"}
    assert imported <= known, imported - known


def _names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
