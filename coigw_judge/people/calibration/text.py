"""A calibration for a terminal: tables whose columns stand below each other, and every caveat in words.

Caveats and table cells are given apart from their layout too, because report.html says the same: a caveat that begins
with WARNING is one that a reader must not miss.
"""

from collections.abc import Mapping, Sequence

from coigw_judge.people.calibration.agreement import IntervalEstimate
from coigw_judge.people.calibration.cheapest_gate import Choice
from coigw_judge.people.calibration.file import (
    Annotator,
    Calibration,
    Ceiling,
    GateAgainstPeople,
    GatesForRecall,
    Group,
    Hits,
)
from coigw_judge.run_folder import manifest
from coigw_judge.text.terminal import columns, one_line, sentence

WARNING = "! "
_GROUPS = 20


def as_text(calibration: Calibration) -> str:
    """All of it."""
    sections = (_head, _items, _missing, _gate, _regate, _groups, _annotators)
    return "\n\n".join("\n".join(lines) for section in sections if (lines := section(calibration)))


def _head(calibration: Calibration) -> list[str]:
    return [f"{one_line(calibration.run)}: {summary(calibration)}", *folded(caveats(calibration))]


def summary(calibration: Calibration) -> str:
    """How much was labelled, and by how many."""
    rounds, people = ", ".join(map(str, calibration.rounds)), len(calibration.annotators)
    return f"{calibration.records:,} records, {calibration.labels:,} labels by {people:,} annotators (rounds: {rounds})"


def folded(sentences: Sequence[str]) -> list[str]:
    """Sentences in lines that fit."""
    return [line for text in sentences for line in sentence(one_line(text))]


def caveats(calibration: Calibration) -> list[str]:
    """What a reader must know before the figures."""
    sentences = [f"{WARNING}{manifest.MEANINGLESS}"] if calibration.meaningless else []
    blind = calibration.blind
    if blind.not_blind:
        sentences.append(
            f"{WARNING}NOT BLIND: on {blind.not_blind:,} records people saw the judge's scores first, so they agree "
            "with it more than they would alone; export --blind leaves the scores out"
        )
    if blind.not_said:
        sentences.append(f"{WARNING}{blind.not_said:,} records do not say whether people labelled them blind")
    if calibration.weighted:
        sentences.append("weighted by the sampling design: figures speak of the run, not of the sample")
    how = calibration.bootstrap
    sentences.append(f"in brackets: 95 % intervals, {how.resamples:,} resamples of records, seed {how.seed}")
    sentences += [f"labels left out: {count:,} {reason}" for reason, count in calibration.left_out.items()]
    for item, hint in calibration.unknown_items.items():
        sentences.append(f"labels left out: item {item} is not scored by this run {hint}")
    return sentences + ([f"rubrics: {calibration.rubrics}"] if calibration.rubrics else [])


def shown(value: IntervalEstimate | None) -> str:
    """An estimate with its interval, `-` where there is none."""
    if value is None or value.value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.value:.2f}"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def plain(value: float | None) -> str:
    """A figure without an interval, `-` where there is none."""
    return "-" if value is None else f"{value:.2f}"


def ceiling(between: Ceiling) -> IntervalEstimate | None:
    """Krippendorff's alpha of the people on an item, by numbers where they gave such, else by decisions."""
    return between.interval or between.ordinal


def _items(calibration: Calibration) -> list[str]:
    rows = [["item", "n", "Spearman", "Kendall", "Pearson"]]
    more = [["item", "kappa (quadratic)", "AUC for accept", "ceiling: alpha of people", "within groups: Spearman"]]
    for name, item in calibration.items.items():
        compared = f"{item.compared:,}" if item.compared else "-"
        rows.append([name, compared, *map(shown, (item.spearman, item.kendall, item.pearson))])
        figures = map(shown, (item.kappa, item.auc, ceiling(item.between_annotators)))
        more.append([name, *figures, plain(item.within.spearman)])
    return ["Judge and people", *columns(rows), "", *columns(more)]


def _missing(calibration: Calibration) -> list[str]:
    lines = folded(missing(calibration))
    if not lines:
        return ["Missing scores: none; the judge has a score wherever people gave one."]
    return ["Missing scores (left out of the figures above, never counted as low)", *lines]


def missing(calibration: Calibration) -> list[str]:
    """Of every item whose judge's score is missing somewhere: how often, and why."""
    sentences = []
    for name, item in calibration.items.items():
        if item.judge_missing:
            causes = "; ".join(f"{cause} {n:,}" for cause, n in sorted(item.judge_missing.items()))
            sentences.append(f"{name}: {sum(item.judge_missing.values()):,} of {item.labelled:,}: {causes}")
    return sentences


UNDECIDED = "people decided nothing (no accept / refine / remove on `overall`): no figures"


def _gate(calibration: Calibration) -> list[str]:
    gate = calibration.gate
    if gate is None:
        return ["The gate", *folded([UNDECIDED])]
    rows = [("kept", *hits_cells(gate.kept)), ("kept or review", *hits_cells(gate.kept_or_review))]
    lines = ["The gate against people's accept", *columns([("passes as", *HITS_HEADS), *rows]), ""]
    return [*lines, *columns([DECISION_HEADS, *decision_rows(gate)]), *folded(gate_notes(gate))]


HITS_HEADS = ("n", "accepted", "precision", "recall", "F1")


def hits_cells(hits: Hits) -> list[str]:
    """What passes against what people accept."""
    return [f"{hits.records:,}", f"{hits.accepted:,}", *map(shown, (hits.precision, hits.recall, hits.f1))]


DECISION_HEADS = ("decision", "people accept", "people do not")


