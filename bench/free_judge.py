"""A judge that costs nothing but what it is told to: `slots` requests at once, `per_char` seconds for each character.

With `folder` each process writes there when each of its requests began and ended (time.time()), one pair per line.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask


class FreeJudge:
    meaningless = True

    def __init__(self, config: JudgeConfig) -> None:
        self.concurrency = config.concurrency or 256
        self._per_char = float(config.options.get("per_char", 0))
        self._slots = asyncio.Semaphore(int(config.options.get("slots", self.concurrency)))
        folder = config.options.get("folder")
        self._log = Path(folder) / f"{os.getpid()}.json" if folder else None
        self._replies: dict[int, str] = {}

    async def ask(self, ask: Ask) -> Reply:
        if self._per_char:
            async with self._slots:
                begun = time.time()
                await asyncio.sleep(len(ask.prompt.fields[0]) * self._per_char)
                if ask.key and self._log:
                    self._note(begun)
        text = self._replies.get(id(ask.schema))
        if text is None:
            text = self._replies[id(ask.schema)] = json.dumps(answer(ask.schema), ensure_ascii=False)
        return Reply(text=text, finish_reason="stop", prompt_tokens=len(ask.prompt.fields[0]), generated_tokens=9)

    def _note(self, begun: float) -> None:
        assert self._log is not None
        with self._log.open("a") as file:
            file.write(f"{json.dumps([begun, time.time()])}\n")

    async def close(self) -> None:
        pass


def answer(schema: Any, bad: bool = False) -> Any:
    """The best that a reply's schema admits, or the worst."""
    if "properties" in schema:
        return {name: answer(part, bad) for name, part in schema["properties"].items()}
    if "enum" in schema:
        return schema["enum"][0 if bad else -1]
    return not bad if schema["type"] == "boolean" else "理由"
