"""What further samples near a threshold are worth: wrong decisions and cost on a simulated noisy judge.

    .venv/bin/python bench/borderline.py                           # three levels of noise, five seeds
    .venv/bin/python bench/borderline.py --truth between --shared 0.5 --records 1000

Records have true scores on two rubrics of two dimensions; each sample of a rubric is the truth plus noise, rounded to
the scale as a judge's reply is. Every strategy walks the same records through the job's own Plan and Gate, which say
what is asked next, and is held against the decision that the true scores give. `wrong` counts kept where the truth is
not kept and the other way round; `other` counts any other decision of the three. Tokens are prefilled plus generated
ones: a record's first request prefills it, later ones take it from the cache, and one that was asked before prefills a
block (--record-tokens, --rubric-tokens, --reply-tokens).
Not known here: how noisy a real judge is, and how much of its error it repeats in every sample (--shared).
"""

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan, Subject
from coigw_judge.hashing import digest
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.replies.outcome import Scored

KEYS = {"answer": ("quality", "creativity"), "query": ("quality", "creativity")}
OVER = tuple(f"{rubric}.{key}" for rubric, keys in KEYS.items() for key in keys)
GATE = Gate(total=33, each=8, over=OVER, review_total=2, review_each=1, tops=dict.fromkeys(OVER, 10.0))
BLOCK = 16
STRATEGIES: dict[str, Resampling] = {
    "one sample": Resampling(),
    "everyone x3": Resampling(count=3, borderline=3),
    "everyone x3, no early exit": Resampling(count=3, borderline=3, dropped=True),
    "borderline x3": Resampling(borderline=3),
    "borderline x5": Resampling(borderline=5),
    "everyone x3, mean": Resampling(count=3, borderline=3, use="mean"),
    "borderline x3, mean": Resampling(borderline=3, use="mean"),
}
Scores = dict[str, float]


