"""A sample of the input's rows, spread over all of it, and what each sampled row stands for.

A few rows are read at each of many places (a byte of JSONL, a row group of Parquet), so that a crawl of any size
costs some seconds. Where a scan is there the rows of every split are known, and a place stands for its share of them;
before a scan, places are spread over the bytes of the files, and how many rows a byte holds is measured at each.
A file in which no reader can start in the middle (compressed files, CSV) is read from its beginning, at most HEAD rows.
Rows of one place are neighbours and alike: to find the error of an estimate, draw places anew, not rows.
"""

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from coigw_judge.input import encoding
from coigw_judge.input.jsonl_csv import read_head
from coigw_judge.input.listing import File, Row, Split
from coigw_judge.input.parquet import open_parquet
from coigw_judge.input.splits import read_split, split_file
from coigw_judge.records.record import Record, Unreadable, to_record
from coigw_judge.scan.rows import Scan
from coigw_judge.storage.paths import open_filesystem

PLACES = 64
HEAD = 20_000
_PARQUET_SKIPPED = 2_000
_PROBE = 1 << 20
"""Compressed bytes by which a file's ratio is measured."""


@dataclass(slots=True)
class InputSample:
    """Sampled records. The first four lists run in parallel."""

    records: list[Record] = field(default_factory=list)
    raws: list[dict[str, Any]] = field(default_factory=list)
    """The input's rows, as they were read."""
    places: list[int] = field(default_factory=list)
    """The number of the place of each record."""
    weights: list[float] = field(default_factory=list)
    """How many rows of the input each record stands for."""
    rows: float = 0.0
    """Rows of the input; an estimate before a scan."""
    unreadable: float = 0.0
    """How many of them are unreadable."""
    whole: bool = False
    """Whether every row was read, so that there is no sampling error."""

    def add(self, place: int, weight: float, row: Row, columns: dict[str, str]) -> None:
        """Take a row that stands for `weight` rows."""
        record = row if isinstance(row, Unreadable) else to_record(row, columns)
        if isinstance(record, Record) and isinstance(row, dict):
            self.records.append(record)
            self.raws.append(row)
            self.places.append(place)
            self.weights.append(weight)
        else:
            self.unreadable += weight


def of_scan(scan: Scan, columns: dict[str, str], most: int) -> InputSample:
    """About `most` rows of a scanned input; all of them where there are no more."""
    sample = InputSample(rows=scan.rows_in)
    if scan.rows_in <= most:
        sample.whole = True
        for number, (piece, count) in enumerate(zip(scan.splits, scan.rows, strict=True)):
            for _, row in islice(read_split(piece), count):
                sample.add(number, 1.0, row, columns)
        return sample
    ends = np.cumsum(scan.rows)
    places, rows_each = _places(most)
    of_split: dict[int, list[tuple[int, float, list[Row]]]] = {}
    for place in range(places):
        at = int((place + 0.5) / places * scan.rows_in)
        number = int(np.searchsorted(ends, at, side="right"))
        share = (at - int(ends[number] - scan.rows[number])) / scan.rows[number]
        rows_there = _rows_at(scan.splits[number], share, rows_each + 1)
        if rows_there:
            rows = [row for _, row in rows_there[:rows_each]]
            of_split.setdefault(number, []).append((place, _density(scan.splits[number], rows_there), rows))
    total = sum(len(there) for there in of_split.values())
    for there in of_split.values():
        stands_for = scan.rows_in * len(there) / total
        dense = sum(
            density for _, density, _ in there
        )  # places are even in bytes: where rows are short, there are more
        for place, density, rows in there:
            for row in rows:
                sample.add(place, stands_for * density / dense / len(rows), row, columns)
    _head.cache_clear()
    return sample


def _density(piece: Split, rows: list[tuple[int, Row]]) -> float:
    """Rows per byte among neighbours, where a reader starts at a byte; else 1, for there it starts at a row."""
    if len(rows) < 2 or not _enterable(piece):
        return 1.0
    return (len(rows) - 1) / max(1, rows[-1][0] - rows[0][0])


def of_files(files: Sequence[File], columns: dict[str, str], most: int, limit: int | None) -> InputSample:
    """About `most` rows of an input that was not scanned; `rows` is estimated from rows per byte at each place."""
    sample = InputSample()
    sizes = np.array([max(1, file.size) for file in files], np.float64)
    ends = np.cumsum(sizes)
    places, rows_each = _places(most)
    for place in range(places):
        at = (place + 0.5) / places * float(ends[-1])
        number = int(np.searchsorted(ends, at, side="right"))
        share = (at - float(ends[number] - sizes[number])) / float(sizes[number])
        density, rows_there = _measured(files[number], share, rows_each)
        stands_for = density * float(ends[-1]) / places
        sample.rows += stands_for if rows_there else 0.0
        for row in rows_there:
            sample.add(place, stands_for / len(rows_there), row, columns)
    _head.cache_clear()  # a file may be another one when it is sampled again
    if limit is not None and limit < sample.rows:
        part = limit / sample.rows
        sample.rows, sample.unreadable = float(limit), sample.unreadable * part
        sample.weights = [weight * part for weight in sample.weights]
    return sample


