"""Verdicts of a run as the commands for people read them: by id, by column, and in the order of the input.

One pass over verdicts/ finds a few thousand rows among millions: only ids are read of the rows that are not wanted.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from coigw_judge.errors import FixJob, FixRubric, nearest
from coigw_judge.prompting.rubric import Rubric, load_rubric
from coigw_judge.run_folder.folder import Run

_ROWS_PER_BATCH = 65_536


def batches(run: Run, columns: Sequence[str], where: ds.Expression | None = None) -> Iterator[pa.Table]:
    """Some columns of a run's verdicts, piece by piece."""
    scanner = _dataset(run).scanner(columns=list(columns), filter=where, batch_size=_ROWS_PER_BATCH)
    for batch in scanner.to_batches():
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def rows(run: Run, columns: Sequence[str], where: ds.Expression) -> list[dict[str, Any]]:
    """The rows that a filter lets through, maps as dicts. For some thousands, not for a run."""
    return [row for table in batches(run, columns, where) for row in as_rows(table)]


def as_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of verdicts as dicts; what are maps there are dicts too."""
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        row |= {name: dict(row[name] or ()) for name in maps}
    return rows


def named(run: Run, row_ids: Iterable[str], ids: Iterable[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with one of these row_ids or ids."""
    by_row, by_id = pa.array(sorted(row_ids), pa.string()), pa.array(sorted(ids), pa.string())
    wanted = ds.field("row_id").isin(by_row) if len(by_row) else ds.scalar(False)
    if len(by_id):
        wanted = wanted | ds.field("id").isin(by_id)
    return rows(run, columns, wanted)


def _dataset(run: Run) -> ds.Dataset:
    schema = pa.schema(list(run.columns.items()))
    return ds.dataset(list(run.paths), schema=schema, format="parquet", filesystem=run.filesystem)


def check_column(run: Run, name: str, option: str) -> None:
    """Raise FixJob unless the verdicts have a column of texts or truths by that name."""
    if name not in run.columns:
        raise FixJob(f"{option} {name}: the verdicts of {run.folder} have no such column{nearest(name, run.columns)}")
    of = run.columns[name]
    if not (pa.types.is_string(of) or pa.types.is_boolean(of) or pa.types.is_null(of)):
        raise FixJob(f"{option} {name}: is a column of {of}; give one of texts or of true and false")


def group_of(table: pa.Table, name: str) -> pa.Array:
    """A column as texts, `-` where it is null."""
    column = table[name].combine_chunks()
    return pc.fill_null(column.cast(pa.string()), "-")


def scores_of(table: pa.Table, name: str, expected: bool) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The scores of a dimension that a gate looks at, NaN where there is none; `expected`: on column `expected`, where
    a sampled score stands in for one that is null."""
    found = table[name].combine_chunks().cast(pa.float64())
    if expected:
        found = pc.coalesce(pc.map_lookup(table["expected"].combine_chunks(), name, "first"), found)
    return np.array(pc.fill_null(found, math.nan).to_numpy(zero_copy_only=False))


def rubrics_of(run: Run) -> tuple[Rubric, ...]:
    """The run's rubrics, as their files stand now. Raises FixRubric where one is gone or broken."""
    job = run.manifest.configuration
    base = Path(run.manifest.job_file).parent
    return tuple(load_rubric(name, base) for name in (*job["rubrics"], *job["then"]))


def known_rubrics(run: Run) -> tuple[tuple[Rubric, ...], str]:
    """The run's rubrics and what is to be said of them: none and why, or which were edited since.

    For callers that can do without titles and scales.
    """
    try:
        rubrics = rubrics_of(run)
    except FixRubric as error:
        return (), str(error)
    edited = [rubric.name for rubric in rubrics if run.manifest.rubrics.get(rubric.name) != rubric.fingerprint()]
    return rubrics, f"edited since the run: {', '.join(edited)}" if edited else ""
