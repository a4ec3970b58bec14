"""A comparison in turns: where its files lie, whose turn it is, a system in a process of its own, watched from outside.

Not known here: what the systems are, what is made of their figures.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from watch import Watch


@contextmanager
def workplace(keep: str | None) -> Iterator[Path]:
    """The folder `keep`, made where it is missing, or one that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="coigw-bench-") as name:
        folder = Path(keep or name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def turned(systems: Sequence[str], number: int) -> list[str]:
    """The systems in the order of a round: each round begins with another, so that none always has the quietest
    machine."""
    at = number % len(systems)
    return [*systems[at:], *systems[:at]]


def run_system(
    place: Path, system: str, job: Mapping[str, Any], program: Path, beside: psutil.Process | None = None
) -> dict[str, Any]:
    """Run `program SYSTEM JOB.yaml FIGURES.json STARTED` in the new folder `place`.

    Returns the figures it left, the seconds of judging, the peak memory of its process tree, and the cores that it had
    meanwhile, that it had without its busiest process, and that others had; what a server `beside` takes is its own.
    Ends the program with the tail of the system's log where it failed.
    """
    place.mkdir()
    (place / "job.yaml").write_text(yaml.safe_dump(dict(job), allow_unicode=True), encoding="utf-8")
    figures = place / "figures.json"
    print(f"bench: {place.name}", file=sys.stderr, flush=True)
    with (place / "log").open("wb") as log:
        arguments = [system, str(place / "job.yaml"), str(figures), str(time.time())]
        process = psutil.Popen([sys.executable, str(program), *arguments], stdout=log, stderr=log, env=environment())
        watch = Watch()
        watch.until_exit(process, beside)
    if process.returncode or not figures.is_file():
        tail = (place / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
        raise SystemExit(f"{tail}\nbench: {system} failed with status {process.returncode}; its log ends as above")
    found: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    own, beside, others = watch.cores(found["first"], found["last"])
    seconds = found["last"] - found["first"]
    cores = {"cores": own, "beside_cores": beside, "others_cores": others}
    return {**found, "seconds": seconds, "peak_bytes": watch.peak_bytes, **cores}


def environment() -> dict[str, str]:
    """The same for every system: vLLM's CPU settings as judges/vllm/judge.py has them, no network, our package.

    The engine computes on every core, unless VLLM_CPU_OMP_THREADS_BIND names some: on the others then runs what only
    feeds it, as beside a GPU.
    """
    here = Path(__file__).parent
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    ours = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", cores),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(here.parent), str(here)))),
    }
    return {**os.environ, **ours}
