"""What kills, full disks, hangs and Ctrl-C may cost, and what they may not: facts, rows, decisions."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import chaos
import psutil
import pytest
from chaos import Driver, triplets, write_job
from nodes import kill_all, left_of, living, session_of, wait_for
from scripted_judge import ScriptedJudge

from coigw_judge.cli.main import main

LEAST_KILLS = 20


def scripted(folder: Path, **options: Any) -> dict[str, Any]:
    return {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(folder / "asks.log"), **options}}


def asked(folder: Path) -> list[str]:
    log = folder / "asks.log"
    return log.read_text().splitlines() if log.exists() else []


def wait_until_asked(folder: Path, count: int, driver: Driver) -> None:
    until = time.monotonic() + 120
    while len(asked(folder)) < count:
        assert driver.ended() is None and time.monotonic() < until, (folder / "driver.log").read_text()[-3000:]
        time.sleep(0.05)


# Kills


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_and_cost_little(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    figures = chaos.scripted(tmp_path, LEAST_KILLS, seed)
    print(figures.table())
    assert figures.kills.total() >= LEAST_KILLS and set(figures.kills) == set(chaos.KINDS)
    assert 0 < figures.again <= figures.bound


@pytest.mark.slow
@pytest.mark.engine
def test_kills_of_a_real_engine_lose_no_row(tmp_path):
    figures = chaos.real(tmp_path, ("engine", "actor", "driver"))
    print(figures.table())
    assert figures.kills.total() == 3


def test_an_engine_is_found_whatever_it_calls_itself():
    code = "import multiprocessing as m, time; m.get_context('spawn').Process(target=time.sleep, args=(60,)).start()"
    actor = psutil.Popen([sys.executable, "-c", code, "JudgeActor"], start_new_session=True)
    try:
        wait_for(lambda: len(living(actor)) == 3, "it runs, and Python's own resource tracker beside it", 60)
        (engine,) = chaos.engines([actor])
        assert "VLLM" not in " ".join(engine.cmdline())
    finally:
        kill_all(living(actor))


# Ctrl-C


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, group",
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C to the process", "Ctrl-C to its group, as from a terminal", "SIGTERM, as from a batch system"],
)
def test_an_interrupt_flushes_says_how_to_go_on_and_leaves_nothing_behind(tmp_path, number, group):
    concurrency = 8
    judge = scripted(tmp_path, seconds=0.05, child=True) | {"concurrency": concurrency}
    job = write_job(tmp_path, triplets(2000), judge)
    driver = Driver(job, tmp_path / "driver.log", {})
    wait_until_asked(tmp_path, 400, driver)
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


# A full disk


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips the test where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(disk: Path) -> None:
    """Take all room that is left."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))


def fill_up_once_flushed(disk: Path) -> None:
    """The same, as soon as the store has a part."""
    until = time.monotonic() + 120
    while not list(disk.glob("facts/parts/*.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    fill_up(disk)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_full_disk_ends_the_job_plainly_and_the_next_run_asks_only_what_was_not_flushed(tmp_path, capsys):
    with small_disk(tmp_path / "disk", "4m") as disk:
        job = write_job(tmp_path, triplets(1200), scripted(tmp_path, seconds=0.3), store=str(disk / "facts"))
        filling = threading.Thread(target=fill_up_once_flushed, args=(disk,))
        filling.start()
        assert main(["run", str(job)]) == 2
        filling.join()
        told = capsys.readouterr().err
        assert "No space left on device" in told and "make room" in told and "Traceback" not in told
        assert not [path for path in disk.rglob("*") if path.name.endswith(".tmp")]
        chaos.torn_free(disk / "facts")
        flushed, before = set(chaos.facts(disk / "facts")), asked(tmp_path)
        assert 0 < len(flushed) < len(before), "some was flushed before the disk was full, and some was not"
        (disk / "filler").unlink()
        assert main(["run", str(job)]) == 0
        again = {bytes.fromhex(line.split()[1]) for line in asked(tmp_path)[len(before) :]}
        assert not again & flushed
        assert again | flushed == set(chaos.facts(disk / "facts"))
        chaos.verdicts(tmp_path / "runs")


@pytest.mark.usefixtures("ray_cluster")
def test_a_full_disk_under_the_run_folder_ends_the_job_plainly(tmp_path, capsys):
    with small_disk(tmp_path / "disk", "16k") as disk:  # less than the verdicts take
        job = write_job(tmp_path, triplets(400), scripted(tmp_path), out=str(disk / "runs"))
        assert main(["run", str(job)]) == 2
        told = capsys.readouterr().err
        assert "No space left on device" in told and "make room" in told and "Traceback" not in told
        assert not [path for path in disk.rglob("*") if path.name.endswith(".tmp")]
        assert not list(disk.glob("runs/*/manifest.json")), "what is no whole run has no manifest"
        asks = len(asked(tmp_path))
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        assert main(["select", str(job)]) == 0
        chaos.verdicts(disk / "runs")
        assert len(asked(tmp_path)) == asks


@pytest.mark.usefixtures("ray_cluster")
def test_a_disk_that_is_full_from_the_start_is_told_before_anything_is_asked(tmp_path, capsys):
    with small_disk(tmp_path / "disk", "64k") as disk:
        fill_up(disk)
        job = write_job(tmp_path, triplets(50), scripted(tmp_path), store=str(disk / "facts"))
        assert main(["run", str(job)]) == 2
        told = capsys.readouterr().err
        assert "No space left on device" in told and "make room" in told and "Traceback" not in told
        assert asked(tmp_path) == []


# Engines that hang, or die


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_an_engine_that_hangs_is_replaced_and_the_job_goes_on(tmp_path):
    judge = scripted(tmp_path, hang=str(tmp_path / "hung"), hang_after=20, seconds=0.01) | {"timeout": 3}
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
    job = write_job(tmp_path, rows, scripted(tmp_path, poison="毒", seconds=0.02) | {"replicas": 2})
    assert main(["run", str(job)]) == 0
    found = {row["id"]: row for row in chaos.verdicts(tmp_path / "runs").values()}
    assert {name for name, row in found.items() if row["decision"] == "unscored"} == poisoned
    assert all("engine_died" in found[name]["reasons"][-1] for name in poisoned)


@pytest.mark.usefixtures("ray_cluster")
def test_a_judge_whose_constructor_raises_ends_the_job_with_its_words(tmp_path, capsys):
    job = write_job(tmp_path, triplets(40), scripted(tmp_path, broken="no such shard: 7 of 8"))
    assert main(["run", str(job)]) == 2
    told = capsys.readouterr().err
    assert "KeyError" in told and "no such shard: 7 of 8" in told and "Traceback" not in told
    assert asked(tmp_path) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_an_engine_that_dies_at_its_first_request_ends_the_job_with_its_words(tmp_path, capsys):
    job = write_job(tmp_path, triplets(40), scripted(tmp_path, stillborn="out of memory at the first request"))
    assert main(["run", str(job)]) == 2
    told = capsys.readouterr().err
    assert "out of memory at the first request" in told and "Traceback" not in told
    assert asked(tmp_path) == []
