"""Fixtures shared by the tests: one local Ray cluster and one engine for the whole session."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import Act, ChatServer, Got
from hypothesis import settings

settings.register_profile("steady", deadline=None, max_examples=60)
settings.load_profile("steady")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data by others, beside the checkout; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    from coigw_judge.pipeline.cluster import cluster

    with cluster():
        yield


@pytest.fixture
def start() -> Iterator[Callable[..., ChatServer]]:
    """Start servers; they are ended with the test."""
    started: list[ChatServer] = []

    def one(act: Callable[[Got], Act] | None = None, **keys: Act) -> ChatServer:
        started.append(ChatServer(act, **keys))
        return started[-1]

    yield one
    for server in started:
        server.close()


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[..., Path]:
    """Write a job with the scripted judge over given rows; returns its path."""

    def write(rows: list[dict[str, Any]] | None = None, **keys: Any) -> Path:
        if rows is not None:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
        job = {
            "name": "test",
            "input": {"paths": ["rows.jsonl"]},
            "rubrics": ["answer", "query", "thought"],
            "gate": {"total": 50, "each": 8},
            "judge": {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(tmp_path / "asks.log")}},
            "store": "facts",
            "out": "runs",
        }
        job |= keys
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
        return path

    return write
