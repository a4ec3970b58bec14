"""`coigw-judge calibrate`: the judge against people, as one JSON-able report.

Of every item that people labelled: how well judge and people agree (agreement.py), the ceiling that people set by
agreeing with each other, and the same by group. Of the decision: precision, recall and F1 of the run's gate, and the
gate that reaches a wanted recall at the least review cost (regate.py).
A judge that gave no number is never a low number: such records are left out of a figure, and the report counts them
by cause. `missing="dropped"` counts a record without a decision as not kept, in the gate's figures alone.
Not known here: where labels come from (labels.py, labelled.py), how the report looks (calibrate_text.py).
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from coigw_judge import agreement, people_rows, regate
from coigw_judge.agreement import Bootstrap, Floats
from coigw_judge.diff_rows import Run
from coigw_judge.errors import FixSource
from coigw_judge.labelled import Joined, Record, join, unknown_items
from coigw_judge.labels import OVERALL, VERDICTS, Labels
from coigw_judge.paths import open_filesystem, write_atomic

Missing = Literal["excluded", "dropped"]
DECIDED = ("kept", "review", "dropped")
RECALLS = (0.8, 0.9, 0.95, 0.99, 1.0)
FILE = "calibration.json"
_UNJUDGED = {
    "pending": "pending: the judge was not asked yet",
    "screened": "screened: settled before the judge",
    "duplicate": "duplicate: another row stands for it",
    "unreadable": "unreadable",
}


@dataclass(frozen=True, slots=True)
class Options:
    """How to calibrate. `recall`: a further wanted recall; `accept_at`: a number that counts as accept."""

    by: str = "genre"
    round: int | None = None
    recall: float | None = None
    accept_at: float | None = None
    missing: Missing = "excluded"
    weighted: bool = True
    how: Bootstrap = field(default_factory=Bootstrap)


@dataclass(frozen=True, slots=True)
class _View:
    """The labelled records with all that the figures need. `scores` and `checks`: all items of the run."""

    run: Run
    scores: tuple[str, ...]
    checks: tuple[str, ...]
    records: tuple[Record, ...]
    weights: Floats | None
    options: Options

    def weights_of(self, places: Sequence[int]) -> Floats | None:
        return None if self.weights is None else self.weights[list(places)]


def report(run: Run, labels: Labels, options: Options) -> dict[str, Any]:
    """All figures. Raises FixSource where labels and run have nothing in common, FixJob for a wrong `by`."""
    people_rows.check_column(run, options.by, "--by")
    items = [*run.items("score"), *run.items("check")]
    over, require = people_rows.gate_items(run)
    columns = ["decision", "total", "not_applicable", "skipped", "asked", options.by, *items]
    joined = join(run, labels, columns, options.round)
    view, unweighted = _weighed(run, joined, options)
    rubrics, rubrics_note = people_rows.known_rubrics(run)
    scales = {f"{r.name}.{d.key}": r.scale.values() for r in rubrics for d in r.dimensions}
    scales |= {name: [0, 1] for name in run.items("check")}
    gave = unknown_items(joined, [*items, *run.items("choice"), *(name.partition(".")[0] for name in items)])
    labelled_items = [item for item in _ordered(joined, items) if item not in gave]
    if not labelled_items:
        wrong = ", ".join(f"{item} {hint}".strip() for item, hint in list(gave.items())[:3])
        raise FixSource(f"the labels are of items that {run.folder} does not score: {wrong}; known: {', '.join(items)}")
    return {
        "run": run.folder,
        "meaningless": run.manifest["judge"]["meaningless"],
        "records": len(view.records),
        "labels": joined.labels,
        "rounds": list(joined.rounds),
        "annotators": _annotators(view, joined),
        "left_out": {**joined.left_out, **unweighted},
        "unknown_items": gave,
        "blind": _blind(view.records),
        "weighted": view.weights is not None,
        "by": options.by,
        "bootstrap": asdict(options.how),
        "decisions": dict(Counter(record.verdict["decision"] for record in view.records)),
        "rubrics": rubrics_note,
        "items": {item: _item(view, item, scales.get(item)) for item in labelled_items},
        "gate": _gate(view),
        "regate": _regate(view, over, require, {r.name: r.scale.max for r in rubrics}),
    }


def write(run: Run, found: Mapping[str, Any], name: str = FILE) -> str:
    """Leave a report in the run folder, for report.html; returns where."""
    path = f"{run.folder.rstrip('/')}/{name}"
    filesystem, inner = open_filesystem(path)
    write_atomic(filesystem, inner, as_json(found).encode())
    return path


def as_json(found: Mapping[str, Any]) -> str:
    """The report as JSON; estimates are objects of value, low, high, n."""
    return json.dumps(found, ensure_ascii=False, indent=2, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)


def _weighed(run: Run, joined: Joined, options: Options) -> tuple[_View, dict[str, int]]:
    """Records with their weights; where some have one, those without are left out, and that is counted."""
    scores, checks = tuple(run.items("score")), tuple(run.items("check"))
    with_weight = [record for record in joined.records if record.weight is not None]
    if not options.weighted or not with_weight:
        return _View(run, scores, checks, joined.records, None, options), {}
    weights = np.array([record.weight for record in with_weight], np.float64)
    alike = bool(np.ptp(weights) < 1e-12 * weights.max())
    without = len(joined.records) - len(with_weight)
    left_out = {"records without a weight, where others have one (--unweighted takes all)": without} if without else {}
    return _View(run, scores, checks, tuple(with_weight), None if alike else weights, options), left_out


def _ordered(joined: Joined, items: Iterable[str]) -> list[str]:
    given = {item for record in joined.records for item in record.people}
    known = [OVERALL, *dict.fromkeys(name for item in items for name in (item.partition(".")[0], item))]
    return [item for item in known if item in given] + sorted(given.difference(known))


def _blind(records: Iterable[Record]) -> dict[str, int]:
    counts = Counter({True: "blind", False: "not_blind", None: "not_said"}[record.blind] for record in records)
    return {name: counts[name] for name in ("blind", "not_blind", "not_said")}


# What the judge said of an item


def judged(record: Record, item: str, scores: Sequence[str], checks: Sequence[str]) -> float | str:
    """The judge's number for an item, or why there is none.

    `scores` and `checks` are all that the run has. `overall` is the sum that the gate looks at. A rubric is the mean
    over its dimensions; where it has only checks, 1 if all are true.
    """
    verdict = record.verdict
    if item == OVERALL:
        values = [verdict["total"]]
    elif item in scores or item in checks:
        values = [verdict[item]]
    else:
        own = [name for name in scores if name.startswith(f"{item}.")]
        values = [verdict[name] for name in own or checks if name.startswith(f"{item}.")]
    if not values or any(value is None for value in values):
        return _why(verdict, "" if item == OVERALL else item.partition(".")[0])
    if all(isinstance(value, bool) for value in values):
        return float(all(values))
    return math.fsum(values) / len(values)


def _why(verdict: Mapping[str, Any], rubric: str) -> str:
    decision = verdict["decision"]
    if decision in _UNJUDGED:
        return _UNJUDGED[decision]
    if decision == "unscored" and (not rubric or rubric in (verdict["asked"] or ())):
        return "unscored: the judge failed"
    if rubric in (verdict["not_applicable"] or ()):
        return "does not apply"
    if rubric in (verdict["skipped"] or ()) or (not rubric and verdict["skipped"]):
        return "not asked: the gate had decided (early exit)"
    if not rubric:
        return "no sum: not all scores are known"
    return "unscored: the judge failed" if rubric in (verdict["asked"] or ()) else "not asked"


# Items


def _item(view: _View, item: str, scale: Sequence[float] | None) -> dict[str, Any]:
    said = [judged(record, item, view.scores, view.checks) for record in view.records]
    people = [record.number(item) for record in view.records]
    labelled = [n for n, record in enumerate(view.records) if item in record.people]
    missing = Counter(said[n] for n in labelled if isinstance(said[n], str))
    pairs = [n for n in labelled if people[n] is not None and not isinstance(said[n], str)]
    found: dict[str, Any] = {
        "labelled": len(labelled),
        "compared": len(pairs),
        "judge_missing": dict(missing),
        "between_annotators": _between(view, item),
    }
    votes = {n: vote for n in labelled if (vote := view.records[n].accepted(item)) is not None}
    if pairs:
        x, y = _column(said, pairs), _column(people, pairs)
        weights = view.weights_of(pairs)
        found |= agreement.correlations(x, y, weights, view.options.how)
        found["kappa"] = _kappa(x, y, scale, weights, view.options.how)
        found |= {"by": _by(view, pairs, x, y), "points": _points(x, y, weights)}
        found["within"] = _within(found["by"])
    if votes:
        chosen = [n for n in votes if not isinstance(said[n], str)]
        accepted = np.array([float(votes[n][0]) for n in chosen])
        found["auc"] = agreement.auc(_column(said, chosen), accepted, view.weights_of(chosen), view.options.how)
    return found


def _column(values: Sequence[Any], places: Sequence[int]) -> Floats:
    return np.array([values[n] for n in places], np.float64)


def _kappa(x: Floats, y: Floats, scale: Sequence[float] | None, weights: Floats | None, how: Bootstrap) -> Any:
    """Quadratic kappa over the rubric's scale; people's means are rounded to it. None where they left it."""
    if scale is None or min(x.min(), y.min()) < min(scale) or max(x.max(), y.max()) > max(scale):
        return None
    return agreement.kappa(x, y, np.array(scale, np.float64), weights, how)


def _by(view: _View, pairs: Sequence[int], x: Floats, y: Floats) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for at, n in enumerate(pairs):
        groups[_group(view, n)].append(at)
    found = {}
    for name, places in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        weights = view.weights_of([pairs[at] for at in places])
        found[name] = {
            "compared": len(places),
            "judge_mean": agreement.mean(x[places], weights, view.options.how),
            "people_mean": agreement.mean(y[places], weights, view.options.how),
            **agreement.correlations(x[places], y[places], weights, view.options.how),
        }
    return found


def _group(view: _View, n: int) -> str:
    value = view.records[n].verdict[view.options.by]
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _within(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the groups' correlations, each by its records: what groups alone do not explain."""
    found: dict[str, Any] = {}
    for name in ("pearson", "spearman", "kendall"):
        told = [(each[name].value, each["compared"]) for each in groups.values() if each[name].value is not None]
        whole = sum(n for _, n in told)
        found[name] = math.fsum(value * n for value, n in told) / whole if whole else None
    found["groups"] = sum(each["pearson"].value is not None for each in groups.values())
    return found


