"""Scan: the whole input, without a judge. From here on the totals are known.

    <store>/scans/<digest>/00000.parquet   one file per split, a row for every input row, in order
    <store>/scans/<digest>/duplicates.parquet   later rows with the very same texts, and which row represents them
    <store>/scans/<digest>/scan.json       totals and splits; written last, so its presence says that the scan is whole

The digest covers the files' names, sizes and times, the column mapping, the limit and the screens: an unchanged
input is scanned once. Texts are not copied; fill reads them again, split by split beside these files.
Exact duplicates are found over all splits by digest, in passes that each hold a bounded number of rows.
Not known here: Ray, rubrics, judges.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coigw_judge.errors import CountsDiffer, FixSource
from coigw_judge.hashing import fingerprint
from coigw_judge.job import Job
from coigw_judge.paths import write_atomic
from coigw_judge.record import Record, Unreadable, record_digest, to_record
from coigw_judge.rubric import FIELDS
from coigw_judge.source import File, Split, read
from coigw_judge.store import Store, record_bucket

FORMAT = 1
_DIGEST = pa.binary(16)
SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("id", pa.string()),
        ("record", _DIGEST),
        *((field, _DIGEST) for field in FIELDS),
        ("genre", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("chars", pa.int64()),
        ("unreadable", pa.string()),
    ]
)
"""A scanned row: where it stands, digests of record and fields (null: absent), or why it is no record."""

DUPLICATES = pa.schema([("split", pa.int32()), ("row", pa.int64()), ("of_split", pa.int32()), ("of_row", pa.int64())])
_ROWS_PER_PASS = 20_000_000


@dataclass(frozen=True, slots=True)
class Scan:
    """A finished scan: totals, and where its files are. `kinds` counts records by the fields they have."""

    digest: str
    splits: tuple[Split, ...]
    rows: tuple[int, ...]
    kinds: dict[str, int]
    unreadable: int
    duplicates: int

    @property
    def rows_in(self) -> int:
        """All input rows."""
        return sum(self.rows)

    def applicable(self, reads: Iterable[str]) -> int:
        """How many records (duplicates included) have all of these fields."""
        wanted = set(reads)
        return sum(count for kind, count in self.kinds.items() if wanted <= set(kind.split("+")))


def scan_digest(job: Job, files: list[File]) -> str:
    """What a scan depends on."""
    listed = [[f.path, f.name, f.size, f.mtime_ns] for f in files]
    return fingerprint([FORMAT, listed, job.input.model_dump(exclude={"paths"}), job.limit, job.screen.model_dump()])


def load(store: Store, digest: str) -> Scan | None:
    """A finished scan, or None."""
    try:
        with store.filesystem.open_input_stream(store.path("scans", digest, "scan.json")) as stream:
            raw = json.loads(stream.read())
    except FileNotFoundError:
        return None
    splits = tuple(Split(**piece) for piece in raw.pop("splits"))
    return Scan(splits=splits, rows=tuple(raw.pop("rows")), **raw)


def scan_split(
    store: Store, digest: str, number: int, piece: Split, columns: dict[str, str], limit: int | None
) -> dict[str, Any]:
    """Scan one split and write its file; returns its counts: rows, kinds, unreadable."""
    wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
    kinds: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    tables = []
    count = unreadable = 0
    for position, raw in read(piece, wanted):
        if limit is not None and count >= limit:
            break
        record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
        rows.append(_row(position, record))
        count += 1
        if isinstance(record, Record):
            kinds["+".join(record.texts)] += 1
        else:
            unreadable += 1
        if len(rows) >= 10_000:
            tables.append(pa.Table.from_pylist(rows, schema=SCHEMA))
            rows.clear()
    tables.append(pa.Table.from_pylist(rows, schema=SCHEMA))
    _write(store, digest, f"{number:05d}.parquet", pa.concat_tables(tables))
    return {"number": number, "rows": count, "kinds": dict(kinds), "unreadable": unreadable}


def _row(position: int, record: Record | Unreadable) -> dict[str, Any]:
    if isinstance(record, Unreadable):
        return {"position": position, "id": record.id, "unreadable": record.reason}
    digests = record.digests()
    return {
        "position": position,
        "id": record.id,
        "record": record_digest(digests),
        **{str(field): value for field, value in digests.items()},
        "genre": record.genre,
        "flags": record.flags(),
        "chars": sum(len(text) for text in record.texts.values()),
    }


def finish(store: Store, digest: str, splits: list[Split], counts: list[dict[str, Any]], find_duplicates: bool) -> Scan:
    """Settle duplicates and write scan.json. `counts` are scan_split's, in any order."""
    ordered = sorted(counts, key=lambda count: int(count["number"]))
    rows = tuple(int(count["rows"]) for count in ordered)
    kinds: Counter[str] = Counter()
    for count in ordered:
        kinds.update(count["kinds"])
    found = DUPLICATES.empty_table()
    if find_duplicates and splits:
        found = _find_duplicates(store, digest, len(splits), sum(rows))
    _write(store, digest, "duplicates.parquet", found)
    scan = Scan(
        digest=digest,
        splits=tuple(splits),
        rows=rows,
        kinds=dict(kinds),
        unreadable=sum(int(count["unreadable"]) for count in ordered),
        duplicates=found.num_rows,
    )
    described: dict[str, Any] = {"digest": digest, "splits": [piece.as_dict() for piece in splits], "rows": list(rows)}
    described |= {"kinds": scan.kinds, "unreadable": scan.unreadable, "duplicates": scan.duplicates}
    data = json.dumps(described, ensure_ascii=False).encode()
    write_atomic(store.filesystem, store.path("scans", digest, "scan.json"), data)
    return scan


