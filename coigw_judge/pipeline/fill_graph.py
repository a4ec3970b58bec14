"""The graph of a fill: splits, records, small blocks, the pool of judge actors; and the watch over it."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data import ActorPoolStrategy

from coigw_judge import errors
from coigw_judge.errors import FixInput, FixJudge, FixSource
from coigw_judge.input.splits import group_for_tasks
from coigw_judge.job.recipe import Recipe
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.pipeline.actor import CLOCK_SKEW_SECONDS, LAST_FLUSH_SECONDS, JudgeActor
from coigw_judge.pipeline.capacity import Share
from coigw_judge.pipeline.coordinator import TRIES, Look, open_board
from coigw_judge.pipeline.ray_internals import looking_less_often
from coigw_judge.scan import rows as scanning
from coigw_judge.scan.rows import Scan
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import moment

BLOCK_ROWS = 32
"""The most rows of a judge task. It is small, so that little is asked again when an actor dies, and a block does not
wait long for its slowest row. It is smaller where an engine runs few requests at once, or replicas have few rows."""

_LEAST_BLOCK = 4
_BLOCKS_EACH = 16
"""A replica's part of the rows is at least so many blocks: those not given out yet even out the replicas' pace."""

CARES = ("many", "block", "row")
"""What an engine works on at once, and so what is lost when a record kills it: many blocks, one block, or one row."""

_GRACE_SECONDS = LAST_FLUSH_SECONDS + 2
"""How long an interrupted driver waits for its actors to flush."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOrder:
    """What to fill: which rows of a scan, with which judge, into which store."""

    recipe: Recipe
    judge: JudgeConfig
    share: Share
    """What Ray sets aside for one replica."""
    store: str
    """The store's path or URI."""
    scan: Scan
    columns: dict[str, str]
    """The job's `input.columns`."""
    splits: tuple[int, ...]
    """The numbers of the splits that have open rows."""
    open_rows: str
    """A file with the numbers of the open rows (standing/survey.OPEN)."""
    rows: int
    """How many open rows there are."""
    half_done: tuple[str, int]
    """The folder of the facts that these rows have already, and its number of buckets (store/half_done.py)."""
    care: str = CARES[0]
    """One of CARES."""
    answered: bool = False
    """Whether the job's judge has answered before, in an earlier round."""

    @property
    def block_rows(self) -> int:
        """Rows per judge task."""
        if self.care == "row":
            return 1
        return rows_per_block(engine_of(self.judge).requests_at_once(), self.rows / self.judge.replica_range[1])


def fill(order: FillOrder, show: Callable[[Look], None]) -> Look:
    """Ask what is open; returns the last look at the board. `show` is given a look about once a second.

    Raises FixJudge, FixStore where no actor can work; rows of blocks that failed are left for the next survey.
    Interrupted, it has the actors flush before it goes.
    """
    store = Store(order.store)
    token = store.place_token()
    board = open_board(order.judge.replica_range[1], order.answered)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(board, show, stop), daemon=True)
    watcher.start()
    begun = moment(CLOCK_SKEW_SECONDS)
    try:
        _beside(_judged_blocks(order, token, begun, board)).result()
        _check_all_read(board)
    except (ray.exceptions.RayError, RuntimeError) as error:
        words = ray.get(board.words.remote()) or [" ".join(str(error).split())[-400:]]
        raise FixJudge(f"the judge could not be kept running: {words[-1]}") from error
    except KeyboardInterrupt:
        _let_flush(board)
        raise
    finally:
        stop.set()
        watcher.join()
        store.drop_token(token)
        look: Look = ray.get(board.look.remote())
        board.finish.remote()
    show(look)
    return look


def _check_all_read(board: Any) -> None:
    """Raise FixSource where input that was scanned can no longer be read; everything else was judged."""
    unread: dict[str, int] = ray.get(board.all_unread.remote())
    if unread:
        why = next(iter(unread))
        raise FixSource(f"{why}; the rest was judged and is in the store ({sum(unread.values())} splits are not)")


