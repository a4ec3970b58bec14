"""Replicas on a cluster: whether there is room, what each is given, and that work reaches all of them."""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logical import NO_CLUSTER
from nodes import environment
from recording_judge import records

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan
from coigw_judge.errors import FixJob
from coigw_judge.fill.filler import Filler
from coigw_judge.job.job import load_job
from coigw_judge.job.recipe import make_recipe
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Reply
from coigw_judge.judges.vllm import cpu_cores
from coigw_judge.judges.vllm.ranks import Ranks
from coigw_judge.pipeline.capacity import Cluster, Node, Share, find_room, holds, no_room, share
from coigw_judge.pipeline.fill_graph import BLOCK_ROWS, blocks_at_once, rows_per_block, waiting_blocks
from coigw_judge.prompting.request import Ask
from coigw_judge.records.record import Record
from coigw_judge.store.fact import SCHEMA
from coigw_judge.store.half_done import HalfDoneFacts
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer

TESTS = Path(__file__).parents[1]
EIGHT = Node(cpus=64, gpus=8)
NO_GPU = Node(cpus=16, gpus=0)


# Whether there is room


@pytest.mark.parametrize(
    ("node", "gpus", "count"),
    [
        (EIGHT, 4, 2),
        (EIGHT, 8, 1),
        (EIGHT, 3, 2),
        (EIGHT, 16, 0),
        (EIGHT, 0.5, 16),
        (EIGHT, 0.3, 24),
        (EIGHT, 0.1, 80),
        (NO_GPU, 1, 0),
        (Node(cpus=0, gpus=8), 4, 0),
    ],
)
def test_how_many_replicas_a_node_holds(node: Node, gpus: float, count: int) -> None:
    assert holds(node, gpus) == count


@pytest.mark.parametrize(
    ("nodes", "gpus", "least", "said"),
    [
        ([EIGHT], 4, 2, ""),
        ([EIGHT, NO_GPU, EIGHT], 4, 4, ""),
        ([NO_GPU], 0, 99, ""),
        ([EIGHT], 4, 3, "3 of 4 GPUs each do not fit; the cluster has 8, which hold 2"),
        (
            [NO_GPU, EIGHT],
            16,
            1,
            "takes 16 GPUs of one node, and no node has as many; GPUs on the cluster's 2 nodes: 8, 0",
        ),
        ([EIGHT, EIGHT], 16, 1, "no node has as many"),  # 16 in all, and no replica spans two nodes
        ([Node(cpus=64, gpus=6)] * 2, 4, 3, "hold 2"),  # 12 in all, and 4 of them left over
        ([Node(cpus=0, gpus=8)], 4, 1, "no node with GPUs has any processor"),
        ([], 4, 1, "no node has as many"),
    ],
)
def test_what_never_fits_is_told_with_the_numbers(nodes: list[Node], gpus: float, least: int, said: str) -> None:
    assert said in no_room(nodes, gpus, least) and bool(said) == bool(no_room(nodes, gpus, least))


@pytest.mark.parametrize(
    ("cpus", "replicas", "each"), [(1, 1, 0.4), (2, 1, 1.0), (2, 2, 0.5), (8, 3, 1.0), (2, 16, 0.06), (1, 64, 0.01)]
)
def test_replicas_leave_a_processor_for_the_tasks_that_read(cpus: float, replicas: int, each: float) -> None:
    found = share([Node(cpus=cpus, gpus=0)], 0, replicas, 1.0)
    assert found == Share(gpus=0, cpus=each)
    assert cpus - replicas * found.cpus >= 0.35


def test_processors_follow_what_a_replica_runs() -> None:
    inf = float("inf")
    assert share([EIGHT, NO_GPU], 4, 2, 5.0).cpus == 5.0
    assert share([Node(cpus=9, gpus=8)], 4, 2, 5.0).cpus == 4.0
    assert share([Node(cpus=16, gpus=0)] * 2, 0, 4, inf) == Share(gpus=0, cpus=7.5, per_node=2)
    assert share([], 0, 4, 1.0).cpus == 1.0


def test_a_cluster_that_grows_is_waited_for() -> None:
    asked: list[Any] = []
    seen = iter([[NO_GPU], [NO_GPU], [NO_GPU, EIGHT]])
    growing = Cluster(lambda: next(seen), asked.append, look_seconds=0.01)
    said: list[str] = []
    judge = JudgeConfig(engine="a:B", gpus_per_replica=4, replicas=(2, 9), wait=60)
    assert find_room(judge, said.append, growing).gpus == 4
    assert asked == [[{"GPU": 4, "CPU": 1}] * 2, []] and len(said) == 1 and "no node has as many" in said[0]


