"""The verdicts of a run as columns that `diff` can join: read batch by batch, and only the columns in question.

Two runs that are too many rows for memory are dealt into buckets first: one pass per run writes each row, by a
hash of its id (of its row_id where it has none), to one of some temporary Arrow files. Rows that can be joined
fall into the same bucket of both runs, so memory is bounded by a bucket.
Not known here: how rows are joined, what is counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.errors import FixStore
from coigw_judge.run_folder.folder import Kind, Run, open_verdicts, unreadable
from coigw_judge.storage.hash_ranges import bucket_of

MAX_BUCKETS = 256
"""Each is an open file while rows are dealt."""

_ROWS_PER_BATCH = 65_536
_ROWS_PER_DEAL = 400_000
_SCORES = pa.map_(pa.string(), pa.float64())
_TYPES = {"score": pa.float64(), "check": pa.bool_(), "choice": pa.string()}


def read(run: Run, by: str, items: dict[str, Kind]) -> Iterator[pa.Table]:
    """A run's rows in batches. Columns: row_id, id, record, by, decision and repeat_decision (as their place in
    DECISIONS, -1 where null), repeat_scores, and `items`. What the run lacks is null. Raises FixStore.
    """
    own = ("row_id", "id", "decision", "record", "repeat_decision", "repeat_scores", by, *items)
    yield _normal(pa.schema([]).empty_table(), run.folder, by, items)  # so that a run without rows has columns too
    for path in run.paths:
        with open_verdicts(run.filesystem, path) as parquet:
            present = [name for name in dict.fromkeys(own) if name in parquet.schema_arrow.names]
            try:
                for batch in parquet.iter_batches(_ROWS_PER_BATCH, columns=present):
                    yield _normal(pa.Table.from_batches([batch]), path, by, items)
            except (OSError, pa.ArrowInvalid) as error:
                raise unreadable(path, error) from error


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
