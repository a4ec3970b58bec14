"""How a fill spreads over replicas, and whether its memory grows with its input.

    .venv/bin/python bench/scaling.py skew                    # 4 replicas, texts of very uneven lengths: idle shares
    .venv/bin/python bench/scaling.py free --records 20000    # records/s through 1, 2, 4 replicas of a free judge
    .venv/bin/python bench/scaling.py long --records 1000000  # one long run: records/s, memory of driver and actors

Prints a table, and as its last line one JSON object. What is counted, and what came out: README.md beside this file.
"""

import argparse
import heapq
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml
from turns import environment

_MIB = 2**20
_SAMPLE_SECONDS = 1.0
_TEXT = "雨停了巷口的修表匠把灯拧亮他说这只表走得慢是因为它替谁等过人河水退下去以后石阶上留着一圈一圈的印子"


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["skew", "free", "long"])
    parser.add_argument("--records", type=int, metavar="N", help="default: 960, 20,000 and 1,000,000")
    parser.add_argument("--replicas", type=int, metavar="R", help="default: 4; 1, 2, 4; 2")
    parser.add_argument("--cpus", type=int, default=4, help="processors in Ray's books (default: 4)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coigw-scaling-", ignore_cleanup_errors=True) as name:
        part = {"skew": _skew, "free": _free, "long": _long}[options.part]
        found = part(Path(name), options)
    print(json.dumps({"part": options.part, "cores": len(os.sched_getaffinity(0)), **found}))
    return 0


# Texts


def _short(count: int) -> Iterator[str]:
    """Texts of some 25 characters, no two alike."""
    for number in range(count):
        start = number % 29
        yield f"{number}号：{_TEXT[start : start + 18]}"


def _uneven(count: int, seed: int = 7) -> Iterator[str]:
    """Lengths as a crawl has them, and worse: most of some hundred characters, one in fifty twelve times as long; the
    long ones stand in the last fifth of the input."""
    draw = random.Random(seed)
    for number in range(count):
        is_long = number >= 4 * count // 5 and draw.random() < 0.1
        length = draw.randrange(80, 240) * (12 if is_long else 1)
        yield f"{number}号：{(_TEXT * (length // len(_TEXT) + 1))[:length]}"


