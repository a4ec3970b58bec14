"""The judge against people on runs made by hand: known answers, every missing score counted, gates for a recall, drift, leaks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_run import OVER, decided, make_run, scored, triplets, write_labels
from scipy import stats

from coigw_judge.cli.main import main
from coigw_judge.people.calibration import cheapest_gate, file
from coigw_judge.people.calibration import report as calibrate
from coigw_judge.people.calibration.agreement import Bootstrap
from coigw_judge.people.calibration.labelled_records import CalibrateOptions
from coigw_judge.people.labels.read import read
from coigw_judge.people.quality import leaks
from coigw_judge.run_folder.folder import open_run
from coigw_judge.text.terminal import cells

QUICK = ["--resamples", "50"]
SCORES = np.clip(np.round(np.random.default_rng(4).normal(8, 1.3, (90, 6))), 0, 10)
PEOPLE = np.clip(np.round(SCORES[:, 0] + np.random.default_rng(5).normal(0, 1, 90)), 0, 10)


def crowd(folder: Path, **more: Any) -> str:
    """A run of 90 rows, all scored."""
    return make_run(folder, triplets(90), [decided(scored(*row)) for row in SCORES], parts=3, **more)


def labelled(folder: Path, rows: Any = range(90), **more: Any) -> str:
    """One annotator's quality and decision of some rows."""
    labels = []
    for n in rows:
        own = {"id": f"t{n}", "annotator": "甲", **more}
        labels.append({**own, "item": "answer.quality", "value": PEOPLE[n]})
        labels.append({**own, "item": "overall", "value": "accept" if PEOPLE[n] >= 8 else "refine"})
    return write_labels(folder / "labels.jsonl", labels)


def report(run: str, labels: str, **options: Any) -> dict[str, Any]:
    """The report as JSON gives it."""
    found = calibrate.report(open_run(run), read(labels), CalibrateOptions(how=Bootstrap(50), **options))
    return json.loads(file.as_json(found))


def test_figures_are_scipys_on_all_and_in_every_group(tmp_path):
    found = report(crowd(tmp_path), labelled(tmp_path))["items"]["answer.quality"]
    assert found["compared"] == 90 and found["judge_missing"] == {}
    for name, theirs in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        assert found[name]["value"] == pytest.approx(theirs(SCORES[:, 0], PEOPLE).statistic, abs=1e-9)
        for at, genre in enumerate(("散文", "小说", "诗歌")):
            expected = theirs(SCORES[at::3, 0], PEOPLE[at::3]).statistic
            assert found["by"][genre][name]["value"] == pytest.approx(expected, abs=1e-9)
    assert sum(point[2] for point in found["points"]) == 90


def test_the_gate_is_counted_against_peoples_accept(tmp_path):
    found = report(crowd(tmp_path), labelled(tmp_path))["gate"]
    kept = (SCORES.sum(axis=1) >= 50) & (SCORES.min(axis=1) >= 8)
    accepted = PEOPLE >= 8
    hits = int((kept & accepted).sum())
    assert found["kept"]["precision"]["value"] == pytest.approx(hits / kept.sum(), abs=1e-9)
    assert found["kept"]["recall"]["value"] == pytest.approx(hits / accepted.sum(), abs=1e-9)
    assert found["decisions"]["kept"] == {"accepted": hits, "not_accepted": int(kept.sum()) - hits}
    assert found["outside_labelled"] == int((~kept).sum())


