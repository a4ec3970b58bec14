"""The graph of a fill: splits, records, small blocks, the pool of judge actors; and the watch over it.

Not known here: what an actor does with a block (judging.py).
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data import ActorPoolStrategy

from coigw_judge import scan as scanning
from coigw_judge.errors import FixJudge
from coigw_judge.fill import Recipe
from coigw_judge.job import JudgeConfig
from coigw_judge.judges import requests_at_once
from coigw_judge.pipeline.judging import JudgeActor, Progress, Snapshot
from coigw_judge.scan import Scan
from coigw_judge.store import Store
from coigw_judge.writer import moment

_CLOCK_SKEW_SECONDS = 600
BLOCK_ROWS = 32
"""Rows per judge task. Small, so that a dying actor re-asks little and nobody waits long for a block's slowest row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOrder:
    """What a fill is told: recipe, judge, where, and which rows of which scan.

    `splits` are the numbers of the splits that have open rows, and `open_rows` is a file with their numbers
    (verdict.OPEN). `known` is the folder of what half-done records have, and into how many buckets it is dealt.
    """

    recipe: Recipe
    judge: JudgeConfig
    gpus: float
    store: str
    scan: Scan
    columns: dict[str, str]
    splits: tuple[int, ...]
    open_rows: str
    known: tuple[str, int]
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
    begun = moment(_CLOCK_SKEW_SECONDS)
    try:
        for row in _judged_blocks(order, token, begun, progress).iter_rows():
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


def _judged_blocks(order: FillOrder, token: str, begun: str, progress: Any) -> Any:
    """Splits -> records -> blocks of a few rows -> the actor pool.

    - One batch per task (`batch_size=None`): with several, a slow consumer stopped the actor's event loop.
    - As many blocks at once as hold about three times the rows that the engine runs: a block waits for its
      slowest row. A semaphore in Filler admits requests.
    - `max_restarts=-1`, construction retried, errored blocks tolerated: a lost node costs time, never the job.
    - Fixed replicas by default: tasks given to a busy actor stay there when the pool grows.
    """
    items = [{"number": number} for number in order.splits]
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
            fn_constructor_args=(order.recipe, order.judge, order.store, token, begun, order.known, progress),
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
            listed = pq.read_table(order.open_rows, filesystem=store.filesystem, filters=[("split", "=", number)])
            wanted = set(listed["row"].to_pylist())
            rows: list[dict[str, Any]] = []
            for _, record in scanning.records(order.scan, number, order.columns, wanted):
                rows.append({"genre": record.genre, **dict(record.texts.items())})
                if len(rows) == 4 * order.block_rows:
                    yield pa.Table.from_pylist(rows, schema=schema)
                    rows = []
            yield pa.Table.from_pylist(rows, schema=schema)

    return read


def work_folder(store: Store, run: str) -> str:
    """Where a fill keeps what only it needs."""
    return store.path("work", run)


def clear_work(store: Store, run: str) -> None:
    """Take away what only this fill needed."""
    store.clear(work_folder(store, run))
