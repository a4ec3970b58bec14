"""The order of asks through the command line: what is suggested after a run, and what adopting it saves."""

import json
from pathlib import Path
from typing import Any

import pytest
from run_output import asks, latest, manifest, triplets, verdicts

from coigw_judge.cli.main import main
from coigw_judge.run import dry_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


def planned(job: Path, capsys: Any, *options: str) -> str:
    capsys.readouterr()
    assert main(["plan", str(job), *options]) == 0
    return str(capsys.readouterr().out)


def scripted(folder: Path, **options: Any) -> dict[str, Any]:
    return {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(folder / "asks.log"), **options}}


def test_the_order_is_suggested_adopted_and_spares_what_was_said(write_job, tmp_path, capsys, monkeypatch):
    """The judge fails every query; the job asks answer before it."""
    judge = scripted(tmp_path, low=["query"])
    job = write_job(triplets(260), judge=judge, samples={"exhaustive": 0.3})
    told = planned(job, capsys)
    assert "order of asks: no rates yet: 0 records" in told and "no first ask with fewer fields takes less" in told
    assert main(["run", str(job)]) == 0
    summary, made, first = capsys.readouterr().out, manifest(tmp_path), {row["id"]: row for row in verdicts(tmp_path)}
    share, order = made["exhaustive"], made["order"]
    assert share["share"] == 0.3 and 50 < share["rows"] < 110 and made["asks"]["exhaustive"] > 0
    assert (
        f"asked in full: {share['rows']:,} rows" in summary
        and f"{made['asks']['exhaustive']:,} asks that early exit" in summary
    )
    assert made["asks"]["made"] == len(asks(tmp_path)) and made["decisions"]["pending"] == 0
    assert (
        order["records"] == share["rows"]
        and order["suggested"][0] == "query"
        and order["listed"] == ["answer", "query", "thought"]
    )
    assert order["low"] > 0 and order["tokens_suggested"] < order["tokens_listed"]
    assert {rate["rubric"]: rate["ends"] for rate in order["rates"]}["query"] == 1
    page = (latest(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "Order of asks" in page and f"rubrics: [{', '.join(order['suggested'])}]" in page
    told = planned(job, capsys)
    assert f"  rubrics: [{', '.join(order['suggested'])}]" in told and "records that were asked in full" in told
    as_json = json.loads(planned(job, capsys, "--json"))["order"]
    assert as_json["suggested"] == order["suggested"] and as_json["records"] == order["records"]

    with monkeypatch.context() as patch:  # an input that was not scanned: from the facts alone
        patch.setattr(dry_run, "SCANNED_AT_ONCE", 0)
        unscanned = json.loads(planned(job, capsys, "--json", "--limit", "250"))
    assert unscanned["counted"] == "sampled" and unscanned["order"]["suggested"] == order["suggested"]
    assert unscanned["order"]["records"] == order["records"]

    asked = len(asks(tmp_path))
    adopted = write_job(judge=judge, samples={"exhaustive": 0.3}, rubrics=order["suggested"])
    assert main(["run", str(adopted)]) == 0
    assert len(asks(tmp_path)) == asked, "facts of the other order decide everything already"
    assert {row["id"]: row["decision"] for row in verdicts(tmp_path)} == {
        name: row["decision"] for name, row in first.items()
    }
    fresh = write_job(judge=judge, samples={"exhaustive": 0}, rubrics=order["suggested"], store="fresh")
    assert main(["run", str(fresh)]) == 0
    assert len(asks(tmp_path)) == asked + 260, "one ask ends every record"
    assert manifest(tmp_path)["exhaustive"] == {"share": 0, "rows": 0} and manifest(tmp_path)["order"]["why"] == "few"
    assert {row["id"]: row["decision"] for row in verdicts(tmp_path)} == {
        name: row["decision"] for name, row in first.items()
    }


def test_a_plan_counts_the_share_that_is_asked_in_full(write_job, tmp_path, capsys):
    job = write_job(triplets(120), judge=scripted(tmp_path, low=["answer"]), samples={"exhaustive": 0.4})
    assert main(["run", str(job), "--limit", "60"]) == 0
    made = json.loads(planned(job, capsys, "--json"))
    before = len(asks(tmp_path))
    assert main(["run", str(job)]) == 0
    asked = len(asks(tmp_path)) - before
    share = manifest(tmp_path)["exhaustive"]["rows"]
    assert share > 20 and asked > 60
    assert made["totals"]["requests"] == asked == manifest(tmp_path)["estimate"]["requests"], (
        "every record ends at its first ask"
    )


def test_a_larger_share_is_not_believed_before_it_was_asked(write_job, tmp_path, capsys):
    job = write_job(triplets(150), judge=scripted(tmp_path, low=["query"]))
    assert main(["run", str(job)]) == 0
    assert manifest(tmp_path)["order"]["why"] == "few"
    told = planned(job, capsys, "--set", "samples.exhaustive=1")
    assert "only a part is known" in told and "  rubrics: [query" not in told
    assert main(["run", str(job), "--set", "samples.exhaustive=1"]) == 0
    assert len(asks(tmp_path)) == 450 and manifest(tmp_path)["order"]["suggested"][0] == "query"


def test_no_order_is_told_where_nothing_is_spared(write_job, tmp_path, capsys):
    job = write_job(triplets(5), judge=scripted(tmp_path), early_exit=False)
    assert "order of asks" not in planned(job, capsys)
    assert main(["run", str(job)]) == 0
    assert manifest(tmp_path)["order"] is None and "Order of asks" not in (latest(tmp_path) / "report.html").read_text()


def test_the_fewest_fields_first_is_a_key_of_the_job(write_job, tmp_path, capsys):
    gate = {"over": ["thought", "usability"], "each": 8}
    rows = [{**row, "thought": f"{row['thought']}，再想它等过谁。" * 120} for row in triplets(30)]
    job = write_job(
        rows,
        judge=scripted(tmp_path, low=["usability"]),
        rubrics=["thought", "usability"],
        gate=gate,
        samples={"exhaustive": 0},
    )
    told = planned(job, capsys)
    assert "with the fewest fields first (order: fewest_fields):\n  rubrics: [usability, thought]" in told
    assert main(["run", str(job), "--set", "order=fewest_fields"]) == 0
    assert {line.split()[0] for line in asks(tmp_path)} == {"usability"} and len(asks(tmp_path)) == 30
    assert list(manifest(tmp_path)["rubrics"]) == ["usability", "thought"]


def test_a_job_of_which_half_ends_at_the_first_ask_decides_as_one_that_asks_everything(write_job, tmp_path, capsys):
    """The job of bench/peers/compare.py early: usability, answer, query, thought (issue 6)."""
    known = {
        "judge": scripted(tmp_path),
        "rubrics": ["usability", "answer", "query", "thought"],
        "samples": {"exhaustive": 0},
    }
    gate = {"each": {"usability.completeness": 9, "answer.quality": 8, "query.quality": 8, "thought.creativity": 8}}
    assert main(["run", str(write_job(triplets(120), **known, gate=gate, early_exit=False, store="whole"))]) == 0
    whole, everything = {row["id"]: row["decision"] for row in verdicts(tmp_path)}, len(asks(tmp_path))
    assert everything == 480 and set(whole.values()) == {"kept", "dropped"}
    assert main(["run", str(write_job(**known, gate=gate, store="early"))]) == 0
    assert {row["id"]: row["decision"] for row in verdicts(tmp_path)} == whole
    asked = [line.split()[0] for line in asks(tmp_path)[everything:]]
    assert asked.count("usability") == 120 and 40 <= asked.count("answer") <= 80, "about half end at the first ask"
    assert manifest(tmp_path)["asks"]["made"] == len(asked) < 0.7 * everything
