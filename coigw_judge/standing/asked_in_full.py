"""What the judge said of the share of records that are asked in full, whatever early exit could spare.

Survey and select see every record's scorecard, pattern by pattern, and count those of the share on the way: as JSON,
so that counts of many buckets add up. Only what may end a record is told of it; the buckets are spans of a hash, so the
first ones are a sample as good as any, and as many are counted as hold about MOST records of the share.
Not known here: what is suggested from it (estimate/ask_order/cheapest.py).
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coigw_judge.decide.ask_order import can_end
from coigw_judge.decide.gate import Use
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.replies.outcome import Scored, Unscored, from_values, to_values
from coigw_judge.standing.join import Standing, View

MOST = 20_000
LACKING = "lacking"
"""Counts records of the share of which only a part is known: the share is larger than it was, or a fill was cut off."""


@dataclass(frozen=True, slots=True)
class InFull:
    """Scorecards of records of the share of which all is known, how many have each; and how many others there are."""

    cards: tuple[tuple[Scorecard, int], ...] = ()
    lacking: int = 0

    @property
    def records(self) -> int:
        """Records of which all is known."""
        return sum(count for _, count in self.cards)


def told(view: View, bucket: int, standings: Iterable[Standing]) -> dict[str, int]:
    """A bucket's records of the share, by what is known of them."""
    plan = view.plan
    if bucket * view.rows_per_bucket * plan.exhaustive >= MOST:
        return {}
    counts: Counter[str] = Counter()
    for each in standings:
        if each.reached.asked_in_full and (name := as_json(plan, each.reached.card)):
            counts[name] += each.count
    return dict(counts)


def as_json(plan: Plan, card: Scorecard) -> str:
    """A card without what can end no record; LACKING where only a part is known, an empty string where nothing is."""
    asked = {rubric.name: card.facts[rubric.name] for rubric in plan.rubrics if rubric.name in card.facts}
    if any(fact is None for fact in asked.values()):
        return LACKING if any(fact is not None for fact in asked.values()) else ""
    ending = {rubric.name for rubric in plan.rubrics if can_end(rubric, plan.gate, plan.floor)}
    facts = {name: _values(fact, plan.gate.use) if name in ending else {} for name, fact in asked.items()}
    lacking = [rubric.name for rubric in plan.rubrics if rubric.name in card.not_applicable]
    return json.dumps([facts, lacking], ensure_ascii=False, sort_keys=True)


def _values(fact: Scored | Unscored | None, use: Use) -> dict[str, Any]:
    """What may end a record: the scores that the gate uses, as sampled ones, and checks; failures are all alike."""
    if not isinstance(fact, Scored):
        return {"cause": "malformed"}
    expected = {} if use == "sampled" else {key: value for key, value in fact.expected.items() if value is not None}
    return to_values(replace(fact, scores={**fact.scores, **expected}), ("scores", "checks"))


def read(counts: Mapping[str, int]) -> InFull:
    """What `told` counted, over any number of buckets."""
    cards = []
    for name, count in counts.items():
        if name != LACKING:
            facts, lacking = json.loads(name)
            by_rubric = {rubric: from_values(fact) for rubric, fact in facts.items()}
            cards.append((Scorecard(by_rubric, tuple(lacking)), count))
    return InFull(tuple(cards), counts.get(LACKING, 0))


def of_records(plan: Plan, records: Mapping[bytes, Mapping[str, Scored | Unscored]]) -> InFull:
    """The same from facts by record digest and rubric, where no scan says to whom a rubric does not apply.

    Then only records with facts of all rubrics count as known in full.
    """
    counts: Counter[str] = Counter()
    for digest, facts in records.items():
        if SampleKind.IN_FULL.draws(digest, plan.exhaustive):
            counts[as_json(plan, Scorecard({rubric.name: facts.get(rubric.name) for rubric in plan.rubrics}))] += 1
    counts.pop("", None)
    return read(counts)


def enough(found: InFull, least: int) -> bool:
    """Whether rates may come from the share: enough records, and hardly any others of it."""
    return found.records >= least and whole(found)


def whole(found: InFull) -> bool:
    """Whether hardly any record of the share is known in part only.

    Those of which only a part is known were ended early before the share was as large as it is: leaving them out would
    make rubrics look as if they ended less.
    """
    return 10 * found.lacking <= found.records + found.lacking


def names(rubrics: Sequence[str]) -> str:
    """Rubrics as a job file lists them."""
    return f"[{', '.join(rubrics)}]"