def test_missing_scores_are_counted_by_cause_and_never_low(tmp_path):
    blank = [decided(scored(*row)) for row in SCORES]
    blank[0] = scored(9, 9, decision="unscored", asked=["answer", "query"])
    blank[1] = {"decision": "screened"}
    blank[2] = scored(3, 3, decision="dropped", skipped=["query", "thought"])
    blank[3] = {**scored(*SCORES[3]), "decision": "kept", "answer.quality": None, "not_applicable": ["answer"]}
    blank[4] = {"decision": "pending"}
    run, labels = make_run(tmp_path, triplets(90), blank), labelled(tmp_path)
    found = report(run, labels)
    assert found["items"]["answer.quality"]["judge_missing"] == {
        "screened: settled before the judge": 1, "does not apply": 1, "pending: the judge was not asked yet": 1,
    }  # fmt: skip
    assert found["items"]["answer.quality"]["compared"] == 87
    judged = [*SCORES[5:, 0], 9, 3]
    expected = stats.spearmanr(judged, [*PEOPLE[5:], PEOPLE[0], PEOPLE[2]])
    assert found["items"]["answer.quality"]["spearman"]["value"] == pytest.approx(expected.statistic, abs=1e-9)
    assert found["items"]["overall"]["judge_missing"]["not asked: the gate had decided (early exit)"] == 1
    assert found["gate"]["without_decision"] == {"unscored": 1, "screened": 1, "pending": 1}
    assert found["gate"]["kept"]["records"] == 87
    assert report(run, labels, missing="dropped")["gate"]["kept"]["records"] == 90
    text = calibrate_text(run, labels)
    assert "unscored 1; left out" in text and "does not apply 1" in text and "never counted as low" in text


def calibrate_text(run: str, labels: str) -> str:
    from coigw_judge.people.calibration import text as texts

    found = calibrate.report(open_run(run), read(labels), CalibrateOptions(how=Bootstrap(20)))
    return texts.as_text(found)


def test_several_people_and_rounds_become_one_value(tmp_path):
    run = crowd(tmp_path)
    given = [("甲", 1, 2), ("甲", 2, 8), ("乙", 1, 9)]
    votes = [("甲", "accept"), ("乙", "refine"), ("丙", "accept")]
    labels = [{"id": "t0", "annotator": a, "round": r, "item": "answer.quality", "value": v} for a, r, v in given]
    labels += [{"id": "t0", "annotator": a, "item": "overall", "value": v} for a, v in votes]
    labels += [{"id": "t1", "annotator": a, "item": "overall", "value": v} for a, v in votes[:2]]
    path = write_labels(tmp_path / "l.jsonl", labels)
    found = report(run, path)
    assert found["items"]["answer.quality"]["points"] == [[SCORES[0, 0], 8.5, 1.0]]
    assert found["left_out"] == {"of an earlier round": 1} and found["rounds"] == [1, 2]
    assert found["gate"]["decided_by_people"] == 2 and found["gate"]["ties_counted_as_not_accepted"] == 1
    assert sum(each["accepted"] for each in found["gate"]["decisions"].values()) == 1
    assert report(run, path, round=1)["items"]["answer.quality"]["points"] == [[SCORES[0, 0], 5.5, 1.0]]
    people = {each["annotator"]: each for each in found["annotators"]}
    assert people["甲"]["yield"] == 1 and people["乙"]["same_decision"] == 0 and people["丙"]["same_decision"] == 0.5


def test_labels_that_are_not_blind_are_said_to_be_so(tmp_path):
    run = crowd(tmp_path)
    assert "NOT BLIND: on 90 records" in calibrate_text(run, labelled(tmp_path, blind=False))
    assert "NOT BLIND" not in calibrate_text(run, labelled(tmp_path, blind=True))
    assert "90 records do not say" in calibrate_text(run, labelled(tmp_path))


def test_labels_of_what_passed_alone_can_not_tell_recall(tmp_path):
    kept = np.flatnonzero((SCORES.sum(axis=1) >= 50) & (SCORES.min(axis=1) >= 8))
    run = crowd(tmp_path)
    assert "recall cannot be known" in calibrate_text(run, labelled(tmp_path, kept))
    assert "recall cannot be known" not in calibrate_text(run, labelled(tmp_path))


