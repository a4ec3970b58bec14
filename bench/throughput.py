"""How fast a job judges, beside vLLM on its own: the same records, checkpoint, engine arguments and sampling.

    .venv/bin/python bench/throughput.py                 # 80 records, one round: about four minutes on 2 CPU cores
    .venv/bin/python bench/throughput.py --rounds 3      # medians; the systems take turns

Prints a table, and as its last line one JSON object. What is counted, and what came out: README.md beside this file.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import workload
from turns import run_system, turned, workplace

SYSTEMS = ("raw-rubric-first", "raw-same-prompts", "job")
RUBRICS = ["answer", "query", "thought"]
ENGINE = {"max_num_batched_tokens": 4096}
"""On top of the embedded judge's own. vLLM's default depends on the class that opens the engine, so it is stated."""

_KEPT = (
    *("requests", "prompt_tokens", "cached_tokens", "generated_tokens"),
    *("seconds", "startup", "peak_bytes", "cores", "beside_cores", "others_cores"),
)
_GIB = 2**30
PROGRAM = Path(__file__).with_name("systems.py")
Figures = dict[str, Any]


def main() -> int:
    """Run all rounds; print the table and the JSON object."""
    options = _options()
    with workplace(options.keep) as folder:
        lengths = workload.write(folder / "records.jsonl", options.records)
        rounds = [run_round(folder, number, options.reasons) for number in range(options.rounds)]
    problems = [problem for figures in rounds for problem in disagreements(figures)]
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr, flush=True)
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
    """Every system once."""
    job = _job(folder / "records.jsonl", reasons)
    systems = turned(SYSTEMS, number)
    return {system: run_system(folder / f"{number}-{system}", system, job, PROGRAM) for system in systems}


def _job(records: Path, reasons: str) -> dict[str, Any]:
    """The paper's gate, no early exit, one try per request: every system answers the same number of requests."""
    return {
        "name": "bench",
        "input": {"paths": [str(records)]},
        "rubrics": RUBRICS,
        "gate": {"total": 50, "each": 8},
        "early_exit": False,
        "reasons": reasons,
        "judge": {"engine": "vllm", "model": "embedded", "retries": 0, "engine_args": ENGINE},
        "max_unscored": 1.0,
    }


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


if __name__ == "__main__":
    sys.exit(main())
