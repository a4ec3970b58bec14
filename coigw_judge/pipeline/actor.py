"""One replica of the judge: the actor that holds an engine.

Its process may die at any moment, and Ray starts another. The new one reads from the store the facts of the blocks
that its predecessor lost. The board (coordinator.py) knows the replica's past, and says when the fill is over.
"""

import asyncio
import logging
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

from coigw_judge import logs
from coigw_judge.errors import CoigwError, FixInput, FixJudge, FixStore, JudgeUnavailable
from coigw_judge.fill.filler import FLUSH_SECONDS, Filler
from coigw_judge.fill.ledger import Held
from coigw_judge.fill.self_test import self_test
from coigw_judge.hashing import digest
from coigw_judge.job.recipe import Recipe
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import open_judge
from coigw_judge.judges.vllm import cpu_cores
from coigw_judge.logs import event
from coigw_judge.pipeline.coordinator import Report
from coigw_judge.records.record import Record, record_digest
from coigw_judge.storage.paths import is_uri
from coigw_judge.store.fact import DECIDING_COLUMNS
from coigw_judge.store.half_done import HalfDoneFacts
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer, moment

_log = logging.getLogger(__name__)

CLOCK_SKEW_SECONDS = 600
"""By how much the clocks of two nodes may differ."""

LAST_FLUSH_SECONDS = 10.0
"""How long an actor tries to write what it has when it is told to leave."""

_BLAMED = 2
"""A record is given up after as many engines died with it alone."""