def test_waiting_ends() -> None:
    fixed = Cluster(lambda: [EIGHT], lambda bundles: None)
    judge = JudgeConfig(engine="a:B", gpus_per_replica=4, replicas=3, wait=0.05)
    with pytest.raises(FixJob, match=r"3 of 4 GPUs each do not fit.*which hold 2, after 0\.05 s of waiting"):
        find_room(judge, lambda text: None, fixed)
    with pytest.raises(FixJob, match=r"where the cluster grows, judge\.wait says how long"):
        find_room(judge.model_copy(update={"wait": 0}), lambda text: None, fixed)


# Cores


def _claim(folder: Path, sharers: int, pipe: Any) -> None:
    pipe.send(cpu_cores.claim(sharers, folder))
    pipe.recv()


def test_engines_on_one_machine_never_share_a_core(tmp_path: Path) -> None:
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        pytest.skip("one core cannot be shared out")
    context = multiprocessing.get_context("spawn")

    def start(sharers: int) -> tuple[Any, Any, list[int]]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_claim, args=(tmp_path, sharers, theirs))
        process.start()
        assert ours.poll(60)
        return process, ours, ours.recv()

    first, second = start(2), start(2)
    assert len(first[2]) == len(second[2]) == len(there) // 2 and not set(first[2]) & set(second[2])
    first[0].kill()
    first[0].join()
    third = start(2)
    assert third[2] == first[2], "who takes a dead one's place finds its cores free"
    for process, pipe, _ in (second, third):
        pipe.send("done")
        process.join()
    alone = start(1)
    crowded = start(1)
    assert alone[2] == there and crowded[2] == there, "where no core is free all are shared"
    for process, pipe, _ in (alone, crowded):
        pipe.send("done")
        process.join()


# Requests in flight


def test_as_many_rows_are_admitted_as_keep_the_engine_busy() -> None:
    one = JudgeConfig(model="Qwen/Qwen3-235B-A22B-FP8")
    two = JudgeConfig(model="Qwen/Qwen3-235B-A22B-FP8", data_parallel=2, expert_parallel=True)
    assert engine_of(two).requests_at_once() == 2 * engine_of(one).requests_at_once()
    assert blocks_at_once(two) * BLOCK_ROWS >= 3 * engine_of(two).requests_at_once()


def test_small_jobs_are_not_given_out_at_once() -> None:
    assert rows_per_block(256, 1_000_000) == BLOCK_ROWS
    assert rows_per_block(256, 320) == 20 and rows_per_block(256, 10) == 4
    assert rows_per_block(10, 1_000_000) == 10, "an engine that runs few at once holds few"
    config = JudgeConfig(engine="a:B", concurrency=10)
    assert blocks_at_once(config, block_rows=10) == 4
    assert waiting_blocks(24, 30_000) == 24 and waiting_blocks(24, 20) == 5 and waiting_blocks(4, 1) == 1


def test_a_record_stays_on_the_rank_that_has_it_in_its_cache() -> None:
    ranks = Ranks(2)
    with ranks.of("one") as first, ranks.of("two") as second:
        assert {first, second} == {0, 1} and ranks.out == [1, 1]
        with ranks.of("two") as again, ranks.of("two") as once_more:
            assert again == once_more == second
        with ranks.of("three") as third:
            assert third == 0
    assert ranks.out == [0, 0]
    with ranks.of("one") as later:
        assert later == first


@pytest.mark.parametrize(("at_work", "goes"), [(8, False), (7, True)])
def test_a_block_is_not_kept_waiting_for_a_flush_while_the_judge_runs_dry(
    tmp_path: Path, write_job: Any, at_work: int, goes: bool
) -> None:
    job = load_job(write_job([], rubrics=["answer"], gate={"each": 8}, judge={"model": "embedded"}))
    plan = Plan(job.rubrics, (), Gate(each=8, over=job.gate.over, tops=job.gate.tops), {"answer": "a"})
    recipe = make_recipe(job, plan, "judge", "run", retry_unscored=False)
    reply = '{"quality":{"reason":"好","score":8},"creativity":{"reason":"新","score":9}}'

    class Slow:
        concurrency = 4

        def __init__(self) -> None:
            self.released = asyncio.Event()

        async def ask(self, ask: Ask) -> Reply:
            if "慢" in "".join(ask.prompt.fields):
                await self.released.wait()
            return Reply(text=reply, finish_reason="stop")

        async def close(self) -> None:
            pass

    def block(text: str, count: int) -> list[Record]:
        return [Record({"answer": f"{text}{n}", "query": "题"}, id=None, genre=None) for n in range(count)]

    async def go() -> bool:
        judge, store = Slow(), Store(str(tmp_path / "facts"))
        filler = Filler(recipe, judge, Writer(store, "run"), HalfDoneFacts(SCHEMA.empty_table()), flush_seconds=100)
        flusher = asyncio.create_task(filler.flush_forever())
        slow = asyncio.create_task(filler.block(block("慢", at_work)))
        quick = asyncio.create_task(filler.block(block("快", 0)))  # done at once, and waits for a flush
        done, _ = await asyncio.wait([quick], timeout=30 if goes else 3)
        assert not slow.done()
        judge.released.set()
        await asyncio.wait([slow, quick], timeout=60)
        flusher.cancel()
        assert slow.done() and quick.done() and store.read().num_rows == at_work
        return bool(done)

    assert asyncio.run(go()) == goes


