"""`coigw-judge calibrate`: the judge against people, as one calibration (file.py).

Of every item that people labelled: how well judge and people agree (agreement.py), the ceiling that people set by
agreeing with each other, and the same by group. Of the decision: precision, recall and F1 of the run's gate, and the
gate that reaches a wanted recall at the least review cost (gate.py).
A judge that gave no number is never a low number: such records are left out of a figure, and the report counts them
by cause. `missing="dropped"` counts a record without a decision as not kept, in the gate's figures alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from coigw_judge.errors import FixSource
from coigw_judge.people.calibration import agreement, alpha, gate
from coigw_judge.people.calibration.agreement import Bootstrap, Floats, IntervalEstimate
from coigw_judge.people.calibration.file import Annotator, Blind, Calibration, Ceiling, Group, Item, Within
from coigw_judge.people.calibration.labelled_records import CalibrateOptions, LabelledRecords, judged
from coigw_judge.people.labels.join import Joined, LabelledRecord, join, unknown_items
from coigw_judge.people.labels.read import OVERALL, VERDICTS, Labels
from coigw_judge.run_folder import verdicts
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.gate import gate_of


def report(run: Run, labels: Labels, options: CalibrateOptions) -> Calibration:
    """All figures. Raises FixSource where labels and run have nothing in common, FixJob for a wrong `by`."""
    verdicts.check_column(run, options.by, "--by")
    items = [*run.items("score"), *run.items("check")]
    columns = ["decision", "total", "not_applicable", "skipped", "asked", options.by, *items]
    columns += ["expected"] if gate_of(run).use == "expected" else []
    joined = join(run, labels, columns, options.round)
    data, unweighted = _weighed(run, joined, options)
    rubrics, rubrics_note = verdicts.known_rubrics(run)
    scales = {f"{r.name}.{d.key}": r.scale.values() for r in rubrics for d in r.dimensions}
    scales |= {name: [0, 1] for name in run.items("check")}
    ranges = {r.name: (r.scale.min, r.scale.max) for r in rubrics if r.dimensions}
    ranges |= {name: (min(scale), max(scale)) for name, scale in scales.items()}
    unknown = unknown_items(joined, [*items, *run.items("choice"), *(name.partition(".")[0] for name in items)])
    labelled_items = [item for item in _ordered(joined, items) if item not in unknown]
    if not labelled_items:
        wrong = ", ".join(f"{item} {hint}".strip() for item, hint in list(unknown.items())[:3])
        raise FixSource(f"the labels are of items that {run.folder} does not score: {wrong}; known: {', '.join(items)}")
    return Calibration(
        run=run.folder,
        meaningless=run.manifest.judge.meaningless,
        records=len(data.records),
        labels=joined.labels,
        rounds=list(joined.rounds),
        annotators=[_annotator(data, name) for name in joined.annotators],
        left_out={**joined.left_out, **unweighted},
        unknown_items=unknown,
        blind=_blind(data.records),
        weighted=data.weights is not None,
        by=options.by,
        bootstrap=options.how,
        decisions=Counter(record.verdict["decision"] for record in data.records),
        rubrics=rubrics_note,
        items={item: _item(data, item, ranges.get(item), scales.get(item)) for item in labelled_items},
        gate=gate.against_people(data),
        regate=gate.for_recall(data),
    )


def _weighed(run: Run, joined: Joined, options: CalibrateOptions) -> tuple[LabelledRecords, dict[str, int]]:
    """Records with their weights; where some have one, those without are left out, and that is counted."""
    scores, checks = tuple(run.items("score")), tuple(run.items("check"))
    with_weight = [record for record in joined.records if record.weight is not None]
    if not options.weighted or not with_weight:
        return LabelledRecords(run, scores, checks, joined.records, None, options), {}
    weights = np.array([record.weight for record in with_weight], np.float64)
    alike = bool(np.ptp(weights) < 1e-12 * weights.max())
    without = len(joined.records) - len(with_weight)
    left_out = {"records without a weight, where others have one (--unweighted takes all)": without} if without else {}
    return LabelledRecords(run, scores, checks, tuple(with_weight), None if alike else weights, options), left_out


def _ordered(joined: Joined, items: Iterable[str]) -> list[str]:
    given = {item for record in joined.records for item in record.people}
    in_order = [OVERALL, *dict.fromkeys(name for item in items for name in (item.partition(".")[0], item))]
    return [item for item in in_order if item in given] + sorted(given.difference(in_order))


def _blind(records: Iterable[LabelledRecord]) -> Blind:
    counts = Counter(record.blind for record in records)
    return Blind(blind=counts[True], not_blind=counts[False], not_said=counts[None])


# Items


def _item(data: LabelledRecords, item: str, ends: tuple[float, float] | None, scale: Sequence[float] | None) -> Item:
    judge = [judged(record, item, data.scores, data.checks) for record in data.records]
    people = [record.number(item) for record in data.records]
    labelled = [n for n, record in enumerate(data.records) if item in record.people]
    missing = Counter(judge[n] for n in labelled if isinstance(judge[n], str))
    pairs = [n for n in labelled if people[n] is not None and not isinstance(judge[n], str)]
    figures = Item(
        range=ends,
        labelled=len(labelled),
        compared=len(pairs),
        judge_missing={str(cause): n for cause, n in missing.items()},
        between_annotators=_between(data, item),
    )
    votes = {n: vote for n in labelled if (vote := data.records[n].accepted(item)) is not None}
    if pairs:
        x, y = _column(judge, pairs), _column(people, pairs)
        weights = data.weights_of(pairs)
        correlations = agreement.correlations(x, y, weights, data.options.how)
        figures.pearson, figures.spearman, figures.kendall = correlations.values()
        figures.kappa = _kappa(x, y, scale, weights, data.options.how)
        figures.by, figures.points = _by(data, pairs, x, y), _points(x, y, weights)
        figures.within = _within(figures.by)
    if votes:
        chosen = [n for n in votes if not isinstance(judge[n], str)]
        accepted = np.array([float(votes[n][0]) for n in chosen])
        figures.auc = agreement.auc(_column(judge, chosen), accepted, data.weights_of(chosen), data.options.how)
    return figures


def _column(values: Sequence[Any], places: Sequence[int]) -> Floats:
    return np.array([values[n] for n in places], np.float64)


def _kappa(
    x: Floats, y: Floats, scale: Sequence[float] | None, weights: Floats | None, how: Bootstrap
) -> IntervalEstimate | None:
    """Quadratic kappa over the rubric's scale; people's means are rounded to it. None where they left it."""
    if scale is None or min(x.min(), y.min()) < min(scale) or max(x.max(), y.max()) > max(scale):
        return None
    return agreement.kappa(x, y, np.array(scale, np.float64), weights, how)


def _by(data: LabelledRecords, pairs: Sequence[int], x: Floats, y: Floats) -> dict[str, Group]:
    groups: dict[str, list[int]] = defaultdict(list)
    for at, n in enumerate(pairs):
        groups[data.group_of(n)].append(at)
    by = {}
    for name, places in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        weights = data.weights_of([pairs[at] for at in places])
        by[name] = Group(
            compared=len(places),
            judge_mean=agreement.mean(x[places], weights, data.options.how),
            people_mean=agreement.mean(y[places], weights, data.options.how),
            **agreement.correlations(x[places], y[places], weights, data.options.how),
        )
    return by


def _within(groups: Mapping[str, Group]) -> Within:
    def mean(correlations: Iterable[IntervalEstimate]) -> float | None:
        weighed = [
            (correlation.value, group.compared)
            for correlation, group in zip(correlations, groups.values(), strict=True)
            if correlation.value is not None
        ]
        whole = sum(n for _, n in weighed)
        return math.fsum(value * n for value, n in weighed) / whole if whole else None

    return Within(
        pearson=mean(group.pearson for group in groups.values()),
        spearman=mean(group.spearman for group in groups.values()),
        kendall=mean(group.kendall for group in groups.values()),
        groups=sum(group.pearson.value is not None for group in groups.values()),
    )


def _points(x: Floats, y: Floats, weights: Floats | None) -> list[tuple[float, float, float]]:
    """The cross table of judge and people: judge's number, people's, records (or weight) with both."""
    tables = agreement.table(x, y, weights)
    return [
        (float(tables.x[k]), float(tables.y[m]), float(tables.weights[0, k, m]))
        for k, m in np.argwhere(tables.weights[0] > 0)
    ]


def _between(data: LabelledRecords, item: str) -> Ceiling:
    alphas: dict[str, IntervalEstimate] = {}
    names = sorted({name for record in data.records for name in record.people.get(item, {})})
    levels: list[tuple[alpha.Level, type]] = [("interval", float), ("ordinal", str)]
    for level, wanted in levels:
        values = np.full((len(data.records), len(names)), math.nan)
        for at, record in enumerate(data.records):
            for name, value in record.people.get(item, {}).items():
                if isinstance(value, wanted):
                    place = float(VERDICTS.index(value)) if isinstance(value, str) else value
                    values[at, names.index(name)] = place
        if not np.isnan(values).all():
            alphas[level] = alpha.alpha(values, level, data.weights, data.options.how)
    return Ceiling(**alphas)


# Annotators


def _annotator(data: LabelledRecords, name: str) -> Annotator:
    own = [record for record in data.records if any(name in given for given in record.people.values())]
    decisions = [str(v) for r in own if isinstance(v := r.people.get(OVERALL, {}).get(name), str)]
    agreed, shared = 0, 0
    mine: list[float] = []
    others: list[float] = []
    for record in own:
        for item, given in record.people.items():
            rest = [value for who, value in given.items() if who != name]
            value = given.get(name)
            if value is None or not rest:
                continue
            if item == OVERALL and isinstance(value, str):
                words = [other for other in rest if isinstance(other, str)]
                shared, agreed = shared + len(words), agreed + words.count(value)
            numbers = [other for other in rest if not isinstance(other, str)]
            if not isinstance(value, str) and numbers:
                mine.append(value)
                others.append(sum(numbers) / len(numbers))
    rho = agreement.by_scipy("spearman", np.array(mine), np.array(others))
    return Annotator(
        annotator=name,
        records=len(own),
        decided=len(decisions),
        accepting=decisions.count("accept") / len(decisions) if decisions else None,
        same_decision=agreed / shared if shared else None,
        shared_decisions=shared,
        spearman_with_others=rho if math.isfinite(rho) else None,
        shared_numbers=len(mine),
        higher_than_others=float(np.mean(np.array(mine) - np.array(others))) if mine else None,
    )
