"""The store at scale: facts written, compacted, read bucket by bucket, verified, looked up; and an index of many keys.

    .venv/bin/python bench/store.py              # 10 thousand to 10 million facts; 100 million keys
    .venv/bin/python bench/store.py --facts 10000 1000000 --keys 1000000

Facts go through writer.Writer in two processes at once, 500 to a part, and are read as `select` reads them: sorted
where they are loose, then a bucket of homes at a time. Every step runs in a process of its own, so peak memory is
that step's.
Prints tables, and as its last line one JSON object.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from watch import peak_bytes

from coigw_judge.replies.outcome import Scored
from coigw_judge.storage import hash_ranges
from coigw_judge.store import compaction
from coigw_judge.store import verify as upkeep
from coigw_judge.store.fact import DECIDING_COLUMNS, Fact
from coigw_judge.store.key_index import KeyIndex
from coigw_judge.store.parts import Part, Store
from coigw_judge.store.writer import Writer

FACTS_PER_FLUSH = 500
FACTS_PER_BUCKET = 300_000
LOOK_UPS = 1_000_000
WRITERS = 2
_MIB = 2**20
Figures = dict[str, Any]


def main() -> int:
    """Run all steps for all sizes; print the tables and the JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--facts", type=int, nargs="*", default=[10_000, 100_000, 1_000_000, 10_000_000], metavar="N")
    parser.add_argument("--keys", type=int, default=100_000_000, metavar="N", help="keys of the index (default: 10^8)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coigw-bench-") as name:
        sizes = [measure(Path(name) / f"{facts}", facts) for facts in options.facts]
        index = alone(index_of_keys, str(Path(name)), options.keys) if options.keys else None
    print(table(sizes))
    if index is not None:
        print(
            f"\nindex of {options.keys:,} keys ({index['file_bytes'] / _MIB:,.0f} MiB, mapped from disk): "
            f"{index['look_ups_per_s']:,.0f} look-ups/s, half of them of absent keys; "
            f"peak {index['peak_bytes'] / _MIB:,.0f} MiB"
        )
    print(json.dumps({"sizes": sizes, "index": index}))
    return 0