def _points(x: Floats, y: Floats, weights: Floats | None) -> list[list[float]]:
    """What a plot draws: judge, people, records (or weight) at that point."""
    tables = agreement.table(x, y, weights)
    return [
        [float(tables.x[k]), float(tables.y[m]), float(tables.weights[0, k, m])]
        for k, m in np.argwhere(tables.weights[0] > 0)
    ]


def _between(view: _View, item: str) -> dict[str, Any]:
    """Krippendorff's alpha of the annotators: numbers as intervals, decisions as accept > refine > remove."""
    found: dict[str, Any] = {}
    names = sorted({name for record in view.records for name in record.people.get(item, {})})
    for level, wanted in (("interval", float), ("ordinal", str)):
        values = np.full((len(view.records), len(names)), math.nan)
        for at, record in enumerate(view.records):
            for name, value in record.people.get(item, {}).items():
                if isinstance(value, wanted):
                    place = float(VERDICTS.index(value)) if isinstance(value, str) else value
                    values[at, names.index(name)] = place
        if not np.isnan(values).all():
            chosen: agreement.Level = "interval" if level == "interval" else "ordinal"
            found[level] = agreement.alpha(values, chosen, view.weights, view.options.how)
    return found


# The gate


def _gate(view: _View) -> dict[str, Any] | None:
    """Precision, recall and F1 of the run's decisions against people's; None where nobody decided."""
    votes = {n: vote for n, r in enumerate(view.records) if (vote := r.accepted(OVERALL, view.options.accept_at))}
    if not votes:
        return None
    decision = {n: view.records[n].verdict["decision"] for n in votes}
    counted = [n for n in votes if view.options.missing == "dropped" or decision[n] in DECIDED]
    table: dict[str, dict[str, int]] = defaultdict(lambda: {"accepted": 0, "not_accepted": 0})
    for n, (accept, _) in votes.items():
        table[decision[n]]["accepted" if accept else "not_accepted"] += 1
    groups: dict[str, list[int]] = defaultdict(list)
    for n in counted:
        groups[_group(view, n)].append(n)
    return {
        "decided_by_people": len(votes),
        "ties_counted_as_not_accepted": sum(tied for _, tied in votes.values()),
        "missing": view.options.missing,
        "without_decision": dict(Counter(decision[n] for n in votes if decision[n] not in DECIDED)),
        "decisions": dict(table),
        "outside_labelled": sum(decision[n] not in ("kept", "review") for n in counted),
        "kept": _hits(view, counted, votes, decision, ("kept",)),
        "kept_or_review": _hits(view, counted, votes, decision, ("kept", "review")),
        "by": {
            name: _hits(view, places, votes, decision, ("kept",))
            for name, places in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
        },
    }


