"""The passes that ask no judge: scan, the survey of what is open, select, and the folders of decided rows."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.errors import FixInput, FixSource
from coigw_judge.input.listing import File, Split, list_input_files
from coigw_judge.input.splits import group_for_tasks, split_file, split_files
from coigw_judge.job.job import LoadedJob
from coigw_judge.pipeline.tasks import add_up, run_tasks
from coigw_judge.run_folder.verdict_schema import VERDICT_COLUMNS
from coigw_judge.scan import copies
from coigw_judge.scan import rows as scanning
from coigw_judge.scan.input_checks import check_columns, excluded_files
from coigw_judge.scan.rows import Scan
from coigw_judge.scan.screening import Names
from coigw_judge.screens.config import Screen
from coigw_judge.select import sweep as sweeping
from coigw_judge.select.counts import SelectCounts
from coigw_judge.select.verdicts import decide_bucket
from coigw_judge.standing.join import ROWS_PER_BUCKET, JoinInput
from coigw_judge.standing.survey import SurveyCounts, survey_bucket
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.paths import list_files, open_atomic
from coigw_judge.store import compaction
from coigw_judge.store.fact import DECIDING_COLUMNS
from coigw_judge.store.parts import Part, Store


def scan(job: LoadedJob, store: Store) -> Scan:
    """Scan the job's input, or load the scan of an unchanged one. Raises FixSource, FixStore."""
    files = list_input_files(job.config.input.paths, job.base, job.config.input.encoding)
    excluded = excluded_files(job)
    digest = scanning.scan_digest(job.config, files, excluded)
    earlier = scanning.load(store, digest)
    if earlier is not None:
        return earlier
    check_columns(job, files)
    work = store.path("work", f"scan-{secrets.token_hex(4)}")
    try:
        config = job.config
        return _scan(config.limit, config.input.columns, config.screen, store, digest, work, files, excluded)
    finally:
        store.clear(work)


