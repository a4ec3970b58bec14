"""A fact: what the judge said to one request, and what that cost; as a value and as a row of Arrow columns."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.replies.outcome import MAPPED, Scored, Unscored, from_values, to_values
from coigw_judge.storage import hash_ranges

_TEXTS = pa.map_(pa.string(), pa.string())
SCHEMA = pa.schema(
    [
        ("key", hash_ranges.DIGEST),
        ("record", hash_ranges.DIGEST),
        ("home", hash_ranges.DIGEST),
        ("rubric", pa.string()),
        ("rubric_fingerprint", pa.string()),
        ("judge_fingerprint", pa.string()),
        ("sample", pa.int32()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("reasons", _TEXTS),
        ("checks", pa.map_(pa.string(), pa.bool_())),
        ("choices", _TEXTS),
        ("notes", _TEXTS),
        ("expected", pa.map_(pa.string(), pa.float64())),
        ("raw", pa.string()),
        ("finish_reason", pa.string()),
        ("cause", pa.string()),
        ("detail", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("attempt", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("run", pa.string()),
    ]
)
"""A fact's columns (CONTRACT, A fact). `cause` is null where scored; `flags` are the outcome's; tokens and seconds
are over all attempts.

`home` is the digest of the answer; facts are sorted and looked up by it. It is not the record's digest, because
records with the same answer share the facts of rubrics that read only what is the same in both.
"""

OUTCOME_COLUMNS = ("key", "scores", "reasons", "checks", "choices", "notes", "cause", "flags")
"""The columns of a Scored or Unscored."""

DECIDING_COLUMNS = ("key", "rubric", "scores", "checks", "choices", "expected", "cause", "detail")
"""The columns that a decision rests on: no reasons, no notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One request's outcome and what it cost. Fields as in SCHEMA."""

    key: bytes
    record: bytes
    home: bytes
    rubric: str
    rubric_fingerprint: str
    judge_fingerprint: str
    sample: int
    outcome: Scored | Unscored
    finish_reason: str | None
    attempt: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    seconds: float

    def row(self, run: str, created_at: datetime) -> dict[str, Any]:
        """The fact as a row of SCHEMA."""
        row: dict[str, Any] = {name: getattr(self, name, None) for name in SCHEMA.names}
        row |= {**{name: {} for name in MAPPED}, **to_values(self.outcome), "run": run, "created_at": created_at}
        row |= {name: _storable(row[name]) for name in ("raw", "detail") if row[name] is not None}
        return {**row, "expected": row["expected"] or None}


def _storable(text: str) -> str:
    """A text that UTF-8 can hold: a judge's reply may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def outcomes(table: pa.Table) -> dict[bytes, Scored | Unscored]:
    """All facts of a table by key."""
    return {row["key"]: from_values(row) for row in table.to_pylist()}


LATER = ("flags",)
"""Columns that older parts may lack; there they are null."""


def with_columns(table: pa.Table, columns: list[str]) -> pa.Table:
    """Exactly these columns; null where a table of an earlier version lacks one."""
    arrays = [
        table[name] if name in table.schema.names else pa.nulls(table.num_rows, SCHEMA.field(name).type)
        for name in columns
    ]
    return pa.table(arrays, schema=pa.schema([SCHEMA.field(name) for name in columns]))


def of_pairs(table: pa.Table, pairs: frozenset[str] | None) -> pa.Table:
    """The facts whose `rubric_fingerprint/judge_fingerprint` is among `pairs` (None: all)."""
    if pairs is None or not table.num_rows:
        return table
    stated = pc.binary_join_element_wise(table["rubric_fingerprint"], table["judge_fingerprint"], "/")
    return table.filter(pc.is_in(stated, value_set=pa.array(sorted(pairs), pa.string())))


def earliest(table: pa.Table) -> pa.Table:
    """Each key once, in order of the keys: the earliest scored fact, else the earliest failure.

    A scored fact goes before a failure because `--retry-unscored` asks failures again. Of facts of the same time
    the one that stands first in the table is taken; tables come in the order of their parts' names.
    """
    if table.num_rows < 2:
        return table
    failed = pc.is_valid(table["cause"]).to_numpy()
    created = table["created_at"].cast(pa.int64()).to_numpy()
    order, first = hash_ranges.runs(hash_ranges.as_bytes(table["key"]), failed, created)
    return table.take(pa.array(order[first]))
