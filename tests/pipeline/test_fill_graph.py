"""What a fill leaves of the machine to its engine: what else runs on a local cluster computes little."""

import resource
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest
import ray

from coigw_judge.pipeline.ray_internals import looking_less_often

pytestmark = pytest.mark.usefixtures("ray_cluster")
_SECONDS = 3.0


def _wakings(dataset: Any) -> float:
    """How often a second this thread woke up while it waited for a dataset's one block."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    assert dataset.take_all() == [{"id": 0}]
    woken = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before
    return woken / (time.monotonic() - begun)


def test_a_driver_that_waits_for_blocks_looks_seldom():
    def slow(row: dict[str, int]) -> dict[str, int]:
        time.sleep(_SECONDS)
        return row

    dataset = ray.data.range(1, override_num_blocks=1).map(slow)
    as_ray_does = _wakings(dataset)
    with looking_less_often():
        assert _wakings(dataset) < as_ray_does / 3
    assert _wakings(dataset) > as_ray_does / 2, "outside a fill Ray Data looks as it did"


def test_no_process_of_a_local_cluster_looks_for_lines_that_nobody_wants():
    session = ray.init(ignore_reinit_error=True).address_info["session_dir"]  # another test's cluster may be about
    running = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile, or is a zombie
            running.append(" ".join(process.cmdline()))
    running = [line for line in running if session in line]
    assert any("raylet" in line for line in running)
    assert not any("log_monitor.py" in line for line in running)
