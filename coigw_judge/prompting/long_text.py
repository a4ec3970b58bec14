"""Texts over the judge's context, shown by their beginning and their end (`long_text: head_tail`).

The cut is made once per record, from all fields that the job's rubrics read and from the room that the job's
longest request leaves: so all requests of the record show the same texts and share their prefix, though one of
them alone might have had room for more. For the same reason a short request of a long record depends on fields
that it does not show; `HeadTail.key` puts them, and the room, into its key. Records of a length that always
fits keep their prompts and keys, so turning from `reject` to `head_tail` costs requests for long records only.
The longest field is cut first; where it would end shorter than the next, both are cut to one length.
Counting goes piece by piece and ends when the room is used up, so ten million characters cost no more than what
is shown of them.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from coigw_judge.hashing import digest
from coigw_judge.prompting.template import OMISSION, delimited, omission
from coigw_judge.records.record import FIELDS, FieldName

FLAG = "head_tail"
"""How a verdict and a fact name the cut."""

LEAST_ROOM = 256
"""Tokens per field below which there is no point in showing a beginning and an end."""

_TOKENS_PER_CHAR = 4
"""No tokenizer that falls back to bytes takes more for a character, but for a few musical signs that it first takes
apart; a record made of those is `too_long`."""

_DELIMITERS = 80
"""Tokens that a field's two delimiters and the blank line after it take at the most."""

_CHARS_PER_TOKEN = 16
"""A longer text than this, per token of room, is too long uncounted; English prose has 4, Chinese 1.5."""

_PIECE = 2048
_LONGEST_CLUSTER = 32

Count = Callable[[str], int]
"""How many tokens a text takes."""


@dataclass(frozen=True, slots=True)
class HeadTail:
    """One job's policy: the `fields` that its rubrics read have `room` tokens of the `context` between them."""

    fields: tuple[FieldName, ...]
    room: int
    context: int

    def concerns(self, chars: int) -> bool:
        """Whether a record of so many characters, all its fields together, may have to be cut."""
        return chars * _TOKENS_PER_CHAR + _DELIMITERS * len(self.fields) > self.room

    def key(self, digests: Mapping[FieldName, bytes]) -> bytes:
        """What a request's key must hold where its record may be cut: all that the cut depends on."""
        read = [digests.get(field) if field in self.fields else None for field in FIELDS]
        return digest([OMISSION.encode(), self.room.to_bytes(8, "little"), *read])


@dataclass(frozen=True, slots=True)
class Shown:
    """A record's texts as the judge sees them, and how many characters of which field it does not."""

    texts: Mapping[FieldName, str]
    left_out: Mapping[FieldName, int]

    def flags(self, fields: Iterable[FieldName]) -> tuple[str, ...]:
        """What a fact records of a request that shows these fields: `head_tail:answer 12034`."""
        return tuple(f"{FLAG}:{field} {self.left_out[field]}" for field in fields if field in self.left_out)


def fit(texts: Mapping[FieldName, str], policy: HeadTail | None, count: Count) -> Shown:
    """The texts as they are where they fit the room, else cut so that they do. The same for all of a record's asks."""
    if policy is None or not policy.concerns(sum(len(text) for text in texts.values())):
        return Shown(texts, {})
    sizes = {field: _size(field, texts[field], policy.room, count) for field in policy.fields if field in texts}
    if sum(sizes.values()) <= policy.room:
        return Shown(texts, {})
    level = _level(sizes.values(), policy.room)
    shown, left_out = dict(texts), {}
    for field, size in sizes.items():
        if size > level:
            shown[field], left_out[field] = _cut(field, texts[field], level, count)
    return Shown(shown, left_out)


def too_long(texts: Mapping[FieldName, str], fields: Iterable[FieldName], room: int, count: Count) -> bool:
    """Whether these fields together take more than `room` tokens."""
    return sum(_size(field, texts[field], room, count) for field in fields if field in texts) > room


def _size(field: FieldName, text: str, most: int, count: Count) -> int:
    """The tokens of a field in its delimiters; `most` + 1 where it clearly has more than `most`."""
    slack = most // 16  # pieces may take a little more than the whole
    if len(text) > 2 * most and _reach(text, most + slack, count) < len(text):
        return most + 1
    return _block(field, text, count)


def _block(field: FieldName, text: str, count: Count) -> int:
    return count(delimited(field, text)) + count("\n\n")


def _level(sizes: Iterable[int], room: int) -> int:
    """The length to which all longer fields are cut, so that together with the shorter ones they fill the room."""
    ascending = sorted(sizes)
    for n, size in enumerate(ascending):
        share = room // (len(ascending) - n)
        if size > share:
            return share
        room -= size
    return ascending[-1]


def _cut(field: FieldName, text: str, most: int, count: Count) -> tuple[str, int]:
    """Beginning and end of a text that take `most` tokens in their delimiters, and how many characters are left out."""
    half = max(0, (most - _DELIMITERS - count(f"\n{omission(len(text))}\n")) // 2)
    while True:
        head = _whole(text, _reach(text, half, count), -1)
        tail = max(head + 1, len(text) - _reach(text, half, count, from_end=True))
        tail = _whole(text, tail, +1)
        shown = f"{text[:head]}\n{omission(tail - head)}\n{text[tail:]}"
        over = _block(field, shown, count) - most
        if over <= 0 or half == 0:
            return shown, tail - head
        half = max(0, half - over)  # joined, the pieces took more than by themselves


def _reach(text: str, budget: int, count: Count, from_end: bool = False) -> int:
    """How many characters from the beginning (or the end) of a text take at most `budget` tokens, piece by piece."""
    reached, most = 0, min(len(text), budget * _CHARS_PER_TOKEN)

    def part(size: int) -> str:
        until = reached + size
        return text[len(text) - until : len(text) - reached] if from_end else text[reached:until]

    while reached < most:
        size = min(_PIECE, most - reached)
        cost = count(part(size))
        if cost > budget:
            return reached + bisect_right(range(1, size), budget, key=lambda n: count(part(n)))
        reached, budget = reached + size, budget - cost
    return reached


def _whole(text: str, at: int, step: int) -> int:
    """The next place, backwards or forwards, where a cut parts no character from a mark that belongs to it."""
    for _ in range(_LONGEST_CLUSTER):
        if not 0 < at < len(text) or not _belongs(text[at - 1], text[at]):
            break
        at += step
    return at


def _belongs(before: str, char: str) -> bool:
    """Whether two characters are drawn as one: accents, emoji with selectors, joiners and skin colours, flags."""
    joiner, flags = "\u200d", ("\U0001f1e6", "\U0001f1ff")
    if unicodedata.category(char).startswith("M") or joiner in (before, char) or (before, char) == ("\r", "\n"):
        return True
    both_flags = flags[0] <= before <= flags[1] and flags[0] <= char <= flags[1]
    return both_flags or "\U0001f3fb" <= char <= "\U0001f3ff"
