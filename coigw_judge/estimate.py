"""What a run would ask, prefill, generate, take and leave behind; and afterwards, how far off that was.

    scan and store, or a sample  ->  who waits for which rubrics          (counts)
    facts of the same judge      ->  how likely each is asked, tries, length of replies
    sampled texts, tokenised     ->  tokens of each request, and how many of them are cached
    rates given or measured      ->  seconds, GPU hours
    encoded sample, facts        ->  bytes

Where a scan is there, counts are exact and only tokens are sampled. Before one, both are: duplicates are not known
then, and all that the sample says is scaled by the rows that each place stands for. Every number carries where it is
from (`exact`, `sampled`, `facts`, `assumed`); what is not known is None and never a guess.
Not known here: how a plan is printed, Ray, what an engine really does.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge import estimate_disk as disk
from coigw_judge.asks import Planned, head_tail, reserve
from coigw_judge.errors import FixJudge
from coigw_judge.estimate_facts import Seen, look
from coigw_judge.estimate_sample import Sample, packed_bytes
from coigw_judge.estimate_time import Rates
from coigw_judge.estimate_tokens import PrefixCache
from coigw_judge.facts import DECIDING_COLUMNS, earliest, of_pairs, outcomes
from coigw_judge.fill import Recipe, make_recipe
from coigw_judge.headtail import fit, too_long
from coigw_judge.job import LoadedJob
from coigw_judge.judges import Yardstick, yardstick
from coigw_judge.paths import is_uri
from coigw_judge.plan import Plan, Subject, applies
from coigw_judge.record import Record, record_digest
from coigw_judge.reply import Scored, Unscored
from coigw_judge.rubric import Reasons
from coigw_judge.store import Store
from coigw_judge.tokens import Encoder

SAMPLE_RECORDS = 2_000
RUN_SAMPLE = 400
"""Records that a run samples for its own estimate: a second or two of tokenising."""

_LOOKED_UP = 1 << 30
"""Bytes of facts up to which a run looks its sampled records up in the store; the dry run does always."""

_DRAWS = 400
_LEAST_PLACES = 8

Facts = dict[bytes, Scored | Unscored]


@dataclass(slots=True)
class Counts:
    """Per rubric how many requests apply, are known, failed, spared and open at the most (`asks`, as verdict.survey
    names them), and of records by the rubrics that they wait for."""

    asks: Mapping[str, float]
    waiting: Mapping[str, float]
    waiting_again: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One rubric. Requests: `applies` = `known` + `spared` + `open`; `expected` of the open ones are likely made,
    and `again` of second samples. Tokens of all expected requests over all their tries, None where not known."""

    name: str
    then: bool
    applies: float
    known: float
    failed: float
    spared: float
    open: float
    expected: float
    again: float
    prompt: float | None
    cached: float | None
    generated: float | None
    too_long: float | None
    lengths_from: str
    replies_from: str
    ends: float
    reached: int
    facts: int

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return self.expected + self.again


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A whole plan. `counted`: `exact` (from the scan) or `sampled`. `prompt_low`, `prompt_high`: where the prompt
    tokens lie in 95 of 100 samples (None: no error, or too few places to tell). Times in seconds; `seconds` is the
    fill's, for the fewest and the most replicas; bytes by what takes them."""

    job: str
    model: str
    rows: float
    counted: str
    unreadable: float
    settled: float | None
    sampled: int
    places: int
    whole: bool
    long_records: int | None
    long_text: str
    early_exit: bool
    records_seen: int
    complete: int
    passes: float
    reasons: Reasons
    block: int | None
    rubrics: tuple[Asked, ...]
    prompt_low: float | None
    prompt_high: float | None
    replicas: tuple[int, int]
    gpus_per_replica: float
    rate_from: str
    rate: Mapping[str, Any]
    startup: float | None
    seconds: tuple[float, float] | None
    price_per_gpu_hour: float | None
    bytes: Mapping[str, float]
    fact_bytes_from: str
    rooms: tuple[disk.Room, ...]
    notes: tuple[str, ...] = ()

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return sum(each.requests for each in self.rubrics)

    @property
    def at_most(self) -> float:
        """Requests that are open at the most, second samples included."""
        return sum(each.open + each.again for each in self.rubrics)

    def total(self, name: str) -> float | None:
        """The sum of a token column; None where a rubric that is asked has none."""
        values = [getattr(each, name) for each in self.rubrics if each.requests]
        return None if any(value is None for value in values) else float(sum(values))

    @property
    def prefilled(self) -> float | None:
        """Prompt tokens that are in no cache."""
        prompt, cached = self.total("prompt"), self.total("cached")
        return None if prompt is None or cached is None else prompt - cached

    @property
    def gpu_hours(self) -> tuple[float, float] | None:
        """GPU hours with the fewest and the most replicas, their start included where it is known."""
        if self.seconds is None or not self.gpus_per_replica:
            return None
        hours = [
            n * self.gpus_per_replica * (each + (self.startup or 0.0)) / 3600
            for n, each in zip(self.replicas, self.seconds, strict=True)
        ]
        return hours[0], hours[1]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, with the totals."""
        totals = {"requests": self.requests, "requests_at_most": self.at_most, "prefilled": self.prefilled}
        totals |= {name: self.total(name) for name in ("prompt", "cached", "generated", "too_long")}
        return {**asdict(self), "totals": totals, "gpu_hours": self.gpu_hours}

    def short(self) -> dict[str, Any]:
        """What a manifest keeps, to be held against what happened."""
        generated = {each.name: each.replies_from for each in self.rubrics if each.requests}
        return {
            "requests": round(self.requests),
            "requests_at_most": round(self.at_most),
            "prompt_tokens": _whole(self.total("prompt")),
            "cached_tokens": _whole(self.total("cached")),
            "generated_tokens": _whole(self.total("generated")),
            "seconds": None if self.seconds is None else round(self.seconds[1], 1),
            "sampled": self.sampled,
            "whole": self.whole,
            "replies_from": generated,
            "rate_from": self.rate_from,
        }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


@dataclass(slots=True)
class _State:
    """A sampled record: its texts as shown, what it waits for, in order, and its genre."""

    shown: Record
    genre: str | None
    waiting: tuple[str, ...]
    applicable: tuple[str, ...]
    place: int
    weight: float


@dataclass(slots=True)
class _Sums:
    """Weighted sums per place and rubric: requests, prompt tokens, cached ones, those cached when asked once more,
    and requests too long to be sent."""

    values: np.ndarray[Any, np.dtype[np.float64]]
    names: tuple[str, ...]

    def means(self, drawn: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Per rubric the mean of each but the first, over all places or as often as `drawn` says."""
        sums = self.values.sum(axis=0) if drawn is None else np.tensordot(drawn, self.values, axes=1)
        counts = sums[:, :1]
        return np.asarray(np.divide(sums[:, 1:], counts, out=np.zeros_like(sums[:, 1:]), where=counts > 0))


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """What an estimate is made from. `counts` None: the sample tells them, because there is no scan."""

    job: LoadedJob
    store: Store
    planned: Planned
    sample: Sample
    counts: Counts | None
    rates: Rates
    gpus: float
    settled: float | None = None
    retry: bool = False
    look_up: bool = True
    seen: Seen = field(default_factory=Seen)