def test_weights_are_used_and_may_be_left_out(tmp_path):
    run = crowd(tmp_path)
    labels = [
        {
            "id": f"t{n}",
            "annotator": "甲",
            "item": "overall",
            "value": "accept" if n % 2 else "refine",
            "weight": 1 + n % 5,
        }
        for n in range(90)
    ]
    path = write_labels(tmp_path / "w.jsonl", labels)
    kept = (SCORES.sum(axis=1) >= 50) & (SCORES.min(axis=1) >= 8)
    weights, odd = 1 + np.arange(90) % 5, np.arange(90) % 2 == 1
    weighted = report(run, path)
    assert weighted["weighted"]
    expected = weights[kept & odd].sum() / weights[odd].sum()
    assert weighted["gate"]["kept"]["recall"]["value"] == pytest.approx(expected, abs=1e-9)
    plain = report(run, path, weighted=False)["gate"]["kept"]["recall"]["value"]
    assert plain == pytest.approx((kept & odd).sum() / odd.sum(), abs=1e-9) and abs(plain - expected) > 1e-3
    mixed = report(
        run, write_labels(tmp_path / "m.jsonl", [*labels[:80], *({**each, "weight": None} for each in labels[80:])])
    )
    assert mixed["records"] == 80 and 10 in mixed["left_out"].values()


def brute(accepted: Any, wanted: float) -> int:
    """The least cost of any gate over these scores that reaches a recall, by trying all."""
    sums, least = SCORES.sum(axis=1), SCORES.min(axis=1)
    costs = []
    for total in range(0, 61):
        for each in range(0, 11):
            passed = (sums >= total) & (least >= each)
            if (passed & accepted).sum() >= wanted * accepted.sum():
                costs.append(int(passed.sum()))
    return min(costs)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 0.95, 1.0])
def test_the_gate_for_a_recall_is_the_cheapest_there_is(tmp_path, wanted):
    found = report(crowd(tmp_path), labelled(tmp_path), recall=wanted)["regate"]
    accepted = PEOPLE >= 8
    (choice,) = [each for each in found["choices"] if each["wanted"] == wanted]
    assert choice["cost"] == choice["cost_at_most"] == brute(accepted, wanted)
    passed = (SCORES.sum(axis=1) >= (choice["total"] or 0)) & (SCORES.min(axis=1) >= (choice["each"] or 0))
    assert passed.sum() == choice["cost"] and choice["recall"] == pytest.approx(
        (passed & accepted).sum() / accepted.sum()
    )
    assert choice["recall"] >= wanted and found["rows"] == 90


def test_a_gate_is_swept_as_the_gate_itself_decides(tmp_path):
    """Missing scores, checks, rubrics that do not apply: what a row can reach passes thresholds where Gate.decide keeps the row."""
    import pyarrow as pa
    from labelled_run import SCHEMA

    from coigw_judge.decide.gate import Gate
    from coigw_judge.decide.scorecard import Scorecard
    from coigw_judge.replies.outcome import Scored

    random = np.random.default_rng(9)
    swept = Gate(total=50, each=8, over=tuple(OVER), require=("removal.facts",), tops=dict.fromkeys(OVER, 10))
    rows, cards = [], []
    for n in range(200):
        row = scored(*SCORES[n % 90], decision="dropped", skipped=[], asked=[], not_applicable=[])
        if n % 4 == 1:
            row |= {"not_applicable": ["thought"], "thought.quality": None, "thought.creativity": None, "total": None}
        if n % 4 == 2:
            row |= {"query.quality": None}
        row["removal.facts"] = [True, False, None][int(random.integers(0, 3))]
        rows.append(row)
        facts: dict[str, Any] = {}
        for rubric in ("answer", "query", "thought"):
            scores = {
                name.partition(".")[2]: row[name] for name in OVER if name.startswith(rubric) and row[name] is not None
            }
            if rubric not in row["not_applicable"]:
                facts[rubric] = Scored(scores=scores)
        facts["removal"] = Scored(checks={} if row["removal.facts"] is None else {"facts": row["removal.facts"]})
        cards.append(Scorecard(facts, tuple(row["not_applicable"])))
    schema = pa.schema([SCHEMA.field(name) for name in cheapest_gate.columns_of(swept)])
    found = cheapest_gate.reach(pa.Table.from_pylist(rows, schema=schema), swept)
    for total, each in ((50, 8), (40, 6), (0, 0), (44, 7)):
        gate = Gate(total=total, each=each, over=tuple(OVER), require=("removal.facts",), tops=dict.fromkeys(OVER, 10))
        passes = (found.total >= total) & (found.least >= each)
        for n, card in enumerate(cards):
            outcome = card.decide(gate).decision
            assert passes[n] == (outcome in ("kept", "pending")), (n, outcome)
            if passes[n]:
                assert found.known[n] == (outcome == "kept")