def decision_rows(gate: GateAgainstPeople) -> list[list[str]]:
    """What people say of rows, by their decision."""
    return [[name, f"{n.accepted:,}", f"{n.not_accepted:,}"] for name, n in sorted(gate.decisions.items())]


def gate_notes(gate: GateAgainstPeople) -> list[str]:
    """How the gate's figures treat what has no clear answer."""
    sentences = []
    if gate.without_decision:
        instead = ", ".join(f"{name} {n:,}" for name, n in sorted(gate.without_decision.items()))
        treated = "left out" if gate.missing == "excluded" else "counted as not kept"
        sentences.append(f"without a decision of the gate: {instead}; {treated} (--missing changes that)")
    if gate.ties_counted_as_not_accepted:
        sentences.append(f"{gate.ties_counted_as_not_accepted:,} ties between people count as not accepted")
    if not gate.outside_labelled:
        sentences.append(
            f"{WARNING}Only records that passed were labelled: recall cannot be known from them. Draw from all "
            "decisions with export --sample N --stratify decision,genre"
        )
    return sentences


CHOICE_HEADS = ("recall", "gate", "recall on labels", "on others", "rows to look at")


def _regate(calibration: Calibration) -> list[str]:
    regate = calibration.regate
    if regate is None or not regate.choices:
        return []
    rows = [choice_cells(choice, regate.wanted) for choice in regate.choices]
    lines = ["The gate that reaches a recall at the least review cost", *columns([CHOICE_HEADS, *rows], left=2)]
    return [*lines, *folded(regate_notes(regate))]


def choice_cells(choice: Choice, wanted: float | None) -> list[str]:
    """A chosen gate: the recall asked for, the gate, its recall on the labels and on others, its cost."""
    mark = " *" if choice.wanted == wanted else ""
    return [
        f"{choice.wanted:.0%}{mark}",
        gate_text(choice),
        f"{choice.recall:.1%}",
        "-" if choice.recall_elsewhere is None else f"{choice.recall_elsewhere:.1%}",
        f"{choice.cost:,}" + (f" to {choice.cost_at_most:,}" if choice.cost_at_most > choice.cost else ""),
    ]


def regate_notes(regate: GatesForRecall) -> list[str]:
    """What the figures of other gates rest on."""
    review = regate.review
    sentences = [
        f"of {regate.rows:,} rows; the run's own gate sends {regate.now:,} to people (kept and review). Recall "
        f"counts what is kept or in review (band: total {review.total:g}, each {review.each:g}); `on others` is "
        "the mean over records that a resample left out"
    ]
    if regate.left_out_without_scores:
        sentences.append(
            f"{WARNING}{regate.left_out_without_scores:,} labelled records are left out, as scores that a gate needs "
            "are not known; a run with early_exit: false knows them"
        )
    if regate.wanted is not None and regate.wanted not in {choice.wanted for choice in regate.choices}:
        sentences.append(
            f"{WARNING}no gate over these scores reaches a recall of {regate.wanted:.0%}: checks or screens forbid"
        )
    return sentences


def gate_text(choice: Choice) -> str:
    """A gate as the job's keys say it."""
    parts = [] if choice.total is None else [f"total: {choice.total:g}"]
    if choice.each is not None:
        parts.append(f"each: {choice.each:g}")
    if choice.each_shift is not None:
        parts.append(f"each: every floor {choice.each_shift:+g}")
    return ", ".join(parts) or "none (all rows)"


def _groups(calibration: Calibration) -> list[str]:
    lines: list[str] = []
    for name, item in calibration.items.items():
        if len(item.by) < 2:
            continue
        rows = [[calibration.by, *GROUP_HEADS]]
        rows += [[group, *group_cells(figures)] for group, figures in list(item.by.items())[:_GROUPS]]
        lines += ["", f"{name} by {one_line(calibration.by)}", *columns(rows, most=24), *_more(item.by)]
    gate = calibration.gate
    if gate is not None and len(gate.by) > 1:
        rows = [[calibration.by, *HITS_HEADS]]
        rows += [[group, *hits_cells(hits)] for group, hits in list(gate.by.items())[:_GROUPS]]
        lines += ["", f"the gate by {one_line(calibration.by)}", *columns(rows, most=24), *_more(gate.by)]
    return lines[1:]


GROUP_HEADS = ("n", "judge", "people", "Spearman", "Kendall", "Pearson")


def group_cells(group: Group) -> list[str]:
    """Judge and people on one group's records: their means, and how they agree."""
    means = plain(group.judge_mean.value), plain(group.people_mean.value)
    return [f"{group.compared:,}", *means, *map(shown, (group.spearman, group.kendall, group.pearson))]


def _more(groups: Mapping[str, Group] | Mapping[str, Hits]) -> list[str]:
    return [f"  and {len(groups) - _GROUPS:,} more groups; --json has all"] if len(groups) > _GROUPS else []


ANNOTATOR_HEADS = ("annotator", "records", "yield", "same decision", "Spearman with others", "higher than others")


def _annotators(calibration: Calibration) -> list[str]:
    return ["Annotators", *columns([ANNOTATOR_HEADS, *map(annotator_cells, calibration.annotators)], most=28)]


def annotator_cells(annotator: Annotator) -> list[str]:
    """One annotator: how much, how strict, how far from the others."""
    shared = f" of {annotator.shared_decisions:,}" if annotator.shared_decisions else ""
    return [
        annotator.annotator,
        f"{annotator.records:,}",
        share(annotator.accepting),
        share(annotator.same_decision) + shared,
        plain(annotator.spearman_with_others),
        "-" if annotator.higher_than_others is None else f"{annotator.higher_than_others:+.2f}",
    ]


def share(value: float | None) -> str:
    """A share in whole percents, `-` where there is none."""
    return "-" if value is None else f"{value:.0%}"
