"""A store and a run folder written by the commit before the package got its folders, with the texts of that day."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import coigw_judge

TESTS = Path(__file__).parents[1]
THEN = Path(__file__).parent / "before_the_rooms"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The job as it was then, and the package of today with the rubrics and prompts of then."""
    shutil.copytree(THEN, tmp_path, dirs_exist_ok=True)
    package = tmp_path / "coigw_judge"
    shutil.copytree(Path(coigw_judge.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "_data"))
    (tmp_path / "_data").rename(package / "_data")
    return tmp_path


def command(folder: Path, *words: str) -> str:
    """What a command prints, in the folder of the job."""
    paths = [str(folder), str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    line = [sys.executable, "-m", "coigw_judge", *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_store_written_before_is_read_and_nothing_is_asked_again(folder: Path) -> None:
    shown = command(folder, "run", "job.yaml")
    assert "asks: 0 made, 36 from the store" in shown
    (made,) = (folder / "out").iterdir()
    before, now = pq.read_table(folder / "run_folder" / "verdicts"), pq.read_table(made / "verdicts")
    assert now.schema.names == before.schema.names and before.num_rows == 11
    assert now.to_pylist() == before.to_pylist()
    assert "0 of 9 judged in both" in command(folder, "diff", "run_folder", f"out/{made.name}")


def test_a_run_folder_written_before_is_read(folder: Path) -> None:
    assert "因为" in command(folder, "show", "run_folder", "tri-002")
    assert "report.html" in command(folder, "report", "run_folder")
    assert "36" in command(folder, "store", "stats", "store")