def _places(most: int) -> tuple[int, int]:
    """At how many places how many rows are read."""
    places = max(1, min(PLACES, most // 8))
    return places, -(-most // places)


def _measured(file: File, share: float, take: int) -> tuple[float, list[Row]]:
    """Rows from about `share` of a file, and how many rows a byte of the file holds there."""
    pieces = split_file(file)
    at = share * len(pieces)
    piece, inside = pieces[int(at)], at - int(at)
    if piece.trouble:
        return 1 / max(1, file.size), [Unreadable(piece.trouble)]
    if piece.format == "parquet":
        with open_parquet(file.path, file.name) as parquet:
            count = 0 if isinstance(parquet, Unreadable) else int(parquet.metadata.num_rows)
        return count / max(1, file.size), [row for _, row in _rows_at(piece, inside, take)]
    rows_there = _rows_at(piece, inside, take + 1)
    if not rows_there:
        return 0.0, []
    rows = [row for _, row in rows_there[:take]]
    if _enterable(piece):
        return (_density(piece, rows_there) if len(rows_there) > 1 else 1 / max(1, file.size)), rows
    head = _head(piece)
    if len(head) < HEAD:
        return len(head) / max(1, file.size), rows
    if piece.format == "csv":
        taken = sum(_csv_bytes(row) for _, row in head) / len(head)
    else:
        taken = (head[-1][0] - head[0][0]) / (len(head) - 1)
    return _ratio(file) / max(1.0, taken), rows


def _rows_at(piece: Split, share: float, take: int) -> list[tuple[int, Row]]:
    """Up to `take` neighbouring rows with their positions, from about `share` of a piece."""
    if piece.format == "parquet" and not piece.trouble:
        piece, skip = _row_group(piece, share, take)
        return list(islice(read_split(piece), skip, skip + take))
    if _enterable(piece):
        start = piece.start + int(share * (piece.stop - piece.start))
        rows = list(islice(read_split(replace(piece, start=start)), take))
        return rows or list(islice(read_split(piece), take))
    head = _head(piece)
    first = max(0, min(int(share * len(head)), len(head) - take))
    return list(head[first : first + take])


@lru_cache(maxsize=1)
def _head(piece: Split) -> tuple[tuple[int, Row], ...]:
    """The first rows of a piece that is read from its beginning; places come in order, so it is read once."""
    return tuple(islice(read_split(piece), HEAD))


def _enterable(piece: Split) -> bool:
    """Whether a reader can begin at any byte: plain JSONL in which a line's end is one byte."""
    if piece.trouble or piece.format != "jsonl" or piece.compression is not None or piece.stop < 0:
        return False
    return piece.start > 0 or (encoding.marked(read_head(piece.path)) is None and encoding.width(piece.encoding) == 1)


def _row_group(piece: Split, share: float, take: int) -> tuple[Split, int]:
    """The row group in which `share` of a piece lies, and how many of its rows to read over."""
    with open_parquet(piece.path, piece.name) as parquet:
        if isinstance(parquet, Unreadable):
            return piece, 0
        groups = range(piece.start, piece.stop)
        counts = [int(parquet.metadata.row_group(group).num_rows) for group in groups]
    ends = np.cumsum(counts)
    at = min(int(share * ends[-1]), int(ends[-1]) - 1)
    number = int(np.searchsorted(ends, at, side="right"))
    before = int(ends[number]) - counts[number]
    group = piece.start + number
    skip = max(0, min(at - before, counts[number] - take, _PARQUET_SKIPPED))
    return replace(piece, start=group, stop=group + 1, first=piece.first + before), skip


def _csv_bytes(row: Row) -> float:
    """Bytes of a row in a CSV file, without quotes."""
    values = row.values() if isinstance(row, dict) else [row.reason]
    return sum(len(str(value).encode("utf-8", "replace")) + 1 for value in values)


def _ratio(file: File) -> float:
    """Bytes of text for each byte of the file."""
    if file.compression is None:
        return 1.0
    filesystem, inner = open_filesystem(file.path)
    with filesystem.open_input_stream(inner, compression=None) as stream:
        head = stream.read(_PROBE)
    size = sum(len(part) for part in _unpacked(head, file.compression))
    return size / len(head) if size and head else 1.0


def _unpacked(head: bytes, compression: str) -> Iterator[bytes]:
    """What the beginning of a compressed file holds, up to where it is cut off."""
    with pa.CompressedInputStream(pa.BufferReader(head), compression) as stream:
        while True:
            try:
                part = stream.read(1 << 16)
            except OSError:
                return  # cut off by us
            if not part:
                return
            yield part


def packed_bytes(rows: Sequence[dict[str, Any]]) -> float:
    """Bytes per row as the columns of a folder of decided rows take them, about: as text, compressed by zstd."""
    if not rows:
        return 0.0
    text = "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)
    return float(len(pa.compress(codecs.encode(text, "utf-8", "replace"), "zstd", asbytes=True))) / len(rows)
