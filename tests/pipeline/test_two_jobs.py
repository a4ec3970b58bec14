"""Two jobs fill one store at the same time: both end well, and what they asked twice counts once."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from run_output import asks, triplets

from coigw_judge.store import verify
from coigw_judge.store.parts import Store

ROWS = 120


def test_two_jobs_fill_one_store(write_job, tmp_path):
    log = str(tmp_path / "asks.log")
    judge = {"engine": "scripted_judge:ScriptedJudge", "model": "m", "revision": "1", "options": {"log": log}}
    job = write_job(triplets(ROWS), judge=judge, early_exit=False)
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "RAY_ADDRESS": ""}
    command = [sys.executable, "-m", "coigw_judge.cli", "run", str(job)]
    running = [
        subprocess.Popen([*command, "--out", str(tmp_path / name)], env=environment, stderr=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    decided = []
    for name in ("one", "other"):
        (folder,) = (tmp_path / name).iterdir()
        rows = pq.read_table(folder / "verdicts").to_pylist()
        decided.append({row["row_id"]: (row["decision"], row["total"], row["reasons"]) for row in rows})
    assert decided[0] == decided[1] and len(decided[0]) == ROWS
    store = Store(str(tmp_path / "facts"))
    assert store.read().num_rows == 3 * ROWS
    assert {finding.kind for finding in verify.verify(store).findings} <= {"doubled"}
    assert 3 * ROWS <= len(asks(tmp_path)) <= 6 * ROWS
