"""Cores for engines on processors: several on one machine each take some, and never the same.

Each core has a lock file. Who holds the lock has the core, and loses it when its process ends, however that ends: a
replica that takes a dead one's place finds its cores free, and nobody keeps a list.
"""

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_held: list[int] = []
"""Descriptors of this process's locks, open for as long as it lives."""


def claim(sharers: int, folder: Path | None = None) -> list[int]:
    """Take an equal part of this process's cores that nobody else has, for good, and stay on them.

    Where fewer are free, those; where none is (two Ray nodes may share a machine), all of them.
    """
    cores = sorted(os.sched_getaffinity(0))
    wanted = max(1, len(cores) // max(1, sharers))
    folder = folder or Path(tempfile.gettempdir()) / f"coigw-judge-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine: list[int] = []
    for core in cores:
        if len(mine) < wanted and _lock(folder / str(core)):
            mine.append(core)
    mine = mine or cores
    os.sched_setaffinity(0, mine)
    return mine


def _lock(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held.append(descriptor)
        return True
    os.close(descriptor)
    return False
