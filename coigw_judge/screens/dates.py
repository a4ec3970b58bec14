"""Dates of publication as crawls write them.

Read are dates and times of Parquet, ISO 8601 (a zone is not converted: the day is the one written), 2023/5/1, 2023.5.1,
20230501, 2023年5月1日, 二〇二三年五月一日, full-width digits, Unix time in s, ms, us or ns (UTC), English months, and
05/01/2023, each also inside other words (`发布于 2023-05-01 08:00`).
A year or a month alone counts as its first day, and 05/04/2023 as the earlier of the two days that it may be: where
it is not clear whether a text is old, it is. The year 1970 and before is how programs write nothing.
When a page was crawled is not known, so `3天前` and `昨天` are no dates.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite

_FIRST_YEAR, _LAST_YEAR = 1971, 2099
_LONGEST = 200
"""Characters of a text in which a date is looked for."""

_YEAR = r"(?<!\d)((?:19|20)\d\d)"
_NUMERIC = (
    re.compile(rf"{_YEAR}\s?[-/.年]\s?(\d{{1,2}})\s?[-/.月]\s?(\d{{1,2}})(?!\d)"),
    re.compile(rf"{_YEAR}(\d\d)(\d\d)(?!\d)"),
    re.compile(rf"{_YEAR}(\d\d)(\d\d)(?=\d{{4}}(?:\d\d)?(?!\d))"),  # 20230501083000
    re.compile(rf"{_YEAR}\s?[-/.年]\s?(\d{{1,2}})(?:\s?月|(?!\d))"),
    re.compile(rf"{_YEAR}\s?年"),
    re.compile(rf"^\s*{_YEAR}\s*$"),
)
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})[-/.](\d{1,2})[-/.]((?:19|20)\d\d)(?!\d)")
_MONTHS = {
    name: n
    for n, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)
}
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_ENGLISH = (
    (re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?[\s-]+{_MONTH},?[\s-]+((?:19|20)\d\d)\b", re.I), (3, 2, 1)),
    (
        re.compile(
            rf"\b{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?:[\d:]+\s+)?(?:\w{{3,4}}\s+)?((?:19|20)\d\d)\b", re.I
        ),
        (3, 1, 2),
    ),
    (re.compile(rf"\b{_MONTH},?\s+((?:19|20)\d\d)\b", re.I), (2, 1)),
)
_UNIX = re.compile(r"\s*(\d{9,19})(?:\.\d+)?\s*")
_HAN_DATE = re.compile(
    r"[〇○零一二三四五六七八九]{4}年(?:[元正一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十廿卅]{1,4}[日号])?)?"
)
_HAN_DIGITS = {"〇": 0, "○": 0, "零": 0, "元": 1, "正": 1} | {
    digit: n for n, digit in enumerate("一二三四五六七八九", 1)
}


def published(value: object) -> date | None:
    """The day that a value of a record's `published_at` names; None where it names none that can be read."""
    if isinstance(value, datetime):
        return _plausible(value.date())
    if isinstance(value, date):
        return _plausible(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        return _number(float(value)) if isfinite(value) else None
    return _text(value) if isinstance(value, str) else None


def _plausible(day: date | None) -> date | None:
    return day if day is not None and _FIRST_YEAR <= day.year <= _LAST_YEAR else None


def _number(value: float) -> date | None:
    """20230501, a year, or Unix time, told apart by size."""
    if value == int(value) and (_FIRST_YEAR <= value <= _LAST_YEAR or 19710101 <= value <= 20991231):
        return _written(f"{int(value)}")
    for unit in (1.0, 1e3, 1e6, 1e9):
        seconds = value / unit
        if 1e8 <= seconds < 4.2e9:  # 1973 to 2103
            return _plausible((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date())
    return None


def _text(value: str) -> date | None:
    text = unicodedata.normalize("NFKC", value[:_LONGEST]).strip()
    unix = _UNIX.fullmatch(text)
    if unix and not text.startswith(("19", "20")):
        return _number(float(unix[1]))
    return _written(text) or (_number(float(unix[1])) if unix else None)


def _written(text: str) -> date | None:
    return next((day for day in _candidates(text) if day is not None), None)


def _candidates(text: str) -> Iterator[date | None]:
    for pattern in _NUMERIC:
        for match in pattern.finditer(text):
            yield _day(*(int(part) for part in match.groups()))
    for match in _YEAR_LAST.finditer(text):
        one, other, year = (int(part) for part in match.groups())
        days = [day for day in (_day(year, one, other), _day(year, other, one)) if day]
        yield min(days, default=None)
    for pattern, order in _ENGLISH:
        for match in pattern.finditer(text):
            parts = (match[n] for n in order)
            yield _day(*(_MONTHS.get(part[:3].lower()) or int(part) for part in parts))
    for match in _HAN_DATE.finditer(text):
        yield _han(match[0])


def _day(year: int, month: int = 1, day: int = 1) -> date | None:
    try:
        return _plausible(date(year, month, day))
    except ValueError:
        return None


def _han(text: str) -> date | None:
    year, _, rest = text.partition("年")
    month, _, day = rest.partition("月")
    digits = "".join(str(_HAN_DIGITS[digit]) for digit in year)
    return _day(int(digits), *(_han_number(part.rstrip("日号")) for part in (month, day) if part))


def _han_number(text: str) -> int:
    """十二, 二十一, 廿一, 三十: at most two digits."""
    text = text.replace("廿", "二十").replace("卅", "三十").replace("十十", "十")
    tens, ten, ones = text.partition("十")
    if not ten:
        return _HAN_DIGITS.get(text, 0)
    return 10 * (_HAN_DIGITS.get(tens, 0) if tens else 1) + (_HAN_DIGITS.get(ones, 0) if ones else 0)
