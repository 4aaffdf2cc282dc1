"""What importing the package loads, and what it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import optuna_lrss


HEAVY = {"torch", "plotly", "matplotlib", "sklearn", "pandas", "typer", "optuna_dashboard"}


def _modules(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return _modules("import optuna_lrss")


def test_importing_loads_nothing_heavy(loaded: set[str]) -> None:
    assert "optuna_lrss" in loaded
    assert not HEAVY & {module.split(".")[0] for module in loaded}


def test_importing_leaves_the_optional_parts_alone(loaded: set[str]) -> None:
    ours = {m for m in loaded if m.startswith("optuna_lrss.")}
    assert all(m.split(".")[1].startswith("_") for m in ours)


def test_a_whole_search_loads_nothing_heavy() -> None:
    search = (
        "import optuna, optuna_lrss\n"
        "optuna.logging.set_verbosity(40)\n"
        "s = optuna.create_study(sampler=optuna_lrss.LRStepSampler(),"
        " pruner=optuna_lrss.LRStepPruner())\n"
        "s.set_user_attr('lrss:baseline', 1.0)\n"
        "f = lambda lr: (1 - 9 * lr) ** 40 if lr < 0.3 else float('inf')\n"
        "s.optimize(lambda t: f(t.suggest_float('lr', 1e-7, 10, log=True)))\n"
        "print(optuna_lrss.analyze(s))"
    )
    modules = _modules(search)
    assert not HEAVY & {module.split(".")[0] for module in modules}


def test_every_public_name_exists_and_is_documented() -> None:
    assert sorted(optuna_lrss.__all__) == list(optuna_lrss.__all__)
    for name in optuna_lrss.__all__:
        assert getattr(optuna_lrss, name).__doc__
    promised = {"LRStepSampler", "LRStepPruner", "analyze", "LRAnalysis", "repeat_index"}
    assert promised <= set(optuna_lrss.__all__)


def test_the_package_is_typed() -> None:
    assert (Path(optuna_lrss.__file__).parent / "py.typed").exists()
