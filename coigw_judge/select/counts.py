"""What a manifest says of a bucket's verdicts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from coigw_judge.counts import Counts, Named
from coigw_judge.decide.decisions import Decided
from coigw_judge.decide.gate import Decision, Gate
from coigw_judge.replies.outcome import Unscored
from coigw_judge.run_folder.manifest import Asks, Borderline, Expected, GateReason, Genres, Repeated
from coigw_judge.standing.asked_in_full import ShareCounts
from coigw_judge.standing.join import Standing

_UNKNOWN_GENRES = 100
"""How many genres that the taxonomy does not know are counted by name, per bucket; the others are counted together."""


class SelectCounts(Counts):
    """What select counts, for the manifest."""

    decisions: Named[Decided] = Field(default_factory=Counter)
    gate_reasons: Named[GateReason] = Field(default_factory=Counter)
    facts: int = 0
    """Requests of the judged rows that have a fact, of all samples."""
    asks: Asks = Asks()
    """Only those that are counted from facts: `skipped`, `failed`, `extra_failed`, `exhaustive`."""
    failures: dict[str, Named[str]] = Field(default_factory=dict)
    """Requests without a score, by rubric and cause."""
    asked_in_full: int = 0
    """Rows of the share that is asked in full."""
    share: ShareCounts = ShareCounts()
    """The same, by scorecard."""
    repeated: Repeated = Repeated()
    borderline: Borderline = Borderline()
    expected: Expected = Expected()
    flags: Named[str] = Field(default_factory=Counter)
    genres: Genres = Genres()


def of_standings(gate: Gate, standings: Sequence[Standing]) -> SelectCounts:
    """Count the judged rows, pattern by pattern."""
    counts = SelectCounts()
    asks = counts.asks
    for standing in standings:
        reached, rows = standing.reached, standing.count
        asked, failed = len(reached.card.asked()), reached.card.failed()
        counts.facts += rows * asked
        asks.failed += rows * len(failed)
        asks.skipped += 0 if reached.open else rows * (len(reached.card.facts) - asked)
        for rubric, fact in failed.items():
            counts.failures.setdefault(rubric, Counter())[fact.cause] += rows
        counts.gate_reasons.update(dict.fromkeys(_gate_reasons(standing.final, standing.decision), rows))
        if reached.repeat is not None and not reached.open_repeat:
            repeated = reached.repeat.final(gate, complete=True)[0]
            counts.repeated.rows += rows
            counts.repeated.flipped += rows * (repeated != standing.final)
            counts.facts += rows * len(reached.repeat.asked())
        if standing.others:
            _add_further(counts, gate, standing)
        if reached.asked_in_full and not reached.open:
            counts.asked_in_full += rows
            asks.exhaustive += rows * standing.beyond_early_exit
    return counts


def _add_further(counts: SelectCounts, gate: Gate, standing: Standing) -> None:
    """Count rows with several samples, and those that their first samples alone would have decided otherwise."""
    others = [other for further in standing.others.values() for other in further if other is not None]
    first, _ = standing.reached.first.final(gate, complete=True)
    rows = 0 if standing.reached.open else standing.count
    counts.facts += standing.count * len(others)
    counts.asks.extra_failed += standing.count * sum(isinstance(other, Unscored) for other in others)
    counts.borderline += Borderline(rows=rows * standing.near, resampled=rows, flipped=rows * (first != standing.final))


def _gate_reasons(final: Decided, decision: Decision) -> set[GateReason]:
    """Which parts of the gate a row failed. `total_only` and `each_only`: it failed that part alone."""
    if final not in ("dropped", "review"):
        return set()
    kinds: set[GateReason] = {reason.kind for reason in decision.reasons}
    if kinds == {"total"}:
        kinds.add("total_only")
    elif kinds == {"each"}:
        kinds.add("each_only")
    return kinds


def of_genres(table: pa.Table) -> Genres:
    """Rows per category, and the commonest genres that the taxonomy does not know, as they are."""
    unknown = value_counts(table["genre"].filter(pc.is_null(table["category"])).drop_null())
    commonest = Counter(dict(unknown.most_common(_UNKNOWN_GENRES)))
    return Genres(
        categories=value_counts(table["category"].drop_null()),
        unknown=commonest,
        unknown_beyond=unknown.total() - commonest.total(),
        none=table["genre"].null_count,
    )


def value_counts(values: pa.ChunkedArray | pa.Array) -> Counter[Any]:
    """How often each value occurs."""
    return Counter({value["values"]: value["counts"] for value in pc.value_counts(values).to_pylist()})
