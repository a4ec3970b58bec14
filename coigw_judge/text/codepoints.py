"""A text as an array of code points, and where in it one of many pairs of characters stands.

What looks at every character of every article is what a scan spends its time on: a table that is looked up for all
characters at once takes a microsecond or two per thousand, a pattern with a choice at each of them fifty.
An array takes several times the memory of its text, so texts longer than LONGEST are for patterns.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

Codes = np.ndarray[Any, np.dtype[Any]]

COUNT = 0x110000
"""Code points that there are."""

LONGEST = 1_000_000
"""Characters of the longest text that is worth an array."""

_BITS = 16
"""Of a pair's hash: with 600 pairs looked for, one place in 100 is named without cause; more would not stay in a
processor's cache."""
_FIRST, _SECOND = np.uint32(0x9E3779B1), np.uint32(0x85EBCA77)
_SHIFT = np.uint32(32 - _BITS)


def codes_of(text: str) -> Codes:
    """A text's code points; lone surrogates are code points too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def text_of(codes: Codes) -> str:
    """The text of code points."""
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def marks(bits: Iterable[tuple[int, str]]) -> Codes:
    """A byte for every code point: the bits of the patterns of one character that match it, each given with its bit."""
    every = text_of(np.arange(COUNT))
    table = np.zeros(COUNT, np.uint8)
    for bit, pattern in bits:
        for run in re.finditer(f"(?:{pattern})+", every):
            table[run.start() : run.end()] |= bit
    return table


class PairFinder:
    """Looks for many pairs of characters at once."""

    def __init__(self, pairs: Iterable[str]) -> None:
        self._known = np.zeros(1 << _BITS, np.bool_)
        for pair in pairs:
            self._known[_hashes(codes_of(pair))] = True

    def places(self, codes: Codes) -> list[int]:
        """Where a pair may begin: every place where one does, and a few others whose hash is the same."""
        found: list[int] = np.flatnonzero(self._known.take(_hashes(codes))).tolist()
        return found


def _hashes(codes: Codes) -> Codes:
    sums: Codes = codes[:-1] * _FIRST + codes[1:] * _SECOND  # arithmetic modulo 2**32 is meant
    return sums >> _SHIFT
