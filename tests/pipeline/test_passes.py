"""Survey, select and sweep over many buckets, as Ray tasks, say what one bucket says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bucket_rows import view

from coigw_judge.pipeline import passes
from coigw_judge.store import compaction
from coigw_judge.store.parts import Store

pytestmark = pytest.mark.usefixtures("ray_cluster")
GRID = {"total": (14.0, 16.0), "each": (6.0, 8.0)}


def everything(view: Any, folder: Path) -> tuple[Any, ...]:
    work = folder / "work"
    found = passes.survey(view, str(work))
    assert found.path is not None
    counts = passes.select(view, str(folder / "verdicts"))
    verdicts = sorted(pq.read_table(folder / "verdicts").to_pylist(), key=lambda row: row["row_id"])
    return (
        found.splits,
        pq.read_table(found.path).to_pylist(),
        found.counts,
        counts,
        verdicts,
        passes.sweep(view, GRID),
    )


@pytest.mark.parametrize("compacted", [False, True], ids=["loose parts", "compacted parts"])
def test_many_buckets_say_what_one_says(tmp_path: Path, compacted: bool) -> None:
    whole = view(tmp_path)
    wanted = everything(whole, tmp_path / "one")
    if compacted:
        assert compaction.compact(Store(whole.store), all_parts=True)["parts_after"] == 1
    parted = replace(whole, rows_per_bucket=3)
    assert parted.buckets > 2
    assert everything(parted, tmp_path / "many") == wanted
    assert not list(Path(whole.store, "work").glob("facts-*")), "what a pass sorted is taken away"
