"""How many articles a second a scan looks at, and what each part of it costs.

    python bench/screens.py                        # scans on 2 processes at once, and each part alone
    python bench/screens.py --near --articles 4000
    python bench/screens.py --texts FILE.jsonl.gz  # articles cut from the `answer` of a file's rows instead

Articles are words of jieba's dictionary with the paper's mean length, 2,200 characters, one per line of a JSONL file.
A process of its own scans each split, as a Ray task would: reading, digests, every screen with the settings of a job
that names all, lexical diversity by default, keys of copies, and the scanned rows written. All begin at once, after
what a process does once (imports, dictionaries, tables: `once_s`, seconds of processor time).
`cpu_ms` is processor time per article, which neighbours on the machine disturb less than the clock; `others_cores` are
the cores that they had meanwhile, and where they had some the clock says how crowded the machine was.
`rest` of the parts is what a scan takes beside those that are named: objects made, calls, findings as sentences.
Not measured: Ray, copies over the whole crawl but for their keys.
"""

import argparse
import gzip
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq
from watch import machine_seconds
from workload import texts

from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import split_file
from coigw_judge.records.record import Record, record_digest, to_record
from coigw_judge.scan.rows import SCHEMA, scan_splits
from coigw_judge.screens import minhash as sketches
from coigw_judge.screens.boilerplate_lines import boilerplate
from coigw_judge.screens.characters import characters
from coigw_judge.screens.config import Screen
from coigw_judge.screens.dates import published
from coigw_judge.screens.injection.detect import suspected
from coigw_judge.screens.lexical_diversity import mattr, ttr, words
from coigw_judge.screens.mojibake import damage
from coigw_judge.screens.repetition import repeated
from coigw_judge.store.parts import Store

CHARS = 2_200
_ROUNDS = 3
"""The best of so many: neighbours on the machine only ever add."""

_CROWDED = 0.1
"""Cores of others from which on the clock says little."""

EVERYTHING = {"published_after": "2022-10-31", "min_chars": 8, "max_chars": 40_000, "min_likes": 1}
GIVEN = {"published_at": "2023年5月1日", "likes": "1.2万"}

_together: Barrier


def articles_of(path: str | None, count: int, seed: int) -> list[str]:
    """`count` articles, generated or cut from a file's texts one after another; from the start again at its end."""
    if path is None:
        return texts(count, CHARS, seed)
    with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8") as lines:
        answers = [answer for line in lines if isinstance(answer := json.loads(line).get("answer"), str)]
    whole = "\n".join(answers)
    pieces = [whole[n : n + CHARS] for n in range(0, len(whole) - CHARS, CHARS)]
    return [pieces[(seed * count + n) % len(pieces)] for n in range(count)]


def _begin(together: Barrier) -> None:
    global _together
    _together = together


def scan_one(folder: str, number: int, articles: list[str], screen: Screen) -> dict[str, float]:
    """Scan one split when all are ready: seconds of the clock, and of the processor before and meanwhile."""
    once = time.process_time()
    _write(Path(folder, f"warm-{number}.jsonl"), articles[:20])
    _write(Path(folder, f"{number}.jsonl"), articles)
    store = Store(f"{folder}/store")
    written = time.process_time()
    _scan(store, folder, f"warm-{number}", 1000 + number, screen)
    once += time.process_time() - written
    _together.wait()
    clock, processor, machine = time.time(), time.process_time(), machine_seconds()
    rows = _scan(store, folder, str(number), number, screen)
    cpu, spent = time.process_time() - processor, machine_seconds() - machine
    return {"rows": rows, "cpu": cpu, "begun": clock, "ended": time.time(), "machine": spent, "once": once}


def _write(path: Path, articles: list[str]) -> None:
    lines = (json.dumps({"answer": text, **GIVEN}, ensure_ascii=False) for text in articles)
    path.write_text("\n".join(lines), encoding="utf-8")


def _scan(store: Store, folder: str, name: str, number: int, screen: Screen) -> int:
    piece = split_file(list_input_files([f"{name}.jsonl"], Path(folder))[0])[0]
    return sum(scan_splits(store, store.path("work"), number, [(number, piece)], {}, None, screen)["rows"])


