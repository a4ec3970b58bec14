"""Further samples on the whole route: who gets them, what they change, what is said of them, and a second run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from run_output import asks, made, manifest, planned, triplets, verdicts

from coigw_judge.cli.main import main
from coigw_judge.decide.gate import Gate

pytestmark = pytest.mark.usefixtures("ray_cluster")
ROWS = 40
GATE = {"each": 8.5, "review": {"each": 0.6}}
"""The scripted judge says 7 (dropped), 8 and 9 (near) or 10."""

OVER = tuple(f"{rubric}.{key}" for rubric in ("answer", "query") for key in ("quality", "creativity"))
BOUND = Gate(each=8.5, over=OVER, review_each=0.6)
RESAMPLED = {"borderline": 3}


@pytest.fixture
def job(write_job: Any, tmp_path: Path) -> Path:
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(tmp_path / "asks.log"), "unsteady": True}}
    return write_job(
        triplets(ROWS), rubrics=["answer", "query"], then=["answer_analysis"], gate=GATE, judge=judge, samples=RESAMPLED
    )


def further(folder: Path) -> list[list[str]]:
    """Logged asks of further samples: rubric, key, attempt, sample, temperature, seed."""
    return [line.split() for line in asks(folder) if len(line.split()) > 3]


def firsts(folder: Path) -> dict[str, dict[str, float]]:
    """By row the scores of the first samples, from the store."""
    facts = ds.dataset(folder / "facts" / "parts").to_table(filter=ds.field("sample") == 0).to_pylist()
    by_record: dict[str, dict[str, float]] = {}
    for fact in facts:
        scores = {f"{fact['rubric']}.{key}": value for key, value in fact["scores"]}
        by_record.setdefault(fact["record"].hex(), {}).update(scores)
    return {row["row_id"]: by_record[row["record"]] for row in verdicts(folder)}


def test_who_lies_near_a_threshold_is_asked_again_and_nobody_else(job: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["run", str(job)]) == 0
    told, rows, before = manifest(tmp_path), verdicts(tmp_path), firsts(tmp_path)
    printed = capsys.readouterr().out
    near = {
        row["row_id"]
        for row in rows
        if set(before[row["row_id"]]) >= set(OVER)
        and BOUND.decide(before[row["row_id"]]).decision != "dropped"
        and BOUND.near(before[row["row_id"]])
    }
    assert 0 < len(near) < ROWS
    assert {row["row_id"] for row in rows if row["spread"] is not None} == near
    assert {row["samples"] for row in rows if row["row_id"] in near} == {3} and {
        row["samples"] for row in rows if row["row_id"] not in near
    } == {1}
    logged = further(tmp_path)
    assert {(sample, temperature, seed) for *_, sample, temperature, seed in logged} == {
        ("2", "0.7", "2000"),
        ("3", "0.7", "3000"),
    }
    flipped = sum(
        BOUND.decide(before[row["row_id"]]).decision != row["decision"] for row in rows if row["row_id"] in near
    )
    assert told["borderline"] == {"rows": len(near), "resampled": len(near), "flipped": flipped} and flipped
    assert told["asks"]["extra"] == len(logged) > 0 and told["asks"]["made"] == len(asks(tmp_path))
    assert (
        0 < told["tokens"]["extra_prompt"] < told["tokens"]["prompt"]
        and 0 < told["tokens"]["extra_generated"] < told["tokens"]["generated"]
    )
    assert told["samples"] == {"count": 1, "borderline": 3, "use": "median", "temperature": 0.7, "dropped": False}
    assert (
        f"several samples (median): {len(near)} rows, {len(near)} of them near a threshold; {flipped} (" in printed
        and "extra cost: " in printed
    )
    decided = {row["row_id"]: BOUND.decide({name: row[name] for name in OVER}).decision for row in rows}
    assert decided == {row["row_id"]: row["decision"] for row in rows}, "the columns hold what the gate decided on"
    for row in rows:
        assert ("answer_analysis" in row["asked"]) == (row["decision"] in ("kept", "review"))


def test_facts_say_how_they_were_drawn(job: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["run", str(job)]) == 0
    facts = ds.dataset(tmp_path / "facts" / "parts").to_table().to_pylist()
    flags = {(fact["sample"], *fact["flags"]) for fact in facts}
    assert flags == {(0,), (2, "sampled:temperature 0.7, seed 2000"), (3, "sampled:temperature 0.7, seed 3000")}
    rows = [row for row in verdicts(tmp_path) if row["spread"] is not None]
    assert all(row["flags"] == [] for row in rows) and manifest(tmp_path)["flags"] == {}
    row = next(row for row in rows if max(value for _, value in row["spread"]) > 0)
    capsys.readouterr()
    assert main(["show", str(next((tmp_path / "runs").iterdir())), row["row_id"]]) == 0
    shown = capsys.readouterr().out
    assert "(of up to 3 samples, " in shown and " sample 2 (scored, stop, sampled:temperature 0.7, seed 2000)" in shown


def test_a_second_run_asks_nothing_and_more_samples_only_those_that_are_new(job: Path, tmp_path: Path) -> None:
    assert main(["run", str(job)]) == 0
    first, logged = verdicts(tmp_path), len(asks(tmp_path))
    assert made(job, tmp_path) == {}
    told = manifest(tmp_path)
    assert (
        verdicts(tmp_path) == first
        and told["asks"]["made"] == told["asks"]["extra"] == told["tokens"]["extra_prompt"] == 0
    )
    assert told["asks"]["from_store"] == logged and told["borderline"]["rows"] > 0
    assert made(job, tmp_path, "--set", "samples.use=mean").keys() <= {"answer_analysis"}, (
        "only what the mean lets through"
    )
    before = len(further(tmp_path))
    assert main(["run", str(job), "--set", "samples.borderline=4", "--set", "then=[]"]) == 0
    assert {line[3] for line in further(tmp_path)[before:]} == {"4"}
    before = len(further(tmp_path))
    assert main(["run", str(job), "--set", "samples.temperature=0.9", "--set", "then=[]"]) == 0
    assert {tuple(line[3:5]) for line in further(tmp_path)[before:]} == {("2", "0.9"), ("3", "0.9")}


def test_a_gate_that_moved_asks_those_who_are_near_now(job: Path, tmp_path: Path, capsys: Any) -> None:
    in_full = ("--set", "early_exit=false", "--set", "then=[]")
    moved = (*in_full, "--set", "gate.each=7.5")
    assert main(["run", str(job), *in_full]) == 0
    capsys.readouterr()
    assert main(["select", str(job), *moved, "--sweep", "each=7.5:8.5", "--json"]) == 0
    swept = json.loads(capsys.readouterr().out)
    assert main(["select", str(job), *moved]) == 0
    rows = verdicts(tmp_path)
    open_ = [row for row in rows if row["decision"] == "pending"]
    assert open_ and all(" was not asked yet (sample " in row["reasons"][-1] for row in open_)
    counts = Counter(row["decision"] for row in rows)
    by_each = {each["each"]: each for each in (swept["gates"] if isinstance(swept, dict) else swept)}
    assert (by_each[7.5]["kept"], by_each[7.5]["possible"], by_each[7.5]["review"]) == (
        counts["kept"],
        counts["pending"],
        counts["review"],
    )
    assert main(["run", str(job), *moved]) == 0
    assert manifest(tmp_path)["decisions"]["pending"] == 0 and manifest(tmp_path)["asks"]["extra"] > 0
    assert {line.split()[0] for line in asks(tmp_path)[-manifest(tmp_path)["asks"]["made"] :]} <= {"answer", "query"}
    assert main(["select", str(job), *in_full]) == 0
    assert manifest(tmp_path)["decisions"]["pending"] == 0, "what was asked for the first gate is still there"


def test_a_failed_sample_is_left_out_and_asked_again_where_the_run_says_so(write_job: Any, tmp_path: Path) -> None:
    options = {"log": str(tmp_path / "asks.log"), "unsteady": True, "lose": [2]}
    judge = {"engine": "scripted_judge:ScriptedJudge", "model": "m", "retries": 0, "options": options}
    job = write_job(triplets(ROWS), rubrics=["answer", "query"], gate=GATE, judge=judge, samples=RESAMPLED)
    assert main(["run", str(job)]) == 0
    rows, told = verdicts(tmp_path), manifest(tmp_path)
    assert told["decisions"]["unscored"] == 0 and told["asks"]["failed"] == 0
    assert told["asks"]["extra_failed"] == told["asks"]["extra"] / 2 > 0
    assert {row["samples"] for row in rows if row["spread"] is not None} == {2}
    assert made(job, tmp_path) == {}
    before = len(further(tmp_path))
    assert main(["run", str(job), "--retry-unscored"]) == 0
    again = further(tmp_path)[before:]
    assert again and {line[3] for line in again} == {"2"}, "its failures count, of those alone"


def test_a_plan_counts_further_samples_from_what_facts_say(job: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["plan", str(job)]) == 0
    assert "near a threshold: not known" in capsys.readouterr().out
    assert main(["run", str(job), "--limit", "30"]) == 0
    seen = manifest(tmp_path)
    capsys.readouterr()
    assert main(["plan", str(job)]) == 0
    told = capsys.readouterr().out
    assert "further samples (samples): " in told and "records that no rubric ended, from facts of this judge" in told
    likely = planned(job, capsys)
    assert main(["plan", str(job), "--json"]) == 0
    rubrics = {each["name"]: each for each in json.loads(capsys.readouterr().out)["rubrics"]}
    share = seen["asks"]["extra"] / 30
    assert sum(each["further"] for each in rubrics.values()) == pytest.approx(10 * share)
    assert likely["answer"] == pytest.approx(10 + rubrics["answer"]["further"])
    assert main(["run", str(job), "--set", "samples.borderline=1", "--set", "then=[]"]) == 0
    open_now = planned(job, capsys, "--set", "then=[]")
    assert main(["run", str(job), "--set", "then=[]"]) == 0
    assert sum(open_now.values()) == manifest(tmp_path)["asks"]["made"] == manifest(tmp_path)["asks"]["extra"], (
        "who is near is known by now"
    )


def test_every_record_may_be_asked_several_times(write_job: Any, tmp_path: Path) -> None:
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(tmp_path / "asks.log"), "unsteady": True}}
    job = write_job(
        triplets(ROWS),
        rubrics=["answer", "query"],
        gate=GATE,
        judge=judge,
        samples={"count": 2, "repeat": 1.0},
        early_exit=False,
    )
    assert made(job, tmp_path) == {"answer": 3 * ROWS, "query": 3 * ROWS}
    told = manifest(tmp_path)
    assert (
        told["borderline"]["rows"] == 0 and told["borderline"]["resampled"] == ROWS and told["repeated"]["rows"] == ROWS
    )
    assert {row["samples"] for row in verdicts(tmp_path)} == {2}