def measure(folder: Path, facts: int) -> Figures:
    """All steps on one store."""
    print(f"bench: {facts:,} facts", file=sys.stderr, flush=True)
    root = str(folder)
    started = time.monotonic()
    writers = [spawn(write, root, facts // WRITERS, seed) for seed in range(WRITERS)]
    peaks = [collect(*each)["peak_bytes"] for each in writers]
    figures: Figures = {"facts": facts, "write_s": time.monotonic() - started, "write_peak_bytes": max(peaks)}
    for step in (read_loose, compact, read_compacted, verify, look_up):
        found = alone(step, root)
        if step in (read_loose, read_compacted):
            assert found["read"] == facts // WRITERS * WRITERS, found
        figures |= {f"{step.__name__}_{name}": value for name, value in found.items()}
    return figures


def spawn(task: Callable[..., Figures], *arguments: Any) -> Any:
    """Start a step in a fresh process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_report, args=(theirs, task, arguments))
    process.start()
    theirs.close()
    return process, ours


def collect(process: Any, answers: Any) -> Figures:
    """Wait for a step; its figures."""
    try:
        figures: Figures = answers.recv()
    except EOFError as error:
        raise SystemExit("bench: a step failed; what it says stands above") from error
    process.join()
    return figures


def alone(task: Callable[..., Figures], *arguments: Any) -> Figures:
    """A step in a process of its own: what it returns, its seconds and its peak memory."""
    return collect(*spawn(task, *arguments))


def _report(answers: Any, task: Callable[..., Figures], arguments: tuple[Any, ...]) -> None:
    started = time.monotonic()
    figures = task(*arguments)
    answers.send({"s": time.monotonic() - started, **figures, "peak_bytes": peak_bytes()})


def write(root: str, facts: int, seed: int) -> Figures:
    """What one actor does: append, and flush every so many facts."""
    writer = Writer(Store(root), "bench")
    rng = np.random.default_rng(seed)
    outcome = Scored(
        scores={"quality": 8.0, "creativity": 7.0},
        reasons={
            "quality": "“走得慢”三字承前启后，末句不解释，余味在此。",
            "creativity": "由表及人，一处细节只合本篇。",
        },
        raw='{"quality":{"reason":"…","score":8},"creativity":{"reason":"…","score":7}}' * 2,
    )
    for first in range(0, facts, FACTS_PER_FLUSH):
        count = min(FACTS_PER_FLUSH, facts - first)
        drawn = rng.bytes(48 * count)
        for n in range(count):
            key, record, home = (drawn[48 * n + 16 * part : 48 * n + 16 * part + 16] for part in range(3))
            writer.append(
                Fact(
                    key=key, record=record, home=home, rubric="answer", rubric_fingerprint="r" * 32,
                    judge_fingerprint="j" * 32, sample=0, outcome=outcome, finish_reason="stop", attempt=0,
                    prompt_tokens=2000, cached_tokens=500, generated_tokens=60, seconds=1.0,
                )
            )  # fmt: skip
        writer.flush()
    return {}


def read_loose(root: str) -> Figures:
    """As select does where parts are loose: sort them into a few files, then bucket by bucket."""
    store = Store(root)
    work = store.path("work", "bench")
    made = []
    for number, group in enumerate(compaction.groups(store.parts())):
        path = f"{work}/{number:05d}.parquet"
        made.append((path, compaction.sort_parts(store, group, path, DECIDING_COLUMNS)))
    read = _read(store, [Part(path, 0, hash_ranges.ALL) for path, _ in made], sum(count for _, count in made))
    store.clear(work)
    return {"read": read, "parts": len(store.parts())}


def read_compacted(root: str) -> Figures:
    """As select does where all is compacted."""
    store = Store(root)
    parts = store.parts()
    total = sum(part["facts"] for each in store.compactions() for part in each["parts"])
    return {"read": _read(store, parts, total), "parts": len(parts)}


def _read(store: Store, parts: Any, total: int) -> int:
    buckets = max(1, -(-total // FACTS_PER_BUCKET))
    reads = (store.read(DECIDING_COLUMNS, wanted=hash_ranges.span(n, buckets), parts=parts) for n in range(buckets))
    return sum(table.num_rows for table in reads)


def compact(root: str) -> Figures:
    """`store compact --all`."""
    return {"parts": compaction.compact(Store(root), all_parts=True)["parts_after"]}


def verify(root: str) -> Figures:
    """`store verify`."""
    found = upkeep.verify(Store(root))
    assert found.sound and not [each for each in found.findings if each.kind == "doubled"], found.findings
    return {}


def look_up(root: str) -> Figures:
    """Half keys of the store, half others, against an index of all its keys, in batches."""
    store = Store(root)
    raw = np.concatenate([hash_ranges.as_bytes(store.read_part(part, ("key",))["key"]) for part in store.parts()])
    high, low = hash_ranges.halves(raw)
    order = np.lexsort((low, high))
    index = KeyIndex(high[order], low[order])
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, len(high), LOOK_UPS // 2)
    return _looked_up(index, high[chosen], low[chosen])


def index_of_keys(folder: str, keys: int) -> Figures:
    """Sorted keys in two files, mapped; the peak is of a process that only looks up."""
    wanted = np.random.default_rng(2).integers(0, keys, LOOK_UPS // 2)
    chosen = alone(_write_index, folder, keys, wanted)
    return alone(_look_up_mapped, folder, chosen["high"], chosen["low"])


def _write_index(folder: str, keys: int, wanted: np.ndarray[Any, Any]) -> Figures:
    rng = np.random.default_rng(3)
    high = np.sort(rng.integers(0, 2**64, keys, dtype=np.uint64))
    low = rng.integers(0, 2**64, keys, dtype=np.uint64)
    for name, half in (("high", high), ("low", low)):
        half.tofile(f"{folder}/{name}")
    return {"high": high[wanted], "low": low[wanted]}


def _look_up_mapped(folder: str, high: np.ndarray[Any, Any], low: np.ndarray[Any, Any]) -> Figures:
    mapped = [np.memmap(f"{folder}/{name}", np.uint64, "r") for name in ("high", "low")]
    size = sum(os.path.getsize(f"{folder}/{name}") for name in ("high", "low"))
    return {**_looked_up(KeyIndex(*mapped), high, low), "file_bytes": size}


def _looked_up(index: KeyIndex, high: np.ndarray[Any, Any], low: np.ndarray[Any, Any]) -> Figures:
    """Look up these keys, and as many that are not there, 10,000 at a time."""
    rng = np.random.default_rng(4)
    others = rng.integers(0, 2**64, (2, len(high)), dtype=np.uint64)
    wanted = np.concatenate([high, others[0]]), np.concatenate([low, others[1]])
    order = rng.permutation(len(wanted[0]))
    wanted = wanted[0][order], wanted[1][order]
    started = time.monotonic()
    hits = 0
    for first in range(0, len(order), 10_000):
        piece = slice(first, first + 10_000)
        hits += int(np.count_nonzero(index.find(wanted[0][piece], wanted[1][piece]) >= 0))
    seconds = time.monotonic() - started
    assert hits == len(high), (hits, len(high))
    return {"look_ups_per_s": len(order) / seconds}


def table(sizes: list[Figures]) -> str:
    """For people: seconds and peak memory of each step."""
    steps = ("write", "read_loose", "compact", "read_compacted", "verify")
    titles = ["facts", *(f"{step.replace('_', ' ')} s (MiB)" for step in steps), "parts loose, compacted", "look-ups/s"]
    lines = [f"| {' | '.join(titles)} |", "|" + " ---: |" * len(titles)]
    for size in sizes:
        cells = [f"{size['facts']:,}"]
        cells += [f"{size[f'{step}_s']:.1f} ({size[f'{step}_peak_bytes'] / _MIB:,.0f})" for step in steps]
        cells += [f"{size['read_loose_parts']:,}, {size['read_compacted_parts']:,}"]
        cells += [f"{size['look_up_look_ups_per_s']:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
