"""One replica of the judge: the actor that holds an engine, and what it tells the driver while it works.

Not known here: where records come from, how many replicas there are.
"""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import psutil
import pyarrow as pa
import ray

from coigw_judge.errors import FixInput, FixJudge, JudgeUnavailable
from coigw_judge.facts import DECIDING_COLUMNS
from coigw_judge.fill import FLUSH_SECONDS, Filler, Recipe, self_test
from coigw_judge.job import JudgeConfig
from coigw_judge.judges import open_judge
from coigw_judge.known import Known
from coigw_judge.paths import is_uri
from coigw_judge.record import Record, record_digest
from coigw_judge.store import Store
from coigw_judge.writer import Writer, moment

_BLOCK_SECONDS = 3600
"""No block of a few rows is worked on for longer."""

_DEATHS_IN_A_ROW = 4
"""A judge that never answers between so many deaths is not started again."""

Snapshot = dict[str, float]


@ray.remote(num_cpus=0)
class Progress:
    """What the judge actors have done so far, for the bar; and their last words, for the error message."""

    def __init__(self) -> None:
        self._tallies: dict[str, Snapshot] = {}
        self._words: list[str] = []
        self._blamed: Counter[bytes] = Counter()
        self._finished = False

    def report(self, actor: str, tally: Snapshot) -> None:
        if tally.get("asks.made", 0) > self._tallies.get(actor, {}).get("asks.made", 0):
            self._words.clear()
        self._tallies[actor] = tally

    def last_words(self, words: str) -> None:
        self._words.append(words)

    def finish(self) -> None:
        self._finished = True

    def finished(self) -> bool:
        return self._finished

    def blame(self, record: bytes) -> None:
        self._blamed[record] += 1

    def blamed(self, record: bytes) -> int:
        """How often an engine died while it had this record alone."""
        return self._blamed[record]

    def deaths(self) -> list[str]:
        """The last words of the judges that died since one of them last answered."""
        return self._words

    def snapshot(self) -> tuple[Snapshot, list[str]]:
        total: Snapshot = {}
        for tally in self._tallies.values():
            for key, value in tally.items():
                so_far = total.get(key, 0)
                total[key] = max(so_far, value) if key == "startup" else so_far + value
        return total, self._words


class JudgeActor:
    """One replica: an engine, a store writer, and the coroutines of its records. Lives in Ray Data's actor pool."""

    def __init__(
        self,
        recipe: Recipe,
        config: JudgeConfig,
        store: str,
        token: str,
        begun: str,
        known: tuple[str, int],
        progress: Any,
    ) -> None:
        """`token` must be readable in the store; `begun` is the moment (writer.py) at which this fill began.

        `known` is the folder of what half-done records have, and into how many buckets it is dealt (known.py).
        """
        started = time.monotonic()
        self._name = f"{os.getpid()}-{moment()}"
        self._progress = progress
        self._recipe = recipe
        threading.Thread(target=_leave_when_finished, args=(progress,), daemon=True).start()
        self._fatal: str | None = None
        self._ready: asyncio.Task[None] | None = None
        self._store = Store(store)
        self._known = known
        # A restarted actor's block began at most so long ago; older facts are its survey's business.
        self._since = max(begun, moment(_BLOCK_SECONDS))
        if not self._store.sees_token(token):
            self._fatal = (
                f"store {store}: this node does not see the driver's store; use a URI or a path all nodes share"
            )
            return
        deaths: list[str] = ray.get(progress.deaths.remote())
        if len(deaths) >= _DEATHS_IN_A_ROW:
            self._fatal = f"the judge died {len(deaths)} times in a row without an answer; at last: {deaths[-1]}"
            return
        try:
            self._judge = open_judge(config)
        except (FixInput, FixJudge) as error:
            self._fatal = str(error)
        except (RuntimeError, OSError, ValueError, ImportError) as error:
            self._progress.last_words.remote(f"{type(error).__name__}: {error}")
            raise
        self._startup = time.monotonic() - started

    async def __call__(self, block: pa.Table) -> dict[str, list[Any]]:
        """Judge a block (columns answer, query, thought, genre); returns its row count, or a fatal message."""
        if self._fatal is None:
            if self._ready is None:
                self._ready = asyncio.create_task(self._prepare())
            try:
                await asyncio.shield(self._ready)
                await self._judge_block(_records(block))
                await self._report()
            except (FixInput, FixJudge) as error:
                self._fatal = str(error)
            except JudgeUnavailable as error:
                await self._die(str(error), _records(block))
        return {"rows": [block.num_rows], "fatal": [self._fatal or ""]}

    async def _judge_block(self, records: list[Record]) -> None:
        alone = records[0] if len(records) == 1 else None
        if alone and await self._progress.blamed.remote(record_digest(alone.digests())) >= 2:
            await self._filler.give_up(alone, "the engine died twice with this record alone")
        else:
            await self._filler.block(records)

    async def _prepare(self) -> None:
        """Self-test and known facts, once, in the loop in which the engine lives."""
        started = time.monotonic()
        await self_test(self._recipe, self._judge)
        flush = FLUSH_SECONDS * (10 if is_uri(self._store.root) else 1)
        writer = Writer(self._store, self._recipe.run)
        self._filler = Filler(self._recipe, self._judge, writer, self._known_facts(), flush)
        self._startup += time.monotonic() - started
        self._tasks = [asyncio.create_task(self._filler.flush_forever()), asyncio.create_task(self._report_forever())]

    def _known_facts(self) -> Known:
        """Facts of half-done records as surveyed, and what was written since: a restarted actor asks nothing twice."""
        folder, buckets = self._known
        recent = self._store.read(DECIDING_COLUMNS, since=self._since)
        return Known(recent, self._store.filesystem, folder, buckets)

    async def _report(self) -> None:
        self._progress.report.remote(self._name, {**self._filler.tally, "startup": self._startup})

    async def _report_forever(self) -> None:
        while True:
            await self._report()
            await asyncio.sleep(1)

    async def _die(self, words: str, records: list[Record]) -> None:
        """End this process, so that Ray starts another: a dead engine can not be revived in place."""
        self._progress.last_words.remote(words)
        if len(records) == 1:
            self._progress.blame.remote(record_digest(records[0].digests()))
        if hasattr(self, "_filler"):
            await self._filler.flush()
            await self._report()
        _kill_children()
        await asyncio.sleep(0.5)  # the last words are on their way
        os._exit(1)


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGKILL)


def _leave_when_finished(progress: Any) -> None:
    """Free the engine's memory when the fill is over.

    Ray Data leaves that to reference counting, and an actor that was restarting when its pool ended then stays for
    good, with its GPUs.
    """
    finished = False
    while not finished:
        time.sleep(1)
        try:
            finished = ray.get(progress.finished.remote())
        except ray.exceptions.RayError:
            finished = True
    _kill_children()
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def _records(block: pa.Table) -> list[Record]:
    fields = ("answer", "query", "thought")
    return [
        Record({f: row[f] for f in fields if row[f] is not None}, id=None, genre=row["genre"])  # type: ignore[misc]
        for row in block.to_pylist()
    ]
