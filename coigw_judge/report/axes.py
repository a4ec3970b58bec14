"""Places on two axes: intervals as lanes in a table's cell, pairs of scores as circles, recall against its cost.

Like figures.py's histograms, each is given in the coordinates of its drawing, with a sentence that says the same.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 250
LEFT, RIGHT, TOP, BASE = 34, 292, 8, 214
"""Of a drawing with two axes: the area between its axes."""

MOST_STEPS = 12
"""Values of an axis of pairs; more are put together."""
_STEPS = tuple(base * 10.0**power for power in range(-2, 7) for base in (1, 2, 5))


@dataclass(frozen=True, slots=True)
class Axis:
    """The range that lanes are drawn on."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value stands, in percent of the axis; what lies outside stands at its end."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places in percent and labels: both ends, and 0 between them or else the middle."""
        middle = 0.0 if self.low < 0 < self.high else (self.low + self.high) / 2
        return tuple((self.place(value), number(value)) for value in (self.low, middle, self.high))


@dataclass(frozen=True, slots=True)
class Lane:
    """A value with its interval on an axis, in percent of it. `kind`: a class of the style sheet."""

    kind: str
    left: float
    width: float
    dot: float


def lane(kind: str, axis: Axis, value: float | None, low: float | None, high: float | None) -> Lane | None:
    """A lane; None where there is no value. Without an interval it is a dot alone."""
    if value is None:
        return None
    left = axis.place(value if low is None else low)
    right = axis.place(value if high is None else high)
    return Lane(kind, left, right - left, axis.place(value))


def axis_for(values: Iterable[float | None]) -> Axis:
    """The axis of coefficients, from 0 to 1, or longer by halves where a value lies below 0."""
    least = min((value for value in values if value is not None), default=0.0)
    return Axis(-math.ceil(max(0.0, -least) / 0.5 - 1e-9) / 2, 1)


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle whose area is a share of the records; `title` is what it says of itself."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossTable:
    """Judge's and people's numbers of one item as a cross table, drawn and in cells.

    `across`, `up`: places and labels of the ticks; `diagonal`: the line of equal numbers, where both axes are one
    scale; `heads`, `rows`: the same as a table, people's number first; `words`: the essence as a sentence.
    """

    name: str
    circles: tuple[Circle, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    diagonal: tuple[float, float, float, float] | None
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    words: str


Point = tuple[float, float, float]
"""Judge's number, people's, and the records (or their weight) with both."""


def pairs(name: str, points: Sequence[Point], scale: tuple[float, float] | None) -> CrossTable | None:
    """Judge against people, on one scale where it is known and people kept to it; None without points."""
    whole = sum(weight for _, _, weight in points)
    if not whole:
        return None
    judge, people = [x for x, _, _ in points], [y for _, y, _ in points]
    shared = scale is not None and scale[0] <= min(people) and max(people) <= scale[1]
    if shared and scale is not None and (scale[0], scale[1]) == (0, 1) and _binary(points):
        judge_steps = people_steps = _Steps(0, 1, 2, ("no", "yes"))
    elif shared and scale is not None:
        judge_steps = people_steps = _steps([*judge, *people, *scale])
    else:
        judge_steps, people_steps = _steps(judge), _steps(people)
    cells: dict[tuple[int, int], float] = defaultdict(float)
    for x, y, weight in points:
        cells[judge_steps.of(x), people_steps.of(y)] += weight
    wide, high = (RIGHT - LEFT) / judge_steps.count, (BASE - TOP) / people_steps.count
    most, largest = max(cells.values()), 0.48 * min(wide, high, 30)
    circles = tuple(
        Circle(
            LEFT + (k + 0.5) * wide,
            BASE - (m + 0.5) * high,
            max(1.5, largest * math.sqrt(weight / most)),
            f"judge {judge_steps.label(k)}, people {people_steps.label(m)}: {amount(weight)}",
        )
        for (k, m), weight in sorted(cells.items())
    )
    return CrossTable(
        name=name,
        circles=circles,
        across=tuple((LEFT + (k + 0.5) * wide, judge_steps.label(k)) for k in range(judge_steps.count)),
        up=tuple((BASE - (m + 0.5) * high, people_steps.label(m)) for m in range(people_steps.count)),
        diagonal=(LEFT + wide / 2, BASE - high / 2, RIGHT - wide / 2, TOP + high / 2) if shared else None,
        heads=tuple(map(judge_steps.label, range(judge_steps.count))),
        rows=tuple(
            (
                people_steps.label(m),
                tuple(amount(cells[k, m]) if (k, m) in cells else "" for k in range(judge_steps.count)),
            )
            for m in reversed(range(people_steps.count))
        ),
        words=_in_words(points, whole, shared),
    )


def _binary(points: Sequence[Point]) -> bool:
    return {value for point in points for value in point[:2]} <= {0.0, 1.0}


def _in_words(points: Sequence[Point], whole: float, shared: bool) -> str:
    """How far judge and people lie apart, where both use one scale; else their means."""
    judge, people = (sum(point[at] * point[2] for point in points) / whole for at in (0, 1))
    if not shared:
        return f"mean of the judge {judge:.2f}, of people {people:.2f}, on scales of their own"
    by = f"the judge gives {abs(judge - people):.2f} {'more' if judge >= people else 'less'} on average"
    if _binary(points):
        return f"{_within(points, 0) / whole:.0%} alike; {by}"
    half, one = (_within(points, apart) / whole for apart in (0.5, 1))
    return f"{half:.0%} within half a point, {one:.0%} within 1; {by}"


def _within(points: Sequence[Point], apart: float) -> float:
    return sum(weight for x, y, weight in points if abs(x - y) <= apart + 1e-9)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Round numbers to which values are put: low, low + step, ...; `names` where they have such."""

    low: float
    step: float
    count: int
    names: tuple[str, ...] = ()

    def of(self, value: float) -> int:
        return min(self.count - 1, max(0, math.floor((value - self.low) / self.step + 0.5)))

    def label(self, at: int) -> str:
        return self.names[at] if self.names else number(self.low + at * self.step)


