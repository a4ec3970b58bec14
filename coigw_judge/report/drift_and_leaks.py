"""What `calibrate` says beside agreement: golden records that moved (drift.json), leaks by annotator (writers.json).

Not known here: HTML, when a move is an alarm, what counts as a leak.
"""

from dataclasses import dataclass

from coigw_judge.people import calibrate_text
from coigw_judge.people.calibrate_read import Writers
from coigw_judge.people.calibrate_text import WARNING, shown
from coigw_judge.people.drift import Drift, Moved
from coigw_judge.report.plots import Axis, lane
from coigw_judge.report.tables import Line, Note, Table, ends, notes


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden records, and what is to be said of them."""

    table: Table
    notes: tuple[Note, ...]


def golden(found: Drift) -> Golden:
    """How far each item moved on the golden records."""
    reach = max([2 * found.bound, *(abs(end) for each in found.items for end in ends(each.shift) if end is not None)])
    axis = Axis(-reach, reach) if reach else Axis(-1, 1)
    lines = []
    for each in found.items:
        kind = "ceiling" if each.alarm else "judge"
        lines.append(Line(each.item, _moved(each), (lane(kind, axis, *ends(each.shift)),)))
    table = Table(
        caption=f"Golden records: {found.records:,} against {found.reference}, bound {found.bound:g}",
        heads=("item", "n", "lost", "shift of the mean", "mean change", "noise", "Spearman", "alarm"),
        lines=tuple(lines),
        axis=axis,
        legend=(("judge", "shift of the mean, in points of the scale"), ("ceiling", "the same, with an alarm")),
    )
    said = calibrate_text.drift_caveats(found)
    said += [f"{WARNING}ALARM {each.item}: {each.alarm}" for each in found.items if each.alarm] or ["No alarm."]
    if any(each.noise is None for each in found.items):
        said.append(calibrate_text.NO_NOISE)
    return Golden(table, notes(said))


def _moved(each: Moved) -> tuple[str, ...]:
    figures = ("-" if value is None else f"{value:.2f}" for value in (each.change, each.noise, each.spearman))
    return f"{each.records:,}", f"{each.lost:,}", shown(each.shift), *figures, "yes" if each.alarm else ""


def leaks(found: Writers) -> tuple[Table, ...]:
    """Leaks by annotator, then the phrases and the copies themselves, where there are any."""
    lines = []
    for name, each in found["annotators"].items():
        share = calibrate_text.share(each["share"])
        lines.append(Line(name, (f"{each['queries']:,}", share, f"{each['suspect']:,}", f"{each['copied']:,}")))
    heads = ("annotator", "queries", "of them in common phrases", "suspect", "copied thoughts")
    tables = (
        Table(caption="Leaks in what annotators wrote", heads=heads, lines=tuple(lines)),
        Table(
            caption="Phrases of the answer in its query",
            heads=("row", "annotator", "characters", "phrase"),
            lines=tuple(
                Line(each["row_id"], (each["annotator"], f"{each['characters']:,}", each["phrase"]))
                for each in found["phrases"]
            ),
        ),
        Table(
            caption=f"Thoughts that stand in another record too ({found['copied_pairs']:,} pairs)",
            heads=("row", "row", "annotators", "alike"),
            lines=tuple(
                Line(each["rows"][0], (each["rows"][1], " / ".join(each["annotators"]), f"{each['alike']:.0%}"))
                for each in found["copies"]
            ),
        ),
    )
    return tuple(table for table in tables if table.lines)
