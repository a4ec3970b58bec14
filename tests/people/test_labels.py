"""What people hand in: plain labels in three formats, Label Studio's exports, and what is wrong with them."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coigw_judge.errors import FixSource
from coigw_judge.people.labels.read import Label, WrittenText, control_name, read

ROWS: list[dict[str, Any]] = [
    {
        "row_id": "a.jsonl:0",
        "annotator": "甲",
        "item": "overall",
        "value": "accept",
        "round": 1,
        "weight": 2.5,
        "blind": True,
    },
    {
        "row_id": "a.jsonl:0",
        "annotator": "甲",
        "item": "answer.quality",
        "value": 8.5,
        "round": 1,
        "weight": 2.5,
        "blind": True,
    },
    {"id": "r2", "annotator": "乙", "item": "answer", "value": 7, "round": 2},
]
EXPECTED = (
    Label("a.jsonl:0", None, "甲", "overall", "accept", 1, 2.5, True),
    Label("a.jsonl:0", None, "甲", "answer.quality", 8.5, 1, 2.5, True),
    Label(None, "r2", "乙", "answer", 7.0, 2),
)
DATA = {"row_id": "a.jsonl:0", "record_id": "r1", "query": "题", "thought": "想", "answer": "文", "blind": False}
RESULTS = [
    {"from_name": "overall", "to_name": "answer", "type": "choices", "value": {"choices": ["refine"]}},
    {"from_name": "answer-quality", "to_name": "answer", "type": "number", "value": {"number": 7}},
    {"from_name": "removal-facts", "to_name": "answer", "type": "choices", "value": {"choices": ["no"]}},
    {"from_name": "written_thought", "to_name": "answer", "type": "textarea", "value": {"text": ["另想"]}},
    {"from_name": "comment", "to_name": "answer", "type": "textarea", "value": {"text": ["慢"]}},
]
READ = {("overall", "refine"), ("answer.quality", 7.0), ("removal.facts", 0.0)}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows in the format that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["l.jsonl", "l.csv", "l.json"])
def test_plain_labels_read_the_same_from_every_format(tmp_path, name):
    assert read(write(tmp_path / name, ROWS)).labels == EXPECTED


def test_parquet_holds_numbers_as_texts_beside_decisions(tmp_path):
    names = dict.fromkeys(name for row in ROWS for name in row)
    rows = [{name: row.get(name) for name in names} | {"value": str(row["value"])} for row in ROWS]
    assert read(write(tmp_path / "l.parquet", rows)).labels == EXPECTED


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("采用", "accept"),
        (" REFINE ", "refine"),
        ("剔除", "remove"),
        ("是", 1.0),
        ("false", 0.0),
        (True, 1.0),
        ("8", 8.0),
    ],
)
def test_words_for_decisions_and_truths(tmp_path, word, value):
    assert read(write(tmp_path / "l.jsonl", [{**ROWS[0], "value": word}])).labels[0].value == value


def test_a_label_given_twice_counts_once_and_is_counted(tmp_path):
    found = read(write(tmp_path / "l.jsonl", [ROWS[0], {**ROWS[0], "value": "remove"}]))
    assert [label.value for label in found.labels] == ["remove"]
    assert list(found.left_out.values()) == [1]


def task(number: int = 1, **more: Any) -> dict[str, Any]:
    annotation = {"id": 5, "completed_by": {"id": 3, "email": "a@b.c"}, "was_cancelled": False, "result": RESULTS}
    return {"id": number, "data": DATA, "annotations": [annotation], **more}


def test_label_studios_json_gives_labels_and_texts(tmp_path):
    skipped = {"completed_by": 4, "was_cancelled": True, "result": []}
    export = [task(), task(2, annotations=[skipped, {"completed_by": 4, "result": RESULTS[:1]}])]
    found = read(write(tmp_path / "e.json", export))
    first = [label for label in found.labels if label.annotator == "a@b.c"]
    assert {(label.item, label.value) for label in first} == READ
    assert {(label.row, label.id, label.blind, label.round) for label in first} == {("a.jsonl:0", "r1", False, 1)}
    assert found.texts == (WrittenText("a.jsonl:0", "r1", "a@b.c", "thought", "另想"),)
    assert [(label.annotator, label.value) for label in found.labels[3:]] == [("4", "refine")]
    assert found.left_out == {"skipped by the annotator": 1, "comment: neither a number nor a decision": 1}


# What Label Studio's own converter (label_studio_sdk.converter) wrote for RESULTS: JSON-MIN, then CSV.
MIN: dict[str, Any] = {
    **DATA, "id": 1, "overall": "refine", "answer-quality": [{"number": 7}], "removal-facts": "no",
    "written_thought": "另想", "comment": "慢", "annotator": 3, "annotation_id": 5, "lead_time": 9.5,
    "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:01:00Z",
}  # fmt: skip


@pytest.mark.parametrize("name", ["min.json", "min.csv"])
def test_label_studios_flat_exports_say_the_same(tmp_path, name):
    row = MIN if name == "min.json" else MIN | {"answer-quality": json.dumps(MIN["answer-quality"])}
    found = read(write(tmp_path / name, [row]))
    assert {(label.item, label.value) for label in found.labels} == READ
    assert {(label.row, label.id, label.annotator) for label in found.labels} == {("a.jsonl:0", "r1", "3")}, (
        "its id is the task's, not ours"
    )
    assert found.texts == (WrittenText("a.jsonl:0", "r1", "3", "thought", "另想"),)


def test_control_names_can_be_read_back():
    assert control_name("thought.quality") == "thought-quality" and control_name("overall") == "overall"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**ROWS[0], "value": "fine"}], "value 'fine' is neither a number nor accept, refine, remove"),
        ([{**ROWS[0], "value": None}], "value None"),
        ([{**ROWS[0], "value": float("nan")}], "value nan"),
        ([{"item": "overall", "value": 1}], "neither row_id nor id"),
        ([{**ROWS[0], "weight": -1}], "weight -1 is no number above 0"),
        ([{**ROWS[0], "round": 1.5}], "round 1.5 is no whole number"),
        ([{**ROWS[0], "blind": "maybe"}], "blind 'maybe'"),
        ([{**ROWS[0], "item": " "}], "item is empty"),
        ([{"id": "x", "score": 3}], "neither `item`"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, rows, said):
    with pytest.raises(FixSource) as error:
        read(write(tmp_path / "l.jsonl", [ROWS[1], *rows]))
    assert said in str(error.value) and "l.jsonl: row at" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.jsonl", "not json\n", "not JSON"),
        ("l.json", "{", "is not JSON"),
        ("l.json", '{"a": 1}', "no list of objects"),
        ("l.jsonl", "\n", "it has no rows"),
        ("l.json", '[{"data": {"row_id": "x"}, "annotations": []}]', "holds no labels"),
    ],
)
def test_a_file_without_labels_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(FixSource, match=said):
        read(str(tmp_path / name))


def test_a_file_that_is_not_there(tmp_path):
    for name in ("gone.json", "gone.csv"):
        with pytest.raises(FixSource, match="gone"):
            read(str(tmp_path / name))
