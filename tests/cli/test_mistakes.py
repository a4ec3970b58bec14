"""What a user can get wrong: exit 2, one or two lines that name the file, the key and the fix, before a model is loaded."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coigw_judge.cli.main import main

ROOT = Path(__file__).parents[2]
ROWS = [{"id": "a", "answer": "短文一篇"}]
JOB = {"rubrics": ["answer_analysis"], "gate": {}}


def fails(capsys, arguments: list[str], *wanted: str) -> str:
    assert main(arguments) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("coigw-judge: ") and "Traceback" not in told
    message = told.splitlines()[-1]
    assert len(told.splitlines()) <= 3
    for word in wanted:
        assert word in message, message
    return message


def test_a_typo_in_the_job(write_job, capsys):
    job = write_job(ROWS, rubric=["answer"])
    fails(capsys, ["run", str(job)], "job.yaml", "rubric", "did you mean rubrics?")


def test_a_typo_below(write_job, capsys):
    job = write_job(ROWS, gate={"totl": 50})
    fails(capsys, ["run", str(job)], "gate.totl", "did you mean total?")


def test_a_missing_job(tmp_path, capsys):
    fails(capsys, ["run", str(tmp_path / "no.yaml")], "no.yaml", "no such job file")


def test_a_missing_rubric(write_job, capsys):
    job = write_job(ROWS, rubrics=["anser"])
    fails(capsys, ["run", str(job)], "anser", "did you mean answer?")


def test_a_gate_over_what_is_not_asked(write_job, capsys):
    job = write_job(ROWS, rubrics=["answer"], gate={"over": ["answer", "querry"]})
    fails(capsys, ["run", str(job)], "gate.over", "querry")


def test_a_gate_that_nothing_can_pass(write_job, capsys):
    job = write_job(ROWS, rubrics=["answer"], gate={"total": 50})
    fails(capsys, ["run", str(job)], "no record can pass", "total 20 < 50")


@pytest.mark.usefixtures("ray_cluster")
class TestInput:
    def test_a_missing_file(self, write_job, capsys):
        job = write_job(ROWS, input={"paths": ["none-*.jsonl"]}, **JOB)
        fails(capsys, ["run", str(job)], "none-*.jsonl", "no such file")

    def test_a_missing_column(self, write_job, capsys):
        job = write_job(
            [{"id": "a", "contents": "文"}], input={"paths": ["rows.jsonl"], "columns": {"answer": "content"}}, **JOB
        )
        fails(capsys, ["run", str(job)], "input.columns.answer", "rows.jsonl", "did you mean contents?")

    def test_a_file_that_is_no_parquet(self, write_job, tmp_path, capsys):
        (tmp_path / "rows.parquet").write_bytes(b"PAR1 and then nothing")
        job = write_job(None, input={"paths": ["rows.parquet"]}, **JOB)
        fails(capsys, ["run", str(job)], "rows.parquet", "cannot be read as Parquet")

    def test_an_unknown_format(self, write_job, tmp_path, capsys):
        (tmp_path / "rows.xlsx").write_bytes(b"?")
        job = write_job(None, input={"paths": ["rows.xlsx"]}, **JOB)
        fails(capsys, ["run", str(job)], "rows.xlsx", ".parquet")

    def test_a_rubric_that_applies_to_no_record(self, write_job, capsys):
        job = write_job(ROWS, rubrics=["thought"], gate={"each": 8})
        fails(capsys, ["run", str(job)], "rubric thought", "input.columns")

    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_an_empty_input_is_no_error(self, write_job, tmp_path, capsys, content):
        (tmp_path / "rows.jsonl").write_text(content)
        job = write_job(None, **JOB)
        assert main(["run", str(job)]) == 0
        assert "no rows" in capsys.readouterr().err

    def test_an_empty_parquet_is_no_error(self, write_job, tmp_path, capsys):
        pq.write_table(pa.table({"answer": pa.array([], pa.string())}), tmp_path / "rows.parquet")
        job = write_job(None, input={"paths": ["rows.parquet"]}, **JOB)
        assert main(["run", str(job)]) == 0
        assert "no rows" in capsys.readouterr().err

    def test_an_unknown_model(self, write_job, capsys):
        job = write_job(ROWS, judge={"engine": "vllm", "model": "./no-such-model"}, **JOB)
        fails(capsys, ["run", str(job)], "judge.model", "no such folder")

    def test_a_judge_of_ones_own_that_is_none(self, write_job, capsys):
        job = write_job(ROWS, judge={"engine": "scripted_judge:NoSuchJudge"}, **JOB)
        fails(capsys, ["run", str(job)], "judge.engine", "NoSuchJudge")

    def test_a_row_that_is_not_there(self, write_job, tmp_path, capsys):
        job = write_job([{"id": "a", "query": "问", "answer": "答"}], rubrics=["query"], gate={"each": 1})
        assert main(["run", str(job)]) in (0, 1)
        run = next((tmp_path / "runs").iterdir())
        capsys.readouterr()
        fails(capsys, ["show", str(run), "z"], "has no row z")


def test_a_folder_that_is_no_run(tmp_path: Path, capsys):
    fails(capsys, ["show", str(tmp_path), "x"], "no run folder")


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m coigw_judge.cli check | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("ok  rubric answer")
