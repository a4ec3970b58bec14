"""`select --sweep`: what a grid of gates would keep, from one pass over the facts.

A pass counts how many records share which scorecard; the gates are then tried on those patterns, so a grid of fifty
gates reads the store once. A gate is the job's with the grid's thresholds, and decides as it always does (Gate.assess).
Where a fact that a gate needs was never asked (an earlier, stricter gate stopped early, or the fill still runs), the
yield is a range. The same holds where records near a threshold were not asked the further samples that the gate wants
of them (decide/further_samples.py).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from coigw_judge.decide.further_samples import Others, Resampling, merged
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.errors import FixJob
from coigw_judge.replies.outcome import Scored, Unscored, from_values, to_values
from coigw_judge.standing import join
from coigw_judge.standing.join import JoinInput

Grid = Mapping[str, tuple[float, ...]]
"""Values of `total` and `each` to try."""

_RANGE = re.compile(r"(total|each)=(-?\d+(?:\.\d+)?)(?::(-?\d+(?:\.\d+)?))?(?::(\d+(?:\.\d+)?))?")
_LOOKED_AT = ("scores", "checks", "cause")
"""What gates see of a fact."""

_MOST_GATES = 10_000
_SLACK = 1e-9
"""Less than two scores can differ by, more than a sum of floats is off by."""


@dataclass(frozen=True, slots=True)
class Yield:
    """How many rows a gate would keep."""

    total: float | None
    """The gate's threshold of the sum."""
    each: float | None
    """The gate's threshold of every score; None where there is none, or one per dimension."""
    kept: int
    """Kept for certain."""
    possible: int
    """Those that could be kept as well."""
    review: int
    """In review for certain."""
    judged: int
    """All that the judge was asked about."""


def parse_grid(text: str) -> Grid:
    """Read `total=44:56,each=6:9`: first and last value, and optionally a step (1). Raises FixJob."""
    grid: dict[str, tuple[float, ...]] = {}
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None or match[1] in grid:
            raise FixJob(f"--sweep {text}: {piece!r} is no range; write total=44:56,each=6:9 (or each=6:9:0.5)")
        first, step = float(match[2]), float(match[4] or 1)
        last = first if match[3] is None else float(match[3])
        if step <= 0 or last < first:
            raise FixJob(f"--sweep {text}: {piece!r} is empty; write first:last[:step], first <= last, step > 0")
        grid[match[1]] = tuple(first + step * n for n in range(int((last - first) / step + 1e-9) + 1))
    gates = len(grid.get("total", (0,))) * len(grid.get("each", (0,)))
    if gates > _MOST_GATES:
        raise FixJob(f"--sweep {text}: {gates} gates are more than {_MOST_GATES}; take larger steps")
    return grid


def count_patterns(inputs: JoinInput, bucket: int) -> dict[str, int]:
    """How many records of a bucket have which scorecard (`pattern_of`)."""
    counts: Counter[str] = Counter()
    for standing in join.read(inputs, bucket, every_sample=True).standings:
        counts[pattern_of(standing.reached.first, inputs.plan.gate, standing.others)] += standing.count
    return dict(counts)


def pattern_of(card: Scorecard, gate: Gate, others: Others | None = None) -> str:
    """A scorecard as JSON, without what gates that differ only in `total` and `each` cannot tell apart.

    `others`: the record's further samples.
    """
    return card_as_json(_coarse(card, gate) if gate.use == "expected" else card, others)


def _coarse(card: Scorecard, gate: Gate) -> Scorecard:
    """A card whose scores have the sum and the least score of the given one, both in full hundredths.

    Hardly two cards have the same expected scores, and a driver must not hold one for every row. Where one threshold
    holds for every dimension, no gate sees more than this; thresholds have two decimals at the most.
    """
    given = {one.item: one.value for one in card.assess(gate).scores if one.value is not None}
    if not given or isinstance(gate.each, Mapping):
        return _with_scores(card, card.scores(gate.use))
    least = _hundredths(min(given.values()))
    *names, last = given
    total = _hundredths(math.fsum(given.values()))
    return _with_scores(card, dict.fromkeys(names, least) | {last: total - least * len(names) + _SLACK})


def _hundredths(value: float) -> float:
    return math.floor(value * 100 + _SLACK) / 100


def _with_scores(card: Scorecard, scores: Mapping[str, float]) -> Scorecard:
    """The card with these scores, as `rubric.dimension`, as if they were sampled."""
    facts = dict(card.facts)
    for rubric, fact in card.facts.items():
        if isinstance(fact, Scored):
            own = {name.partition(".")[2]: v for name, v in scores.items() if name.partition(".")[0] == rubric}
            facts[rubric] = replace(fact, scores=own, expected={})
    return Scorecard(facts, card.not_applicable)


@dataclass(frozen=True, slots=True)
class _Card:
    """The answers that all rows of one pattern have."""

    first: Scorecard
    """Of their first samples."""
    others: Others
    """Their further samples, as far as they were asked."""


