"""What `expected: true` costs: the same job on the embedded judge without it and with it, in turns.

    .venv/bin/python bench/expected.py                            # 40 triplets, three rubrics, one round
    .venv/bin/python bench/expected.py --records 60 --rounds 3    # medians

Each run is `coigw-judge run` in a process of its own with a store of its own; seconds are those of its fill, without
start-up. Prints a table, and as its last line one JSON object. A vocabulary of 8 thousand tokens is listed faster than
one of 150 thousand, and on a GPU other things are slow: measure there before a large run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import workload
import yaml
from regate import run

RUBRICS = ["answer", "query", "thought"]
Figures = dict[str, float]


def main() -> int:
    """Run all rounds; print the table and the JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=40, metavar="N", help="triplets to judge (default: 40)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="runs of each kind (default: 1)")
    parser.add_argument("--reasons", choices=["none", "short", "full"], default="none", help="(default: none)")
    options = parser.parse_args()
    rounds: list[dict[bool, Figures]] = []
    with tempfile.TemporaryDirectory(prefix="coigw-expected-") as name:
        folder = Path(name)
        workload.write(folder / "records.jsonl", options.records)
        for number in range(options.rounds):
            order = (False, True) if number % 2 == 0 else (True, False)
            rounds.append({expected: measure(folder, number, expected, options.reasons) for expected in order})
    medians = {on: {key: median(each[on][key] for each in rounds) for key in rounds[0][on]} for on in (False, True)}
    print(table(medians))
    ratio = median(each[True]["requests_per_s"] / each[False]["requests_per_s"] for each in rounds)
    told = {"records": options.records, "reasons": options.reasons, "ratio": round(ratio, 3), "rounds": rounds}
    print(json.dumps(told))
    return 0


def measure(folder: Path, number: int, expected: bool, reasons: str) -> Figures:
    """One run's figures."""
    place = folder / f"{number}-{expected}"
    place.mkdir()
    job = {
        "name": "expected",
        "input": {"paths": [str(folder / "records.jsonl")]},
        "rubrics": RUBRICS,
        "expected": expected,
        "reasons": reasons,
        "early_exit": False,
        "judge": {"engine": "vllm", "model": "embedded", "retries": 0},
        "max_unscored": 1.0,
    }
    (place / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    print(f"bench: round {number + 1}, expected: {expected}", file=sys.stderr, flush=True)
    run([sys.executable, "-m", "coigw_judge.cli", "run", str(place / "job.yaml")])
    manifest: dict[str, Any] = json.loads(next((place / "runs").glob("*/manifest.json")).read_text(encoding="utf-8"))
    seconds, tokens = manifest["seconds"]["fill"], manifest["tokens"]
    return {
        "requests": manifest["asks"]["made"],
        "seconds": seconds,
        "requests_per_s": manifest["asks"]["made"] / seconds,
        "prompt": tokens["prompt"],
        "prefilled": tokens["prompt"] - tokens["prompt_cached"],
        "generated": tokens["generated"],
        "given": manifest["expected"]["given"],
        "missing": sum(manifest["expected"]["missing"].values()),
    }


def table(medians: dict[bool, Figures]) -> str:
    """The figures for people."""
    lines = ["| expected | requests/s | prompt tokens | prefilled | generated | expected scores | missing |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for on, each in medians.items():
        whole = (f"{each[name]:,.0f}" for name in ("prompt", "prefilled", "generated", "given", "missing"))
        lines.append(f"| {'on' if on else 'off'} | {each['requests_per_s']:.2f} | {' | '.join(whole)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
