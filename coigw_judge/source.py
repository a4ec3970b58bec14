"""From bytes to rows with positions: Parquet by row group, JSONL by byte range, CSV and compressed files whole.

A row's position is its number in a Parquet or CSV file and its byte offset in (decompressed) JSONL: both are
known to whoever reads a piece of the file, without reading what stands before. `row_id` is the path as the job
writes it and the position, so it is unique and stable. A broken line or a torn tail is one unreadable row.
CSV is not split by byte range: a quoted field may hold line breaks, so only a reader from the start knows
where a row begins.
Not known here: which columns matter (record.py), Ray.
"""

import csv
import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.errors import FixSource
from coigw_judge.paths import is_uri, open_filesystem, resolve
from coigw_judge.record import Unreadable

FORMATS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".jsonl.zst": "jsonl",
    ".ndjson": "jsonl", ".csv": "csv", ".csv.gz": "csv", ".csv.zst": "csv",
}  # fmt: skip
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
SPLIT_BYTES = 64 << 20
"""How much of a JSONL or Parquet file one task reads, in bytes."""

csv.field_size_limit(1 << 30)
Row = dict[str, Any] | Unreadable


@dataclass(frozen=True, slots=True)
class File:
    """An input file: where it is, how the job calls it, what it holds."""

    path: str
    name: str
    format: str
    compression: str | None
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Split:
    """A piece of a file that one task reads: bytes [start, stop) of JSONL, row groups [start, stop) of Parquet.

    `first` is the number of its first row, where rows are numbered (Parquet).
    """

    path: str
    name: str
    format: str
    compression: str | None
    start: int
    stop: int
    first: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The split as plain values, to travel between processes."""
        return asdict(self)


def list_files(patterns: list[str], base: Path) -> list[File]:
    """All input files in listing order: patterns as given, each one's matches sorted. One listing per pattern.

    A pattern is a path, a glob, or a folder (every file of a known format in it). Raises FixSource where a
    pattern matches nothing, or a file named outright is of no known format.
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        matches = _match_uri(pattern) if is_uri(pattern) else _match_local(pattern, base)
        if not matches:
            raise FixSource(f"input.paths: {pattern}: no such file or match (looked in {base}); correct the path")
        for file in matches:
            found.setdefault(file.path, file)
    return list(found.values())


def _match_local(pattern: str, base: Path) -> list[File]:
    target = Path(resolve(pattern, base))
    if target.is_dir():
        paths = sorted(p for p in target.rglob("*") if p.is_file() and file_format(p.name))
        names = [f"{pattern.rstrip('/')}/{p.relative_to(target)}" for p in paths]
    elif target.is_file():
        paths, names = [target], [pattern]
    else:
        matches = sorted(glob.glob(os.path.expanduser(pattern), root_dir=base, recursive=True))
        paths, names = [], []
        for match in matches:
            path = Path(resolve(match, base))
            if path.is_file() and file_format(path.name):
                paths.append(path)
                names.append(match)
    return [_file(str(p), n, p.stat().st_size, p.stat().st_mtime_ns) for p, n in zip(paths, names, strict=True)]


def _match_uri(pattern: str) -> list[File]:
    scheme = pattern.split("://", 1)[0]
    fixed = pattern.split("*", 1)[0]
    filesystem, inner = open_filesystem(fixed if fixed == pattern else fixed.rsplit("/", 1)[0])
    info = filesystem.get_file_info(inner)
    if info.type == fs.FileType.File:
        infos = [info]
    else:
        infos = filesystem.get_file_info(fs.FileSelector(inner, recursive=True, allow_not_found=True))
    wanted = pattern.split("://", 1)[1] if "*" in pattern else None
    files = []
    for found in sorted(infos, key=lambda i: i.path):
        if found.type != fs.FileType.File or not file_format(found.path):
            continue
        if wanted is None or fnmatchcase(found.path, wanted.partition("?")[0]):
            name = f"{scheme}://{found.path}"
            files.append(_file(name, name, found.size, found.mtime_ns or 0))
    return files


def file_format(name: str) -> str | None:
    """The format by file name, or None."""
    return next((kind for suffix, kind in FORMATS.items() if name.endswith(suffix)), None)


def _file(path: str, name: str, size: int, mtime_ns: int) -> File:
    kind = file_format(path)
    if kind is None:
        raise FixSource(f"input.paths: {name}: format not known by its name; use {', '.join(FORMATS)}")
    compression = next((c for suffix, c in _COMPRESSION.items() if path.endswith(suffix)), None)
    return File(path, name, kind, compression, size, mtime_ns)


def split(file: File) -> list[Split]:
    """Cut a file into pieces of about SPLIT_BYTES. Raises FixSource for a Parquet file without a footer."""
    if file.format == "parquet":
        return _split_parquet(file)
    if file.format == "csv" or file.compression is not None:
        return [_piece(file, 0, -1)]
    starts = range(0, max(file.size, 1), SPLIT_BYTES)
    return [_piece(file, start, min(start + SPLIT_BYTES, file.size)) for start in starts]


def _piece(file: File, start: int, stop: int, first: int = 0) -> Split:
    return Split(file.path, file.name, file.format, file.compression, start, stop, first)


def _split_parquet(file: File) -> list[Split]:
    with _open_parquet(file.path, file.name) as parquet:
        metadata = parquet.metadata
        pieces, start, first, size, rows = [], 0, 0, 0, 0
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).total_byte_size
            rows += metadata.row_group(group).num_rows
            if size >= SPLIT_BYTES or group == metadata.num_row_groups - 1:
                pieces.append(_piece(file, start, group + 1, first))
                start, first, size, rows = group + 1, first + rows, 0, 0
    return pieces


