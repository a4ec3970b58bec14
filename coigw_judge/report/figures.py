"""From counts to what a template draws: bars with their shares, small histograms, tables. All text is plain text.

A histogram is given in the coordinates of its drawing, so that the template only places rectangles.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coigw_judge.decide.decisions import Decided
from coigw_judge.report.run_columns import Shape
from coigw_judge.report.tally import GroupTally, Tally
from coigw_judge.run_folder.manifest import Manifest

WIDTH, HEIGHT, BASE = 300, 110, 92
"""Of a histogram: its drawing, and where its bars stand."""

MOST_BINS = 41
FEWEST = 15
"""The paper wants at least so many samples per category (2.3); per genre it is our reading."""

STACK = ("kept", "review", "dropped")


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a list: what it stands for, its count, its share of a whole, its length as a share of the longest."""

    name: str
    count: int
    share: float
    length: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of a histogram; `title` is what it says of itself."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Scores of one dimension, stacked by decision, with its threshold.

    `mark`: where the threshold is drawn, or None. `ticks`: places and labels below. `words`: all of it as a sentence.
    """

    name: str
    rows: int
    mean: float
    threshold: float | None
    reached: float | None
    mark: float | None
    rects: tuple[Rect, ...]
    ticks: tuple[tuple[float, str], ...]
    words: str


def bars(counts: Sequence[tuple[str, int]], whole: int, notes: Mapping[str, str] | None = None) -> list[Bar]:
    """Bars in the order given."""
    most = max((n for _, n in counts), default=0) or 1
    said = notes or {}
    return [Bar(name, n, n / whole if whole else 0.0, n / most, said.get(name, "")) for name, n in counts]


def funnel(manifest: Manifest) -> list[Bar]:
    """How many rows are left after each thing that can end a row, from rows in to kept."""
    left = rows = manifest.rows_in
    stages = [("rows in", left, "")]
    ends: tuple[tuple[tuple[Decided, ...], str], ...] = (
        (("unreadable",), "readable"),
        (("duplicate",), "not a duplicate"),
        (("screened",), "through the screens"),
        (("unscored", "pending"), "judged"),
        (("dropped",), "kept or in review"),
        (("review",), "kept"),
    )
    for names, title in ends:
        gone = {name: n for name in names if (n := manifest.decisions.get(name, 0))}
        left -= sum(gone.values())
        stages.append((title, left, ", ".join(f"-{n:,} {name}" for name, n in gone.items())))
    return bars([(title, n) for title, n, _ in stages], rows, {title: note for title, _, note in stages})


def histogram(name: str, scores: Counter[tuple[float, str]], threshold: float | None) -> Histogram | None:
    """A dimension's histogram; None where nothing has a score."""
    rows = scores.total()
    if not rows:
        return None
    low, width, bins = _bins([value for value, _ in scores])
    heights: list[Counter[str]] = [Counter() for _ in range(bins)]
    for (value, decision), n in scores.items():
        heights[min(bins - 1, int((value - low) / width + 1e-9))][decision] += n
    most = max(each.total() for each in heights)
    step = WIDTH / bins
    rects = [rect for at, each in enumerate(heights) for rect in _stack(each, at, step, most, rows, low, width)]
    mean = sum(value * n for (value, _), n in scores.items()) / rows
    reached = None
    mark = None
    if threshold is not None:
        reached = sum(n for (value, _), n in scores.items() if value >= threshold) / rows
        mark = min(WIDTH, max(0.0, (threshold - low) / width * step))
    every = max(1, -(-bins // 11))
    ticks = tuple(((at + 0.5) * step, _number(low + at * width)) for at in range(0, bins, every))
    words = f"{name}: {rows:,} scores, mean {mean:.2f}"
    if threshold is not None and reached is not None:
        words += f", {reached:.0%} reach {_number(threshold)}"
    return Histogram(
        name=name,
        rows=rows,
        mean=mean,
        threshold=threshold,
        reached=reached,
        mark=mark,
        rects=tuple(rects),
        ticks=ticks,
        words=words,
    )


def _bins(values: Sequence[float]) -> tuple[float, float, int]:
    """Where bins begin, how wide they are, and how many: one per value of a scale where there are few."""
    low, high = min(0.0, math.floor(min(values))), max(10.0, math.ceil(max(values)))
    width = 0.5 if any(value % 1 for value in values) else 1.0
    while (high - low) / width + 1 > MOST_BINS:
        width *= 2
    return low, width, int((high - low) / width) + 1


def _stack(counts: Counter[str], at: int, step: float, most: int, rows: int, low: float, width: float) -> list[Rect]:
    rects, top = [], float(BASE)
    for kind in STACK:
        if counts[kind]:
            height = counts[kind] / most * (BASE - 6)
            top -= height
            title = f"{_number(low + at * width)}: {counts[kind]:,} {kind} ({counts[kind] / rows:.1%})"
            rects.append(Rect(at * step + step * 0.08, top, step * 0.84, height, kind, title))
    return rects


def _number(value: float) -> str:
    return f"{value:g}"


def yields(
    groups: Mapping[str, GroupTally], *, by_name: bool = False, most: int = 40
) -> tuple[list[tuple[str, GroupTally]], GroupTally, int]:
    """The largest groups with their names, the rest as one group and how many those are."""
    order = sorted(groups, key=lambda name: (-groups[name].rows, name))
    shown = sorted(order[:most]) if by_name else order[:most]
    rest = GroupTally()
    for name in order[most:]:
        rest.merge(groups[name])
    return [(name, groups[name]) for name in shown], rest, len(order) - len(shown)


@dataclass(frozen=True, slots=True)
class Spread:
    """How kept rows lie over a column: values, those with fewer than FEWEST, the largest share, the effective number.

    `effective` is the exponential of the entropy: as many values would be there if all were equally common.
    """

    title: str
    values: int
    few: tuple[tuple[str, int], ...]
    largest: str
    share: float
    effective: float


def spread(title: str, groups: Mapping[str, GroupTally]) -> Spread | None:
    """The audit of one column; None where nothing was kept."""
    kept = {name: group.decisions["kept"] for name, group in groups.items() if group.decisions["kept"]}
    whole = sum(kept.values())
    if not whole:
        return None
    shares = [n / whole for n in kept.values()]
    largest = max(kept, key=lambda name: (kept[name], name))
    few = sorted(((name, n) for name, n in kept.items() if n < FEWEST), key=lambda item: (item[1], item[0]))
    entropy = -sum(share * math.log(share) for share in shares)
    return Spread(title, len(kept), tuple(few), largest, kept[largest] / whole, math.exp(entropy))


def checks(tally: Tally, shape: Shape) -> list[tuple[str, int, int, bool]]:
    """Per check that was answered: its name, yes, no, and whether the gate requires it."""
    return [
        (name, counts[True], counts[False], name in shape.gate.require)
        for name, counts in tally.checks.items()
        if counts
    ]
