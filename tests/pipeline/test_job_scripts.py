"""The scripts of jobs/, and which paths a submitted job may have: what takes no cluster of two nodes to be seen."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos import asked, triplets
from nodes import ROOT
from test_submission import places

from coigw_judge.cli import job_scripts
from coigw_judge.cli.main import main
from coigw_judge.job.job import load_job
from coigw_judge.run import earlier_run


def test_relative_paths_are_remembered_as_they_were_given(write_job: Any, tmp_path: Path) -> None:
    path = write_job(
        [{"answer": "短文"}],
        store="facts",
        out="s3://bucket/runs",
        input={"paths": ["a.jsonl", "/b.jsonl", "~/c.jsonl"]},
    )
    assert load_job(path).relative == ("input.paths a.jsonl", "store facts")
    assert load_job(path, store="mine", input_paths=["/a.jsonl", "b/*.jsonl"]).relative == (
        "--input b/*.jsonl",
        "--store mine",
    )
    assert load_job(path, ["store=../x"], input_paths=["/a"]).relative == ("store ../x",)
    assert load_job(path, store="/f", input_paths=["s3://a/b"]).relative == ()


def package(write_job: Any, tmp_path: Path, **keys: Any) -> Path:
    """A job file where Ray unpacks working directories."""
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    folder.mkdir(parents=True)
    return Path(shutil.move(write_job([{"answer": "短文"}], **keys), folder / "job.yaml"))


@pytest.mark.parametrize(
    "left_out, word", [("--input", "input.paths rows.jsonl"), ("--store", "store facts"), ("--out", "out runs")]
)
def test_a_path_in_a_package_is_refused(write_job: Any, tmp_path: Path, capsys: Any, left_out: str, word: str) -> None:
    job = package(write_job, tmp_path)
    given = dict(zip(places(tmp_path)[::2], places(tmp_path)[1::2], strict=True))
    del given[left_out]
    assert main(["run", str(job), *(part for pair in given.items() for part in pair)]) == 2
    told = capsys.readouterr().err
    assert (
        f"job.yaml: {word}: lies inside" in told and "working-directory package" in told and len(told.splitlines()) == 1
    )


def test_an_absolute_path_into_a_package_is_refused_too(write_job: Any, tmp_path: Path, capsys: Any) -> None:
    job = package(write_job, tmp_path)
    assert main(["run", str(job), *places(tmp_path), "--store", str(job.parent / "facts")]) == 2
    assert f"store {job.parent}/facts: lies inside" in capsys.readouterr().err


def test_no_token_and_an_address_for_submissions_are_told_plainly(tmp_path: Path, write_job: Any) -> None:
    job = str(write_job([{"answer": "短文"}]))
    command = [sys.executable, "-m", "coigw_judge.cli", "run", job]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    nobody = kept | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_ADDRESS": "127.0.0.1:1"}
    for env, words in (
        (nobody, ("RAY_AUTH_MODE is token, and there is no token", "RAY_AUTH_TOKEN_PATH")),
        (kept | {"RAY_ADDRESS": "http://127.0.0.1:8265"}, ("RAY_ADDRESS: http://127.0.0.1:8265", "host:6379")),
    ):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("coigw-judge: ") and len(done.stderr.splitlines()) == 1
        assert all(word in done.stderr for word in words)


# What a rescoring is set against


@pytest.mark.usefixtures("ray_cluster")
class TestRescoring:
    """The script itself, on a local cluster."""

    def rescore(self, job: Path, *more: str) -> int:
        return job_scripts.rescore(str(ROOT / "jobs" / "rescore.py"), ["--job", str(job), *more])

    def test_it_asks_what_changed_and_ends_with_the_diff(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(20), samples={"repeat": 1.0}, early_exit=False)
        assert main(["run", str(job)]) == 0
        (before,) = (tmp_path / "runs").iterdir()
        count = len(asked(tmp_path))
        capsys.readouterr()
        assert self.rescore(job, "--set", "gate.each=6", "--set", "gate.total=36") == 0
        told = capsys.readouterr().out
        assert told.index("run folder: ") < told.index("Decisions of joined rows: A down, B across")
        assert str(before) in told and len(asked(tmp_path)) == count, "another gate asks nothing"

    def test_it_takes_the_newest_run_over_the_same_input(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(8))
        other = tmp_path / "other.jsonl"
        shutil.copy(tmp_path / "rows.jsonl", other)
        for given in ([], [], ["--input", str(other)]):
            assert main(["run", str(job), *given]) == 0
        names = {path.name: json.loads((path / "manifest.json").read_text()) for path in (tmp_path / "runs").iterdir()}
        fitting = [name for name, told in names.items() if told["configuration"]["input"]["paths"] == ["rows.jsonl"]]
        assert len(fitting) == 2
        loaded = load_job(job)
        assert earlier_run.run_over_same_input(loaded) == f"{tmp_path}/runs/{newest(fitting)}"
        absolute = load_job(job, input_paths=[str(tmp_path / "rows.jsonl")])
        assert earlier_run.run_over_same_input(absolute) == earlier_run.run_over_same_input(loaded), "the same file"
        torn = tmp_path / "runs" / "test-29991231-235959-abcd"
        torn.mkdir()
        incomplete = tmp_path / "runs" / "test-29991231-235958-abcd"
        shutil.copytree(tmp_path / "runs" / fitting[0], incomplete)
        (incomplete / "manifest.json").write_text(json.dumps(names[fitting[0]] | {"complete": False}))
        assert earlier_run.run_over_same_input(loaded) == f"{tmp_path}/runs/{newest(fitting)}"

    def test_without_an_earlier_run_nothing_is_asked(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(4))
        assert self.rescore(job) == 2
        told = capsys.readouterr().err
        assert "holds no complete run over" in told and "--against" in told and not asked(tmp_path)
        assert self.rescore(job, "--against", str(tmp_path / "nowhere")) == 2
        assert "nowhere: is no run folder" in capsys.readouterr().err and not asked(tmp_path)


def newest(names: list[str]) -> str:
    """By the second in which they began, as their names say; of one second any that sorts last."""
    return max(names, key=lambda name: name.rsplit("-", 3)[1:])


@pytest.mark.parametrize("name", ["prefilter", "pairs", "triplets", "rescore"])
def test_every_script_has_its_job_and_takes_the_options_of_run(name: str, capsys: Any) -> None:
    assert load_job(ROOT / "jobs" / f"{name}.yaml").config.name == name
    script = str(ROOT / "jobs" / f"{name}.py")
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.defpath},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    of_run = {word for word in capsys.readouterr().out.split() if word.startswith("--")}
    assert of_run and all(option in done.stdout for option in of_run)


def test_an_exit_code_other_than_0_stands_in_the_manifest(write_job: Any, tmp_path: Path, ray_cluster: None) -> None:
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"fail": {"thought": "length"}}, "retries": 0}
    job = write_job(triplets(5), judge=judge, early_exit=False)
    assert main(["run", str(job)]) == 1
    (path,) = (tmp_path / "runs").glob("*/manifest.json")
    assert json.loads(path.read_text())["exit_code"] == 1
