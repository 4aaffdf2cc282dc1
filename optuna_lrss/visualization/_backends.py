"""The plotting library by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss import visualization
from optuna_lrss.visualization import matplotlib


if TYPE_CHECKING:
    from optuna_lrss._result.lr_analysis import LRAnalysis


_BACKENDS = {"plotly": visualization, "matplotlib": matplotlib}


def plot_lr_curve(result: LRAnalysis, backend: str) -> Any:
    """Plots the curve of an analysis.

    Args:
        result: The analysis.
        backend: ``"plotly"`` or ``"matplotlib"``.

    Returns:
        A plotly figure, or matplotlib axes.

    Raises:
        ValueError: If the backend is neither of them.
    """
    if backend not in tuple(_BACKENDS):  # what cannot be hashed is refused as well
        raise ValueError(f"backend={backend!r} must be 'plotly' or 'matplotlib'.")
    return _BACKENDS[backend].plot_lr_curve(result)