def test_unknown_scores_make_the_cost_a_range(tmp_path):
    rows = [decided(scored(*row)) for row in SCORES]
    for n in range(0, 90, 9):
        rows[n] = scored(*SCORES[n][:4], decision="unscored", asked=["answer", "query"])
    run = make_run(tmp_path, triplets(90), rows)
    found = report(run, labelled(tmp_path), recall=0.9)["regate"]
    assert found["left_out_without_scores"] == 10
    assert any(each["cost_at_most"] > each["cost"] for each in found["choices"])


def test_the_command_prints_tables_that_stand_below_each_other_and_leaves_its_report(tmp_path, capsys):
    run = crowd(tmp_path)
    assert main(["calibrate", run, "--labels", labelled(tmp_path), "--recall", "0.9", *QUICK]) == 0
    text = capsys.readouterr().out
    table = text[text.index("answer.quality by genre") :].splitlines()[1:5]
    assert {cells(line[: line.index("30")]) for line in table[1:]} == {cells(table[0][: table[0].index("  n") + 1])}
    assert max(cells(line) for line in text.splitlines()[1:]) <= 110
    told = json.loads(Path(run, "calibration.json").read_text(encoding="utf-8"))
    assert told["items"]["answer.quality"]["compared"] == 90
    assert main(["calibrate", run, "--labels", str(tmp_path / "labels.jsonl"), "--json", *QUICK]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["records"] == 90


def test_keys_their_order_and_values_are_those_of_the_first_files(tmp_path, capsys):
    """calibration_example.json is what `--json` said of this run before the files were models."""
    inputs, thought = triplets(3), "".join(chr(0x4E00 + 7 * n) for n in range(120))
    inputs[2]["query"] = "请写：第2只表走得慢。它在抽屉里过了2个冬天。"
    inputs[0]["thought"], inputs[1]["thought"] = thought, "另：" + thought
    run = make_run(tmp_path, inputs, [decided(scored(*row)) for row in (SCORES[0], [10] * 6, SCORES[1])])
    given = {"甲": {"answer.quality": 9, "overall": "accept"}, "乙": {"answer.quality": 8.5, "overall": "accept"}}
    labels = [{"id": "t1", "annotator": a, "item": i, "value": v} for a, own in given.items() for i, v in own.items()]
    labels += [{"id": "t2", "annotator": "甲", "item": item, "value": True} for item in ("removal.facts", "removed")]
    golden = write_labels(tmp_path / "golden.jsonl", [{"id": "t1", "item": "query.quality", "value": 9}])
    more = ["--golden", golden, "--annotators", "--recall", "0.5", "--json", *QUICK]
    assert main(["calibrate", run, "--labels", write_labels(tmp_path / "l.jsonl", labels), *more]) == 1
    said = capsys.readouterr().out.replace(str(tmp_path), "FOLDER")
    example = Path(__file__).with_name("calibration_example.json").read_text(encoding="utf-8")
    assert json.dumps(json.loads(said), ensure_ascii=False) == json.dumps(json.loads(example), ensure_ascii=False)


def test_the_report_is_left_although_nobody_reads_the_text_to_its_end(tmp_path):
    run = crowd(tmp_path)
    unread, written = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "coigw_judge", "calibrate", run, "--labels", labelled(tmp_path), *QUICK]
    with os.fdopen(written, "wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(Path(run, "calibration.json").read_text(encoding="utf-8"))["records"] == 90


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--by", "gnre"], "no such column (did you mean genre?)"),
        (["--by", "total"], "is a column of double"),
        ([], "give --labels FILE, --golden REFERENCE"),
        (["--labels", "gone.csv"], "gone.csv"),
        (["--golden", "gone.jsonl"], "gone.jsonl"),
    ],
)
def test_mistakes_are_said_in_a_line(tmp_path, capsys, more, said):
    run = crowd(tmp_path)
    labels = ["--labels", labelled(tmp_path)] if more and more[0] == "--by" else []
    assert main(["calibrate", run, *labels, *more]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) <= 2


