"""Kills at random moments over one job, and what must hold afterwards. Used by test_chaos.py and bench/chaos.py.

The job is the command line in a process of its own, started again until it ends with 0. Its nodes are two, a head and
a worker, or none: then it is the local cluster that the command line starts. Victims are
found among the descendants of what was started here, and nowhere else. The same seed gives the same kinds in the same
order with the same pauses; what a moment finds depends on the machine.
Not known here: pytest.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml
from nodes import Nodes, environment, kill_all, left_of, living, named, wait_for

from coigw_judge.cli.main import main
from coigw_judge.fill.filler import FLUSH_SECONDS
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.pipeline.fill_graph import BLOCK_ROWS, blocks_at_once
from coigw_judge.store.parts import Store

RUBRICS = ("answer", "query", "thought")
KINDS = ("driver", "actor", "engine", "node")
_PAUSE = (0.1, 2.5)
"""Seconds to the next kill: from the moment at which the judge is asked again, or, now and then, from the last kill."""
_EARLY = 0.25
"""The share of kills that do not wait until the judge is asked again: they fall into starts, scans and surveys."""


def triplets(count: int) -> list[dict[str, Any]]:
    """Rows whose texts all differ."""
    return [
        {
            "id": f"t{n}",
            "query": f"写第{n}件旧物",
            "thought": f"先想第{n}种旧物",
            "answer": f"第{n}只表走得慢",
            "genre": "散文",
        }
        for n in range(count)
    ]


def write_job(folder: Path, rows: list[dict[str, Any]], judge: dict[str, Any], **keys: Any) -> Path:
    """A job over rows, with its files in `folder`."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    job = {
        "name": "chaos",
        "input": {"paths": [str(folder / "rows.jsonl")]},
        "rubrics": list(RUBRICS),
        "gate": {"total": 50, "each": 8},
        "judge": judge,
        "max_unscored": 1,
        "store": str(folder / "facts"),
        "out": str(folder / "runs"),
        **keys,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
    return path


def scripted_judge(folder: Path, **options: Any) -> dict[str, Any]:
    """A job's `judge`: the scripted one, which logs in `folder` what it is asked."""
    return {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(folder / "asks.log"), **options}}


def asked(folder: Path) -> list[str]:
    """What the scripted judge was asked, a line per request."""
    log = folder / "asks.log"
    return log.read_text().splitlines() if log.exists() else []


class Driver:
    """The command line in a process of its own."""

    def __init__(self, job: Path, log: Path, settings: dict[str, str], *options: str) -> None:
        command = [sys.executable, "-m", "coigw_judge.cli", "run", str(job), *options]
        env = environment(**settings)
        # Whoever runs the tests with `&` in a script has SIGINT ignored, here and by inheritance there.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with log.open("ab") as out:
            self.process = psutil.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)

    def kill(self) -> None:
        """kill -9 of this one process; what it started is left to notice."""
        self.process.kill()
        self.wait()

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status."""
        return int(self.process.wait(timeout=seconds))

    def interrupt(self, number: int, *, group: bool) -> None:
        """A signal to the process, or to its whole group as a terminal sends it."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        status = self.process.poll()
        return None if status is None else int(status)


# The chaos


