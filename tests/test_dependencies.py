"""What the package imports is what pyproject.toml says, and no more than it needs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import optuna_lrss


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Distributions whose module goes by another name.
MODULE_OF = {"pyyaml": "yaml"}
#: Imported without being declared: what a declared one cannot do without, or is also called.
COMES_WITH = {
    "IPython": "the notebook that asks for a drawing; elsewhere nothing is missed",
    "sqlalchemy": "optuna",
    "pytorch_lightning": "lightning",
}
#: Run-time dependencies that one module alone imports, and why the standard library will not do.
IN_ONE_MODULE = {"tqdm": "a bar that shows in terminals and in notebooks, and keeps off both"}
#: In no module: these come in by what they plug into.
PLUGGED_IN = {"accelerate": "transformers"}


def _required(requirements: list[str]) -> set[str]:
    names = {re.split(r"[<>=\[;~! ]", r, maxsplit=1)[0].lower() for r in requirements}
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names}


RUN_TIME = _required(PROJECT["dependencies"])
EXTRAS = ("plot", "dashboard", "cli", "transformers", "lightning", "workers")
OPTIONAL = {m for e in EXTRAS for m in _required(PROJECT["optional-dependencies"][e])}


def _imported() -> dict[str, set[str]]:
    """Foreign top-level modules, and the files that import them to run."""
    package = Path(optuna_lrss.__file__).parent
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for name in _modules(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in sys.stdlib_module_names and name != "optuna_lrss":
                found.setdefault(name, set()).add(path.relative_to(package).as_posix())
    return found


def _modules(tree: ast.Module) -> Iterator[str]:
    skipped = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module.partition(".")[0]


IMPORTED = _imported()


def test_what_is_imported_is_declared() -> None:
    assert set(IMPORTED) - RUN_TIME - OPTIONAL - set(COMES_WITH) == set()


def test_what_is_declared_is_imported() -> None:
    assert RUN_TIME - set(IMPORTED) == set()
    extras = _required(
        [r for e in EXTRAS if e != "workers" for r in PROJECT["optional-dependencies"][e]]
    )
    assert extras - set(IMPORTED) - set(PLUGGED_IN) == set()


def test_no_run_time_dependency_serves_one_place_that_the_standard_library_would() -> None:
    once = {name for name in RUN_TIME if len(IMPORTED[name]) == 1}
    assert once <= set(IN_ONE_MODULE), {name: IMPORTED[name] for name in once}
