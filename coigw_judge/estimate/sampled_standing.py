"""Where sampled records stand: what each of them still waits for, by the facts that the store has of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.plan import Subject, Waits, applies
from coigw_judge.estimate.history import FactHistory
from coigw_judge.estimate.sample import InputSample
from coigw_judge.estimate.speed import Rates
from coigw_judge.job.fingerprints import Planned
from coigw_judge.job.job import LoadedJob
from coigw_judge.records.record import Record, record_digest
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.screens.injection.detect import suspected as suspected_in
from coigw_judge.standing.asked_in_full import AskedInFull
from coigw_judge.standing.survey import RubricAsks, SurveyCounts
from coigw_judge.store.fact import DECIDING_COLUMNS, earliest, of_pairs, outcomes
from coigw_judge.store.parts import Part, Store

_LOOKED_UP = 1 << 30
"""The most bytes of facts among which a run looks up its sampled records; the dry run always looks them up."""

Facts = dict[bytes, Scored | Unscored]


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """What an estimate is made from."""

    job: LoadedJob
    store: Store
    parts: Sequence[Part]
    """The store's, listed once."""
    planned: Planned
    sample: InputSample
    counts: SurveyCounts | None
    """The survey's; None without a scan: then the sample gives them."""
    rates: Rates
    gpus: float
    """Of each replica."""
    settled: float | None = None
    """Rows that need no judge; None without a scan."""
    retry: bool = False
    """Whether requests that got no score before are asked again."""
    look_up: bool = True
    """Whether the sampled records' facts are looked up in the store."""
    history: FactHistory = field(default_factory=FactHistory)
    """What the store's facts say; `make` reads it."""
    order: bool = False
    """Whether to look for a cheaper order of asks; a run does so afterwards."""
    share: AskedInFull | None = None
    """The records that are asked in full; None without a survey."""


@dataclass(slots=True)
class State:
    """Where a sampled record stands."""

    shown: Record
    """The record as the judge would see it."""
    genre: str | None
    waits: Waits
    """The first samples that it waits for, in order."""
    applicable: tuple[str, ...]
    """The rubrics that apply to it."""
    place: int
    """As in InputSample, and so is the weight."""
    weight: float


# Where the sampled records stand


def states_of(inquiry: Inquiry, shown: list[Record]) -> tuple[list[State], SurveyCounts]:
    """What each sampled record waits for, and those counts scaled to all rows."""
    plan, sample = inquiry.planned.plan, inquiry.sample
    subjects = [Subject(record.digests(), record.genre, record.chars) for record in sample.records]
    facts = _facts_of(inquiry, subjects)
    counts = SurveyCounts()
    states: list[State] = []
    before: set[tuple[bytes, str | None]] = set()
    screen = inquiry.job.config.screen
    for record, subject, place, weight, cut in zip(
        sample.records, subjects, sample.places, sample.weights, shown, strict=True
    ):
        same = (record_digest(subject.digests), None if screen.duplicate == "drop" else subject.genre)
        if (sample.whole and same in before) or (screen.injection == "drop" and suspected_in(record.texts)):
            continue
        before.add(same)
        reached = plan.reached(subject, facts)
        for name, fact in reached.card.facts.items():
            counts.asks.setdefault(name, RubricAsks()).add(fact, bool(reached.open), weight)
        for waits in reached.waits():
            counts.waiting[waits] += weight  # type: ignore[assignment]
        applicable = tuple(r.name for r in (*plan.rubrics, *plan.then) if applies(r, subject))
        states.append(State(cut, plan.genre(subject, facts), reached.first_waits(), applicable, place, weight))
    return states, counts


def _facts_of(inquiry: Inquiry, subjects: Sequence[Subject]) -> Facts:
    """The store's facts of the sampled records."""
    plan = inquiry.planned.plan
    if not inquiry.history.records or not inquiry.look_up:
        return {}
    facts = _look_up(inquiry, {key for subject in subjects for key in plan.first_keys(subject)})
    if plan.genre_first() and facts:  # only now the other rubrics' requests are known
        facts |= _look_up(inquiry, {key for subject in subjects for key in plan.keys(subject, facts).values()})
    if plan.samples.most > 1 and facts:  # only now it is known which records are due further samples
        facts |= _look_up(inquiry, {need.key for subject in subjects for need in plan.reached(subject, facts).due})
    return {key: fact for key, fact in facts.items() if not (inquiry.retry and isinstance(fact, Unscored))}


def _look_up(inquiry: Inquiry, keys: set[bytes]) -> Facts:
    """The facts under some keys, read part by part: in memory are the columns of one part."""
    store, wanted = inquiry.store, pa.array(sorted(keys), pa.binary(16))
    pairs = frozenset(f"{rubric}/{judge}" for rubric, judge in inquiry.planned.pairs)
    tables = []
    for part in inquiry.parts:
        try:
            table = of_pairs(store.read_part(part, DECIDING_COLUMNS, pairs), pairs)
        except FileNotFoundError:
            continue  # replaced since the listing; what it held counts as open
        tables.append(table.filter(pc.is_in(table["key"], value_set=wanted)))
    return outcomes(earliest(pa.concat_tables(tables).combine_chunks())) if tables else {}


def may_look_up(parts: Sequence[Part]) -> bool:
    """Whether a store is so small that looking up sampled records costs a run little."""
    return sum(part.size for part in parts) <= _LOOKED_UP
