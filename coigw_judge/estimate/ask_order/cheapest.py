"""A cheaper order of asks, from records that were asked in full.

Early exit stops a record at the first ask after which nothing can pass, so an order costs, per record, the tokens of
the asks up to there. What an ask costs and whom it ends both depend on the asks before it: they have shown fields, and
a rubric may end a record only together with others (a sum). So an order is searched for step by step: from the listed
one, a rubric is moved, or two change places, as long as that takes fewer tokens.

An order that is chosen on some records looks better on them than it is. So its saving is measured on others: each
half of the records in the order that the other half chooses. Where that may be no saving at all, nothing is
suggested.
Taken as given: mean lengths (a record's length is taken to say nothing of its scores), and an engine that keeps a
record's prefix from ask to ask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from coigw_judge.decide.ask_order import tied
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.estimate.ask_order.lengths import Lengths
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.standing.asked_in_full import AskedInFull

_SURE = 2.58
"""Standard errors of a 99 % interval. (Searching among orders finds savings by chance in more than 1 of 100 cases.)"""

_MOST_CARDS = 500
"""Scorecards that are looked at: some seconds. Of more a random choice is taken."""

_ALIKE = 1e-9
"""Orders whose costs differ by less than this share are equally good, and the listed one stays."""

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricRate:
    """A rubric asked first (after `genre`, where that comes first): the share of the records to which it applies and
    that are open then that it ends, and its tokens."""

    rubric: str
    fields: int
    ends: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """`suggested` is empty where nothing is; `why` says why: few, lacking, listed (it is the cheapest), unsure.

    Tokens are means per record of the sample; `saving` and its interval, shares of the listed order's, are what orders
    save on records that they were not chosen by. `first_listed` and `first_fewest`: prefilled tokens of a record that
    ends at the first ask.
    """

    listed: tuple[str, ...]
    suggested: tuple[str, ...] = ()
    why: str = ""
    records: int = 0
    lacking: int = 0
    tokens_listed: float | None = None
    tokens_suggested: float | None = None
    saving: float | None = None
    low: float | None = None
    high: float | None = None
    rates: tuple[RubricRate, ...] = ()
    fewest: tuple[str, ...] = ()
    first_listed: float | None = None
    first_fewest: float | None = None
    unit: str = "tokens"
    weight: float = 1.0
    weight_from: str = "assumed"
    replies_from: str = ""


class _Records:
    """Records that were asked in full: their scorecards, how many have each (`counts`), and what asking them costs."""

    def __init__(self, plan: Plan, found: AskedInFull, lengths: Lengths) -> None:
        self._plan, self._lengths = plan, lengths
        self.names = tuple(rubric.name for rubric in plan.rubrics)
        self.first, self._free, self._last = tied(plan.rubrics, plan.gate, plan.floor)
        some = np.random.default_rng(0).permutation(len(found.cards))[:_MOST_CARDS].tolist()
        self._cards = [found.cards[n][0] for n in some]
        self._kinds = [frozenset(card.facts) for card in self._cards]
        self.counts = np.array([found.cards[n][1] for n in some], np.int64)
        self._open: dict[frozenset[str], np.ndarray[Any, Any]] = {}
        self._costs: dict[tuple[str, frozenset[str]], Numbers] = {}

    def open_after(self, asked: frozenset[str]) -> np.ndarray[Any, Any]:
        """Which cards early exit still asks about after these rubrics."""
        if asked not in self._open:
            before = self.open_after(asked - {max(asked)}) if asked else np.ones(len(self._cards), bool)
            ends = (
                not is_open or self._plan.ends(_known(card, asked))
                for card, is_open in zip(self._cards, before, strict=True)
            )
            self._open[asked] = ~np.fromiter(ends, bool, len(self._cards))
        return self._open[asked]

    def cost(self, name: str, asked: frozenset[str]) -> Numbers:
        """Per card the tokens of asking a rubric after these; 0 where it is not asked."""
        if (name, asked) not in self._costs:
            costs = {kind: self._lengths.cost(name, asked & kind) for kind in set(self._kinds) if name in kind}
            each = np.array([costs.get(kind, 0.0) for kind in self._kinds])
            self._costs[name, asked] = each * self.open_after(asked)
        return self._costs[name, asked]

    def tokens(self, order: Sequence[str]) -> Numbers:
        """Per card the tokens of asking in this order."""
        costs = (self.cost(name, frozenset(order[:n])) for n, name in enumerate(order))
        return sum(costs, np.zeros(len(self.counts)))

    def order(self, counts: np.ndarray[Any, Any]) -> tuple[str, ...]:
        """A cheap order of all rubrics for so many records of each card; the listed one among equals."""
        best = tuple(self._free)
        least = self._total(best, counts)
        while others := [(self._total(other, counts), other) for other in _changed(best)]:
            tokens, other = min(others, key=lambda pair: pair[0])
            if tokens >= least * (1 - _ALIKE):
                break
            least, best = tokens, other
        return (*self.first, *best, *self._last)

    def _total(self, free: Sequence[str], counts: np.ndarray[Any, Any]) -> float:
        return float(counts @ self.tokens((*self.first, *free)))


def _changed(order: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The orders in which one rubric was moved or two changed places."""
    for one, other in permutations(range(len(order)), 2):
        moved, swapped = list(order), list(order)
        moved.insert(other, moved.pop(one))
        swapped[one], swapped[other] = swapped[other], swapped[one]
        yield from (tuple(moved), tuple(swapped))


