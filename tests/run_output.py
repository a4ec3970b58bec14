"""What runs with the scripted judge leave behind: rows in, requests made, manifest and verdicts."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chaos import triplets as triplets

from coigw_judge.cli.main import main


def asks(folder: Path) -> list[str]:
    log = folder / "asks.log"
    return log.read_text().splitlines() if log.exists() else []


def latest(folder: Path) -> Path:
    return max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((latest(folder) / "manifest.json").read_text())


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(latest(folder) / "verdicts").to_pylist()


def planned(job: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, int]:
    """What `plan` says is to be asked, by rubric."""
    capsys.readouterr()
    assert main(["plan", str(job), "--json", *options]) == 0
    rubrics = json.loads(capsys.readouterr().out)["rubrics"]
    return {each["name"]: each["requests"] for each in rubrics}


def made(job: Path, folder: Path, *options: str) -> Counter[str]:
    """What a run asks, by rubric."""
    before = len(asks(folder))
    assert main(["run", str(job), *options]) == 0
    return Counter(line.split()[0] for line in asks(folder)[before:])


def cut_up(run: str | Path, copy: Path, rows: int) -> Path:
    """A copy of a run folder, its verdicts in row groups of so many rows: they are read group by group."""
    shutil.copytree(run, copy)
    for path in (copy / "verdicts").glob("*.parquet"):
        pq.write_table(pq.read_table(path), path, row_group_size=rows)
    return copy
