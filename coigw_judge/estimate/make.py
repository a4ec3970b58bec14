"""Makes the estimate of a run: its requests, tokens, time and bytes.

    scan and store, or a sample  ->  which rubrics records wait for       (counts)
    facts of the same judge      ->  how likely each is asked, tries, length of replies
    sampled texts, tokenised     ->  tokens of each request, and how many of them are cached
    rates given or measured      ->  seconds, GPU hours
    encoded sample, facts        ->  bytes

After a scan, counts are exact and only tokens are sampled. Before one, both are sampled: duplicates are not known, and
the sample's numbers are scaled by the rows that each place stands for. Every number says where it is from (`exact`,
`sampled`, `facts`, `assumed`); what is not known is None and never a guess.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from coigw_judge.estimate import disk
from coigw_judge.estimate.ask_order import lengths, suggestion
from coigw_judge.estimate.estimate import Asked, RunEstimate
from coigw_judge.estimate.history import look
from coigw_judge.estimate.prompt_tokens import as_shown, instruments, interval, mean_lengths
from coigw_judge.estimate.sample import packed_bytes
from coigw_judge.estimate.sampled_standing import Inquiry, State, states_of
from coigw_judge.estimate.speed import Rates
from coigw_judge.job.recipe import Recipe, make_recipe
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Yardstick
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.records.record import Record
from coigw_judge.standing.survey import RubricAsks, SurveyCounts
from coigw_judge.storage.paths import is_uri

SAMPLE_RECORDS = 2_000
RUN_SAMPLE = 400
"""Records that a run samples for its own estimate: a second or two of tokenising."""


def make(inquiry: Inquiry) -> RunEstimate:
    """The estimate. Raises FixStore for a store that cannot be read."""
    job, plan, sample = inquiry.job, inquiry.planned.plan, inquiry.sample
    pairs, reasons = inquiry.planned.pairs, job.config.reasons
    inquiry.history = history = look(inquiry.store, inquiry.parts, plan, pairs, reasons, share=inquiry.share)
    measure, encoder, why_not = instruments(job)
    shown, long = as_shown(job, sample.records, measure)
    states, counted = states_of(inquiry, shown)
    counts = counted if inquiry.counts is None else inquiry.counts
    recipe = make_recipe(job, plan, "", "", False)
    rubrics, between = _rubrics(inquiry, counts, states, recipe, encoder, measure)
    notes = [f"tokens are not counted here: {why_not}"] if why_not else []
    made = RunEstimate(
        job=job.config.name,
        model=inquiry.planned.identity.model,
        rows=sample.rows,
        counted="sampled" if inquiry.counts is None else "exact",
        unreadable=sample.unreadable,
        settled=inquiry.settled,
        sampled=len(sample.records),
        places=len(set(sample.places)),
        whole=sample.whole,
        long_records=long,
        long_text=job.config.long_text,
        early_exit=plan.early_exit,
        records_seen=history.records,
        complete=history.complete,
        passes=history.passes,
        near=history.near,
        samples=plan.samples,
        reasons=job.config.reasons,
        block=None if encoder is None else engine_of(job.config.judge).cache_block(),
        rubrics=rubrics,
        prompt_low=between[0],
        prompt_high=between[1],
        replicas=job.config.judge.replica_range,
        gpus_per_replica=inquiry.gpus,
        rate_from=inquiry.rates.source,
        rate=_rate(inquiry.rates),
        startup=None if inquiry.rates.measured is None else inquiry.rates.measured.startup,
        seconds=None,
        price_per_gpu_hour=inquiry.rates.given.price_per_gpu_hour,
        bytes={},
        fact_bytes_from="",
        rooms=(),
        notes=tuple(notes),
        order=_order(inquiry, [state.shown for state in states], encoder) if inquiry.order else None,
    )
    made = replace(made, seconds=_seconds(made, inquiry.rates))
    return _with_bytes(made, inquiry, recipe)


def _rate(rates: Rates) -> dict[str, Any]:
    if rates.source == "given":
        return {"prefill": rates.given.prefill, "decode": rates.given.decode}
    if rates.measured is None:
        return {}
    per_second = {"tokens_per_second": rates.measured.tokens_per_second}
    return asdict(rates.measured) | per_second | {"requests_per_second": rates.measured.requests_per_second}


def _seconds(made: RunEstimate, rates: Rates) -> tuple[float, float] | None:
    alone = rates.seconds(made.requests, made.prefilled, made.total("generated"))
    return None if alone is None else (alone / made.replicas[0], alone / made.replicas[1])


def _order(inquiry: Inquiry, shown: Sequence[Record], encoder: Encoder | None) -> dict[str, Any] | None:
    """The order of asks, as JSON: a suggestion, or why there is none."""
    job, history = inquiry.job, inquiry.history
    measured = partial(lengths.measure, job, shown, history.spent, inquiry.rates, encoder)
    return suggestion.as_json(suggestion.ordering(inquiry.planned.plan, history.share, measured))


# Tokens


def _rubrics(
    inquiry: Inquiry,
    counts: SurveyCounts,
    states: Sequence[State],
    recipe: Recipe,
    encoder: Encoder | None,
    measure: Yardstick | None,
) -> tuple[tuple[Asked, ...], tuple[float | None, float | None]]:
    """Every rubric's numbers, and the interval of all prompt tokens."""
    job, history = inquiry.job, inquiry.history
    expected = _expected(inquiry, counts, SampleKind.FIRST, SampleKind.IN_FULL)
    again = _expected(inquiry, counts, SampleKind.REPEAT)
    further = further_asks(inquiry, counts)
    more = again + further
    sums, means = None, None
    if encoder is not None and measure is not None:
        sums, means = mean_lengths(inquiry, states, recipe, encoder, measure.context, expected + more)
    rubrics = []
    for n, rubric in enumerate(job.all_rubrics):
        spent, name = history.spent.get(rubric.name), rubric.name
        asks = counts.asks.get(name, RubricAsks())
        tries = spent.tries if spent else 1.0
        prompt = cached = long = None
        source = ""
        if means is not None:
            length, hit, full, over = means[n].tolist()
            source = "sampled"
            prompt = (expected[name] + more[name]) * length * tries
            cached = expected[name] * (hit + (tries - 1) * full) + more[name] * tries * full
            long = expected[name] * over
        elif spent and spent.prompt:
            source = "facts"
            prompt, cached = ((expected[name] + more[name]) * value for value in (spent.prompt, spent.cached))
        reply = _reply_tokens(inquiry, n, recipe, states, encoder)
        rubrics.append(
            Asked(
                name=name,
                then=rubric in job.then,
                expected=expected[name],
                again=again[name],
                further=further[name],
                prompt=prompt,
                cached=cached,
                generated=None if reply is None else (expected[name] + more[name] - (long or 0.0)) * reply,
                too_long=long,
                lengths_from=source,
                replies_from="facts" if spent else "" if reply is None else "assumed",
                ends=history.ends(name),
                reached=history.reached.get(name, 0),
                facts=spent.facts if spent else 0,
                applies=float(asks.applies),
                known=float(asks.in_store),
                failed=float(asks.failed),
                spared=float(asks.spared),
                open=float(asks.open),
            )
        )
    return tuple(rubrics), interval(inquiry, sums, expected, rubrics)


