"""The cheapest order of asks, from records of which everything is known.

Early exit stops a record at the first ask after which nothing can pass, so an order costs, per record, the tokens of
the asks up to there. That is the ordering of predicates in a database, with two differences: a rubric may end a record
only together with others (a sum), and what an ask costs hangs on which fields the asks before it have shown. Both hang
on the set of rubrics asked and not on its order, so a table over the sets gives the cheapest order exactly; over
EXACT free rubrics the next one is taken by its chance to end the record per token.

An order that is chosen on some records looks better on them than it is. So its saving comes from resamples: on each an
order is chosen anew, and measured on the records that were not drawn. Where that may be no saving at all, nothing is
suggested.
Taken as given: mean lengths (a record's length is taken to say nothing of its scores), and an engine that keeps a
record's prefix from ask to ask. Not known here: where the records come from, how lengths are measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from coigw_judge.decide.ask_order import tied
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.records.record import FieldName
from coigw_judge.standing.asked_in_full import InFull

EXACT = 10
"""Free rubrics up to which all sets are gone through."""

_DRAWS = 200
_EVALUATIONS = 100_000
_CARDS = 500
"""Cards times sets at the most, or cards where not all sets are gone through: a few seconds. Of more cards a random
choice is taken."""

_ALIKE = 1e-9
"""Orders whose costs differ by less than this share are equally good, and the listed one stays."""

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean tokens. `shown`: per rubric its fields in the prompt's order; `tasks`: what follows them; `replies`.

    `weight`: how many prefilled tokens take the time of a generated one. `unit`, `weight_from` and `replies_from` say
    what that is: tokens, `scaled` or characters; given or assumed; facts or nothing.
    """

    shown: Mapping[str, Sequence[tuple[FieldName, float]]]
    tasks: Mapping[str, float]
    replies: Mapping[str, float] = field(default_factory=dict)
    weight: float = 1.0
    unit: str = "tokens"
    weight_from: str = "assumed"
    replies_from: str = ""

    def prefill(self, name: str, before: Sequence[str] = ()) -> float:
        """Tokens that a rubric's request adds to what was shown before: fields beyond the shared ones, and its task."""
        mine = self.shown[name]
        shared = max((_common(mine, self.shown[other]) for other in before), default=0)
        return self.tasks[name] + sum(length for _, length in mine[shared:])

    def cost(self, name: str, before: Sequence[str] = ()) -> float:
        """The same with its reply, in prefilled tokens."""
        return self.prefill(name, before) + self.weight * self.replies.get(name, 0.0)


def _common(one: Sequence[tuple[FieldName, float]], other: Sequence[tuple[FieldName, float]]) -> int:
    """How many fields two prompts begin with alike."""
    alike = takewhile(lambda pair: pair[0][0] == pair[1][0], zip(one, other, strict=False))
    return sum(1 for _ in alike)


class Sample:
    """Records of which everything is known, as patterns: which sets of asks leave which of them undecided."""

    def __init__(self, plan: Plan, found: InFull, lengths: Lengths) -> None:
        self.plan, self.lengths = plan, lengths
        self.names = [rubric.name for rubric in plan.rubrics]
        self.first, self.free, self.last = tied(plan.rubrics, plan.gate, plan.floor)
        cards = list(found.cards)
        most = _EVALUATIONS >> len(self.free) if len(self.free) <= EXACT else _CARDS
        if len(cards) > most:
            chosen = np.random.default_rng(0).permutation(len(cards))[:most]
            cards = [cards[n] for n in chosen.tolist()]
        self._cards = [card for card, _ in cards]
        self.counts = np.array([count for _, count in cards], np.int64)
        self._applies = np.array([[name in card.facts for name in self.names] for card in self._cards], bool)
        self._kinds = {tuple(row) for row in self._applies.tolist()}
        self._undecided: dict[frozenset[str], np.ndarray[Any, Any]] = {}

    def undecided(self, asked: frozenset[str]) -> np.ndarray[Any, Any]:
        """Which cards early exit would still ask about after these rubrics."""
        found = self._undecided.get(asked)
        if found is None:
            # What was decided stays so: only what one rubric less left open has to be looked at.
            before = self.undecided(asked - {min(asked)}) if asked else np.ones(len(self._cards), bool)
            found = before.copy()
            for n in np.flatnonzero(before).tolist():
                found[n] = not self.plan.ends(_known(self._cards[n], asked))
            self._undecided[asked] = found
        return found

    def step(self, asked: frozenset[str], name: str) -> Numbers:
        """Per card the tokens of asking a rubric after these; 0 where it is not asked."""
        costs = np.zeros(len(self._cards))
        at = self.names.index(name)
        for kind in self._kinds:
            if kind[at]:
                before = [other for there, other in zip(kind, self.names, strict=True) if there and other in asked]
                costs[(self._applies == np.array(kind)).all(axis=1)] = self.lengths.cost(name, before)
        return np.where(self.undecided(asked), costs, 0.0)

    def tokens(self, order: Sequence[str]) -> Numbers:
        """Per card the tokens of asking in this order."""
        total = np.zeros(len(self._cards))
        for n, name in enumerate(order):
            total += self.step(frozenset(order[:n]), name)
        return total


def _known(card: Scorecard, asked: frozenset[str]) -> Scorecard:
    return Scorecard({n: fact if n in asked else None for n, fact in card.facts.items()}, card.not_applicable)


