"""Engines that hang, or die: of a record, at the start, at the first request."""

import chaos
import pytest
from chaos import asked, scripted_judge, triplets, write_job
from scripted_judge import ScriptedJudge

from coigw_judge.cli.main import main


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_an_engine_that_hangs_is_replaced_and_the_job_goes_on(tmp_path):
    judge = scripted_judge(tmp_path, hang=str(tmp_path / "hung"), hang_after=20, seconds=0.01) | {"timeout": 3}
    job = write_job(tmp_path, triplets(300), judge)
    assert main(["run", str(job)]) == 0
    assert (tmp_path / "hung").exists()
    assert {row["decision"] for row in chaos.verdicts(tmp_path / "runs").values()} == {"kept", "dropped"}
    lines = asked(tmp_path)
    assert 0 < len(lines) - len(set(lines)) <= ScriptedJudge.concurrency, "only what was out is asked again"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_records_that_kill_the_engine_among_big_blocks_and_replicas(tmp_path):
    """One in the middle of a block of each replica; everything that is out dies with them, as it does with an engine."""
    poisoned = {"t40", "t170"}
    rows = triplets(256)
    for row in rows:
        row["answer"] += "毒" * (row["id"] in poisoned)
    job = write_job(tmp_path, rows, scripted_judge(tmp_path, poison="毒", seconds=0.02) | {"replicas": 2})
    assert main(["run", str(job)]) == 0
    found = {row["id"]: row for row in chaos.verdicts(tmp_path / "runs").values()}
    assert {name for name, row in found.items() if row["decision"] == "unscored"} == poisoned
    assert all("engine_died" in found[name]["reasons"][-1] for name in poisoned)


@pytest.mark.usefixtures("ray_cluster")
def test_a_judge_whose_constructor_raises_ends_the_job_with_its_words(tmp_path, capsys):
    job = write_job(tmp_path, triplets(40), scripted_judge(tmp_path, broken="no such shard: 7 of 8"))
    assert main(["run", str(job)]) == 2
    told = capsys.readouterr().err
    assert "KeyError" in told and "no such shard: 7 of 8" in told and "Traceback" not in told
    assert asked(tmp_path) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_an_engine_that_dies_at_its_first_request_ends_the_job_with_its_words(tmp_path, capsys):
    job = write_job(tmp_path, triplets(40), scripted_judge(tmp_path, stillborn="out of memory at the first request"))
    assert main(["run", str(job)]) == 2
    told = capsys.readouterr().err
    assert "out of memory at the first request" in told and "Traceback" not in told
    assert asked(tmp_path) == []
