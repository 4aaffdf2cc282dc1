"""An analysis as plain Python values and as strict JSON, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from optuna_lrss._method.curve import LRCurve
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic


#: Fields that hold numbers only, where a string is an encoded non-finite float.
_NUMERIC = ("curve", "trials")


def to_plain(data: AnalysisData) -> dict[str, Any]:
    """All of it as plain Python values; diverged losses stay ``inf``."""
    plain = {f.name: getattr(data, f.name) for f in fields(data)}
    arrays = {f.name: getattr(data.curve, f.name) for f in fields(data.curve)}
    plain["curve"] = {name: a.tolist() for name, a in arrays.items() if a is not None}
    plain["diagnostics"] = [dict(vars(d)) for d in data.diagnostics]
    return plain


def to_text(data: AnalysisData, indent: int | None = None) -> str:
    """As strict JSON: diverged losses are written as the string ``"inf"``."""
    return json.dumps(_encode(to_plain(data)), indent=indent, allow_nan=False)


def from_plain(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an analysis, from what :func:`to_plain` gave or its JSON form."""
    values = {k: _numbers(v) if k in _NUMERIC else v for k, v in plain.items()}
    curve = values["curve"]
    values["curve"] = LRCurve(
        lr=np.asarray(curve["lr"], dtype=float),
        loss=np.asarray(curve["loss"], dtype=float),
        stderr=np.asarray(curve["stderr"], dtype=float),
        count=np.asarray(curve["count"], dtype=np.int64),
    )
    values["brackets"] = {k: (v[0], v[1]) for k, v in values["brackets"].items()}
    values["diagnostics"] = tuple(Diagnostic(**d) for d in values["diagnostics"])
    values["search_range"] = tuple(values["search_range"])
    values["trials"] = tuple((int(n), lr, loss) for n, lr, loss in values["trials"])
    values["inferred"] = tuple((lr, y, error) for lr, y, error in values.get("inferred", ()))
    values["groups"] = tuple(values.get("groups", ()))
    values["roles"] = {int(k): v for k, v in values["roles"].items()}
    values["horizons"] = {int(k): v for k, v in values["horizons"].items()}
    return values


def _encode(value: Any) -> Any:
    """Non-finite floats as strings, since JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    return value


def _numbers(value: Any) -> Any:
    """Strings as the floats that they stand for."""
    if isinstance(value, str):
        return float(value)
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(v) for v in value]
    return value