class _Chooser:
    """The cheapest order for any weights of a sample's cards: what an ask costs after every set is laid out once."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._free = sample.free
        self._exact = len(self._free) <= EXACT
        if self._exact:
            sets, names = range(1 << len(self._free)), range(len(self._free))
            open_ = [(at, n) for at in sets for n in names if not at >> n & 1]
            self._places = {place: k for k, place in enumerate(open_)}
            columns = [sample.step(self._names(at), self._free[n]) for at, n in self._places]
            self._steps = np.stack(columns, axis=1) if columns else np.zeros((len(sample.counts), 0))

    def _names(self, at: int) -> frozenset[str]:
        return frozenset((*self._sample.first, *(name for n, name in enumerate(self._free) if at >> n & 1)))

    def order(self, weights: Numbers) -> tuple[str, ...]:
        """The order of all rubrics that takes the fewest tokens, the listed one among equals."""
        free = self._by_sets(weights) if self._exact else self._by_rate(weights)
        return (*self._sample.first, *free, *self._sample.last)

    def _by_sets(self, weights: Numbers) -> list[str]:
        costs = (weights @ self._steps).tolist()
        full = (1 << len(self._free)) - 1
        best, then = [0.0] * (full + 1), [0] * (full + 1)
        for at in range(full - 1, -1, -1):
            left = [n for n in range(len(self._free)) if not at >> n & 1]
            choices = [(costs[self._places[at, n]] + best[at | 1 << n], n) for n in left]
            least = min(cost for cost, _ in choices)
            best[at], then[at] = next(choice for choice in choices if choice[0] <= least * (1 + _ALIKE))
        found, at = [], 0
        while at != full:
            found.append(self._free[then[at]])
            at |= 1 << then[at]
        return found

    def _by_rate(self, weights: Numbers) -> list[str]:
        found: list[str] = []
        while len(found) < len(self._free):
            asked = frozenset((*self._sample.first, *found))
            left = [name for name in self._free if name not in found]
            alive = weights @ self._sample.undecided(asked)

            def rate(name: str, asked: frozenset[str] = asked, alive: float = alive) -> float:
                ended = alive - weights @ self._sample.undecided(asked | {name})
                return float(ended / max(weights @ self._sample.step(asked, name), 1e-12))

            found.append(max(left, key=rate))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
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
    rates: tuple[Rate, ...] = ()
    fewest: tuple[str, ...] = ()
    first_listed: float | None = None
    first_fewest: float | None = None
    unit: str = "tokens"
    weight: float = 1.0
    weight_from: str = "assumed"
    replies_from: str = ""


def suggest(plan: Plan, found: InFull, lengths: Lengths) -> Suggestion:
    """The cheapest order for these records, and whether it is surely cheaper than the plan's own."""
    sample = Sample(plan, found, lengths)
    chooser = _Chooser(sample)
    listed = tuple(sample.names)
    counts = sample.counts.astype(np.float64)
    per_record = counts / counts.sum()
    best = chooser.order(per_record)
    before = float(per_record @ sample.tokens(listed))
    after = float(per_record @ sample.tokens(best))
    saving, low, high = _savings(sample, chooser)
    same = after >= before * (1 - _ALIKE)
    why = "listed" if same else "" if low > 0 else "unsure"
    return Suggestion(
        listed=listed,
        suggested=best if not why else (),
        why=why,
        records=found.records,
        lacking=found.lacking,
        tokens_listed=before,
        tokens_suggested=before if same else after,
        saving=0.0 if same else saving,
        low=low,
        high=high,
        rates=_rates(sample, per_record),
        unit=lengths.unit,
        weight=lengths.weight,
        weight_from=lengths.weight_from,
        replies_from=lengths.replies_from,
    )


def _savings(sample: Sample, chooser: _Chooser) -> tuple[float, float, float]:
    """What orders save that are chosen on drawn records and measured on the others: the mean, and 95 of 100 of them."""
    of_card = np.repeat(np.arange(len(sample.counts)), sample.counts)
    dice = np.random.default_rng(0)
    listed = sample.tokens(sample.names)
    known: dict[tuple[str, ...], Numbers] = {}
    savings = []
    for _ in range(_DRAWS):
        times = np.bincount(dice.integers(0, len(of_card), len(of_card)), minlength=len(of_card))
        weights = np.bincount(of_card, times, len(sample.counts)).astype(np.float64)
        left = np.bincount(of_card, times == 0, len(sample.counts)).astype(np.float64)
        order = chooser.order(weights)
        if order not in known:
            known[order] = sample.tokens(order)
        if spent := float(left @ listed):
            savings.append(1 - float(left @ known[order]) / spent)
    if not savings:
        return 0.0, 0.0, 0.0
    low, high = np.percentile(savings, [2.5, 97.5])
    return float(np.mean(savings)), float(low), float(high)


def _rates(sample: Sample, weights: Numbers) -> tuple[Rate, ...]:
    first = frozenset(sample.first)
    found = []
    for rubric in sample.plan.rubrics:
        asked = first - {rubric.name}
        costs = sample.step(asked, rubric.name)
        open_ = weights @ (costs > 0)
        ended = open_ - weights @ ((costs > 0) & sample.undecided(asked | {rubric.name}))
        mean = float(weights @ costs / open_) if open_ else 0.0
        ends = float(ended / open_) if open_ else 0.0
        found.append(Rate(rubric=rubric.name, fields=len(rubric.fields), ends=ends, tokens=mean))
    return tuple(found)
