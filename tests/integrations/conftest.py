"""Settings for tests with frameworks."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> Iterator[None]:
    """Accelerate collects garbage at each training, among all that the frameworks imported."""
    gc.freeze()
    yield
    gc.unfreeze()
