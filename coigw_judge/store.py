"""Facts on disk: what the judge said to one request, once and for good.

    <store>/parts/*.parquet      facts, append-only; written beside and renamed, so a reader never sees half of one
    <store>/asks/<digest>.json   ask fingerprints by job configuration, so that select needs no tokenizer
    <store>/scans/<digest>/      what scan found (scan.py writes and reads it)

A fact's identity is its request's key (ask.py). Where a key stands twice the earliest scored fact wins
(`created_at`, then part name), so that verdicts never flip by themselves.
Not known here: which requests a record needs, whether a fact is good enough, Ray.
"""

import io
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coigw_judge.errors import FixStore
from coigw_judge.paths import list_files, open_filesystem, write_atomic
from coigw_judge.reply import Scored, Unscored

_TEXTS = pa.map_(pa.string(), pa.string())
SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("record", pa.binary(16)),
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
"""A fact's columns (CONTRACT, A fact). `cause` is null where scored; `flags` are the outcome's;
tokens and seconds are over all attempts."""

OUTCOME_COLUMNS = ("key", "scores", "reasons", "checks", "choices", "notes", "cause", "flags")
_LATER = ("flags",)
"""Columns that parts from before them lack: there they are null."""
_MAPS = ("scores", "reasons", "checks", "choices", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One request's outcome and what it cost. Fields as in SCHEMA."""

    key: bytes
    record: bytes
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
        outcome = self.outcome
        for name in _MAPS:
            row[name] = dict(getattr(outcome, name, {}))
        row |= {"raw": _storable(outcome.raw), "flags": list(outcome.flags), "run": run, "created_at": created_at}
        if isinstance(outcome, Unscored):
            row |= {"cause": outcome.cause, "detail": _storable(outcome.detail)}
        return row


def _storable(text: str) -> str:
    """A text as UTF-8 can hold it: a judge's reply may carry half a character."""
    return text.encode("utf-8", "replace").decode()


class Store:
    """A folder of facts, local or at any URI that pyarrow opens."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.filesystem, self._inner = open_filesystem(root)

    def path(self, *names: str) -> str:
        """A path inside the store, for `filesystem`."""
        return "/".join((self._inner.rstrip("/"), *names))

    def parts(self) -> list[str]:
        """The parts as they are now, sorted by name. One listing."""
        return list_files(self.filesystem, self.path("parts"), ".parquet")

    def read(
        self,
        columns: Sequence[str] = OUTCOME_COLUMNS,
        *,
        fingerprints: Iterable[tuple[str, str]] | None = None,
        bucket: int = 0,
        buckets: int = 1,
        since: str = "",
    ) -> pa.Table:
        """Facts, each key once, sorted by key.

        `fingerprints` are (rubric_fingerprint, judge_fingerprint) pairs to keep (None: all); `bucket` of `buckets`
        keeps the records whose digest falls there (record_bucket); `since` (moment) leaves older parts out.
        Raises FixStore for a part that is no part.
        """
        extra = ("key", "record", "rubric_fingerprint", "judge_fingerprint", "created_at", "cause")
        wanted = list(dict.fromkeys((*columns, *extra)))
        pairs = None if fingerprints is None else {f"{rubric}/{judge}" for rubric, judge in fingerprints}
        tables = [
            _select(self._read_part(part, wanted), pairs, bucket, buckets)
            for part in self.parts()
            if PurePosixPath(part).name >= since
        ]
        schema = pa.schema([SCHEMA.field(name) for name in wanted])
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        return _earliest(table).select(list(columns))

    def _read_part(self, part: str, columns: list[str]) -> pa.Table:
        try:
            with pq.ParquetFile(part, filesystem=self.filesystem) as file:
                table = file.read(columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise _no_part(part, " ".join(str(error).split())) from error
        for name in columns:
            if name not in table.column_names and name in _LATER:
                table = table.append_column(SCHEMA.field(name), pa.nulls(table.num_rows, SCHEMA.field(name).type))
        if lacking := [name for name in columns if name not in table.column_names]:
            raise _no_part(part, f"it lacks {', '.join(lacking)}")
        for field in table.schema:
            if field.type != SCHEMA.field(field.name).type:
                raise _no_part(part, f"{field.name} is {field.type}, not {SCHEMA.field(field.name).type}")
        return table.select(columns)

    def write_asks(self, configuration: str, asks: Mapping[str, Any]) -> None:
        """Keep what a configuration's ask fingerprints are."""
        data = json.dumps(asks, ensure_ascii=False, indent=1, sort_keys=True).encode()
        write_atomic(self.filesystem, self.path("asks", f"{configuration}.json"), data)

    def read_asks(self, configuration: str) -> dict[str, Any] | None:
        """The ask fingerprints kept for a configuration; None where it never ran."""
        try:
            with self.filesystem.open_input_stream(self.path("asks", f"{configuration}.json")) as stream:
                found: dict[str, Any] = json.loads(stream.read())
        except FileNotFoundError:
            return None
        return found

    def place_token(self) -> str:
        """Write a token that every judge actor must be able to read: one store for all nodes."""
        token = secrets.token_hex(8)
        write_atomic(self.filesystem, self.path("tokens", token), token.encode())
        return token

    def sees_token(self, token: str) -> bool:
        """Whether this process sees the store into which the driver wrote `token`."""
        try:
            with self.filesystem.open_input_stream(self.path("tokens", token)) as stream:
                return bool(stream.read().decode() == token)
        except FileNotFoundError:
            return False

    def drop_token(self, token: str) -> None:
        """Take the token away again."""
        self.filesystem.delete_file(self.path("tokens", token))


class Writer:
    """Appends facts for one process. Nothing is durable before `flush`; the caller flushes every few seconds.

    Part names sort by time and are unique: milliseconds, the writer's random name, a counter.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._name = secrets.token_hex(4)
        self._parts = 0
        self._rows: list[dict[str, Any]] = []

    def append(self, fact: Fact) -> None:
        """Take a fact; it is on disk after the next flush."""
        self._rows.append(fact.row(self._run, datetime.now(UTC)))

    def flush(self) -> int:
        """Write the facts taken since the last flush as one part; returns how many. They stay if writing fails."""
        rows = list(self._rows)
        if not rows:
            return 0
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
        name = f"{moment()}-{self._name}-{self._parts:06d}.parquet"
        write_atomic(self._store.filesystem, self._store.path("parts", name), buffer.getvalue())
        self._parts += 1
        del self._rows[: len(rows)]
        return len(rows)


def moment(seconds_ago: float = 0) -> str:
    """How names of parts begin that are written from now on, or from some seconds ago (clocks of nodes differ)."""
    return f"{time.time_ns() // 1_000_000 - int(seconds_ago * 1000):015d}"


class Known(Mapping[bytes, Scored | Unscored]):
    """Facts by key, looked up by bisection in an Arrow table; an outcome is made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.sort_by("key").combine_chunks() if table.num_rows else table
        self._keys = np.array(self._table["key"].to_pylist(), dtype="S16")

    def __getitem__(self, key: bytes) -> Scored | Unscored:
        at = int(np.searchsorted(self._keys, np.bytes_(key)))
        if at < len(self._keys):
            row = self._table.slice(at, 1).to_pylist()[0]
            if row["key"] == key:
                return outcome(row)
        raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._table["key"].to_pylist())

    def __len__(self) -> int:
        return len(self._keys)


