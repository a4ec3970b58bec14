"""Appending facts: what one process writes into a store, and how it keeps the number of its files small.

A part's name is `<milliseconds>-<writer>-<number>.parquet`: unique, and in order of time. After every
ROLL_UP flushes a writer copies its small parts into one, `<milliseconds>-<writer>-<first>..<last>.parquet`; the
name says what it replaces, so readers open nothing to find out. What was replaced is deleted a day later: a reader
that listed it before may still be reading it.
"""

import secrets
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.storage.paths import open_atomic
from coigw_judge.store.fact import SCHEMA, Fact
from coigw_judge.store.parts import Store

ROLL_UP = 64
_ROLLED_ROWS = 100_000
"""Rolled-up parts of at least so many facts are not rolled up again; compaction merges them."""

KEPT_SECONDS = 24 * 3600
"""How long a part that another one replaces is kept."""


class Writer:
    """Appends facts for one process. Nothing is durable before `flush`; the caller flushes every few seconds."""

    def __init__(self, store: Store, run: str, roll_up: int = ROLL_UP) -> None:
        self._store = store
        self._roll_up_after = roll_up
        self._run = run
        self._name = secrets.token_hex(4)
        self._number = 0
        self._rows: list[dict[str, Any]] = []
        self._mine: list[tuple[int, str, int]] = []  # first number, path, facts of the parts not rolled up yet
        self._replaced: deque[tuple[float, str]] = deque()

    def append(self, fact: Fact) -> None:
        """Take a fact; it is on disk after the next flush."""
        self._rows.append(fact.row(self._run, datetime.now(UTC)))

    def flush(self) -> int:
        """Write the facts taken since the last flush as one part; returns how many. They stay if writing fails."""
        rows = list(self._rows)
        if not rows:
            return 0
        number = self._number
        path = self._path(f"{number:06d}")
        with open_atomic(self._store.filesystem, path) as file:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file, compression="zstd")
        self._number += 1
        del self._rows[: len(rows)]
        self._mine.append((number, path, len(rows)))
        if len(self._mine) >= self._roll_up_after:
            self._roll_up()
        return len(rows)

    def _path(self, number: str) -> str:
        return self._store.path("parts", f"{moment()}-{self._name}-{number}.parquet")

    def _roll_up(self) -> None:
        """Copy the small parts into one, a part at a time in memory. After a crash the small parts are all there."""
        first, last = self._mine[0][0], self._number - 1
        path = self._path(f"{first:06d}..{last:06d}")
        filesystem = self._store.filesystem
        with open_atomic(filesystem, path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as copy:
            for _, small, _ in self._mine:
                with pq.ParquetFile(filesystem.open_input_file(small)) as part:
                    copy.write_table(part.read())
        now = time.monotonic()
        self._replaced.extend((now, small) for _, small, _ in self._mine)
        facts = sum(count for _, _, count in self._mine)
        self._mine = [] if facts >= _ROLLED_ROWS else [(first, path, facts)]
        while self._replaced and now - self._replaced[0][0] > KEPT_SECONDS:
            with suppress(FileNotFoundError):
                filesystem.delete_file(self._replaced.popleft()[1])


def moment(seconds_ago: float = 0) -> str:
    """The beginning of the names of parts written from now on, or from some seconds ago (clocks of nodes differ)."""
    return f"{time.time_ns() // 1_000_000 - int(seconds_ago * 1000):015d}"
