"""The rows of a decision, with their own columns: nothing renamed, nothing lost, one file set per decision."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import split_file
from coigw_judge.job.job import load_job
from coigw_judge.select.folders import CHARS_PER_PART, decisions_to_write, unify, write_group

ROOT = Path(__file__).parents[2]
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
    schema = pa.schema(
        [("row_id", pa.string()), ("decision", pa.string()), ("file", pa.string()), ("position", pa.int64())]
    )
    schema = pa.unify_schemas([schema, pa.schema([("total", pa.float64()), ("reasons", pa.list_(pa.string()))])])
    schema = pa.unify_schemas([schema, pa.schema([("judge_reasons", texts), ("notes", texts)])])
    (tmp_path / "run" / "verdicts").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(decided, schema=schema), tmp_path / "run" / "verdicts" / "part-00000.parquet")
    (file,) = list_input_files(["in.jsonl"], tmp_path)
    return split_file(file), [3], str(tmp_path / "run")


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


JOBS = sorted(path for path in (ROOT / "jobs").glob("*.yaml") if path.stem != "runtime-env")


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_job_that_is_shipped_loads(path):
    job = load_job(path)
    assert list_input_files(job.config.input.paths, job.base)


# Rows that no format holds as they are

HOSTILE: list[dict[str, Any]] = [
    {"id": 1, "likes": 3, "meta": {}, "tags": [], "x\ud800": "key", "decision": "theirs", "verdict_decision": "too"},
    {"id": "two", "likes": "许多", "meta": {"a": {}}, "tags": [None], "title": "半\ud83d字"},
    {"id": None, "likes": 2.5, "meta": None, "notes": "their notes", "judge_reasons": [1], "": "no name"},
    {"id": 2**70, "likes": float("nan"), "meta": {"a": [{}, {"b": "\udfff"}]}, "blob": "\x00\x01", "row_id": None},
    {"likes": True, "notes": {"k": 1}, "tags": ["a", 1], "x\ufffd": "another key"},
]


def decide_all(folder: Path, files: list[list[dict[str, Any]]], form: Any, chars_per_part: int = CHARS_PER_PART) -> str:
    """Write files of rows, each its own group, all kept; returns the run's folder."""
    run = folder / "run"
    (run / "verdicts").mkdir(parents=True)
    pieces, decided = [], []
    for number, rows in enumerate(files):
        name, at = f"{number}.jsonl", 0
        lines = [json.dumps(row).encode() + b"\n" for row in rows]
        (folder / name).write_bytes(b"".join(lines))
        for line in lines:
            decided.append(verdict(name, at, "kept"))
            at += len(line)
        pieces.append(split_file(list_input_files([name], folder)[0]))
    texts = pa.map_(pa.string(), pa.string())
    columns = [("row_id", pa.string()), ("decision", pa.string()), ("file", pa.string()), ("position", pa.int64())]
    columns += [("total", pa.float64()), ("reasons", pa.list_(pa.string())), ("judge_reasons", texts), ("notes", texts)]
    pq.write_table(pa.Table.from_pylist(decided, schema=pa.schema(columns)), run / "verdicts" / "part-00000.parquet")
    for group, (piece, rows) in enumerate(zip(pieces, files, strict=True)):
        counts = write_group(group, piece, [len(rows)], str(run), ["kept"], form, chars_per_part)
        assert counts == {"kept": len(rows)}
    return str(run)


def test_parquet_holds_hostile_rows_as_text_rather_than_lose_them(tmp_path):
    run = decide_all(tmp_path, [HOSTILE], "parquet")
    unify(run, ["kept"])
    kept = pq.read_table(f"{run}/kept").to_pylist()
    assert [row["likes"] for row in kept] == ["3", "许多", "2.5", "NaN", "true"]
    assert [row["id"] for row in kept] == ["1", "two", None, str(2**70), None]
    assert [row["meta"] for row in kept[:2]] == ["{}", '{"a": {}}']
    assert kept[1]["title"] == "半\ufffd字" and kept[3]["blob"] == "\x00\x01" and kept[2][""] == "no name"
    assert kept[0]["x\ufffd"] == "key" and kept[4]["x\ufffd_"] == "another key"
    assert kept[2]["notes"] == "their notes" and kept[4]["notes"] == '{"k": 1}'
    assert kept[0]["decision"] == "theirs" and kept[0]["verdict_decision"] == "too"
    assert {row["verdict_verdict_decision"] for row in kept} == {"kept"}, "alike in all rows, whoever has the column"
    assert [dict(row["verdict_notes"]) for row in kept] == [{}] * 5
    assert {row["verdict_row_id"] for row in kept} == {f"0.jsonl:{n}" for n in positions(tmp_path)}


def positions(folder: Path) -> list[int]:
    lines = (folder / "0.jsonl").read_bytes().splitlines(keepends=True)
    return [sum(map(len, lines[:n])) for n in range(len(lines))]


def test_jsonl_holds_hostile_rows_as_they_are(tmp_path):
    run = decide_all(tmp_path, [HOSTILE], "jsonl")
    (path,) = Path(run, "kept").iterdir()
    kept = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in path.read_bytes().splitlines()]
    expected = [{**row, "likes": None} if row["likes"] != row["likes"] else row for row in HOSTILE]
    assert [{name: row[name] for name in was} for row, was in zip(kept, expected, strict=True)] == expected


def test_parts_of_different_files_read_as_one_table(tmp_path):
    files = [
        [{"id": 1, "likes": None, "only": "here", "tags": ["a"]}, {"id": 2, "likes": None}],
        [{"id": 3, "likes": 7, "meta": {"k": 1}, "nothing": None, "tags": [1]}],
        [{"id": "four", "likes": 8, "meta": {"k": 2}}],
    ]
    run = decide_all(tmp_path, files, "parquet")
    with pytest.raises(pa.ArrowException):
        pq.read_table(f"{run}/kept")
    unify(run, ["kept", "review"])
    kept = pq.read_table(f"{run}/kept")
    assert kept["id"].to_pylist() == ["1", "2", "3", "four"] and kept["likes"].to_pylist() == [None, None, 7, 8]
    assert kept["meta"].to_pylist() == [None, None, {"k": 1}, {"k": 2}]
    assert kept["only"].to_pylist() == ["here", None, None, None] and kept["nothing"].null_count == 4
    assert kept["tags"].to_pylist() == ['["a"]', None, "[1]", None]
    before = {path: path.stat().st_mtime_ns for path in Path(run, "kept").iterdir()}
    unify(run, ["kept"])
    assert {path: path.stat().st_mtime_ns for path in Path(run, "kept").iterdir()} == before, "nothing is left to do"


def test_rows_without_any_column_are_written(tmp_path):
    run = decide_all(tmp_path, [[{}, {}]], "parquet")
    unify(run, ["kept"])
    assert pq.read_table(f"{run}/kept").num_rows == 2


def test_long_texts_make_short_parts(tmp_path):
    run = decide_all(tmp_path, [[{"answer": "长" * 600}] * 5], "parquet", chars_per_part=1000)
    assert len(list(Path(run, "kept").iterdir())) == 3
