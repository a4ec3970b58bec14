"""Rows of JSONL and CSV: a line or a row that is broken costs itself, and says why.

JSONL is cut at the bytes of a line's end and each line decoded by itself, strictly: what is no text in one line does
not spill over. CSV is decoded as it streams, with a mark where a byte is no text, so that a row knows.
What is in a file becomes a row with a reason. What stands between us and the file (rights, a disk, a network) is no
property of its rows: it raises FixSource.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
from pyarrow import fs

from coigw_judge.errors import FixSource
from coigw_judge.input import encoding
from coigw_judge.input.listing import Row, Split, read_through
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.paths import open_filesystem

MAX_LINE = 1 << 27
"""Bytes of a line of JSONL, characters of a row of CSV: more is one unreadable row, never a process out of memory."""

_MAGIC = {
    b"%PDF": "PDF", b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip",
    b"BZh91AY&SY": "bzip2", b"\xfd7zXZ": "xz", b"SQLite format 3": "SQLite", b"\xd0\xcf\x11\xe0": "an old Office file",
}  # fmt: skip
_STEP = 1 << 20
READ_AHEAD = 8 << 20
"""Bytes that one request to an object store asks for: at a tenth of a second each, a task reads 80 MB/s."""

_PAST_THE_END = 64 << 10
"""How much is read with a piece of what follows it: the rest of its last line."""

_TORN = (OSError, EOFError, zlib.error, pa.ArrowInvalid)
"""What a damaged stream raises; a disk or a network too, which files.read_through tells apart."""

_BOM = "\ufeff"
_MARK = "\udcff"
csv.field_size_limit(MAX_LINE)
codecs.register_error("coigw_judge.mark", lambda error: (_MARK, cast(UnicodeDecodeError, error).end))


def head_trouble(head: bytes, form: str) -> str:
    """Why a file with these first bytes holds no rows of its format, or an empty string."""
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    return f"the file is not {form.upper()}: it begins like {found}" if found else ""


def read_head(path: str) -> bytes:
    """The first bytes of a file, for head_trouble and encoding.marked."""
    filesystem, inner = open_filesystem(path)
    with filesystem.open_input_file(inner) as file:
        return cast(bytes, file.read(16))


# JSONL


def read_jsonl(piece: Split, longest: int = MAX_LINE) -> Iterator[tuple[int, Row]]:
    """The rows of a piece by their byte offsets in the (decompressed) file."""
    with _open(piece) as stream:
        begun = _begin(piece, stream)
        if isinstance(begun, Unreadable):
            yield 0, begun
            return
        coding, mark = begun
        offset = _seek_line(stream, piece) if piece.start else 0
        while piece.stop < 0 or offset < piece.stop:
            try:
                line, size = _next_line(stream, coding, longest)
            except _TORN as error:
                yield offset, _tear(piece, offset, error)
                return
            if not size:
                return
            if size > longest:
                yield offset, Unreadable(f"the line is longer than {longest:,} bytes")
            elif (row := _parse_line(line, coding)) is not None:
                yield offset, row
            offset += size + mark
            mark = 0


def _begin(piece: Split, stream: IO[bytes]) -> tuple[str, int] | Unreadable:
    """The encoding of a file and how many bytes its mark takes, which are read over; or why it holds no rows."""
    if piece.start:
        return piece.encoding, 0
    try:
        head = cast(io.BufferedReader, stream).peek(16)[:16]
    except _TORN as error:
        return _tear(piece, 0, error)
    if trouble := head_trouble(head, piece.format):
        return Unreadable(trouble)
    coding, size = encoding.marked(head) or (piece.encoding, 0)
    stream.read(size)
    return coding, size


def _seek_line(stream: IO[bytes], piece: Split) -> int:
    """Go to the first line that begins at or after the piece; the one before belongs to the piece before."""
    offset = piece.start - 1
    try:
        stream.seek(offset)
        while offset < piece.stop:
            part = stream.readline(_STEP)
            offset += len(part)
            if not part or part.endswith(b"\n"):
                break
    except OSError as error:
        raise _cannot_be_read(piece, error) from error
    return offset


def _next_line(stream: IO[bytes], coding: str, longest: int) -> tuple[bytes, int]:
    """A line with its end, and its size; of one that is longer than `longest` only the size."""
    part = stream.readline(_STEP)
    wide = encoding.width(coding)
    if wide == 1 and len(part) < _STEP:
        return part, len(part)
    parts, size, end = [], 0, "\n".encode(coding)
    while True:
        if wide > 1 and part.endswith(b"\n"):
            part += stream.read(-(size + len(part)) % wide)
        size += len(part)
        if size <= longest:
            parts.append(part)
        else:
            parts.clear()
        if not part or (part.endswith(end) and size % wide == 0):
            return b"".join(parts), size
        part = stream.readline(_STEP)


def _parse_line(line: bytes, coding: str) -> Row | None:
    """A line as a row; None for one that is blank."""
    try:
        text = line.decode(coding).removeprefix(_BOM)  # also amid a file, where files were joined
    except UnicodeDecodeError as error:
        why = encoding.hint(line) or f": {error.reason} at byte {error.start}"
        return Unreadable(f"the line is not {coding.upper()}{why}")
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"the line is not JSON: {error}{encoding.hint(line) if chr(0) in text else ''}")
    return row if isinstance(row, dict) else Unreadable("the line is not a JSON object; write one object per line")


# CSV


def read_csv(piece: Split, columns: Iterable[str] | None, longest: int = MAX_LINE) -> Iterator[tuple[int, Row]]:
    """The rows of a file by their numbers. `columns`: those that matter; each may stand in the header only once."""
    with _open(piece) as stream:
        begun = _begin(piece, stream)
        if isinstance(begun, Unreadable):
            yield 0, begun
            return
        coding, _ = begun
        errors = "surrogateescape" if coding == encoding.UTF_8 else "coigw_judge.mark"
        lines = _Lines(io.TextIOWrapper(stream, encoding=coding, errors=errors, newline=""), longest)
        header: list[str] | None = None
        header_trouble, position = None, 0
        while True:
            try:
                cells = lines.next_row(header)
            except _TORN as error:
                yield position, _tear(piece, position, error)
                return
            if cells is None:
                return
            if header is None and isinstance(cells, list):
                header, header_trouble = cells, _check_header(cells, coding, columns)
                continue
            yield position, header_trouble or _parse_cells(cells, header or [], coding)
            position += 1
            if header is None:
                return  # else the next row would be taken for the header


class _Lines:
    """The rows of a CSV stream. It holds the lines of the row being read, to go back where a quote never closes."""

    def __init__(self, text: io.TextIOWrapper, longest: int) -> None:
        self._text = text  # kept, lest it be closed with the stream under it
        self._longest = longest
        self._lines = iter(lambda: text.readline(longest + 1), "")
        self._held: list[str] = []
        self._restart([])

    def _restart(self, lines: list[str]) -> None:
        self._lines = chain(lines, self._lines)
        self._over = False
        self._reader = csv.reader(self._feed(), strict=True)

    def _feed(self) -> Iterator[str]:
        size = 0
        for line in self._lines:
            size = size + len(line) if self._held else len(line)
            self._held.append(line)
            if size > self._longest:
                break
            yield line
        self._over = True

    def next_row(self, header: list[str] | None) -> list[str] | Unreadable | None:
        """The next row's cells; None at the end. Blank lines are no rows."""
        cells: list[str] = []
        while not cells:
            self._held.clear()
            try:
                cells = next(self._reader)
            except StopIteration:
                return self._too_long() if self._held else None
            except csv.Error as error:
                return self._unclosed(header) if self._over else Unreadable(f"the row is not CSV: {error}")
        return cells

    def _too_long(self) -> Unreadable:
        while not self._held[-1].endswith(("\n", "\r")) and (rest := next(self._lines, "")):
            self._held = [rest]
        self._restart([])
        return Unreadable(f"the row is longer than {self._longest:,} characters")

    def _unclosed(self, header: list[str] | None) -> Unreadable:
        """A quote that is open to the end. Where the line after its own is a row by itself, reading goes on there."""
        later = self._held[1:]
        whole = bool(header and later) and len(next(csv.reader(later[:1]))) == len(header or ()) > 1
        self._restart(later if whole else [])
        rest = f" ({len(later):,} more lines belong to it)" if later and not whole else ""
        return Unreadable(f"the row is not CSV: a quote is opened and never closed{rest}")


