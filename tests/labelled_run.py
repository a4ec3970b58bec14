"""A run folder made by hand, its input beside it, and people who label it. Nothing here is a test."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.job.job import Job
from coigw_judge.prompting.rubric import load_rubric
from coigw_judge.records.record import Record, record_digest, to_record

TEXTS = pa.map_(pa.string(), pa.string())
STRINGS = pa.list_(pa.string())
OVER = [f"{rubric}.{key}" for rubric in ("answer", "query", "thought") for key in ("quality", "creativity")]
CHECKS = ("removal.facts", "removal.no_anachronism", "removal.content_rules")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("row_id", "id", "decision", "action")),
        ("reasons", STRINGS),
        ("total", pa.float64()),
        *((name, pa.float64()) for name in OVER),
        *((name, pa.bool_()) for name in CHECKS),
        ("answer_analysis.knowledge", pa.string()),
        ("judge_reasons", TEXTS),
        ("notes", TEXTS),
        *((name, pa.string()) for name in ("genre", "category")),
        *((name, STRINGS) for name in ("asked", "skipped", "not_applicable", "flags", "screens")),
        *((name, pa.string()) for name in ("file", "record", "suspected", "repeat_decision")),
        ("position", pa.int64()),
        ("chars", pa.int64()),
        *((name, pa.float32()) for name in ("ttr", "mattr")),
        *((name, pa.map_(pa.string(), pa.float64())) for name in ("repeat_scores", "expected")),
    ]
)
RUBRICS = ["removal", "answer", "query", "thought"]
THEN = ["answer_analysis", "pair_analysis"]
Row = dict[str, Any]


def scored(*scores: float, **more: Any) -> Row:
    """What a verdict says where the six scores are these (as many as given, the rest null)."""
    known = dict(zip(OVER, map(float, scores), strict=False))
    total = sum(scores) if len(scores) == len(OVER) else None
    return {**known, "total": total, **dict.fromkeys(CHECKS, True), **more}


def decided(row: Row, total: float = 50, each: float = 8) -> Row:
    """The paper's gate over a scored row, for who does not say the decision himself."""
    scores = [row[name] for name in OVER]
    kept = sum(scores) >= total and min(scores) >= each and all(row[name] for name in CHECKS)
    return {"decision": "kept" if kept else "dropped", "action": "accept" if kept else "refine", **row}


def make_run(
    folder: Path,
    inputs: Sequence[Row],
    verdicts: Sequence[Row],
    name: str = "run",
    parts: int = 1,
    **told: Any,
) -> str:
    """Write an input of JSONL rows, and a run folder with a verdict for each; returns the run folder."""
    run, job = folder / "runs" / name, folder / "job.yaml"
    (run / "verdicts").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in inputs]
    (folder / "rows.jsonl").write_bytes(b"".join(lines))
    rows, at = [], 0
    for line, raw, verdict in zip(lines, inputs, verdicts, strict=True):
        record = to_record(raw, {})
        own: Row = {"row_id": f"rows.jsonl:{at}", "file": "rows.jsonl", "position": at, "genre": raw.get("genre")}
        own["id"] = None if raw.get("id") is None else str(raw["id"])
        if isinstance(record, Record):
            own |= {"record": record_digest(record.digests()).hex(), "chars": record.chars}
        own |= {name: [] for name in ("reasons", "asked", "skipped", "not_applicable", "flags", "screens")}
        own |= {name: {} for name in ("judge_reasons", "notes", "expected")}
        rows.append(own | verdict)
        at += len(line)
    for row in rows:
        row |= {name: list(row[name].items()) for name in ("judge_reasons", "notes", "expected")}
        row |= {"repeat_scores": None if row.get("repeat_scores") is None else list(row["repeat_scores"].items())}
    for part in range(parts):
        table = pa.Table.from_pylist(rows[part::parts], schema=SCHEMA)
        pq.write_table(table, run / "verdicts" / f"part-{part:05d}.parquet")
    (run / "manifest.json").write_text(json.dumps(manifest(job, folder, rows, **told)), encoding="utf-8")
    return str(run)


def manifest(job: Path, folder: Path, rows: Sequence[Row], **told: Any) -> Row:
    gate = {"over": ["answer", "query", "thought"], "total": 50, "each": 8, "require": ["removal"]} | told.pop(
        "gate", {}
    )
    config = Job.model_validate(
        {
            "name": "test",
            "input": {"paths": ["rows.jsonl"]},
            "rubrics": RUBRICS,
            "then": THEN,
            "gate": gate,
            "expected": gate.get("use") == "expected",
            "judge": {"model": "embedded"},
            "store": str(folder / "facts"),
        }
    )
    dumped = config.model_dump(mode="json")
    return {
        "run": "test-1",
        "job": "test",
        "job_file": str(job),
        "store": str(folder / "facts"),
        "rows_in": len(rows),
        "decisions": {d: sum(row["decision"] == d for row in rows) for d in DECISIONS},
        "judge": {"engine": "vllm", "model": "m", "revision": "1", "fingerprint": "f" * 32, "meaningless": False},
        "rubrics": {name: load_rubric(name).fingerprint() for name in (*RUBRICS, *THEN)},
        "gate": dumped["gate"],
        "configuration": dumped | told.pop("configuration", {}),
        "complete": True,
        **{key: {} for key in ("gate_reasons", "failures", "flags", "screens", "seconds")},
        "asks": dict.fromkeys(("made", "from_store", "skipped", "failed", "retried"), 0),
        "tokens": dict.fromkeys(("prompt", "prompt_cached", "generated"), 0),
        "versions": {"coigw-judge": "0"},
        **told,
    }


def triplets(count: int, genres: Sequence[str] = ("散文", "小说", "诗歌")) -> list[Row]:
    """Inputs that differ in every field."""
    return [
        {
            "id": f"t{n}",
            "query": f"写第{n}件旧物，不要说破。",
            "thought": f"先想第{n}种旧物，再想谁会留着它。",
            "answer": f"第{n}只表走得慢。\n它在抽屉里过了{n}个冬天。",
            "genre": genres[n % len(genres)],
            "annotator": f"writer{n % 2}",
        }
        for n in range(count)
    ]


def write_labels(path: Path, labels: Iterable[Mapping[str, Any]]) -> str:
    """Labels as JSONL, CONTRACT's columns."""
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in labels), encoding="utf-8")
    return str(path)
