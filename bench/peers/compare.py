"""The same records and checkpoint through raw vLLM, five tools and a job of ours, under three jobs.

    bash bench/peers/setup.sh                                         # once: .venv-peers, with the tools
    .venv-peers/bin/python bench/peers/compare.py early               # about half of the records end at the first ask
    .venv-peers/bin/python bench/peers/compare.py triplets            # rubrics of jobs/triplets.yaml, all asked
    .venv-peers/bin/python bench/peers/compare.py prefilter           # those of jobs/prefilter.yaml, without `then`
    .venv-peers/bin/python bench/peers/compare.py early --rounds 5 --records 40

Each system runs in a process of its own; the systems take turns, start-up stands apart, figures are medians. The tools
that speak to a server share one in a round (served.py), whose cache is emptied before each. Prints what each cannot
do, a table, and as its last line one JSON object. What came out: bench/README.md.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import served
import workload
import yaml
from turns import run_system, turned, workplace

from coigw_judge.job.job import load_job

ROOT = Path(__file__).parents[2]
SERVED = ("datatrove", "distilabel", "daft", "data-juicer")
SYSTEMS = ("raw-rubric-first", "raw-same-prompts", "ray-data-llm", *SERVED, "job")
PROGRAM = Path(__file__).with_name("one.py")
CAN_NOT = {
    "raw-rubric-first": "stop early, resume, keep replies, tell a truncated reply from a bad one unless scripted",
    "raw-same-prompts": "the same; its prompts and their order are ours",
    "ray-data-llm": "stop early (a filter between two processors loads the engine twice), say why a reply ended "
    "(finish_reason is dropped), resume by request, keep text from forging control tokens",
    "datatrove": "stop early but in a rollout of one's own; start vLLM where its build brings no command `vllm`; "
    "a document that it cannot write is a warning, and is lost",
    "distilabel": "run vLLM in process (its class passes logits_processors, which vLLM has no longer), say why a reply "
    "ended",
    "daft": "give its vLLM provider a system text or a reply format, say why a reply ended",
    "data-juicer": "keep more requests in flight than processes, read scores but from its own key, tell a failed "
    "reply from a score of 0.0",
}
_GIB = 2**30
Figures = dict[str, Any]


def main() -> int:
    """Run all rounds; print the table and the JSON object."""
    options = _options()
    with workplace(options.keep) as folder:
        workload.write(folder / "records.jsonl", options.records)
        job = JOBS[options.job](folder)
        rounds = [_round(folder, number, job, options.systems) for number in range(options.rounds)]
    for system in options.systems:
        if system in CAN_NOT:
            print(f"{system} cannot: {CAN_NOT[system]}")
    print(f"\ngate: {json.dumps(job['gate'])}\n")
    print(_table(rounds))
    print(json.dumps(_summary(options, rounds), ensure_ascii=False))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("job", choices=list(JOBS))
    parser.add_argument("--records", type=int, default=40, metavar="N", help="triplets to judge (default: 40)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="runs of each system (default: 1)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="default: all")
    parser.add_argument("--keep", metavar="DIR", help="keep workload, logs and stores there (default: thrown away)")
    return parser.parse_args()


# Jobs


def _job(folder: Path, rubrics: list[str], **more: Any) -> dict[str, Any]:
    """One try per request, no reasons: an untrained judge would fill them to their limit (bench/README.md)."""
    return {
        "name": "peers",
        "input": {"paths": [str(folder / "records.jsonl")]},
        "rubrics": rubrics,
        "reasons": "none",
        "judge": {"engine": "vllm", "model": "embedded", "retries": 0, "engine_args": {"max_num_batched_tokens": 4096}},
        "max_unscored": 1.0,
        **more,
    }


def _early(folder: Path) -> dict[str, Any]:
    """Usability first, with the threshold under which a share nearest to half of the records fails: an untrained
    judge's scores mean nothing, so they are looked at before."""
    first = _job(folder, ["usability"], gate={"each": 0}, early_exit=False)
    run_system(folder / "looking", "job", first, PROGRAM)
    found = _scores(folder / "looking" / "facts")
    _, name, threshold = min(
        (abs(sum(value < bound for value in values) / len(values) - 0.5), name, bound)
        for name, values in found.items()
        for bound in {value + 1 for value in values}
    )
    ended = sum(value < threshold for value in found[name])
    print(f"usability.{name} < {threshold:g} ends {ended} of {len(found[name])} records at the first ask")
    gate = {"each": {f"usability.{name}": threshold}}
    return _job(folder, ["usability", "answer", "query", "thought"], gate=gate, early_exit=True)