def make(inquiry: Inquiry) -> Estimate:
    """Work it out. Raises FixStore for a store that can not be read."""
    job, plan, sample = inquiry.job, inquiry.planned.plan, inquiry.sample
    inquiry.seen = seen = look(inquiry.store, plan, inquiry.planned.pairs)
    measure, encoder, why_not = instruments(job)
    shown, long = as_shown(job, sample.records, measure)
    states, counted = _states(inquiry, shown)
    counts = counted if inquiry.counts is None else inquiry.counts
    recipe = make_recipe(job, plan, "", "", False)
    rubrics, interval = _rubrics(inquiry, counts, states, recipe, encoder, measure)
    notes = [f"tokens are not counted here: {why_not}"] if why_not else []
    made = Estimate(
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
        records_seen=seen.records,
        complete=seen.complete,
        passes=seen.passes,
        reasons=job.config.reasons,
        block=None if encoder is None else _block(job),
        rubrics=rubrics,
        prompt_low=interval[0],
        prompt_high=interval[1],
        replicas=replicas(job),
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
    )
    made = replace(made, seconds=_seconds(made, inquiry.rates))
    return _with_bytes(made, inquiry, recipe)


def replicas(job: LoadedJob) -> tuple[int, int]:
    """Engines: the least and the most."""
    stated = job.config.judge.replicas
    return (stated, stated) if isinstance(stated, int) else stated


def _rate(rates: Rates) -> dict[str, Any]:
    if rates.source == "given":
        return {"prefill": rates.given.prefill, "decode": rates.given.decode}
    if rates.measured is None:
        return {}
    per_second = {"tokens_per_second": rates.measured.tokens_per_second}
    return asdict(rates.measured) | per_second | {"requests_per_second": rates.measured.requests_per_second}


