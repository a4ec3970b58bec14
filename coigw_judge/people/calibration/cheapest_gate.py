"""The gate that reaches a wanted recall at the least review cost, over scores that are known already.

Recall: of the records that people accept, the (weighted) share that a gate sends on as kept or review. Cost: how many
rows of the whole run that gate sends on, because people must look at each. Both halves of the gate are swept: the least
sum, and the least of each score (where the job sets floors by dimension, these are moved together). Only thresholds
that some accepted record just reaches need be tried: between two of them recall stays and cost only grows.
A chosen gate looks better on the labels that chose it than on others, so beside its recall stands the recall on
records left out of resamples: the choice is made anew on each resample, and measured on what was not drawn.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.decisions import WITHOUT_GATE
from coigw_judge.decide.gate import Gate, rubric_of
from coigw_judge.decide.gate_columns import Bools, Columns, Floats, at_best
from coigw_judge.people.calibration.agreement import Bootstrap, resamples
from coigw_judge.run_folder.verdicts import scores_of

_RESAMPLES = 200
MOST_STEPS = 200
"""Of the line that a plot of recall against cost draws."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What rows can come to, while what is not known is at its best."""

    total: Floats
    """The sum over the gate's dimensions."""
    least: Floats
    """The lowest score, or where floors differ the lowest margin over its floor."""
    known: Bools
    """Whether all that the gate looks at is known."""


def columns_of(gate: Gate) -> list[str]:
    """What of a verdict `reach` needs."""
    expected = ["expected"] if gate.use == "expected" else []
    return list(dict.fromkeys(["decision", "not_applicable", *(gate.over or ()), *gate.require, *expected]))


def reach(table: pa.Table, gate: Gate) -> Reach:
    """What the rows of a table can come to; one whose check failed, or that was never judged, is below every gate."""
    best = at_best(gate, _columns(table, gate))
    floors = [gate.floor(name) for name in gate.over or ()]
    moved = moves_floors(gate)
    counted = [at for at, floor in enumerate(floors) if floor is not None or not moved]
    margins = best.scores - [(floor or 0.0) if moved else 0.0 for floor in floors]
    total = _comparable(np.nansum(best.scores, axis=1), gate)
    least = _comparable(np.fmin.reduce(margins[:, counted], axis=1, initial=math.inf), gate)
    not_judged = pc.is_in(table["decision"], value_set=pa.array(WITHOUT_GATE)).combine_chunks()
    lost = best.lost | not_judged.to_numpy(zero_copy_only=False)
    total[lost], least[lost] = -math.inf, -math.inf
    return Reach(total, least, best.known | lost)


def moves_floors(gate: Gate) -> bool:
    """Whether the floors of a gate differ, so that they are moved together and not set."""
    return len({gate.floor(name) for name in gate.over or ()}) > 1


def _comparable(values: Floats, gate: Gate) -> Floats:
    """Values that float errors do not tell apart. Expected ones in full hundredths: else as many as there are rows."""
    expected = gate.use == "expected"
    return np.asarray(np.floor(values * 100 + 1e-7) / 100 if expected else np.round(values, 9))


def _columns(table: pa.Table, gate: Gate) -> Columns:
    over = gate.over or ()
    scores = {name: scores_of(table, name, gate.use == "expected") for name in over}
    checks = {
        name: pc.fill_null(table[name].combine_chunks().cast(pa.float64()), math.nan).to_numpy(zero_copy_only=False)
        for name in gate.require
    }
    joined = pc.binary_join(table["not_applicable"].combine_chunks(), ",").fill_null("").dictionary_encode()
    lines, line_of = [text.split(",") for text in joined.dictionary.to_pylist()], joined.indices.to_numpy()
    not_applicable = {
        rubric: np.array([rubric in line for line in lines], bool)[line_of]
        for rubric in {rubric_of(item) for item in (*over, *gate.require)}
    }
    return Columns(len(table), scores, checks, not_applicable)


class Costs:
    """How many rows of a run stand at or above two thresholds; rows are added piece by piece."""

    def __init__(self) -> None:
        self._sure: dict[tuple[float, float], int] = {}
        self._unsure: dict[tuple[float, float], int] = {}
        self.rows = 0

    def add(self, rows: Reach) -> None:
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
    """A gate with its recall and its cost."""

    wanted: float
    """The recall asked for."""
    total: float | None
    """The job's key."""
    each: float | None
    """The job's key, where one threshold holds for all dimensions."""
    each_shift: float | None
    """By how much all thresholds of `each` move, where they differ."""
    recall: float
    """On the labels."""
    recall_elsewhere: float | None
    """On labels that were left out when a gate was chosen."""
    cost: int
    """Rows of the run that the gate sends on."""
    cost_at_most: int
    """The same with rows whose missing scores could lift them over it."""


def choose(
    labelled: Reach,
    accepted: Bools,
    weights: Floats,
    costs: Costs,
    gate: Gate,
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
    return [_choice(gate, totals, leasts, at, grid, elsewhere[want], sure, unsure, want) for want, at in chosen.items()]


def frontier(labelled: Reach, accepted: Bools, weights: Floats, costs: Costs) -> list[tuple[int, float]]:
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


def _thresholds(labelled: Reach, accepted: Bools) -> tuple[Floats, Floats]:
    """The least sums and the least scores that are worth a try."""
    reachable = accepted & np.isfinite(labelled.total)
    return np.unique(np.append(labelled.total[reachable], -1e300)), np.unique(
        np.append(labelled.least[reachable], -1e300)
    )


def _recalls(
    labelled: Reach,
    accepted: Bools,
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


def _choice(
    gate: Gate,
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
    each = None if least < -1e299 or not math.isfinite(least) else least + gate.review_each
    return Choice(
        wanted=wanted,
        total=None if total < -1e299 else total + gate.review_total,
        each=None if moves_floors(gate) else each,
        each_shift=each if moves_floors(gate) else None,
        recall=float(recall[at]),
        recall_elsewhere=elsewhere,
        cost=int(sure[at]),
        cost_at_most=int(sure[at] + unsure[at]),
    )
