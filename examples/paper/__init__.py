"""The paper's three experiments, and a fine-tuning beside them: ``python -m examples.paper``."""

from __future__ import annotations
