"""What a change of the job asks again: exactly what the judge would see differently, and `plan` says so before."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_output import latest, made, manifest, planned, triplets, verdicts

from coigw_judge.cli.main import main

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROOT = Path(__file__).parents[2]
ROWS = 12


@pytest.fixture
def job(write_job: Callable[..., Path], tmp_path: Path) -> Path:
    """A job of three rubrics that has run; its rubrics and prompts are copies that a test may edit."""
    for name in ("answer", "query", "thought"):
        shutil.copy(ROOT / "rubrics" / f"{name}.yaml", tmp_path / f"{name}.yaml")
    judge = {
        "engine": "scripted_judge:ScriptedJudge",
        "model": "scripted",
        "revision": "1",
        "options": {"log": str(tmp_path / "asks.log")},
    }
    path = write_job(
        triplets(ROWS), rubrics=["answer.yaml", "query.yaml", "thought.yaml"], judge=judge, early_exit=False
    )
    assert made(path, tmp_path) == {"answer": ROWS, "query": ROWS, "thought": ROWS}
    return path


def test_a_word_of_one_rubric_asks_exactly_that_rubric_again(job: Path, tmp_path: Path, capsys: Any) -> None:
    rubric = tmp_path / "query.yaml"
    text = rubric.read_text(encoding="utf-8")
    rubric.write_text(text.replace("criteria:", "criteria:\n      新添: 一个词。", 1), encoding="utf-8")
    assert planned(job, capsys) == {"answer": 0, "query": ROWS, "thought": 0}
    assert made(job, tmp_path) == {"query": ROWS}
    assert manifest(tmp_path)["asks"]["from_store"] == 2 * ROWS
    rubric.write_text(text, encoding="utf-8")
    assert planned(job, capsys) == {"answer": 0, "query": 0, "thought": 0}, "the old facts are still there"
    assert made(job, tmp_path) == {}


def test_guidance_for_one_genre_asks_its_records_alone(job: Path, tmp_path: Path, capsys: Any) -> None:
    rows = triplets(ROWS)
    for row in rows[: ROWS // 3]:
        row["genre"] = "诗歌"
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    assert made(job, tmp_path) == dict.fromkeys(("answer", "query", "thought"), ROWS // 3), (
        "another genre, another question"
    )
    rubric = tmp_path / "answer.yaml"
    text = rubric.read_text(encoding="utf-8")
    assert "\n  诗歌: " in text
    rubric.write_text(text.replace("\n  诗歌: ", "\n  诗歌: 慢读。", 1), encoding="utf-8")
    assert planned(job, capsys) == {"answer": ROWS // 3, "query": 0, "thought": 0}
    assert made(job, tmp_path) == {"answer": ROWS // 3}


OTHER_QUESTIONS = ("judge.model=another", "judge.revision='2'", "judge.retries=1", "reasons=full")
NEUTRAL = (
    *("gate.each=5", "gate.total=30", "gate.review.total=4", "gate={over: [answer], each: 6}", "max_unscored=0.5"),
    *("out=elsewhere", "name=other", "write=[all]", "judge.replicas=2", "judge.concurrency=3", "early_exit=true"),
    "rubrics=[thought.yaml, answer.yaml, query.yaml]",
)


def test_another_judge_or_another_way_of_asking_asks_all(job: Path, tmp_path: Path, capsys: Any) -> None:
    everything = {"answer": ROWS, "query": ROWS, "thought": ROWS}
    for change in OTHER_QUESTIONS:
        assert planned(job, capsys, "--set", change) == everything, change
    assert made(job, tmp_path, "--set", OTHER_QUESTIONS[0]) == everything


def test_what_the_judge_does_not_see_asks_nothing(job: Path, tmp_path: Path, capsys: Any) -> None:
    for change in NEUTRAL:
        assert planned(job, capsys, "--set", change) == {"answer": 0, "query": 0, "thought": 0}, change
    options = [part for change in NEUTRAL[:-1] for part in ("--set", change)]
    assert made(job, tmp_path, *options) == {}


def test_an_edited_thought_asks_only_what_sees_it(job: Path, tmp_path: Path, capsys: Any) -> None:
    text = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(text.replace("先想第3种", "再想第3种"), encoding="utf-8")
    assert planned(job, capsys) == {"answer": 0, "query": 0, "thought": 1}
    assert made(job, tmp_path) == {"thought": 1}


def test_a_share_is_asked_twice_and_shows_what_re_asking_changes(job: Path, tmp_path: Path, capsys: Any) -> None:
    first = latest(tmp_path)
    again = made(job, tmp_path, "--set", "samples.repeat=1.0")
    assert again == {"answer": ROWS, "query": ROWS, "thought": ROWS}, "a second sample of each"
    told = manifest(tmp_path)
    assert told["repeat"] == 1.0 and told["repeated"]["rows"] == ROWS
    rows = verdicts(tmp_path)
    assert {row["decision"] for row in rows} <= {"kept", "review", "dropped"}
    flipped = sum(row["repeat_decision"] != row["decision"] for row in rows)
    assert told["repeated"]["flipped"] == flipped
    assert all(
        set(dict(row["repeat_scores"])) == {name for name in row if name.endswith((".quality", ".creativity"))}
        for row in rows
    )
    assert made(job, tmp_path, "--set", "samples.repeat=1.0") == {}
    assert made(job, tmp_path, "--set", "samples.repeat=0.5") == {}, "a smaller share is part of a larger one"
    capsys.readouterr()
    assert main(["diff", str(first), str(latest(tmp_path)), "--json"]) == 0
    assert '"noise"' in capsys.readouterr().out


def test_only_the_share_is_asked_twice(write_job: Callable[..., Path], tmp_path: Path) -> None:
    job = write_job(triplets(60), samples={"repeat": 0.3}, early_exit=False)
    counts = made(job, tmp_path)
    repeated = manifest(tmp_path)["repeated"]["rows"]
    assert 5 < repeated < 35
    assert counts == dict.fromkeys(("answer", "query", "thought"), 60 + repeated)
    assert sum(row["repeat_decision"] is not None for row in verdicts(tmp_path)) == repeated