def _known(card: Scorecard, asked: frozenset[str]) -> Scorecard:
    return Scorecard({n: fact if n in asked else None for n, fact in card.facts.items()}, card.not_applicable)


def suggest(plan: Plan, found: AskedInFull, lengths: Lengths) -> Suggestion:
    """A cheaper order for these records than the plan's own, where there surely is one."""
    records = _Records(plan, found, lengths)
    per_record = records.counts / records.counts.sum()
    best = records.order(records.counts)
    before = float(per_record @ records.tokens(records.names))
    after = float(per_record @ records.tokens(best))
    saving, low, high = _saving(records)
    same = after >= before * (1 - _ALIKE)
    why = "listed" if same else "" if low > 0 else "unsure"
    return Suggestion(
        listed=records.names,
        suggested=best if not why else (),
        why=why,
        records=found.records,
        lacking=found.lacking,
        tokens_listed=before,
        tokens_suggested=before if same else after,
        saving=0.0 if same else saving,
        low=low,
        high=high,
        rates=tuple(_rate(records, rubric, per_record) for rubric in plan.rubrics),
        unit=lengths.unit,
        weight=lengths.weight,
        weight_from=lengths.weight_from,
        replies_from=lengths.replies_from,
    )


def _saving(records: _Records) -> tuple[float, float, float]:
    """The share of the listed order's tokens that chosen orders save on records that they were not chosen by, and its
    99 % interval."""
    of_record = np.repeat(np.arange(len(records.counts)), records.counts)
    np.random.default_rng(0).shuffle(of_record)
    listed = records.tokens(records.names)
    halves = of_record[::2], of_record[1::2]
    orders = [records.order(np.bincount(half, minlength=len(listed))) for half in halves]
    before = listed[np.concatenate(halves)]
    less = before - np.concatenate([records.tokens(orders[1])[halves[0]], records.tokens(orders[0])[halves[1]]])
    if not before.sum():
        return 0.0, 0.0, 0.0
    share = less.sum() / before.sum()
    off = _SURE * np.sqrt(np.sum((less - share * before) ** 2)) / before.sum()
    return float(share), float(share - off), float(share + off)


def _rate(records: _Records, rubric: Rubric, per_record: Numbers) -> RubricRate:
    asked = frozenset(records.first) - {rubric.name}
    costs = records.cost(rubric.name, asked)
    applies = float(per_record @ (costs > 0))
    ends = per_record @ ((costs > 0) & ~records.open_after(asked | {rubric.name}))
    return RubricRate(
        rubric=rubric.name,
        fields=len(rubric.fields),
        ends=float(ends / applies) if applies else 0.0,
        tokens=float(per_record @ costs / applies) if applies else 0.0,
    )
