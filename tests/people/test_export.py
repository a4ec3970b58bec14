"""What people get: which rows, with which weights, in a form that Label Studio's own SDK takes, and back again as labels."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_studio_sdk.label_interface import LabelInterface
from labelled_run import decided, make_run, scored, triplets, write_labels
from run_output import cut_up

from coigw_judge.cli.main import main
from coigw_judge.input.listing import list_input_files
from coigw_judge.input.pick import input_order, rows_at
from coigw_judge.input.splits import read_split, split_file
from coigw_judge.people.export import sample
from coigw_judge.people.labels.read import read
from coigw_judge.run_folder.folder import open_run

SCORES = np.clip(np.round(np.random.default_rng(4).normal(8.3, 1, (120, 6))), 0, 10)
QUICK = ["--resamples", "20"]


@pytest.fixture
def run(tmp_path):
    """120 rows: 110 scored, and one of each other decision that there is."""
    rows = [
        decided(scored(*row, judge_reasons={"answer.quality": "句句有着落"}, notes={"answer_analysis.theme": "旧物"}))
        for row in SCORES
    ]
    for n, row in enumerate(rows):
        row["answer_analysis.knowledge"] = "专门" if n % 4 == 0 else "通识"
    rows[7] = scored(SCORES[7][0], decision="unscored")
    rows[8] = {"decision": "screened"}
    rows[9] = {"decision": "duplicate"}
    return make_run(tmp_path, triplets(120), rows, parts=3)


def tasks(path: Any) -> list[dict[str, Any]]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def exported(run: str, out: Path, *more: str) -> list[dict[str, Any]]:
    assert main(["export", run, "--out", str(out), *more]) == 0
    return (
        tasks(out)
        if out.suffix == ".json"
        else [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    )


def test_label_studios_own_sdk_takes_tasks_predictions_and_configuration(run, tmp_path):
    found = exported(run, tmp_path / "t.json", "--decision", "kept,dropped,unscored")
    interface = LabelInterface((tmp_path / "t.xml").read_text(encoding="utf-8"))
    interface.validate()
    controls = {control.name for control in interface.controls}
    assert {"overall", "answer-quality", "thought-creativity", "removal-facts", "written_thought"} <= controls
    assert len(found) == 118
    for task in found:
        assert interface.validate_task({"data": task["data"]})
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert {result["from_name"] for result in prediction["result"]} <= controls
    broken = {
        **found[0]["predictions"][0],
        "result": [{**found[0]["predictions"][0]["result"][0], "from_name": "nothing"}],
    }
    assert interface.validate_prediction(broken, return_errors=True), "the SDK does look"
    assert not interface.validate_task({"data": {"answer": "only"}})


def test_a_task_holds_texts_scores_reasons_and_analyses(run, tmp_path):
    found = {
        task["data"]["record_id"]: task for task in exported(run, tmp_path / "t.json", "--decision", "kept,dropped")
    }
    task, scores = found["t5"], SCORES[5]
    assert task["data"]["answer"] == triplets(6)[5]["answer"] and task["data"]["genre"] == "诗歌"
    assert "【文章评分·质量" in task["data"]["judge_reasons"] and "句句有着落" in task["data"]["judge_reasons"]
    assert "【文章析读·主题】旧物" in task["data"]["analysis"]
    values = {result["from_name"]: result["value"] for result in task["predictions"][0]["result"]}
    assert values["answer-quality"] == {"number": scores[0]} and values["removal-facts"] == {"choices": ["yes"]}
    assert task["predictions"][0]["score"] == pytest.approx(scores.sum() / 60)
    assert values["overall"]["choices"] == ["accept" if scores.sum() >= 50 and scores.min() >= 8 else "refine"]


def test_blind_tasks_hold_nothing_that_the_judge_said(run, tmp_path):
    for name in ("b.json", "b.jsonl"):
        to = "label-studio" if name == "b.json" else "jsonl"
        exported(run, tmp_path / name, "--sample", "40", "--blind", "--to", to)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert len(text) > 1000 and all(
            word not in text for word in ("judge", "句句有着落", "旧物。", "kept", "weight", "predictions", "quality")
        )
    configuration = (tmp_path / "b.xml").read_text(encoding="utf-8")
    assert "judge" not in configuration and "answer-quality" in configuration
    LabelInterface(configuration).validate()


def test_a_sample_is_drawn_evenly_over_strata_and_weighs_what_it_stands_for(run, tmp_path, capsys):
    found = exported(run, tmp_path / "s.jsonl", "--to", "jsonl", "--sample", "30", "--stratify", "decision")
    opened = open_run(run)
    all_rows = Counter(row["decision"] for row in pq.read_table(f"{run}/verdicts").to_pylist())
    drawn = Counter(row["judge"]["decision"] for row in found)
    assert sum(drawn.values()) == 30 and drawn["unscored"] == drawn["screened"] == 1 and drawn["duplicate"] == 0
    assert abs(drawn["kept"] - drawn["dropped"]) <= 1
    for row in found:
        assert row["weight"] == pytest.approx(all_rows[row["judge"]["decision"]] / drawn[row["judge"]["decision"]])
    assert sum(row["weight"] for row in found) == pytest.approx(119)
    again = sample.sample(opened, sample.READABLE, ["decision"], 30, 0).rows["row_id"].to_pylist()
    assert sorted(again) == sorted(row["row_id"] for row in found)
    other = sample.sample(opened, sample.READABLE, ["decision"], 30, 1).rows["row_id"].to_pylist()
    assert sorted(other) != sorted(again)


def test_a_sample_does_not_hang_on_how_verdicts_are_cut(run, tmp_path):
    whole = sample.sample(open_run(run), sample.READABLE, ["decision", "genre"], 40, 3)
    cut = open_run(str(cut_up(run, tmp_path / "cut", 7)))
    piecewise = sample.sample(cut, sample.READABLE, ["decision", "genre"], 40, 3, prune_at=10)
    assert piecewise.rows.sort_by("row_id").equals(whole.rows.sort_by("row_id")) and piecewise.strata == whole.strata


def test_every_row_of_a_stratum_has_the_same_chance(tmp_path):
    run = open_run(make_run(tmp_path, triplets(30), [decided(scored(9, 9, 9, 9, 9, 9))] * 30))
    times = Counter(
        row for seed in range(300) for row in sample.sample(run, ["kept"], [], 10, seed).rows["row_id"].to_pylist()
    )
    assert len(times) == 30 and all(60 < n < 145 for n in times.values()), "100 expected, sd 8"


def test_allotment_gives_small_strata_all_they_have():
    assert sample.allotted(Counter(a=1, b=100, c=5), 30) == {"a": 1, "c": 5, "b": 24}
    assert sample.allotted(Counter(a=2, b=3), 100) == {"a": 2, "b": 3}
    assert sum(sample.allotted(Counter({str(n): n + 1 for n in range(40)}), 333).values()) == 333


def test_per_takes_the_best_of_each(run, tmp_path):
    found = exported(
        run, tmp_path / "p.jsonl", "--to", "jsonl", "--per", "genre=4", "--decision", "kept,dropped,unscored"
    )
    assert Counter(row["genre"] for row in found) == {"散文": 4, "小说": 4, "诗歌": 4}
    for at, genre in enumerate(("散文", "小说", "诗歌")):
        sums = sorted((SCORES[n].sum() for n in range(at, 120, 3) if n not in (7, 8, 9)), reverse=True)
        assert sorted((row["judge"]["total"] for row in found if row["genre"] == genre), reverse=True) == sums[:4]


def test_split_writes_a_file_for_two_and_one_for_four(run, tmp_path, capsys):
    assert (
        main(["export", run, "--split", "reviewers", "--decision", "kept,dropped", "--out", str(tmp_path / "r.json")])
        == 0
    )
    two, four = tasks(tmp_path / "r-2.json"), tasks(tmp_path / "r-4.json")
    assert {task["data"]["reviewers"] for task in two} == {2} and {task["data"]["reviewers"] for task in four} == {4}
    assert {int(task["data"]["record_id"][1:]) % 4 for task in four} == {0} and len(two) + len(four) == 117
    assert main(["export", run, "--split", "reviewers", "--special", "nothing"]) == 2
    assert "have no nothing" in (said := capsys.readouterr().err) and "answer_analysis" in said
    assert (
        main(["export", run, "--split", "reviewers", "--special", "genre=诗歌", "--out", str(tmp_path / "g.json")]) == 0
    )
    assert {task["data"]["genre"] for task in tasks(tmp_path / "g-4.json")} == {"诗歌"}


# There and back


def annotated(path: Path, answers: Any) -> list[dict[str, Any]]:
    """Label Studio's JSON export of tasks, each annotated by two people."""
    found = []
    for number, task in enumerate(tasks(path)):
        annotations = []
        for person in (1, 2):
            value, quality = answers(task["data"]["record_id"], person)
            results = [
                {"from_name": "overall", "to_name": "answer", "type": "choices", "value": {"choices": [value]}},
                {"from_name": "answer-quality", "to_name": "answer", "type": "number", "value": {"number": quality}},
            ]
            annotations.append(
                {"id": number * 2 + person, "completed_by": person, "was_cancelled": False, "result": results}
            )
        found.append({"id": number + 1, "data": task["data"], "annotations": annotations})
    return found


