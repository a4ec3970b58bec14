"""The verdicts of a run as columns that `diff` can join: read batch by batch, and only the columns in question.

Two runs that are too many rows for memory are dealt into buckets first: one pass per run writes each row, by a
hash of its id (of its row_id where it has none), to one of some temporary Arrow files. Rows that can be joined
fall into the same bucket of both runs, so memory is bounded by a bucket.
Not known here: how rows are joined, what is counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge import manifest as manifests
from coigw_judge.errors import FixJob, FixStore, nearest
from coigw_judge.job import DECISIONS
from coigw_judge.paths import list_files, open_filesystem

Kind = Literal["score", "check", "choice"]
MAX_BUCKETS = 256
"""Each is an open file while rows are dealt."""

_ROWS_PER_BATCH = 65_536
_ROWS_PER_DEAL = 400_000
_SCORES = pa.map_(pa.string(), pa.float64())
_TYPES = {"score": pa.float64(), "check": pa.bool_(), "choice": pa.string()}
_POWERS = np.cumprod(np.full(4096, 0x9E3779B97F4A7C15, dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder. `columns` are those of its verdicts; `has_ids` is False where no row of it bears an id."""

    folder: str
    manifest: dict[str, Any]
    filesystem: fs.FileSystem
    paths: tuple[str, ...]
    columns: dict[str, pa.DataType]
    rows: int
    has_ids: bool

    def items(self, kind: Kind) -> list[str]:
        """The scores, checks or choices (`rubric.item`) that the verdicts hold."""
        return [name for name, of in self.columns.items() if "." in name and _kind(of) == kind]


def open_run(folder: str) -> Run:
    """Look at a run folder. Raises FixStore where it is none, or its verdicts are not what they should be."""
    manifest = manifests.read(folder)
    filesystem, inner = open_filesystem(folder)
    paths = list_files(filesystem, f"{inner}/verdicts", ".parquet")
    if not paths:
        raise FixStore(
            f"{folder}: has no verdicts/*.parquet; run `coigw-judge select` on its job for a whole run folder"
        )
    columns: dict[str, pa.DataType] = {}
    rows, has_ids = 0, False
    for path in paths:
        with _open(filesystem, path) as parquet:
            missing = {"row_id", "decision"}.difference(parquet.schema_arrow.names)
            if missing:
                raise FixStore(f"{path}: has no column {', '.join(sorted(missing))}, so these are no verdicts of a run")
            columns = {**{field.name: field.type for field in parquet.schema_arrow}, **columns}
            rows += parquet.metadata.num_rows
            has_ids = has_ids or _may_have_ids(parquet.metadata)
    return Run(folder, manifest, filesystem, tuple(paths), columns, rows, has_ids)