def _write(path: Path, texts: Iterator[str], files: int = 8) -> int:
    """JSONL files with one text a line, dealt out in runs; returns the characters in all."""
    path.mkdir()
    listed, chars = list(texts) if files > 1 else [], 0
    size = -(-len(listed) // files) if listed else 0
    for number in range(files):
        part = listed[number * size : (number + 1) * size] if listed else texts
        with (path / f"{number:03d}.jsonl").open("w", encoding="utf-8") as file:
            for text in part:
                chars += len(text)
                file.write(json.dumps({"answer": text}, ensure_ascii=False) + "\n")
    return chars


# One run


def _run(folder: Path, name: str, replicas: int, cpus: int, judge: dict[str, Any]) -> dict[str, Any]:
    """`fill` over folder/input in a process of its own: seconds by stage, records/s, memory over time."""
    place = folder / name
    place.mkdir()
    job = {
        "name": "bench",
        "input": {"paths": [str(folder / "input")]},
        "rubrics": ["article"],
        "gate": {"each": 1},
        "reasons": "none",
        "judge": {"engine": "free_judge:FreeJudge", "replicas": replicas, **judge},
        "store": str(place / "facts"),
        "out": str(place / "runs"),
    }
    (place / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    command = [sys.executable, __file__, "inside", str(place / "job.yaml"), str(place / "figures.json"), str(cpus)]
    with (place / "log").open("wb") as log:
        process = psutil.Popen(command, stdout=log, stderr=log, env=environment())
        memory, processors = _watch(process)
    if process.returncode:
        raise SystemExit((place / "log").read_text(encoding="utf-8", errors="replace")[-4000:])
    found = json.loads((place / "figures.json").read_text())
    per_record = {kind: 1000 * seconds / found["asked"] for kind, seconds in processors.items()}
    return {**found, "memory": memory, "processor_ms_per_record": per_record}


def _inside(job: str, figures: str, cpus: str) -> int:
    """In the process of its own: the fill, between two looks at the clock."""
    import ray

    from coigw_judge.job.job import load_job
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=int(cpus), **quiet)
    with cluster():
        stage = stages.begin(load_job(Path(job)), for_fill=True)
        begun = time.time()
        stages.fill(stage, lambda text: print(text, flush=True))
        ended = time.time()
        found = {"rows": stage.scan.rows_in, "asked": stage.tally.made, "scan": stage.seconds["scan"]}
        found |= {"begun": begun, "ended": ended, "startup": stage.seconds["startup"], "seconds": ended - begun}
    Path(figures).write_text(json.dumps(found))
    ray.shutdown()
    return 0


def _watch(process: psutil.Popen) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Until the process ends: resident MiB of the driver, of its largest judge actor and of the largest other process;
    and the processor seconds that each kind had, which a crowded machine makes no larger."""
    samples: list[dict[str, float]] = []
    seconds: dict[int, tuple[str, float]] = {}

    def sample() -> None:
        found = {"at": time.time(), "driver": 0.0, "actor": 0.0, "others": 0.0}
        with suppress(psutil.NoSuchProcess):
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, IndexError):
                    kind = "actor" if "JudgeActor" in each.cmdline()[0] else "others"
                    kind = "driver" if each.pid == process.pid else kind
                    found[kind] = max(found[kind], each.memory_info().rss / _MIB)
                    times = each.cpu_times()
                    seconds[each.pid] = (kind, times.user + times.system)
        samples.append(found)

    thread = threading.Thread(target=process.wait)
    thread.start()
    while thread.is_alive():
        sample()
        thread.join(_SAMPLE_SECONDS)
    kinds = ("driver", "actor", "others")
    return samples, {kind: sum(used for of, used in seconds.values() if of == kind) for kind in kinds}


# Parts


def _free(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same records through more and more replicas."""
    _write(folder / "input", _short(options.records or 20_000))
    counts = [options.replicas] if options.replicas else [1, 2, 4]
    print("| replicas | records/s | fill s | scan s | ms of processor per record: driver, actors, others |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    found = []
    for count in counts:
        run = _run(folder, f"free-{count}", count, options.cpus, {"concurrency": 256})
        run.pop("memory")
        rate = run["asked"] / (run["seconds"] - run["startup"])
        found.append({"replicas": count, "records_per_s": rate, **run})
        used = ", ".join(f"{value:.2f}" for value in run["processor_ms_per_record"].values())
        cells = f"{rate:,.0f} | {run['seconds']:.1f} | {run['scan']:.1f} | {used}"
        print(f"| {count} | {cells} |", flush=True)
    return {"runs": found}


def _long(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run, and the memory of its processes over time."""
    _write(folder / "input", _short(options.records or 1_000_000), files=1)
    run = _run(folder, "long", options.replicas or 2, options.cpus, {"concurrency": 256})
    memory = [each for each in run.pop("memory") if run["begun"] + run["startup"] <= each["at"] <= run["ended"]]
    rate = run["asked"] / (run["seconds"] - run["startup"])
    print(f"{run['asked']:,.0f} records in {run['seconds']:.0f} s: {rate:,.0f} records/s; scan {run['scan']:.0f} s")
    print(f"ms of processor per record: {run['processor_ms_per_record']}\n")
    print("| part of the fill | driver MiB | largest actor MiB | largest other MiB |\n| --- | ---: | ---: | ---: |")
    table = []
    for number in range(5):
        part = memory[number * len(memory) // 5 : (number + 1) * len(memory) // 5] or memory[-1:]
        table.append({name: median(each[name] for each in part) for name in ("driver", "actor", "others")})
        cells = " | ".join(f"{value:,.0f}" for value in table[-1].values())
        print(f"| {20 * number}-{20 * number + 20} % | {cells} |")
    return {"run": run, "records_per_s": rate, "memory_mib": table}


def _skew(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Uneven texts: how busy each replica's slots were, beside an even split of the input into one part a replica."""
    count, slots, per_char = options.replicas or 4, 8, 0.005
    _write(folder / "input", _uneven(options.records or 960))
    logs = folder / "spans"
    logs.mkdir()
    judge = {"concurrency": slots + 2, "options": {"slots": slots, "per_char": per_char, "folder": str(logs)}}
    run = _run(folder, "skew", count, options.cpus, judge)
    run.pop("memory")
    spans = {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in logs.iterdir()}
    every = [span for each in spans.values() for span in each]
    first, last = max(min(each)[0] for each in spans.values()), max(span[1] for span in every)
    # Up to here some request was still waiting, so a slot that was idle had something to do; then the tail.
    dry = max(span[0] for span in every)
    print("| replica | requests | busy while any request waited | busy in all | last answer, s before the end |")
    print("| --- | ---: | ---: | ---: | ---: |")
    rows = []
    for _, each in sorted(spans.items()):
        row = {"requests": len(each), "busy_while_any_waited": _busy(each, first, dry, slots)}
        row |= {"busy": _busy(each, first, last, slots), "early": last - max(span[1] for span in each)}
        rows.append(row)
        cells = f"{row['busy_while_any_waited']:.1%} | {row['busy']:.1%} | {row['early']:.1f}"
        print(f"| {len(rows)} | {row['requests']} | {cells} |")
    work = sum(end - begun for begun, end in every)
    seconds = last - min(span[0] for span in every)
    even = _even_split(list(_uneven(options.records or 960)), count, slots, per_char)
    best = work / (count * slots)
    print(f"\nseconds: {seconds:.1f}; no slot ever idle {best:.1f}; an even split of the input at best {even:.1f}")
    return {"seconds": seconds, "no_idle": best, "even_split": even, "tail": last - dry, "replicas": rows, "run": run}


def _busy(spans: list[list[float]], first: float, last: float, slots: int) -> float:
    """The share of a replica's slots that were at work between two moments."""
    inside = sum(max(0.0, min(end, last) - max(begun, first)) for begun, end in spans)
    return inside / (slots * (last - first))


def _even_split(texts: list[str], replicas: int, slots: int, per_char: float) -> float:
    """Seconds that the slowest replica would take with a fixed part of the rows each, and no other cost at all."""
    size = -(-len(texts) // replicas)
    slowest = 0.0
    for number in range(replicas):
        free = [0.0] * slots
        for text in texts[number * size : (number + 1) * size]:
            heapq.heapreplace(free, free[0] + len(text) * per_char)
        slowest = max(slowest, *free)
    return slowest


if __name__ == "__main__":
    sys.exit(_inside(*sys.argv[2:]) if sys.argv[1:2] == ["inside"] else main())
