"""What stands in the logs of a run, and what must never: a record's text, a reply's, another program's error."""

import io
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chaos import triplets, write_job
from nodes import environment
from small import stable

from coigw_judge import logs
from coigw_judge.cli import show
from coigw_judge.cli.main import main
from coigw_judge.errors import FixInput
from coigw_judge.fill.ledger import Case, Ledger, Settled, TokensSpent
from coigw_judge.prompting.request import Need
from coigw_judge.replies.outcome import Scored, Unscored

MARK = "月落乌啼霜满天"
CASE = Case({"answer": stable("文")}, stable("record"), "rows.jsonl:7")
NEED = Need("answer", stable("key"), None)


@pytest.fixture
def lines() -> Iterator[Any]:
    """What is logged, as it is written; a call gives the lines so far."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines({"run": "r"}))
    logger = logging.getLogger(logs.ROOT)
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def settle(ledger: Ledger, times: int = 1) -> None:
    outcome = Unscored(cause="malformed", raw=MARK, detail=f"no object in {MARK}")
    for _ in range(times):
        ledger.settled(CASE, NEED, Settled(outcome=outcome, seconds=1.0))


# A run


@pytest.mark.slow
def test_a_run_logs_its_events_with_ids_and_no_text(tmp_path):
    rows = [{**row, "id": f"{row['id']}{MARK}", "answer": f"{row['answer']}{MARK}"} for row in triplets(40)]
    for row in rows:
        row |= {"query": f"{row['query']}{MARK}", "thought": f"{row['thought']}{MARK}", "genre": MARK}
    options = {"fail": {"query": f"我看{MARK}"}, "reason": MARK, "words": f"bad prompt {MARK}"}
    options |= {"poison": "第7只", "once": str(tmp_path / "died"), "seconds": 0.01}
    job = write_job(tmp_path, rows, {"engine": "scripted_judge:ScriptedJudge", "options": options}, early_exit=False)
    log = tmp_path / "log.jsonl"
    with tempfile.TemporaryDirectory(prefix="logs-", dir="/tmp", ignore_cleanup_errors=True) as short:
        command = [sys.executable, "-m", "coigw_judge.cli", "run", str(job), "--log-json", str(log)]
        done = subprocess.run(
            command, env=environment(RAY_TMPDIR=short), capture_output=True, text=True, timeout=480
        )  # Ray's sockets lie below its folder, and a socket's path has at most 107 characters
        assert done.returncode == 0, done.stderr[-3000:]
        texts = {path.name: path.read_bytes() for path in Path(short).glob("**/logs/**/worker-*") if path.is_file()}
    written = log.read_bytes()
    for name, text in {**texts, "log.jsonl": written, "the terminal": (done.stdout + done.stderr).encode()}.items():
        assert MARK.encode() not in text and json.dumps(MARK)[1:-1].encode() not in text, (
            f"{name} holds a record's text"
        )
    driver = [json.loads(line) for line in written.splitlines()]
    actor = [json.loads(line) for text in texts.values() for line in text.splitlines() if line.startswith(b'{"time"')]

    assert [line["event"] for line in driver if line["event"] != "replicas_died"] == [
        *("run_begun", "scanned", "round_begun", "filled", "run_ended")
    ]
    assert {line["event"] for line in driver} >= {"replicas_died"}
    assert {line["event"] for line in actor} >= {"replica_started", "self_test_passed", "unscored", "replica_died"}
    (run,) = (tmp_path / "runs").iterdir()
    assert {(line["run"], line["job"]) for line in (*driver, *actor)} == {(run.name, "chaos")}
    assert {line["replica"] for line in actor} == {0} and all(line["node"] and line["actor"] for line in actor)
    assert len({line["pid"] for line in actor}) == 2

    verdicts = {row["row_id"]: row for path in run.glob("verdicts/*") for row in pq.read_table(path).to_pylist()}
    unscored = [line for line in actor if line["event"] == "unscored"]
    assert {line["row_id"] for line in unscored} == set(verdicts)
    assert all(line["record"] == verdicts[line["row_id"]]["record"] for line in unscored)
    assert {(line["rubric"], line["cause"], line["level"]) for line in unscored} == {("query", "malformed", "info")}
    assert show.find(str(run), unscored[0]["row_id"])["texts"]["answer"].endswith(MARK), "the id leads to the record"
    (died,) = [line for line in actor if line["event"] == "replica_died"]
    assert died["level"] == "error" and "detail" not in died
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (filled,) = [line for line in driver if line["event"] == "filled"]
    assert filled["asks"] == manifest["asks"]["made"] and filled["causes"]["malformed"] >= len(rows)


@pytest.mark.usefixtures("ray_cluster")
def test_events_go_to_standard_error_on_demand_and_nowhere_else(write_job, capsys):
    job = write_job(triplets(2))
    assert main(["scan", str(job)]) == 0
    assert '"event"' not in capsys.readouterr().err
    assert main(["scan", str(job), "--log-json", "-"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["event"] for line in told] == ["run_begun", "scanned"] and told[1]["rows"] == 2
    assert main(["scan", str(job), "--log-json", "-", "--log-level", "error"]) == 0
    assert '"event"' not in capsys.readouterr().err


def test_an_error_that_ends_a_run_is_logged_by_its_type(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    assert main(["run", str(tmp_path / "none.yaml"), "--log-json", str(log)]) == 2
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["event"], line["level"], line["error"]) == ("ended", "error", "FixJob")
    assert "none.yaml: no such job file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "level", "words"),
    [
        (["--log-json", "none/log.jsonl"], "info", "--log-json none/log.jsonl: cannot be written"),
        ([], "loud", "COIGW_LOG_LEVEL: loud is no level; use one of debug, info, warning, error"),
    ],
)
def test_a_log_that_can_not_be_is_refused(options, level, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(logs.LEVEL_VARIABLE, level)
    assert main(["run", "job.yaml", *options]) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told


def test_the_option_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "WARNING")
    assert (logs.level_name("debug"), logs.level_name(None)) == ("debug", "warning")
    monkeypatch.delenv(logs.LEVEL_VARIABLE)
    assert logs.level_name(None) == "info"
    with pytest.raises(FixInput):
        logs.level_name("all")


# Lines


def test_above_debug_a_line_holds_known_fields_only(lines):
    logger = logging.getLogger(f"{logs.ROOT}.test")
    logging.getLogger(logs.ROOT).setLevel(logging.DEBUG)
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        logs.event(logger, level, "tried", rows=1, detail=MARK, answer=MARK, cause=None)
    try:
        raise ValueError(MARK)
    except ValueError:
        logger.exception("raised")
    at_debug, *above, raised = [line for line in lines() if line["event"] != "tried_detail"]
    assert at_debug["detail"] == MARK
    assert [set(line) - {"time", "level", "logger"} for line in above] == [{"event", "run", "rows"}] * 2
    assert raised["error"] == "ValueError" and MARK not in str(raised)


def test_credentials_in_a_uri_are_not_logged(lines):
    logging.getLogger(logs.ROOT).setLevel(logging.INFO)
    trouble = "s3://key:sec%2Fret@bucket/facts: cannot be written; see https://host/a@b"
    logs.event(
        logging.getLogger(logs.ROOT), logging.INFO, "tried", folder="s3://key:secret@bucket/runs", trouble=trouble
    )
    (line,) = lines()
    assert line["folder"] == "s3://***@bucket/runs"
    assert line["trouble"] == "s3://***@bucket/facts: cannot be written; see https://host/a@b"


def test_failures_are_logged_one_by_one_until_they_are_many(lines):
    logging.getLogger(logs.ROOT).setLevel(logging.INFO)
    ledger = Ledger()
    settle(ledger, 1500)
    assert [line["count"] for line in lines()] == [*range(1, 101), 1000]
    assert ledger.tally.outcomes == {"answer": {"malformed": 1500}} and ledger.tally.unscored == {"malformed": 1500}
    assert MARK not in str(lines())


def test_at_debug_every_request_is_logged_and_why_it_has_no_score(lines):
    logging.getLogger(logs.ROOT).setLevel(logging.DEBUG)
    ledger = Ledger()
    spent = TokensSpent(prompt=9, cached=4, generated=2)
    ledger.settled(CASE, NEED, Settled(outcome=Scored(raw=MARK), spent=spent, attempt=1, seconds=0.25))
    settle(ledger)
    scored, failed, detail = lines()
    assert scored["event"] == "scored" and scored["row_id"] == "rows.jsonl:7" and scored["key"] == NEED.key.hex()
    assert (scored["attempt"], scored["prompt_tokens"], scored["cached_tokens"], scored["seconds"]) == (1, 9, 4, 0.25)
    assert MARK not in str(scored) and MARK not in str(failed)
    assert (detail["event"], detail["level"], detail["detail"]) == ("unscored_detail", "debug", f"no object in {MARK}")
    assert detail["row_id"] == failed["row_id"]


def test_nothing_is_printed_where_nobody_asked_for_logs(capfd):
    Ledger().not_flushed("facts: cannot be written")
    assert capfd.readouterr().err == ""
