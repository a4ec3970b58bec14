"""One JSON value a line."""

import json
from math import isfinite
from typing import Any


def json_line(row: dict[str, Any]) -> bytes:
    """A row as strict JSON: what pandas calls NaN is null, and a lone surrogate keeps its escape."""
    try:
        line = json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(row), ensure_ascii=False, default=str)
    try:
        return line.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(json.loads(line)).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value