def _seconds(made: Estimate, rates: Rates) -> tuple[float, float] | None:
    alone = rates.seconds(made.requests, made.prefilled, made.total("generated"))
    return None if alone is None else (alone / made.replicas[0], alone / made.replicas[1])


# What to measure with


def instruments(job: LoadedJob) -> tuple[Yardstick | None, Encoder | None, str]:
    """The judge's context and its tokenizer, where they can be had without it; or why not."""
    try:
        measure = yardstick(job.config.judge)
    except FixJudge as error:
        return None, None, str(error)
    if job.config.judge.engine != "vllm":
        return measure, None, "only the judge itself has the tokenizer"
    from coigw_judge.judges.vllm import make_encoder

    return measure, make_encoder(job.config.judge), ""


def as_shown(job: LoadedJob, records: list[Record], measure: Yardstick | None) -> tuple[list[Record], int | None]:
    """The records as the judge would see them, and how many of them are too long for it (None: not known)."""
    if measure is None:
        return records, None
    if job.config.long_text == "head_tail":
        policy = head_tail(job, measure)
        shown = [fit(record.texts, policy, measure.tokens) for record in records]
        found = [replace(record, texts=each.texts) for record, each in zip(records, shown, strict=True)]
        return found, sum(bool(each.left_out) for each in shown)
    rooms = [(rubric, measure.context - reserve(job, rubric, measure)) for rubric in job.all_rubrics]
    texts = [record.texts for record in records]
    return records, sum(
        any(too_long(each, r.fields, room, measure.tokens) for r, room in rooms if each.keys() >= set(r.reads))
        for each in texts
    )


def _block(job: LoadedJob) -> int:
    """Tokens of a block of the engine's KV cache; 0 where it keeps none for later requests."""
    from coigw_judge.judges.vllm import engine_arguments

    arguments = engine_arguments(job.config.judge)
    return int(arguments.get("block_size") or 16) if arguments.get("enable_prefix_caching", True) else 0


# Where the sampled records stand


def _states(inquiry: Inquiry, shown: list[Record]) -> tuple[list[_State], Counts]:
    """What each sampled record waits for, and those counts scaled to all rows."""
    plan, sample = inquiry.planned.plan, inquiry.sample
    subjects = [Subject(record.digests(), record.genre, record.chars) for record in sample.records]
    facts = _facts_of(inquiry, subjects)
    asks: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    again: Counter[str] = Counter()
    states: list[_State] = []
    before: set[tuple[bytes, str | None]] = set()
    screen = inquiry.job.config.screen
    for record, subject, place, weight, cut in zip(
        sample.records, subjects, sample.places, sample.weights, shown, strict=True
    ):
        same = (record_digest(subject.digests), None if screen.duplicate == "drop" else subject.genre)
        if (sample.whole and same in before) or (screen.injection == "drop" and record.suspected()):
            continue
        before.add(same)
        open_ = _waiting(plan, subject, facts, weight, asks)
        if open_:
            waiting["+".join(open_)] += weight  # type: ignore[assignment]
        if plan.repeats(subject) and plan.second(subject, facts):
            second = [name for name, fact in plan.card(subject, facts, 1).facts.items() if fact is None]
            again["+".join(second)] += weight  # type: ignore[assignment]
        applicable = tuple(r.name for r in (*plan.rubrics, *plan.then) if applies(r, subject))
        states.append(_State(cut, plan.genre(subject, facts), open_, applicable, place, weight))
    return states, Counts(asks, waiting, again)


def _waiting(plan: Plan, subject: Subject, facts: Facts, weight: float, asks: Counter[str]) -> tuple[str, ...]:
    """The rubrics that a record may still be asked; counts them in `asks`."""
    card, open_ = plan.card(subject, facts), bool(plan.first(subject, facts))
    for name, fact in card.facts.items():
        known = fact is not None
        kinds = {"applies": True, "known": known, "failed": isinstance(fact, Unscored)}
        kinds |= {"open": not known and open_, "spared": not known and not open_}
        asks.update({f"{name}.{kind}": weight for kind, there in kinds.items() if there})
    return tuple(name for name, fact in card.facts.items() if fact is None) if open_ else ()


