"""The whole route with a scripted judge: scan, fill, select on Ray Data, through the command line."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from run_output import asks, latest, manifest, triplets, verdicts

from coigw_judge.cli.main import main
from coigw_judge.errors import FixSource
from coigw_judge.job.job import load_job
from coigw_judge.run import stages

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_every_row_has_one_verdict_and_the_counts_add_up(write_job, tmp_path, capsys):
    rows = [
        *triplets(80),
        {"id": "pair", "query": "写一只猫", "answer": "猫在窗台上"},
        {"id": "article", "answer": "只有文章"},
        {"id": "blank", "answer": "  "},
        {"id": "number", "answer": 7},
        {**triplets(1)[0], "id": "again"},
    ]
    job = write_job(rows, write=["all"])
    assert main(["run", str(job)]) == 0
    found, told = verdicts(tmp_path), manifest(tmp_path)
    assert len(found) == len({row["row_id"] for row in found}) == told["rows_in"] == len(rows)
    assert Counter(row["decision"] for row in found) == +Counter(told["decisions"])
    assert sum(told["decisions"].values()) == told["rows_in"] and told["complete"]
    by_id = {row["id"]: row for row in found}
    assert by_id["again"]["decision"] == "duplicate" and "rows.jsonl:0" in by_id["again"]["reasons"][0]
    assert by_id["number"]["decision"] == "unreadable" and by_id["number"]["reasons"] == [
        "answer is a number, not text"
    ]
    assert by_id["pair"]["not_applicable"] == ["thought"]
    assert set(by_id["article"]["not_applicable"]) == {"answer", "query", "thought"}
    kept = [row for row in found if row["decision"] == "kept"]
    assert kept and all(row["total"] >= 50 and row["action"] == "accept" for row in kept)
    out = [
        row
        for path in latest(tmp_path).glob("*/part*.parquet")
        if path.parent.name != "verdicts"
        for row in pq.read_table(path).to_pylist()
    ]
    assert len(out) == len(rows)
    assert told["judge"]["meaningless"] and "MEANINGLESS" in capsys.readouterr().out


def test_a_second_run_asks_nothing_and_decides_the_same(write_job, tmp_path):
    job = write_job(triplets(40))
    assert main(["run", str(job)]) == 0
    first, asked = {r["row_id"]: r["decision"] for r in verdicts(tmp_path)}, len(asks(tmp_path))
    assert asked > 0
    assert main(["run", str(job)]) == 0
    assert len(asks(tmp_path)) == asked
    assert {r["row_id"]: r["decision"] for r in verdicts(tmp_path)} == first
    told = manifest(tmp_path)
    assert told["asks"]["made"] == 0 and told["asks"]["from_store"] == asked


def test_early_exit_decides_as_an_exhaustive_run_does_with_fewer_asks(write_job, tmp_path):
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(tmp_path / "asks.log")}}
    job = write_job(triplets(60), judge=judge)
    assert main(["run", str(job)]) == 0
    early, spared = {r["row_id"]: r["decision"] for r in verdicts(tmp_path)}, len(asks(tmp_path))
    assert main(["run", str(job), "--set", "early_exit=false"]) == 0
    full = {r["row_id"]: r["decision"] for r in verdicts(tmp_path)}
    assert early == full
    assert spared < 180 == len(asks(tmp_path))
    assert len({line.split()[1] for line in asks(tmp_path)}) == 180, "nothing was asked twice"


def test_a_looser_gate_leaves_rows_pending_and_the_next_fill_asks_exactly_those(write_job, tmp_path):
    job = write_job(triplets(60))
    assert main(["run", str(job)]) == 0
    before = len(asks(tmp_path))
    loose = ["--set", "gate.each=6", "--set", "gate.total=40"]
    assert main(["select", str(job), *loose]) == 0
    pending = manifest(tmp_path)["decisions"]["pending"]
    assert pending > 0 and len(asks(tmp_path)) == before
    assert main(["run", str(job), *loose]) == 0
    assert manifest(tmp_path)["decisions"]["pending"] == 0
    lines = asks(tmp_path)
    assert len(lines) == len(set(lines)) > before


def test_then_is_asked_only_of_what_is_kept_or_in_review(write_job, tmp_path):
    job = write_job(
        triplets(40), then=["answer_analysis"], gate={"total": 50, "each": 8, "review": {"total": 2, "each": 1}}
    )
    assert main(["run", str(job)]) == 0
    told = manifest(tmp_path)["decisions"]
    analysed = [row for row in verdicts(tmp_path) if "answer_analysis" in row["asked"]]
    assert len(analysed) == told["kept"] + told["review"] > 0
    assert all(dict(row["notes"]) for row in analysed)


@pytest.mark.parametrize("failure, cause", [("length", "truncated"), ("抱歉，我不能", "refused"), ("{}", "incomplete")])
def test_a_failed_reply_is_unscored_and_never_a_bad_article(write_job, tmp_path, capsys, failure, cause):
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"fail": {"thought": failure}}, "retries": 1}
    job = write_job(triplets(5), judge=judge, early_exit=False, gate={"over": ["thought"], "each": 1})
    assert main(["run", str(job)]) == 1
    assert "max_unscored" in capsys.readouterr().err
    found = verdicts(tmp_path)
    assert {row["decision"] for row in found} == {"unscored"}
    assert all(row["thought.quality"] is None and cause in row["reasons"][-1] for row in found)
    assert manifest(tmp_path)["failures"] == {f"thought.{cause}": 5}


def test_retry_unscored_asks_again_and_only_what_failed(write_job, tmp_path):
    options = {"log": str(tmp_path / "asks.log"), "fail": {"query": "?"}}
    broken = {"engine": "scripted_judge:ScriptedJudge", "model": "m", "revision": "1", "retries": 0, "options": options}
    job = write_job(triplets(6), judge=broken, early_exit=False, max_unscored=1)
    assert main(["run", str(job)]) == 0
    assert len(asks(tmp_path)) == 18
    assert main(["run", str(job)]) == 0
    assert len(asks(tmp_path)) == 18, "a failure satisfies its key"
    assert main(["run", str(job), "--retry-unscored"]) == 0
    again = asks(tmp_path)[18:]
    assert len(again) == 6 and {line.split()[0] for line in again} == {"query"}


def test_no_gate_half_is_lost_in_the_reasons(write_job, tmp_path):
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"low": ["query"]}}
    job = write_job(triplets(4), judge=judge, early_exit=False)
    assert main(["run", str(job)]) == 0
    for row in verdicts(tmp_path):
        assert row["decision"] == "dropped" and row["action"] == "refine"
        assert "query.quality 0 < 8" in row["reasons"]
    assert manifest(tmp_path)["gate_reasons"]["each"] == 4


def test_limit_takes_the_first_rows_in_listing_order(write_job, tmp_path):
    job = write_job(triplets(30))
    assert main(["run", str(job), "--limit", "7"]) == 0
    assert {row["id"] for row in verdicts(tmp_path)} == {f"t{n}" for n in range(7)}


def test_flagged_duplicates_share_one_fact(write_job, tmp_path):
    rows = [{**triplets(1)[0], "id": f"d{n}"} for n in range(5)]
    job = write_job(rows, screen={"duplicate": "flag"})
    assert main(["run", str(job)]) == 0
    keys = [line.split()[1] for line in asks(tmp_path)]
    assert len(keys) == len(set(keys)) <= 3
    found = verdicts(tmp_path)
    assert len({row["decision"] for row in found}) == 1
    assert sum("duplicate" in row["flags"] for row in found) == 4


def test_show_tells_the_text_the_scores_and_the_raw_reply(write_job, tmp_path, capsys):
    job = write_job(triplets(3))
    assert main(["run", str(job)]) == 0
    capsys.readouterr()
    assert main(["show", str(latest(tmp_path)), "t1"]) == 0
    text = capsys.readouterr().out
    assert "第1只表走得慢" in text and "answer.quality" in text and "raw reply: answer" in text
    assert main(["show", str(latest(tmp_path)), "rows.jsonl:0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["id"] == "t0"


def test_plan_counts_what_is_in_the_store(write_job, tmp_path, capsys):
    job = write_job(triplets(12), early_exit=False)
    assert main(["plan", str(job)]) == 0
    before = capsys.readouterr().out
    assert before.count(" 12") >= 3 and not asks(tmp_path)
    assert main(["run", str(job)]) == 0
    capsys.readouterr()
    assert main(["plan", str(job), "--prompts", "1"]) == 0
    after = capsys.readouterr().out
    row = next(line for line in after.splitlines() if line.startswith("thought")).split()
    assert row[1:5] == ["12", "12", "0", "0"]
    assert "request 1: answer" in after and "第0只表走得慢" in after


def test_a_record_that_kills_the_engine_is_unscored_and_its_neighbours_are_judged(write_job, tmp_path):
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"poison": "第3只表"}}
    job = write_job(triplets(12), judge=judge, max_unscored=1)
    assert main(["run", str(job)]) == 0
    by_id = {row["id"]: row for row in verdicts(tmp_path)}
    assert by_id["t3"]["decision"] == "unscored" and "engine_died" in by_id["t3"]["reasons"][-1]
    assert {row["decision"] for name, row in by_id.items() if name != "t3"} <= {"kept", "dropped"}


def test_a_judge_that_dies_on_everything_ends_the_job_with_its_last_words(write_job, tmp_path, capsys):
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"fail": {"answer": "die"}}}
    job = write_job(triplets(200), judge=judge, rubrics=["answer"], gate={"each": 8})
    assert main(["run", str(job)]) == 2
    assert "the scripted judge died" in capsys.readouterr().err


def test_a_long_article_is_shown_by_its_ends_and_flagged_and_only_it_is_asked_again(write_job, tmp_path, capsys):
    judge = {"engine": "scripted_judge:ScriptedJudge", "context": 8000, "options": {"log": str(tmp_path / "asks.log")}}
    long = {**triplets(1)[0], "id": "long", "answer": "巷口的修表匠说，这只表走得慢。" * 3000}
    job = write_job(
        [*triplets(4), long], judge=judge, early_exit=False, long_text="head_tail", screen={"repetition": "off"}
    )
    assert main(["run", str(job), "--set", "long_text=reject"]) == 0
    assert len(asks(tmp_path)) == 15 and not any(row["flags"] for row in verdicts(tmp_path))
    assert main(["plan", str(job)]) == 0
    told = capsys.readouterr().out
    assert "over the context: 1 of 5 sampled records; they would be shown by their beginning" in told
    assert next(line for line in told.splitlines() if line.startswith("thought")).split()[1:5] == ["5", "4", "0", "1"]
    assert main(["run", str(job)]) == 0
    assert len(asks(tmp_path)) == 18, "from reject to head_tail: the long record's requests"
    found = {row["id"]: row for row in verdicts(tmp_path)}
    assert found["long"]["decision"] in ("kept", "dropped") and found["long"]["flags"] == ["head_tail"]
    assert [row["id"] for row in found.values() if row["flags"]] == ["long"]
    cut = [
        fact
        for path in (tmp_path / "facts" / "parts").iterdir()
        for fact in pq.read_table(path).to_pylist()
        if fact["flags"]
    ]
    assert sorted(fact["rubric"] for fact in cut) == ["answer", "query", "thought"]
    (flag,) = {flag for fact in cut for flag in fact["flags"]}
    assert flag.startswith("head_tail:answer ") and 36_000 < int(flag.split()[1]) < 45_000
    assert all(fact["prompt_tokens"] < 8000 for fact in cut), "the scripted judge counts characters"
    assert main(["show", str(latest(tmp_path)), "long"]) == 0
    told = capsys.readouterr().out
    assert "flag: head_tail" in told and f"raw reply: answer (scored, stop, {flag})" in told
    asked = asks(tmp_path)
    assert main(["run", str(job)]) == 0
    assert main(["select", str(job)]) == 0
    assert asks(tmp_path) == asked and manifest(tmp_path)["decisions"]["pending"] == 0
    assert main(["run", str(job), "--set", "judge.context=9000"]) == 0
    again = asks(tmp_path)[len(asked) :]
    assert sorted(line.split()[0] for line in again) == ["answer", "query", "thought"], (
        "only the long record's requests"
    )


def test_plan_says_how_many_would_be_rejected(write_job, capsys):
    judge = {"engine": "scripted_judge:ScriptedJudge", "context": 8000}
    job = write_job([*triplets(4), {"id": "long", "answer": "长" * 9000, "query": "题"}], judge=judge)
    assert main(["plan", str(job)]) == 0
    assert "over the context: 1 of 5 sampled records; they would be unscored (too_long)" in capsys.readouterr().out


def test_a_failure_that_is_asked_again_and_fails_again_is_asked_once(write_job, tmp_path):
    options = {"log": str(tmp_path / "asks.log"), "fail": {"query": "?"}}
    broken = {"engine": "scripted_judge:ScriptedJudge", "model": "m", "revision": "1", "retries": 0, "options": options}
    job = write_job(triplets(6), judge=broken, early_exit=False, max_unscored=1)
    for run in range(3):
        assert main(["run", str(job), *(["--retry-unscored"] if run else [])]) == 0
        assert len(asks(tmp_path)) == 18 + 6 * run
        assert manifest(tmp_path)["decisions"]["unscored"] + manifest(tmp_path)["decisions"]["dropped"] == 6


def test_input_that_is_gone_when_it_is_read_again_is_said(write_job, tmp_path, ray_cluster):
    job = write_job(triplets(6), input={"paths": ["rows.jsonl", "more.jsonl"]}, early_exit=False)
    (tmp_path / "more.jsonl").write_text((tmp_path / "rows.jsonl").read_text().replace("第", "又第"))
    stage = stages.begin(load_job(job), for_fill=True)
    with pytest.raises(FixSource, match=r"more\.jsonl.*the rest was judged"):
        stages.fill(stage, lambda _: (tmp_path / "more.jsonl").unlink(missing_ok=True))
    assert len(asks(tmp_path)) == 18


def test_the_same_text_under_another_genre_is_another_question(write_job, tmp_path, capsys):
    one = triplets(1)[0]
    rows = [{**one, "id": f"d{n}", "genre": ("散文", "诗歌")[n % 2]} for n in range(6)]
    job = write_job(rows, screen={"duplicate": "flag"}, early_exit=False)
    assert main(["run", str(job)]) == 0
    assert "blocks that failed" not in capsys.readouterr().err
    keys = [line.split()[1] for line in asks(tmp_path)]
    assert len(keys) == len(set(keys)) == 6, "three rubrics with guidance, two genres"
