"""Rows of Parquet: cut at row groups; where one is broken, what can be read of it, and one row for each that cannot.

The footer says how many rows a group holds, so rows behind a broken page are counted, not lost: each is unreadable
with its reason. Where no particular columns are asked for, the sound columns of such rows are still given.
A file whose footer cannot be read does not know its rows; it is one unreadable row as a whole.
What stands between us and the file (rights, a disk, a network) is no property of its rows: it raises FixSource.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.errors import FixSource
from coigw_judge.input.listing import File, Row, Split, read_through
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.paths import open_filesystem

_BROKEN = (OSError, ValueError, OverflowError, pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowTypeError)
"""What damaged bytes raise. ArrowInvalid is a ValueError, and so is a column's name that is not UTF-8."""
_BATCH_ROWS, _BATCH_BYTES = 1024, 32 << 20
_COLUMN_BYTES = 4 << 20
"""Bytes of a column that are read at once: a row group may be larger than the memory there is."""


@contextmanager
def open_parquet(path: str, name: str) -> Iterator[pq.ParquetFile | Unreadable]:
    """The file, or why it is no Parquet. Raises FixSource where it cannot be opened at all."""
    filesystem, inner = open_filesystem(path)
    try:
        stream = filesystem.open_input_file(inner)
    except OSError as error:
        raise FixSource(f"{name}: cannot be opened ({error})") from error
    with stream:
        try:
            parquet = pq.ParquetFile(stream, buffer_size=_COLUMN_BYTES)
            _ = parquet.schema_arrow.names
        except _BROKEN as error:
            read_through(path, name)
            yield Unreadable(f"the file cannot be read as Parquet ({_said(error)})")
        else:
            with parquet:
                yield parquet


def split_parquet(file: File, size: int) -> list[Split]:
    """Pieces of about `size` bytes, cut at row groups; one with its trouble where the file cannot be read."""

    def piece(start: int, stop: int, first: int = 0, trouble: str = "", held: int = 0) -> Split:
        return Split(file.path, file.name, file.format, None, start, stop, first, trouble=trouble, size=held)

    with open_parquet(file.path, file.name) as parquet:
        if isinstance(parquet, Unreadable):
            return [piece(0, 0, trouble=parquet.reason)]
        metadata = parquet.metadata
        pieces, start, first, held, rows = [], 0, 0, 0, 0
        for group in range(metadata.num_row_groups):
            held += metadata.row_group(group).total_byte_size
            rows += metadata.row_group(group).num_rows
            if held >= size or group == metadata.num_row_groups - 1:
                pieces.append(piece(start, group + 1, first, held=held))
                start, first, held, rows = group + 1, first + rows, 0, 0
    return pieces


def read_parquet(piece: Split, columns: list[str] | None) -> Iterator[tuple[int, Row]]:
    """The rows of a piece by their numbers, as many as the footer promises. `columns` limits what is read."""
    with open_parquet(piece.path, piece.name) as parquet:
        if isinstance(parquet, Unreadable):
            raise FixSource(f"{piece.name}: has changed while it was read: {parquet.reason}; run again")
        yield from enumerate(_rows(parquet, piece, columns), start=piece.first)


def _rows(parquet: pq.ParquetFile, piece: Split, columns: list[str] | None) -> Iterator[Row]:
    names = parquet.schema_arrow.names
    groups = list(range(piece.start, piece.stop))
    counts = [parquet.metadata.row_group(group).num_rows for group in groups]
    twice = [name for name in columns or () if names.count(name) > 1]
    if twice:
        yield from [Unreadable(f"the file has the column {twice[0]} twice")] * sum(counts)
        return
    wanted = None if columns is None else [name for name in columns if name in names]
    done = 0
    for row in _until_broken(parquet, groups, wanted):
        yield row
        done += 1
    if done < sum(counts):
        read_through(piece.path, piece.name)
    for group, count in zip(groups, counts, strict=True):
        if done < count:
            yield from _broken_group(parquet, group, count, done, wanted)
        done = max(0, done - count)


def _until_broken(parquet: pq.ParquetFile, groups: list[int], columns: list[str] | None) -> Iterator[Row]:
    """Rows up to the first that cannot be read, and never more than the footer promises."""
    metadata = [parquet.metadata.row_group(group) for group in groups]
    left = sum(group.num_rows for group in metadata)
    most = max((group.total_byte_size // max(1, group.num_rows) for group in metadata), default=0)
    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, most)))
    try:
        batches = parquet.iter_batches(size, row_groups=groups, columns=columns)
        batch = next(batches, None)
    except _BROKEN:
        return
    while batch is not None:
        for row in _rows_of(batch)[:left]:
            yield row
            left -= 1
        try:
            batch = next(batches, None)
        except _BROKEN:
            return


def _rows_of(batch: pa.RecordBatch) -> list[Row]:
    """The rows of a batch. A value that Python cannot hold is given as the bytes, text or number that it is."""
    try:
        rows: list[Row] = batch.to_pylist()
    except (ValueError, OverflowError):
        columns = [_values(column) for column in batch.columns]
        rows = [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]
    return rows


def _values(column: pa.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError) as error:
        if len(column) > 1:
            return [value for n in range(len(column)) for value in _values(column.slice(n, 1))]
        for type_ in (pa.binary(), pa.string(), pa.int64()):  # no UTF-8; nanoseconds; a date outside of Python's years
            try:
                values = column.cast(type_).to_pylist()
            except _BROKEN:
                continue
            return values
        return [f"(a value that cannot be read: {error})"]
    return values


def _broken_group(
    parquet: pq.ParquetFile, group: int, count: int, done: int, columns: list[str] | None
) -> Iterator[Row]:
    """The rows of a group from `done` on: up to the break as they are, behind it what is left of them."""
    for number, row in enumerate(_until_broken(parquet, [group], columns)):
        if number >= done:
            yield row
            done += 1
    sound, broken = _columns(parquet, group, count, parquet.schema_arrow.names if columns is None else columns)
    if columns is None and sound:
        for batch in pa.table(sound).slice(done).to_batches(max_chunksize=_BATCH_ROWS):
            yield from _rows_of(batch)
        return
    name, said = next(iter(broken.items()), ("", "its columns do not fit together"))
    yield from [Unreadable(f"row group {group} of the file is broken in column {name}: {said}")] * (count - done)


def _columns(
    parquet: pq.ParquetFile, group: int, count: int, names: list[str]
) -> tuple[dict[str, pa.ChunkedArray], dict[str, str]]:
    """The columns of a group that can be read, and why the others cannot."""
    sound, broken = {}, {}
    for name in dict.fromkeys(names):
        try:
            table = parquet.read_row_group(group, columns=[name])
        except _BROKEN as error:
            broken[name] = _said(error)
        else:
            if table.num_rows == count:
                sound[name] = table.column(0)
            else:
                broken[name] = f"{table.num_rows} of {count} rows are there"
    return sound, broken


def _said(error: Exception) -> str:
    return " ".join(str(error).split())
