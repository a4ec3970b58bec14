"""Text for a terminal: how wide it is there, where it may be folded, and columns that stand below each other.

Widths are wcwidth's, by grapheme. Lines are folded as Chinese is set: between any two wide characters, but a line does
not begin with a closing mark nor end with an opening one, and what is written between blanks in letters, digits and
ASCII marks stays whole where it fits.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from wcwidth import iter_graphemes, wcswidth

from coigw_judge.text.unseen import ACTING, LINE_BREAKS, replaced

WIDTH = 100
"""Columns of what is folded for no terminal in particular."""

_CLOSING = frozenset("，。、；：！？…—～·」』）》〉】〕”’,.;:!?)]}%％‰℃々ー")
_OPENING = frozenset("「『（《〈【〔“‘([{￥$#")
_WORD = re.compile(r"[!-~À-ɏͰ-ӿ]")
_QUOTED = re.compile(r"(`[^`]*`\S*)")
_LONGEST_RUN = 24
"""Marks in a row that are still kept together: a line of dots must not become one word."""


def printable(text: str) -> str:
    """A record's text without what would move the cursor, change colours or the direction of writing."""
    return replaced(text, lambda _: "\ufffd")


def one_line(text: str) -> str:
    """A text that stays on its line."""
    return replaced(text, lambda _: "\ufffd", ACTING | LINE_BREAKS, kept="")


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


def filled(pieces: Iterable[str], width: int = WIDTH, indent: str = "  ") -> list[str]:
    """Pieces that stay whole where they fit, in lines of at most `width` columns; further lines are indented by two
    columns more. A blank between pieces is a piece of its own, and left out where a line is folded.
    """
    lines = _filled(pieces, width - len(indent) - 2)
    return [f"{indent}  {line}" if n else indent + line for n, line in enumerate(lines)]


def sentence(text: str, width: int = WIDTH, indent: str = "  ") -> list[str]:
    """A sentence of ours in lines that fit. What stands in backticks is to be copied, and stays whole where it fits."""
    parts = enumerate(_QUOTED.split(text))
    return filled((piece for n, part in parts for piece in ([part] if n % 2 else _units(part))), width, indent)


def _folded(line: str, width: int) -> list[str]:
    return [line] if line.isascii() and len(line) <= width else _filled(_units(line), width)


def _filled(pieces: Iterable[str], width: int) -> list[str]:
    lines: list[str] = []
    current, used = "", 0
    for unit in pieces:
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
                or (_WORD.match(grapheme) and _WORD.match(held[-1]))
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