def main() -> int:
    """Simulate; print a table per level of noise, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5, help="crawls and noises drawn per level (default: 5)")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.4, 0.8, 1.2], help="standard deviations in points")
    parser.add_argument("--shared", type=float, default=0.0, help="share of its variance that all samples repeat")
    parser.add_argument("--truth", choices=("whole", "between"), default="whole", help="true scores: whole, or any")
    parser.add_argument("--each", type=float, default=8.0, help="the gate's threshold for each score (default: 8)")
    parser.add_argument("--band", type=float, default=1.0, help="the gate's review band for each score (default: 1)")
    parser.add_argument("--record-tokens", type=int, default=1200)
    parser.add_argument("--rubric-tokens", type=int, default=600)
    parser.add_argument("--reply-tokens", type=int, default=60)
    options = parser.parse_args()
    found = []
    for noise in options.noise:
        rows = measured(options, noise)
        print(f"\nnoise {noise:g} points, {100 * options.shared:g}% of it shared, truth {options.truth}\n{table(rows)}")
        found.append({"noise": noise, "strategies": rows})
    print(json.dumps({**vars(options), "levels": found}))
    return 0


def measured(options: argparse.Namespace, noise: float) -> dict[str, dict[str, float]]:
    """Every strategy on the same records and the same noise."""
    sums = {name: Counter[str]() for name in STRATEGIES}
    gate = replace(GATE, each=options.each, review_each=options.band)
    plans = {name: plan_for(samples, gate) for name, samples in STRATEGIES.items()}
    for seed in range(options.seeds):
        for number, (truth, first) in enumerate(crawl(options, seed)):
            judge = noisy(truth, first, noise, options, f"{seed}/{number}")
            right = gate.decide(truth).decision
            for name, plan in plans.items():
                sums[name].update(walk(plan, judge, options, right, number))
    return {name: priced(counts, sums["one sample"]) for name, counts in sums.items()}


def crawl(options: argparse.Namespace, seed: int) -> Iterator[tuple[Scores, Scores]]:
    """True scores by dimension, correlated within a record; and the part of the noise that all its samples repeat."""
    draw = random.Random(seed)
    for _ in range(options.records):
        level = draw.gauss(8.2, 1.1)
        truth = {name: min(10.0, max(0.0, level + draw.gauss(0, 0.7))) for name in OVER}
        if options.truth == "whole":
            truth = {name: float(round(value)) for name, value in truth.items()}
        yield truth, {name: draw.gauss(0, 1) for name in OVER}


def noisy(
    truth: Scores, shared: Scores, noise: float, options: argparse.Namespace, seed: str
) -> Callable[[str, int], Scored]:
    """A judge of one record: the same answer to the same sample, whoever asks."""

    def answer(rubric: str, sample: int) -> Scored:
        draw = random.Random(f"{seed}/{rubric}/{sample}")
        scores = {}
        for key in KEYS[rubric]:
            name = f"{rubric}.{key}"
            own = math.sqrt(1 - options.shared) * draw.gauss(0, 1) + math.sqrt(options.shared) * shared[name]
            scores[key] = float(min(10, max(0, round(truth[name] + noise * own))))
        return Scored(scores=scores)

    return answer


def plan_for(samples: Resampling, gate: Gate) -> Plan:
    """The plan of a job with this gate."""
    rubrics = tuple(map(rubric, KEYS))
    prints = {name: name for name in KEYS}
    return Plan(rubrics, (), gate, prints, early_exit=not samples.dropped, samples=samples)


def rubric(name: str) -> Rubric:
    """A rubric of these dimensions; what it says plays no part here."""
    dimensions = [
        {"key": key, "title": key, "criteria": {"看": "什么"}, "anchors": {10: "极好", 8: "好", 6: "平", 3: "差"}}
        for key in KEYS[name]
    ]
    return Rubric.model_validate(
        {"name": name, "title": name, "reads": ("answer",), "prompt": name, "dimensions": dimensions}
    )


def walk(
    plan: Plan, judge: Callable[[str, int], Scored], options: argparse.Namespace, right: str, number: int
) -> Counter[str]:
    """Ask one record as a fill does; what it cost, and whether the decision is the true one."""
    record = Subject({"answer": digest([str(number).encode()])}, None)
    facts: dict[bytes, Any] = {}
    counts: Counter[str] = Counter(records=1)
    asked: set[str] = set()
    while needs := plan.next(record, facts):
        for need in needs:
            facts[need.key] = judge(need.rubric, need.sample)
            counts["requests"] += 1
            counts["tokens"] += options.reply_tokens + prefilled(asked, need.rubric, options)
            asked.add(need.rubric)
    reached = plan.reached(record, facts)
    decision, _ = reached.card.final(plan.gate, complete=True)
    counts["other"] += decision != right
    counts["wrong"] += (decision == "kept") != (right == "kept")
    counts["wrongly_kept"] += decision == "kept" != right
    counts["resampled"] += bool(reached.due)
    return counts


def prefilled(asked: set[str], name: str, options: argparse.Namespace) -> int:
    """Prompt tokens of a request that are in no cache."""
    if name in asked:
        return BLOCK
    return int(options.rubric_tokens) + (0 if asked else int(options.record_tokens))


def priced(counts: Counter[str], one: Counter[str]) -> dict[str, float]:
    """The figures of a strategy, with what it gained over one sample per what it took more."""
    extra, tokens = counts["requests"] - one["requests"], counts["tokens"] - one["tokens"]
    avoided = one["wrong"] - counts["wrong"]
    return {
        "wrong_percent": 100 * counts["wrong"] / counts["records"],
        "wrongly_kept_percent": 100 * counts["wrongly_kept"] / counts["records"],
        "other_percent": 100 * counts["other"] / counts["records"],
        "requests_each": counts["requests"] / counts["records"],
        "tokens_each": counts["tokens"] / counts["records"],
        "resampled_percent": 100 * counts["resampled"] / counts["records"],
        "avoided_per_1000_extra_requests": 1000 * avoided / extra if extra else 0.0,
        "avoided_per_million_extra_tokens": 1e6 * avoided / tokens if tokens else 0.0,
    }


_COLUMNS = {
    "wrong": ("wrong_percent", ".1f", "%"),
    "wrongly kept": ("wrongly_kept_percent", ".1f", "%"),
    "other decision": ("other_percent", ".1f", "%"),
    "asked again": ("resampled_percent", ".0f", "%"),
    "requests": ("requests_each", ".2f", ""),
    "tokens": ("tokens_each", ",.0f", ""),
    "avoided per 1,000 extra requests": ("avoided_per_1000_extra_requests", ".0f", ""),
    "per million extra tokens": ("avoided_per_million_extra_tokens", ".0f", ""),
}


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown."""
    lines = [f"| strategy | {' | '.join(_COLUMNS)} |", "| --- |" + " ---: |" * len(_COLUMNS)]
    for name, row in rows.items():
        cells = [f"{row[key]:{form}}{unit}" for key, form, unit in _COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