def whole(articles: list[list[str]], screen: Screen) -> dict[str, float]:
    """Scan a split on each of some processes at the same time: each begins when all are ready."""
    processes = len(articles)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        together = context.Barrier(processes)
        with context.Pool(processes, _begin, (together,)) as pool:
            jobs = [(folder, number, some, screen) for number, some in enumerate(articles)]
            found = pool.starmap(scan_one, jobs, chunksize=1)
    last = max(found, key=lambda each: each["ended"])
    seconds = last["ended"] - min(each["begun"] for each in found)
    rows, cpu = sum(each["rows"] for each in found), sum(each["cpu"] for each in found)
    return {
        "articles_per_s": round(rows / seconds),
        "cpu_ms": round(1e3 * cpu / rows, 3),
        "by_cpu_per_s": round(processes * rows / cpu),
        "own_cores": round(cpu / seconds, 2),
        "others_cores": round(max(0.0, last["machine"] - cpu) / seconds, 2),
        "once_s": round(fmean(each["once"] for each in found), 2),
    }


def parts(articles: list[str], screen: Screen) -> dict[str, float]:
    """Processor milliseconds per article of each part, and of a whole scan beside them on this process alone."""
    records = [_record(text) for text in articles]
    answers = [record.texts["answer"] for record in records]
    lines = [json.dumps({"answer": text, **GIVEN}, ensure_ascii=False).encode() for text in answers]
    known = [characters(text) for text in answers]
    chars = CHARS if screen.diversity is True else int(screen.diversity)
    split = [words(text[:chars]) for text in answers]
    timed: dict[str, Callable[[int], object]] = {
        "lines read": lambda n: to_record(json.loads(lines[n].decode()), {}),
        "digests": lambda n: record_digest(records[n].digests()),
        "injection": lambda n: suspected(records[n].texts),
        "characters": lambda n: characters(answers[n]),
        "encoding": lambda n: damage(answers[n], known[n]),
        "boilerplate": lambda n: boilerplate(answers[n], known[n]),
        "repetition": lambda n: repeated(answers[n], known[n]),
        "dates": lambda n: published(GIVEN["published_at"]),
        f"words, first {chars}": lambda n: words(answers[n][:chars]),
        "ttr and mattr": lambda n: (ttr(split[n]), mattr(split[n])),
    }
    if screen.minhash:
        timed["sketch"] = lambda n: sketches.bands(answers[n : n + 1])
    found = {name: _timed(part, len(articles)) for name, part in timed.items()}
    found["rows written"] = _rows_written(records)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "all.jsonl"), answers)
        store = Store(f"{folder}/store")
        scan = _timed(lambda _: _scan(store, folder, "all", 0, screen), 1) / len(answers)
    beside = {"words, all": lambda n: words(answers[n]), "sketch": lambda n: sketches.bands(answers[n : n + 1])}
    return {
        **found,
        "rest": round(scan - sum(found.values()), 4),
        "whole scan": round(scan, 4),
        **{f"beside: {name}": _timed(part, len(articles)) for name, part in beside.items() if name not in found},
    }


def _timed(part: Callable[[int], object], count: int) -> float:
    part(0)
    rounds = []
    for _ in range(_ROUNDS):
        processor = time.process_time()
        for n in range(count):
            part(n)
        rounds.append(time.process_time() - processor)
    return round(1e3 * min(rounds) / count, 4)


def _rows_written(records: list[Record]) -> float:
    """Of a scanned row, its way into a Parquet file in memory."""
    rows = []
    for n, record in enumerate(records):
        found = record.digests()
        row = {"home": found["answer"], "split": 0, "row": n, "position": n, "record": record_digest(found), **found}
        rows.append({**row, "flags": [], "screens": [], "ttr": n / 1e6, "mattr": n / 1e6, "chars": record.chars})

    def write(_: int) -> None:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, pa.BufferOutputStream(), compression="zstd")

    return round(_timed(write, 1) / len(rows), 4)


def _record(text: str) -> Record:
    record = to_record({"answer": text}, {})
    assert isinstance(record, Record)
    return record


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--texts", help="a JSONL file, .gz too, from whose answers the articles are cut")
    parser.add_argument("--near", action="store_true", help="near duplicates too: sketches and their keys")
    parser.add_argument("--diversity", default="500", help="characters to segment; all, or 0")
    options = parser.parse_args()
    diversity = True if options.diversity == "all" else int(options.diversity)
    near = {"near_duplicate": "flag"} if options.near else {}
    screen = Screen.model_validate({**EVERYTHING, **near, "diversity": diversity})
    each = options.articles // options.processes
    articles = [articles_of(options.texts, each, number) for number in range(options.processes)]
    rounds = [whole(articles, screen) for _ in range(_ROUNDS)]
    best = min(rounds, key=lambda found: found["cpu_ms"])
    told = {"whole": {"best": best, "rounds": rounds}, "cpu_ms_of": parts(articles[0][:1000], screen)}
    if any(found["others_cores"] > _CROWDED for found in rounds):
        told["note"] = "others had a part of the machine: by the clock it does less than it can"
    print(json.dumps(told, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
