"""What kinds of characters a text is made of, in one pass over its code points."""

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from coigw_judge.text.codepoints import COUNT, Codes, codes_of

OTHER, BLANK, HAN, LETTER, NUMBER, BROKEN, PRIVATE = range(7)
"""Kinds: marks; blanks; Chinese characters; other letters; digits; what no text holds; private use."""

LOOKED_AT = 100_000
"""Characters of an answer that the screens look at: a text of ten million costs no more than one of these."""


@dataclass(frozen=True, slots=True)
class Characters:
    """A text's code points, and how many are of each kind."""

    codes: Codes
    kinds: Codes
    counts: tuple[int, ...]

    @property
    def visible(self) -> int:
        """Characters that are no blanks."""
        return len(self.codes) - self.counts[BLANK]


def characters(text: str) -> Characters:
    """Sort a text's characters into kinds."""
    codes = codes_of(text)
    kinds = _table().take(codes)
    return Characters(codes, kinds, tuple(np.bincount(kinds, minlength=7).tolist()))


@cache
def _table() -> Codes:
    """The kind of every code point."""
    table = np.zeros(COUNT, np.uint8)
    for code in range(0x20000):  # beyond lie Chinese characters, tags and private use alone
        category = unicodedata.category(chr(code))
        if category[0] == "L":
            table[code] = LETTER
        elif category[0] == "N":
            table[code] = NUMBER
        elif category[0] == "Z":
            table[code] = BLANK
        elif category == "Co":
            table[code] = PRIVATE
        elif category in ("Cc", "Cs"):
            table[code] = BROKEN
    for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF), (0x3007, 0x3007)):
        table[first : last + 1] = HAN
    table[0xF0000:] = PRIVATE
    for code in (*b"\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f", 0x85):
        table[code] = BLANK
    table[[0xFFFD, 0xFFFE, 0xFFFF]] = BROKEN
    return table
