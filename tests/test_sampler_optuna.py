"""The test cases that Optuna ships for samplers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase

from optuna_lrss import LRStepSampler


# TPE's multivariate option is marked experimental.
IGNORE = "ignore::optuna.exceptions.ExperimentalWarning"


class TestDefault(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """Other parameters go to TPE."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return LRStepSampler


@pytest.mark.filterwarnings(IGNORE)
class TestRelativeBase(RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Other parameters go to a sampler that samples them together."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: LRStepSampler(
            base_sampler=TPESampler(n_startup_trials=0, multivariate=True)
        )
