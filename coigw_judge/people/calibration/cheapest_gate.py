"""The gate that reaches a wanted recall at the least review cost, over scores that are known already.

Recall: of the records that people accept, the (weighted) share that a gate sends on as kept or review. Cost: how many
rows of the whole run that gate sends on, because people must look at each. Both halves of the gate are swept: the least
sum, and the least of each score (where the job sets floors by dimension, these are moved together). Only thresholds
that some accepted record just reaches need be tried: between two of them recall stays and cost only grows.
A chosen gate looks better on the labels that chose it than on others, so beside its recall stands the recall on
records left out of resamples: the choice is made anew on each resample, and measured on what was not drawn.
Not known here: labels of items other than the decision; what a new gate would still have to ask.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.people.calibration.agreement import Bootstrap, Floats, resamples
from coigw_judge.run_folder.verdicts import scores_of

_JUDGED = ("kept", "review", "dropped", "pending", "unscored")
_RESAMPLES = 200
MOST_STEPS = 200
"""Of the line that a plot of recall against cost draws."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a gate looks at. `floors`: per dimension, None without one; `tops`: the highest score of each."""

    over: tuple[str, ...]
    require: tuple[str, ...]
    total: float | None
    floors: tuple[float | None, ...]
    tops: tuple[float, ...]
    review_total: float
    review_each: float
    expected: bool = False
    """Whether the gate uses expected scores; a sampled one stands in where there is none."""

    @property
    def by_dimension(self) -> bool:
        """Whether floors differ, so that they are moved together and not set."""
        return len(set(self.floors)) > 1

    @property
    def columns(self) -> list[str]:
        """What of a verdict is needed."""
        return ["decision", "not_applicable", *self.over, *self.require, *(["expected"] if self.expected else [])]


@dataclass(frozen=True, slots=True)
class Standing:
    """Rows as a sweep sees them: the sum and the lowest score (or margin over its floor), at best where unknown."""

    total: Floats
    least: Floats
    known: np.ndarray[Any, np.dtype[np.bool_]]


def standing(table: pa.Table, rule: Rule) -> Standing:
    """Where the rows of a table stand; one whose check failed, or that was never judged, stands below every gate."""
    own = [scores_of(table, name, rule.expected) for name in rule.over]
    scores = np.stack(own, axis=1) if own else np.zeros((len(table), 0))
    applies = ~_not_applicable(table, [name.partition(".")[0] for name in rule.over])
    unknown = np.isnan(scores) & applies
    best = np.where(unknown, np.array(rule.tops, np.float64), np.nan_to_num(scores))
    total = _comparable(np.where(applies, best, 0).sum(axis=1), rule)
    margins = best - np.array([_base(rule, floor) for floor in rule.floors], np.float64)
    counts = applies & np.array([floor is not None or not rule.by_dimension for floor in rule.floors], bool)
    least = _comparable(np.where(counts, margins, math.inf).min(axis=1, initial=math.inf), rule)
    out, unsure = _outside(table, rule)
    out |= ~applies.any(axis=1)  # the gate says: dropped, as none of its rubrics applies
    total[out], least[out] = -math.inf, -math.inf
    return Standing(total, least, ~(unknown.any(axis=1) | unsure) | out)


def _base(rule: Rule, floor: float | None) -> float:
    return (floor or 0.0) if rule.by_dimension else 0.0


def _comparable(values: Floats, rule: Rule) -> Floats:
    """Values that float errors do not tell apart. Expected ones in full hundredths: else as many as there are rows."""
    return np.asarray(np.floor(values * 100 + 1e-7) / 100 if rule.expected else np.round(values, 9))


