"""What the facts in a store say of the requests to come: lengths of replies, tries, and how often records end early.

Facts of the same rubrics and the same judge are read for a span of homes, so that a record's facts are all read; a
billion facts are never read for an estimate. (Where there are many loose parts, some are passed over. A record may
then lack some facts, and is walked as far as its facts go.)
A record is walked through the job's rubrics in order, under this job's gate: of the records that reached a rubric and
have its fact, which share was decided by it? Such a share is conditional on having reached the rubric, whether the
facts come from runs with early exit or without, and the chance to be asked a rubric is the product of those before it.
That holds as long as the facts were asked in the job's order. Where many were not, the shares come from the records
that were asked in full (Plan.exhaustive), if there are enough of them.
The length of replies also depends on the job's `reasons`, which no fact states. A run's setting is taken from the
longest reason of its facts. (Full reasons that are all short are taken for short ones, and so not used.)
Where facts come from other texts than those to be judged, the shares are those of the other texts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from coigw_judge.counts import Counts
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.rubric import REASON_CHARS, Reasons
from coigw_judge.prompting.samples import FIRST, SampleKind
from coigw_judge.replies.outcome import Scored, Unscored, from_values
from coigw_judge.standing import asked_in_full
from coigw_judge.standing.asked_in_full import AskedInFull
from coigw_judge.storage import hash_ranges
from coigw_judge.store.fact import DECIDING_COLUMNS
from coigw_judge.store.parts import Part, Store

FACTS_READ = 60_000
LEAST = 30
"""The least number of records asked in full that rates may come from."""

_FOOTERS = 16
_LOOSE = 1 << 30
_SUMS = ("prompt_tokens", "cached_tokens", "generated_tokens", "attempt")


@dataclass(frozen=True, slots=True)
class Spent:
    """Means over one rubric's facts; tokens are over all tries of a request."""

    facts: int
    """How many facts."""
    prompt: float
    cached: float
    generated: float
    tries: float


@dataclass(frozen=True, slots=True)
class FactHistory:
    """What the facts say, walked under this job's gate."""

    spent: Mapping[str, Spent] = field(default_factory=dict)
    """By rubric."""
    records: int = 0
    """Records with a fact."""
    reached: Mapping[str, int] = field(default_factory=dict)
    """By rubric, the records that reached it and have its fact."""
    ended: Mapping[str, int] = field(default_factory=dict)
    """Those of them that it decided."""
    complete: int = 0
    """Records that have all facts and were not ended."""
    passed: int = 0
    """Those of them that are kept or in review."""
    near: int = 0
    """Those of them so near a threshold that the job asks further samples."""
    further: Mapping[str, int] = field(default_factory=dict)
    """Further samples of all complete records, by rubric."""
    bytes_each: float | None = None
    """Of a fact on disk; None where there are no facts."""
    share: AskedInFull = field(default_factory=AskedInFull)
    """The records that are asked in full."""
    from_share: bool = False
    """Whether the counts are of the share alone, because facts were asked in another order than the job's."""

    def ends(self, rubric: str) -> float:
        """The share of records that a rubric decides, of those that reach it; 0 where no fact says so."""
        reached = self.reached.get(rubric, 0)
        return self.ended.get(rubric, 0) / reached if reached else 0.0

    @property
    def passes(self) -> float:
        """The share of kept or in review among records that no rubric ended; 1 where no fact says so."""
        return self.passed / self.complete if self.complete else 1.0

    def further_samples(self, plan: Plan, waiting: Sequence[str]) -> dict[str, float]:
        """How many further samples of each rubric are likely asked of a record that waits for some first samples.

        Where no record is complete, the number near a threshold is unknown; then only `samples.count` is counted.
        """
        then, samples = {rubric.name for rubric in plan.then}, plan.samples
        first = [name for name in waiting if name not in then]
        if samples.most == 1 or not first:
            return {}
        alive = 1.0
        for name in first:
            alive *= 1 - self.ends(name)
        asked = [rubric.name for rubric in plan.rubrics if rubric.dimensions]
        if not self.complete:
            return {name: float(samples.count - 1) for name in asked if name in first}
        dropped = (1 - alive) * (samples.count - 1) if samples.dropped else 0.0
        return {name: alive * self.further.get(name, 0) / self.complete + dropped for name in asked}

    def chances(self, plan: Plan, waiting: Sequence[str], kind: SampleKind = SampleKind.FIRST) -> list[float]:
        """How likely each rubric that a record waits for is asked; 1 for the first one, unless it is one of `then`."""
        then = {rubric.name for rubric in plan.then}
        alive, chances = 1.0, []
        some_before = any(name not in then for name in waiting)
        for name in waiting:
            if name in then:
                chances.append(alive * self.passes if some_before else 1.0)
                continue
            chances.append(alive if plan.early_exit and kind.early_exit else 1.0)
            alive *= 1 - self.ends(name)
        return chances


