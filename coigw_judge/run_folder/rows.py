"""The records behind verdicts, as the input has them now."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from coigw_judge.errors import FixSource
from coigw_judge.input.listing import Row, list_input_files
from coigw_judge.input.pick import Place, rows_at
from coigw_judge.records.record import Record, Unreadable, to_record
from coigw_judge.run_folder.manifest import Manifest, configuration
from coigw_judge.storage.paths import is_uri


def records(manifest: Manifest, places: Iterable[Place]) -> dict[Place, Record | str]:
    """The records at some places as the input has them now, or why they cannot be had."""
    job = configuration(manifest)
    base = Path(manifest.job_file).parent
    found: dict[Place, Record | str] = {}
    for name, group in groupby(sorted(places), key=lambda place: place[0]):
        wanted = list(group)
        try:
            files = list_input_files(_as_given(name, job.input.paths), base, job.input.encoding)
            found |= {place: _record(row, job.input.columns) for place, row in rows_at(wanted, files)}
        except FixSource as error:
            found |= dict.fromkeys(wanted, str(error))
    return found


def _record(row: Row | None, columns: dict[str, str]) -> Record | str:
    if row is None:
        return "the input no longer has this row"
    found = row if isinstance(row, Unreadable) else to_record(row, columns)
    return found.reason if isinstance(found, Unreadable) else found


def _as_given(file: str, patterns: Sequence[str]) -> list[str]:
    """One file as the job could name it, nothing else being listed: of a URI with the parameters of its bucket."""
    if not is_uri(file):
        return [file]
    scheme, _, path = file.partition("://")
    near = f"{scheme}://{path.partition('/')[0]}"
    query = next((pattern.partition("?")[2] for pattern in patterns if pattern.startswith(near)), "")
    return [f"{scheme}://{quote(path)}{'?' + query if query else ''}"]
