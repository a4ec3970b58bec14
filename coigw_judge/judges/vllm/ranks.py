"""Which data parallel rank of an engine answers a request: the one that has the record in its cache.

Each rank has a KV cache of its own. Left to choose, vLLM 0.32 sends a request to the least loaded rank, and a record's
requests would be prefilled on several. Here a record stays where its first request went, to the least loaded rank.
Requests that show the same first text are taken for the same record's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_REMEMBERED = 20_000


class Ranks:
    """The ranks of one engine, and how many requests each has."""

    def __init__(self, count: int) -> None:
        self.out = [0] * count
        self._homes: dict[int, int] = {}

    @contextmanager
    def of(self, text: str) -> Iterator[int]:
        """The rank for a request that begins with this text, for as long as it is out."""
        key = hash(text)
        rank = self._homes.pop(key, None)
        if rank is None:
            rank = min(range(len(self.out)), key=self.out.__getitem__)
        self._homes[key] = rank  # again, as the youngest
        if len(self._homes) > _REMEMBERED:
            del self._homes[next(iter(self._homes))]
        self.out[rank] += 1
        try:
            yield rank
        finally:
            self.out[rank] -= 1