def look(
    store: Store,
    listed: Sequence[Part],
    plan: Plan,
    pairs: tuple[tuple[str, str], ...],
    reasons: Reasons,
    most: int = FACTS_READ,
    share: AskedInFull | None = None,
) -> FactHistory:
    """Read about `most` facts of (rubric, judge) pairs from a store's parts; lengths only of those with such `reasons`.

    `share`: the records that are asked in full, where a survey counted them; it knows more than the facts alone.
    """
    parts = _bounded(listed)
    if not parts:
        return FactHistory()
    size = sum(part.size for part in parts)
    bytes_each = _bytes_each(store, parts)
    buckets = max(1, -(-int(size / bytes_each) // most)) if bytes_each else 1
    columns = tuple(dict.fromkeys((*DECIDING_COLUMNS, "record", "sample", "run", "reasons", *_SUMS)))
    table = store.read(columns, fingerprints=pairs, wanted=hash_ranges.span(0, buckets), parts=parts)
    rows = table.to_pylist()
    by_record: dict[bytes, dict[str, Scored | Unscored]] = {}
    for row in rows:
        if row["sample"] == FIRST:
            by_record.setdefault(row["record"], {})[row["rubric"]] = from_values(row)
    spent = _spent(plan, rows, reasons)
    counts = _walk_all(plan, by_record)
    if share is None or not share.records:
        share = asked_in_full.of_records(plan, by_record)
    from_share = 20 * counts.out_of_turn > len(by_record) and asked_in_full.enough(share, LEAST)
    if from_share:
        counts = _walk_share(plan, share)
    names = [rubric.name for rubric in plan.rubrics]
    return FactHistory(
        spent=spent,
        records=len(by_record),
        reached={name: counts.reached[name] for name in names},
        ended={name: counts.ended[name] for name in names},
        complete=counts.complete,
        passed=counts.passed,
        near=counts.near,
        further={name: counts.further[name] for name in names},
        bytes_each=bytes_each,
        share=share,
        from_share=from_share,
    )


def _bounded(parts: Sequence[Part]) -> list[Part]:
    """The compacted parts, and about _LOOSE bytes of loose ones, which can only be read whole."""
    loose = [part for part in parts if part.span is None]
    step = max(1, -(-sum(part.size for part in loose) // _LOOSE))
    return [*loose[::step], *(part for part in parts if part.span is not None)]


def _spent(plan: Plan, rows: Sequence[Mapping[str, Any]], reasons: Reasons) -> dict[str, Spent]:
    """Means per rubric over the facts of runs that asked for such reasons."""
    longest: dict[tuple[str, str], int] = {}
    for row in rows:
        of_run = row["rubric"], row["run"]
        longest[of_run] = max(longest.get(of_run, 0), *(len(text) for _, text in row["reasons"] or ()), 0)
    gives_none = {r.name for r in (*plan.rubrics, *plan.then) if not (r.dimensions or r.checks or r.choices)}
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        if row["rubric"] in gives_none or _form(longest[row["rubric"], row["run"]]) == reasons:
            sums.setdefault(row["rubric"], Counter()).update({"facts": 1} | {name: row[name] or 0 for name in _SUMS})
    means_of_rubric = {}
    for name, total in sums.items():
        means = [total[column] / total["facts"] for column in _SUMS]
        means_of_rubric[name] = Spent(total["facts"], means[0], means[1], means[2], 1 + means[3])
    return means_of_rubric


def _form(longest: int) -> Reasons:
    """The setting under which reasons of this length are given."""
    if not longest:
        return "none"
    return "short" if longest <= REASON_CHARS["short"] else "full"


def _bytes_each(store: Store, parts: Sequence[Part]) -> float | None:
    """Bytes per fact, from the footers of the largest parts: those of a few facts are mostly footer."""
    chosen = sorted(parts, key=lambda part: part.size)[-_FOOTERS:]
    rows = 0
    size = 0
    for part in chosen:
        try:
            with pq.ParquetFile(store.filesystem.open_input_file(part.path)) as file:
                rows += file.metadata.num_rows
        except FileNotFoundError:
            continue  # replaced since the listing
        size += part.size
    return size / rows if rows else None


class Walked(Counts):
    """Counts of records walked through the rubrics; as in FactHistory."""

    reached: Counter[str] = Field(default_factory=Counter)
    ended: Counter[str] = Field(default_factory=Counter)
    further: Counter[str] = Field(default_factory=Counter)
    complete: int = 0
    passed: int = 0
    near: int = 0
    out_of_turn: int = 0
    """Records whose facts were asked in another order than the job's."""


def _walk_all(plan: Plan, by_record: Mapping[bytes, Mapping[str, Scored | Unscored]]) -> Walked:
    counts = Walked()
    for facts in by_record.values():
        count_walk(plan, facts, counts)
    return counts


def _walk_share(plan: Plan, share: AskedInFull) -> Walked:
    counts = Walked()
    for card, records in share.cards:
        count_walk(plan, {name: fact for name, fact in card.facts.items() if fact is not None}, counts, records)
    return counts


def count_walk(plan: Plan, facts: Mapping[str, Scored | Unscored], counts: Walked, records: int = 1) -> None:
    """Walk records with these facts through the job's rubrics in order, as far as the facts go."""
    order = [rubric.name for rubric in plan.rubrics]
    has_fact = [name in facts for name in order]
    if not any(has_fact):
        return
    last = max(n for n, there in enumerate(has_fact) if there)
    lacking = tuple(name for name, there in zip(order[:last], has_fact, strict=False) if not there)
    counts.out_of_turn += records * bool(lacking)
    shown: dict[str, Scored | Unscored | None] = {name: None for name in order if name not in lacking}
    for name in order[: last + 1]:
        if name in lacking:
            continue  # a rubric without a fact before one with a fact does not apply to this record
        shown[name] = facts[name]
        counts.reached[name] += records
        if plan.ends(Scorecard(shown, lacking)):
            counts.ended[name] += records
            return
    if last == len(order) - 1:
        card = Scorecard(shown, lacking)
        due = plan.samples.due(card, plan.gate)
        counts.complete += records
        counts.passed += records * (card.decide(plan.gate).decision in ("kept", "review"))
        counts.near += records * any(n > plan.samples.count for n in due.values())
        counts.further.update({name: records * (n - 1) for name, n in due.items()})
