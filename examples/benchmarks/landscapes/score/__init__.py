"""The score: every rule replayed on every cell's record, and what its picks lose."""

from __future__ import annotations

import sys
from pathlib import Path


# The benchmark scripts beside this package import each other as top-level modules.
_BENCHMARKS = str(Path(__file__).parents[2])
if _BENCHMARKS not in sys.path:
    sys.path.append(_BENCHMARKS)