def _open(filesystem: fs.FileSystem, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(filesystem.open_input_file(path))
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> FixStore:
    reason = " ".join(str(error).split())
    return FixStore(f"{path}: can not be read as Parquet ({reason}); make the run folder again with select")


def _may_have_ids(metadata: pq.FileMetaData) -> bool:
    at = [n for n in range(metadata.num_columns) if metadata.schema.column(n).path == "id"]
    for group in range(metadata.num_row_groups if at else 0):
        column = metadata.row_group(group).column(at[0])
        told = column.statistics
        if not column.num_values:
            continue
        if told is None or not told.has_null_count or told.null_count < column.num_values:
            return True
    return False


def _kind(of: pa.DataType) -> Kind | None:
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


def read(run: Run, by: str, items: dict[str, Kind]) -> Iterator[pa.Table]:
    """A run's rows in batches. Columns: row_id, id, record, by, decision and repeat_decision (as their place in
    DECISIONS, -1 where null), repeat_scores, and `items`. What the run lacks is null. Raises FixStore.
    """
    own = ("row_id", "id", "decision", "record", "repeat_decision", "repeat_scores", by, *items)
    yield _normal(pa.schema([]).empty_table(), run.folder, by, items)  # so that a run without rows has columns too
    for path in run.paths:
        with _open(run.filesystem, path) as parquet:
            present = [name for name in dict.fromkeys(own) if name in parquet.schema_arrow.names]
            try:
                for batch in parquet.iter_batches(_ROWS_PER_BATCH, columns=present):
                    yield _normal(pa.Table.from_batches([batch]), path, by, items)
            except (OSError, pa.ArrowInvalid) as error:
                raise _unreadable(path, error) from error


def _normal(batch: pa.Table, path: str, by: str, items: dict[str, Kind]) -> pa.Table:
    def column(name: str, of: pa.DataType) -> pa.ChunkedArray:
        if name not in batch.column_names:
            return pa.chunked_array([pa.nulls(batch.num_rows, of)])
        try:
            return batch[name].cast(of)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise FixStore(f"{path}: column {name} is {batch[name].type}, not {of}") from error

    text = pa.large_string()  # a bucket's ids may be more than 2 GB
    columns = {name: column(name, text) for name in ("row_id", "id", "record")}
    if columns["row_id"].null_count:
        raise FixStore(f"{path}: a row has no row_id, so these are no verdicts of a run")
    columns["by"] = column(by, pa.string())
    columns["decision"] = _codes(column("decision", pa.string()), path)
    if pc.min(columns["decision"]).as_py() == -1:
        raise FixStore(f"{path}: a row has no decision, so these are no verdicts of a run")
    columns["repeat_decision"] = _codes(column("repeat_decision", pa.string()), path)
    columns["repeat_scores"] = column("repeat_scores", _SCORES)
    return pa.table({**columns, **{name: column(name, _TYPES[kind]) for name, kind in items.items()}})


def _codes(decisions: pa.ChunkedArray, path: str) -> pa.ChunkedArray:
    codes = pc.index_in(decisions, value_set=pa.array(DECISIONS))
    if codes.null_count > decisions.null_count:
        odd = decisions.filter(pc.and_(pc.is_null(codes), pc.is_valid(decisions)))[0].as_py()
        raise FixStore(f"{path}: decision {odd!r} is none of {', '.join(DECISIONS)}")
    return codes.fill_null(-1).cast(pa.int8())


def deal(batches: Iterator[pa.Table], folder: Path, buckets: int, *, by_id: bool) -> list[Path]:
    """Write rows to one Arrow file per bucket; rows of one id, or without id of one row_id, share a bucket."""
    paths = [folder / f"{bucket:04d}.arrow" for bucket in range(buckets)]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with ExitStack() as stack:
            writers: list[Any] = []
            for table in _gathered(batches):
                if not writers:
                    writers = [
                        stack.enter_context(pa.ipc.new_file(path, table.schema, options=options)) for path in paths
                    ]
                keys = pc.coalesce(table["id"], table["row_id"]) if by_id else table["row_id"]
                home = bucket_of(keys.combine_chunks(), buckets)
                order = np.argsort(home, kind="stable")
                dealt = table.take(pa.array(order)).combine_chunks()
                bounds = np.searchsorted(home[order], np.arange(buckets + 1))
                for writer, start, stop in zip(writers, bounds[:-1], bounds[1:], strict=True):
                    if stop > start:
                        writer.write_table(dealt.slice(start, stop - start))
    except OSError as error:
        raise FixStore(
            f"{folder}: {error}; runs this large are dealt into temporary files, TMPDIR says where"
        ) from error
    return paths


def load(path: Path) -> pa.Table:
    """The rows of a bucket."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _gathered(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Fewer, larger tables, so that a bucket's share of one is worth a write."""
    held: list[pa.Table] = []
    for batch in batches:
        held.append(batch)
        if sum(table.num_rows for table in held) >= _ROWS_PER_DEAL:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def bucket_of(keys: pa.Array, buckets: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The bucket of every text (large_string, no nulls): a polynomial over its bytes, mixed, modulo."""
    offsets = np.frombuffer(keys.buffers()[1], dtype="<i8")[keys.offset : keys.offset + len(keys) + 1]
    data = np.frombuffer(keys.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    ends = offsets - offsets[0]
    place = np.arange(len(data)) - np.repeat(ends[:-1], np.diff(ends))
    terms = (data.astype(np.uint64) + np.uint64(1)) * _POWERS[place % len(_POWERS)]
    sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)))
    mixed = sums[ends[1:]] - sums[ends[:-1]]
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) % np.uint64(buckets), dtype=np.uint64)
