"""`coigw-judge diff`: what changed from one run to another, from their two folders alone.

The manifests say what was different about the runs; the verdicts, joined, say what came of it. Beside the flips
stands the noise floor: what a judge's second answer to the very same request flips, for the share of records that
a job re-asks (`samples.repeat`). Only flips beyond that say something about a rubric, a model or a gate.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from coigw_judge.diff import report, tally
from coigw_judge.diff import rows as run_rows
from coigw_judge.diff.tally import SIDES, Counts
from coigw_judge.errors import FixJob
from coigw_judge.run_folder.folder import ItemKind, Run, check_group, open_run

IDS_BOUND = 10_000
"""The most ids per kind of flip that a report holds; all of them go to a file, if one is wanted."""
MAX_GROUPS = 10_000
ROWS_PER_BUCKET = 2_000_000


def compare(
    folders: tuple[str, str],
    *,
    by: str = "genre",
    ids: int = IDS_BOUND,
    ids_to: Path | None = None,
    buckets: int | None = None,
) -> dict[str, Any]:
    """What changed from run A to run B, as one JSON-able report.

    `by` is a column of the verdicts whose values yields are given for; `ids` bounds how many ids per kind of flip
    are in the report; `ids_to` is a JSONL file that gets all of them. `buckets` follows from the number of rows.
    Raises FixStore for a folder that is no run and for runs that share no row, FixJob for `by` and `ids_to`.
    """
    runs = (open_run(folders[0]), open_run(folders[1]))
    check_group(runs, by)
    items = report.common_items(runs)
    by_id = all(run.has_ids for run in runs)
    texts_known = all("record" in run.columns for run in runs)
    counts: Counts = Counts()
    kinds: list[pa.Table] = []
    with ExitStack() as stack:
        sink = None if ids_to is None else stack.enter_context(_open_sink(ids_to))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coigw-diff-")))
        for a, b in _pieces(runs, by, items, folder, buckets or _buckets(runs), by_id):
            joined = tally.join(a, b, by_id=by_id, texts_known=texts_known)
            counts.update(tally.count(a, b, joined, items))
            _check_groups(counts, by)
            found = tally.flips(a, b, joined)
            kinds = tally.first_flips([*kinds, found], ids)
            if sink is not None:
                sink.writelines(json.dumps(flip, ensure_ascii=False) + "\n" for flip in found.to_pylist())
    return report.build(
        runs, counts, kinds, by=by, ids=ids, joined_on="id" if by_id else "row_id", texts_known=texts_known
    )


def _buckets(runs: tuple[Run, Run]) -> int:
    rows = sum(run.rows for run in runs)
    return min(max(1, -(-rows // ROWS_PER_BUCKET)), run_rows.MAX_BUCKETS)


def _open_sink(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise FixJob(
            f"--ids-to {path}: cannot be written ({error.strerror}); give a file in a folder that exists"
        ) from error


def _pieces(
    runs: tuple[Run, Run], by: str, items: Mapping[str, ItemKind], folder: Path, buckets: int, by_id: bool
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of both runs, bucket by bucket. A run's own scores are read too, for its noise."""
    batches = []
    for run in runs:
        own: dict[str, ItemKind] = dict.fromkeys(run.items("score"), "score")
        batches.append(run_rows.read(run, by, {**own, **items}))
    if buckets == 1:
        yield pa.concat_tables(batches[0]), pa.concat_tables(batches[1])
        return
    a, b = (run_rows.deal(batches[n], folder / SIDES[n], buckets, by_id=by_id) for n in (0, 1))
    for bucket in range(buckets):
        yield run_rows.load(a, bucket), run_rows.load(b, bucket)


def _check_groups(counts: Counts, by: str) -> None:
    if len({key[3:] for key in counts if key[0] == "by"}) > MAX_GROUPS:
        raise FixJob(f"--by {by}: has more than {MAX_GROUPS:,} values; group by a column that has fewer")
