"""The order of asks: what the suggested one saves on a crawl with known failure rates, beside what theory says.

    .venv/bin/python bench/order.py                     # 6,000 records, the share asked in full as a job has it
    .venv/bin/python bench/order.py --records 20000

Two crawls: in one the rubrics fail independently, in the other together (who fails at a low rate fails at every higher
one). Each is judged in the order of the job and, with an empty store, in the order that the first run suggests; the
route is `run` through the command line, the judge known_judge.py. Theory is the product of pass rates (or the lowest of
them) times what each ask adds, from the rates that the judge was given; the suggestion knows only the records that were
asked in full. Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import yaml
from known_judge import REPLY_TOKENS, length
from regate import run

from coigw_judge.job.job import LoadedJob, load_job
from coigw_judge.prompting.template import delimited

FAILS = {"coherence": 0.05, "query": 0.3, "thought": 0.5, "usability": 0.35}
"""In the order that the job lists, from a job that begins with the strictest question."""

GATE = {"over": ["query", "thought", "usability"], "each": 8, "require": ["coherence"]}
LENGTHS = {"query": (40, 160), "thought": (200, 600), "answer": (300, 1200)}
_TEXT = "雨停了巷口的修表匠把灯拧亮他说这只表走得慢是因为它替谁等过人河水退下去以后石阶上留着一圈一圈的印子"


def main() -> int:
    """Judge both crawls in both orders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=6000, metavar="N")
    parser.add_argument("--exhaustive", type=float, metavar="SHARE", help="asked in full (default: as a job has it)")
    options = parser.parse_args()
    found = []
    print("| rates | order | requests per record: theory | measured | tokens per record: theory | measured |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory(prefix="coigw-order-") as name:
        folder = Path(name)
        write(folder / "rows.jsonl", options.records)
        for together in (False, True):
            found.append(_case(folder / ("together" if together else "independent"), together, options.exhaustive))
    for each in found:
        print(f"\n{each['rates']}: saved {each['saved_measured']:.1%}, by theory {each['saved_theory']:.1%}; ", end="")
        print(f"the suggestion said {each['suggestion']['saving']:.1%} ", end="")
        print(f"({each['suggestion']['low']:.1%} to {each['suggestion']['high']:.1%}) ", end="")
        print(f"by {each['suggestion']['records']} records; the best of all orders saves {each['saved_best']:.1%}")
    print(json.dumps({"records": options.records, "fails": FAILS, "cases": found}, ensure_ascii=False))
    return 0


def write(path: Path, count: int, seed: int = 3) -> None:
    """Triplets of random lengths, no two alike."""
    dice = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {"id": f"r{number}"}
            for field, (least, most) in LENGTHS.items():
                text = f"{field}{number}。" + _TEXT[dice.randrange(len(_TEXT)) :] + _TEXT * (most // len(_TEXT) + 1)
                row[field] = text[: dice.randrange(least, most)]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _case(folder: Path, together: bool, exhaustive: float | None) -> dict[str, Any]:
    """One crawl in the listed order, and in the one that this run suggests."""
    folder.mkdir()
    listed = list(FAILS)
    first = _run(folder, listed, together, exhaustive)
    suggestion = first["order"]
    if not suggestion["suggested"]:
        raise SystemExit(f"bench: nothing was suggested ({suggestion['why']}); take more --records")
    second = _run(folder, suggestion["suggested"], together, exhaustive)
    if first["decisions"] != second["decisions"]:
        raise SystemExit(f"bench: the orders decide differently: {first['decisions']}, {second['decisions']}")
    share = first["exhaustive"]["share"]
    job = load_job(folder / "job.yaml")
    costs = Costs(job, folder.parent / "rows.jsonl")
    rates = "together" if together else "independent"
    rows = []
    for order, manifest in ((listed, first), (suggestion["suggested"], second)):
        requests, tokens = theory(order, costs, together, share)
        made = measured(manifest)
        rows.append({"order": order, "theory": [requests, tokens], "measured": list(made)})
        cells = f"{requests:.3f} | {made[0]:.3f} | {tokens:,.0f} | {made[1]:,.0f}"
        print(f"| {rates} | {', '.join(order)} | {cells} |", flush=True)
    best = min(theory(order, costs, together, share)[1] for order in permutations(listed))
    return {
        "rates": rates,
        "runs": rows,
        "saved_measured": 1 - rows[1]["measured"][1] / rows[0]["measured"][1],
        "saved_theory": 1 - rows[1]["theory"][1] / rows[0]["theory"][1],
        "saved_best": 1 - best / rows[0]["theory"][1],
        "suggestion": {name: suggestion[name] for name in ("records", "saving", "low", "high")},
    }


def _run(folder: Path, order: Sequence[str], together: bool, exhaustive: float | None) -> dict[str, Any]:
    """`run` in a process of its own with an empty store; its manifest."""
    name = "-".join(order)
    job = {
        "name": "order",
        "input": {"paths": [str(folder.parent / "rows.jsonl")]},
        "rubrics": list(order),
        "gate": GATE,
        "reasons": "none",
        "judge": {"engine": "known_judge:KnownJudge", "options": {"fails": FAILS, "together": together}},
        "samples": {} if exhaustive is None else {"exhaustive": exhaustive},
        "screen": {"injection": "flag", "repetition": "off"},
        "write": [],
        "store": str(folder / name / "facts"),
        "out": str(folder / name / "runs"),
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
    run([sys.executable, "-m", "coigw_judge.cli", "run", str(folder / "job.yaml")])
    (manifest,) = (folder / name / "runs").glob("*/manifest.json")
    return json.loads(manifest.read_text(encoding="utf-8"))


def measured(manifest: dict[str, Any]) -> tuple[float, float]:
    """Requests per record, and tokens prefilled or generated."""
    tokens, rows = manifest["tokens"], manifest["rows_in"]
    spent = tokens["prompt"] - tokens["prompt_cached"] + tokens["generated"]
    return manifest["asks"]["made"] / rows, spent / rows


class Costs:
    """What each ask adds on average over the whole crawl, counted as the judge counts it."""

    def __init__(self, job: LoadedJob, rows: Path) -> None:
        self.fields = {rubric.name: rubric.fields for rubric in job.rubrics}
        self._tasks = {r.name: length((job.templates[r.name].task(None),)) for r in job.rubrics}
        sums = dict.fromkeys(LENGTHS, 0)
        count = 0
        for row in _rows(rows):
            count += 1
            for field in LENGTHS:
                sums[field] += length((delimited(field, row[field]),))
        self._sizes = {field: total / count for field, total in sums.items()}

    def ask(self, name: str, before: Sequence[str]) -> float:
        """Tokens of a rubric's ask after these: the fields with which no earlier prompt began, task and reply."""
        mine = self.fields[name]
        begun = {self.fields[other][:n] for other in before for n in range(1, len(LENGTHS) + 1)}
        shared = max((n for n in range(1, len(mine) + 1) if mine[:n] in begun), default=0)
        return self._tasks[name] + sum(self._sizes[field] for field in mine[shared:]) + REPLY_TOKENS


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def theory(order: Sequence[str], costs: Costs, together: bool, share: float) -> tuple[float, float]:
    """Requests and tokens per record, where a share of the records is asked everything."""
    requests = tokens = 0.0
    for n, name in enumerate(order):
        passes = [1 - FAILS[other] for other in order[:n]]
        reached = min(passes, default=1.0) if together else math.prod(passes)
        asked = share + (1 - share) * reached
        requests += asked
        tokens += asked * costs.ask(name, order[:n])
    return requests, tokens


if __name__ == "__main__":
    sys.exit(main())