def _find_duplicates(store: Store, digest: str, splits: int, total: int) -> pa.Table:
    """Every later row whose record stood before, and the first row in input order that has it."""
    passes = max(1, -(-total // _ROWS_PER_PASS))
    tables = []
    for n in range(passes):
        keys, places = _records_of_pass(store, digest, splits, n, passes)
        order = np.lexsort((places["row"], places["split"], keys["low"], keys["high"]))
        keys, places = keys[order], places[order]
        if len(keys) < 2:
            continue
        same = np.concatenate(([False], keys[1:] == keys[:-1]))
        first = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
        later, of = places[same], places[first[same]]
        columns = [later["split"], later["row"], of["split"], of["row"]]
        tables.append(pa.Table.from_arrays([pa.array(c) for c in columns], schema=DUPLICATES))
    table = pa.concat_tables(tables) if tables else DUPLICATES.empty_table()
    return table.sort_by([("split", "ascending"), ("row", "ascending")])


def _records_of_pass(store: Store, digest: str, splits: int, n: int, passes: int) -> tuple[Any, Any]:
    all_keys, all_places = [], []
    for number in range(splits):
        column = _read(store, digest, number, ["record"])["record"].combine_chunks()
        rows = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
        present = column.drop_null()
        mine = record_bucket(present, passes) == n
        raw = np.frombuffer(present.buffers()[1], dtype="<u8")[2 * present.offset : 2 * (present.offset + len(present))]
        keys = np.empty(int(mine.sum()), dtype=[("high", "<u8"), ("low", "<u8")])
        keys["high"], keys["low"] = raw[::2][mine], raw[1::2][mine]
        places = np.empty(len(keys), dtype=[("split", "<i4"), ("row", "<i8")])
        places["split"], places["row"] = number, rows[mine]
        all_keys.append(keys)
        all_places.append(places)
    return np.concatenate(all_keys), np.concatenate(all_places)


def duplicates_of(store: Store, scan: Scan, number: int) -> dict[int, tuple[int, int]]:
    """The duplicates in one split: row -> (split, row) of the record that represents it."""
    if not scan.duplicates:
        return {}
    path = store.path("scans", scan.digest, "duplicates.parquet")
    table = pq.read_table(path, filesystem=store.filesystem, filters=[("split", "=", number)], partitioning=None)
    return {row["row"]: (row["of_split"], row["of_row"]) for row in table.to_pylist()}


def read_split(store: Store, scan: Scan, number: int, columns: list[str] | None = None) -> pa.Table:
    """The scanned rows of one split, in input order."""
    return _read(store, scan.digest, number, columns)


def records(scan: Scan, number: int, columns: dict[str, str], rows: set[int] | None) -> Iterator[tuple[int, Record]]:
    """The records of a split with their row numbers, texts included; `rows` limits which.

    Raises FixSource where the file no longer has the rows that were scanned.
    """
    piece, count = scan.splits[number], scan.rows[number]
    wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
    seen = 0
    for row, (_, raw) in enumerate(read(piece, wanted)):
        if row >= count:
            return
        seen += 1
        if rows is not None and row not in rows:
            continue
        record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
        if isinstance(record, Record):
            yield row, record
    if seen < count:
        raise FixSource(f"{piece.name}: has changed since it was scanned ({count} rows then, {seen} now); run again")


def check_total(scan: Scan, decided: int) -> None:
    """Raise CountsDiffer unless every input row was decided once."""
    if scan.rows_in != decided:
        raise CountsDiffer(f"{scan.rows_in} rows came in and {decided} were decided; do not use this run's output")


def _read(store: Store, digest: str, number: int, columns: list[str] | None) -> pa.Table:
    path = store.path("scans", digest, f"{number:05d}.parquet")
    return pq.read_table(path, columns=columns, filesystem=store.filesystem, partitioning=None)


def _write(store: Store, digest: str, name: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(store.filesystem, store.path("scans", digest, name), buffer.getvalue())
