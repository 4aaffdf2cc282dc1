"""Settings for every test: the same examples every time, quiet Optuna."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest
from hypothesis import settings


settings.register_profile("same-every-time", derandomize=True, database=None, deadline=None)
settings.load_profile("same-every-time")


@pytest.fixture(autouse=True)
def _quiet_optuna() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)
