"""Spans of digests: how tables far larger than memory are sorted and joined piece by piece.

A digest is uniform, so its first 32 bits deal rows into even buckets: bucket b of n is the span of digests whose
first 32 bits, as a share of 2**32, lie in [b/n, (b+1)/n). Spans and not remainders, because in a file that is
sorted by digest a span is a few neighbouring row groups, found in the file's footer: n buckets read such a file
once, not n times.
"""

import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.storage.paths import open_atomic

_POWERS = np.cumprod(np.full(4096, 0x9E3779B97F4A7C15, dtype=np.uint64))


def bucket_of(keys: pa.Array, buckets: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The bucket of every text (large_string, no nulls): a polynomial over its bytes, mixed, modulo."""
    offsets = np.frombuffer(keys.buffers()[1], dtype="<i8")[keys.offset : keys.offset + len(keys) + 1]
    data = np.frombuffer(keys.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    ends = offsets - offsets[0]
    place = np.arange(len(data)) - np.repeat(ends[:-1], np.diff(ends))
    terms = (data.astype(np.uint64) + np.uint64(1)) * _POWERS[place % len(_POWERS)]
    sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)))
    mixed = sums[ends[1:]] - sums[ends[:-1]]
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) % np.uint64(buckets), dtype=np.uint64)


DIGEST = pa.binary(16)
ROW_GROUP = 16_384
"""Rows of a row group: what a reader of a span reads beyond it, at both ends."""

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Span:
    """The digests whose first 32 bits, read as a big-endian number, are in [low, high)."""

    low: int
    high: int


ALL = Span(0, 1 << 32)


def span(bucket: int, buckets: int) -> Span:
    """The `bucket`-th of `buckets` equal spans; together they hold every digest once."""
    return Span(-(-(bucket << 32) // buckets), -(-((bucket + 1) << 32) // buckets))


def around(digest: bytes) -> Span:
    """The smallest span that holds a digest."""
    head = int.from_bytes(digest[:4], "big")
    return Span(head, head + 1)


def as_bytes(digests: pa.Array | pa.ChunkedArray) -> Numbers:
    """Digests as an array of bytes, shape (n, 16), without a copy. Nulls come out as whatever lies there."""
    array = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    if len(array) == 0:
        return np.empty((0, 16), np.uint8)
    raw = np.frombuffer(array.buffers()[1], np.uint8)
    return raw[16 * array.offset : 16 * (array.offset + len(array))].reshape(-1, 16)


def as_digests(raw: Numbers) -> pa.Array:
    """Bytes of shape (n, 16) as an Arrow array of digests."""
    packed = np.ascontiguousarray(raw, np.uint8)
    return pa.FixedSizeBinaryArray.from_buffers(DIGEST, len(packed), [None, pa.py_buffer(packed)])


def as_hex(digests: pa.ChunkedArray) -> pa.Array:
    """Digests as texts of 32 hex digits; null stays null."""
    array = digests.combine_chunks()
    offsets = pa.array(np.arange(len(array) + 1) * 32, pa.int32())
    digits = pa.py_buffer(binascii.hexlify(as_bytes(array).tobytes()))
    texts = pa.StringArray.from_buffers(len(array), offsets.buffers()[1], digits)
    return pc.if_else(pc.is_valid(array), texts, pa.scalar(None, pa.string()))


def halves(raw: Numbers) -> tuple[Numbers, Numbers]:
    """Bytes of shape (n, 16) as two native uint64 arrays whose order, high before low, is that of the digests."""
    words = np.ascontiguousarray(raw, np.uint8).view(">u8").astype(np.uint64)
    return words[:, 0], words[:, 1]


def heads(digests: pa.Array | pa.ChunkedArray) -> Numbers:
    """The first 32 bits of every digest, as uint32."""
    raw = np.ascontiguousarray(as_bytes(digests)[:, :4])
    return raw.view(">u4").astype(np.uint32)[:, 0]


def within(table: pa.Table, by: str, wanted: Span) -> pa.Table:
    """The rows whose digest in column `by` falls into a span, in their order."""
    if wanted == ALL or not table.num_rows:
        return table
    head = heads(table[by])
    return table.filter(pa.array((head >= wanted.low) & (head.astype(np.uint64) < wanted.high)))


def runs(raw: Numbers, *ranks: Numbers) -> tuple[Numbers, Numbers]:
    """The order of digests (bytes of shape (n, 16)), and for every place in it whether another digest begins there.

    Equal digests stand in order of `ranks`, of which the first weighs most, and else as they came.
    """
    high, low = halves(raw)
    order = np.lexsort((*reversed(ranks), low, high))
    high, low = high[order], low[order]
    new = np.ones(len(order), bool)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order, new


def sort(table: pa.Table, by: str) -> pa.Table:
    """The table in order of the digests in column `by`; equal ones keep their order."""
    if table.num_rows < 2:
        return table
    order, _ = runs(as_bytes(table[by]))
    return table.take(pa.array(order))


class SortedFile:
    """A Parquet file being written in order of a digest."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self.rows = 0

    def append(self, table: pa.Table) -> None:
        """Append rows that are in order, and not before those appended so far."""
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self.rows += table.num_rows


@contextmanager
def sorted_file(filesystem: fs.FileSystem, path: str, schema: pa.Schema) -> Iterator[SortedFile]:
    """A file to write in order; readers see it whole, after the `with`, or not at all."""
    with open_atomic(filesystem, path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield SortedFile(writer)


def read_span(
    filesystem: fs.FileSystem, path: str, by: str, wanted: Span, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a file sorted by column `by` that fall into a span. Columns that the file lacks are left out."""
    with pq.ParquetFile(filesystem.open_input_file(path)) as file:
        # A map has two columns in the file, so a column's place there is not its place in the schema.
        at = next(n for n, column in enumerate(file.schema) if column.path == by)
        groups = [n for n in range(file.num_row_groups) if _overlaps(file.metadata.row_group(n).column(at), wanted)]
        table = file.read_row_groups(groups, columns=None if columns is None else [*columns, by])
    found = within(table, by, wanted)
    return found if columns is None else found.select([name for name in columns if name in found.schema.names])


def _overlaps(column: Any, wanted: Span) -> bool:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return True
    least, most = (int.from_bytes(value[:4], "big") for value in (statistics.min, statistics.max))
    return bool(least < wanted.high and most >= wanted.low)
