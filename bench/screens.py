"""How many articles a second the screens look at, and what each of them costs.

    python bench/screens.py                        # the whole scan of a split, on 2 processes
    python bench/screens.py --near --articles 4000

Articles are words of jieba's dictionary with the paper's mean length, 2,200 characters, one per line of a JSONL file.
A process of its own scans each split, as a Ray task would: reading, digests, every screen, lexical diversity, and the
scanned rows written. `cpu_ms` is processor time, which neighbours on the machine disturb less than the clock.
Not measured: Ray, copies over the whole crawl but for their keys.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from workload import texts

from coigw_judge import source
from coigw_judge.record import Record, to_record
from coigw_judge.scan import scan_splits
from coigw_judge.screens import Screens
from coigw_judge.screens import sketch as sketches
from coigw_judge.screens.characters import characters
from coigw_judge.screens.config import Screen
from coigw_judge.screens.diversity import mattr, ttr, words
from coigw_judge.screens.encoding import damage
from coigw_judge.screens.lines import boilerplate
from coigw_judge.screens.repetition import repeated
from coigw_judge.store import Store

CHARS = 2_200
_ROUNDS = 3
"""The best of so many: neighbours on the machine only ever add."""

EVERYTHING = {"published_after": "2022-10-31", "min_chars": 8, "max_chars": 40_000, "min_likes": 1}


def scan_one(folder: str, number: int, screen: Screen) -> dict[str, float]:
    """Scan one split; seconds of the clock and of the processor."""
    piece = source.split(source.list_files([f"{number}.jsonl"], Path(folder))[0])[0]
    store = Store(f"{folder}/store")
    Screens(screen).look(_record("暖身"), {}, {})  # dictionaries and tables are made once in a process
    clock, processor = time.perf_counter(), time.process_time()
    counts = scan_splits(store, store.path("work"), number, [(number, piece)], {}, None, screen)
    seconds = {"clock": time.perf_counter() - clock, "cpu": time.process_time() - processor}
    return {"rows": sum(counts["rows"]), **seconds}


def _record(text: str) -> Record:
    record = to_record({"answer": text}, {})
    assert isinstance(record, Record)
    return record


def whole(articles: int, processes: int, screen: Screen) -> dict[str, float]:
    """Scan `articles` in as many splits as processes, at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(processes):
            rows = texts(articles // processes, CHARS, number)
            given = {"published_at": "2023年5月1日", "likes": "1.2万"}
            lines = (json.dumps({"answer": text, **given}, ensure_ascii=False) for text in rows)
            Path(folder, f"{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            found = pool.starmap(scan_one, [(folder, number, screen) for number in range(processes)])
    rows = sum(each["rows"] for each in found)
    cpu = sum(each["cpu"] for each in found) / rows
    per_second = rows / max(each["clock"] for each in found)
    return {"articles_per_s": round(per_second), "cpu_ms": round(1e3 * cpu, 3), "by_cpu_per_s": round(processes / cpu)}


def parts(articles: int) -> dict[str, float]:
    """Processor milliseconds per article of each part."""
    records = [_record(text) for text in texts(articles, CHARS, 9)]
    answers = [record.texts["answer"] for record in records]
    known = [characters(text) for text in answers]
    split = [words(text[:500]) for text in answers]
    words("暖身")
    timed: dict[str, Callable[[int], object]] = {
        "digests": lambda n: records[n].digests(),
        "injection": lambda n: records[n].suspected(),
        "characters": lambda n: characters(answers[n]),
        "encoding": lambda n: damage(answers[n], known[n]),
        "boilerplate": lambda n: boilerplate(answers[n], known[n]),
        "repetition": lambda n: repeated(answers[n], known[n]),
        "words, first 500": lambda n: words(answers[n][:500]),
        "words, all": lambda n: words(answers[n]),
        "ttr and mattr": lambda n: (ttr(split[n]), mattr(split[n])),
    }
    timed["sketch"] = lambda n: sketches.bands(answers[n : n + 1])
    found = {}
    for name, part in timed.items():
        rounds = []
        for _ in range(_ROUNDS):
            processor = time.process_time()
            for n in range(articles):
                part(n)
            rounds.append(time.process_time() - processor)
        found[name] = round(1e3 * min(rounds) / articles, 4)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--near", action="store_true", help="near duplicates too: sketches and their keys")
    parser.add_argument("--diversity", default="500", help="characters to segment; all, or 0")
    options = parser.parse_args()
    diversity = True if options.diversity == "all" else int(options.diversity)
    near = {"near_duplicate": "flag"} if options.near else {}
    screen = Screen.model_validate({**EVERYTHING, **near, "diversity": diversity})
    told = {"whole": whole(options.articles, options.processes, screen), "cpu_ms_of": parts(min(500, options.articles))}
    print(json.dumps(told, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
