"""Golden records that moved (drift.py) and leaks by annotator (leak_report.py), in words for terminal and page."""

from coigw_judge.people.calibration.file import Writers
from coigw_judge.people.calibration.text import WARNING, folded, plain, share, shown
from coigw_judge.people.quality.drift import Drift, Moved
from coigw_judge.text.terminal import columns, one_line


def drift_text(drift: Drift) -> str:
    """What golden records say, for a terminal."""
    lines = [f"Golden records: {drift.records:,} against {one_line(drift.reference)}, bound {drift.bound:g}"]
    lines += folded(drift_caveats(drift))
    lines += columns([MOVED_HEADS, *map(moved_cells, drift.items)])
    lines += folded([f"ALARM {item.item}: {item.alarm}" for item in drift.items if item.alarm])
    if any(item.noise is None for item in drift.items):
        lines += folded([NO_NOISE])
    return "\n".join([*lines, *([] if drift.alarm else ["No alarm."])])


MOVED_HEADS = ("item", "n", "lost", "shift of the mean", "mean change", "noise", "Spearman")


def moved_cells(moved: Moved) -> list[str]:
    """How far one item moved."""
    figures = map(plain, (moved.change, moved.noise, moved.spearman))
    return [moved.item, f"{moved.records:,}", f"{moved.lost:,}", shown(moved.shift), *figures]


NO_NOISE = "noise: not known for some items; `samples: {repeat: 0.02}` re-asks 2 % of the records"


def drift_caveats(drift: Drift) -> list[str]:
    """Golden records that could not be compared."""
    sentences = []
    if drift.missing:
        sentences.append(f"{WARNING}{drift.missing:,} golden records are not in this run")
    if drift.changed:
        sentences.append(f"{WARNING}{drift.changed:,} have other texts than in the reference, and are left out")
    return sentences


NO_PROOF = "Each is a reason to read the record, no proof: a title or a line that must be named is no leak."


def writers_text(writers: Writers) -> str:
    """Leaks by annotator, for a terminal."""
    lines: list[str] = []
    for (caption, heads, rows), (left, most) in zip(leaks(writers), ((1, 30), (4, 44), (3, 40)), strict=True):
        if rows or not lines:
            lines += [caption, *columns([heads, *rows], left, most), ""]
    return "\n".join([*lines, *folded([NO_PROOF])])


def leaks(writers: Writers) -> tuple[tuple[str, tuple[str, ...], list[list[str]]], ...]:
    """Leaks by annotator, the phrases and the copies themselves: each a caption, heads and rows."""
    return (
        (
            "Leaks in what annotators wrote",
            ("annotator", "queries", "of them in common phrases", "suspect", "copied thoughts"),
            [
                [name, f"{wrote.queries:,}", share(wrote.share), f"{wrote.suspect:,}", f"{wrote.copied:,}"]
                for name, wrote in writers.annotators.items()
            ],
        ),
        (
            "Phrases of the answer in its query",
            ("row", "annotator", "characters", "phrase"),
            [[one.row_id, one.annotator, f"{one.characters:,}", one.phrase] for one in writers.phrases],
        ),
        (
            f"Thoughts that stand in another record too ({writers.copied_pairs:,} pairs)",
            ("row", "row", "annotators", "alike"),
            [[*copy.rows, " / ".join(copy.annotators), f"{copy.alike:.0%}"] for copy in writers.copies],
        ),
    )