def test_labels_of_another_run_are_refused(tmp_path, capsys):
    run = crowd(tmp_path)
    for label, said in (
        ({"id": "x", "item": "overall", "value": 1}, "of an id that the run does not have (1)"),
        ({"id": "t0", "item": "answr.quality", "value": 1}, "answr.quality (did you mean answer.quality?)"),
    ):
        assert main(["calibrate", run, "--labels", write_labels(tmp_path / "x.jsonl", [label])]) == 2
        assert said in capsys.readouterr().err


# Golden records


def golden(folder: Path, shift: float = 0.0, rows: int = 40, lost: int = 0, **more: Any) -> tuple[str, str]:
    """A reference run, and one whose judge gives the answer's quality `shift` more."""
    inputs = triplets(rows)
    verdicts = [decided(scored(*row)) for row in SCORES[:rows]]
    before = make_run(folder, inputs, verdicts, name="before")
    now = [{**row, "answer.quality": row["answer.quality"] + shift, **more} for row in verdicts]
    for row in now[:lost]:
        row["answer.quality"] = None
    return before, make_run(folder, inputs, now, name="now")


def test_the_same_judge_raises_no_alarm_and_one_that_moved_does(tmp_path, capsys):
    before, now = golden(tmp_path)
    assert main(["calibrate", now, "--golden", before, *QUICK]) == 0
    assert "No alarm." in capsys.readouterr().out
    before, now = golden(tmp_path, shift=-0.75)
    assert main(["calibrate", now, "--golden", before, *QUICK]) == 1
    text = capsys.readouterr().out
    assert "ALARM answer.quality: the mean moved by -0.75" in text and "ALARM query" not in text
    assert main(["calibrate", now, "--golden", before, "--bound", "1", *QUICK]) == 0
    capsys.readouterr()
    assert main(["calibrate", now, "--golden", before, "--json", *QUICK]) == 1
    told = json.loads(capsys.readouterr().out)["drift"]
    assert told["alarm"] and told["records"] == 40 and Path(now, "drift.json").exists()


def test_golden_values_may_stand_in_a_file_and_a_lost_score_is_an_alarm(tmp_path, capsys):
    _, now = golden(tmp_path, lost=1)
    values = [{"id": f"t{n}", "item": "answer.quality", "value": SCORES[n, 0]} for n in range(20)]
    path = write_labels(tmp_path / "golden.jsonl", [*values, {"id": "gone", "item": "answer.quality", "value": 5}])
    assert main(["calibrate", now, "--golden", path, *QUICK]) == 1
    text = capsys.readouterr().out
    assert "1 golden records lost their score" in text and "1 golden records are not in this run" in text
    values = [{"id": f"t{n}", "item": "answer.quality", "value": SCORES[n, 0]} for n in range(1, 20)]
    assert main(["calibrate", now, "--golden", write_labels(tmp_path / "golden.jsonl", values), *QUICK]) == 0


