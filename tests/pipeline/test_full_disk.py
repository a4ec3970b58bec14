"""A full disk under the store or the run folder: the job ends plainly, and nothing is lost or half written."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import chaos
import pytest
from chaos import asked, scripted_judge, triplets, write_job
from nodes import wait_for

from coigw_judge.cli.main import main


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
    with suppress(TimeoutError):
        wait_for(lambda: bool(list(disk.glob("facts/parts/*.parquet"))), "facts are on the disk", 120)
    fill_up(disk)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_full_disk_ends_the_job_plainly_and_the_next_run_asks_only_what_was_not_flushed(tmp_path, capsys):
    with small_disk(tmp_path / "disk", "4m") as disk:
        pace = tmp_path / "pace"
        pace.write_text("0.3")  # so that it lasts longer than from one flush to the next
        judge = scripted_judge(tmp_path, pace=str(pace)) | {"concurrency": 16}
        job = write_job(tmp_path, triplets(400), judge, store=str(disk / "facts"))
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
        pace.write_text("0")
        assert main(["run", str(job)]) == 0
        again = {bytes.fromhex(line.split()[1]) for line in asked(tmp_path)[len(before) :]}
        assert not again & flushed
        assert again | flushed == set(chaos.facts(disk / "facts"))
        chaos.verdicts(tmp_path / "runs")


@pytest.mark.usefixtures("ray_cluster")
def test_a_full_disk_under_the_run_folder_ends_the_job_plainly(tmp_path, capsys):
    with small_disk(tmp_path / "disk", "16k") as disk:  # less than the verdicts take
        job = write_job(tmp_path, triplets(400), scripted_judge(tmp_path), out=str(disk / "runs"))
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
        job = write_job(tmp_path, triplets(50), scripted_judge(tmp_path), store=str(disk / "facts"))
        assert main(["run", str(job)]) == 2
        told = capsys.readouterr().err
        assert "No space left on device" in told and "make room" in told and "Traceback" not in told
        assert asked(tmp_path) == []
