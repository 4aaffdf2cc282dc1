"""What a study says: the analysis, its doubts, its report."""

from __future__ import annotations