def _scores(store: Path) -> dict[str, list[float]]:
    from coigw_judge.store.parts import Store

    found: dict[str, list[float]] = {}
    for fact in Store(str(store)).read(("scores",)).to_pylist():
        for name, value in fact["scores"] or ():
            found.setdefault(name, []).append(value)
    return found


def _as_shipped(name: str) -> Callable[[Path], dict[str, Any]]:
    """The rubrics and gate of a job of ours, all of them asked: what each system does with the same requests."""

    def make(folder: Path) -> dict[str, Any]:
        shipped = yaml.safe_load((ROOT / "jobs" / f"{name}.yaml").read_text(encoding="utf-8"))
        return _job(folder, shipped["rubrics"], gate=shipped["gate"], early_exit=False)

    return make


JOBS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "early": _early,
    "triplets": _as_shipped("triplets"),
    "prefilter": _as_shipped("prefilter"),
}

# Rounds


def _round(folder: Path, number: int, job: dict[str, Any], systems: list[str]) -> dict[str, Figures]:
    """Every system once."""
    found: dict[str, Figures] = {}
    for each in turned(systems, number):
        if each not in SERVED:
            found[each] = run_system(folder / f"{number}-{each}", each, job, PROGRAM)
        elif each not in found:
            together = turned([other for other in systems if other in SERVED], number)
            found |= _at_server(folder, number, job, together)
    return {each: found[each] for each in systems}


def _at_server(folder: Path, number: int, job: dict[str, Any], systems: list[str]) -> dict[str, Figures]:
    """Those that share a server, whose start counts for each."""
    written = folder / f"{number}-server.yaml"
    written.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
    began = time.time()
    with (folder / f"{number}-server.log").open("wb") as log, served.started(load_job(written), log) as server:
        start = time.time() - began
        found = {each: run_system(folder / f"{number}-{each}", each, job, PROGRAM, server) for each in systems}
    return {each: {**figures, "startup": start + figures["startup"]} for each, figures in found.items()}


_COLUMNS: Mapping[str, tuple[str, Callable[[Figures], float]]] = {
    "records/s": ("{:.2f}", lambda each: each["records"] / each["seconds"]),
    "requests": ("{:,.0f}", lambda each: each["requests"]),
    "prefilled per record": (
        "{:,.0f}",
        lambda each: (each["prompt_tokens"] - each["cached_tokens"]) / each["records"],
    ),
    "hit rate": ("{:.0%}", lambda each: each["cached_tokens"] / each["prompt_tokens"]),
    "generated per record": ("{:,.0f}", lambda each: each["generated_tokens"] / each["records"]),
    "start-up s": ("{:.1f}", lambda each: each["startup"]),
    "peak GiB": ("{:.2f}", lambda each: each["peak_bytes"] / _GIB),
    "cores beside": ("{:.2f}", lambda each: each["beside_cores"]),
    "others' cores": ("{:.2f}", lambda each: each["others_cores"]),
}


def _table(rounds: list[dict[str, Figures]]) -> str:
    lines = [f"| system | {' | '.join(_COLUMNS)} |", f"| --- | {' | '.join('---:' for _ in _COLUMNS)} |"]
    for system in rounds[0]:
        cells = [form.format(median(of(each[system]) for each in rounds)) for form, of in _COLUMNS.values()]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _summary(options: argparse.Namespace, rounds: list[dict[str, Figures]]) -> dict[str, Any]:
    """Ours over each other system: of records/s and of tokens prefilled per record, the rounds' ratios with their
    median."""
    ratios: dict[str, Any] = {}
    for other in rounds[0]:
        if other != "job" and "job" in rounds[0]:
            for name in ("records/s", "prefilled per record"):
                of = _COLUMNS[name][1]
                each = [round(of(r["job"]) / of(r[other]), 3) for r in rounds]
                ratios.setdefault(other, {})[name] = {"median": median(each), "rounds": each}
    medians = {
        system: {name: round(median(of(each[system]) for each in rounds), 4) for name, (_, of) in _COLUMNS.items()}
        for system in rounds[0]
    }
    cores = len(os.sched_getaffinity(0))
    unscored = {system: rounds[-1][system]["unscored"] for system in rounds[0]}
    described = {"job": options.job, "records": options.records, "rounds": len(rounds), "cores": cores}
    return {**described, "systems": medians, "unscored": unscored, "ours_over": ratios}


if __name__ == "__main__":
    sys.exit(main())