@dataclass(slots=True, kw_only=True)
class Figures:
    """What came of it. `asked` counts requests sent to the judge, `again` those sent before already."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    actors_lost: int = 0
    drivers: int = 0
    asked: int = 0
    again: int = 0
    bound: int = 0
    seconds: float = 0.0

    def table(self) -> str:
        """For people."""
        kinds = ", ".join(f"{kind} {self.kills[kind]}" for kind in KINDS if self.kills[kind])
        lines = [
            ("seed", self.seed),
            ("kills", f"{self.kills.total()} ({kinds})"),
            ("judge processes lost", self.actors_lost),
            ("starts of the command", self.drivers),
            ("seconds", f"{self.seconds:.0f}"),
        ]
        if self.asked:  # a real engine keeps no log
            lines += [("requests made", f"{self.asked:,}"), ("of them asked again", f"{self.again:,}")]
            lines += [("bound on these", f"{self.bound:,}")]
        return "\n".join(f"| {name} | {value} |" for name, value in [("figure", "value"), ("---", "---:"), *lines])

    def summary(self) -> dict[str, Any]:
        """For programs."""
        return {
            "seed": self.seed,
            "kills": dict(self.kills),
            "actors_lost": self.actors_lost,
            "drivers": self.drivers,
            "asked": self.asked,
            "again": self.again,
            "bound": self.bound,
            "seconds": round(self.seconds, 1),
        }


class Chaos:
    """One job and its killer."""

    def __init__(self, folder: Path, job: Path, nodes: Nodes | None, replicas: int, figures: Figures) -> None:
        """`job` stands in `folder`, where its judge's log or its store tell that it is at work."""
        self.figures = figures
        self._folder = folder
        self._job, self._nodes, self._replicas = job, nodes, replicas
        self._log = folder / "driver.log"
        self._chance = random.Random(figures.seed)
        self.driver = self._start()

    def _start(self) -> Driver:
        self.figures.drivers += 1
        return Driver(self._job, self._log, self._nodes.settings if self._nodes else {})

    def kill(self, kinds: list[str], early: float = _EARLY) -> None:
        """Kill one of each kind in turn, at random moments; the job must not end before."""
        for kind in kinds:
            if self._chance.random() >= early:
                self._asked_again()
            time.sleep(self._chance.uniform(*_PAUSE))
            self._kill_one(kind)
            self.figures.kills[kind] += 1

    def _asked_again(self) -> None:
        log = self._folder / "asks.log"

        def size() -> int:
            self._still_running()
            return log.stat().st_size if log.exists() else len(list((self._folder / "facts" / "parts").glob("*")))

        before = size()
        wait_for(lambda: size() > before, "the judge is asked again")

    def _kill_one(self, kind: str) -> None:
        if kind == "driver":
            self._still_running()
            self.figures.actors_lost += self._replicas
            engines = [] if self._nodes else self._victims("engine")
            self.driver.kill()
            assert not left_of(engines, 30), "an engine outlives the local cluster it belonged to"
            self.driver = self._start()
        elif kind == "node":
            assert self._nodes is not None
            self._still_running()
            there = living(self._nodes.worker)
            self.figures.actors_lost += len(_actors(there))
            kill_all(there)
            self._nodes.add(wait=False)  # the killer goes on
        else:
            victim = self._victim(kind)
            self.figures.actors_lost += 1
            with suppress(psutil.NoSuchProcess):
                victim.kill()

    def _victim(self, kind: str) -> psutil.Process:
        """A process of that kind, as soon as there is one."""
        found: list[psutil.Process] = []

        def any_there() -> bool:
            self._still_running()
            found[:] = self._victims(kind)
            return bool(found)

        wait_for(any_there, f"there is a process to kill ({kind})")
        return self._chance.choice(found)

    def _victims(self, kind: str) -> list[psutil.Process]:
        processes = self._nodes.processes() if self._nodes else living(self.driver.process)
        return _actors(processes) if kind == "actor" else engines(processes)

    def _still_running(self) -> None:
        status = self.driver.ended()
        if status is not None:
            raise AssertionError(f"the job ended with {status} before the last kill:\n{self.tail()}")

    def finish(self, seconds: float) -> None:
        """Let the job end."""
        status = self.driver.wait(seconds)
        if status:
            raise AssertionError(f"the job ended with {status}:\n{self.tail()}")

    def tail(self) -> str:
        """What the command line said at last."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]


def _actors(processes: list[psutil.Process]) -> list[psutil.Process]:
    return named(processes, "JudgeActor")


def engines(processes: list[psutil.Process]) -> list[psutil.Process]:
    """What stands for the engine: the scripted judge's child, or vLLM's processes, which Python's multiprocessing spawns.

    Their title `VLLM::EngineCore` is no sure sign: setproctitle silently gives up where the first variable of a process's
    environment was set anew, and which one is first in an actor's follows from how Ray hashes all their names.
    """
    return named([child for actor in _actors(processes) for child in living(actor)[1:]], "cat", "VLLM", "spawn_main")


def deck(kills: int, kinds: tuple[str, ...], seed: int) -> list[str]:
    """Kinds in turn, as many as there are kills, shuffled."""
    cards = [kinds[n % len(kinds)] for n in range(kills)]
    random.Random(seed).shuffle(cards)
    return cards


@contextmanager
def watched(chaos: Chaos, nodes: Nodes | None) -> Iterator[Chaos]:
    """The chaos; whatever happens, what was started is gone afterwards."""
    try:
        yield chaos
    finally:
        kill_all(living(chaos.driver.process))
        if nodes is not None:
            nodes.close()


def scripted(folder: Path, kills: int, seed: int) -> Figures:
    """The whole chaos with the scripted judge on two nodes; raises AssertionError where a promise is broken."""
    pace = folder / "pace"
    seconds, replicas = 0.1, 2
    judge = scripted_judge(folder, pace=str(pace), child=True) | {"concurrency": 8, "replicas": replicas}
    rows = triplets(220 * kills)  # at this pace they last as long as the kills do; then the pace goes up
    job = write_job(folder, rows, judge)
    pace.write_text("0")
    assert main(["run", str(job), "--store", str(folder / "calm"), "--out", str(folder / "calm-runs")]) == 0
    (folder / "asks.log").rename(folder / "calm-asks.log")

    figures = Figures(seed=seed)
    pace.write_text(str(seconds))
    started = time.monotonic()
    nodes = Nodes(folder)
    with watched(Chaos(folder, job, nodes, replicas, figures), nodes) as chaos:
        chaos.kill(deck(kills, KINDS, seed))
        pace.write_text("0")
        chaos.finish(300)
    figures.seconds = time.monotonic() - started
    lines = asked(folder)
    figures.asked, figures.again = len(lines), len(lines) - len(set(lines))
    figures.bound = figures.actors_lost * can_hold(judge, seconds)
    compare(folder)
    return figures


def can_hold(judge: dict[str, Any], seconds: float) -> int:
    """Requests that a judge's process can have in its hands, out or not yet flushed: what it sends from one flush to
    the next, and never more than all requests of the blocks it works on."""
    config = JudgeConfig(**judge)
    assert config.concurrency is not None
    in_blocks = blocks_at_once(config) * BLOCK_ROWS * len(RUBRICS)
    between_flushes = config.concurrency * (1 + -(-int(1000 * FLUSH_SECONDS) // int(1000 * seconds)))
    return min(in_blocks, between_flushes)


def real(folder: Path, kinds: tuple[str, ...]) -> Figures:
    """A few kills with vLLM and the embedded judge on a local cluster. Its scores may differ from run to run."""
    seed = 0
    rows = triplets(100)  # more than it judges between the kills
    judge = {"engine": "vllm", "model": "embedded", "retries": 0, "engine_args": {"max_num_seqs": 16}}
    job = write_job(folder, rows, judge, early_exit=False, rubrics=["answer", "query"], gate={"each": 8})
    figures = Figures(seed=seed)
    started = time.monotonic()
    with watched(Chaos(folder, job, None, 1, figures), None) as chaos:
        chaos.kill(list(kinds), early=0)
        chaos.finish(300)
    figures.seconds = time.monotonic() - started
    found = verdicts(folder / "runs")
    assert {row["id"] for row in found.values()} == {row["id"] for row in rows}
    assert not {row["decision"] for row in found.values()} & {"pending", "unreadable"}
    keys = facts(folder / "facts")
    assert len(keys) == len(set(keys)) == 2 * len(rows)
    torn_free(folder / "facts")
    return figures


# What must hold


def compare(folder: Path) -> None:
    """The disturbed run against the calm one: the same rows, decided and explained alike, from the same facts."""
    calm, wild = verdicts(folder / "calm-runs"), verdicts(folder / "runs")
    assert calm.keys() == wild.keys(), "a row was lost or invented"
    different = [name for name in calm if calm[name] != wild[name]]
    assert not different, f"{len(different)} rows were decided differently: {calm[different[0]]}, {wild[different[0]]}"
    keys = {name: facts(folder / name) for name in ("calm", "facts")}
    assert len(keys["facts"]) == len(set(keys["facts"])), "a fact is read twice"
    assert set(keys["facts"]) == set(keys["calm"]), "a fact was lost, or asked for nothing"
    torn_free(folder / "facts")


def verdicts(runs: Path) -> dict[str, dict[str, Any]]:
    """Rows of the one finished run by row_id."""
    (manifest,) = runs.glob("*/manifest.json")
    rows = pq.read_table(manifest.parent / "verdicts").to_pylist()
    found = {row["row_id"]: row for row in rows}
    told = json.loads(manifest.read_text())
    assert len(found) == len(rows) == told["rows_in"] == sum(told["decisions"].values()) and told["complete"]
    return found


def facts(store: Path) -> list[bytes]:
    """The keys of a store as a reader gets them."""
    keys: list[bytes] = Store(str(store)).read(("key",))["key"].to_pylist()
    return keys


def torn_free(store: Path) -> None:
    """Every part can be read by itself."""
    for part in (store / "parts").glob("*.parquet"):
        assert pq.read_table(part, partitioning=None).num_rows
