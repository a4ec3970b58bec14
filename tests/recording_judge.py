"""A judge that writes down what it was given, and works through its requests at a pace that follows their length.

One file per process in `options.folder`: a line of what the process was given, and a line per request that it answered.
`options`:
  slots, per_char   how many requests it works on at once, and the seconds that a character of a text takes
  company           answer nothing before there are as many processes of the judge
  last              a text whose request stays open until no other process of the judge is left
"""

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
import ray
from scripted_judge import ScriptedJudge

from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask

_PATIENCE = 150


class RecordingJudge(ScriptedJudge):
    def __init__(self, config: JudgeConfig) -> None:
        super().__init__(config)
        self._folder = Path(config.options["folder"])
        self._folder.mkdir(exist_ok=True)
        self._slots = asyncio.Semaphore(config.options.get("slots", 1000))
        context = ray.get_runtime_context()
        self._write(
            pid=os.getpid(),
            devices=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            reserved=context.get_assigned_resources(),
            node=context.get_node_id(),
            cores=sorted(os.sched_getaffinity(0)),
        )

    def _write(self, **what: object) -> None:
        with (self._folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(what) + "\n")

    async def ask(self, ask: Ask) -> Reply:
        text = "\n".join(ask.prompt.fields)
        if ask.key:
            await self._company()
        async with self._slots:
            begun = time.time()
            await asyncio.sleep(len(text) * self._options.get("per_char", 0))
            if ask.key and self._options.get("last") and self._options["last"] in text:
                self._write(alone=await self._alone())
            if ask.key:
                self._write(begun=begun, ended=time.time(), chars=len(text))
        return await super().ask(ask)

    async def _company(self) -> None:
        until = time.monotonic() + _PATIENCE
        while len(list(self._folder.iterdir())) < self._options.get("company", 1) and time.monotonic() < until:
            await asyncio.sleep(0.2)

    async def _alone(self) -> bool:
        """Whether all other processes of the judge end while this one works."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if not any(_runs(int(path.stem)) for path in self._folder.iterdir() if int(path.stem) != os.getpid()):
                return True
            await asyncio.sleep(0.2)
        return False


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def records(folder: Path) -> dict[int, list[dict]]:
    """What every process wrote down."""
    return {
        int(path.stem): [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.iterdir())
    }
