"""Where in a reply's text its tokens and its numbers stand.

Tokens are laid out by what they read as; a number's place is found by reading the reply as strict JSON, never by a
search for digits, since reasons may hold `"score":8` too.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import accumulate

from coigw_judge.replies.outcome import THINKING_ENDS


class Spelling:
    """What tokens read as amid a text. `decode` is a tokenizer's; `anchor` any ordinary token of it.

    Tokens are decoded behind the anchor: decoders that drop a leading space drop it at the start of a text alone.
    """

    def __init__(self, decode: Callable[[list[int]], str], anchor: int) -> None:
        self._decode = decode
        self._anchor = anchor
        self._skip = len(decode([anchor]))
        self._texts: dict[int, str] = {}

    def token(self, token: int) -> str:
        """One token's text; of a part of a character U+FFFD."""
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self.text([token])
        return text

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return self._decode([self._anchor, *ids])[self._skip :]

    def laid_out(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """The text of a reply, and where in it each token begins. Tokens that share a character begin at one place."""
        pieces: list[str] = []
        parts: list[int] = []
        for token in ids:
            piece = self.token(token)
            if not parts and "\ufffd" not in piece:
                pieces.append(piece)
                continue
            parts.append(token)
            joined = self.text(parts)
            if joined.endswith("\ufffd") and len(parts) < 4:  # no character has more than four bytes
                continue
            pieces += [""] * (len(parts) - 1) + [joined]
            parts = []
        pieces += [""] * (len(parts) - 1) + [self.text(parts)] if parts else []
        return "".join(pieces), list(accumulate(map(len, pieces), initial=0))[:-1]


_BLANK = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()


def number_places(text: str) -> dict[str, tuple[int, int]]:
    """Where in a reply each member's value stands, or its `score`'s: first character and the one behind the last.

    A reply is one object from end to end, as it is or behind the thinking. Of a key given twice the last counts, as
    everywhere. Empty where it is no such thing.
    """
    ends = [mark.end() for mark in THINKING_ENDS.finditer(text)]
    for begin in (0, *ends[-1:]):
        try:
            members, end = _members(text, _past_blank(text, begin))
            if _past_blank(text, end) == len(text):
                return {key: _score_in(text, place) for key, place in members.items()}
        except (ValueError, RecursionError):  # RecursionError: json's own, of brackets within brackets
            continue
    return {}


def _score_in(text: str, place: tuple[int, int]) -> tuple[int, int]:
    if text[place[0]] != "{":
        return place
    return _members(text, place[0])[0].get("score", place)


def _members(text: str, at: int) -> tuple[dict[str, tuple[int, int]], int]:
    """The members of the object that begins at `at`: the place of each one's value; and where the object ends.

    Raises ValueError where there is no object.
    """
    members: dict[str, tuple[int, int]] = {}
    at = _past(text, at, "{")
    while text[at : at + 1] != "}" or members:
        key, at = _JSON.raw_decode(text, at)
        at = _past(text, _past_blank(text, at), ":")
        _, end = _JSON.raw_decode(text, at)
        if not isinstance(key, str):
            raise ValueError("a key is a string")
        members[key] = (at, end)
        at = _past_blank(text, end)
        if text[at : at + 1] == "}":
            break
        at = _past(text, at, ",")
    return members, at + 1


def _past(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"{mark} expected at {at}")
    return _past_blank(text, at + 1)


def _past_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return at if blank is None else blank.end()