def _expected(inquiry: Inquiry, counts: SurveyCounts, *kinds: SampleKind) -> Counter[str]:
    """How many requests of each rubric are likely made for these kinds of sample."""
    expected: Counter[str] = Counter()
    for waits, count in counts.waiting.items():
        if waits.kind in kinds:
            chances = inquiry.history.chances(inquiry.planned.plan, waits.rubrics, waits.kind)
            for name, chance in zip(waits.rubrics, chances, strict=True):
                expected[name] += count * chance  # type: ignore[assignment]
    return expected


def further_asks(inquiry: Inquiry, counts: SurveyCounts) -> Counter[str]:
    """How many further samples of each rubric are likely asked: those that are open now, and those to which open first
    samples will lead."""
    asks: Counter[str] = Counter()
    for waits, count in counts.waiting.items():
        likely: Mapping[str, float] = {}
        if waits.kind is SampleKind.FURTHER:
            likely = Counter(waits.rubrics)
        elif waits.kind.decides:
            likely = inquiry.history.further_samples(inquiry.planned.plan, waits.rubrics)
        for name, samples in likely.items():
            asks[name] += count * samples  # type: ignore[assignment]
    return asks


def _reply_tokens(
    inquiry: Inquiry, number: int, recipe: Recipe, states: Sequence[State], encoder: Encoder | None
) -> float | None:
    """Tokens generated for a request, over all its tries: the facts' mean, else as many as the schema allows."""
    rubric = inquiry.job.all_rubrics[number]
    spent = inquiry.history.spent.get(rubric.name)
    if spent:
        return spent.generated
    if encoder is None or not states:
        return None
    judge = inquiry.job.config.judge
    chosen = states[:: max(1, len(states) // 20)]
    replies = [disk.longest_reply(recipe.schemas[rubric.name], state.shown.texts["answer"]) for state in chosen]
    sizes = [encoder.count(json.dumps(reply, ensure_ascii=False, separators=(",", ":"))) + 1 for reply in replies]
    return float(np.mean(sizes)) + (judge.thinking_tokens if judge.thinking else 0)


# Bytes


def _with_bytes(made: RunEstimate, inquiry: Inquiry, recipe: Recipe) -> RunEstimate:
    """The estimate with what the run leaves on disk."""
    job, sample, history = inquiry.job, inquiry.sample, inquiry.history
    bytes_of = {r.name: disk.fact_bytes(r, recipe.schemas[r.name], sample.records) for r in job.all_rubrics}
    facts = sum(
        a.requests * (bytes_of[a.name][0] if history.bytes_each is None else history.bytes_each) for a in made.rubrics
    )
    held = sum((a.requests + a.known) * bytes_of[a.name][1] for a in made.rubrics)
    scan = made.rows * disk.scan_bytes(sample.records)
    kept = 1.0
    for rubric in job.rubrics:
        kept *= 1 - history.ends(rubric.name)
    written = kept * history.passes * made.rows if job.config.write else 0.0
    if "all" in job.config.write:
        written = made.rows
    needed = {
        "facts": facts,
        "scan": scan,
        "work": max(scan, held),
        "verdicts": made.rows * disk.verdict_bytes(inquiry.planned.plan, recipe.schemas, sample.records),
        "folders": written * packed_bytes(sample.raws[:300]),
    }
    store = needed["facts"] + needed["work"] + (needed["scan"] if inquiry.counts is None else 0.0)
    paths = {job.store: store, job.out: needed["verdicts"] + needed["folders"]}
    source = "assumed" if history.bytes_each is None else "facts"
    local = {path: size for path, size in paths.items() if not is_uri(path)}
    return replace(made, bytes=needed, fact_bytes_from=source, rooms=tuple(disk.rooms(local)))
