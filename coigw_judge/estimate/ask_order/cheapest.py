"""A cheaper order of asks, from records that were asked in full.

Early exit stops a record at the first ask after which nothing can pass, so an order costs, per record, the tokens of
the asks up to there. The cost of an ask and the records that it ends both depend on the asks before it: their fields
are cached, and a rubric may end a record only together with others (a sum). So the search goes step by step: starting
from the listed order, a rubric is moved, or two change places, as long as that takes fewer tokens.

An order looks better on the records that it was chosen on than it is. So the saving is measured by cross-validation:
each half of the records is asked in the order that the other half chooses. Where the interval includes no saving,
nothing is suggested.
Two assumptions: a record's length says nothing about its scores, so mean lengths suffice; and the engine keeps a
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
"""The most scorecards that are used, which takes some seconds; of more, a random choice is taken."""

_ALIKE = 1e-9
"""Orders whose costs differ by less than this share are equally good, and the listed one stays."""

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricRate:
    """A rubric, if it were asked first (after `genre`, where that comes first)."""

    rubric: str
    fields: int
    """How many fields it reads."""
    ends: float
    """The share of records that it ends, of the open ones to which it applies."""
    tokens: float
    """Per such record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The order of asks that is suggested, or why none is. Its names are the keys of a manifest's `order`."""

    listed: tuple[str, ...]
    """The job's order."""
    suggested: tuple[str, ...] = ()
    """Empty where none is."""
    why: str = ""
    """Why none is suggested: few or lacking (records asked in full), listed (it is the cheapest), unsure."""
    records: int = 0
    """Records asked in full."""
    lacking: int = 0
    """Records of that share that lack some facts."""
    tokens_listed: float | None = None
    """Mean tokens per record in the listed order."""
    tokens_suggested: float | None = None
    """The same in the cheapest order."""
    saving: float | None = None
    """The share of tokens that orders save on records that they were not chosen by."""
    low: float | None = None
    """Lower bound of its 99 % interval."""
    high: float | None = None
    """Upper bound."""
    rates: tuple[RubricRate, ...] = ()
    fewest: tuple[str, ...] = ()
    """The order with the fewest fields first."""
    first_listed: float | None = None
    """Prefilled tokens of a record that ends at the first ask of the listed order."""
    first_fewest: float | None = None
    """The same with the fewest fields first."""
    unit: str = "tokens"
    """As in Lengths, and so are the next three."""
    weight: float = 1.0
    weight_from: str = "assumed"
    replies_from: str = ""


class _Records:
    """Records that were asked in full, by scorecard: how many have each (`counts`), and what asking them costs."""

    def __init__(self, plan: Plan, share: AskedInFull, lengths: Lengths) -> None:
        self._plan, self._lengths = plan, lengths
        self.names = tuple(rubric.name for rubric in plan.rubrics)
        self.first, self._free, self._last = tied(plan.rubrics, plan.gate, plan.floor)
        some = np.random.default_rng(0).permutation(len(share.cards))[:_MOST_CARDS].tolist()
        self._cards = [share.cards[n][0] for n in some]
        self._kinds = [frozenset(card.facts) for card in self._cards]
        self.counts = np.array([share.cards[n][1] for n in some], np.int64)
        self._open: dict[frozenset[str], np.ndarray[Any, Any]] = {}
        self._costs: dict[tuple[str, frozenset[str]], Numbers] = {}

    def open_after(self, asked: frozenset[str]) -> np.ndarray[Any, Any]:
        """Which cards early exit still asks about after these rubrics."""
        if asked not in self._open:
            before = self.open_after(asked - {max(asked)}) if asked else np.ones(len(self._cards), bool)
            ends = (
                not is_open or self._plan.ends(_as_asked(card, asked))
                for card, is_open in zip(self._cards, before, strict=True)
            )
            self._open[asked] = ~np.fromiter(ends, bool, len(self._cards))
        return self._open[asked]

    def cost(self, name: str, asked: frozenset[str]) -> Numbers:
        """Per card the tokens of asking a rubric after these; 0 where it is not asked."""
        if (name, asked) not in self._costs:
            costs = {kind: self._lengths.cost(name, asked & kind) for kind in set(self._kinds) if name in kind}
            of_card = np.array([costs.get(kind, 0.0) for kind in self._kinds])
            self._costs[name, asked] = of_card * self.open_after(asked)
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


def _as_asked(card: Scorecard, asked: frozenset[str]) -> Scorecard:
    return Scorecard({n: fact if n in asked else None for n, fact in card.facts.items()}, card.not_applicable)


def suggest(plan: Plan, share: AskedInFull, lengths: Lengths) -> Suggestion:
    """A cheaper order for these records than the plan's own, where the saving is significant."""
    records = _Records(plan, share, lengths)
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
        records=share.records,
        lacking=share.lacking,
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
    """The cross-validated saving, as a share of the listed order's tokens, and its 99 % interval."""
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
