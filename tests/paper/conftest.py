"""The paper's experiments need transformers, an optional dependency."""

from __future__ import annotations

from importlib.util import find_spec


collect_ignore = [] if find_spec("transformers") else ["test_paper.py"]
