"""What a process tree takes while it runs: peak memory, and processor time beside that of everybody else.

On a shared machine the processor time says how much of the machine a system had, so that a reader can tell a slow
system from a crowded machine.
Not known here: what the processes do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

_SAMPLE_SECONDS = 0.25


@dataclass(slots=True)
class Watch:
    """Samples of one process tree. Seconds are time.time(); resident pages that processes share count for each."""

    peak_bytes: int = 0
    _own: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """By process: moments, and the processor seconds that it had by then."""
    _all: list[tuple[float, float]] = field(default_factory=list)

    def until_exit(self, process: psutil.Popen, beside: psutil.Process | None = None) -> None:
        """Sample until the process ends; `beside` is another that works for it, such as a server."""
        while process.poll() is None:
            trees = [_tree(each) for each in (process, beside) if each is not None]
            self.peak_bytes = max(self.peak_bytes, sum(resident for resident, _ in trees))
            at = time.time()
            for _, processes in trees:
                for pid, seconds in processes.items():
                    self._own.setdefault(pid, []).append((at, seconds))
            self._all.append((at, machine_seconds()))
            time.sleep(_SAMPLE_SECONDS)

    def cores(self, first: float, last: float) -> tuple[float, float, float]:
        """Cores that the tree had between two moments, on average; cores that it had without its busiest process, which
        is the one that computes; and cores that others had, what a host took for another guest among them."""
        each = [_cores(samples, first, last) for samples in self._own.values()]
        own = sum(each)
        return own, own - max(each), max(0.0, _cores(self._all, first, last) - own)


def _cores(samples: Sequence[tuple[float, float]], first: float, last: float) -> float:
    moments, seconds = zip(*samples, strict=True)
    return float(np.interp(last, moments, seconds) - np.interp(first, moments, seconds)) / (last - first)


def _tree(process: psutil.Process) -> tuple[int, dict[int, float]]:
    """Resident bytes of a process and all below it, and processor seconds of each."""
    resident, seconds = 0, {}
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, {}
    for each in tree:
        try:
            with each.oneshot():
                resident += each.memory_info().rss
                times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds[each.pid] = times.user + times.system
    return resident, seconds


def machine_seconds() -> float:
    """Processor seconds that all processes together have had."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def peak_bytes() -> int:
    """The most memory that this process has had. (What getrusage gives begins with that of whoever started it.)
    Linux only."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