def _steps(values: Sequence[float]) -> _Steps:
    """At most MOST_STEPS round numbers over the values; whole ones where all values are whole."""
    least, most = min(values), max(values)
    whole = all(value == int(value) for value in values) or most - least > 2
    for step in _STEPS:
        low = math.floor(least / step + 0.5) * step
        count = math.floor((most - low) / step + 0.5) + 1
        if count <= MOST_STEPS and not (whole and step < 1):
            return _Steps(low, step, count)
    return _Steps(least, max(_STEPS[-1], (most - least) / (MOST_STEPS - 1)), MOST_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """Recall (up) against the rows that people must look at (across).

    `line`: points of the best gates, as SVG has them; `chosen`: gates for a wanted recall; `now`: the run's own gate.
    """

    line: str
    chosen: tuple[Circle, ...]
    now: tuple[float, float] | None
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    words: str


def trade_off(
    frontier: Sequence[tuple[int, float]],
    chosen: Sequence[tuple[str, int, float]],
    now: tuple[int, float] | None,
) -> TradeOff | None:
    """The drawing; None where no gate is known. `chosen`: what it is called, rows to look at, recall."""
    costs = [*(cost for cost, _ in frontier), *(cost for _, cost, _ in chosen), *([now[0]] if now else [])]
    if not frontier or not max(costs):
        return None
    most = max(costs)

    def at(cost: float, recall: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * cost / most, BASE - (BASE - TOP) * recall

    places, before = [], (0.0, 0.0)
    for cost, recall in frontier:  # a step: between two gates the cheaper one's recall is all there is
        places += [at(cost, before[1]), at(cost, recall)]
        before = (cost, recall)
    words = f"recall reaches {frontier[-1][1]:.0%} at {frontier[-1][0]:,} rows to look at"
    if now:
        words += f"; the run's own gate: {now[1]:.0%} at {now[0]:,}"
    return TradeOff(
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in [at(0, 0), *places, at(most, before[1])]),
        chosen=tuple(Circle(*at(cost, recall), 3.5, title) for title, cost, recall in chosen),
        now=at(*now) if now else None,
        across=tuple((LEFT + (RIGHT - LEFT) * share, f"{most * share:,.0f}") for share in (0, 0.5, 1)),
        up=tuple((BASE - (BASE - TOP) * share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)),
        words=words,
    )


def amount(weight: float) -> str:
    """Records or their weight, short."""
    return f"{weight:,.0f}" if weight == int(weight) or weight >= 100 else f"{weight:.1f}"


def number(value: float) -> str:
    """A round number; no trace of how it was computed."""
    return f"{round(value, 6) + 0.0:g}"