def _hits(
    view: _View,
    places: Sequence[int],
    votes: Mapping[int, tuple[bool, bool]],
    decision: Mapping[int, str],
    passing: tuple[str, ...],
) -> dict[str, Any]:
    passed = np.array([float(decision[n] in passing) for n in places])
    accepted = np.array([float(votes[n][0]) for n in places])
    found: dict[str, Any] = {"records": len(places), "accepted": int(accepted.sum())}
    return found | agreement.hits(passed, accepted, view.weights_of(places), view.options.how)


def _regate(
    view: _View, over: Sequence[str], require: Sequence[str], tops: Mapping[str, float]
) -> dict[str, Any] | None:
    if not over:
        return None
    rule = _rule(view.run, over, require, tops)
    table = pa.Table.from_pylist([record.verdict for record in view.records], schema=_schema(view.run, rule))
    stands = regate.standing(table, rule)
    votes = [record.accepted(OVERALL, view.options.accept_at) for record in view.records]
    places = np.array([n for n, vote in enumerate(votes) if vote is not None and stands.known[n]], np.int64)
    if not len(places):
        return None
    costs = regate.Costs()
    for piece in people_rows.batches(view.run, rule.columns):
        costs.add(regate.standing(piece, rule))
    labelled = regate.Standing(stands.total[places], stands.least[places], stands.known[places])
    accepted = np.array([bool((votes[n] or (False,))[0]) for n in places])
    weights = np.ones(len(places)) if view.weights is None else view.weights[places]
    wanted = sorted({*RECALLS, *([] if view.options.recall is None else [view.options.recall])})
    decisions = view.run.manifest["decisions"]
    return {
        "labelled": len(places),
        "left_out_without_scores": sum(vote is not None for vote in votes) - len(places),
        "rows": costs.rows,
        "review": {"total": rule.review_total, "each": rule.review_each},
        "now": decisions["kept"] + decisions["review"],
        "wanted": view.options.recall,
        "choices": regate.choose(labelled, accepted, weights, costs, rule, wanted, view.options.how),
    }


