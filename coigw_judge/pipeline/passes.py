"""The passes that ask no judge: scan, the survey of what is open, select, and the folders of decided rows.

Not known here: how a row is scanned or decided (scan.py, verdict.py).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from coigw_judge import errors, source, verdict
from coigw_judge import scan as scanning
from coigw_judge.errors import FixInput, FixSource
from coigw_judge.job import LoadedJob
from coigw_judge.pipeline.cluster import run_tasks
from coigw_judge.scan import Scan
from coigw_judge.source import Split
from coigw_judge.store import Store
from coigw_judge.verdict import View


def scan(job: LoadedJob, store: Store) -> Scan:
    """Scan the job's input, or load the scan of an unchanged one. Raises FixSource, FixStore."""
    files = source.list_files(job.config.input.paths, job.base, job.config.input.encoding)
    digest = scanning.scan_digest(job.config, files)
    found = scanning.load(store, digest)
    if found is not None:
        return found
    check_columns(job, files)
    columns, limit = job.config.input.columns, job.config.limit
    splits = [piece for file in files for piece in source.split(file)]
    _check_any_readable(splits)
    counts: list[dict[str, Any]] = []
    for wave in _waves(splits, limit):
        numbered = [{"number": number, **splits[number].as_dict()} for number in wave]
        counts += run_tasks(numbered, lambda item: _scan_one(store.root, digest, item, columns, limit))
        if limit is not None and sum(count["rows"] for count in counts) >= limit:
            break
    if limit is not None:
        splits, counts = _cut(store, digest, splits, counts, columns, limit)
    return scanning.finish(store, digest, splits, counts, job.config.screen.duplicate == "drop")


def _check_any_readable(splits: list[Split]) -> None:
    """Refuse an input of which no file can be read: a mistake in the job rather than a broken file in a crawl."""
    if splits and all(piece.trouble for piece in splits):
        others = f" (nor can any other of the {len(splits):,} files)" if len(splits) > 1 else ""
        raise FixSource(f"{splits[0].name}: {splits[0].trouble}{others}; correct input.paths or repair it")


def _waves(splits: list[Split], limit: int | None) -> Iterator[range]:
    """All splits at once; under a limit growing waves in listing order, so that a small limit reads little."""
    start, size = 0, len(splits) if limit is None else 1
    while start < len(splits):
        yield range(start, min(start + size, len(splits)))
        start, size = start + size, size * 2


def _cut(
    store: Store, digest: str, splits: list[Split], counts: list[dict[str, Any]], columns: dict[str, str], limit: int
) -> tuple[list[Split], list[dict[str, Any]]]:
    """Keep the first `limit` rows in listing order; the split in which they end is scanned again, shorter."""
    kept, left = [], limit
    for count in sorted(counts, key=lambda c: int(c["number"])):
        if left <= 0:
            break
        if count["rows"] > left:
            number = int(count["number"])
            count = scanning.scan_split(store, digest, number, splits[number], columns, left)
        left -= count["rows"]
        kept.append(count)
    return splits[: len(kept)], kept


def _scan_one(
    root: str, digest: str, item: dict[str, Any], columns: dict[str, str], limit: int | None
) -> dict[str, Any]:
    number = int(item.pop("number"))
    return scanning.scan_split(Store(root), digest, number, Split(**item), columns, limit)


def check_columns(job: LoadedJob, files: list[source.File]) -> None:
    """Refuse an input that has no column for what the job names. Looks at the first files only."""
    names: set[str] = set()
    for file in files[:8]:
        names.update(source.column_names(file) or ())
    if not names:
        return
    wanted = {"answer": job.config.input.columns.get("answer", "answer"), **job.config.input.columns}
    for ours, theirs in wanted.items():
        if theirs not in names:
            hint = errors.nearest(theirs, names)
            raise FixInput(
                f"{job.path}: input.columns.{ours}: {files[0].name} has no column {theirs}{hint}; "
                f"it has {', '.join(sorted(names)[:12])}; write `columns: {{{ours}: <theirs>}}`"
            )


def survey(view: View, known_folder: str | None = None) -> tuple[dict[int, np.ndarray[Any, Any]], Counter[str]]:
    """What is still to ask: per split the row numbers, and per rubric the counts of verdict.survey."""
    todo: dict[int, list[np.ndarray[Any, Any]]] = {}
    asks: Counter[str] = Counter()
    for found in run_tasks(
        [{"bucket": b} for b in range(view.buckets)], lambda item: _survey_one(view, item, known_folder)
    ):
        splits, rows = np.array(found["split"], dtype=np.int64), np.array(found["row"], dtype=np.int64)
        asks.update(found["asks"])
        for number in np.unique(splits):
            todo.setdefault(int(number), []).append(rows[splits == number])
    return {number: np.sort(np.concatenate(rows)) for number, rows in todo.items()}, asks


def _survey_one(view: View, item: dict[str, Any], folder: str | None) -> dict[str, Any]:
    bucket = int(item["bucket"])
    path = None if folder is None else f"{folder}/known-{bucket:05d}.parquet"
    return verdict.survey(view, bucket, path)


def select(view: View, folder: str) -> Counter[str]:
    """Decide every row; verdicts go to `folder`. Returns the counts of verdict.decide_bucket, summed."""
    counts: Counter[str] = Counter()
    for found in run_tasks(
        [{"bucket": b} for b in range(view.buckets)], lambda item: verdict.decide_bucket(view, item["bucket"], folder)
    ):
        counts.update(found)
    return counts


def write_decided(tasks: list[dict[str, Any]], write: Callable[[dict[str, Any]], dict[str, Any]]) -> Counter[str]:
    """Write the folders of `write`, group by group of splits; returns rows written per decision."""
    counts: Counter[str] = Counter()
    for found in run_tasks(tasks, write):
        counts.update(found)
    return counts
