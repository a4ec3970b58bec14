"""What a manifest says of a bucket's verdicts, as counts by name (verdict.decide_bucket lists the names).

Not known here: how verdicts come about.
"""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.decisions import Decided
from coigw_judge.decide.gate import Decision, Gate
from coigw_judge.replies.outcome import Unscored
from coigw_judge.standing.join import Standing

_UNKNOWN_GENRES = 100
"""Genres that the taxonomy does not know are counted by name, as many per bucket; what lies beyond, together."""


def of_standings(gate: Gate, standings: Sequence[Standing]) -> Counter[str]:
    """What a manifest says of the judged rows, each pattern as often as it occurs."""
    counts: Counter[str] = Counter()
    for each in standings:
        reached = each.reached
        asked, failed = len(reached.card.asked()), reached.card.failed()
        counts["asks.asked"] += each.count * asked
        counts["asks.failed"] += each.count * len(failed)
        counts["asks.skipped"] += 0 if reached.open else each.count * (len(reached.card.facts) - asked)
        for rubric, fact in failed.items():
            counts[f"failed.{rubric}.{fact.cause}"] += each.count
        for kind in _kinds(each.final, each.decision):
            counts[f"gate.{kind}"] += each.count
        if reached.repeat is not None and not reached.open_repeat:
            repeated = reached.repeat.final(gate, complete=True)[0]
            counts["repeat.asked"] += each.count
            counts["repeat.flipped"] += each.count * (repeated != each.final)
            counts["asks.repeated"] += each.count * len(reached.repeat.asked())
        if each.others:
            counts.update(_several(gate, each))
        if reached.asked_in_full and not reached.open:
            counts["exhaustive.rows"] += each.count
            counts["asks.exhaustive"] += each.count * each.beyond_early_exit
    return counts


def _several(gate: Gate, standing: Standing) -> dict[str, int]:
    """Of rows with several samples: how many, and for how many the first ones alone would have decided otherwise."""
    others = [other for each in standing.others.values() for other in each if other is not None]
    first, _ = standing.reached.first.final(gate, complete=True)
    rows = 0 if standing.reached.open else standing.count
    return {
        "further.asked": standing.count * len(others),
        "further.failed": standing.count * sum(isinstance(other, Unscored) for other in others),
        "borderline.rows": rows * standing.near,
        "several.rows": rows,
        "several.flipped": rows * (first != standing.final),
    }


def _kinds(final: Decided, decision: Decision) -> set[str]:
    """Which halves of the gate decided. `total_only` and `each_only`: that half alone kept the row from being kept."""
    if final not in ("dropped", "review"):
        return set()
    kinds = {reason.kind for reason in decision.reasons}
    return {*kinds, *(f"{kind}_only" for kind in ("total", "each") if kinds == {kind})}


def of_genres(table: pa.Table) -> Counter[str]:
    """Rows per category, and the commonest genres that the taxonomy does not know, as they are."""
    counts: Counter[str] = Counter()
    unknown = table["genre"].filter(pc.is_null(table["category"])).drop_null()
    for value in pc.value_counts(table["category"].drop_null()).to_pylist():
        counts[f"category.{value['values']}"] = value["counts"]
    named = Counter({value["values"]: value["counts"] for value in pc.value_counts(unknown).to_pylist()})
    for name, rows in named.most_common(_UNKNOWN_GENRES):
        counts[f"genre.{name}"] = rows
    rest = named.total() - sum(rows for _, rows in named.most_common(_UNKNOWN_GENRES))
    return counts + Counter({"genres.rest": rest, "genres.none": table["genre"].null_count})