class JudgeActor:
    """One replica: an engine, a store writer, and the coroutines of its records. Lives in Ray Data's actor pool."""

    def __init__(
        self,
        recipe: Recipe,
        config: JudgeConfig,
        store: str,
        token: str,
        begun: str,
        half_done: tuple[str, int],
        board: Any,
        per_node: int,
    ) -> None:
        """`token` must be readable in the store; `begun` is the moment (store/writer.py) at which this fill began.

        `per_node` replicas share the cores of a node, 0 where the engine binds itself to none.

        `half_done`: the folder of the facts of half-done records, and its number of buckets (store/half_done.py).
        """
        started = time.monotonic()
        self._id = ray.get_runtime_context().get_actor_id()
        self._name = f"{os.getpid()}-{moment()}"
        self._board = board
        self._recipe = recipe
        self._fatal: CoigwError | None = None
        self._ready: asyncio.Task[None] | None = None
        self._dying = False
        self._abandoned = threading.Event()
        threading.Thread(target=self._leave_when_over, daemon=True).start()
        self._store = Store(store)
        self._half_done = half_done
        welcome = ray.get(board.arrive.remote(self._id))
        self._replica = welcome.replica
        self._node = ray.util.get_node_ip_address()
        logs.to_stderr(
            recipe.log_level,
            **{"run": recipe.run, "job": recipe.job, "replica": self._replica, "node": self._node},
            **{"actor": self._id, "pid": os.getpid()},
        )
        self._since = max(begun, welcome.since or moment(CLOCK_SKEW_SECONDS))
        if welcome.hopeless:
            self._fatal = FixJudge(welcome.hopeless)
        elif not self._store.sees_token(token):
            self._fatal = FixStore(
                f"store {store}: this node does not see the driver's store; use a URI or a path all nodes share"
            )
        else:
            if per_node:
                cpu_cores.claim(per_node)
            self._open(config)
        self._startup = time.monotonic() - started
        self._log_fatal()

    def _open(self, config: JudgeConfig) -> None:
        """Start the judge. An unexpected error is reported to the board and raised again: Ray then tries once more."""
        try:
            self._judge = open_judge(config)
        except (FixInput, FixJudge) as error:
            self._fatal = error
        except Exception as error:  # the class may be a user's own, and raise anything
            self._abandoned.set()
            event(_log, logging.ERROR, "replica_died", error=type(error).__name__, detail=str(error))
            ray.get(self._board.last_words.remote(self._id, f"{type(error).__name__}: {error}"))
            _kill_children()
            raise

    async def __call__(self, block: pa.Table) -> dict[str, list[Any]]:
        """Judge a block (columns answer, query, thought, genre, row_id); returns its row count, or why no block can be
        judged: an error's type and text."""
        if self._fatal is None:
            if self._ready is None:
                self._ready = asyncio.create_task(self._prepare())
            try:
                await asyncio.shield(self._ready)
                await self._judge_block(_records(block))
                await self._report()
            except (FixInput, FixJudge) as error:
                self._fatal = error
                self._log_fatal()
            except JudgeUnavailable as error:
                await self._die(error, str(error), _records(block))
        error_type = "" if self._fatal is None else type(self._fatal).__name__
        return {"rows": [block.num_rows], "error": [error_type], "message": [str(self._fatal or "")]}

    async def _judge_block(self, records: list[Record]) -> None:
        name = digest(record_digest(record.digests()) for record in records)
        self._board.begin.remote(name, moment(CLOCK_SKEW_SECONDS))
        alone = records[0] if len(records) == 1 else None
        if alone and await self._board.blamed.remote(record_digest(alone.digests())) >= _BLAMED:
            event(_log, logging.WARNING, "record_given_up", row_id=alone.row_id, record=name.hex(), cause="engine_died")
            await self._filler.give_up(alone, "the engine died twice with this record alone")
        else:
            await self._filler.block(records)
        self._board.end.remote(name)

    async def _prepare(self) -> None:
        """Run the self-test and load the half-done facts, once, in the event loop of the engine."""
        started = time.monotonic()
        await self_test(self._recipe, self._judge)
        event(_log, logging.INFO, "self_test_passed", seconds=round(time.monotonic() - started, 3))
        flush = FLUSH_SECONDS * (10 if is_uri(self._store.root) else 1)
        writer = Writer(self._store, self._recipe.run)
        try:
            half_done = self._half_done_facts()
        except (OSError, pa.ArrowInvalid) as error:
            raise FixStore(f"{self._store.root}: cannot be read ({error}); mend it, and run again") from error
        self._loop = asyncio.get_running_loop()
        self._filler = Filler(self._recipe, self._judge, writer, half_done, flush)
        self._startup += time.monotonic() - started
        event(_log, logging.INFO, "replica_started", seconds=round(self._startup, 3))
        self._tasks = [asyncio.create_task(self._filler.flush_forever()), asyncio.create_task(self._report_forever())]
        self._tasks[0].add_done_callback(self._flushing_ended)

    def _half_done_facts(self) -> HalfDoneFacts:
        """Facts of half-done records, and all that were written since: a restarted actor asks nothing twice."""
        folder, buckets = self._half_done
        retrying = self._recipe.run if self._recipe.retry_unscored else None
        recent = self._store.read(DECIDING_COLUMNS, since=self._since, failures_of=retrying)
        return HalfDoneFacts(recent, self._store.filesystem, folder, buckets)

    async def _report(self) -> None:
        """Report to the board, and wait until it has the report: then the counts hold every block that is done."""
        tally = self._filler.tally.model_copy(update={"server": Counter(getattr(self._judge, "counts", {}))})
        now: dict[Held, int] = {**self._filler.now, "requests_capacity": self._judge.concurrency}
        report = Report(self._replica, self._node, tally, now, self._startup)
        with suppress(ray.exceptions.RayError):  # without a board there is no driver: _leave_when_over sees to that
            await self._board.report.remote(self._name, report)

    def _log_fatal(self) -> None:
        """Log why no block can be judged: by its type, because an error's text may quote a reply."""
        if self._fatal is not None:
            event(_log, logging.ERROR, "judge_unfit", error=type(self._fatal).__name__, detail=str(self._fatal))

    async def _report_forever(self) -> None:
        while True:
            await self._report()
            await asyncio.sleep(1)

    def _flushing_ended(self, task: "asyncio.Task[None]") -> None:
        """Flushing never ends by itself; without it blocks would wait for ever."""
        if not task.cancelled():
            error = task.exception()
            self._tasks.append(asyncio.create_task(self._die(error, f"flushing raised {error!r}", [])))

    async def _die(self, error: BaseException | None, words: str, records: list[Record]) -> None:
        """End this process, so that Ray starts another: a dead engine cannot be revived in place.

        All blocks at work come here; they are one death. None of them returns, because Ray repeats only calls that
        gave no answer.
        """
        if self._dying:
            await asyncio.Event().wait()
        self._dying = True
        at_hand = {"row_id": records[0].row_id} if len(records) == 1 else {"rows": len(records)}
        by = type((error and error.__cause__) or error).__name__
        event(_log, logging.ERROR, "replica_died", error=by, **at_hand, detail=words)
        if hasattr(self, "_filler"):  # else it died of the self-test, not of a record
            if len(records) == 1:
                await self._board.blame.remote(record_digest(records[0].digests()))
            await self._filler.flush()
            await self._report()
        await self._board.last_words.remote(self._id, words)
        _kill_children()
        os._exit(1)

    def _leave_when_over(self) -> None:
        """Flush and free the engine's memory when the fill is over, or the driver gone.

        Ray Data relies on reference counting for this, and an actor that was restarting when its pool ended would stay
        for good, with its GPUs.
        """
        over = False
        while not over:
            time.sleep(1)
            if self._abandoned.is_set():
                return
            try:
                over = ray.get(self._board.over.remote())
            except ray.exceptions.ActorUnavailableError:
                continue  # for the time being
            except ray.exceptions.RayError:
                over = True
        if hasattr(self, "_filler"):
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._filler.finish(), self._loop).result(LAST_FLUSH_SECONDS)
            done = self._filler.tally
            counts = {"rows": done.rows, "asks": done.made, "from_store": done.from_store, "retried": done.retried}
            event(_log, logging.INFO, "replica_left", **counts)
        with suppress(ray.exceptions.RayError):
            ray.get(self._board.left.remote(self._id))
        _kill_children()
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGKILL)


def _records(block: pa.Table) -> list[Record]:
    fields = ("answer", "query", "thought")
    return [
        Record({f: row[f] for f in fields if row[f] is not None}, id=None, genre=row["genre"], row_id=row["row_id"])  # type: ignore[misc]
        for row in block.to_pylist()
    ]