def minimal(export: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as JSON-MIN has it: data and controls side by side, `id` being the task's."""
    rows = []
    for task in export:
        for annotation in task["annotations"]:
            row = {
                **task["data"],
                "id": task["id"],
                "annotator": annotation["completed_by"],
                "annotation_id": annotation["id"],
            }
            for result in annotation["result"]:
                row[result["from_name"]] = (
                    result["value"]["choices"][0] if result["type"] == "choices" else [result["value"]]
                )
            rows.append(row)
    return rows


@pytest.mark.parametrize("form", ["json", "min", "csv"])
def test_labels_come_back_with_their_weights_and_calibrate(run, tmp_path, capsys, form):
    """People who accept just what the judge keeps: precision and recall are 1, the weights add up to the run."""
    exported(run, tmp_path / "t.json", "--sample", "60", "--blind")
    kept = {f"t{n}" for n in range(120) if SCORES[n].sum() >= 50 and SCORES[n].min() >= 8 and n not in (7, 8, 9)}
    export = annotated(
        tmp_path / "t.json", lambda name, person: ("accept" if name in kept else "refine", SCORES[int(name[1:])][0])
    )
    path = tmp_path / ("e.csv" if form == "csv" else "e.json")
    if form == "json":
        path.write_text(json.dumps(export), encoding="utf-8")
    elif form == "min":
        path.write_text(json.dumps(minimal(export)), encoding="utf-8")
    else:
        rows = [
            {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()}
            for row in minimal(export)
        ]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, sorted(rows[0]), quoting=csv.QUOTE_NONNUMERIC)
            writer.writeheader()
            writer.writerows(rows)
    assert len(read(str(path)).labels) == 240 and {label.blind for label in read(str(path)).labels} == {True}
    capsys.readouterr()
    assert main(["calibrate", run, "--labels", str(path), "--json", *QUICK]) == 0
    told = json.loads(capsys.readouterr().out)["calibration"]
    assert told["weighted"] and told["blind"] == {"blind": 60, "not_blind": 0, "not_said": 0}
    assert told["gate"]["kept"]["precision"]["value"] == told["gate"]["kept"]["recall"]["value"] == 1
    assert told["items"]["answer.quality"]["pearson"]["value"] == pytest.approx(1)
    assert told["items"]["overall"]["between_annotators"]["ordinal"]["value"] == 1


