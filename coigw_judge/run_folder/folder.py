"""A run folder, opened: manifest, verdict files, columns."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.errors import FixJob, FixStore, nearest
from coigw_judge.run_folder.manifest import Manifest, read
from coigw_judge.storage.paths import list_files, open_filesystem

ItemKind = Literal["score", "check", "choice"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder."""

    folder: str
    """As it was given: a path or URI."""
    manifest: Manifest
    filesystem: fs.FileSystem
    paths: tuple[str, ...]
    """The files of its verdicts, on `filesystem`."""
    columns: dict[str, pa.DataType]
    """Those of its verdicts."""
    rows: int
    has_ids: bool
    """Whether any row bears an id."""

    def items(self, kind: ItemKind) -> list[str]:
        """The scores, checks or choices (`rubric.item`) that the verdicts hold."""
        return [name for name, of in self.columns.items() if "." in name and _kind(of) == kind]


def open_run(folder: str) -> Run:
    """Look at a run folder. Raises FixStore where it is none, or its verdicts are not what they should be."""
    manifest = read(folder)
    filesystem, inner = open_filesystem(folder)
    paths = list_files(filesystem, f"{inner}/verdicts", ".parquet")
    if not paths:
        raise FixStore(
            f"{folder}: has no verdicts/*.parquet; run `coigw-judge select` on its job for a whole run folder"
        )
    columns: dict[str, pa.DataType] = {}
    rows, has_ids = 0, False
    for path in paths:
        with open_verdicts(filesystem, path) as parquet:
            missing = {"row_id", "decision"}.difference(parquet.schema_arrow.names)
            if missing:
                raise FixStore(f"{path}: has no column {', '.join(sorted(missing))}, so these are no verdicts of a run")
            columns = {**{field.name: field.type for field in parquet.schema_arrow}, **columns}
            rows += parquet.metadata.num_rows
            has_ids = has_ids or _may_have_ids(parquet.metadata)
    return Run(folder, manifest, filesystem, tuple(paths), columns, rows, has_ids)


def open_verdicts(filesystem: fs.FileSystem, path: str) -> pq.ParquetFile:
    """Open one file of verdicts. Raises FixStore where it is no Parquet."""
    try:
        return pq.ParquetFile(filesystem.open_input_file(path))
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> FixStore:
    """The error for a file of verdicts that is no Parquet."""
    reason = " ".join(str(error).split())
    return FixStore(f"{path}: cannot be read as Parquet ({reason}); make the run folder again with select")


def _may_have_ids(metadata: pq.FileMetaData) -> bool:
    at = [n for n in range(metadata.num_columns) if metadata.schema.column(n).path == "id"]
    for group in range(metadata.num_row_groups if at else 0):
        column = metadata.row_group(group).column(at[0])
        statistics = column.statistics
        if not column.num_values:
            continue
        if statistics is None or not statistics.has_null_count or statistics.null_count < column.num_values:
            return True
    return False


def _kind(of: pa.DataType) -> ItemKind | None:
    if pa.types.is_boolean(of):
        return "check"
    if pa.types.is_floating(of) or pa.types.is_integer(of):
        return "score"
    return "choice" if _is_text(of) else None


def _is_text(of: pa.DataType) -> bool:
    inner = of.value_type if pa.types.is_dictionary(of) else of
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def check_group(runs: tuple[Run, Run], by: str) -> None:
    """Raise FixJob unless both runs have a column `by` of texts or booleans."""
    fit = [{name for name, of in run.columns.items() if _is_text(of) or pa.types.is_boolean(of)} for run in runs]
    for run, names in zip(runs, fit, strict=True):
        if by not in run.columns:
            hint = nearest(by, sorted(fit[0] & fit[1]))
            raise FixJob(f"--by {by}: the verdicts of {run.folder} have no such column{hint}")
        if by not in names:
            raise FixJob(f"--by {by}: is a column of {run.columns[by]}; give one of texts or of true and false")