# On a cluster whose GPUs exist in Ray's books only


def run_logical(tmp_path: Path, gpus: int, cpus: int, *commands: list[str]) -> tuple[list[int], str]:
    words = [word for command in commands for word in ["--", *command]]
    call = [sys.executable, str(TESTS / "logical.py"), str(gpus), str(cpus), *words]
    for _ in range(4):
        done = subprocess.run(call, env=environment(), capture_output=True, text=True, timeout=400, cwd=tmp_path)
        if done.returncode != NO_CLUSTER:
            break
    lines = done.stdout.strip().splitlines()
    assert done.returncode == 0 and lines, done.stderr[-3000:]
    return json.loads(lines[-1]), done.stderr


@pytest.mark.slow
def test_replicas_get_gpus_of_their_own_and_what_does_not_fit_is_refused(
    tmp_path: Path, write_job: Callable[..., Path]
) -> None:
    rows = [{"answer": f"雨{n}", "query": f"写雨{n}"} for n in range(600)]
    options = {"folder": str(tmp_path / "given"), "company": 2}
    judge = {"engine": "recording_judge:RecordingJudge", "options": options, "concurrency": 8}
    judge |= {"tensor_parallel": 2, "data_parallel": 2, "replicas": 2}
    job = str(write_job(rows, rubrics=["answer"], gate={"each": 8}, judge=judge))
    statuses, said = run_logical(
        tmp_path,
        8,
        3,
        ["run", job, "--set", "judge.replicas=3"],
        ["run", job, "--set", "judge.tensor_parallel=8"],
        ["run", job, "--set", "judge.replicas=3", "--set", "judge.wait=1"],
        ["run", job],
        ["run", job, "--set", "judge.replicas=3"],  # nothing is left to ask, so nothing has to fit
    )
    assert statuses == [2, 2, 2, 0, 0], said
    assert "3 of 4 GPUs each do not fit; the cluster has 8, which hold 2" in said
    assert "a replica takes 16 GPUs of one node" in said and "after 1 s of waiting" in said
    given = records(tmp_path / "given")
    assert len(given) == 2
    devices = [set(lines[0]["devices"].split(",")) for lines in given.values()]
    assert all(len(each) == 4 for each in devices) and not devices[0] & devices[1]
    assert all(lines[0]["reserved"]["GPU"] == 4 and lines[0]["reserved"]["CPU"] == 1 for lines in given.values())
    assert min(len(lines) for lines in given.values()) >= 2 * BLOCK_ROWS, "both get their part of the work"


@pytest.mark.slow
def test_a_range_of_replicas_grows_with_the_queue_and_shrinks_with_it(
    tmp_path: Path, write_job: Callable[..., Path]
) -> None:
    rows = [{"answer": f"雨{n}", "query": f"写雨{n}"} for n in range(1200)]
    rows.append({"answer": "最后", "query": "写最后"})
    options = {"folder": str(tmp_path / "given"), "company": 3, "last": "最后"}
    judge = {"engine": "recording_judge:RecordingJudge", "options": options, "concurrency": 8, "replicas": [1, 3]}
    job = str(write_job(rows, rubrics=["answer"], gate={"each": 8}, judge=judge))
    statuses, said = run_logical(tmp_path, 0, 3, ["run", job])
    assert statuses == [0], said
    given = records(tmp_path / "given")
    answered = sorted(sum("ended" in line for line in lines) for lines in given.values())
    assert sum(answered) == len(rows)
    # On a busy machine a replica that waits for its next block may be let go, and another one started for it.
    assert len(answered) >= 3 and answered[-3] >= 2 * BLOCK_ROWS, f"new replicas get work: {answered}"
    asked = [[line for line in lines if "ended" in line] for lines in given.values()]
    spans = [(min(line["begun"] for line in lines), max(line["ended"] for line in lines)) for lines in asked if lines]
    assert max(sum(first <= at <= last for first, last in spans) for at, _ in spans) == 3, "three at once, never more"
    assert [line["alone"] for lines in given.values() for line in lines if "alone" in line] == [True]
