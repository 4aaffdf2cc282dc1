"""How an analysis shows itself in a notebook: a drawing and a table, without any library.

The drawing takes the page's own text colour, so it is legible on light and dark pages.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from optuna_lrss._result.pick_doubts import training_note
from optuna_lrss.visualization._lr_curve_info import _get_lr_curve_info
from optuna_lrss.visualization._lr_curve_info import _LRCurveInfo
from optuna_lrss.visualization._source import of_result
from optuna_lrss.visualization._style import POINTS
from optuna_lrss.visualization._style import WINDOW_COLOR
from optuna_lrss.visualization._style import short


if TYPE_CHECKING:
    from optuna_lrss._result.data import AnalysisData


_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 10, 40
_DASHES = {
    "solid": "",
    "dash": "7 4",
    "dashdot": "8 3 2 3",
    "dot": "2 3",
    "longdash": "12 4",
    "longdashdot": "12 3 2 3",
}
_MEANING = {
    "recommended": "constant, for a whole training",
    "peak": "of a schedule that decays to 0",
    "midpoint": "method 1",
    "half_loss": "method 2",
    "steepest": "method 3",
    "min_lr": "window, lower end",
    "max_lr": "window, upper end",
}


def to_html(result: AnalysisData) -> str:
    """The curve as inline SVG and the picks as a table, for ``_repr_html_``.

    Args:
        result: An analysis.

    Returns:
        An HTML fragment of a few kB.
    """
    info = _get_lr_curve_info(of_result(result))
    head = f"Learning rate {result.param_name!r}: {info.subtitle}"
    if result.configuration:
        head += ", at " + ", ".join(f"{k}={v}" for k, v in result.configuration.items())
    doubts = "".join(f"<li>{html.escape(str(d))}</li>" for d in result.diagnostics)
    doubts = f"<ul>{doubts}</ul>" if doubts else ""
    return (
        f"<div><p><b>{html.escape(head)}</b></p>{_svg(info)}<table><thead><tr><th></th>"
        "<th>point</th><th>learning rate</th><th>interval</th><th></th></tr></thead>"
        f"<tbody>{''.join(_row(result, name) for name in _MEANING)}</tbody></table>"
        f"<p>{html.escape(training_note(result))}</p>{doubts}</div>"
    )


def _row(result: AnalysisData, name: str) -> str:
    style = POINTS[name]
    low, high = result.intervals[name]
    key = (
        '<svg width="36" height="8"><line x1="0" y1="4" x2="36" y2="4" stroke-width="2" '
        f'stroke="{style.color}" stroke-dasharray="{_DASHES[style.dash]}"/></svg>'
    )
    cells = (
        key,
        html.escape(style.label),
        f"{getattr(result, name):.2e}",
        f"{low:.2e} .. {high:.2e}",
        _MEANING[name],
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


class _Scale:
    """From learning rates and losses to pixels."""

    def __init__(self, info: _LRCurveInfo) -> None:
        lrs = [p.lr for p in info.points] + [lr for longer in info.longer for lr in longer.lr]
        self._x0, self._x1 = math.log10(min(lrs)), math.log10(max(lrs))
        self._y0, self._y1 = info.loss_range

    def x(self, lr: float) -> float:
        share = (math.log10(lr) - self._x0) / max(self._x1 - self._x0, 1e-9)
        return round(_LEFT + 8 + share * (_WIDTH - _LEFT - _RIGHT - 16), 1)

    def y(self, loss: float) -> float:
        share = (loss - self._y0) / max(self._y1 - self._y0, 1e-300)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    @property
    def decades(self) -> list[int]:
        """Powers of ten inside the axis; every other one if they would crowd."""
        inside = range(math.ceil(self._x0 - 1e-9), math.floor(self._x1 + 1e-9) + 1)
        return [d for d in inside if len(inside) <= 6 or d % 2 == 0]


def _svg(info: _LRCurveInfo) -> str:
    scale = _Scale(info)
    bottom, top = _HEIGHT - _BOTTOM, _TOP
    parts = [
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'style="color:inherit;max-width:100%" font-size="11" fill="currentColor" '
        f'aria-label="{html.escape(info.title)}">'
    ]
    if info.window is not None:
        left, right = (scale.x(lr) for lr in info.window)
        parts.append(
            f'<rect x="{left}" y="{top}" width="{round(right - left, 1)}" '
            f'height="{bottom - top}" fill="{WINDOW_COLOR}" opacity="0.18"/>'
        )
    parts += _frame(info, scale)
    for mark in info.marks:
        style = POINTS[mark.name]
        x = scale.x(mark.lr)
        parts.append(
            f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="{style.color}" '
            f'stroke-width="1.5" stroke-dasharray="{_DASHES[style.dash]}">'
            f"<title>{html.escape(style.label)} {short(mark.lr)}</title></line>"
        )
    parts.append(_path(info.line, scale))
    for longer in info.longer:
        line = _path((longer.lr, longer.loss), scale, longer.style.color)
        parts.append(f"<g><title>{html.escape(longer.label)}</title>{line}</g>")
    parts += [_dot(scale.x(p.lr), scale.y(p.y), p.pinned, p.number) for p in info.points]
    return "".join(parts) + "</svg>"


def _frame(info: _LRCurveInfo, scale: _Scale) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}" fill="none" '
        'stroke="currentColor"/>',
        f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{html.escape(info.lr_label)}</text>",
        f'<text x="12" y="{(_TOP + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {(_TOP + bottom) / 2})">{html.escape(info.loss_label)}</text>',
    ]
    if info.baseline is not None:
        y = scale.y(info.baseline)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="currentColor" '
            'stroke-dasharray="1 3"><title>untrained model</title></line>'
            f'<text x="{_LEFT - 4}" y="{y + 4}" text-anchor="end">{info.baseline:.3g}</text>'
        )
    lowest = min(p.y for p in info.points)
    parts.append(
        f'<text x="{_LEFT - 4}" y="{scale.y(lowest) + 4}" text-anchor="end">{lowest:.3g}</text>'
    )
    parts += [
        f'<text x="{scale.x(10.0**d)}" y="{bottom + 14}" text-anchor="middle">1e{d}</text>'
        for d in scale.decades
    ]
    return parts


def _path(line: tuple[list[float], list[float]], scale: _Scale, color: str = "#808080") -> str:
    """A curve; a gap where it has diverged."""
    steps, pen = [], "M"
    for lr, loss in zip(*line, strict=True):
        if math.isnan(loss):
            pen = "M"
            continue
        steps.append(f"{pen}{scale.x(lr)} {scale.y(loss)}")
        pen = "L"
    return f'<path d="{"".join(steps)}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _dot(x: float, y: float, pinned: bool, number: int) -> str:
    title = f"<title>trial {number}{', diverged or beyond' if pinned else ''}</title>"
    if pinned:
        return f'<path d="M{x - 4} {y + 4}h8l-4 -7z">{title}</path>'
    return f'<circle cx="{x}" cy="{y}" r="2.5">{title}</circle>'