def _check_header(cells: list[str], coding: str, columns: Iterable[str] | None) -> Unreadable | None:
    if (why := _undecoded(cells, coding)) is not None:
        return Unreadable(f"the header is not {coding.upper()}{why}")
    if any("\0" in cell for cell in cells):
        return Unreadable(f"the header holds NUL characters{encoding.hint(','.join(cells).encode(coding))}")
    counts = Counter(cells)
    twice = [name for name in columns or () if counts[name] > 1]
    return Unreadable(f"the header names the column {twice[0]} twice") if twice else None


def _parse_cells(cells: list[str] | Unreadable, header: list[str], coding: str) -> Row:
    if isinstance(cells, Unreadable):
        return cells
    if (why := _undecoded(cells, coding)) is not None:
        return Unreadable(f"the row is not {coding.upper()}{why}")
    if [cells[0].removeprefix(_BOM), *cells[1:]] == header:  # files that were joined
        return Unreadable("the row repeats the header")
    if any(cells[len(header) :]):
        return Unreadable(
            f"the row has {len(cells)} cells and the header {len(header)}; put a text that holds a comma in quotes"
        )
    return dict(zip(header, [*cells, *[None] * (len(header) - len(cells))], strict=False))


def _undecoded(cells: list[str], coding: str) -> str | None:
    """What the bytes seem to be where some were no text of the encoding, else None."""
    try:
        for cell in cells:
            cell.encode()
    except UnicodeEncodeError:
        return encoding.hint(",".join(cells).encode("utf-8", "surrogateescape")) if coding == encoding.UTF_8 else ""
    return None