def _facts_of(inquiry: Inquiry, subjects: Sequence[Subject]) -> Facts:
    """What the store knows of the sampled records."""
    plan = inquiry.planned.plan
    if not inquiry.seen.spent or not inquiry.look_up:
        return {}
    found = _look_up(inquiry, {key for subject in subjects for key in plan.first_keys(subject)})
    if plan.genre_first() and found:  # only now the other rubrics' requests are known
        found |= _look_up(inquiry, {key for subject in subjects for key in plan.keys(subject, found).values()})
    return {key: fact for key, fact in found.items() if not (inquiry.retry and isinstance(fact, Unscored))}


def _look_up(inquiry: Inquiry, keys: set[bytes]) -> Facts:
    """The facts under some keys, part by part: what is held is a part's columns."""
    store, wanted = inquiry.store, pa.array(sorted(keys), pa.binary(16))
    pairs = frozenset(f"{rubric}/{judge}" for rubric, judge in inquiry.planned.pairs)
    found = []
    for part in store.parts():
        try:
            table = of_pairs(store.read_part(part, DECIDING_COLUMNS, pairs), pairs)
        except FileNotFoundError:
            continue  # replaced since the listing; what it held counts as open
        found.append(table.filter(pc.is_in(table["key"], value_set=wanted)))
    return outcomes(earliest(pa.concat_tables(found).combine_chunks())) if found else {}


def may_look_up(store: Store) -> bool:
    """Whether a store is so small that looking up sampled records costs a run little."""
    return sum(part.size for part in store.parts()) <= _LOOKED_UP


# Tokens


def _rubrics(
    inquiry: Inquiry,
    counts: Counts,
    states: Sequence[_State],
    recipe: Recipe,
    encoder: Encoder | None,
    measure: Yardstick | None,
) -> tuple[tuple[Asked, ...], tuple[float | None, float | None]]:
    """Every rubric's numbers, and the interval of all prompt tokens."""
    job, seen = inquiry.job, inquiry.seen
    names = tuple(rubric.name for rubric in job.all_rubrics)
    expected = _expected(inquiry, counts.waiting)
    again = _expected(inquiry, counts.waiting_again)
    sums, means = None, None
    if encoder is not None and measure is not None:
        sums = _weigh(inquiry, states, recipe, encoder, measure.context, all_of_them=False)
        means = sums.means()
        unseen = [n for n, name in enumerate(names) if expected[name] and not sums.values[:, n, 0].sum()]
        if unseen:  # what waits for these is not in the sample: its lengths are taken as if all of the sample did
            means[unseen] = _weigh(inquiry, states, recipe, encoder, measure.context, all_of_them=True).means()[unseen]
    found = []
    for n, rubric in enumerate(job.all_rubrics):
        spent, name = seen.spent.get(rubric.name), rubric.name
        kinds = {kind: float(counts.asks.get(f"{name}.{kind}", 0)) for kind in _KINDS}
        tries = spent.tries if spent else 1.0
        prompt = cached = long = None
        source = ""
        if means is not None:
            each, hit, full, over = means[n].tolist()
            source = "sampled"
            prompt = (expected[name] + again[name]) * each * tries
            cached = expected[name] * (hit + (tries - 1) * full) + again[name] * tries * full
            long = expected[name] * over
        elif spent and spent.prompt:
            source = "facts"
            prompt, cached = ((expected[name] + again[name]) * value for value in (spent.prompt, spent.cached))
        reply = _reply_tokens(inquiry, n, recipe, states, encoder)
        found.append(
            Asked(
                name=name,
                then=rubric in job.then,
                expected=expected[name],
                again=again[name],
                prompt=prompt,
                cached=cached,
                generated=None if reply is None else (expected[name] + again[name] - (long or 0.0)) * reply,
                too_long=long,
                lengths_from=source,
                replies_from="facts" if spent else "" if reply is None else "assumed",
                ends=seen.ends(name),
                reached=seen.reached.get(name, 0),
                facts=spent.facts if spent else 0,
                **kinds,
            )
        )
    return tuple(found), _interval(inquiry, sums, expected, found)


_KINDS = ("applies", "known", "failed", "spared", "open")


def _expected(inquiry: Inquiry, waiting: Mapping[str, float]) -> Counter[str]:
    """How many requests of each rubric are likely made."""
    found: Counter[str] = Counter()
    for joined, count in waiting.items():
        names = joined.split("+")
        for name, chance in zip(names, inquiry.seen.chances(inquiry.planned.plan, names), strict=True):
            found[name] += count * chance  # type: ignore[assignment]
    return found