def yields(
    gate: Gate, grid: Grid, counted: Iterable[Mapping[str, int]], samples: Resampling | None = None
) -> list[Yield]:
    """Try every gate of the grid on the patterns that `count_patterns` counted in all buckets.

    `samples`: which records are asked more than once (None: none).
    """
    patterns: Counter[str] = Counter()
    for of_bucket in counted:
        patterns.update(of_bucket)
    each = gate.each if "each" not in grid else None
    cards = _alike(((_from_json(text), rows) for text, rows in patterns.items()), gate, isinstance(each, Mapping))
    gates = product(grid.get("total", (None,)), grid.get("each", (None,)))
    return [_yield(with_thresholds(gate, total, each), cards, samples or Resampling()) for total, each in gates]


def _alike(cards: Iterable[tuple[_Card, int]], gate: Gate, by_dimension: bool) -> list[tuple[_Card, int]]:
    """Merge cards that no gate of a grid tells apart, adding up their rows.

    Where every answer is there and one threshold holds for every dimension, a gate sees the sum, the lowest score and
    whether a check failed; that also tells whether a threshold is near. Cards with further samples are never merged,
    and no card is where thresholds differ `by_dimension`.
    """
    alike: dict[tuple[float | None, ...], tuple[_Card, int]] = {}
    for number, (card, rows) in enumerate(cards):
        assessed = card.first.assess(gate)
        complete = all(one.value is not None for one in (*assessed.scores, *assessed.checks))
        several = any(any(others) for others in card.others.values())
        key: tuple[float | None, ...] = (number,)
        if complete and assessed.scores and not by_dimension and not several:
            key = (assessed.total.value, min(one.best for one in assessed.scores), assessed.lost)
        alike[key] = (card, rows + (alike[key][1] if key in alike else 0))
    return list(alike.values())


def with_thresholds(gate: Gate, total: float | None, each: float | None) -> Gate:
    """The gate with another least total or least score, where one is given."""
    gate = gate if total is None else replace(gate, total=total)
    return gate if each is None else replace(gate, each=each)


def _yield(gate: Gate, cards: list[tuple[_Card, int]], samples: Resampling) -> Yield:
    kept = possible = review = 0
    for counted, rows in cards:
        card, complete = _with_others(counted, gate, samples)
        assessed = card.assess(gate)
        if not complete or (assessed.unknown and assessed.at_best == "kept" and not card.failed()):
            possible += rows
        elif not assessed.unknown:
            kept += rows * (assessed.at_best == "kept")
            review += rows * (assessed.at_best == "review")
    each = gate.each if isinstance(gate.each, (int, float)) else None
    return Yield(gate.total, each, kept, possible, review, sum(rows for _, rows in cards))


def _with_others(counted: _Card, gate: Gate, samples: Resampling) -> tuple[Scorecard, bool]:
    """The card on which a gate decides, and whether all samples that it wants are there."""
    due = samples.due(counted.first, gate)
    others = {rubric: [*counted.others.get(rubric, ()), *[None] * most][: most - 1] for rubric, most in due.items()}
    complete = all(other is not None for samples_of_rubric in others.values() for other in samples_of_rubric)
    return merged(counted.first, others, samples.use), complete


def card_as_json(card: Scorecard, others: Others | None = None) -> str:
    """All that a gate reads of a record, with its further samples by rubric: equal texts are decided alike."""
    facts = {rubric: to_values(fact, _LOOKED_AT) for rubric, fact in card.facts.items() if fact is not None}
    unasked = [rubric for rubric, fact in card.facts.items() if fact is None]
    further = {
        name: [sample and to_values(sample, _LOOKED_AT) for sample in samples]
        for name, samples in (others or {}).items()
    }
    return json.dumps([facts, unasked, card.not_applicable, further], ensure_ascii=False, sort_keys=True)


def _from_json(text: str) -> _Card:
    facts, unasked, not_applicable, further = json.loads(text)
    asked: dict[str, Scored | Unscored | None] = {rubric: from_values(values) for rubric, values in facts.items()}
    others = {rubric: [sample and from_values(sample) for sample in samples] for rubric, samples in further.items()}
    return _Card(Scorecard(asked | dict.fromkeys(unasked), tuple(not_applicable)), others)


def as_text(swept: list[Yield], rows_in: int) -> str:
    """A table for a terminal: a line per `total`, a column per `each`; a range where facts are pending."""
    totals = list(dict.fromkeys(one.total for one in swept))
    eaches = list(dict.fromkeys(one.each for one in swept))
    cells = {(one.total, one.each): _cell(one) for one in swept}
    width = max(8, *(len(cell) + 2 for cell in cells.values()))
    lines = [f"kept of {swept[0].judged:,} judged rows ({rows_in:,} in all), by gate", ""]
    lines.append(f"{'total':>8} |" + "".join(f"{'each ' + _shown(each):>{width}}" for each in eaches))
    lines.append("-" * 8 + "-+" + "-" * (width * len(eaches)))
    for total in totals:
        lines.append(f"{_shown(total):>8} |" + "".join(f"{cells[total, each]:>{width}}" for each in eaches))
    if any(one.possible for one in swept):
        lines += ["", "a-b: facts that this gate needs were never asked; the next fill under it asks exactly those"]
    return "\n".join(lines)


def _cell(one: Yield) -> str:
    return f"{one.kept:,}" + (f"-{one.kept + one.possible:,}" if one.possible else "")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
