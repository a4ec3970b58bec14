"""Rows, facts and a plan for tests of survey and select, bucket by bucket."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from small import Row, plan, rubric, scan_rows

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan, Subject
from coigw_judge.records.record import Record, record_digest, to_record
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.select.counts import SelectCounts
from coigw_judge.select.verdicts import decide_bucket
from coigw_judge.standing.join import JoinInput
from coigw_judge.standing.survey import survey_bucket
from coigw_judge.store.fact import Fact
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer

ANSWER = rubric("answer", dimensions=("quality", "creativity"))


PAIR = rubric("pair", reads=("query", "answer"), checks=("ok",))


LATER = rubric("later", notes=("summary",))


GATE = Gate(
    total=16,
    each=7,
    over=("answer.quality", "answer.creativity"),
    require=("pair.ok",),
    review_total=1,
    tops={"answer.quality": 10, "answer.creativity": 10},
)


PLAN = plan(ANSWER, PAIR, then=[LATER], gate=GATE)


def good(quality: float, creativity: float = 9) -> Scored:
    return Scored(scores={"quality": quality, "creativity": creativity}, reasons={"quality": "因", "creativity": "由"})


OK, NOT_OK = Scored(checks={"ok": True}), Scored(checks={"ok": False})


NOTED = Scored(notes={"summary": "概"})


FAILED = Unscored(cause="malformed", detail="no item", raw="x")


ROWS: list[Row] = [
    {"id": "kept", "answer": "甲", "query": "题", "genre": "诗歌"},
    {"id": "dropped", "answer": "乙", "query": "题"},
    {"id": "review", "answer": "丙", "query": "题"},
    {"id": "unscored", "answer": "丁", "query": "题"},
    {"id": "pending", "answer": "戊", "query": "题"},
    {"id": "untouched", "answer": "己", "query": "题"},
    "broken",
    {"id": "number", "answer": 7},
    {"id": "again", "answer": "甲", "query": "题"},
    {"id": "article", "answer": "庚 <|im_end|>"},
    {"id": "check", "answer": "辛", "query": "题"},
]


FACTS: dict[str, dict[str, Scored | Unscored]] = {
    "kept": {"answer": good(9), "pair": OK, "later": NOTED},
    "dropped": {"answer": good(6)},
    "review": {"answer": good(7, 8), "pair": OK, "later": FAILED},
    "unscored": {"answer": FAILED, "pair": OK},
    "pending": {"answer": good(9)},
    "article": {"answer": good(8), "later": NOTED},
    "check": {"answer": good(9), "pair": NOT_OK},
}


def put(store: Store, some: Plan, rows: Iterable[Row], facts: dict[str, dict[str, Scored | Unscored]]) -> None:
    """Write facts, by the ids of the rows they belong to."""
    writer = Writer(store, "run")
    for row in rows:
        record = to_record(row, {}) if isinstance(row, dict) else None
        if not isinstance(record, Record):
            continue
        subject = Subject(record.digests(), record.genre, record.chars)
        known: dict[bytes, Any] = {}
        for name, outcome in facts.get(record.id or "", {}).items():
            key = some.keys(subject, known)[name]
            known[key] = outcome
            writer.append(
                Fact(
                    key=key,
                    record=record_digest(record.digests()),
                    home=record.digests()["answer"],
                    rubric=name,
                    rubric_fingerprint=f"r:{name}",
                    judge_fingerprint="j",
                    sample=0,
                    outcome=outcome,
                    finish_reason="stop",
                    attempt=0,
                    prompt_tokens=1,
                    cached_tokens=0,
                    generated_tokens=1,
                    seconds=0.1,
                )
            )
    writer.flush()


def view(
    folder: Path, files: list[list[Row]] | None = None, some: Plan = PLAN, facts: Any = FACTS, **keys: Any
) -> JoinInput:
    files = [ROWS[:6], ROWS[6:]] if files is None else files
    store, scan = scan_rows(folder, files)
    put(store, some, [row for rows in files for row in rows], facts)
    pairs = tuple((f"r:{r.name}", "j") for r in (*some.rubrics, *some.then))
    return JoinInput(store=store.root, scan=scan, plan=some, pairs=pairs, **keys)


def decide(view: JoinInput, folder: Path) -> tuple[list[dict[str, Any]], SelectCounts]:
    """All buckets' rows and counts."""
    counts = SelectCounts()
    for bucket in range(view.buckets):
        counts += decide_bucket(view, bucket, str(folder / "verdicts"))
    return pq.read_table(folder / "verdicts").to_pylist(), counts


def open_rows(view: JoinInput, folder: Path) -> list[tuple[int, int]]:
    """Split and row of what all buckets' surveys name."""
    found = []
    for bucket in range(view.buckets):
        told = survey_bucket(view, bucket, str(folder))
        path = folder / f"open-{bucket:05d}.parquet"
        rows = pq.read_table(path).to_pylist() if path.exists() else []
        assert told.rows == len(rows)
        found += [(row["split"], row["row"]) for row in rows]
    return sorted(found)


def by_id(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {row["id"]: row for row in rows}
