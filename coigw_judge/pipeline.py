"""Scan, fill and select as Ray Data graphs. The only importer of ray.

Every stage maps small plain dicts or Arrow blocks; what it computes lives in scan.py, fill.py and verdict.py.
The judge sits in an actor pool; how that is set up, and why, stands beside `_judged_blocks`.
Not known here: what a rubric or a gate is, how a judge is prompted.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from coigw_judge import errors, source, verdict
from coigw_judge import scan as scanning
from coigw_judge.errors import CoigwError, FixInput, FixJudge, FixStore, JudgeUnavailable
from coigw_judge.fill import FLUSH_SECONDS, Filler, Recipe, self_test
from coigw_judge.job import JudgeConfig, LoadedJob
from coigw_judge.judges import open_judge, requests_at_once
from coigw_judge.paths import is_uri, list_files
from coigw_judge.record import Record, record_digest
from coigw_judge.scan import Scan
from coigw_judge.source import Split
from coigw_judge.store import OUTCOME_COLUMNS, Known, Store, Writer, moment
from coigw_judge.verdict import View

BLOCK_ROWS = 32
"""Rows per judge task. Small, so that a dying actor re-asks little and nobody waits long for a block's slowest row."""

_CLOCK_SKEW_SECONDS = 600
_DEATHS_IN_A_ROW = 4
"""A judge that never answers between so many deaths is not started again."""

Snapshot = dict[str, float]


