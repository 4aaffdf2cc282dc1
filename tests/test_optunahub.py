"""The packages for OptunaHub: they load, their examples run, their READMEs keep the rules."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import optuna
import optunahub
import pytest
import yaml

import optuna_lrss
import optuna_lrss.visualization


ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "examples" / "optunahub"
PACKAGES = ["samplers/lr_step", "pruners/lr_step", "visualization/plot_lr_curve"]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def load(package: str) -> ModuleType:
    return optunahub.load_local_module(package, registry_root=str(REGISTRY))


def test_they_are_the_package_s_own_objects() -> None:
    sampler, pruner, plot = (load(package) for package in PACKAGES)
    assert sampler.LRStepSampler is optuna_lrss.LRStepSampler
    assert pruner.LRStepPruner is optuna_lrss.LRStepPruner
    assert plot.plot_lr_curve is optuna_lrss.visualization.plot_lr_curve
    found = {str(p.parent.relative_to(REGISTRY)) for p in REGISTRY.glob("*/*/__init__.py")}
    assert found == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_example_of_the_readme_runs(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(optunahub, "load_module", load)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (example,) = CODE.findall((REGISTRY / package / "README.md").read_text(encoding="utf-8"))
    source = (REGISTRY / package / "example.py").read_text(encoding="utf-8")
    assert source.endswith(example)
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, "example.py", "exec"), namespace)
    assert optuna_lrss.analyze(namespace["study"]).resolved  # type: ignore[arg-type]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_keeps_the_registry_s_rules(package: str) -> None:
    readme = (REGISTRY / package / "README.md").read_text(encoding="utf-8")
    _, front, body = readme.split("---\n", 2)
    header = yaml.safe_load(front)
    assert list(header) == ["author", "title", "description", "tags", "optuna_versions", "license"]
    assert header["license"] == "MIT License"
    assert header["tags"][0] == package.split("/")[0].removesuffix("s")
    assert all(isinstance(v, str) for v in [*header["tags"], *header["optuna_versions"]])
    assert not re.search(r"<[a-zA-Z!/]", body), "no HTML"
    headings = re.findall(r"^## (.*)$", body, re.MULTILINE)
    assert headings[:4] == ["Abstract", "Class or Function Names", "Installation", "Example"]
    names = load(package).__all__
    assert re.findall(r"^- (\w+)$", body, re.MULTILINE) == names
    license_text = (REGISTRY / package / "LICENSE").read_text(encoding="utf-8")
    assert license_text == (ROOT / "LICENSE").read_text(encoding="utf-8")
