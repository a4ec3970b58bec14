"""What a crawl of the paper's lengths costs: `coigw-judge plan` over a sample, scaled to 100 thousand rows and more.

    python bench/sizing.py                                                # tokens of the embedded judge's tokenizer
    python bench/sizing.py --model Qwen/Qwen3-235B-A22B-FP8 --rate prefill=12000,decode=2000

Rates are yours: nothing here was measured on a GPU. Without facts of a real judge no early exit is taken to happen and
replies are as long as the schema allows; so requests and generated tokens are upper bounds.
Not known here: how the figures come about (coigw_judge/estimate/).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import workload

ROOT = Path(__file__).parents[1]
SIZES = (100_000, 1_000_000, 10_000_000)
JOBS = {"prefilter": "articles", "triplets": "triplets"}
_TITLES = ("rows", "requests", "prompt tokens", "prefilled", "generated", "GPU hours")


def main() -> int:
    """Print the tables, as Markdown."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="coigw-sizing-") as name:
        folder = Path(name)
        _write(folder, options.records)
        for job, rows in JOBS.items():
            print("\n".join(_tables(job, rows, _plan(folder, job, rows, options), options)), end="\n\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1000, metavar="N", help="sampled records (default: 1000)")
    parser.add_argument("--model", default="embedded", help="whose tokenizer counts (default: embedded)")
    parser.add_argument("--gpus", type=float, default=4, metavar="N", help="GPUs of a replica (default: 4)")
    parser.add_argument("--rate", help="prefill=TOKENS,decode=TOKENS per second and replica (default: a formula)")
    parser.add_argument("--reasons", choices=["none", "short", "full"], default="short", help="(default: short)")
    return parser.parse_args()


def _write(folder: Path, records: int) -> None:
    workload.write(folder / "triplets.jsonl", records)
    with (folder / "triplets.jsonl").open(encoding="utf-8") as rows, (folder / "articles.jsonl").open("w") as articles:
        for line in rows:
            row = json.loads(line)
            articles.write(json.dumps({"id": row["id"], "answer": row["answer"]}) + "\n")


def _plan(folder: Path, job: str, rows: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "coigw_judge.cli", "plan", str(ROOT / "jobs" / f"{job}.yaml"), "--json"]
    command += [
        "--input",
        str(folder / f"{rows}.jsonl"),
        "--store",
        str(folder / "facts"),
        "--out",
        str(folder / "runs"),
    ]
    command += ["--sample", str(options.records), "--set", f"judge.model={options.model}", "--set", "early_exit=false"]
    command += ["--set", f"judge.gpus_per_replica={options.gpus:g}", "--set", f"reasons={options.reasons}"]
    command += ["--set", "judge.engine_args={block_size: 16}"]  # as on GPUs
    command += ["--rate", options.rate] if options.rate else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: plan failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _tables(job: str, rows: str, made: dict[str, Any], options: argparse.Namespace) -> list[str]:
    totals = made["totals"]
    each = [totals[name] / made["rows"] for name in ("requests", "prompt", "prefilled", "generated")]
    hours = (
        "" if made["seconds"] is None else made["seconds"][0] * made["replicas"][0] * options.gpus / 3600 / made["rows"]
    )
    lines = [
        f"jobs/{job}.yaml over {rows}; tokens of {options.model}, reasons: {options.reasons}, all rubrics of every row:"
    ]
    lines += ["", f"| {' | '.join(_TITLES)} |", f"|{' ---: |' * len(_TITLES)}"]
    for size in SIZES:
        cells = [f"{size:,}", *(_large(value * size) for value in each)]
        cells.append(f"{hours * size:,.0f}" if hours else f"{options.gpus:g} × (prefilled ÷ P + generated ÷ D) ÷ 3,600")
        lines.append(f"| {' | '.join(cells)} |")
    if options.rate:
        return [
            *lines,
            "",
            f"GPU hours at {options.rate} (tokens per second and replica of {options.gpus:g} GPUs), as given.",
        ]
    return [
        *lines,
        "",
        "P, D: tokens that one replica prefills and generates per second; measure them (run --limit 200).",
    ]


def _large(value: float) -> str:
    """Three digits and a unit."""
    for unit, step in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= step:
            return f"{value / step:,.3g} {unit}"
    return f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
