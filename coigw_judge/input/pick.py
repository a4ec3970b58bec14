"""Raw rows of the input at given positions, in input order, without reading what lies between where that is possible.

Of JSONL that can be cut by bytes just the lines are read, of Parquet the row groups that hold a wanted row; a CSV or a
compressed file is read from its start up to the last wanted row, once.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from coigw_judge.input import encoding, splits
from coigw_judge.input.jsonl_csv import read_head
from coigw_judge.input.listing import File, Row, Split
from coigw_judge.input.splits import read_split, split_file

Place = tuple[str, int]
"""A file as the job names it, and a position there, as a verdict has them."""


def input_order(places: Sequence[Place], files: Sequence[File]) -> list[int]:
    """The indices of `places` in input order; of files that are gone last."""
    rank = {file.name: n for n, file in enumerate(files)}
    return sorted(range(len(places)), key=lambda n: (rank.get(places[n][0], len(rank)), places[n]))


def rows_at(
    places: Sequence[Place], files: Sequence[File], size: int = splits.SPLIT_BYTES
) -> Iterator[tuple[Place, Row | None]]:
    """The row at each place, None where the input no longer has it. `places` must be in input order.

    Where a file cannot be entered at a row, it is read in pieces of about `size` bytes.
    """
    by_name = {file.name: file for file in files}
    for name, group in groupby(places, key=lambda place: place[0]):
        wanted = [position for _, position in group]
        file = by_name.get(name)
        if file is None:
            yield from (((name, position), None) for position in wanted)
            continue
        pieces = split_file(file, size)
        if _by_bytes(file, pieces):
            yield from _lines(pieces, wanted, file)
        else:
            yield from _passing(pieces, wanted, file)


def _by_bytes(file: File, pieces: Sequence[Split]) -> bool:
    """Whether a line of the file can be read from its byte offset alone: JSONL as it is, a byte or more per sign."""
    if file.format != "jsonl" or any(piece.stop < 0 or piece.trouble for piece in pieces):
        return False
    coding, _ = encoding.marked(read_head(file.path)) or (file.encoding, 0)
    return encoding.width(coding) == 1


def _lines(pieces: Sequence[Split], wanted: Sequence[int], file: File) -> Iterator[tuple[Place, Row | None]]:
    """Lines by their byte offsets, each read alone."""
    piece = pieces[0]
    for position in wanted:
        alone = Split(
            piece.path, piece.name, piece.format, piece.compression, position, position + 1, 0, piece.encoding
        )
        found = next((row for at, row in read_split(alone) if at == position), None) if position < file.size else None
        yield (file.name, position), found


def _passing(pieces: Sequence[Split], wanted: Sequence[int], file: File) -> Iterator[tuple[Place, Row | None]]:
    """Rows by reading on, piece by piece; of Parquet only pieces with a wanted row."""
    left = list(wanted)
    for piece, after in zip(pieces, [*pieces[1:], None], strict=True):
        end = after.first if after is not None and file.format == "parquet" else None
        if not left or (end is not None and left[0] >= end):
            continue
        for at, row in read_split(piece):
            while left and left[0] < at:
                yield (file.name, left.pop(0)), None
            if left and left[0] == at:
                left.pop(0)
                yield (file.name, at), row
            if not left:
                break
    yield from (((file.name, position), None) for position in left)
