"""Ctrl-C and SIGTERM: what was answered is in the store, nothing stays behind, and the way on is said."""

import signal
import subprocess
import sys
from pathlib import Path

import chaos
import pytest
from chaos import Driver, asked, scripted_judge, triplets, write_job
from nodes import left_of, session_of, wait_for


def wait_until_asked(folder: Path, count: int, driver: Driver) -> None:
    """Raises where the job ends before."""
    wait_for(lambda: len(asked(folder)) >= count or driver.ended() is not None, f"{count} requests are made")
    assert driver.ended() is None, (folder / "driver.log").read_text()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, group",
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C to the process", "Ctrl-C to its group, as from a terminal", "SIGTERM, as from a batch system"],
)
def test_an_interrupt_flushes_says_how_to_go_on_and_leaves_nothing_behind(tmp_path, number, group):
    concurrency = 8
    judge = scripted_judge(tmp_path, seconds=0.05, child=True) | {"concurrency": concurrency}
    job = write_job(tmp_path, triplets(600), judge)
    driver = Driver(job, tmp_path / "driver.log", {})
    wait_until_asked(tmp_path, 100, driver)
    driver.interrupt(number, group=group)
    assert driver.wait(60) == 130
    told = (tmp_path / "driver.log").read_text()
    assert f"To go on: coigw-judge run {job}" in told and "Traceback" not in told
    assert left_of(session_of(driver.process.pid)) == []
    assert len(chaos.facts(tmp_path / "facts")) >= len(asked(tmp_path)) - concurrency, (
        "what was answered is in the store"
    )
    assert list((tmp_path / "facts" / "tokens").iterdir()) == []
    assert list((tmp_path / "facts" / "work").iterdir()) == []


def test_a_thread_that_ray_left_behind_prints_no_traceback_when_it_finds_ray_gone():
    code = (
        "import threading, ray\n"
        "from coigw_judge.pipeline.cluster import cluster\n"
        "gone = threading.Event()\n"
        "with cluster():\n"
        "    thing = ray.put(1)\n"
        "    thread = threading.Thread(target=lambda: gone.wait() and ray.wait([thing], timeout=1))\n"
        "    thread.start()\n"
        "gone.set()\n"
        "thread.join(30)\n"
        "print('ended', not thread.is_alive())\n"
        "threading.Thread(target=lambda: 1 / 0).start()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "ended True" in ended.stdout
    assert "RaySystemError" not in ended.stderr and "ZeroDivisionError" in ended.stderr