def _beside(blocks: Any) -> "Future[None]":
    """Run the graph in a thread of its own.

    An interrupt must not reach Ray Data: it would drop its actors, and all that they have not flushed.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            with looking_less_often():
                for row in blocks.iter_rows():
                    if row["error"]:
                        raise getattr(errors, row["error"])(row["message"])
        except BaseException as error:  # whatever it is, it is raised where the result is asked for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return done


def _let_flush(board: Any) -> None:
    """Tell the actors to flush and leave, and wait until they have."""
    until = time.monotonic() + _GRACE_SECONDS
    with suppress(ray.exceptions.RayError):
        ray.get(board.finish.remote(), timeout=_GRACE_SECONDS)
        while time.monotonic() < until and ray.get(board.present.remote(), timeout=_GRACE_SECONDS):
            time.sleep(0.1)


def _watch(board: Any, show: Callable[[Look], None], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        with suppress(ray.exceptions.RayError):
            show(ray.get(board.look.remote()))


def _judged_blocks(order: FillOrder, token: str, begun: str, board: Any) -> Any:
    """Splits -> records -> blocks of a few rows -> the actor pool.

    - One batch per task, a whole block: with several, a slow consumer stopped the actor's event loop. Its size is
      stated, for Ray Data takes no actors with GPUs otherwise; so the few rows that end a split are put to the next
      split's, and thousands of small files do not become thousands of small blocks.
    - As many blocks at once as hold about three times the rows that the engine runs: a block waits for its
      slowest row. A semaphore in Filler admits requests.
    - `max_restarts=-1`, construction retried, errored blocks tolerated: a lost node costs time, never the job.
    - As many blocks again wait at an actor, to hide the way through the driver, but no more than a quarter of its part
      of the rows: what waits at one stays there while others idle, or when the pool grows. A full pool is a reason to
      grow (Ray's own threshold, 1.75 times full, may be out of reach).
    - Where care is asked for no task waits at an actor: it would use up its tries as the task before it dies.
    - Niceness 0 for the actors, where Ray starts workers at 15: the engine is what the machine is for, and goes before
      Ray Data's own actors and the board, on whichever cluster.
    """
    items = [{"numbers": share} for share in group_for_tasks((n, order.scan.splits[n]) for n in order.splits)]
    least, most = order.judge.replica_range
    calls = blocks_at_once(order.judge, order.care, order.block_rows)
    waiting = waiting_blocks(calls, order.rows / most / order.block_rows) if order.care == CARES[0] else 0
    context = ray.data.DataContext.get_current()
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    context.memory_usage_poll_interval_s = None  # a thread for every block that an actor works on
    dataset = ray.data.from_items(items, override_num_blocks=max(1, len(items)))
    dataset = dataset.map_batches(_read_records(order, board), batch_size=None, batch_format="pyarrow", num_cpus=0.5)
    dataset = dataset.repartition(target_num_rows_per_block=order.block_rows)
    with warnings.catch_warnings():
        # Ray 2.60 takes these two only as extra arguments, and says that 2.64 will have another way.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        return dataset.map_batches(
            JudgeActor,
            fn_constructor_args=(
                *(order.recipe, order.judge, order.store, token, begun, order.half_done, board),
                order.share.per_node,
            ),
            batch_size=order.block_rows,
            batch_format="pyarrow",
            num_cpus=order.share.cpus,
            num_gpus=order.share.gpus,
            compute=ActorPoolStrategy(
                min_size=least,
                max_size=most,
                max_concurrent_calls_per_actor=calls,
                max_tasks_in_flight_per_actor=calls + waiting,
            ),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            runtime_env={"env_vars": {"RAY_worker_niceness": "0"}},
        )


def rows_per_block(at_once: int, rows_each: float) -> int:
    """Rows of a block, for engines that run so many requests at once and have so many rows each."""
    return int(max(_LEAST_BLOCK, min(BLOCK_ROWS, at_once, rows_each / _BLOCKS_EACH)))


def blocks_at_once(judge: JudgeConfig, care: str = CARES[0], block_rows: int = BLOCK_ROWS) -> int:
    """Blocks that one actor works on: rows for about three times the requests that its engine runs."""
    if care != CARES[0]:
        return 1  # so that an engine's death can be laid to one block, or one record
    return max(4, -(-3 * engine_of(judge).requests_at_once() // block_rows))


def waiting_blocks(calls: int, blocks_each: float) -> int:
    """Blocks that wait at an actor which works on `calls`, where each has so many in all."""
    return max(1, min(calls, int(blocks_each / 4)))


def _read_records(order: FillOrder, board: Any) -> Callable[[pa.Table], Iterator[pa.Table]]:
    """A task that reads the wanted records of splits, a few at a time, so that no split is ever whole in memory.

    Input that cannot be read is reported to the board: an errored block would only leave its rows pending.
    """
    schema = pa.schema([(name, pa.string()) for name in ("answer", "query", "thought", "genre", "row_id")])

    def records(numbers: list[int]) -> Iterator[dict[str, Any]]:
        for number, wanted in _open_rows(Store(order.store), order.open_rows, numbers).items():
            try:
                for _, record in scanning.records(order.scan, number, order.columns, wanted):
                    yield {"genre": record.genre, "row_id": record.row_id, **dict(record.texts.items())}
            except FixInput as error:
                ray.get(board.unread.remote(str(error), 1))

    def read(batch: pa.Table) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for row in chain.from_iterable(map(records, batch["numbers"].to_pylist())):
            rows.append(row)
            if len(rows) == 4 * order.block_rows:
                yield pa.Table.from_pylist(rows, schema=schema)
                rows = []
        yield pa.Table.from_pylist(rows, schema=schema)

    return read


def _open_rows(store: Store, path: str, splits: list[int]) -> dict[int, set[int]]:
    """The open rows of some splits, in order of the splits, which need not be neighbours."""
    within = [("split", ">=", splits[0]), ("split", "<=", splits[-1])]
    table = pq.read_table(path, filesystem=store.filesystem, filters=within)
    rows: dict[int, set[int]] = {number: set() for number in splits}
    for number, row in zip(table["split"].to_pylist(), table["row"].to_pylist(), strict=True):
        if number in rows:
            rows[number].add(row)
    return rows


def work_folder(store: Store, run: str) -> str:
    """The folder of a fill's own files."""
    return store.path("work", run)


def clear_work(store: Store, run: str) -> None:
    """Delete the fill's own files."""
    store.clear(work_folder(store, run))
