"""A crawl that has been judged: rows, their scan, and a store with the facts of three rubrics, made in columns.

The keys are those that a fill would have written (ask.request_keys over the scan's digests), so `select` finds them;
scores are drawn, reasons and raw replies come from a pool of texts of the lengths that judges write. Run as a program
it does one measured thing in a process of its own (see `main`), so that peak memory is that thing's.
Not known here: what is measured and printed (regate.py).
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from coigw_judge.job.fingerprints import Planned, plan_for_fill
from coigw_judge.job.job import LoadedJob, load_job
from coigw_judge.pipeline import passes
from coigw_judge.pipeline.cluster import cluster
from coigw_judge.prompting.request import request_keys
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.scan.rows import Scan, read_rows
from coigw_judge.storage import hash_ranges
from coigw_judge.store.fact import SCHEMA
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import moment

RUBRICS = ("answer", "query", "thought")
GENRES = ("散文", "诗歌", "小说", "科普", "评论", "童话", "剧本", "博客")
SCORES, SHARES = (5.0, 6.0, 7.0, 8.0, 9.0, 10.0), (0.04, 0.1, 0.2, 0.36, 0.25, 0.05)
FACTS_PER_PART = 20_000
_ROWS_AT_ONCE = 100_000


class NoJudge:
    """Stands in a job file where nothing is asked."""

    concurrency = 1
    meaningless = True

    def __init__(self, config: object) -> None:
        raise RuntimeError("this bench asks nothing")


def make(folder: Path, rows: int, seed: int = 1) -> Path:
    """Write input, job, scan and facts for so many rows; returns the job's path."""
    folder.mkdir(parents=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for n in range(rows):
            row = {"id": f"r{n}", "query": f"第{n}题", "thought": f"第{n}条思路", "answer": f"第{n}篇文章"}
            file.write(json.dumps({**row, "genre": GENRES[n % len(GENRES)]}, ensure_ascii=False) + "\n")
    job = {
        "name": "judged",
        "input": {"paths": ["rows.jsonl"]},
        "rubrics": list(RUBRICS),
        "gate": {"total": 50, "each": 8, "review": {"total": 2, "each": 1}},
        "early_exit": False,
        "judge": {"engine": "judged:NoJudge", "model": "none"},
        "write": [],
        "max_unscored": 1.0,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
    loaded = load_job(path)
    store = Store(loaded.store)
    with cluster():
        scan = passes.scan(loaded, store)
    number = 0
    for table in _facts(loaded, store, scan, plan_for_fill(loaded, store), np.random.default_rng(seed)):
        for start in range(0, table.num_rows, FACTS_PER_PART):
            name = f"{moment()}-{seed:08x}-{number:06d}.parquet"
            target = Path(store.path("parts", name))
            target.parent.mkdir(exist_ok=True)
            pq.write_table(table.slice(start, FACTS_PER_PART), target, compression="zstd")
            number += 1
    return path


def _facts(job: LoadedJob, store: Store, scan: Scan, planned: Planned, rng: np.random.Generator) -> Iterator[pa.Table]:
    pieces = max(1, scan.rows_in // _ROWS_AT_ONCE)
    for piece in range(pieces):
        rows = read_rows(store, scan, hash_ranges.span(piece, pieces))
        yield from (facts_of(rubric, rows, planned, rng) for rubric in job.rubrics)


def facts_of(rubric: Rubric, rows: pa.Table, planned: Planned, rng: np.random.Generator) -> pa.Table:
    """One scored fact of a rubric for every row, in random order: as they would come from many actors."""
    keys = np.empty((rows.num_rows, 16), np.uint8)
    genres = np.array(rows["genre"].to_pylist(), dtype=object)
    for genre in set(genres.tolist()):
        alike = np.flatnonzero(genres == genre)
        shown = [hash_ranges.as_bytes(rows[field])[alike] for field in rubric.fields]
        guidance = planned.plan.guidance(rubric, genre)
        keys[alike] = request_keys(planned.plan.fingerprints[rubric.name], shown, guidance, 0)
    names = [dimension.key for dimension in rubric.dimensions]
    drawn = rng.choice(SCORES, (rows.num_rows, len(names)), p=SHARES)
    table = table_of(keys, rows["record"], rows["home"], rubric, planned, names, drawn, rng)
    return table.take(pa.array(rng.permutation(rows.num_rows)))


def table_of(
    keys: np.ndarray[Any, Any],
    records: pa.ChunkedArray,
    homes: pa.ChunkedArray,
    rubric: Rubric,
    planned: Planned,
    names: list[str],
    scores: np.ndarray[Any, Any],
    rng: np.random.Generator,
) -> pa.Table:
    """Facts as columns of facts.SCHEMA."""
    count = len(keys)
    pool = pa.array([_words(rng, 40) for _ in range(2000)])
    items = pa.array(names * count)
    offsets = pa.array(np.arange(count + 1) * len(names), pa.int32())
    empty = pa.array(np.zeros(count + 1), pa.int32())
    texts, nothing = pa.array([], pa.string()), pa.array([], pa.float64())
    identity = planned.identity
    columns: dict[str, Any] = {
        "key": hash_ranges.as_digests(keys),
        "record": records,
        "home": homes,
        "rubric": _same(rubric.name, count),
        "rubric_fingerprint": _same(rubric.fingerprint(), count),
        "judge_fingerprint": _same(identity.fingerprint, count),
        "sample": pa.array(np.zeros(count), pa.int32()),
        "scores": pa.MapArray.from_arrays(offsets, items, pa.array(scores.reshape(-1))),
        "reasons": pa.MapArray.from_arrays(offsets, items, _drawn(pool, count * len(names), rng)),
        "checks": pa.MapArray.from_arrays(empty, texts, pa.array([], pa.bool_())),
        "choices": pa.MapArray.from_arrays(empty, texts, texts),
        "notes": pa.MapArray.from_arrays(empty, texts, texts),
        "expected": pa.MapArray.from_arrays(empty, texts, nothing),
        "raw": _drawn(pa.array([_words(rng, 120) for _ in range(500)]), count, rng),
        "finish_reason": _same("stop", count),
        "prompt_tokens": pa.array(rng.integers(1000, 4000, count)),
        "cached_tokens": pa.array(rng.integers(0, 1000, count)),
        "generated_tokens": pa.array(rng.integers(20, 120, count)),
        "seconds": pa.array(rng.random(count)),
        "attempt": pa.array(np.zeros(count), pa.int32()),
        "created_at": pa.array(np.full(count, time.time_ns() // 1000), pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "run": _same("bench", count),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def _same(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count), pa.int64()))


def _drawn(pool: pa.Array, count: int, rng: np.random.Generator) -> pa.Array:
    return pool.take(pa.array(rng.integers(0, len(pool), count)))


def _words(rng: np.random.Generator, length: int) -> str:
    return "".join(map(chr, rng.integers(0x4E00, 0x9FA5, length)))


def plain_scan(store: Path) -> dict[str, Any]:
    """Read the columns that select needs of the same files, with pyarrow alone, and count the rows."""
    started = time.monotonic()
    wanted = ["key", "home", "rubric", "rubric_fingerprint", "judge_fingerprint", "scores", "reasons", "notes"]
    wanted += ["checks", "choices", "cause", "detail", "created_at"]
    rows = 0
    for folder, columns in ((store / "parts", wanted), *((path, None) for path in (store / "scans").iterdir())):
        files = [str(path) for path in sorted(folder.glob("*.parquet"))]
        for batch in ds.dataset(files, format="parquet").to_batches(columns=columns):
            rows += batch.num_rows
    return {"rows": rows, "seconds": time.monotonic() - started}


def main() -> None:
    """`make FOLDER ROWS`, or `scan STORE FIGURES`."""
    task, path, last = sys.argv[1:]
    if task == "make":
        make(Path(path), int(last))
    else:
        Path(last).write_text(json.dumps(plain_scan(Path(path))), encoding="utf-8")


if __name__ == "__main__":
    main()
