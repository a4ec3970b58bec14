"""From bytes to rows with positions: Parquet by row group, JSONL by byte range, CSV and compressed files whole.

A row's position is its number in a Parquet or CSV file and its byte offset in (decompressed) JSONL: both are
known to the reader of a piece of the file, without reading what stands before. `row_id` is the path as the job
writes it and the position, so it is unique and stable. A broken line or a torn tail is one unreadable row.
CSV is not split by byte range: a quoted field may hold line breaks, so only a reader from the start knows
where a row begins. Nor is UTF-16, in which a line's end is not one byte.
A file of which nothing can be read is one unreadable row at position 0, so that one broken file of a crawl neither
stops the others nor vanishes.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from coigw_judge.errors import FixSource
from coigw_judge.input import encoding
from coigw_judge.input.jsonl_csv import MAX_LINE, head_trouble, read_csv, read_head, read_jsonl
from coigw_judge.input.listing import File, Row, Split
from coigw_judge.input.parquet import open_parquet, read_parquet, split_parquet
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.paths import is_uri

SPLIT_BYTES = 64 << 20
"""How much of a JSONL or Parquet file one task reads, in bytes; and of small files together."""

_OPENING, _OPENING_FAR = 64 << 10, 1 << 20
"""What opening a file takes, in bytes that could be read meanwhile: on a disk, and over a network."""

_UNPACKED = 4
"""How much more there is in a compressed file than its size says."""

_OPEN_AT_ONCE = 32


def split_file(file: File, size: int = SPLIT_BYTES) -> list[Split]:
    """Cut a file into pieces of about `size` bytes; one that cannot be read at all is one piece."""
    if file.trouble:
        return [_piece(file, 0, 0, trouble=file.trouble)]
    if file.format == "parquet":
        return split_parquet(file, size)
    if file.format == "csv" or file.compression is not None:
        return [_piece(file, 0, -1)]
    if file.size <= size:
        return [_piece(file, 0, file.size)]
    return _cut(file, size)


def split_files(files: Sequence[File]) -> list[Split]:
    """The pieces of many files, in order; those whose footers must be read are opened side by side."""
    pieces: list[Split] = []
    with ThreadPoolExecutor(_OPEN_AT_ONCE) as pool:
        for start in range(0, len(files), 1000):
            some = files[start : start + 1000]
            opened = [file.format == "parquet" or file.size > SPLIT_BYTES for file in some]
            found = [pool.submit(split_file, file) if far else None for file, far in zip(some, opened, strict=True)]
            for file, future in zip(some, found, strict=True):
                pieces += split_file(file) if future is None else future.result()
    return pieces


def group_for_tasks(pieces: Iterable[tuple[int, Split]], size: int = SPLIT_BYTES) -> list[list[int]]:
    """Which pieces, by their numbers, one task reads one after another: neighbours, about `size` bytes in all."""
    groups: list[list[int]] = []
    held = size
    for number, piece in pieces:
        cost = piece.size * (1 if piece.compression is None else _UNPACKED)
        cost += _OPENING_FAR if is_uri(piece.path) else _OPENING
        if held + cost > size:
            groups.append([])
            held = 0
        groups[-1].append(number)
        held += cost
    return groups


def _cut(file: File, size: int) -> list[Split]:
    """Byte ranges of a large JSONL file. Only here its first bytes are looked at beforehand: every piece must know."""
    try:
        head = read_head(file.path)
    except OSError as error:
        raise FixSource(f"{file.name}: cannot be opened ({error})") from error
    if trouble := head_trouble(head, file.format):
        return [_piece(file, 0, 0, trouble=trouble)]
    coding, _ = encoding.marked(head) or (file.encoding, 0)
    if encoding.width(coding) > 1:
        return [_piece(file, 0, -1)]
    starts = range(0, file.size, size)
    return [_piece(file, start, min(start + size, file.size), coding) for start in starts]


def _piece(file: File, start: int, stop: int, coding: str | None = None, trouble: str = "") -> Split:
    size = file.size if stop < 0 else stop - start
    coding = coding or file.encoding
    return Split(file.path, file.name, file.format, file.compression, start, stop, 0, coding, trouble, size)


def column_names(file: File) -> list[str] | None:
    """The columns of a Parquet or CSV file; of JSONL the keys of its first rows. None where it has none to show."""
    if file.format == "parquet" and not file.trouble:
        with open_parquet(file.path, file.name) as parquet:
            return None if isinstance(parquet, Unreadable) else list(parquet.schema_arrow.names)
    names: dict[str, None] = {}
    for count, (_, row) in enumerate(read_split(split_file(file)[0])):
        if isinstance(row, dict):
            names.update(dict.fromkeys(row))
        if count >= 100:
            break
    return list(names) or None


def row_id(name: str, position: int) -> str:
    """The id of a row: its file as the job writes it, and its position there."""
    return f"{name}:{position}"


def read_split(piece: Split, columns: list[str] | None = None, longest: int = MAX_LINE) -> Iterator[tuple[int, Row]]:
    """The rows of a split with their positions. `columns`: those that matter; of Parquet only they are read.

    A line of JSONL of more than `longest` bytes, or a row of CSV of more characters, is unreadable.
    """
    if piece.trouble:
        yield 0, Unreadable(piece.trouble)
    elif piece.format == "parquet":
        yield from read_parquet(piece, columns)
    elif piece.format == "csv":
        yield from read_csv(piece, columns, longest)
    else:
        yield from read_jsonl(piece, longest)
