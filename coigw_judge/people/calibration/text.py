"""A calibration for a terminal: tables whose columns stand below each other, and every caveat in words.

Caveats and table cells are given apart from their layout too, because report.html says the same: a caveat that begins
with WARNING is one that a reader must not miss.
Not known here: how anything was computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from coigw_judge.people.calibration.agreement import IntervalEstimate
from coigw_judge.people.calibration.cheapest_gate import Choice
from coigw_judge.run_folder import manifest
from coigw_judge.text.terminal import columns, one_line, sentence

WARNING = "! "
_GROUPS = 20


def as_text(found: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = [
        _head(found),
        _items(found),
        _missing(found),
        _gate(found),
        _regate(found),
        _groups(found),
        _annotators(found["annotators"]),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(found: Mapping[str, Any]) -> list[str]:
    return [f"{one_line(found['run'])}: {summary(found)}", *folded(caveats(found))]


def summary(found: Mapping[str, Any]) -> str:
    """How much was labelled, and by how many."""
    rounds = ", ".join(map(str, found["rounds"]))
    people = len(found["annotators"])
    return f"{found['records']:,} records, {found['labels']:,} labels by {people:,} annotators (rounds: {rounds})"


def folded(sentences: Sequence[str]) -> list[str]:
    """Sentences in lines that fit."""
    return [line for text in sentences for line in sentence(one_line(text))]


def caveats(found: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    said = [f"{WARNING}{manifest.MEANINGLESS}"] if found["meaningless"] else []
    blind = found["blind"]
    if blind["not_blind"]:
        said.append(
            f"{WARNING}NOT BLIND: on {blind['not_blind']:,} records people saw the judge's scores first, so they agree "
            "with it more than they would alone; export --blind leaves the scores out"
        )
    if blind["not_said"]:
        said.append(f"{WARNING}{blind['not_said']:,} records do not say whether people labelled them blind")
    if found["weighted"]:
        said.append("weighted by the sampling design: figures speak of the run, not of the sample")
    how = found["bootstrap"]
    said.append(f"in brackets: 95 % intervals, {how['resamples']:,} resamples of records, seed {how['seed']}")
    said += [f"labels left out: {count:,} {reason}" for reason, count in found["left_out"].items()]
    for item, hint in found["unknown_items"].items():
        said.append(f"labels left out: item {item} is not scored by this run {hint}")
    return said + ([f"rubrics: {found['rubrics']}"] if found["rubrics"] else [])


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


def ceiling(between: Mapping[str, IntervalEstimate]) -> IntervalEstimate | None:
    """Krippendorff's alpha of the people on an item, by numbers where they gave such, else by decisions."""
    return between.get("interval") or between.get("ordinal")


def _items(found: Mapping[str, Any]) -> list[str]:
    rows = [["item", "n", "Spearman", "Kendall", "Pearson"]]
    more = [["item", "kappa (quadratic)", "AUC for accept", "ceiling: alpha of people", "within groups: Spearman"]]
    for item, told in found["items"].items():
        numbers = f"{told['compared']:,}" if told["compared"] else "-"
        rows.append([item, numbers, *(shown(told.get(k)) for k in ("spearman", "kendall", "pearson"))])
        figures = map(shown, (told.get("kappa"), told.get("auc"), ceiling(told["between_annotators"])))
        more.append([item, *figures, plain(told.get("within", {}).get("spearman"))])
    return ["Judge and people", *columns(rows), "", *columns(more)]


def _missing(found: Mapping[str, Any]) -> list[str]:
    lines = folded(missing(found))
    if not lines:
        return ["Missing scores: none; the judge has a score wherever people gave one."]
    return ["Missing scores (left out of the figures above, never counted as low)", *lines]


def missing(found: Mapping[str, Any]) -> list[str]:
    """Of every item whose judge's score is missing somewhere: how often, and why."""
    said = []
    for item, told in found["items"].items():
        if told["judge_missing"]:
            causes = "; ".join(f"{cause} {n:,}" for cause, n in sorted(told["judge_missing"].items()))
            said.append(f"{item}: {sum(told['judge_missing'].values()):,} of {told['labelled']:,}: {causes}")
    return said


UNDECIDED = "people decided nothing (no accept / refine / remove on `overall`): no figures"


def _gate(found: Mapping[str, Any]) -> list[str]:
    gate = found["gate"]
    if gate is None:
        return ["The gate", *folded([UNDECIDED])]
    rows = [("kept", *hits_cells(gate["kept"])), ("kept or review", *hits_cells(gate["kept_or_review"]))]
    lines = ["The gate against people's accept", *columns([("passes as", *HITS_HEADS), *rows]), ""]
    return [*lines, *columns([DECISION_HEADS, *decision_rows(gate)]), *folded(gate_notes(gate))]


HITS_HEADS = ("n", "accepted", "precision", "recall", "F1")


def hits_cells(told: Mapping[str, Any]) -> list[str]:
    """What passes against what people accept."""
    figures = (shown(told[name]) for name in ("precision", "recall", "f1"))
    return [f"{told['records']:,}", f"{told['accepted']:,}", *figures]


DECISION_HEADS = ("decision", "people accept", "people do not")


