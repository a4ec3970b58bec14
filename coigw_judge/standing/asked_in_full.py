"""What the judge said of the share of records that are asked in full, whatever early exit could spare.

Survey and select see every record's scorecard, pattern by pattern, and count those of the share on the way. Of a card
only what may end a record is kept. The buckets are spans of a hash, so the first ones are a sample as good as any, and
as many are counted as hold about MOST records of the share.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from coigw_judge.counts import Counts
from coigw_judge.decide.ask_order import can_end
from coigw_judge.decide.gate import Use
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.standing.join import JoinInput, Standing

MOST = 20_000


class Values(NamedTuple):
    """What a fact says of a decision."""

    scores: tuple[tuple[str, float], ...] = ()
    checks: tuple[tuple[str, bool], ...] = ()
    failed: bool = False
    """Whether the judge gave no score."""


class Card(NamedTuple):
    """A scorecard that can be counted by: by rubric what is known, and the rubrics that do not apply."""

    facts: tuple[tuple[str, Values], ...]
    not_applicable: tuple[str, ...]


class ShareCounts(Counts):
    """Records of the share, of any number of buckets."""

    cards: Counter[Card] = Field(default_factory=Counter)
    """Those of which all is known."""
    lacking: int = 0
    """Those of which only a part is known: the share is larger than it was, or a fill was cut off."""


@dataclass(frozen=True, slots=True)
class AskedInFull:
    """Scorecards of records of the share of which all is known, how many have each; and how many others there are."""

    cards: tuple[tuple[Scorecard, int], ...] = ()
    lacking: int = 0

    @property
    def records(self) -> int:
        """Records of which all is known."""
        return sum(count for _, count in self.cards)


def count_share(inputs: JoinInput, bucket: int, standings: Iterable[Standing]) -> ShareCounts:
    """A bucket's records of the share, by what is known of them."""
    plan, share = inputs.plan, ShareCounts()
    if bucket * inputs.rows_per_bucket * plan.exhaustive < MOST:
        for standing in standings:
            if standing.reached.asked_in_full:
                add_card(share, plan, standing.reached.card, standing.count)
    return share


def add_card(share: ShareCounts, plan: Plan, card: Scorecard, records: int = 1) -> None:
    """Count records with this card, of which only what can end a record is kept."""
    asked = {rubric.name: card.facts[rubric.name] for rubric in plan.rubrics if rubric.name in card.facts}
    known = [fact is not None for fact in asked.values()]
    if not all(known):
        share.lacking += records * any(known)
        return
    ending = {rubric.name for rubric in plan.rubrics if can_end(rubric, plan.gate, plan.floor)}
    facts = ((name, _values(fact, plan.gate.use) if name in ending else Values()) for name, fact in asked.items())
    lacking = (rubric.name for rubric in plan.rubrics if rubric.name in card.not_applicable)
    share.cards[Card(tuple(facts), tuple(lacking))] += records


def _values(fact: Scored | Unscored | None, use: Use) -> Values:
    """A fact's values, its scores those that the gate uses: `read` gives them back as sampled ones, which stand in."""
    if not isinstance(fact, Scored):
        return Values(failed=True)
    expected = {} if use == "sampled" else {key: value for key, value in fact.expected.items() if value is not None}
    scores = {**fact.scores, **expected}
    return Values(tuple(sorted(scores.items())), tuple(sorted(fact.checks.items())))


def read(share: ShareCounts) -> AskedInFull:
    """The share's scorecards."""
    cards = (
        (Scorecard({rubric: _fact(values) for rubric, values in card.facts}, card.not_applicable), records)
        for card, records in share.cards.items()
    )
    return AskedInFull(tuple(cards), share.lacking)


def _fact(values: Values) -> Scored | Unscored:
    if values.failed:
        return Unscored(cause="malformed")
    return Scored(scores=dict(values.scores), checks=dict(values.checks))


def of_records(plan: Plan, records: Mapping[bytes, Mapping[str, Scored | Unscored]]) -> AskedInFull:
    """The same from facts by record digest and rubric, where no scan says to whom a rubric does not apply.

    Then only records with facts of all rubrics count as known in full.
    """
    share = ShareCounts()
    for digest, facts in records.items():
        if SampleKind.IN_FULL.draws(digest, plan.exhaustive):
            add_card(share, plan, Scorecard({rubric.name: facts.get(rubric.name) for rubric in plan.rubrics}))
    return read(share)


def enough(found: AskedInFull, least: int) -> bool:
    """Whether rates may come from the share: enough records, and hardly any others of it."""
    return found.records >= least and whole(found)


def whole(found: AskedInFull) -> bool:
    """Whether hardly any record of the share is known in part only.

    Those of which only a part is known were ended early before the share was as large as it is: leaving them out would
    make rubrics look as if they ended less.
    """
    return 10 * found.lacking <= found.records + found.lacking


def names(rubrics: Sequence[str]) -> str:
    """Rubrics as a job file lists them."""
    return f"[{', '.join(rubrics)}]"