def _not_applicable(table: pa.Table, rubrics: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    joined = pc.binary_join(table["not_applicable"].combine_chunks(), ",").fill_null("").dictionary_encode()
    lines = [set(text.split(",")) for text in joined.dictionary.to_pylist()]
    masks = np.array([[rubric in line for rubric in rubrics] for line in lines], bool).reshape(len(lines), len(rubrics))
    return np.asarray(masks[joined.indices.to_numpy()])


def _outside(table: pa.Table, rule: Rule) -> tuple[Any, Any]:
    """Which rows can pass no gate of the sweep, and which rows hang on a check that is not known."""
    out = ~pc.is_in(table["decision"], value_set=pa.array(_JUDGED)).combine_chunks().to_numpy(zero_copy_only=False)
    unsure = np.zeros(len(table), bool)
    applies_not = _not_applicable(table, [name.partition(".")[0] for name in rule.require])
    for at, name in enumerate(rule.require):
        column = table[name].combine_chunks()
        out |= pc.fill_null(pc.invert(column), False).to_numpy(zero_copy_only=False)
        unsure |= pc.is_null(column).to_numpy(zero_copy_only=False) & ~applies_not[:, at]
    return out, unsure


class Costs:
    """How many rows of a run stand at or above two thresholds; rows are added piece by piece."""

    def __init__(self) -> None:
        self._sure: dict[tuple[float, float], int] = {}
        self._unsure: dict[tuple[float, float], int] = {}
        self.rows = 0

    def add(self, rows: Standing) -> None:
        """Count rows."""
        self.rows += len(rows.total)
        for known, counted in ((True, self._sure), (False, self._unsure)):
            chosen = (rows.known == known) & np.isfinite(rows.total)
            pairs = np.stack([rows.total[chosen], rows.least[chosen]], axis=1)
            distinct, counts = np.unique(pairs, axis=0, return_counts=True)
            for (total, least), count in zip(distinct.tolist(), counts.tolist(), strict=True):
                counted[total, least] = counted.get((total, least), 0) + count

    def grid(self, totals: Floats, leasts: Floats) -> tuple[Floats, Floats]:
        """Rows that pass for certain, and rows that could pass, for every pair of thresholds."""
        return _passing(self._sure, totals, leasts), _passing(self._unsure, totals, leasts)


def _passing(counted: Mapping[tuple[float, float], int], totals: Floats, leasts: Floats) -> Floats:
    if not counted:
        return np.zeros((len(totals), len(leasts)))
    points = np.array(list(counted), np.float64)
    return _grid(points[:, 0], points[:, 1], np.array(list(counted.values()), np.float64), totals, leasts)


def _grid(at_total: Floats, at_least: Floats, weights: Floats, totals: Floats, leasts: Floats) -> Floats:
    """The weight at or above each pair of thresholds; thresholds ascend."""
    rows = np.searchsorted(totals, at_total, side="right") - 1
    columns = np.searchsorted(leasts, at_least, side="right") - 1
    reached = (rows >= 0) & (columns >= 0)
    found = np.zeros((len(totals), len(leasts)))
    np.add.at(found, (rows[reached], columns[reached]), weights[reached])
    return np.asarray(found[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1])


@dataclass(frozen=True, slots=True)
class Choice:
    """A gate, its recall on the labels, on labels left out, and its cost in rows of the run.

    `cost_at_most` also counts rows whose missing scores could lift them over it. `total` and `each` are the job's
    keys; `each` is a shift of all floors where these differ (`each_shift`). `wanted`: the recall asked for.
    """

    wanted: float
    total: float | None
    each: float | None
    each_shift: float | None
    recall: float
    recall_elsewhere: float | None
    cost: int
    cost_at_most: int


def choose(
    labelled: Standing,
    accepted: np.ndarray[Any, np.dtype[np.bool_]],
    weights: Floats,
    costs: Costs,
    rule: Rule,
    wanted: Iterable[float],
    how: Bootstrap,
) -> list[Choice]:
    """For each wanted recall the gate of least cost that reaches it. Empty where people accept nothing.

    `labelled` has only records whose scores are known. A recall that no gate reaches has no choice.
    """
    if not accepted.any() or not len(labelled.total):
        return []
    totals, leasts = _thresholds(labelled, accepted)
    sure, unsure = costs.grid(totals, leasts)

    def recalls(times: Floats) -> Floats:
        return _recalls(labelled, accepted, weights * times, totals, leasts)

    grid = recalls(np.ones(len(weights)))
    chosen = {want: at for want in wanted if (at := _cheapest(grid, sure, want)) is not None}
    elsewhere = _elsewhere(recalls, sure, chosen, len(weights), how)
    return [_told(rule, totals, leasts, at, grid, elsewhere[want], sure, unsure, want) for want, at in chosen.items()]


def frontier(
    labelled: Standing, accepted: np.ndarray[Any, np.dtype[np.bool_]], weights: Floats, costs: Costs
) -> list[tuple[int, float]]:
    """What recall costs, for a plot: (rows to look at, recall on the labels) of gates that no other gate beats in both.

    By rising cost, at most MOST_STEPS of them, the first and the last always among them.
    """
    if not accepted.any() or not len(labelled.total):
        return []
    totals, leasts = _thresholds(labelled, accepted)
    cost = costs.grid(totals, leasts)[0].reshape(-1)
    recall = _recalls(labelled, accepted, weights, totals, leasts).reshape(-1)
    order = np.lexsort((-recall, cost))
    best, steps = 0.0, []
    for at in order.tolist():
        if recall[at] > best + 1e-12:
            best = float(recall[at])
            steps.append((int(cost[at]), best))
    kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).round().astype(int))
    return [steps[at] for at in kept.tolist()]


