"""Golden records: judged in every run, so that a judge that has moved is noticed.

A run's scores of these records are held against a reference: another run's, or values in a file of labels' layout.
An item raises the alarm where its mean moved by more than the bound and the interval of the shift excludes 0, or where
single scores moved by more than the bound beyond what asking the same judge again moves them (`samples.repeat`; the
noise floor is 0 where the run re-asked nothing, and the report says so). A golden record that lost its score raises it
too: drift may show as failures first.
A rubric that was changed moves scores too, and ought to: that is no drift.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from pydantic import BaseModel

from coigw_judge.errors import FixSource
from coigw_judge.people.calibration import agreement
from coigw_judge.people.calibration.agreement import Bootstrap, IntervalEstimate
from coigw_judge.people.labels import read
from coigw_judge.run_folder import verdicts
from coigw_judge.run_folder.folder import Run, open_run
from coigw_judge.storage.paths import open_filesystem

BOUND = 0.5
"""How far a mean, or single scores beyond noise, may move, in points of the scale."""


class Moved(BaseModel):
    """One item over the golden records that both sides scored."""

    item: str
    records: int
    lost: int
    """Golden records without a score in this run."""
    shift: IntervalEstimate
    """Of the mean, in points of the scale."""
    change: float | None
    """The mean change of single scores, whichever way."""
    noise: float | None
    """The same by asking again alone; None where the run re-asked nothing."""
    spearman: float | None
    alarm: str
    """What moved too far; empty where nothing did."""


class Drift(BaseModel):
    """All items on the golden records: drift.json."""

    reference: str
    bound: float
    """How far an item may move, in points of the scale."""
    records: int
    missing: int
    """Golden records that the run does not have."""
    changed: int
    """Golden records whose texts are not the reference's."""
    items: tuple[Moved, ...]
    alarm: bool
    """Whether anything moved too far."""


Golden = dict[tuple[str, str], dict[str, float]]
"""(`row_id` or `id`, its value) -> item -> score."""


def check(run: Run, reference: str, bound: float = BOUND, how: Bootstrap | None = None) -> Drift:
    """Compare a run with a reference. Raises FixSource where they share no golden record."""
    scores = run.items("score")
    texts: dict[tuple[str, str], str] = {}
    if _is_run(reference):
        golden, texts = _of_run(open_run(reference), scores)
    else:
        golden = _of_file(reference)
    rows = _rows(run, golden, scores)
    if not rows:
        raise FixSource(f"--golden {reference}: none of its {len(golden):,} records is in {run.folder}; judge them too")
    changed = {key for key, row in rows.items() if key in texts and row.get("record") not in (None, texts[key])}
    noise = _noise(run, scores)
    items = sorted({item for given in golden.values() for item in given}.intersection(scores))
    if not items:
        raise FixSource(f"--golden {reference}: has no item that {run.folder} scores; known: {', '.join(scores)}")
    kept = {key: row for key, row in rows.items() if key not in changed}
    moved = tuple(_moved(item, golden, kept, noise.get(item), bound, how or Bootstrap()) for item in items)
    return Drift(
        reference=reference,
        bound=bound,
        records=len(kept),
        missing=len(golden) - len(rows),
        changed=len(changed),
        items=moved,
        alarm=any(item.alarm for item in moved),
    )


def _is_run(path: str) -> bool:
    filesystem, inner = open_filesystem(path)
    return bool(filesystem.get_file_info(f"{inner.rstrip('/')}/manifest.json").is_file)


def _of_file(path: str) -> Golden:
    golden: Golden = defaultdict(dict)
    for label in read.read(path).labels:
        if not isinstance(label.value, str):
            key = ("row_id", label.row) if label.row is not None else ("id", label.id or "")
            golden[key][label.item] = label.value
    return dict(golden)


def _of_run(run: Run, scores: Iterable[str]) -> tuple[Golden, dict[tuple[str, str], str]]:
    """A reference run's scores by id; a row without id cannot be found again in a run over other files."""
    own = [name for name in scores if name in run.columns]
    record = ["record"] if "record" in run.columns else []
    golden, texts = {}, {}
    for table in verdicts.batches(run, ["id", *record, *own], ds.field("id").is_valid()):
        for row in table.to_pylist():
            given = {name: row[name] for name in own if row[name] is not None}
            if given:
                golden["id", row["id"]] = given
                if row.get("record") is not None:
                    texts["id", row["id"]] = row["record"]
    return golden, texts


def _rows(run: Run, golden: Golden, scores: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    columns = [name for name in ("row_id", "id", "record", "decision") if name in run.columns] + list(scores)
    named = verdicts.named(
        run, [v for kind, v in golden if kind == "row_id"], [v for kind, v in golden if kind == "id"], columns
    )
    rows = {}
    for row in named:
        for kind in ("row_id", "id"):
            if (kind, row[kind]) in golden and row["decision"] not in ("duplicate", "unreadable"):
                rows[kind, row[kind]] = row
    return rows


def _noise(run: Run, scores: Iterable[str]) -> dict[str, float]:
    """The mean change of each score where the run asked the same a second time."""
    if "repeat_scores" not in run.columns:
        return {}
    changes: dict[str, list[float]] = defaultdict(list)
    for table in verdicts.batches(run, ["repeat_scores", *scores], ds.field("repeat_scores").is_valid()):
        for row in verdicts.as_rows(table):
            for item, again in row["repeat_scores"].items():
                if row.get(item) is not None:
                    changes[item].append(abs(row[item] - again))
    return {item: float(np.mean(values)) for item, values in changes.items()}


def _moved(
    item: str,
    golden: Golden,
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
    noise: float | None,
    bound: float,
    how: Bootstrap,
) -> Moved:
    given = [key for key in rows if item in golden[key]]
    both = [key for key in given if rows[key][item] is not None]
    before = np.array([golden[key][item] for key in both], np.float64)
    now = np.array([rows[key][item] for key in both], np.float64)
    shift = agreement.mean(now - before, None, how)
    change = float(np.abs(now - before).mean()) if both else None
    rho = agreement.by_scipy("spearman", before, now)
    lost = len(given) - len(both)
    return Moved(
        item=item,
        records=len(both),
        lost=lost,
        shift=shift,
        change=change,
        noise=noise,
        spearman=rho if math.isfinite(rho) else None,
        alarm="; ".join(_alarms(shift, change, noise or 0.0, lost, bound)),
    )


def _alarms(shift: IntervalEstimate, change: float | None, noise: float, lost: int, bound: float) -> Iterable[str]:
    if lost:
        yield f"{lost:,} golden records lost their score"
    certain = shift.low is not None and shift.high is not None and not shift.low <= 0 <= shift.high
    if shift.value is not None and abs(shift.value) > bound and certain:
        yield f"the mean moved by {shift.value:+.2f}"
    if change is not None and change - noise > bound:
        yield f"scores moved by {change:.2f} on average, {noise:.2f} of it noise"
