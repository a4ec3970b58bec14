"""Text for a terminal: how wide it is there, where it may be folded, and columns that stand below each other.

Widths are wcwidth's, by grapheme. Lines are folded as Chinese is set: between any two wide characters, but a line does
not begin with a closing mark nor end with an opening one, and a word of letters stays whole where it fits.
Not known here: what the text says.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from wcwidth import iter_graphemes, wcswidth

_CLOSING = frozenset("，。、；：！？…—～·」』）》〉】〕”’,.;:!?)]}%％‰℃々ー")
_OPENING = frozenset("「『（《〈【〔“‘([{￥$#")
_WORD = re.compile(r"[A-Za-z0-9_À-ɏͰ-ӿ'-]")
_LONGEST_RUN = 24
"""Marks in a row that are still kept together: a line of dots must not become one word."""


def printable(text: str) -> str:
    """A record's text without what would move the cursor, change colours or the direction of writing."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """A text that stays on its line."""
    return re.sub("[\n\t\u2028\u2029]", "\ufffd", printable(text))


def cells(text: str) -> int:
    """How many columns a terminal gives a text: wide characters take two, combining marks none."""
    return len(text) if text.isascii() else sum(_width(each) for each in iter_graphemes(text))


def _width(grapheme: str) -> int:
    return max(0, int(wcswidth(grapheme)))


def fold(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` columns. Nothing is lost but the blank at which a line is folded."""
    lines = []
    for line in text.expandtabs(4).split("\n"):
        lines += _folded(line, max(2, width))
    return lines


def _folded(line: str, width: int) -> list[str]:
    if line.isascii() and len(line) <= width:
        return [line]
    lines, current, used = [], "", 0
    for unit in _units(line):
        size = cells(unit)
        if used + size > width and current:
            if unit == " ":
                continue  # the blank at a fold
            lines.append(current.rstrip(" ") or current)
            current, used = "", 0
        if size <= width:
            current, used = current + unit, used + size
            continue
        for grapheme in iter_graphemes(unit):  # longer than a line by itself
            own = _width(grapheme)
            if used + own > width:
                lines.append(current)
                current, used = "", 0
            current, used = current + grapheme, used + own
    return [*lines, current]


def _units(line: str) -> Iterator[str]:
    """The pieces of a line between which it may be folded."""
    held = ""
    for grapheme in iter_graphemes(line):
        joins = (
            bool(held)
            and len(held) < _LONGEST_RUN
            and (
                (grapheme in _CLOSING and held[-1] != " ")
                or held[-1] in _OPENING
                or (_WORD.match(grapheme) and _WORD.match(held[-1]) and grapheme != " ")
            )
        )
        if held and not joins:
            yield held
            held = ""
        held += grapheme
    if held:
        yield held


def cut(text: str, width: int) -> str:
    """The beginning of a text, in at most `width` columns of one line."""
    safe = one_line(text[: width + 1])
    if len(text) <= width + 1 and cells(safe) <= width:
        return safe
    found, used = "", 0
    for grapheme in iter_graphemes(safe):
        used += _width(grapheme)
        if used > width - 1:
            break
        found += grapheme
    return found + "…"


def columns(rows: Sequence[Sequence[str]], left: int = 1, most: int = 40, indent: str = "  ") -> list[str]:
    """Rows in columns as wide as their widest cell, the first `left` of them flush left, no cell wider than `most`."""
    return aligned([[cut(cell, most) for cell in row] for row in rows], left, indent)


def aligned(rows: Sequence[Sequence[str]], left: int = 1, indent: str = "  ") -> list[str]:
    """Rows in columns as wide as their widest cell, the first `left` of them flush left."""
    widths = [max(cells(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        padded = []
        for n, cell in enumerate(row):
            space = " " * (widths[n] - cells(cell))
            padded.append(cell + space if n < left else space + cell)
        lines.append((indent + "  ".join(padded)).rstrip())
    return lines


def sentence(text: str, width: int, indent: str = "  ") -> list[str]:
    """A sentence of ours in lines that fit, further ones indented."""
    lines = fold(text, width - len(indent))
    return [indent + line if not n else f"{indent}  {line}" for n, line in enumerate(lines)]
