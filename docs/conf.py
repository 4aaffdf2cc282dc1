"""Sphinx configuration: sphinx -W -n -b html docs docs/_build/html."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import optuna_lrss
import optuna_lrss.integrations.lightning
import optuna_lrss.integrations.transformers
import optuna_lrss.torch


project = "optuna_lrss"
author = "The optuna_lrss authors"
copyright = "2026, The optuna_lrss authors"
release = installed_version("optuna-lrss")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
# Not -- to dashes: the pages name command line options.
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Readers import public names from the package; which private module defines them is no matter.
_integrations = (optuna_lrss.integrations.lightning, optuna_lrss.integrations.transformers)
for package in (optuna_lrss, optuna_lrss.torch, *_integrations):
    for name in package.__all__:
        getattr(package, name).__module__ = package.__name__

# The build runs without a network, so other projects' names cannot be resolved.
nitpick_ignore_regex = [
    (r"py:.*", r"(optuna\.|torch\.|nn\.|numpy|np\.|scipy|plotly|matplotlib|collections|typing).*"),
    (
        r"py:.*",
        r"(NDArray|FloatArray|Iterable|Callable|Mapping|Sequence|Unpack|Any|Optimizers?|Steps)",
    ),
    (r"py:.*", r"(pl|lightning|transformers|Trainer|SearchOptions)(\..*)?"),
    (r"py:.*", r"(Study|Trial|FrozenTrial|BaseTrial|BaseSampler|BaseStorage|FloatDistribution)"),
    (
        r"py:.*",
        r"(LossForm|ValidationBatches|Start|StepOptions|Settings|OneCycleLR|CyclicLR|LambdaLR|LRScheduler|Figure|Axes|go|optional|callable)",
    ),
    (r"py:.*", r"(int|float|bool|str|dict|tuple|list|None|object|[A-Z]\w*Error)"),
]

html_theme = "furo"
html_title = "optuna_lrss"
html_static_path = ["_static"]


# Formulas become MathML, which browsers draw themselves: no script from elsewhere, no network.


def _mathml(node: nodes.Element, display: str) -> str:
    return latex2mathml.converter.convert(node.astext(), display=display)


def _visit_math(self: HTML5Translator, node: nodes.Element) -> None:
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _visit_math_block(self: HTML5Translator, node: nodes.Element) -> None:
    self.body.append(f'<div class="math">{_mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


html_math_renderer = "mathml"


def setup(app: Sphinx) -> None:
    """Registers the MathML renderer."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