def _weigh(
    inquiry: Inquiry,
    states: Sequence[_State],
    recipe: Recipe,
    encoder: Encoder,
    context: int,
    *,
    all_of_them: bool,
) -> _Sums:
    """Encode what sampled records would be asked, in that order, into an ideal prefix cache."""
    job, plan = inquiry.job, inquiry.planned.plan
    rubrics = {rubric.name: (n, rubric) for n, rubric in enumerate(job.all_rubrics)}
    places = sorted({state.place for state in states})
    sums = np.zeros((max(1, len(places)), len(rubrics), 5))
    block = _block(job)
    cache = PrefixCache(block) if block else None
    thinking = job.config.judge.thinking_tokens if job.config.judge.thinking else 0
    for state in states:
        names = state.applicable if all_of_them else state.waiting
        chances = inquiry.seen.chances(plan, names)
        for name, chance in zip(names, chances, strict=True):
            n, rubric = rubrics[name]
            prompt = recipe.templates[name].render(state.shown.texts, plan.guidance(rubric, state.genre))
            ids = [] if encoder.at_least(prompt) > context else encoder.encode(prompt)
            long = not ids or len(ids) + recipe.reply_tokens[name] + thinking > context
            size = 0 if long else len(ids)
            cached = cache.ask(ids) if cache and not long else 0
            full = max(0, size - 1) // block * block if block else 0
            amounts = np.array([1.0, size, cached, full, long])
            sums[places.index(state.place), n] += state.weight * chance * amounts
    return _Sums(sums, tuple(rubrics))


def _reply_tokens(
    inquiry: Inquiry, number: int, recipe: Recipe, states: Sequence[_State], encoder: Encoder | None
) -> float | None:
    """Tokens generated for a request, over all its tries: as the facts say, else as long as the schema allows."""
    rubric = inquiry.job.all_rubrics[number]
    spent = inquiry.seen.spent.get(rubric.name)
    if spent:
        return spent.generated
    if encoder is None or not states:
        return None
    judge = inquiry.job.config.judge
    chosen = states[:: max(1, len(states) // 20)]
    replies = [disk.longest_reply(recipe.schemas[rubric.name], state.shown.texts["answer"]) for state in chosen]
    sizes = [encoder.count(json.dumps(each, ensure_ascii=False, separators=(",", ":"))) + 1 for each in replies]
    return float(np.mean(sizes)) + (judge.thinking_tokens if judge.thinking else 0)


def _interval(
    inquiry: Inquiry, sums: _Sums | None, expected: Mapping[str, float], found: Sequence[Asked]
) -> tuple[float | None, float | None]:
    """95 of 100 totals of prompt tokens, places drawn anew: rows of one place are alike and are drawn together."""
    if sums is None or inquiry.sample.whole or len(sums.values) < _LEAST_PLACES:
        return None, None
    draws = np.random.default_rng(0).multinomial(
        len(sums.values), [1 / len(sums.values)] * len(sums.values), size=_DRAWS
    )
    tries = np.array([spent.tries if (spent := inquiry.seen.spent.get(name)) else 1.0 for name in sums.names])
    if inquiry.counts is None:
        totals = np.tensordot(draws, sums.values[:, :, 1], axes=1) @ tries
    else:
        wanted = np.array([each.requests for each in found]) * tries
        totals = np.array([sums.means(drawn)[:, 0] @ wanted for drawn in draws])
    low, high = np.percentile(totals, [2.5, 97.5])
    return float(low), float(high)


# Bytes


def _with_bytes(made: Estimate, inquiry: Inquiry, recipe: Recipe) -> Estimate:
    """The estimate with what the run leaves on disk."""
    job, sample, seen = inquiry.job, inquiry.sample, inquiry.seen
    each = {r.name: disk.fact_bytes(r, recipe.schemas[r.name], sample.records) for r in job.all_rubrics}
    facts = sum(a.requests * (each[a.name][0] if seen.bytes_each is None else seen.bytes_each) for a in made.rubrics)
    held = sum((a.requests + a.known) * each[a.name][1] for a in made.rubrics)
    scan = made.rows * disk.scan_bytes(sample.records)
    kept = 1.0
    for rubric in job.rubrics:
        kept *= 1 - seen.ends(rubric.name)
    written = kept * seen.passes * made.rows if job.config.write else 0.0
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
    source = "assumed" if seen.bytes_each is None else "facts"
    local = {path: size for path, size in paths.items() if not is_uri(path)}
    return replace(made, bytes=needed, fact_bytes_from=source, rooms=tuple(disk.rooms(local)))
