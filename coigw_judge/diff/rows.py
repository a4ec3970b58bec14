"""The verdicts of a run as columns that `diff` can join: read batch by batch, and only the columns in question.

Two runs that are too many rows for memory are dealt into buckets first: Arrow writes each run, in one pass, as a
temporary dataset with a folder per bucket, by a hash of the row's id (of its row_id where it has none). Rows that can
be joined fall into the same bucket of both runs, so memory is bounded by a bucket.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.errors import FixStore
from coigw_judge.run_folder.folder import ItemKind, Run, open_verdicts, unreadable
from coigw_judge.storage.hash_ranges import bucket_of

MAX_BUCKETS = 256
"""Each is an open file while rows are dealt."""

ROWS_PER_BATCH = 65_536
_ROWS_PER_WRITE = 8_192
_BUCKET = "bucket of this row"
_SCORES = pa.map_(pa.string(), pa.float64())
_TYPES = {"score": pa.float64(), "check": pa.bool_(), "choice": pa.string()}


def read(run: Run, by: str, items: dict[str, ItemKind]) -> Iterator[pa.Table]:
    """A run's rows in batches. Columns: row_id, id, record, by, decision and repeat_decision (as their place in
    DECISIONS, -1 where null), repeat_scores, and `items`. What the run lacks is null. Raises FixStore.
    """
    own = ("row_id", "id", "decision", "record", "repeat_decision", "repeat_scores", by, *items)
    yield _normal(pa.schema([]).empty_table(), run.folder, by, items)  # so that a run without rows has columns too
    for path in run.paths:
        with open_verdicts(run.filesystem, path) as parquet:
            present = [name for name in dict.fromkeys(own) if name in parquet.schema_arrow.names]
            try:
                for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=present):
                    yield _normal(pa.Table.from_batches([batch]), path, by, items)
            except (OSError, pa.ArrowInvalid) as error:
                raise unreadable(path, error) from error


def _normal(batch: pa.Table, path: str, by: str, items: dict[str, ItemKind]) -> pa.Table:
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


def deal(batches: Iterator[pa.Table], folder: Path, buckets: int, *, by_id: bool) -> ds.Dataset:
    """Write rows to disk by bucket; rows of one id, or without id of one row_id, share a bucket."""
    first = next(batches)
    schema = first.schema.append(pa.field(_BUCKET, pa.int16()))
    parted = ds.partitioning(pa.schema([(_BUCKET, pa.int16())]))

    def dealt() -> Iterator[pa.RecordBatch]:
        for table in chain([first], batches):
            keys = pc.coalesce(table["id"], table["row_id"]) if by_id else table["row_id"]
            home = pa.array(bucket_of(keys.combine_chunks(), buckets)).cast(pa.int16())
            yield from table.append_column(schema.field(_BUCKET), home).to_batches()

    folder.mkdir()
    form = ds.IpcFileFormat()
    try:
        ds.write_dataset(
            dealt(),
            folder,
            schema=schema,
            format=form,
            file_options=form.make_write_options(compression="lz4"),
            partitioning=parted,
            min_rows_per_group=_ROWS_PER_WRITE,
            use_threads=False,
        )
    except OSError as error:
        raise FixStore(
            f"{folder}: {error}; runs this large are dealt into temporary files, TMPDIR says where"
        ) from error
    return ds.dataset(folder, schema=schema, format=form, partitioning=parted)


def load(dealt: ds.Dataset, bucket: int) -> pa.Table:
    """The rows of a bucket."""
    return dealt.to_table(filter=ds.field(_BUCKET) == bucket).drop_columns([_BUCKET])
