"""What is wrong with whole files of the input, said once and not row by row.

A file of another encoding, or an array where lines are expected, gives thousands of unreadable rows with one and the
same reason. Where most rows of a file have it, a person is told so before anything is paid for.
Not known here: what the reasons mean.
"""

from collections import Counter
from itertools import groupby

from coigw_judge.record import Unreadable, to_record
from coigw_judge.rubric import FIELDS
from coigw_judge.scan import Scan, read_split
from coigw_judge.source import File, read, split
from coigw_judge.store import Store

_FILES_NAMED = 3
_FILES_LOOKED_AT, _ROWS_LOOKED_AT = 8, 100


def of_scan(store: Store, scan: Scan) -> list[str]:
    """A line for each of the first files most of whose rows are unreadable for one reason."""
    lines: list[str] = []
    left = scan.unreadable
    for name, numbers in groupby(range(len(scan.splits)), key=lambda number: scan.splits[number].name):
        if left <= 0 or len(lines) == _FILES_NAMED:
            break
        reasons: Counter[str] = Counter()
        rows = 0
        for number in numbers:
            found = read_split(store, scan, number, ["unreadable"])["unreadable"]
            rows += len(found)
            reasons.update(found.drop_null().to_pylist())
        left -= reasons.total()
        lines += _line(name, reasons, rows)
    return lines


def of_first_rows(files: list[File], columns: dict[str, str]) -> list[str]:
    """The same for the first rows of the first files, where nothing has been scanned."""
    lines = []
    for file in files[:_FILES_LOOKED_AT]:
        reasons: Counter[str] = Counter()
        rows = 0
        wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
        for piece in split(file)[:1]:
            for rows, (_, raw) in enumerate(read(piece, wanted), start=1):  # noqa: B007 (counted)
                record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
                if isinstance(record, Unreadable):
                    reasons[record.reason] += 1
                if rows == _ROWS_LOOKED_AT:
                    break
        lines += _line(file.name, reasons, rows)
    return lines


def _line(name: str, reasons: Counter[str], rows: int) -> list[str]:
    for reason, count in reasons.most_common(1):
        if 2 * count > rows:
            return [f"{name}: {count:,} of {rows:,} rows are unreadable: {reason}"]
    return []
