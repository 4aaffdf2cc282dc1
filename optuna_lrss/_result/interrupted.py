"""The answer of a search that its caller has stopped: a doubt that no study can tell by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic


Analysis = TypeVar("Analysis", bound=AnalysisData)

#: What says no more than that: points that are not resolved yet, and the trial that was stopped.
_UNRESOLVED, _FAILED = "unresolved", "failed-trials"


def interrupted(result: Analysis) -> Analysis:
    """The analysis, with what happened in place of what it looks like.

    Args:
        result: The analysis of a search that ended in the middle of a trial.
    """
    failed = sum(math.isnan(loss) for _, _, loss in result.trials)
    told = {_UNRESOLVED} | ({_FAILED} if failed <= 1 else set())
    others = tuple(d for d in result.diagnostics if d.code not in told)
    doubt = Diagnostic(
        "interrupted",
        f"The search was stopped after {result.n_trials - failed} short trials, before every "
        "point was known",
        "let it end; with storage=... and study_name=... the next find_lr goes on where it "
        "stopped",
    )
    return replace(result, diagnostics=(*others, doubt))
