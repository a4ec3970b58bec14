"""One pass over a run's verdicts: counts from which every figure of the report is drawn.

Read batch by batch, only the columns that are counted; what is kept is bounded by the values that occur (scores on a
scale, months, genres), never by the rows. A column of which more values occur than `most_groups` loses its rarest ones
into `folded`, and the report says so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.report.diversity import MEASURES, Diversity
from coigw_judge.report.run_columns import Shape
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.verdicts import batches, scores_of

MOST_GROUPS = 5_000
"""Values of a column that are counted apart."""

LENGTHS = (0, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Where bins of characters begin. The paper's articles are roughly log-normal, most of them between 100 and 10,000."""

NONE = "(none)"
"""The group of rows without a value."""
_DECIDED = ("kept", "review", "dropped")


@dataclass(slots=True)
class GroupTally:
    """The rows of one value of a column: by decision, and their totals where they have one."""

    decisions: Counter[str] = field(default_factory=Counter)
    total: float = 0.0
    totals: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return self.decisions.total()

    @property
    def judged(self) -> int:
        """Rows that the gate decided."""
        return sum(self.decisions[name] for name in _DECIDED)

    @property
    def mean(self) -> float | None:
        """The mean of the totals; None where no row has one."""
        return self.total / self.totals if self.totals else None

    def add(self, decision: str, rows: int, total: float, totals: int) -> None:
        """Count more rows of a decision."""
        self.decisions[decision] += rows
        self.total += total
        self.totals += totals

    def merge(self, other: "GroupTally") -> None:
        """Count all rows of another group."""
        self.decisions.update(other.decisions)
        self.total += other.total
        self.totals += other.totals


@dataclass(slots=True)
class Tally:
    """Counts of a run."""

    decisions: Counter[str] = field(default_factory=Counter)
    scores: dict[str, Counter[tuple[float, str]]] = field(default_factory=dict)
    """Per dimension, rows by score (as the gate sees it) and decision."""
    totals: Counter[tuple[float, str]] = field(default_factory=Counter)
    """Rows by sum and decision."""
    checks: dict[str, Counter[bool]] = field(default_factory=dict)
    """Per check, rows by answer."""
    groups: dict[str, dict[str, GroupTally]] = field(default_factory=dict)
    """Per column, its values."""
    folded: dict[str, GroupTally] = field(default_factory=dict)
    """Per column, its rarest values together, where there are too many."""
    lengths: dict[str, GroupTally] = field(default_factory=dict)
    """By bin of LENGTHS."""
    diversity: Diversity = field(default_factory=Diversity)


def count(run: Run, shape: Shape, columns: Mapping[str, str], most_groups: int = MOST_GROUPS) -> Tally:
    """Count a run. `columns`: verdict columns to group by -> what the report calls them (`month` cuts a date).

    Of a column of many more values only the `most_groups` most frequent are counted apart.
    """
    found = Tally(
        scores={name: Counter() for name in shape.dimensions},
        checks={name: Counter() for name in shape.checks},
        groups={title: {} for title in columns.values()},
        lengths={name: GroupTally() for name in length_names()},
    )
    measured = [name for name in (*MEASURES, "category") if name in run.columns]
    measured += ["expected"] if shape.uses_expected else []
    wanted = ["decision", "total", "chars", *shape.dimensions, *shape.checks, *columns, *measured]
    for batch in batches(run, list(dict.fromkeys(wanted))):
        _count(found, batch, columns, shape.uses_expected)
        for title in columns.values():
            _fold(found, title, most_groups)
    return found


def length_names() -> list[str]:
    """The bins of LENGTHS in words."""
    return [*(f"{low:,}-{high - 1:,}" for low, high in pairwise(LENGTHS)), f"{LENGTHS[-1]:,}+"]


def _count(tally: Tally, batch: pa.Table, columns: Mapping[str, str], expected: bool) -> None:
    tally.decisions.update(_values(batch["decision"]))
    decided = batch.filter(pc.is_in(batch["decision"], value_set=pa.array(_DECIDED)))
    for name, counter in tally.scores.items():
        _count_scores(counter, decided, name, expected)
    _count_scores(tally.totals, decided, "total", False)
    tally.diversity.add(decided)
    for name, yes in tally.checks.items():
        yes.update({value: n for value, n in _values(batch[name]).items() if value is not None})
    for column, title in columns.items():
        keys = _month(batch[column]) if title == "month" else batch[column].cast(pa.string())
        _count_groups(tally.groups[title], batch, keys.fill_null(NONE))
    with_length = batch.filter(pc.is_valid(batch["chars"]))
    bins = np.searchsorted(np.array(LENGTHS), with_length["chars"].to_numpy(), side="right") - 1
    names = pa.array(length_names()).take(pa.array(bins))
    _count_groups(tally.lengths, with_length, pa.chunked_array([names]))


def _values(column: pa.ChunkedArray) -> Counter[Any]:
    return Counter({entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()})


def _count_scores(counter: Counter[tuple[float, str]], rows: pa.Table, name: str, expected: bool) -> None:
    # Expected scores and their sums have six digits: told apart they would be as many as there are rows.
    score = pc.round(pa.array(scores_of(rows, name, expected), from_pandas=True), 2)
    scores = pa.table({"score": score, "decision": rows["decision"]}).drop_null()
    grouped = scores.group_by(["score", "decision"]).aggregate([([], "count_all")])
    for entry in grouped.to_pylist():
        counter[entry["score"], entry["decision"]] += entry["count_all"]


def _count_groups(groups: dict[str, GroupTally], batch: pa.Table, keys: pa.ChunkedArray) -> None:
    table = pa.table({"key": keys, "decision": batch["decision"], "total": batch["total"]})
    grouped = table.group_by(["key", "decision"]).aggregate([([], "count_all"), ("total", "sum"), ("total", "count")])
    for entry in grouped.to_pylist():
        group = groups.setdefault(entry["key"], GroupTally())
        group.add(entry["decision"], entry["count_all"], entry["total_sum"] or 0.0, entry["total_count"])


def _month(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(column.cast(pa.string()), 0, 7)


def _fold(tally: Tally, title: str, most: int) -> None:
    """Keep the number of groups bounded: the rarest values are counted together once there are too many."""
    groups = tally.groups[title]
    if len(groups) <= 2 * most:
        return
    rest = tally.folded.setdefault(title, GroupTally())
    for key in sorted(groups, key=lambda key: -groups[key].rows)[most:]:
        rest.merge(groups.pop(key))