def test_a_weighted_sample_speaks_of_the_run(run, tmp_path, capsys):
    """Everybody labelled, and a sample with weights: the share that people accept is close; unweighted it is not."""
    accept = SCORES[:, 0] >= 8
    exported(run, tmp_path / "s.jsonl", "--to", "jsonl", "--sample", "70", "--stratify", "decision", "--blind")
    names = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()]
    labels = [
        {"row_id": row["row_id"], "sample": row["sample"], "item": "overall", "annotator": "甲",
         "value": "accept" if accept[int(row["id"][1:])] else "refine"}
        for row in names
    ]  # fmt: skip
    path = write_labels(tmp_path / "l.jsonl", labels)
    recalls = []
    for more in ([], ["--unweighted"]):
        capsys.readouterr()
        assert main(["calibrate", run, "--labels", path, "--json", *QUICK, *more]) == 0
        told = json.loads(capsys.readouterr().out)["calibration"]
        assert told["weighted"] is (not more)
        recalls.append(told["gate"]["kept"]["recall"]["value"])
    judged = [n for n in range(120) if n not in (7, 8, 9)]
    kept = [n for n in judged if SCORES[n].sum() >= 50 and SCORES[n].min() >= 8]
    truth = sum(accept[kept]) / sum(accept[judged])
    assert abs(recalls[0] - truth) < abs(recalls[1] - truth) and abs(recalls[0] - truth) < 0.06
    lost = [{**each, "sample": "60-gone"} for each in labels]
    assert main(["calibrate", run, "--labels", write_labels(tmp_path / "x.jsonl", lost)]) == 2
    assert "no samples/60-gone.parquet" in capsys.readouterr().err