@contextmanager
def cluster() -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names (a submitted job's does), or start a local one and end it."""
    # At every start of an actor pool Ray's core prints an internal warning that nobody can act on.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    started = not ray.is_initialized()
    if started:
        # The workers of a local cluster import what the driver can: a judge of the user's own lies on its path.
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with _without_line("Set ray log level"):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints a traceback for every block asked again
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.actor_init_retry_on_errors = True
    context.actor_init_max_retries = 5
    context.max_errored_blocks = -1
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _without_line(words: str) -> Iterator[None]:
    """Hold back what native code writes to standard error, and pass it on without the lines that hold `words`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if words.encode() not in line:
                    os.write(2, line)


def scan(job: LoadedJob, store: Store) -> Scan:
    """Scan the job's input, or load the scan of an unchanged one. Raises FixSource, FixStore."""
    files = source.list_files(job.config.input.paths, job.base)
    digest = scanning.scan_digest(job.config, files)
    found = scanning.load(store, digest)
    if found is not None:
        return found
    check_columns(job, files)
    columns, limit = job.config.input.columns, job.config.limit
    splits = [piece for file in files for piece in source.split(file)]
    counts: list[dict[str, Any]] = []
    for wave in _waves(splits, limit):
        numbered = [{"number": number, **splits[number].as_dict()} for number in wave]
        counts += _map(numbered, lambda item: _scan_one(store.root, digest, item, columns, limit))
        if limit is not None and sum(count["rows"] for count in counts) >= limit:
            break
    if limit is not None:
        splits, counts = _cut(store, digest, splits, counts, columns, limit)
    return scanning.finish(store, digest, splits, counts, job.config.screen.duplicate == "drop")


def _waves(splits: list[Split], limit: int | None) -> Iterator[range]:
    """All splits at once; under a limit growing waves in listing order, so that a small limit reads little."""
    start, size = 0, len(splits) if limit is None else 1
    while start < len(splits):
        yield range(start, min(start + size, len(splits)))
        start, size = start + size, size * 2


def _cut(
    store: Store, digest: str, splits: list[Split], counts: list[dict[str, Any]], columns: dict[str, str], limit: int
) -> tuple[list[Split], list[dict[str, Any]]]:
    """Keep the first `limit` rows in listing order; the split in which they end is scanned again, shorter."""
    kept, left = [], limit
    for count in sorted(counts, key=lambda c: int(c["number"])):
        if left <= 0:
            break
        if count["rows"] > left:
            number = int(count["number"])
            count = scanning.scan_split(store, digest, number, splits[number], columns, left)
        left -= count["rows"]
        kept.append(count)
    return splits[: len(kept)], kept


def _scan_one(
    root: str, digest: str, item: dict[str, Any], columns: dict[str, str], limit: int | None
) -> dict[str, Any]:
    number = int(item.pop("number"))
    return scanning.scan_split(Store(root), digest, number, Split(**item), columns, limit)


def check_columns(job: LoadedJob, files: list[source.File]) -> None:
    """Refuse an input that has no column for what the job names. Looks at the first files only."""
    names: set[str] = set()
    for file in files[:8]:
        names.update(source.column_names(file) or ())
    if not names:
        return
    wanted = {"answer": job.config.input.columns.get("answer", "answer"), **job.config.input.columns}
    for ours, theirs in wanted.items():
        if theirs not in names:
            hint = errors.nearest(theirs, names)
            raise FixInput(
                f"{job.path}: input.columns.{ours}: {files[0].name} has no column {theirs}{hint}; "
                f"it has {', '.join(sorted(names)[:12])}; write `columns: {{{ours}: <theirs>}}`"
            )


def survey(view: View, known_folder: str | None = None) -> tuple[dict[int, np.ndarray[Any, Any]], Counter[str]]:
    """What is still to ask: per split the row numbers, and per rubric the counts of verdict.survey."""
    todo: dict[int, list[np.ndarray[Any, Any]]] = {}
    asks: Counter[str] = Counter()
    for found in _map([{"bucket": b} for b in range(view.buckets)], lambda item: _survey_one(view, item, known_folder)):
        splits, rows = np.array(found["split"], dtype=np.int64), np.array(found["row"], dtype=np.int64)
        asks.update(found["asks"])
        for number in np.unique(splits):
            todo.setdefault(int(number), []).append(rows[splits == number])
    return {number: np.sort(np.concatenate(rows)) for number, rows in todo.items()}, asks


def _survey_one(view: View, item: dict[str, Any], folder: str | None) -> dict[str, Any]:
    bucket = int(item["bucket"])
    path = None if folder is None else f"{folder}/known-{bucket:05d}.parquet"
    return verdict.survey(view, bucket, path)


def select(view: View, folder: str) -> Counter[str]:
    """Decide every row; verdicts go to `folder`. Returns the counts of verdict.decide_bucket, summed."""
    counts: Counter[str] = Counter()
    for found in _map(
        [{"bucket": b} for b in range(view.buckets)], lambda item: verdict.decide_bucket(view, item["bucket"], folder)
    ):
        counts.update(found)
    return counts


def write_decided(tasks: list[dict[str, Any]], write: Callable[[dict[str, Any]], dict[str, Any]]) -> Counter[str]:
    """Write the folders of `write`, group by group of splits; returns rows written per decision."""
    counts: Counter[str] = Counter()
    for found in _map(tasks, write):
        counts.update(found)
    return counts


def _map(items: list[dict[str, Any]], task: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    """Run `task` over items as a Ray Data graph, one task per item. A CoigwError of a task is raised here."""
    if not items:
        return []

    def guarded(row: dict[str, Any]) -> dict[str, str]:
        # An exception would be one errored block among many; as a value it keeps its type and message.
        try:
            return {"done": json.dumps(task(json.loads(row["item"]))), "error": "", "message": ""}
        except CoigwError as error:
            return {"done": "", "error": type(error).__name__, "message": str(error)}

    dataset = ray.data.from_items([{"item": json.dumps(item)} for item in items], override_num_blocks=len(items))
    found = []
    for row in dataset.map(guarded, num_cpus=1).iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        found.append(json.loads(row["done"]))
    if len(found) != len(items):
        raise FixStore(f"{len(items) - len(found)} of {len(items)} tasks failed; Ray's log says why: {_log_folder()}")
    return found


def _log_folder() -> str:
    node: Any = ray._private.worker._global_node
    return str(node.get_logs_dir_path()) if node is not None else "the cluster's session folder"


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
        self, recipe: Recipe, config: JudgeConfig, store: str, token: str, known: str | None, progress: Any
    ) -> None:
        started = time.monotonic()
        self._name = f"{os.getpid()}-{moment()}"
        self._progress = progress
        self._recipe = recipe
        threading.Thread(target=_leave_when_finished, args=(progress,), daemon=True).start()
        self._fatal: str | None = None
        self._ready: asyncio.Task[None] | None = None
        self._store = Store(store)
        self._known = known
        self._since = moment(_CLOCK_SKEW_SECONDS) if known is None else token.partition(".")[0]
        if not self._store.sees_token(token.partition(".")[2]):
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
        tables = [self._store.read(OUTCOME_COLUMNS, since=self._since)]
        if self._known is not None:
            for path in list_files(self._store.filesystem, self._known, ".parquet"):
                tables.append(pq.read_table(path, filesystem=self._store.filesystem, partitioning=None))
        return Known(pa.concat_tables(tables))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOrder:
    """What a fill is told: recipe, judge, where, and which rows (None: all) of which scan."""

    recipe: Recipe
    judge: JudgeConfig
    gpus: float
    store: str
    scan: Scan
    columns: dict[str, str]
    rows: dict[int, np.ndarray[Any, Any]] | None
    known: str | None
    drop_duplicates: bool
    block_rows: int = BLOCK_ROWS


def fill(order: FillOrder, show: Callable[[Snapshot], None]) -> Snapshot:
    """Ask what is open; returns the actors' summed tallies. `show` gets them about once a second.

    Raises FixJudge, FixStore where no actor can work; rows of blocks that failed are left for the next survey.
    """
    store = Store(order.store)
    token = store.place_token()
    progress = Progress.remote()  # type: ignore[attr-defined]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(progress, show, stop), daemon=True)
    watcher.start()
    started = moment(_CLOCK_SKEW_SECONDS)
    try:
        for row in _judged_blocks(order, f"{started}.{token}", progress).iter_rows():
            if row["fatal"]:
                raise FixJudge(row["fatal"])
    except (ray.exceptions.RayError, RuntimeError) as error:
        words = _last_words(progress) or [" ".join(str(error).split())[-400:]]
        raise FixJudge(f"the judge could not be kept running: {words[-1]}") from error
    finally:
        stop.set()
        watcher.join()
        store.drop_token(token)
        tally: Snapshot = ray.get(progress.snapshot.remote())[0]
        progress.finish.remote()
    show(tally)
    return tally


def _last_words(progress: Any) -> list[str]:
    words: list[str] = ray.get(progress.snapshot.remote())[1]
    return words


def _watch(progress: Any, show: Callable[[Snapshot], None], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        with suppress(ray.exceptions.RayError):
            show(ray.get(progress.snapshot.remote())[0])


def _judged_blocks(order: FillOrder, token: str, progress: Any) -> Any:
    """Splits -> records -> blocks of a few rows -> the actor pool.

    - One batch per task (`batch_size=None`): with several, a slow consumer stopped the actor's event loop.
    - As many blocks at once as hold about three times the rows that the engine runs: a block waits for its
      slowest row. A semaphore in Filler admits requests.
    - `max_restarts=-1`, construction retried, errored blocks tolerated: a lost node costs time, never the job.
    - Fixed replicas by default: tasks given to a busy actor stay there when the pool grows.
    """
    numbers = sorted(order.rows) if order.rows is not None else range(len(order.scan.splits))
    items = [{"number": number} for number in numbers]
    least, most = (order.judge.replicas,) * 2 if isinstance(order.judge.replicas, int) else order.judge.replicas
    calls = blocks_at_once(order)
    dataset = ray.data.from_items(items, override_num_blocks=max(1, len(items)))
    dataset = dataset.map_batches(_read_records(order), batch_size=None, batch_format="pyarrow", num_cpus=0.5)
    dataset = dataset.repartition(target_num_rows_per_block=order.block_rows)
    with warnings.catch_warnings():
        # Ray 2.60 takes these two only as extra arguments, and says that 2.64 will have another way.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        return dataset.map_batches(
            JudgeActor,
            fn_constructor_args=(order.recipe, order.judge, order.store, token, order.known, progress),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=order.gpus,
            compute=ActorPoolStrategy(
                min_size=least,
                max_size=most,
                max_concurrent_calls_per_actor=calls,
                max_tasks_in_flight_per_actor=2 * calls,
            ),
            max_restarts=-1,
            max_task_retries=2,
        )


def blocks_at_once(order: FillOrder) -> int:
    """Blocks that one actor works on: rows for about three times the requests that its engine runs."""
    if order.block_rows == 1:
        return 1  # so that an engine's death can be laid to one record
    return max(4, -(-3 * requests_at_once(order.judge) // order.block_rows))


def _read_records(order: FillOrder) -> Callable[[pa.Table], Iterator[pa.Table]]:
    """A task that reads the wanted records of splits, a few at a time, so that no split is ever whole in memory."""
    schema = pa.schema([(name, pa.string()) for name in ("answer", "query", "thought", "genre")])

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        store = Store(order.store)
        for number in batch["number"].to_pylist():
            wanted = None if order.rows is None else set(order.rows[number].tolist())
            skip = scanning.duplicates_of(store, order.scan, number) if order.drop_duplicates else {}
            rows: list[dict[str, Any]] = []
            for row, record in scanning.records(order.scan, number, order.columns, wanted):
                if row not in skip:
                    rows.append({"genre": record.genre, **dict(record.texts.items())})
                if len(rows) == 4 * order.block_rows:
                    yield pa.Table.from_pylist(rows, schema=schema)
                    rows = []
            yield pa.Table.from_pylist(rows, schema=schema)

    return read


def work_folder(store: Store, run: str) -> str:
    """Where a fill keeps what only it needs."""
    return store.path("work", str(PurePosixPath(run).name))
