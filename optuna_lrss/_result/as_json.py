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
from optuna_lrss._study.validated import Validated


#: Fields that hold numbers only, where a string is an encoded non-finite float.
_NUMERIC = ("curve", "longer", "trials")


def to_plain(data: AnalysisData) -> dict[str, Any]:
    """All of it as plain Python values; diverged losses stay ``inf``."""
    plain = {f.name: getattr(data, f.name) for f in fields(data)}
    plain["curve"] = _plain_curve(data.curve)
    plain["longer"] = {horizon: _plain_curve(curve) for horizon, curve in data.longer.items()}
    plain["intervals"] = {name: list(ends) for name, ends in data.intervals.items()}
    plain["diagnostics"] = [dict(vars(d)) for d in data.diagnostics]
    return plain


def to_text(data: AnalysisData, indent: int | None = None) -> str:
    """As strict JSON: diverged losses are written as the string ``"inf"``."""
    return json.dumps(_encode(to_plain(data)), indent=indent, allow_nan=False)


def from_plain(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an analysis, from what :func:`to_plain` gave or its JSON form.

    Raises:
        ValueError: If a field is missing that another version may have meant otherwise, as the
            picks; not where nothing is what there was.
    """
    late = {"validated": None, "n_validations": 0, "inferred": (), "held_out": 0}
    plain = {**late, "groups": (), "roles": {}, **plain}
    missing = [f.name for f in fields(AnalysisData) if f.name not in plain]
    if missing:
        raise ValueError(
            f"the analysis lacks {', '.join(missing)}: it is none, or of another version of "
            "optuna_lrss. Make it again from the study, analyze(study)."
        )
    stored = {f.name: plain[f.name] for f in fields(AnalysisData)}  # intervals follow from these
    values = {k: _numbers(v) if k in _NUMERIC else v for k, v in stored.items()}
    values["curve"] = _curve(values["curve"])
    values["longer"] = {int(k): _curve(v) for k, v in values["longer"].items()}
    values["brackets"] = {k: (v[0], v[1]) for k, v in values["brackets"].items()}
    values["diagnostics"] = tuple(Diagnostic(**d) for d in values["diagnostics"])
    values["search_range"] = tuple(values["search_range"])
    values["trials"] = tuple((int(n), lr, loss) for n, lr, loss in values["trials"])
    values["inferred"] = tuple((lr, y, error) for lr, y, error in values["inferred"])
    if values["validated"] is not None:
        values["validated"] = Validated(*values["validated"])
    values["groups"] = tuple(values["groups"])
    values["roles"] = {int(k): v for k, v in values["roles"].items()}
    values["horizons"] = {int(k): v for k, v in values["horizons"].items()}
    return values


def _plain_curve(curve: LRCurve) -> dict[str, Any]:
    arrays = {f.name: getattr(curve, f.name) for f in fields(curve)}
    return {name: a.tolist() for name, a in arrays.items() if a is not None}


def _curve(plain: Mapping[str, Any]) -> LRCurve:
    return LRCurve(
        lr=np.asarray(plain["lr"], dtype=float),
        loss=np.asarray(plain["loss"], dtype=float),
        stderr=np.asarray(plain["stderr"], dtype=float),
        count=np.asarray(plain["count"], dtype=np.int64),
    )


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