def _schema(run: Run, rule: regate.Rule) -> pa.Schema:
    return pa.schema([(name, run.columns[name]) for name in dict.fromkeys(rule.columns)])


def _rule(run: Run, over: Sequence[str], require: Sequence[str], tops: Mapping[str, float]) -> regate.Rule:
    gate = run.manifest["gate"]
    each = gate["each"]
    floors = [
        each.get(name, each.get(name.partition(".")[0])) if isinstance(each, dict) else None if each is None else each
        for name in over
    ]
    return regate.Rule(
        over=tuple(over),
        require=tuple(require),
        total=gate["total"],
        floors=tuple(floors),
        tops=tuple(tops.get(name.partition(".")[0], 10.0) for name in over),
        review_total=gate["review"]["total"],
        review_each=gate["review"]["each"],
    )


# Annotators


def _annotators(view: _View, joined: Joined) -> list[dict[str, Any]]:
    """Of every annotator: how much, how strict, and how far from the others and from the judge (overall numbers)."""
    return [_annotator(view, name) for name in joined.annotators]


def _annotator(view: _View, name: str) -> dict[str, Any]:
    own = [record for record in view.records if any(name in given for given in record.people.values())]
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
                words = [each for each in rest if isinstance(each, str)]
                shared, agreed = shared + len(words), agreed + sum(each == value for each in words)
            numbers = [each for each in rest if not isinstance(each, str)]
            if not isinstance(value, str) and numbers:
                mine.append(value)
                others.append(sum(numbers) / len(numbers))
    rho = agreement.by_scipy("spearman", np.array(mine), np.array(others))
    return {
        "annotator": name,
        "records": len(own),
        "decided": len(decisions),
        "yield": decisions.count("accept") / len(decisions) if decisions else None,
        "same_decision": agreed / shared if shared else None,
        "shared_decisions": shared,
        "spearman_with_others": rho if math.isfinite(rho) else None,
        "shared_numbers": len(mine),
        "higher_than_others": float(np.mean(np.array(mine) - np.array(others))) if mine else None,
    }
