"""Raw vLLM with our prompts, while a Ray Data run that does nothing waits beside it on a cluster like a job's.

It says what Ray itself takes where cores are few, whatever a job does. Run as a program, this is that waiting run.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from systems import RAW, Ran, raw

from coigw_judge.job import LoadedJob

_START_S = 120


def judge(job: LoadedJob) -> Ran:
    """As `raw-same-prompts`, once the run beside it waits."""
    with tempfile.TemporaryDirectory() as folder:
        waits = Path(folder, "waits")
        beside = subprocess.Popen([sys.executable, __file__, str(waits)])
        try:
            until = time.monotonic() + _START_S
            while not waits.exists():
                if beside.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the Ray Data run did not begin")
                time.sleep(0.2)
            return raw(job, RAW["raw-same-prompts"])
        finally:
            beside.terminate()
            beside.wait(60)


class _Wait:
    def __init__(self, waits: str) -> None:
        self._waits = Path(waits)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._waits.touch()
        while True:
            time.sleep(60)


def _wait(waits: str) -> None:
    import ray

    from coigw_judge.pipeline.cluster import cluster

    with cluster():
        rows = ray.data.range(1)
        rows.map_batches(_Wait, fn_constructor_args=(waits,), concurrency=1, num_cpus=1).take_all()


if __name__ == "__main__":
    _wait(*sys.argv[1:])
