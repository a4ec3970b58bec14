"""Tables of the page: lines under heads, some with intervals drawn in a cell; and the sentences beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from coigw_judge.people.calibration.agreement import IntervalEstimate
from coigw_judge.people.calibration.text import WARNING
from coigw_judge.report.axes import Axis, Lane

MOST_LINES = 40
"""Lines of a table whose length the data decide."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line: what it is of, its cells, and the lanes of its drawing."""

    name: str
    cells: tuple[str, ...]
    lanes: tuple[Lane | None, ...] = ()


def line(row: Sequence[str], *lanes: Lane | None) -> Line:
    """The line of a row whose first cell is its name."""
    return Line(row[0], tuple(row[1:]), lanes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Lines under their heads. `axis`: what lanes are drawn on; `legend`: (kind of lane, what it is)."""

    caption: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    axis: Axis | None = None
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> tuple[Line, ...]:
        """The lines that the page has."""
        return self.lines[:MOST_LINES]

    @property
    def more(self) -> int:
        """How many it leaves out."""
        return len(self.lines) - len(self.shown)


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence; `grave` is one that a reader must not miss."""

    text: str
    grave: bool


def notes(sentences: Sequence[str]) -> tuple[Remark, ...]:
    """Sentences as calibrate_text gives them."""
    return tuple(Remark(text.removeprefix(WARNING), text.startswith(WARNING)) for text in sentences)


def ends(estimate: IntervalEstimate | None) -> tuple[float | None, float | None, float | None]:
    """An estimate's value, and the ends of its interval."""
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