def outcome(row: Mapping[str, Any]) -> Scored | Unscored:
    """A fact's row (at least OUTCOME_COLUMNS) as an outcome."""
    flags = tuple(row.get("flags") or ())
    if row["cause"] is not None:
        return Unscored(cause=row["cause"], raw=row.get("raw") or "", detail=row.get("detail") or "", flags=flags)
    return Scored(**{name: dict(row[name]) for name in _MAPS}, raw=row.get("raw") or "", flags=flags)


def outcomes(table: pa.Table) -> dict[bytes, Scored | Unscored]:
    """All facts of a table by key."""
    return {row["key"]: outcome(row) for row in table.to_pylist()}


def record_bucket(digests: pa.ChunkedArray | pa.Array, buckets: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The bucket of every 16-byte digest: its first eight bytes, modulo. Nulls are not allowed."""
    array = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    raw = np.frombuffer(array.buffers()[1], dtype="<u8")[2 * array.offset : 2 * (array.offset + len(array))]
    return raw[::2] % np.uint64(buckets)


def _no_part(part: str, reason: str) -> FixStore:
    return FixStore(f"{part}: is not a readable part of a store ({reason}); move it away and run again")


def _select(table: pa.Table, pairs: set[str] | None, bucket: int, buckets: int) -> pa.Table:
    if pairs is not None:
        stated = pc.binary_join_element_wise(table["rubric_fingerprint"], table["judge_fingerprint"], "/")
        table = table.filter(pc.is_in(stated, value_set=pa.array(sorted(pairs), pa.string())))
    if buckets > 1 and table.num_rows:
        table = table.filter(pa.array(record_bucket(table["record"], buckets) == bucket))
    return table


def _earliest(table: pa.Table) -> pa.Table:
    """Each key once: a scored fact before a failure (--retry-unscored asks again), the first by time, then by part.

    Parts come in name order and the sort is stable.
    """
    sortable = table.append_column("failed", pc.is_valid(table["cause"]))
    order = pc.sort_indices(sortable, sort_keys=[(name, "ascending") for name in ("key", "failed", "created_at")])
    ordered = table.take(order)
    if ordered.num_rows < 2:
        return ordered
    keys = ordered["key"].combine_chunks()
    first = np.concatenate(([True], pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)))
    return ordered.filter(pa.array(first))
