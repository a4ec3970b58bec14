"""JSON in a judge's reply: the strict reader, and a tolerant one for objects amid other text.

The strict reader is the standard library's, less NaN and Infinity. The tolerant one accepts five
liberties that judges take: single or curly quotes, True/False/None, a trailing comma, full-width digits
and punctuation, and unescaped quotes, line breaks or tabs inside a string. Anything else, an unclosed
object above all, is broken: it is handed on as such and nothing in it is ever completed or guessed.
(Repair libraries were weighed and left out: they exist to make up what is missing.)

Linear in the text: each character is read a bounded number of times, nesting and the number of values
have limits, and no pattern can backtrack over more than a fixed window.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

Value: TypeAlias = bool | float | str | list["Value"] | dict[str, "Value"] | None
"""What JSON can say. Numbers are floats; of a key given twice the last value stands, in its place."""

MAX_DEPTH = 32
"""Containers within containers; a reply needs three. The tolerant reader recurses, so it must stop."""
MAX_VALUES = 100_000
"""Values in all objects of one text together; beyond this it is no reply."""
MAX_BRACKETS = 500
"""Opening brackets up to which the strict reader is asked: json recurses, in C, once for each level."""
MAX_FENCES = 1_000


class NotJson(ValueError):
    """The text is not standard JSON."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object that was read to its end."""

    members: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Prose:
    """Text that is in no object."""

    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Text from the start of an object that could not be read to the end of its stretch of the reply."""

    text: str


Piece = JsonObject | Prose | Broken


def strict(text: str) -> Value:
    """Read text that is one standard JSON value and nothing else. Raises NotJson."""
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise NotJson("more brackets than a reply has")
    try:
        value: Value = json.loads(text, object_pairs_hook=_last_wins, parse_int=float, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: the caller's own stack may be nearly full
        raise NotJson(str(error)) from error
    return value


def pieces(text: str) -> list[Piece]:
    """Cut a text into its objects, its prose and what broke, in order.

    A broken object takes all that follows with it, since nobody can tell where it ends; only a
    Markdown fence is a sure sign that something new begins.
    """
    whole = list(_stretch(text, _Reader(text)))
    if not any(isinstance(piece, Broken) for piece in whole):
        return whole
    stretches = _FENCE.split(text, maxsplit=MAX_FENCES)
    return [piece for stretch in stretches for piece in _stretch(stretch, _Reader(stretch))]


def _last_wins(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    members: dict[str, Value] = {}
    for key, value in pairs:
        members.pop(key, None)  # so that order is that of the last mention: `质量` may follow as an alias of `quality`
        members[key] = value
    return members


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")


_SPACE = r"[ \t\r\n\u00a0\u3000]"
_GAP = _SPACE + "{0,200}"
_COMMA, _COLON, _CLOSE = "[,，]", "[:：]", "[}｝]"
_KEY = r""""(?:[^"\\\n]|\\.){0,80}"|'(?:[^'\\\n]|\\.){0,80}'|“[^”\n]{0,80}”|＂[^＂\n]{0,80}＂"""
_AFTER_MEMBER = f"{_GAP}(?:{_CLOSE}|{_COMMA}{_GAP}(?:{_CLOSE}|(?:{_KEY}){_GAP}{_COLON}))"
_AFTER_ELEMENT = rf"{_GAP}[,，\]］]"


def _string(closer: str, after: str) -> re.Pattern[str]:
    """A quoted string whose closing quote is the first one that the structure can go on from; others are text."""
    return re.compile(rf"((?:[^{closer}\\]++|\\.|{closer}(?!{after}))*+){closer}", re.DOTALL)


_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "＂": "＂"}
_MEMBER_STRING = {opener: _string(closer, _AFTER_MEMBER) for opener, closer in _QUOTES.items()}
_ELEMENT_STRING = {opener: _string(closer, _AFTER_ELEMENT) for opener, closer in _QUOTES.items()}