def _scan(
    limit: int | None,
    columns: dict[str, str],
    screen: Screen,
    store: Store,
    digest: str,
    work: str,
    files: list[File],
    excluded: list[File],
) -> Scan:
    splits = split_files(files)
    _check_any_readable(splits)
    shares = group_for_tasks(enumerate(splits))
    root = store.root

    def item(number: int, most: int | None) -> dict[str, Any]:
        pieces = [(n, splits[n].as_dict()) for n in shares[number]]
        return {"number": number, "limit": most, "pieces": pieces}

    def scan_share(item: dict[str, Any]) -> dict[str, Any]:
        pieces = [(number, Split(**piece)) for number, piece in item["pieces"]]
        return scanning.scan_splits(Store(root), work, item["number"], pieces, columns, item["limit"], screen)

    counts: list[dict[str, Any]] = []
    for wave in _waves(len(shares), limit):
        counts += run_tasks([item(number, limit) for number in wave], scan_share)
        if limit is not None and _rows(counts) >= limit:
            break
    counts.sort(key=lambda count: int(count["number"]))
    if limit is not None:
        counts = _cut(counts, limit, lambda number, rows: scan_share(item(number, rows)))
        splits = splits[: sum(len(count["rows"]) for count in counts)]
    groups = scanning.file_groups([sum(count["rows"]) for count in counts])
    names: Names | None = None
    if screen.links:
        _link(screen, columns, store, work, counts, excluded)
        names = Names(tuple(piece.name for piece in splits), tuple(file.name for file in excluded))
    gathered = run_tasks(
        [{"number": n, "tasks": list(group)} for n, group in enumerate(groups)],
        lambda item: scanning.gather(Store(root), digest, item["number"], work, item["tasks"], screen, names),
    )
    buckets = max(1, -(-_rows(counts) // ROWS_PER_BUCKET))
    duplicates = run_tasks(
        [{"bucket": n} for n in range(buckets)],
        lambda item: scanning.count_duplicates(
            Store(root), digest, len(groups), hash_ranges.span(item["bucket"], buckets)
        ),
    )
    return scanning.finish(store, digest, splits, counts, gathered, sum(duplicates))


def _link(
    screen: Screen,
    columns: dict[str, str],
    store: Store,
    work: str,
    counts: list[dict[str, Any]],
    excluded: list[File],
) -> None:
    """Find which rows are copies, of each other and of excluded texts, and write the hits into `work`."""
    pieces = [(place, piece) for place, file in enumerate(excluded) for piece in split_file(file)]
    first = len(counts)

    def exclude_one(item: dict[str, Any]) -> list[int]:
        place, piece = pieces[item["number"] - first]
        keys = copies.excluded_keys(Store(store.root), work, item["number"], piece, place, columns, screen)
        return [item["number"], keys]

    sizes = [count["keys"] for count in counts]
    keys_excluded = [
        keys for _, keys in sorted(run_tasks([{"number": first + n} for n in range(len(pieces))], exclude_one))
    ]
    _check_excluded(excluded, pieces, keys_excluded)
    sizes += keys_excluded
    groups = scanning.file_groups(sizes, copies.KEYS_PER_FILE)
    run_tasks(
        [{"number": n, "splits": list(group)} for n, group in enumerate(groups)],
        lambda item: copies.gather(Store(store.root), work, item["number"], item["splits"]),
    )
    buckets = max(1, -(-sum(sizes) // copies.KEYS_PER_BUCKET))
    run_tasks(
        [{"bucket": n} for n in range(buckets)],
        lambda item: copies.find(
            Store(store.root), work, item["bucket"], len(groups), hash_ranges.span(item["bucket"], buckets)
        ),
    )
    copies.resolve(store, work, screen)


def _check_excluded(excluded: list[File], pieces: list[tuple[int, Split]], keys_excluded: list[int]) -> None:
    """Refuse a file of screen.exclude that excludes nothing: its author believes that it does."""
    holding = {place for (place, _), keys in zip(pieces, keys_excluded, strict=True) if keys}
    for place, file in enumerate(excluded):
        if place not in holding:
            raise FixInput(
                f"{file.name}: screen.exclude: no row has a text in answer or query; rename columns or leave it out"
            )


def _rows(counts: list[dict[str, Any]]) -> int:
    return sum(rows for count in counts for rows in count["rows"])


def _check_any_readable(splits: list[Split]) -> None:
    """Refuse an input of which no file can be read: a mistake in the job rather than a broken file in a crawl."""
    if splits and all(piece.trouble for piece in splits):
        others = f" (nor can any other of the {len(splits):,} files)" if len(splits) > 1 else ""
        raise FixSource(f"{splits[0].name}: {splits[0].trouble}{others}; correct input.paths or repair it")


def _waves(tasks: int, limit: int | None) -> Iterator[range]:
    """All tasks at once; under a limit growing waves in listing order, so that a small limit reads little."""
    start, size = 0, tasks if limit is None else 1
    while start < tasks:
        yield range(start, min(start + size, tasks))
        start, size = start + size, size * 2


def _cut(
    counts: list[dict[str, Any]], limit: int, scan_again: Callable[[int, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Keep the first `limit` rows in listing order; the task that goes beyond is run again with fewer rows."""
    kept, left = [], limit
    for count in counts:
        if left <= 0:
            break
        if sum(count["rows"]) > left:
            count = scan_again(int(count["number"]), left)
        left -= sum(count["rows"])
        kept.append(count)
    return kept


@dataclass(frozen=True, slots=True)
class OpenRows:
    """What a survey found still to ask."""

    splits: dict[int, int]
    """Open rows by split."""
    path: str | None
    """The file with the numbers of the open rows; None where nothing is open, or no folder was given."""
    counts: SurveyCounts
    """Of all buckets."""

    @property
    def rows(self) -> int:
        """Rows that have something to ask."""
        return sum(self.splits.values())


def survey(inputs: JoinInput, work: str | None = None) -> OpenRows:
    """What is still to ask. The open rows' numbers, sorted, and their facts are written into the folder `work`."""
    with _facts_by_bucket(inputs, DECIDING_COLUMNS) as ready:
        counts = add_up(_buckets(inputs), lambda item: survey_bucket(ready, item["bucket"], work), SurveyCounts())
    if work is None or not counts.rows:
        return OpenRows({}, None, counts)
    splits, path = _open_rows(Store(inputs.store).filesystem, work)
    return OpenRows(splits, path, counts)


def _buckets(inputs: JoinInput) -> list[dict[str, Any]]:
    return [{"bucket": bucket} for bucket in range(inputs.buckets)]


def _open_rows(filesystem: fs.FileSystem, work: str) -> tuple[dict[int, int], str]:
    """Put the buckets' lists of open rows into one, in input order: 12 bytes a row, in the driver's memory."""
    tables = [
        pq.read_table(filesystem.open_input_file(path))
        for path in list_files(filesystem, work, ".parquet")
        if path.rpartition("/")[2].startswith("open-")
    ]
    rows = pa.concat_tables(tables).sort_by([("split", "ascending"), ("row", "ascending")])
    with open_atomic(filesystem, f"{work}/open.parquet") as file:
        pq.write_table(rows, file, compression="zstd", row_group_size=hash_ranges.ROW_GROUP)
    per_split = {entry["values"]: entry["counts"] for entry in rows["split"].value_counts().to_pylist()}
    return per_split, f"{work}/open.parquet"


def select(inputs: JoinInput, folder: str) -> SelectCounts:
    """Decide every row; verdicts go to `folder`."""
    with _facts_by_bucket(inputs, (*DECIDING_COLUMNS, *VERDICT_COLUMNS)) as ready:
        return add_up(_buckets(inputs), lambda item: decide_bucket(ready, item["bucket"], folder), SelectCounts())


def sweep(inputs: JoinInput, grid: sweeping.Grid) -> list[sweeping.Yield]:
    """What every gate of a grid would keep, in one pass over the facts."""
    with _facts_by_bucket(inputs, DECIDING_COLUMNS) as ready:
        tallies = run_tasks(_buckets(inputs), lambda item: sweeping.count_patterns(ready, item["bucket"]))
    return sweeping.yields(inputs.plan.gate, grid, tallies, inputs.plan.samples)


@contextmanager
def _facts_by_bucket(inputs: JoinInput, columns: Sequence[str]) -> Iterator[JoinInput]:
    """The input of a join, with its facts in files that can be read bucket by bucket.

    Compacted parts are such files. Loose parts hold records of all buckets: where there are several buckets, loose
    parts are sorted into a few files for the time of this pass, so that each is read once and not once per bucket.
    """
    store = Store(inputs.store)
    parts = store.parts()
    loose = [part for part in parts if part.span is None]
    if inputs.buckets == 1 or not loose:
        yield replace(inputs, parts=tuple(parts))
        return
    work = store.path("work", f"facts-{secrets.token_hex(4)}")
    pairs = frozenset(f"{rubric}/{judge}" for rubric, judge in inputs.pairs)
    needed = columns if inputs.retry is None else (*columns, "run")

    def sort(item: dict[str, Any]) -> dict[str, Any]:
        chosen = [Part(**part) for part in item["parts"]]
        path = f"{work}/{item['number']:05d}.parquet"
        return {"path": path, "size": compaction.sort_parts(Store(inputs.store), chosen, path, needed, pairs)}

    groups = compaction.groups(loose)
    try:
        made = run_tasks(
            [
                {"number": n, "parts": [{"path": part.path, "size": part.size} for part in group]}
                for n, group in enumerate(groups)
            ],
            sort,
        )
        sorted_parts = [Part(file["path"], file["size"], hash_ranges.ALL) for file in made]
        yield replace(inputs, parts=(*sorted_parts, *(part for part in parts if part.span is not None)))
    finally:
        store.clear(work)


def write_decided(tasks: list[dict[str, Any]], write: Callable[[dict[str, Any]], dict[str, Any]]) -> Counter[str]:
    """Write the folders of `write`, group by group of splits; returns rows written per decision."""
    counts: Counter[str] = Counter()
    for written in run_tasks(tasks, write):
        counts.update(written)
    return counts