# Streams


def _open(piece: Split) -> IO[bytes]:
    filesystem, inner = open_filesystem(piece.path)
    try:
        if piece.compression == "gzip" and isinstance(filesystem, fs.LocalFileSystem):
            # A BufferedReader around pyarrow's stream would lose the last sound rows of a truncated file.
            return cast(IO[bytes], gzip.open(inner))
        if piece.compression is None and isinstance(filesystem, fs.LocalFileSystem):
            return Path(inner).open("rb")
        # Every read of an object is a request: it gets what lies ahead as well, and no more than the piece has.
        ahead = READ_AHEAD if piece.stop < 0 else min(READ_AHEAD, piece.stop - piece.start + _PAST_THE_END)
        if piece.compression is None:
            return io.BufferedReader(filesystem.open_input_file(inner), max(1, ahead))
        raw = filesystem.open_input_stream(inner, compression=None, buffer_size=READ_AHEAD)
        return io.BufferedReader(pa.CompressedInputStream(raw, piece.compression))
    except OSError as error:
        raise FixSource(f"{piece.name}: cannot be opened ({error})") from error


def _tear(piece: Split, at: int, error: Exception) -> Unreadable:
    """The row for the rest of a damaged file. Raises FixSource where it is not the file that is damaged."""
    if piece.compression is None:
        raise _cannot_be_read(piece, error) from error
    read_through(piece.path, piece.name)
    said = " ".join(str(error).split())
    if at == 0:
        return Unreadable(f"the file cannot be read as {piece.compression or piece.format}: {said}")
    return Unreadable(f"the file breaks off here: {said}")


def _cannot_be_read(piece: Split, error: Exception) -> FixSource:
    return FixSource(f"{piece.name}: cannot be read ({error}); run again once it can")
