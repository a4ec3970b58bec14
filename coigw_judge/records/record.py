"""A record: an article, a pair or a triplet, and how a raw row becomes one.

A row that cannot become a record is Unreadable, with a reason; that is a value, not an exception, because
one bad row of a crawl must cost one row. A record's identity is the digest of its texts, never its place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from math import isfinite
from typing import Any, Literal
from uuid import UUID

from coigw_judge.hashing import digest
from coigw_judge.text.unseen import INKLESS

FieldName = Literal["answer", "query", "thought"]


FIELDS: tuple[FieldName, ...] = ("answer", "query", "thought")
"""A record's texts in the order in which prompts show them: the order shares the longest prefix."""


OWN_FIELDS = (
    "id", "query", "thought", "answer", "genre", "title", "author", "source", "url", "published_at",
    "likes", "shares", "comments", "region", "annotator", "round",
)  # fmt: skip
"""Our names for an input's columns (CONTRACT, Records). All but `answer` may be missing."""


_VISIBLE = re.compile(rf"[^\s{INKLESS}\u2800\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]")
"""A character that leaves ink: no blank of any width, Braille's among them, no tag, and nothing that never has any."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row's texts. Absent and blank fields are missing from `texts`; `answer` is always there.

    `row_id` is where it stood in the input, for people who look for it; no part of what it is.
    """

    texts: Mapping[FieldName, str]
    id: str | None
    genre: str | None
    row_id: str | None = field(default=None, compare=False)

    @property
    def chars(self) -> int:
        """Characters of all fields together."""
        return sum(len(text) for text in self.texts.values())

    def digests(self) -> dict[FieldName, bytes]:
        """A 16-byte digest for every field that is there."""
        return {name: digest([text.encode()]) for name, text in self.texts.items()}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is no record, and why; its id where it has one."""

    reason: str
    id: str | None = None


def record_digest(digests: Mapping[FieldName, bytes]) -> bytes:
    """A record's identity: 16 bytes over its fields' digests, absent ones included."""
    return digest([digests.get(name) for name in FIELDS])


def to_record(row: Mapping[str, Any], columns: Mapping[str, str]) -> Record | Unreadable:
    """Read a raw row. `columns` maps our names to the input's; a name it lacks stands for itself."""
    identity = to_label(row.get(columns.get("id", "id")))
    texts: dict[FieldName, str] = {}
    for name in FIELDS:
        value = row.get(columns.get(name, name))
        if value is None:
            continue
        if not isinstance(value, str):
            return Unreadable(f"{name} is {_kind(value)}, not text", identity)
        if not _encodable(value):
            return Unreadable(f"{name} holds lone surrogates, which are no characters", identity)
        if _VISIBLE.search(value):
            texts[name] = value
    if "answer" not in texts:
        return Unreadable("answer is missing or blank", identity)
    return Record(texts, identity, to_label(row.get(columns.get("genre", "genre"))))


def to_label(value: object) -> str | None:
    """A scalar as text, else None: an odd id must not cost the row."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal, date, UUID)):
        return None
    if isinstance(value, (float, Decimal)) and not isfinite(value):
        return None  # how pandas writes what is missing
    text = str(value)
    return text if _VISIBLE.search(text) and _encodable(text) else None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    names = {"bool": "true/false", "int": "a number", "float": "a number", "list": "a list", "dict": "an object"}
    names |= {"Decimal": "a number", "datetime": "a date", "date": "a date", "time": "a time"}
    return names.get(type(value).__name__, type(value).__name__)
