"""How fast a job judges, beside vLLM on its own: the same records, checkpoint, engine arguments and sampling.

    .venv/bin/python bench/throughput.py                 # 80 records, one round: about four minutes on 2 CPU cores
    .venv/bin/python bench/throughput.py --rounds 3      # medians; the systems take turns

Prints a table, and as its last line one JSON object. What is counted, and what came out: README.md beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import workload
import yaml
from watch import Watch

SYSTEMS = ("raw-rubric-first", "raw-same-prompts", "job")
RUBRICS = ["answer", "query", "thought"]
ENGINE = {"max_num_batched_tokens": 4096}
"""On top of the embedded judge's own. vLLM's default depends on the class that opens the engine, so it is stated."""

_KEPT = (
    *("requests", "prompt_tokens", "cached_tokens", "generated_tokens"),
    *("seconds", "startup", "peak_bytes", "cores", "others_cores"),
)
_GIB = 2**30
Figures = dict[str, Any]


def main() -> int:
    """Run all rounds; print the table and the JSON object."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="coigw-bench-") as name:
        folder = Path(options.keep or name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        lengths = workload.write(folder / "records.jsonl", options.records)
        rounds = [run_round(folder, number, options.reasons) for number in range(options.rounds)]
    problems = [problem for figures in rounds for problem in disagreements(figures)]
    for problem in problems:
        _say(problem)
    medians = {system: _medians([figures[system] for figures in rounds]) for system in SYSTEMS}
    print(table(medians))
    print(json.dumps(summary(options.records, lengths, medians, rounds), ensure_ascii=False))
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=80, metavar="N", help="triplets to judge (default: 80)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="runs of each system (default: 1)")
    parser.add_argument("--keep", metavar="DIR", help="keep workload, logs and stores there (default: thrown away)")
    parser.add_argument(
        "--reasons",
        choices=["none", "short", "full"],
        default="none",
        help="what replies hold (default: none); an untrained judge fills reasons to their limit",
    )
    options = parser.parse_args()
    if options.records < 1 or options.rounds < 1:
        parser.error("--records and --rounds are at least 1")
    return options


def run_round(folder: Path, number: int, reasons: str) -> dict[str, Figures]:
    """Every system once; each round begins with another, so that none always has the quietest machine."""
    turn = number % len(SYSTEMS)
    return {system: run_system(folder, system, number, reasons) for system in (*SYSTEMS[turn:], *SYSTEMS[:turn])}


def run_system(folder: Path, system: str, number: int, reasons: str) -> Figures:
    """One system in a process of its own: its figures, and the peak memory of its process tree."""
    place = folder / f"{number}-{system}"
    place.mkdir()
    _write_job(place / "job.yaml", folder / "records.jsonl", reasons)
    figures = place / "figures.json"
    _say(f"round {number + 1}: {system}")
    with (place / "log").open("wb") as log:
        arguments = [system, str(place / "job.yaml"), str(figures), str(time.time())]
        command = [sys.executable, str(Path(__file__).with_name("systems.py")), *arguments]
        process = psutil.Popen(command, stdout=log, stderr=log, env=_environment())
        watch = Watch()
        watch.until_exit(process)
    if process.returncode or not figures.is_file():
        tail = (place / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
        raise SystemExit(f"{tail}\nbench: {system} failed with status {process.returncode}; its log ends as above")
    found: Figures = json.loads(figures.read_text(encoding="utf-8"))
    own, others = watch.cores(found["first"], found["last"])
    seconds = found["last"] - found["first"]
    return {**found, "seconds": seconds, "peak_bytes": watch.peak_bytes, "cores": own, "others_cores": others}


def _write_job(path: Path, records: Path, reasons: str) -> None:
    """The paper's gate, no early exit, one try per request: every system answers the same number of requests."""
    job = {
        "name": "bench",
        "input": {"paths": [str(records)]},
        "rubrics": RUBRICS,
        "gate": {"total": 50, "each": 8},
        "early_exit": False,
        "reasons": reasons,
        "judge": {"engine": "vllm", "model": "embedded", "retries": 0, "engine_args": ENGINE},
        "max_unscored": 1.0,
    }
    path.write_text(yaml.safe_dump(job), encoding="utf-8")


def _environment() -> dict[str, str]:
    """The same for every system: vLLM's CPU settings as judges/vllm.py has them, no network, our package."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    ours = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray's own 15 would let any other process on the machine go before our engine only
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[1])))),
    }
    return {**os.environ, **ours}


def disagreements(figures: dict[str, Figures]) -> list[str]:
    """What makes a round no comparison: systems that answered different numbers of requests, replies without scores."""
    found = []
    if len({(each["records"], each["requests"]) for each in figures.values()}) > 1:
        counts = ", ".join(f"{name} {each['requests']}" for name, each in figures.items())
        found.append(f"the systems answered different numbers of requests: {counts}")
    if figures["job"]["prompt_tokens"] != figures["raw-same-prompts"]["prompt_tokens"]:
        found.append("job and raw-same-prompts had prompts of different lengths")
    for name, each in figures.items():
        if each["unscored"]:
            found.append(f"{name}: replies without scores: {each['unscored']}")
    return found


def _medians(figures: list[Figures]) -> Figures:
    """One system's figures over its rounds."""

    def over(figure: Callable[[Figures], float]) -> float:
        return median(figure(each) for each in figures)

    return {
        "records_per_s": over(lambda each: each["records"] / each["seconds"]),
        "prompt_tokens_per_s": over(lambda each: each["prompt_tokens"] / each["seconds"]),
        "hit_rate": over(lambda each: each["cached_tokens"] / each["prompt_tokens"]),
        **{name: over(lambda each, name=name: each[name]) for name in _KEPT},  # type: ignore[misc]
    }


def table(medians: dict[str, Figures]) -> str:
    """The figures for people."""
    lines = [
        "| system | records/s | prompt tokens/s | prompt tokens | hit rate | start-up s | peak GiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, each in medians.items():
        cells = (
            f"{each['records_per_s']:.2f}",
            f"{each['prompt_tokens_per_s']:,.0f}",
            f"{each['prompt_tokens']:,.0f}",
            f"{each['hit_rate']:.0%}",
            f"{each['startup']:.1f}",
            f"{each['peak_bytes'] / _GIB:.2f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(
    records: int, lengths: dict[str, float], medians: dict[str, Figures], rounds: list[dict[str, Figures]]
) -> dict[str, Any]:
    """The last line. A ratio is the median of the rounds' ratios: a round's systems ran on the same machine weather."""

    def ratio(to: str) -> float:
        return float(median(figures[to]["seconds"] / figures["job"]["seconds"] for figures in rounds))

    return {
        "records": records,
        "rounds": len(rounds),
        "cores": len(os.sched_getaffinity(0)),
        "mean_characters": lengths,
        "systems": {name: {key: round(value, 4) for key, value in each.items()} for name, each in medians.items()},
        "ratio_same_prompts": round(ratio("raw-same-prompts"), 3),
        "ratio_rubric_first": round(ratio("raw-rubric-first"), 3),
    }


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