def test_changes_that_re_asking_makes_too_are_noise(tmp_path, capsys):
    inputs, noise = triplets(40), np.where(np.arange(40) % 2, 1, -1)
    verdicts = [decided(scored(*row)) for row in SCORES[:40]]
    before = make_run(tmp_path, inputs, verdicts, name="before")
    moved = [{**row, "answer.quality": row["answer.quality"] + by} for row, by in zip(verdicts, noise, strict=True)]
    again = [{**row, "repeat_scores": {"answer.quality": row["answer.quality"] + 1}} for row in moved]
    assert main(["calibrate", make_run(tmp_path, inputs, moved, name="a"), "--golden", before, *QUICK]) == 1
    assert main(["calibrate", make_run(tmp_path, inputs, again, name="b"), "--golden", before, *QUICK]) == 0


def test_golden_records_whose_texts_changed_are_left_out(tmp_path, capsys):
    before, _ = golden(tmp_path)
    inputs = triplets(40)
    inputs[3]["answer"] += "改"
    now = make_run(tmp_path, inputs, [decided(scored(*row)) for row in SCORES[:40]], name="now")
    assert main(["calibrate", now, "--golden", before, *QUICK]) == 0
    assert "39 against" in (text := capsys.readouterr().out) and "1 have other texts" in text


# Leaks


def test_a_query_that_quotes_its_answer_is_found():
    answer = "巷口的修表匠说，这只表走得慢，是因为它记得太多。他把表壳合上，没有收钱。"
    shared = leaks.shared_phrases("写修表匠，要有“这只表走得慢， 是因为它记得太多”这一句。", answer)
    assert shared.longest == "这只表走得慢，是因为它记得太多" and shared.share == pytest.approx(15 / 28, abs=0.03)
    assert shared.suspect
    none = leaks.shared_phrases("写一个修表匠不肯收钱的故事", answer)
    assert (none.longest, none.share, none.suspect) == ("", 0.0, False)
    assert leaks.shared_phrases("", answer).share == 0 and leaks.shared_phrases("短", "短").longest == ""


def test_copied_thoughts_are_found_and_others_are_not():
    random = np.random.default_rng(0)
    words = [chr(0x4E00 + n) for n in range(3000)]
    texts = ["".join(random.choice(words, 600)) for _ in range(40)]
    texts.append(texts[3][:450] + "".join(random.choice(words, 150)))
    found = leaks.copies([leaks.pieces(text) for text in texts])
    assert [(a, b) for a, b, _ in found] == [(3, 40)] and 0.6 < found[0][2] < 0.9
    assert leaks.copies([]) == [] and leaks.copies([leaks.pieces("短"), leaks.pieces("")]) == []


def test_the_command_names_rows_and_annotators(tmp_path, capsys):
    inputs = triplets(8)
    inputs[2]["query"] = "请写：第2只表走得慢。它在抽屉里过了2个冬天。"
    long = "先想到的是从表写起，后来改成从修表的人写起，因为人比表更会拖延，这样结尾才有余地。" * 2
    inputs[4]["thought"], inputs[7]["thought"] = long, "另：" + long
    run = make_run(tmp_path, inputs, [decided(scored(*row)) for row in SCORES[:8]])
    assert main(["calibrate", run, "--annotators"]) == 0
    text = capsys.readouterr().out
    assert "第2只表走得慢。它在抽屉里过了2个冬天。" in text and "1 pairs" in text
    told = json.loads(Path(run, "writers.json").read_text(encoding="utf-8"))
    assert told["annotators"]["writer0"]["suspect"] == 1 and told["annotators"]["writer1"] == {
        "queries": 4, "suspect": 0, "share": 0.0, "copied": 1,
    }  # fmt: skip
    assert told["copies"][0]["annotators"] == ["writer0", "writer1"]