def _open_parquet(path: str, name: str) -> pq.ParquetFile:
    filesystem, inner = open_filesystem(path)
    try:
        return pq.ParquetFile(filesystem.open_input_file(inner))
    except (OSError, pa.ArrowInvalid) as error:
        raise _no_parquet(name, error) from error


def _no_parquet(name: str, error: Exception) -> FixSource:
    reason = " ".join(str(error).split())
    return FixSource(f"{name}: can not be read as Parquet ({reason}); repair it or leave it out of input.paths")


def column_names(file: File) -> list[str] | None:
    """The columns of a Parquet or CSV file; of JSONL the keys of its first rows. None where the file is empty."""
    if file.format == "parquet":
        with _open_parquet(file.path, file.name) as parquet:
            return list(parquet.schema_arrow.names)
    names: dict[str, None] = {}
    for count, (_, row) in enumerate(read(split(file)[0])):
        if isinstance(row, dict):
            names.update(dict.fromkeys(row))
        if count >= 100:
            break
    return list(names) or None


def row_id(name: str, position: int) -> str:
    """The id of a row: its file as the job writes it, and its position there."""
    return f"{name}:{position}"


def read(piece: Split, columns: list[str] | None = None) -> Iterator[tuple[int, Row]]:
    """The rows of a split with their positions. `columns` limits what is read from Parquet."""
    if piece.format == "parquet":
        yield from _read_parquet(piece, columns)
    elif piece.format == "csv":
        yield from _read_csv(piece)
    else:
        yield from _read_jsonl(piece)


def _read_parquet(piece: Split, columns: list[str] | None) -> Iterator[tuple[int, Row]]:
    with _open_parquet(piece.path, piece.name) as parquet:
        present = None if columns is None else [c for c in columns if c in parquet.schema_arrow.names]
        position = piece.first
        batches = parquet.iter_batches(1024, row_groups=list(range(piece.start, piece.stop)), columns=present)
        try:
            for batch in batches:
                for row in _rows_of(batch):
                    yield position, row
                    position += 1
        except (OSError, pa.ArrowInvalid) as error:
            raise _no_parquet(piece.name, error) from error


def _rows_of(batch: pa.RecordBatch) -> list[Row]:
    """The rows of a batch, one by one where one of them holds no UTF-8 or a date that Python can not hold."""
    try:
        rows: list[Row] = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [Unreadable(f"the row holds a value that can not be read: {error}")]
        return [row for n in range(batch.num_rows) for row in _rows_of(batch.slice(n, 1))]
    return rows


def _read_jsonl(piece: Split) -> Iterator[tuple[int, Row]]:
    with _open_bytes(piece) as stream:
        offset = _seek_line(stream, piece.start) if piece.start else 0
        while piece.stop < 0 or offset < piece.stop:
            line = _next_line(stream)
            if isinstance(line, Unreadable):
                yield offset, line
                return
            if not line:
                return
            if line.strip():
                yield offset, _parse_line(line, offset)
            offset += len(line)


def _seek_line(stream: IO[bytes], start: int) -> int:
    """Go to the first line that begins at or after `start`; the one before belongs to the split before."""
    stream.seek(start - 1)
    return start - 1 + len(stream.readline())


def _next_line(stream: IO[bytes]) -> bytes | Unreadable:
    try:
        return stream.readline()
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid) as error:
        return Unreadable(f"the file breaks off here: {error}")


def _parse_line(line: bytes, offset: int) -> Row:
    if offset == 0:
        line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Unreadable(f"the line is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return Unreadable(f"the line is not JSON: {error}")
    return row if isinstance(row, dict) else Unreadable("the line is not a JSON object")


def _read_csv(piece: Split) -> Iterator[tuple[int, Row]]:
    with _open_bytes(piece) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.DictReader(text, restkey=None, strict=True)
        header, position = None, 0
        while True:
            try:
                header, row = reader.fieldnames, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield position, Unreadable(f"the row is not CSV: {error}")
                if header is None:
                    return  # else the next row would be taken for the header
            except (OSError, EOFError, zlib.error, pa.ArrowInvalid) as error:
                yield position, Unreadable(f"the file breaks off here: {error}")
                return
            else:
                yield position, _parse_cells(row)
            position += 1


def _parse_cells(row: dict[str, Any]) -> Row:
    cells = {name: value for name, value in row.items() if name is not None}
    try:
        "".join(value for value in cells.values() if value).encode()
    except UnicodeEncodeError:  # an escaped byte
        return Unreadable("the row is not UTF-8")
    return cells


def _open_bytes(piece: Split) -> IO[bytes]:
    filesystem, inner = open_filesystem(piece.path)
    try:
        if piece.compression == "gzip" and isinstance(filesystem, fs.LocalFileSystem):
            # It reads several members in one file, after whose first pyarrow stops. A BufferedReader around it would
            # lose the last sound rows of a truncated file.
            return cast(IO[bytes], gzip.open(inner))
        if piece.compression is None and isinstance(filesystem, fs.LocalFileSystem):
            return Path(inner).open("rb")
        if piece.compression is None:
            return io.BufferedReader(filesystem.open_input_file(inner))
        return io.BufferedReader(filesystem.open_input_stream(inner, compression=piece.compression))
    except OSError as error:
        raise FixSource(f"{piece.name}: can not be opened ({error})") from error


def read_one(name: str, position: int, files: list[File]) -> dict[str, Any] | None:
    """The raw row at a position, for people who ask for it; None where it is gone or unreadable."""
    for file in files:
        if file.name == name:
            for piece in split(file):
                for at, row in read(piece):
                    if at == position and isinstance(row, dict):
                        return row
    return None
