"""The rows of a decision, with their own columns: nothing renamed, nothing lost, one file set per decision."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coigw_judge.job import load_job
from coigw_judge.source import list_files, split
from coigw_judge.written import decisions_to_write, write_group

ROOT = Path(__file__).parents[1]
ROWS = [
    {"id": 1, "answer": "甲", "tags": ["a"], "likes": 3, "decision": "theirs"},
    {"id": 2, "answer": "乙", "tags": None, "likes": "许多", "decision": "theirs"},
    {"id": 3, "answer": "丙\ud83d\ude00", "tags": [], "likes": None, "decision": "theirs"},
]


def verdict(name: str, position: int, decision: str) -> dict[str, Any]:
    row = {"row_id": f"{name}:{position}", "decision": decision, "file": name, "position": position, "total": 8.0}
    return row | {"reasons": ["query.quality 7 < 8"], "judge_reasons": [("query.quality", "松")], "notes": []}


@pytest.fixture
def group(tmp_path) -> tuple[list[Any], list[int], str]:
    """Three rows, the first and the last kept, the second in review."""
    lines = [json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for row in ROWS[:2]]
    lines.append(json.dumps(ROWS[2]).encode() + b"\n")
    (tmp_path / "in.jsonl").write_bytes(b"".join(lines))
    starts = [0, len(lines[0]), len(lines[0]) + len(lines[1])]
    decided = [verdict("in.jsonl", at, d) for at, d in zip(starts, ("kept", "review", "kept"), strict=True)]
    texts = pa.map_(pa.string(), pa.string())
    schema = pa.schema([("row_id", pa.string()), ("decision", pa.string()), ("file", pa.string()), ("position", pa.int64())])
    schema = pa.unify_schemas([schema, pa.schema([("total", pa.float64()), ("reasons", pa.list_(pa.string()))])])
    schema = pa.unify_schemas([schema, pa.schema([("judge_reasons", texts), ("notes", texts)])])
    (tmp_path / "run" / "verdicts").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(decided, schema=schema), tmp_path / "run" / "verdicts" / "part-00000.parquet")
    (file,) = list_files(["in.jsonl"], tmp_path)
    return split(file), [3], str(tmp_path / "run")


def test_parquet_keeps_the_inputs_columns_and_adds_the_verdicts(group):
    pieces, rows, run = group
    assert write_group(0, pieces, rows, run, ["kept", "review"], "parquet") == {"kept": 2, "review": 1}
    kept = pq.read_table(f"{run}/kept").to_pylist()
    assert [row["id"] for row in kept] == [1, 3] and kept[1]["answer"] == "丙😀"
    assert kept[0]["decision"] == "theirs" and kept[0]["verdict_decision"] == "kept"
    assert dict(kept[0]["judge_reasons"]) == {"query.quality": "松"} and kept[0]["tags"] == ["a"]
    assert pq.read_table(f"{run}/review").to_pylist()[0]["likes"] == "许多"


def test_jsonl_says_the_same(group):
    pieces, rows, run = group
    write_group(0, pieces, rows, run, ["kept"], "jsonl")
    (path,) = Path(run, "kept").iterdir()
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in kept] == [1, 3] and kept[0]["judge_reasons"] == {"query.quality": "松"}
    assert "甲" in path.read_text(encoding="utf-8"), "Chinese stays readable"


def test_mixed_types_become_text_rather_than_get_lost(group):
    pieces, rows, run = group
    for part in Path(run, "verdicts").iterdir():
        table = pq.read_table(part)
        same = table.set_column(table.schema.get_field_index("decision"), "decision", pa.array(["kept"] * 3))
        pq.write_table(same, part)
    write_group(0, pieces, rows, run, ["kept"], "parquet")
    assert pq.read_table(f"{run}/kept")["likes"].to_pylist() == ["3", "许多", None]


def test_only_what_was_scanned_is_written(group):
    pieces, _, run = group
    assert write_group(0, pieces, [1], run, ["kept", "review"], "parquet") == {"kept": 1}


def test_all_stands_for_every_decision():
    assert decisions_to_write(["all"]) == decisions_to_write(["all", "kept"])
    assert len(decisions_to_write(["all"])) == 8 and decisions_to_write(["review", "kept"]) == ["kept", "review"]


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_job_that_is_shipped_loads(path):
    job = load_job(path)
    assert list_files(job.config.input.paths, job.base)
