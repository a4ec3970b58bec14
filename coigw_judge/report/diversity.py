"""Lexical diversity of what was kept beside what was dropped: the verdicts' `ttr` and `mattr` (lexical_diversity.py).

It has no better direction. A refrain, a list and a statute repeat words on purpose, and TTR falls with a text's length;
so the page draws both groups on one axis, names no threshold, and says so.
Counted in steps of 0.01 per category and decision, so it is bounded whatever the rows.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.report.axes import Axis, Lane, lane
from coigw_judge.report.tables import Line, Table, line

MEASURES: Mapping[str, str] = {
    "mattr": "different words in a window of 50 (mattr), which length does not move",
    "ttr": "different words by all words (ttr), which falls with length",
}
SIDES = ("kept", "dropped")
_EVERY, _NO_CATEGORY = "all", "(none)"
FEWEST = 5
"""Of fewer rows there is no median to look at."""
_STEPS = 100
_MOST_CATEGORIES = 200
"""The taxonomy has a handful; a column that is not its own must not fill memory."""

Places = Counter[int]
"""Rows by value, in hundredths."""


@dataclass(slots=True)
class Diversity:
    """Counts: measure -> category -> decision -> rows by value."""

    counts: dict[str, dict[str, dict[str, Places]]] = field(
        default_factory=lambda: {name: defaultdict(lambda: defaultdict(Counter)) for name in MEASURES}
    )

    def add(self, rows: pa.Table) -> None:
        """Count rows that have `decision`, and as far as they are there `category` and the measures."""
        for name in MEASURES:
            if name in rows.column_names:
                self._add(name, rows.filter(pc.is_valid(rows[name])))

    def _add(self, name: str, rows: pa.Table) -> None:
        categories = rows["category"] if "category" in rows.column_names else pa.nulls(len(rows), pa.string())
        steps = pc.cast(pc.round(pc.multiply(rows[name].cast(pa.float64()), _STEPS)), pa.int64())
        table = pa.table(
            {
                "category": categories.fill_null(_NO_CATEGORY),
                "decision": rows["decision"],
                "step": steps,
            }
        )
        found = self.counts[name]
        for each in table.group_by(["category", "decision", "step"]).aggregate([([], "count_all")]).to_pylist():
            known = each["category"] in found or len(found) < _MOST_CATEGORIES
            found[each["category"] if known else _NO_CATEGORY][each["decision"]][each["step"]] += each["count_all"]


def tables(diversity: Diversity) -> list[Table]:
    """A table per measure: all rows, then by category, the largest first; [] where nothing was measured."""
    rows: Counter[str] = Counter()
    for by_category in diversity.counts.values():
        for category, sides in by_category.items():
            rows[category] += sum(places.total() for places in sides.values())
    order = sorted(rows, key=lambda category: (-rows[category], category))
    return [_table(name, by_category, order) for name, by_category in diversity.counts.items() if by_category]


def _table(name: str, by_category: Mapping[str, Mapping[str, Places]], order: Sequence[str]) -> Table:
    every = {side: sum((sides.get(side, Counter()) for sides in by_category.values()), Counter()) for side in SIDES}
    lines = [(_EVERY, every)] + [(category, by_category.get(category, {})) for category in order if len(order) > 1]
    lows = [
        low for _, sides in lines for side in SIDES if (low := _quantile(sides.get(side, Counter()), 0.25)) is not None
    ]
    axis = Axis(min(0.9, math.floor(10 * min(lows, default=0.0)) / 10), 1)
    return Table(
        caption=f"{MEASURES[name][0].upper()}{MEASURES[name][1:]}: median and middle half of the rows",
        heads=("category", *(f"{side}{more}" for side in SIDES for more in ("", ": median"))),
        lines=tuple(_line(title, sides, axis) for title, sides in lines),
        axis=axis,
        legend=tuple((side, side) for side in SIDES),
    )


def _line(title: str, sides: Mapping[str, Places], axis: Axis) -> Line:
    cells = [title]
    lanes: list[Lane | None] = []
    for side in SIDES:
        places = sides.get(side, Counter())
        low, middle, high = (_quantile(places, share) for share in (0.25, 0.5, 0.75))
        cells += [f"{places.total():,}", "-" if middle is None else f"{middle:.2f} [{low:.2f}, {high:.2f}]"]
        lanes.append(lane(side, axis, middle, low, high))
    return line(cells, *lanes)


def _quantile(places: Places, share: float) -> float | None:
    """The least value that so many rows do not exceed; None of too few rows."""
    if places.total() < FEWEST:
        return None
    below, wanted = 0, share * places.total()
    for step in sorted(places):
        below += places[step]
        if below >= wanted:
            return step / _STEPS
    return None
