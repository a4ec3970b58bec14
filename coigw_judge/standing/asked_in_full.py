"""Scorecards of the share of records that are asked in full, although early exit could spare some of their asks.

Survey and select see every record's scorecard, pattern by pattern, and count those of the share on the way. Of a card
only what may end a record is kept. Buckets are ranges of a hash, so the first ones are a random sample: buckets are
counted until they hold about MOST records of the share.
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
    """The values of a fact that matter to a decision."""

    scores: tuple[tuple[str, float], ...] = ()
    checks: tuple[tuple[str, bool], ...] = ()
    failed: bool = False
    """Whether the judge gave no score."""


class Card(NamedTuple):
    """A scorecard as a key to count by: values by rubric, and the rubrics that do not apply."""

    facts: tuple[tuple[str, Values], ...]
    not_applicable: tuple[str, ...]


class ShareCounts(Counts):
    """Counts of the records of the share; they add up over buckets."""

    cards: Counter[Card] = Field(default_factory=Counter)
    """Records with facts of all rubrics, by scorecard."""
    lacking: int = 0
    """Records that lack some facts: the share was smaller once, or a fill was cut off."""


@dataclass(frozen=True, slots=True)
class AskedInFull:
    """The records of the share, by scorecard."""

    cards: tuple[tuple[Scorecard, int], ...] = ()
    """Scorecards with facts of all rubrics, and how many records have each."""
    lacking: int = 0
    """Records that lack some facts."""

    @property
    def records(self) -> int:
        """Records with facts of all rubrics."""
        return sum(count for _, count in self.cards)


def count_share(inputs: JoinInput, bucket: int, standings: Iterable[Standing]) -> ShareCounts:
    """Count a bucket's records of the share."""
    plan, share = inputs.plan, ShareCounts()
    if bucket * inputs.rows_per_bucket * plan.exhaustive < MOST:
        for standing in standings:
            if standing.reached.asked_in_full:
                add_card(share, plan, standing.reached.card, standing.count)
    return share


def add_card(share: ShareCounts, plan: Plan, card: Scorecard, records: int = 1) -> None:
    """Count records with this card, of which only what can end a record is kept."""
    asked = {rubric.name: card.facts[rubric.name] for rubric in plan.rubrics if rubric.name in card.facts}
    answered = [fact is not None for fact in asked.values()]
    if not all(answered):
        share.lacking += records * any(answered)
        return
    ending = {rubric.name for rubric in plan.rubrics if can_end(rubric, plan.gate, plan.floor)}
    facts = ((name, _values(fact, plan.gate.use) if name in ending else Values()) for name, fact in asked.items())
    lacking = (rubric.name for rubric in plan.rubrics if rubric.name in card.not_applicable)
    share.cards[Card(tuple(facts), tuple(lacking))] += records


def _values(fact: Scored | Unscored | None, use: Use) -> Values:
    """A fact's values, with the scores that the gate uses; `read` gives them back as sampled scores."""
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
    """The share's scorecards from facts alone, by record digest and rubric.

    Without a scan one cannot tell which rubrics do not apply: a record without all rubrics' facts counts as lacking.
    """
    share = ShareCounts()
    for digest, facts in records.items():
        if SampleKind.IN_FULL.draws(digest, plan.exhaustive):
            add_card(share, plan, Scorecard({rubric.name: facts.get(rubric.name) for rubric in plan.rubrics}))
    return read(share)


def enough(share: AskedInFull, least: int) -> bool:
    """Whether rates may come from the share: at least `least` records with all facts, and hardly any others."""
    return share.records >= least and whole(share)


def whole(share: AskedInFull) -> bool:
    """Whether hardly any record of the share lacks facts.

    Those that do were ended early while the share was smaller. Rates without them would say that rubrics end fewer
    records than they do.
    """
    return 10 * share.lacking <= share.records + share.lacking


def names(rubrics: Sequence[str]) -> str:
    """Rubrics as a job file lists them."""
    return f"[{', '.join(rubrics)}]"