def _thresholds(labelled: Standing, accepted: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Floats, Floats]:
    """The least sums and the least scores that are worth a try."""
    reachable = accepted & np.isfinite(labelled.total)
    return np.unique(np.append(labelled.total[reachable], -1e300)), np.unique(
        np.append(labelled.least[reachable], -1e300)
    )


def _recalls(
    labelled: Standing,
    accepted: np.ndarray[Any, np.dtype[np.bool_]],
    weights: Floats,
    totals: Floats,
    leasts: Floats,
) -> Floats:
    """Of the weight that people accept, the share at or above every pair of thresholds."""
    every = _grid(labelled.total, labelled.least, weights * accepted, totals, leasts)
    whole = float((weights * accepted).sum())
    return every / whole if whole > 0 else np.full(every.shape, math.nan)


def _cheapest(recall: Floats, cost: Floats, wanted: float) -> tuple[int, int] | None:
    enough = recall >= wanted - 1e-12
    if not enough.any():
        return None
    least = cost[enough].min()
    places = np.argwhere(enough & (cost == least))
    at = max(places.tolist(), key=lambda place: (recall[place[0], place[1]], place[0], place[1]))
    return int(at[0]), int(at[1])


def _elsewhere(
    recalls: Callable[[Floats], Floats], cost: Floats, wanted: Iterable[float], n: int, how: Bootstrap
) -> dict[float, float | None]:
    """The mean recall, on records left out of a resample, of the gates that the resample would have chosen."""
    found: dict[float, list[float]] = {want: [] for want in wanted}
    for (drawn_records,) in resamples(n, replace(how, resamples=min(how.resamples, _RESAMPLES))):
        times = np.bincount(drawn_records, minlength=n).astype(np.float64)
        drawn, outside = recalls(times), recalls((times == 0).astype(np.float64))
        for want, each in found.items():
            at = _cheapest(drawn, cost, want)
            if at is not None and math.isfinite(outside[at]):
                each.append(outside[at])
    return {want: float(np.mean(each)) if each else None for want, each in found.items()}


def _told(
    rule: Rule,
    totals: Floats,
    leasts: Floats,
    at: tuple[int, int],
    recall: Floats,
    elsewhere: float | None,
    sure: Floats,
    unsure: Floats,
    wanted: float,
) -> Choice:
    total, least = float(totals[at[0]]), float(leasts[at[1]])
    each = None if least < -1e299 or not math.isfinite(least) else least + rule.review_each
    return Choice(
        wanted=wanted,
        total=None if total < -1e299 else total + rule.review_total,
        each=None if rule.by_dimension else each,
        each_shift=each if rule.by_dimension else None,
        recall=float(recall[at]),
        recall_elsewhere=elsewhere,
        cost=int(sure[at]),
        cost_at_most=int(sure[at] + unsure[at]),
    )
