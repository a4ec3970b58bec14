"""A disk without room, as the system itself tells of it. Nothing here is a test."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_room(size: int = 2000) -> Iterator[None]:
    """No file of this process may grow beyond a few bytes: what is written breaks off amid it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
