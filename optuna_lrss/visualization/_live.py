"""The curve of a search that goes on, in a notebook."""

from __future__ import annotations

import io
import time
import warnings
from typing import TYPE_CHECKING
from typing import Any

from optuna_lrss.visualization.matplotlib import _axes
from optuna_lrss.visualization.matplotlib import plot_lr_curve


if TYPE_CHECKING:
    from optuna.study import Study


#: Drawing may take a tenth of the time.
_SHARE = 0.1


class LiveCurve:
    """Draws a study's curve again and again in one place of a notebook.

    Args:
        display: ``IPython.display``.
    """

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None
        self._due = 0.0

    def draw(self, study: Study, param_name: str, *, last: bool) -> None:
        """Draws the study as it stands, if the time allows it.

        Args:
            study: The study.
            param_name: Name of the learning rate.
            last: Whether nothing is to come, so that it is drawn in any case.
        """
        started = time.monotonic()
        if started < self._due and not last:
            return
        picture = self._display.Image(data=_png(study, param_name))
        if self._handle is None:
            self._handle = self._display.display(picture, display_id=True)
        else:
            self._handle.update(picture)
        ended = time.monotonic()
        self._due = ended + (ended - started) / _SHARE


def live_curve() -> LiveCurve | None:
    """What draws the curve as it grows; ``None``, with a warning, where no notebook runs.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    _axes.pyplot()
    display = _notebook()
    if display is None:
        warnings.warn(
            "plot=True draws in a notebook, and none runs here: draw the curve afterwards, with "
            "optuna_lrss.visualization.plot_lr_curve(result).",
            stacklevel=2,
        )
        return None
    return LiveCurve(display)


def _notebook() -> Any:
    """``IPython.display`` where it shows pictures."""
    try:
        import IPython
        from IPython import display
    except ImportError:
        return None
    shell = IPython.get_ipython()
    shows_text_alone = type(shell).__name__ == "TerminalInteractiveShell"
    return None if shell is None or shows_text_alone else display


def _png(study: Study, param_name: str) -> bytes:
    plt = _axes.pyplot()
    figure: Any = plot_lr_curve(study, param_name=param_name).figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()
