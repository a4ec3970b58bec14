"""What is wrong with whole files of the input, said once and not row by row.

A file of another encoding, or an array where lines are expected, gives thousands of unreadable rows with one and the
same reason. Where most rows of a file have it, a person is told so before anything is paid for.
"""

from collections import Counter

from coigw_judge import errors
from coigw_judge.errors import FixInput
from coigw_judge.input.listing import File, list_input_files
from coigw_judge.input.splits import column_names, read_split, split_file
from coigw_judge.job.job import LoadedJob
from coigw_judge.records.record import FIELDS, Unreadable, to_record
from coigw_judge.scan.rows import Scan, Troubled, troubled
from coigw_judge.text.terminal import one_line


def excluded_files(job: LoadedJob) -> list[File]:
    """The files of `screen.exclude`. Raises FixSource."""
    exclude = job.config.screen.exclude
    return list_input_files(list(exclude.paths), job.base, job.config.input.encoding) if exclude else []


def check_columns(job: LoadedJob, files: list[File]) -> None:
    """Refuse an input that has no column for what the job names. Looks at the first files only."""
    names: set[str] = set()
    for file in files[:8]:
        names.update(column_names(file) or ())
    if not names:
        return
    cluster = job.config.screen.cluster_column
    if cluster and cluster not in names:
        hint = errors.nearest(cluster, names)
        raise FixInput(f"{job.path}: screen.cluster_column: {files[0].name} has no column {cluster}{hint}")
    wanted = {"answer": job.config.input.columns.get("answer", "answer"), **job.config.input.columns}
    for ours, theirs in wanted.items():
        if theirs not in names:
            hint = errors.nearest(theirs, names)
            raise FixInput(
                f"{job.path}: input.columns.{ours}: {files[0].name} has no column {theirs}{hint}; "
                f"it has {', '.join(sorted(names)[:12])}; write `columns: {{{ours}: <theirs>}}`"
            )


_FILES_NAMED = 3
_FILES_LOOKED_AT, _ROWS_LOOKED_AT = 8, 100


def of_scan(scan: Scan) -> list[str]:
    """A line for each of the worst files most of whose rows are unreadable for one reason."""
    lines = [_line(each) for each in scan.troubled[:_FILES_NAMED]]
    more = len(scan.troubled) - len(lines)
    return lines + ([f"and {more:,} more such files"] if more else [])


def of_first_rows(files: list[File], columns: dict[str, str]) -> list[str]:
    """The same for the first rows of the first files, where nothing has been scanned."""
    found: list[Troubled] = []
    for file in files[:_FILES_LOOKED_AT]:
        reasons: Counter[str] = Counter()
        rows = 0
        wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
        for piece in split_file(file)[:1]:
            for rows, (_, raw) in enumerate(read_split(piece, wanted), start=1):
                record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
                if isinstance(record, Unreadable):
                    reasons[record.reason] += 1
                if rows == _ROWS_LOOKED_AT:
                    break
        found += troubled(file.name, rows, reasons)
    return [_line(each) for each in found]


def _line(file: Troubled) -> str:
    return f"{one_line(file.name)}: {file.unreadable:,} of {file.rows:,} rows are unreadable: {file.reason}"
