"""Attributes as they are found: anybody may have written them, and none may stop a worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any


_logger = logging.getLogger(__name__)

#: What has been warned of: a reader comes by after every trial.
_warned: set[tuple[str, str]] = set()


def warn_once(key: str, expected: str, found: object) -> None:
    """Says that an attribute is ignored, once in a process.

    Args:
        key: The attribute.
        expected: What it should be.
        found: What it is.
    """
    if (key, expected) in _warned:
        return
    _warned.add((key, expected))
    _logger.warning(
        "Attribute %s is ignored: it is %.80r and should be %s. Whoever writes it should write "
        "that, or leave it out.",
        key,
        found,
        expected,
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number; ``True`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number_in(attrs: Mapping[str, Any], key: str, owner: str = "") -> float | None:
    """A finite number; ``None`` where there is none, or something else.

    Args:
        attrs: The attributes, or the entries of one.
        key: The one that is wanted.
        owner: The attribute whose entries they are.
    """
    value = attrs.get(key)
    if value is None or is_number(value):
        return value
    warn_once(f"{owner}[{key!r}]" if owner else key, "a finite number", value)
    return None


def count_in(attrs: Mapping[str, Any], key: str) -> int | None:
    """A number of steps, at least 1; ``None`` where there is none that makes sense."""
    number = number_in(attrs, key)
    return int(number) if number is not None and number >= 1.0 else None
