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
    """A line for each of the worst files most of whose rows are unreadable for one reason."""
    found: list[tuple[int, str]] = []
    left = scan.unreadable
    for name, numbers in groupby(range(len(scan.splits)), key=lambda number: scan.splits[number].name):
        if not left:
            break
        reasons: Counter[str] = Counter()
        rows = 0
        for number in numbers:
            column = read_split(store, scan, number, ["unreadable"])["unreadable"]
            rows += len(column)
            reasons.update(column.drop_null().to_pylist())
        left -= reasons.total()
        found += _complaint(name, reasons, rows)
    worst = [text for _, text in sorted(found, key=lambda complaint: -complaint[0])]
    more = len(worst) - _FILES_NAMED
    return worst[:_FILES_NAMED] + ([f"and {more:,} more such files"] if more > 0 else [])


def of_first_rows(files: list[File], columns: dict[str, str]) -> list[str]:
    """The same for the first rows of the first files, where nothing has been scanned."""
    found: list[tuple[int, str]] = []
    for file in files[:_FILES_LOOKED_AT]:
        reasons: Counter[str] = Counter()
        rows = 0
        wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
        for piece in split(file)[:1]:
            for rows, (_, raw) in enumerate(read(piece, wanted), start=1):
                record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
                if isinstance(record, Unreadable):
                    reasons[record.reason] += 1
                if rows == _ROWS_LOOKED_AT:
                    break
        found += _complaint(file.name, reasons, rows)
    return [text for _, text in found]


def _complaint(name: str, reasons: Counter[str], rows: int) -> list[tuple[int, str]]:
    """The reason that most rows of a file share, with their number; nothing where there is none."""
    for reason, count in reasons.most_common(1):
        if 2 * count > rows:
            shown = "".join(char if char.isprintable() else "\ufffd" for char in name)
            return [(count, f"{shown}: {count:,} of {rows:,} rows are unreadable: {reason}")]
    return []
