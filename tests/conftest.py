"""Fixtures shared by the tests, and in which order and in which of several processes they run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import Act, ChatServer, Got
from hypothesis import settings

settings.register_profile("steady", deadline=None, max_examples=60)
settings.register_profile("quick", deadline=None, max_examples=15)
settings.load_profile("steady")

LONG = """
    test_ask_order test_before_the_rooms test_bench test_calibration test_capacity test_chaos test_copies test_diff test_embedded
    test_endpoint test_endpoint_servers test_estimate test_estimate_sample test_export test_full_disk test_injection
    test_injection_sieve test_interrupts test_job_scripts test_join test_key_index test_long_text test_metrics
    test_mistakes test_one_reading test_reply_properties test_rubric_page test_s3 test_submission test_tokens
    test_two_jobs test_verify
"""
"""Files that `--quick` leaves out beside what is slow, or needs Ray or vLLM: each takes more than about four seconds."""

ENGINES = ("tests/judges/vllm/", "tests/judges/endpoint/test_endpoint_vllm.py", "tests/pipeline/test_submission.py")
"""Where real vLLM is started. One process runs them all: two engines at a time would share the cores of one."""

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that take next to no time, with fewer examples")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        settings.load_profile("quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs the session's Ray cluster. Where several processes run the tests, also say in which order: first
    the engines, then what is slow and mostly waits, then what computes and fills the gaps."""
    for item in items:
        if "ray_cluster" in item.fixturenames:
            item.add_marker("ray")
    if config.getoption("quick"):
        left_out = [item for item in items if _is_long(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_long(item)]
    if hasattr(config, "workerinput"):
        by_file: dict[str, int] = {}
        for item in items:
            file = item.nodeid.split("::")[0]
            by_file[file] = min(_turn(item), by_file.get(file, _turn(item)))
        items.sort(key=lambda item: by_file[item.nodeid.split("::")[0]])


def _is_long(item: pytest.Item) -> bool:
    """Whether `--quick` leaves a test out."""
    marked = any(item.get_closest_marker(name) is not None for name in ("engine", "slow", "ray"))
    return marked or item.path.stem in LONG.split() or "vllm" in item.name  # importing it takes ten seconds


def _turn(item: pytest.Item) -> int:
    """When a test has its turn."""
    marks = (item.nodeid.startswith(ENGINES), *(item.get_closest_marker(name) is not None for name in ("slow", "ray")))
    return marks.index(True) if True in marks else len(marks)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out files in their order, so that a file's tests share what its fixtures start, and all engines as one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engines" if nodeid.startswith(ENGINES) else nodeid.split("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


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