_FENCE = re.compile(r"```[A-Za-z0-9]{0,20}")
_START = re.compile(rf"[{{｛]{_GAP}(?:{_KEY}){_GAP}{_COLON}")
_BLANK = re.compile(_SPACE + "*")
_LABEL = re.compile(f"({_KEY}){_GAP}{_COLON}", re.DOTALL)
_NUMBER = r"-?(?:[0０]|[1-9１-９][0-9０-９]{0,29})(?:[.．][0-9０-９]{1,30})?(?:[eE][-+]?[0-9]{1,5})?"
_MAX = r"(?:[ \u3000]?分)?(?:[ \u3000]?[/／][ \u3000]?[0-9０-９]{1,9}[ \u3000]?分?)?"  # 8分, 8/10, 8 / 10 分
_BARE = re.compile(rf"(?:({_NUMBER})({_MAX})|(True|true|False|false|None|null))(?={_GAP}[,，}}｝\]］])")
_WORDS: dict[str, Value] = {"true": True, "false": False, "none": None, "null": None}
_ESCAPE = re.compile(r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_DAMAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# A string with an unescaped `":` in it ran on over a broken place, into the next member.
_RAN_ON = {opener: re.compile(rf"(?<!\\){closer}\s{{0,20}}:") for opener, closer in _QUOTES.items()}


class _Unreadable(Exception):
    """Inside the tolerant reader only: this object cannot be read."""


def _stretch(text: str, reader: "_Reader") -> Iterator[Piece]:
    at = 0
    while start := _START.search(text, at):
        if start.start() > at:
            yield Prose(text[at : start.start()])
        try:
            members, at = reader.object(start.start(), 0)
        except _Unreadable:
            yield Broken(text[start.start() :])
            return
        yield JsonObject(members)
    if at < len(text):
        yield Prose(text[at:])


class _Reader:
    """Recursive descent with a limit; each method takes a position and returns a value and where it ends."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.left = MAX_VALUES

    def object(self, at: int, depth: int) -> tuple[dict[str, Value], int]:
        members: dict[str, Value] = {}
        at = self._blank(at + 1)
        while not self._is(at, "}｝"):
            label = _LABEL.match(self.text, at)
            if label is None:
                raise _Unreadable
            value, at = self._value(label.end(), depth + 1, _MEMBER_STRING)
            key = _unescaped(label[1][1:-1])
            members.pop(key, None)
            members[key] = value
            at = self._next(at, "}｝")
        return members, at + 1

    def _array(self, at: int, depth: int) -> tuple[list[Value], int]:
        elements: list[Value] = []
        at = self._blank(at + 1)
        while not self._is(at, "]］"):
            value, at = self._value(at, depth + 1, _ELEMENT_STRING)
            elements.append(value)
            at = self._next(at, "]］")
        return elements, at + 1

    def _value(self, at: int, depth: int, strings: dict[str, re.Pattern[str]]) -> tuple[Value, int]:
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise _Unreadable
        at = self._blank(at)
        if self._is(at, "{｛"):
            return self.object(at, depth)
        if self._is(at, "[［"):
            return self._array(at, depth)
        if self._is(at, "\"'“‘＂"):
            return self._quoted(at, strings)
        return self._bare(at)

    def _quoted(self, at: int, strings: dict[str, re.Pattern[str]]) -> tuple[str, int]:
        opener = self.text[at]
        string = strings[opener].match(self.text, at + 1)
        if string is None or _DAMAGE.search(string[1]) or _RAN_ON[opener].search(string[1]):
            raise _Unreadable
        return _unescaped(string[1]), string.end()

    def _bare(self, at: int) -> tuple[Value, int]:
        bare = _BARE.match(self.text, at)
        if bare is None:
            raise _Unreadable
        if bare[3]:
            return _WORDS[bare[3].lower()], bare.end()
        if bare[2]:
            return bare[0], bare.end()  # 8/10: an item decides whether the 10 is its scale's
        return float(bare[1].replace("．", ".")), bare.end()  # float reads full-width digits too

    def _next(self, at: int, closers: str) -> int:
        """Step over the comma after a value; one before the closer is forgiven, none or two are not."""
        at = self._blank(at)
        if self._is(at, ",，"):
            return self._blank(at + 1)
        if not self._is(at, closers):
            raise _Unreadable
        return at

    def _blank(self, at: int) -> int:
        space = _BLANK.match(self.text, at)
        return at if space is None else space.end()

    def _is(self, at: int, characters: str) -> bool:
        return at < len(self.text) and self.text[at] in characters


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 11:  # a surrogate pair is one character
        return chr(0x10000 + ((int(code[1:5], 16) - 0xD800) << 10) + int(code[7:], 16) - 0xDC00)
    if len(code) == 5:
        return chr(int(code[1:], 16))
    if code not in _ESCAPES:
        raise _Unreadable
    return _ESCAPES[code]
