"""The judge against people: what calibration.json holds, as tables and drawings.

Every sentence is people/calibration/text.py's, so page and terminal say the same. A run that nobody calibrated has no
section.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from coigw_judge.people.calibration import text as calibration_text
from coigw_judge.people.calibration.file import Calibration, GatesForRecall, Hits, Item, Writers
from coigw_judge.people.calibration.text import WARNING, plain, shown
from coigw_judge.people.quality import text as quality_text
from coigw_judge.people.quality.drift import Drift
from coigw_judge.report.axes import Axis, CrossTable, TradeOff, axis_for, lane, pairs, trade_off
from coigw_judge.report.tables import Remark, Table, ends, line, notes


@dataclass(frozen=True, slots=True)
class GoldenTable:
    """Golden records, and what is to be said of them."""

    table: Table
    notes: tuple[Remark, ...]


def golden(drift: Drift) -> GoldenTable:
    """How far each item moved on the golden records."""
    reach = max([2 * drift.bound, *(abs(end) for item in drift.items for end in ends(item.shift) if end is not None)])
    axis = Axis(-reach, reach) if reach else Axis(-1, 1)
    lines = [
        line(
            (*quality_text.moved_cells(item), "yes" if item.alarm else ""),
            lane("ceiling" if item.alarm else "judge", axis, *ends(item.shift)),
        )
        for item in drift.items
    ]
    table = Table(
        caption=f"Golden records: {drift.records:,} against {drift.reference}, bound {drift.bound:g}",
        heads=(*quality_text.MOVED_HEADS, "alarm"),
        lines=tuple(lines),
        axis=axis,
        legend=(("judge", "shift of the mean, in points of the scale"), ("ceiling", "the same, with an alarm")),
    )
    sentences = quality_text.drift_caveats(drift)
    sentences += [f"{WARNING}ALARM {item.item}: {item.alarm}" for item in drift.items if item.alarm] or ["No alarm."]
    if any(item.noise is None for item in drift.items):
        sentences.append(quality_text.NO_NOISE)
    return GoldenTable(table, notes(sentences))


def leaks(writers: Writers) -> tuple[Table, ...]:
    """Leaks by annotator, then the phrases and the copies themselves, where there are any."""
    return tuple(
        Table(caption=caption, heads=heads, lines=tuple(map(line, rows)))
        for caption, heads, rows in quality_text.leaks(writers)
        if rows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstPeople:
    """What is shown of a calibration. A part that it does not have is None or empty.

    `pairs`: of every item judge against people, and the same by group.
    """

    summary: str
    notes: tuple[Remark, ...]
    items: Table
    further: Table
    missing: tuple[str, ...]
    pairs: tuple[tuple[CrossTable, Table | None], ...]
    gate: tuple[Table, ...]
    gate_notes: tuple[Remark, ...]
    trade_off: TradeOff | None
    choices: Table | None
    choice_notes: tuple[Remark, ...]
    annotators: Table


def against_people(calibration: Calibration) -> AgainstPeople:
    """The section of a calibration."""
    gate, regate = calibration.gate, calibration.regate
    chosen = regate is not None and bool(regate.choices)
    return AgainstPeople(
        summary=calibration_text.summary(calibration),
        notes=notes(calibration_text.caveats(calibration)),
        items=_items(calibration),
        further=_further(calibration),
        missing=tuple(calibration_text.missing(calibration)),
        pairs=_pairs(calibration),
        gate=_gate(calibration),
        gate_notes=notes(calibration_text.gate_notes(gate) if gate else [calibration_text.UNDECIDED]),
        trade_off=_trade_off(calibration),
        choices=_choices(regate) if regate and chosen else None,
        choice_notes=notes(calibration_text.regate_notes(regate)) if regate and chosen else (),
        annotators=_annotators(calibration),
    )


# Items


def _items(calibration: Calibration) -> Table:
    """Per item: how judge and people agree, beside how people agree with each other."""
    items = calibration.items.items()
    both = [(item.spearman, calibration_text.ceiling(item.between_annotators)) for _, item in items]
    axis = axis_for(end for estimates in both for estimate in estimates for end in ends(estimate))
    lines = []
    for (name, item), (spearman, ceiling) in zip(items, both, strict=True):
        compared = f"{item.compared:,}" if item.compared else "-"
        cells = (name, compared, *map(shown, (spearman, ceiling, item.kappa, item.auc)))
        lines.append(line(cells, lane("judge", axis, *ends(spearman)), lane("ceiling", axis, *ends(ceiling))))
    return Table(
        caption="Agreement by item, with 95 % intervals",
        heads=("item", "n", "Spearman", "ceiling: alpha of people", "kappa (quadratic)", "AUC for accept"),
        lines=tuple(lines),
        axis=axis,
        legend=(("judge", "judge and people: Spearman"), ("ceiling", "people among themselves: alpha, the ceiling")),
    )


def _further(calibration: Calibration) -> Table:
    """The other correlations, and what groups alone do not explain."""
    lines = [
        line((name, shown(item.kendall), shown(item.pearson), plain(item.within.spearman)))
        for name, item in calibration.items.items()
        if item.pearson is not None
    ]
    heads = ("item", "Kendall", "Pearson", f"Spearman within groups ({calibration.by})")
    return Table(caption="Other correlations by item", heads=heads, lines=tuple(lines))


def _pairs(calibration: Calibration) -> tuple[tuple[CrossTable, Table | None], ...]:
    drawn = []
    for name, item in calibration.items.items():
        one = pairs(name, item.points, item.range)
        if one is not None:
            drawn.append((one, _groups(calibration.by, name, item)))
    return tuple(drawn)


def _groups(by: str, name: str, item: Item) -> Table | None:
    if len(item.by) < 2:
        return None
    axis = axis_for(end for figures in item.by.values() for end in ends(figures.spearman))
    return Table(
        caption=f"{name} by {by}",
        heads=(by, *calibration_text.GROUP_HEADS),
        lines=tuple(
            line((group, *calibration_text.group_cells(figures)), lane("judge", axis, *ends(figures.spearman)))
            for group, figures in item.by.items()
        ),
        axis=axis,
        legend=(("judge", "judge and people: Spearman"),),
    )


# The gate


def _gate(calibration: Calibration) -> tuple[Table, ...]:
    """The gate against people's accept; people's word by decision; the gate by group."""
    gate = calibration.gate
    if gate is None:
        return ()
    passing = {"kept": gate.kept, "kept or review": gate.kept_or_review}
    tables = [
        _hits(passing, "passes as", "The gate against people's accept"),
        Table(
            caption="What people say of rows, by their decision",
            heads=calibration_text.DECISION_HEADS,
            lines=tuple(map(line, calibration_text.decision_rows(gate))),
        ),
    ]
    if len(gate.by) > 1:
        tables.append(_hits(gate.by, calibration.by, f"The gate by {calibration.by}, where kept alone passes"))
    return tuple(tables)


def _hits(by_name: Mapping[str, Hits], head: str, caption: str) -> Table:
    axis = Axis(0, 1)
    lines = []
    for name, hits in by_name.items():
        lanes = lane("precision", axis, *ends(hits.precision)), lane("recall", axis, *ends(hits.recall))
        lines.append(line((name, *calibration_text.hits_cells(hits)), *lanes))
    return Table(
        caption=caption,
        heads=(head, *calibration_text.HITS_HEADS),
        lines=tuple(lines),
        axis=axis,
        legend=(("precision", "precision"), ("recall", "recall")),
    )


def _trade_off(calibration: Calibration) -> TradeOff | None:
    gate, regate = calibration.gate, calibration.regate
    if gate is None or regate is None:
        return None
    chosen = [
        (f"{choice.wanted:.0%} wanted: {calibration_text.gate_text(choice)}", choice.cost, choice.recall)
        for choice in regate.choices
    ]
    recall = gate.kept_or_review.recall.value
    return trade_off(regate.frontier, chosen, None if recall is None else (regate.now, recall))


def _choices(regate: GatesForRecall) -> Table:
    asked = " (*: the recall that was asked for)" if regate.wanted is not None else ""
    return Table(
        caption=f"The gate that reaches a recall at the least review cost{asked}",
        heads=("recall wanted", *calibration_text.CHOICE_HEADS[1:]),
        lines=tuple(line(calibration_text.choice_cells(choice, regate.wanted)) for choice in regate.choices),
    )


def _annotators(calibration: Calibration) -> Table:
    lines = tuple(line(calibration_text.annotator_cells(annotator)) for annotator in calibration.annotators)
    return Table(caption="Annotators", heads=calibration_text.ANNOTATOR_HEADS, lines=lines)
