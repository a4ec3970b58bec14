"""From scan and facts to verdicts, bucket by bucket; and, by the same walk, to what is still to ask.

A bucket holds the records whose digest falls into it, with all their facts, so memory is bounded by a bucket
and never by the store. Fill's survey and select both go through `walk` and `plan.next`; they can not disagree.
Not known here: Ray, judges, the texts of records.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.gate import Decision
from coigw_judge.job import Decided
from coigw_judge.paths import make_folder, open_filesystem, write_atomic
from coigw_judge.plan import Plan, Subject
from coigw_judge.reply import Scored, Unscored
from coigw_judge.rubric import FIELDS
from coigw_judge.scan import Scan, read_split
from coigw_judge.source import row_id
from coigw_judge.store import OUTCOME_COLUMNS, Store, outcomes, record_bucket

ROWS_PER_BUCKET = 50_000
_TEXTS = pa.map_(pa.string(), pa.string())
_STRINGS = pa.list_(pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What scan and store say under one plan. `pairs` are the (rubric, judge) fingerprints that count."""

    store: str
    scan: Scan
    plan: Plan
    pairs: tuple[tuple[str, str], ...]
    drop_duplicates: bool = True
    retry_unscored: bool = False

    @property
    def buckets(self) -> int:
        """Into how many buckets the rows are dealt."""
        return max(1, -(-self.scan.rows_in // ROWS_PER_BUCKET))


@dataclass(frozen=True, slots=True)
class Seen:
    """One input row in a walk. `subject` is None where the row is unreadable; `duplicate_of` names its first."""

    split: int
    row: int
    row_id: str
    scanned: dict[str, Any]
    subject: Subject | None
    duplicate_of: str | None
    facts: dict[bytes, Scored | Unscored]


def walk(view: View, bucket: int, columns: tuple[str, ...] = OUTCOME_COLUMNS) -> Iterator[Seen]:
    """Every row of a bucket in input order, with the facts of the whole bucket by key."""
    store = Store(view.store)
    table = store.read(columns, fingerprints=view.pairs, bucket=bucket, buckets=view.buckets)
    facts = outcomes(table)
    if view.retry_unscored:
        facts = {key: fact for key, fact in facts.items() if isinstance(fact, Scored)}
    first: dict[bytes, str] = {}
    for number, piece in enumerate(view.scan.splits):
        scanned = read_split(store, view.scan, number)
        for row, values in _rows_of(scanned, bucket, view.buckets):
            name = row_id(piece.name, values["position"])
            digest = values["record"]
            subject = None
            if digest is not None:
                subject = Subject({f: values[f] for f in FIELDS if values[f] is not None}, values["genre"])
            of = first.setdefault(digest, name) if digest is not None else name
            yield Seen(number, row, name, values, subject, of if of != name else None, facts)


def _rows_of(scanned: pa.Table, bucket: int, buckets: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a bucket with their numbers. Rows that are no records have no digest; they go to bucket 0."""
    rows = np.arange(scanned.num_rows)
    if buckets > 1:
        present = scanned["record"].is_valid().to_numpy()
        home = np.zeros(scanned.num_rows, dtype=np.uint64)
        home[present] = record_bucket(scanned["record"].drop_null(), buckets)
        rows = np.flatnonzero(home == bucket)
        scanned = scanned.take(pa.array(rows))
    for batch in pa.Table.to_batches(scanned, max_chunksize=5000):
        for row, values in zip(rows, batch.to_pylist(), strict=False):
            yield int(row), values
        rows = rows[batch.num_rows :]


def survey(view: View, bucket: int, known_path: str | None = None) -> dict[str, Any]:
    """What a bucket still needs.

    Returns `split` and `row` of the records with open asks, and `asks`: per rubric how many of its requests apply,
    are in the store (`known`), failed there, and are open at the most. The facts of those records are written to
    `known_path`, so that a fill knows what half-done records have.
    """
    splits, rows = [], []
    asks: Counter[str] = Counter()
    half_done: set[bytes] = set()
    for seen in walk(view, bucket):
        if seen.subject is None or (seen.duplicate_of and view.drop_duplicates):
            continue
        needs = view.plan.next(seen.subject, seen.facts)
        keys = view.plan.keys(seen.subject, seen.facts)
        for rubric, key in keys.items():
            fact = seen.facts.get(key)
            asks[f"{rubric}.applies"] += 1
            asks[f"{rubric}.known"] += fact is not None
            asks[f"{rubric}.failed"] += isinstance(fact, Unscored)
            asks[f"{rubric}.open"] += fact is None and bool(needs)
        if needs:
            splits.append(seen.split)
            rows.append(seen.row)
            half_done.update(key for key in keys.values() if key in seen.facts)
    if known_path is not None and half_done:
        _write_known(view, bucket, half_done, known_path)
    return {"split": splits, "row": rows, "asks": dict(asks)}


def _write_known(view: View, bucket: int, keys: set[bytes], path: str) -> None:
    store = Store(view.store)
    table = store.read(OUTCOME_COLUMNS, fingerprints=view.pairs, bucket=bucket, buckets=view.buckets)
    mask = [key in keys for key in table["key"].to_pylist()]
    _write_table(path, table.filter(pa.array(mask)))


def verdict_schema(plan: Plan) -> pa.Schema:
    """The columns of verdicts/*.parquet for a plan's rubrics."""
    rubrics = (*plan.rubrics, *plan.then)
    scores = [(f"{r.name}.{d.key}", pa.float64()) for r in rubrics for d in r.dimensions]
    checks = [(f"{r.name}.{c.key}", pa.bool_()) for r in rubrics for c in r.checks]
    choices = [(f"{r.name}.{c.key}", pa.string()) for r in rubrics for c in r.choices]
    before = [("row_id", pa.string()), ("id", pa.string()), ("decision", pa.string()), ("action", pa.string())]
    before += [("reasons", _STRINGS), ("total", pa.float64())]
    after = [("judge_reasons", _TEXTS), ("notes", _TEXTS), ("genre", pa.string())]
    after += [(name, _STRINGS) for name in ("asked", "skipped", "not_applicable", "flags")]
    after += [("file", pa.string()), ("position", pa.int64()), ("chars", pa.int64())]
    return pa.schema([*before, *scores, *checks, *choices, *after])


def decide_bucket(view: View, bucket: int, folder: str) -> dict[str, int]:
    """Decide a bucket's rows and write them as one part of `folder`; returns counts.

    Counts: `decision.<decision>`, `gate.<reason kind>`, `asks.asked`, `asks.skipped`, `asks.failed`,
    `failed.<rubric>.<cause>`, `flag.<flag>`.
    """
    counts: Counter[str] = Counter()
    schema = verdict_schema(view.plan)
    rows: list[dict[str, Any]] = []
    tables = []
    for seen in walk(view, bucket):
        rows.append(_verdict(view, seen, counts))
        if len(rows) >= 5000:
            tables.append(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()
    tables.append(pa.Table.from_pylist(rows, schema=schema))
    _write_table(f"{folder}/part-{bucket:05d}.parquet", pa.concat_tables(tables))
    return dict(counts)


def _verdict(view: View, seen: Seen, counts: Counter[str]) -> dict[str, Any]:
    scanned = seen.scanned
    row: dict[str, Any] = {"row_id": seen.row_id, "id": scanned["id"], "genre": scanned["genre"]}
    row |= {"file": view.scan.splits[seen.split].name, "position": scanned["position"], "chars": scanned["chars"]}
    row |= {"flags": scanned["flags"] or [], "asked": [], "skipped": [], "not_applicable": []}
    if seen.subject is None:
        row |= {"decision": "unreadable", "reasons": [scanned["unreadable"]]}
    elif seen.duplicate_of and view.drop_duplicates:
        row |= {"decision": "duplicate", "reasons": [f"same texts as {seen.duplicate_of}"]}
    else:
        row |= _judged(view, seen, seen.subject, counts)
        if seen.duplicate_of:
            row["flags"] = [*row["flags"], "duplicate"]
    counts[f"decision.{row['decision']}"] += 1
    counts.update(f"flag.{flag}" for flag in row["flags"])
    return row


def _judged(view: View, seen: Seen, subject: Subject, counts: Counter[str]) -> dict[str, Any]:
    """The part of a verdict that rests on facts."""
    card = view.plan.card(subject, seen.facts)
    open_needs = view.plan.next(subject, seen.facts)
    final, decision = card.final(view.plan.gate, complete=not open_needs)
    asked = [rubric for rubric, fact in card.facts.items() if fact is not None]
    failed = card.failed()
    _count_reasons(final, decision, counts)
    counts["asks.asked"] += len(asked)
    counts["asks.failed"] += len(failed)
    counts["asks.skipped"] += 0 if open_needs else len(card.facts) - len(asked)
    counts.update(f"failed.{rubric}.{fact.cause}" for rubric, fact in failed.items())
    reasons = [reason.text for reason in decision.reasons if reason.kind != "unknown"]
    if final == "unscored":
        reasons += [_why_unscored(rubric, fact) for rubric, fact in failed.items()]
    elif final == "pending":
        reasons += [f"{need.rubric} was not asked yet" for need in open_needs]
    return {
        "decision": final,
        "action": card.action(final),
        "reasons": reasons,
        "total": decision.total,
        "judge_reasons": card.reasons(),
        "notes": card.notes(),
        "genre": view.plan.genre(subject, seen.facts),
        "asked": asked,
        "skipped": [] if open_needs else [rubric for rubric, fact in card.facts.items() if fact is None],
        "not_applicable": list(card.not_applicable),
        **card.scores(),
        **card.checks(),
        **card.choices(),
    }


def _why_unscored(rubric: str, fact: Unscored) -> str:
    return f"{rubric} unscored: {fact.cause}" + (f" ({fact.detail})" if fact.detail else "")


def _count_reasons(final: Decided, decision: Decision, counts: Counter[str]) -> None:
    """Which halves of the gate decided. `total_only` and `each_only`: that half alone kept the row from being kept."""
    if final not in ("dropped", "review"):
        return
    kinds = {reason.kind for reason in decision.reasons}
    counts.update(f"gate.{kind}" for kind in kinds)
    for kind in ("total", "each"):
        if kinds == {kind}:
            counts[f"gate.{kind}_only"] += 1


def _write_table(path: str, table: pa.Table) -> None:
    filesystem, inner = open_filesystem(path)
    make_folder(filesystem, str(PurePosixPath(inner).parent))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(filesystem, inner, buffer.getvalue())
