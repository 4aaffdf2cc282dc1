"""Imports point one way, and never in a circle: read off the sources, for type checkers too."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import optuna_lrss


ROOT = Path(optuna_lrss.__file__).parent
#: From the bottom up. What stands in one row may import nothing of its own row but itself.
LAYERS = (
    ("_method",),
    ("_study",),
    ("_result",),
    ("torch", "visualization"),
    ("_storages",),
    ("dashboard", "_demo", "integrations"),
    ("cli",),
)
HEIGHT = {name: i for i, row in enumerate(LAYERS) for name in row}
#: Calls, not imports: what LRAnalysis offers of the layers above it is looked up when it is asked.
ON_DEMAND = {("_result", layer) for layer in ("integrations", "torch", "visualization")}

Import = tuple[str, str, bool]  # who, whom, and whether only when a function is called


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imports() -> Iterator[Import]:
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        late = {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            for target in _targets(node):
                if target != module:
                    yield module, target, node in late


def _targets(node: ast.AST) -> Iterator[str]:
    """The package's own modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in MODULES:
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in MODULES else node.module for name in inside)


IMPORTS = sorted(set(_imports()))


def _part(module: str) -> str | None:
    """The folder or module of the package that a module is in; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_part_has_a_layer() -> None:
    assert {_part(module) for module in MODULES} - {None} == set(HEIGHT)


@pytest.mark.parametrize("part", HEIGHT)
def test_a_layer_imports_only_what_lies_below_it(part: str) -> None:
    mine = [(who, whom, late) for who, whom, late in IMPORTS if _part(who) == part]
    assert any(_part(module) == part for module in MODULES)
    for who, whom, late in mine:
        target = _part(whom)
        if target is None:  # the package's public names, of which the three layers are made
            assert HEIGHT[part] > HEIGHT["_result"], f"{who} imports {whom}"
        elif target != part and not (late and (part, target) in ON_DEMAND):
            assert HEIGHT[target] < HEIGHT[part], f"{who} imports {whom}"


@pytest.mark.parametrize("part", HEIGHT)
def test_no_module_is_imported_in_a_circle(part: str) -> None:
    """Not by a type checker either, and not by a function that imports when it is called."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES if _part(module) == part}
    for who, whom, _ in IMPORTS:
        if who in graph and whom in graph:
            graph[who].add(whom)
    assert graph
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("part", "foreign"),
    [("_method", {"optuna", "torch"}), ("_study", {"torch"}), ("_result", {"plotly"})],
)
def test_a_layer_loads_no_foreign_package(part: str, foreign: set[str]) -> None:
    for module, path in MODULES.items():
        if _part(module) != part:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names.append(node.module)
            assert not foreign & {name.split(".")[0] for name in names}, module
