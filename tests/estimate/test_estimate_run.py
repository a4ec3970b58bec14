"""`plan` before and after runs, through the command line, with a scripted judge."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from estimated_rows import triplets
from run_output import asks, manifest

from coigw_judge.cli.main import main
from coigw_judge.run import dry_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


def plan(job: Path, capsys: Any, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["plan", str(job), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_early_exit_the_plan_is_what_happens(write_job, tmp_path, capsys):
    job = write_job(triplets(20), early_exit=False)
    made = plan(job, capsys)
    assert made["counted"] == "exact" and made["totals"]["requests"] == 60 and not asks(tmp_path)
    assert made["totals"]["prompt"] is None and made["seconds"] is None, (
        "no tokenizer, no facts: not known, not guessed"
    )
    assert main(["run", str(job)]) == 0
    told = capsys.readouterr().out
    assert "planned → made: requests 60 → 60 (+0.0%)" in told
    assert manifest(tmp_path)["estimate"]["requests"] == 60
    assert manifest(tmp_path)["estimate_error"] == {"requests": 0}
    after = plan(job, capsys)
    assert after["totals"]["requests"] == 0 and [each["known"] for each in after["rubrics"]] == [20, 20, 20]
    assert main(["run", str(job)]) == 0
    assert manifest(tmp_path)["estimate"] is None, "nothing was to be asked"


def test_after_some_records_early_exit_time_and_lengths_are_foreseen(write_job, tmp_path, capsys):
    """The first 60 of 240 are judged; what they say of the others is close to what then happens."""
    job = write_job(
        triplets(240),
        judge={
            "engine": "scripted_judge:ScriptedJudge",
            "options": {"log": str(tmp_path / "asks.log"), "seconds": 0.02},
        },
    )
    assert plan(job, capsys)["totals"]["requests"] == 720, "no facts: nothing is assumed to be saved"
    assert main(["run", str(job), "--limit", "60"]) == 0
    before = plan(job, capsys)
    ends = {each["name"]: (each["ends"], each["reached"]) for each in before["rubrics"]}
    assert ends["answer"][1] == 60 and 0 < ends["answer"][0] < 1 and ends["thought"][1] < ends["query"][1] < 60
    assert before["totals"]["requests"] < 0.9 * before["totals"]["requests_at_most"]
    assert [each["replies_from"] for each in before["rubrics"]] == ["facts"] * 3
    assert before["rate_from"] == "measured" and before["seconds"][0] > 0 and "processors" in before["rate"]["device"]
    assert main(["plan", str(job)]) == 0
    told = capsys.readouterr().out
    assert "each rubric ends: answer" in told and "of the records that reached it" in told
    assert "rate: measured by test-" in told and "a run that short says little" in told
    assert main(["run", str(job)]) == 0
    error = manifest(tmp_path)["estimate_error"]
    assert set(error) == {"requests", "prompt_tokens", "cached_tokens", "generated_tokens", "seconds"}
    assert abs(error["requests"]) < 0.2 and abs(error["generated_tokens"]) < 0.25 and abs(error["prompt_tokens"]) < 0.25
    told = capsys.readouterr().out
    assert "planned → made: requests" in told and "time 0:00:" in told


@pytest.mark.parametrize("half", [False, True])
def test_a_large_input_is_sampled_and_its_records_are_looked_up(write_job, tmp_path, capsys, monkeypatch, half):
    job = write_job(triplets(1200), early_exit=False, rubrics=["query"], gate={"each": 1})
    if half:
        assert main(["run", str(job), "--limit", "600"]) == 0
    monkeypatch.setattr(dry_run, "SCANNED_AT_ONCE", 0)
    made = plan(job, capsys, "--sample", "320")
    assert made["counted"] == "sampled" and not made["whole"] and 250 <= made["sampled"] <= 400
    assert made["rows"] == pytest.approx(1200, rel=0.1)
    assert made["totals"]["requests"] == pytest.approx(600 if half else 1200, rel=0.15)
    assert not list((tmp_path / "facts" / "scans").glob("*")) or half
    assert main(["plan", str(job), "--sample", "320"]) == 0
    told = capsys.readouterr().out
    assert "the input, which was not scanned;" in told and "not known before `coigw-judge scan`" in told
    assert main(["scan", str(job)]) == 0
    assert plan(job, capsys)["counted"] == "exact", "a scan that is there is used"


def test_sampled_tokens_have_an_interval_that_holds_the_truth(write_job, capsys, monkeypatch):
    draw = random.Random(5)
    rows = [
        {"id": f"r{n}", "query": "写桥头", "answer": f"第{n}只。" + "修表匠说，这只表走得慢。" * draw.randint(1, 60)}
        for n in range(600)
    ]
    job = write_job(rows, judge={"engine": "vllm", "model": "embedded"}, rubrics=["query"], gate={"each": 1})
    truth = plan(job, capsys)["totals"]["prompt"]
    some = plan(job, capsys, "--sample", "256")
    assert some["prompt_low"] < truth < some["prompt_high"] and some["totals"]["prompt"] == pytest.approx(
        truth, rel=0.1
    )
    monkeypatch.setattr(dry_run, "SCANNED_AT_ONCE", 0)
    unscanned = plan(job, capsys, "--sample", "256", "--input", str(job.parent / "rows.jsonl"), "--limit", "500")
    assert unscanned["counted"] == "sampled" and unscanned["rows"] == 500
    assert unscanned["totals"]["prompt"] == pytest.approx(truth * 500 / 600, rel=0.15)


def test_rates_and_prices_on_the_command_line(write_job, capsys):
    job = write_job(triplets(3), judge={"engine": "vllm", "model": "embedded", "gpus_per_replica": 8})
    assert main(["plan", str(job), "--rate", "prefill=100,decode=10", "--price-per-gpu-hour", "2"]) == 0
    told = capsys.readouterr().out
    assert "GPU hours:" in told and "at 2 per GPU hour, as given" in told
    assert main(["plan", str(job)]) == 0
    assert "not known; no rate is. Measure one with" in capsys.readouterr().out
    assert main(["plan", str(job), "--rate", "fast"]) == 2
    told = capsys.readouterr().err
    assert "--rate fast: write prefill=TOKENS,decode=TOKENS" in told and "Traceback" not in told


def test_a_second_sample_is_planned_for(write_job, tmp_path, capsys):
    job = write_job(triplets(40), early_exit=False, samples={"repeat": 0.5})
    made = plan(job, capsys)
    again = sum(each["again"] for each in made["rubrics"])
    assert 0 < again < 120 and made["totals"]["requests"] == 120 + again
    assert main(["run", str(job)]) == 0
    assert manifest(tmp_path)["asks"]["made"] == 120 + again
    assert manifest(tmp_path)["estimate_error"]["requests"] == 0


def test_an_empty_input_plans_nothing(write_job, capsys):
    job = write_job([])
    assert main(["plan", str(job)]) == 0
    assert "there is nothing to judge" in capsys.readouterr().out
    assert plan(job, capsys)["rows"] == 0
