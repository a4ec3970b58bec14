"""One bucket of records joined with its facts, and where every record of it stands.

A decision depends only on a record's facts, and most records have the same as many others: the same rubrics apply, the
same scores were given. So the join is done in columns (keys hashed, looked up and compared by the hundred thousand),
records are sorted into patterns, and `plan.reached`, which fill runs on every record, runs here on one record of each
pattern. Further samples (decide/further_samples.py) are looked up only for rows whose first samples make them due.
Survey, select and sweep all read their bucket through `read`, so they cannot disagree; memory is bounded by a bucket,
not by the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.further_samples import Others
from coigw_judge.decide.gate import Decision
from coigw_judge.decide.plan import GENRE_RUBRIC, Plan, Reached, Subject, others_of
from coigw_judge.decide.scorecard import Final, Scorecard
from coigw_judge.prompting.request import Need, request_keys
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.samples import FIRST, REPEAT, Sample, SampleKind, further
from coigw_judge.records.record import FIELDS
from coigw_judge.replies.outcome import Scored, Unscored, from_values
from coigw_judge.scan.rows import Scan, read_rows
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import Numbers, Span
from coigw_judge.store.fact import DECIDING_COLUMNS
from coigw_judge.store.key_index import KeyIndex
from coigw_judge.store.parts import Part, Store

ROWS_PER_BUCKET = 50_000
INAPPLICABLE = -2
NOT_REPEATED = -3
"""The record is not asked this sample."""

_NO_ROW = np.empty(0, np.int64)

Sampled = tuple[str, Sample]
"""A rubric's name and a sample of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinInput:
    """What is joined: the rows of a scan and the facts of a store, under a plan."""

    store: str
    """The store's path or URI."""
    scan: Scan
    plan: Plan
    pairs: tuple[tuple[str, str], ...]
    """Which facts count, by their fingerprints of rubric and judge."""
    drop_duplicates: bool = True
    """Whether a row with the same texts as one before is left unjudged."""
    retry: str | None = None
    """A run that asks failures again: other runs' failures do not count. None: all count."""
    parts: tuple[Part, ...] | None = None
    """The files of facts to read; None: those that the store has when a bucket is read."""
    rows_per_bucket: int = ROWS_PER_BUCKET
    """About how many; a bucket is a range of digests."""

    @property
    def buckets(self) -> int:
        """Into how many buckets the rows are dealt."""
        return max(1, -(-self.scan.rows_in // self.rows_per_bucket))

    def span(self, bucket: int) -> Span:
        """The digests of a bucket."""
        return hash_ranges.span(bucket, self.buckets)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the records of one pattern stand."""

    reached: Reached
    """Their answers, and the requests that are open."""
    final: Final
    """The decision of their verdicts."""
    decision: Decision
    """The gate's decision on the answers so far."""
    count: int
    """How many records there are."""
    others: Others = field(default_factory=dict)
    """The further samples that are due, by rubric."""
    near: bool = False
    """Whether further samples are due because a threshold is near."""
    beyond_early_exit: int = 0
    """How many facts of such a record early exit would have spared; 0 where it is not asked in full."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket's rows joined with their facts."""

    rows: pa.Table
    """In input order."""
    facts: pa.Table
    """In order of their keys."""
    first: Numbers
    """Per row the first row with the same texts; its own number where there is none before."""
    judged: Numbers
    """The numbers of the rows that the judge decides on."""
    fact_of: Mapping[Sampled, Numbers]
    """Per judged row its fact's place in `facts`, or ABSENT, INAPPLICABLE or NOT_REPEATED."""
    genres: pa.Array
    """Per judged row its genre, as the input or the judge gives it."""
    pattern: Numbers
    """Per judged row its place in `standings`."""
    standings: list[Standing]


def read(inputs: JoinInput, bucket: int, columns: Sequence[str] = (), *, every_sample: bool = False) -> Bucket:
    """Join a bucket.

    `columns`: columns of facts to read beside those that decide. `every_sample`: look up all further samples that a
    gate might want, not only those that the plan wants (Standing.others then has all of them).
    """
    store, wanted = Store(inputs.store), inputs.span(bucket)
    rows = read_rows(store, inputs.scan, wanted)
    facts = store.read(
        tuple(dict.fromkeys((*DECIDING_COLUMNS, *columns))),
        fingerprints=inputs.pairs,
        wanted=wanted,
        parts=inputs.parts,
        failures_of=inputs.retry,
    ).combine_chunks()
    first = _first_with_same_texts(rows)
    open_to_judge = pc.and_(pc.is_null(rows["unreadable"]), pc.is_null(rows["screened"])).to_numpy()
    if inputs.drop_duplicates:
        open_to_judge &= first == np.arange(rows.num_rows)
    judged = np.flatnonzero(open_to_judge)
    join = _Join(inputs.plan, rows.take(pa.array(judged)), facts, every_sample)
    pattern, standings = join.standings()
    return Bucket(rows, facts, first, judged, join.fact_of, join.genres, pattern, standings)


def _first_with_same_texts(rows: pa.Table) -> Numbers:
    """Per row, in input order, the number of the first row with the same texts.

    An unreadable row has no texts and equals no other. Screened rows are compared among themselves only: a screen may
    drop a row for what is not in its texts (its likes, say), and a row with the same texts may pass.
    """
    screened = pc.is_valid(rows["screened"]).to_numpy()
    texts = hash_ranges.as_bytes(pc.coalesce(rows["record"], rows["home"]))
    order, new = hash_ranges.runs(texts, screened)  # where these are equal: in input order
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return first


class _Join:
    """Judged rows beside the facts that answer their requests."""

    def __init__(self, plan: Plan, rows: pa.Table, facts: pa.Table, every_sample: bool) -> None:
        self._plan = plan
        self._rows = rows
        self._facts = facts.select(DECIDING_COLUMNS)
        self._rubrics = {rubric.name: rubric for rubric in (*plan.rubrics, *plan.then)}
        self._every_sample = every_sample
        self._index = KeyIndex(*hash_ranges.halves(hash_ranges.as_bytes(facts["key"])))
        self._digests = {field: hash_ranges.as_bytes(rows[field]) for field in FIELDS}
        self._present = {field: pc.is_valid(rows[field]).to_numpy() for field in FIELDS}
        self._keys: dict[Sampled, Numbers] = {}
        self.fact_of: dict[Sampled, Numbers] = {}
        self.genres: pa.Array = rows["genre"].combine_chunks()
        self._groups = _groups(self.genres)
        if plan.genre_first():
            self._learn_genres()
        for rubric in self._rubrics.values():
            if (rubric.name, FIRST) not in self.fact_of:  # the genres had to be known first
                self._look_up(rubric, FIRST)
        if plan.repeat:
            repeated = self._drawn(SampleKind.REPEAT, plan.repeat)
            for rubric in plan.rubrics:
                self._look_up(rubric, REPEAT, repeated)
        if plan.samples.most > 1 and rows.num_rows:
            self._look_up_further()

    def _learn_genres(self) -> None:
        """Where the input gives no genre, take the judge's; it decides which guidance the other rubrics show."""
        self._look_up(self._plan.rubrics[0], FIRST)
        at = self.fact_of[GENRE_RUBRIC, FIRST]
        choices = looked_up(self._facts["choices"], GENRE_RUBRIC).take(pa.array(at, mask=at < 0))
        self.genres = pc.coalesce(self.genres, choices)
        self._groups = _groups(self.genres)

    def _look_up_further(self) -> None:
        """Look up further samples of the rows to which they are due, as the patterns of the other samples say."""
        chosen: dict[Sampled, Numbers] = {}
        if self._every_sample:
            for rubric in (rubric for rubric in self._plan.rubrics if rubric.dimensions):
                answered = self.fact_of[rubric.name, FIRST] >= 0
                chosen |= {(rubric.name, sample): answered for sample in further(self._plan.samples.most)}
        else:
            representative, pattern, _ = self._patterns()
            for n, (subject, facts) in enumerate(self._records(representative)):
                for need in self._plan.reached(subject, facts).due:
                    due = chosen.setdefault((need.rubric, need.sample), np.zeros(len(representative), bool))
                    due[n] = True
            chosen = {sampled: due[pattern] for sampled, due in chosen.items()}
        for (name, sample), rows_due in chosen.items():
            self._look_up(self._rubrics[name], sample, rows_due)

    def _look_up(self, rubric: Rubric, sample: Sample, chosen: Numbers | None = None) -> None:
        """Fill in keys and facts of one rubric: rows with the same guidance and the same fields are hashed together.

        `chosen` says of every row whether it is asked this sample (None: all are).
        """
        places = np.full(self._rows.num_rows, INAPPLICABLE, np.int64)
        keys = np.zeros((self._rows.num_rows, 16), np.uint8)
        wanted = np.flatnonzero(np.all([self._present[field] for field in rubric.reads], axis=0))
        if chosen is not None:
            places[wanted[~chosen[wanted]]] = NOT_REPEATED
            wanted = wanted[chosen[wanted]]
        long = self._concerned(wanted)
        if len(self._facts):
            keys[wanted[long]] = self._keys_one_by_one(rubric, wanted[long], sample)
            for guidance, rows in self._by_guidance(rubric, wanted[~long]):
                for fields, alike in self._by_presence(rubric, rows):
                    shown = [self._digests[f][alike] if present else None for f, present in fields]
                    asked, drawn = self._plan.fingerprints[rubric.name], self._plan.samples.temperature_of(sample)
                    keys[alike] = request_keys(asked, shown, guidance, sample, drawn)
        places[wanted] = self._index.find(*hash_ranges.halves(keys[wanted]))
        self._keys[rubric.name, sample] = keys
        self.fact_of[rubric.name, sample] = places

    def _concerned(self, rows: Numbers) -> Numbers:
        """Which rows are so long that their texts may be cut for the judge."""
        policy = self._plan.head_tail
        if policy is None:
            return np.zeros(len(rows), bool)
        return np.array([policy.concerns(chars) for chars in self._rows["chars"].to_numpy()[rows].tolist()], bool)

    def _keys_one_by_one(self, rubric: Rubric, rows: Numbers, sample: Sample) -> Numbers:
        """The keys of long records, which also depend on how their texts are cut; they are few."""
        keys = np.zeros((len(rows), 16), np.uint8)
        genres = self.genres.take(pa.array(rows)).to_pylist()
        for n, values in enumerate(self._rows.take(pa.array(rows)).to_pylist()):
            key = self._plan.need(rubric, _subject(values), genres[n], sample).key
            keys[n] = np.frombuffer(key, np.uint8)
        return keys

    def _drawn(self, kind: SampleKind, share: float) -> Numbers:
        """Which rows are drawn for a share of the records."""
        return kind.draws_each(hash_ranges.as_bytes(self._rows["record"]), share)

    def _by_guidance(self, rubric: Rubric, rows: Numbers) -> list[tuple[str | None, Numbers]]:
        names, codes = self._groups
        shown = [self._plan.guidance(rubric, name) for name in names]
        distinct = list(dict.fromkeys(shown))
        group = np.array([distinct.index(text) for text in shown], np.int64)[codes[rows]]
        return [(text, rows[group == n]) for n, text in enumerate(distinct) if np.any(group == n)]

    def _by_presence(self, rubric: Rubric, rows: Numbers) -> list[tuple[list[tuple[Any, bool]], Numbers]]:
        optional = [field for field in rubric.fields if field not in rubric.reads]
        bits = sum((self._present[field][rows].astype(np.int64) << n for n, field in enumerate(optional)), 0 * rows)
        groups = []
        for value in np.unique(bits).tolist():
            there = {field: bool(value >> n & 1) for n, field in enumerate(optional)}
            groups.append(([(field, there.get(field, True)) for field in rubric.fields], rows[bits == value]))
        return groups

    def standings(self) -> tuple[Numbers, list[Standing]]:
        """The pattern of every row, and where one record of each pattern stands."""
        if not self._rows.num_rows:
            return _NO_ROW, []
        representative, pattern, counts = self._patterns()
        records = self._records(representative)
        return pattern, [self._standing(*record, count) for record, count in zip(records, counts.tolist(), strict=True)]

    def _patterns(self) -> tuple[Numbers, Numbers, Numbers]:
        """One row of each pattern, the pattern of every row, and how many rows each has, by what was looked up."""
        codes = [self._codes(name, at) for (name, _), at in self.fact_of.items()]
        if self._plan.genre_first():
            codes.append(pc.is_valid(self._rows["genre"]).to_numpy().astype(np.int64))
        if self._plan.early_exit and self._plan.exhaustive:
            codes.append(self._drawn(SampleKind.IN_FULL, self._plan.exhaustive).astype(np.int64))
        return distinct(codes)

    def _records(self, rows: Numbers) -> list[tuple[Subject, dict[bytes, Scored | Unscored]]]:
        """Some rows as records, each with its facts."""
        records = self._rows.select([*FIELDS, "genre", "chars"]).take(pa.array(rows)).to_pylist()
        return list(zip(map(_subject, records), self._facts_of(rows), strict=True))

    def _facts_of(self, rows: Numbers) -> list[dict[bytes, Scored | Unscored]]:
        """The facts of some rows, by request key."""
        by_row: list[dict[bytes, Scored | Unscored]] = [{} for _ in rows]
        for sampled, places in self.fact_of.items():
            answered = np.flatnonzero(places[rows] >= 0)
            keys = self._keys[sampled][rows[answered]]
            facts = self._facts.take(pa.array(places[rows[answered]])).to_pylist()
            for at, key, fact in zip(answered.tolist(), keys, facts, strict=True):
                assert fact["key"] == key.tobytes(), "a look-up found another key"
                by_row[at][fact["key"]] = from_values(fact)
        return by_row

    def _codes(self, rubric: str, at: Numbers) -> Numbers:
        """Per row a number, equal where the rubric's facts lead to the same decision."""
        answered = np.flatnonzero(at >= 0)
        if not len(answered):
            return at
        facts = self._facts.take(pa.array(at[answered]))
        described = self._rubrics[rubric]
        columns = [facts["cause"], facts["detail"]]
        columns += [looked_up(facts["scores"], d.key) for d in described.dimensions]
        columns += [looked_up(facts["checks"], c.key) for c in described.checks]
        if self._plan.gate.use == "expected":  # hardly two records share these: patterns are nearly as many as rows
            columns += [looked_up(facts["expected"], d.key) for d in described.dimensions]
        _, alike, _ = distinct([numbered(column) for column in columns])
        codes = at.copy()
        codes[answered] = alike
        return codes

    def _standing(self, subject: Subject, facts: dict[bytes, Scored | Unscored], count: int) -> Standing:
        plan = self._plan
        reached = plan.reached(subject, facts)
        final, decision = reached.card.final(plan.gate, complete=not reached.open)
        due = self._all_further(subject, facts, reached.first) if self._every_sample else reached.due
        return Standing(
            reached=reached,
            final=final,
            decision=decision,
            count=count,
            others=others_of(due, facts),
            near=any(need.sample > plan.samples.count for need in reached.due),
            beyond_early_exit=len(plan.beyond_early_exit(subject, facts)) if reached.asked_in_full else 0,
        )

    def _all_further(self, subject: Subject, facts: Mapping[bytes, Scored | Unscored], first: Scorecard) -> list[Need]:
        """All further samples that some gate might want."""
        plan, genre = self._plan, self._plan.genre(subject, facts)
        asked = [rubric for rubric in plan.rubrics if rubric.dimensions and first.facts.get(rubric.name) is not None]
        numbers = further(plan.samples.most)
        return [plan.need(rubric, subject, genre, sample) for rubric in asked for sample in numbers]


def _subject(row: dict[str, Any]) -> Subject:
    return Subject({f: row[f] for f in FIELDS if row[f] is not None}, row["genre"], row["chars"])


def _groups(values: pa.Array) -> tuple[list[str | None], Numbers]:
    """The distinct values, and for every row the place of its own among them."""
    encoded = pc.dictionary_encode(values, null_encoding="encode")
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def looked_up(maps: pa.ChunkedArray, key: str) -> pa.Array:
    """What each of many maps has under a key; null where it has nothing."""
    array = maps.combine_chunks()
    return pc.map_lookup(array, key, "first") if len(array) else pa.nulls(0, array.type.item_type)


def numbered(values: pa.Array | pa.ChunkedArray) -> Numbers:
    """Per value a number that is equal where the values are; null is a value too."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    indices = pc.dictionary_encode(array, null_encoding="encode").indices
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)


def distinct(columns: Sequence[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
    """Distinct rows of some columns of numbers: the first row of each, per row which one it is, and their counts."""
    combined = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, codes = np.unique(column, return_inverse=True)
        # Both are at most the number of rows, so the product does not overflow; it is numbered anew at once.
        _, combined = np.unique(combined * len(values) + codes, return_inverse=True)
    _, first, pattern, counts = np.unique(combined, return_index=True, return_inverse=True, return_counts=True)
    return first, pattern, counts