def decision_rows(gate: Mapping[str, Any]) -> list[list[str]]:
    """What people say of rows, by their decision."""
    return [[name, f"{n['accepted']:,}", f"{n['not_accepted']:,}"] for name, n in sorted(gate["decisions"].items())]


def gate_notes(gate: Mapping[str, Any]) -> list[str]:
    """How the gate's figures treat what has no clear answer."""
    said, without = [], gate["without_decision"]
    if without:
        told = ", ".join(f"{name} {n:,}" for name, n in sorted(without.items()))
        treated = "left out" if gate["missing"] == "excluded" else "counted as not kept"
        said.append(f"without a decision of the gate: {told}; {treated} (--missing changes that)")
    if gate["ties_counted_as_not_accepted"]:
        said.append(f"{gate['ties_counted_as_not_accepted']:,} ties between people count as not accepted")
    if not gate["outside_labelled"]:
        said.append(
            f"{WARNING}Only records that passed were labelled: recall cannot be known from them. Draw from all "
            "decisions with export --sample N --stratify decision,genre"
        )
    return said


CHOICE_HEADS = ("recall", "gate", "recall on labels", "on others", "rows to look at")


def _regate(found: Mapping[str, Any]) -> list[str]:
    told = found["regate"]
    if told is None or not told["choices"]:
        return []
    rows = [choice_cells(choice, told["wanted"]) for choice in told["choices"]]
    lines = ["The gate that reaches a recall at the least review cost", *columns([CHOICE_HEADS, *rows], left=2)]
    return [*lines, *folded(regate_notes(told))]


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


def regate_notes(told: Mapping[str, Any]) -> list[str]:
    """What the figures of other gates rest on."""
    review = told["review"]
    said = [
        f"of {told['rows']:,} rows; the run's own gate sends {told['now']:,} to people (kept and review). Recall "
        f"counts what is kept or in review (band: total {review['total']:g}, each {review['each']:g}); `on others` is "
        "the mean over records that a resample left out"
    ]
    if told["left_out_without_scores"]:
        said.append(
            f"{WARNING}{told['left_out_without_scores']:,} labelled records are left out, as scores that a gate needs "
            "are not known; a run with early_exit: false knows them"
        )
    reached = {choice.wanted for choice in told["choices"]}
    if told["wanted"] is not None and told["wanted"] not in reached:
        said.append(
            f"{WARNING}no gate over these scores reaches a recall of {told['wanted']:.0%}: checks or screens forbid"
        )
    return said


def gate_text(choice: Choice) -> str:
    """A gate as the job's keys say it."""
    parts = [] if choice.total is None else [f"total: {choice.total:g}"]
    if choice.each is not None:
        parts.append(f"each: {choice.each:g}")
    if choice.each_shift is not None:
        parts.append(f"each: every floor {choice.each_shift:+g}")
    return ", ".join(parts) or "none (all rows)"


def _groups(found: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for item, told in found["items"].items():
        groups = told.get("by", {})
        if len(groups) < 2:
            continue
        rows = [[found["by"], *GROUP_HEADS]]
        rows += [[name, *group_cells(group)] for name, group in list(groups.items())[:_GROUPS]]
        lines += ["", f"{item} by {one_line(found['by'])}", *columns(rows, most=24), *_more(groups)]
    gate = found["gate"]
    if gate is not None and len(gate["by"]) > 1:
        rows = [[found["by"], *HITS_HEADS]]
        rows += [[name, *hits_cells(group)] for name, group in list(gate["by"].items())[:_GROUPS]]
        lines += ["", f"the gate by {one_line(found['by'])}", *columns(rows, most=24), *_more(gate["by"])]
    return lines[1:]


GROUP_HEADS = ("n", "judge", "people", "Spearman", "Kendall", "Pearson")


def group_cells(group: Mapping[str, Any]) -> list[str]:
    """Judge and people on one group's records: their means, and how they agree."""
    means = (plain(group[name].value) for name in ("judge_mean", "people_mean"))
    return [f"{group['compared']:,}", *means, *(shown(group[name]) for name in ("spearman", "kendall", "pearson"))]


def _more(groups: Mapping[str, Any]) -> list[str]:
    return [f"  and {len(groups) - _GROUPS:,} more groups; --json has all"] if len(groups) > _GROUPS else []


ANNOTATOR_HEADS = ("annotator", "records", "yield", "same decision", "Spearman with others", "higher than others")


def _annotators(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["Annotators", *columns([ANNOTATOR_HEADS, *map(annotator_cells, found)], most=28)]


def annotator_cells(each: Mapping[str, Any]) -> list[str]:
    """One annotator: how much, how strict, how far from the others."""
    shared = f" of {each['shared_decisions']:,}" if each["shared_decisions"] else ""
    return [
        each["annotator"],
        f"{each['records']:,}",
        share(each["yield"]),
        share(each["same_decision"]) + shared,
        plain(each["spearman_with_others"]),
        "-" if each["higher_than_others"] is None else f"{each['higher_than_others']:+.2f}",
    ]


def share(value: float | None) -> str:
    """A share in whole percents, `-` where there is none."""
    return "-" if value is None else f"{value:.0%}"
