"""What `calibrate` says beside agreement: golden records that moved (drift.json), leaks by annotator (writers.json).

Not known here: HTML, when a move is an alarm, what counts as a leak.
"""

from dataclasses import dataclass

from coigw_judge.people import drift_and_leaks as words
from coigw_judge.people.calibrate_read import Writers
from coigw_judge.people.calibrate_text import WARNING
from coigw_judge.people.drift import Drift
from coigw_judge.report.plots import Axis, lane
from coigw_judge.report.tables import Note, Table, ends, line, notes


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden records, and what is to be said of them."""

    table: Table
    notes: tuple[Note, ...]


def golden(found: Drift) -> Golden:
    """How far each item moved on the golden records."""
    reach = max([2 * found.bound, *(abs(end) for each in found.items for end in ends(each.shift) if end is not None)])
    axis = Axis(-reach, reach) if reach else Axis(-1, 1)
    lines = [
        line(
            (*words.moved_cells(each), "yes" if each.alarm else ""),
            lane("ceiling" if each.alarm else "judge", axis, *ends(each.shift)),
        )
        for each in found.items
    ]
    table = Table(
        caption=f"Golden records: {found.records:,} against {found.reference}, bound {found.bound:g}",
        heads=(*words.MOVED_HEADS, "alarm"),
        lines=tuple(lines),
        axis=axis,
        legend=(("judge", "shift of the mean, in points of the scale"), ("ceiling", "the same, with an alarm")),
    )
    said = words.drift_caveats(found)
    said += [f"{WARNING}ALARM {each.item}: {each.alarm}" for each in found.items if each.alarm] or ["No alarm."]
    if any(each.noise is None for each in found.items):
        said.append(words.NO_NOISE)
    return Golden(table, notes(said))


def leaks(found: Writers) -> tuple[Table, ...]:
    """Leaks by annotator, then the phrases and the copies themselves, where there are any."""
    return tuple(
        Table(caption=caption, heads=heads, lines=tuple(map(line, rows)))
        for caption, heads, rows in words.leaks(found)
        if rows
    )