def test_accepted_is_what_judge_and_people_both_accept_with_its_own_columns(run, tmp_path, capsys):
    kept = [n for n in range(120) if SCORES[n].sum() >= 50 and SCORES[n].min() >= 8 and n not in (7, 8, 9)]
    labels = [{"id": f"t{n}", "item": "overall", "value": "accept" if n % 3 else "remove"} for n in range(0, 120, 2)]
    path = write_labels(tmp_path / "l.jsonl", labels)
    found = exported(run, tmp_path / "corpus.jsonl", "--accepted", "--labels", path)
    assert found == [triplets(120)[n] for n in kept if n % 2 == 0 and n % 3]
    said = capsys.readouterr().err
    assert f"left out: {sum(n % 2 for n in kept):,} rows that people did not label" in said
    assert f"{sum(n % 6 == 0 for n in kept):,} rows that people do not accept" in said


# The input


def test_rows_are_read_from_every_format_at_their_positions(tmp_path):
    rows = [{"id": n, "answer": f"第{n}行\n换行"} for n in range(50)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(lines, encoding="utf-16")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet", row_group_size=7)
    with (tmp_path / "d.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    files = list_input_files(["d.csv", "a.jsonl", "b.jsonl", "c.parquet"], tmp_path)
    every = [(piece.name, at, row) for file in files for piece in split_file(file) for at, row in read_split(piece)]
    wanted = [(name, at) for name, at, row in every[::7]] + [
        ("gone.jsonl", 3),
        ("a.jsonl", 10**6),
        ("c.parquet", 400),
        ("a.jsonl", 1),
    ]
    order = input_order(wanted, files)
    found = dict(rows_at([wanted[n] for n in order], files))
    assert found == {(name, at): row for name, at, row in every[::7]} | dict.fromkeys(wanted[-4:])
    assert [wanted[n][0] for n in order][-1] == "gone.jsonl"


def test_rows_that_changed_or_went_are_left_out_and_counted(run, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0].replace("慢", "快"), *lines[1:100]]), encoding="utf-8")
    found = exported(run, tmp_path / "t.json", "--decision", "kept,dropped")
    assert len(found) == 100 - 1 - 3
    said = capsys.readouterr().err
    assert "1 rows that have other texts in the input now" in said and "20 rows that are no longer in the input" in said


def test_hostile_texts_stay_texts(tmp_path):
    inputs = triplets(2)
    inputs[0]["answer"] = "</Text><Choice value='x'/> <script>alert(1)</script> \u202e $query 文"
    inputs[1] |= {"row_id": "theirs", "judge": "theirs"}
    run = make_run(tmp_path, inputs, [decided(scored(9, 9, 9, 9, 9, 9))] * 2)
    found = exported(run, tmp_path / "t.json")
    assert found[0]["data"]["answer"] == inputs[0]["answer"]
    assert "script" not in (tmp_path / "t.xml").read_text(encoding="utf-8")
    rows = exported(run, tmp_path / "t.jsonl", "--to", "jsonl")
    assert (rows[1]["row_id"], rows[1]["judge"]) == ("theirs", "theirs")
    assert rows[1]["verdict_row_id"].startswith("rows.jsonl:") and rows[1]["verdict_judge"]["decision"] == "kept"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--decision", "kep"], "none of kept, review, dropped, unscored, pending, screened (did you mean kept?)"),
        (["--per", "genre"], "write COLUMN=N"),
        (["--per", "gnre=4"], "no such column (did you mean genre?)"),
        (["--sample", "2"], "there are 8 strata"),
        (["--sample", "0"], "at least 1"),
        (["--sample", "9", "--stratify", "total"], "is a column of double"),
        (["--sample", "9", "--per", "genre=1"], "without --per"),
        (["--accepted"], "give --labels"),
        (["--labels", "x.csv"], "only with --accepted"),
        (["--out", "/dev/null/x.json"], "cannot be written"),
    ],
)
def test_mistakes_are_said_in_a_line(run, capsys, more, said):
    assert main(["export", run, *more]) == 2
    told = capsys.readouterr().err.splitlines()
    assert said in told[-1] and "Traceback" not in "".join(told)
