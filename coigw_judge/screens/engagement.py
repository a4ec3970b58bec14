"""Counts of likes, shares and comments as sites write them: 1234, `1,234`, `1.2万`, `3.4w`, `10k+`, `10万+`."""

import re
import unicodedata
from decimal import Decimal
from math import isfinite

_COUNT = re.compile(r"(?:赞|点赞|喜欢|转发|分享|评论|likes?|shares?|comments?)?\s*:?\s*"
                    r"(\d{1,15}(?:,\d{3})*(?:\.\d{1,6})?)\s*(万|千|百万|亿|w|k|m)?\s*\+?[次个人条]?")  # fmt: skip
_UNITS = {None: 1, "千": 1e3, "k": 1e3, "万": 1e4, "w": 1e4, "百万": 1e6, "m": 1e6, "亿": 1e8}


def count(value: object) -> float | None:
    """The number that a value stands for; None where it stands for none. Negative numbers are how some write none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        return float(value) if isfinite(value) and value >= 0 else None
    if not isinstance(value, str):
        return None
    found = _COUNT.fullmatch(unicodedata.normalize("NFKC", value[:100]).strip().casefold())
    return None if found is None else float(found[1].replace(",", "")) * _UNITS[found[2]]
