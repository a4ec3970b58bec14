"""How fast a server may be asked: what the job declares, and what the server's headers say.

Retry-After comes in seconds or as a date; `x-ratelimit-*` tell what is left before a 429 has to.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_BURST_SECONDS = 6.0
"""A bucket holds so much of its rate. A whole minute's worth at once would be twice the rate in the first minute."""

_LONGEST_ADVICE = 120.0
"""Seconds that a server is left alone at the most for an `x-ratelimit-reset-*`, whose form is nowhere fixed."""

_LONGEST_ORDER = 86_400.0
"""The same for a Retry-After, which is."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class TokenBucket:
    """So many units a minute, first come, first served. More than it ever holds is taken from a full one, on credit."""

    def __init__(self, per_minute: float) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, self._per_second * _BURST_SECONDS)
        self._level = self._most
        self._at = time.monotonic()
        self._turn = asyncio.Lock()

    async def take(self, amount: float) -> None:
        """Take units out, waiting until they are there."""
        async with self._turn:
            while (short := min(amount, self._most) - self._filled()) > 0:
                await asyncio.sleep(short / self._per_second)
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Put units back that were not used; below zero, take the rest of what was."""
        self._level = min(self._most, self._filled() + amount)

    def _filled(self) -> float:
        now = time.monotonic()
        self._level = min(self._most, self._level + (now - self._at) * self._per_second)
        self._at = now
        return self._level


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to be left alone: `retry-after-ms`, or Retry-After as a number or a date."""
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return min(exact / 1000, _LONGEST_ORDER)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None if seconds is None else min(seconds, _LONGEST_ORDER)


def used_up(headers: Mapping[str, str], tokens: float) -> float:
    """Seconds until a request of so many tokens is within the limits that `x-ratelimit-*` tell; 0 where it is."""
    pause = 0.0
    for kind, needed in (("requests", 1.0), ("tokens", tokens)):
        left = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
        if left is not None and left < needed:
            pause = max(pause, duration(headers.get(f"x-ratelimit-reset-{kind}")) or 0.0)
    return min(pause, _LONGEST_ADVICE)


def duration(text: str | None) -> float | None:
    """Seconds of `1s`, `6m0s`, `120ms` or a bare number. None for anything else, a moment in time for instance."""
    seconds = _number(text)
    if seconds is None:
        if not text or not re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smh]))+", text):
            return None
        seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|[smh])", text))
    return seconds if seconds <= _LONGEST_ORDER else None


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text.strip(), re.ASCII) else None
