"""Characters that nobody sees: what acts instead of being read, what leaves no ink, what is no character at all."""

import re
import unicodedata
from collections.abc import Callable

ACTING = frozenset({"Cc", "Cf", "Cs"})
"""Categories of characters that move a cursor, turn the direction of writing or are half of a character."""

LINE_BREAKS = frozenset({"Zl", "Zp"})
NO_GLYPH = frozenset({"Co", "Cn"})
"""Private use and unassigned: what a reader sees of them is up to the font."""

INKLESS = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0001\U000e007f\U000e0100-\U000e01ef"
)
"""For the brackets of a pattern: controls, format characters, fillers and variation selectors, but no blanks."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def replaced(text: str, by: Callable[[str], str], categories: frozenset[str] = ACTING, kept: str = "\n\t") -> str:
    """The text with every character of these categories, but for those `kept`, as `by` writes it."""
    if text.isprintable():  # then it has no character of any category here
        return text
    return "".join(by(c) if unicodedata.category(c) in categories and c not in kept else c for c in text)


def encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 does not have, as U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)
