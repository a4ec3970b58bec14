"""A judge that answers by rule, for what a real one can not be made to do on demand.

Scores follow from the record's texts alone, so two runs agree. `options`: `log` (a file that gets one line per
ask), `fail` (rubric -> what it answers instead), `seconds` (how long an answer takes), `low` (rubrics that score 0).
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from coigw_judge.ask import Ask
from coigw_judge.errors import JudgeUnavailable
from coigw_judge.job import JudgeConfig
from coigw_judge.judges import Reply


class ScriptedJudge:
    meaningless = True
    concurrency = 64

    def __init__(self, config: JudgeConfig) -> None:
        self._options = config.options

    async def ask(self, ask: Ask) -> Reply:
        if "log" in self._options and ask.key:
            with Path(self._options["log"]).open("a") as log:
                log.write(f"{ask.rubric} {ask.key.hex()} {ask.attempt}\n")
        await asyncio.sleep(self._options.get("seconds", 0))
        text = "\n".join(ask.prompt.fields)
        failure = self._options.get("fail", {}).get(ask.rubric) if ask.key else None
        poison = self._options.get("poison")
        if failure == "die" or (ask.key and poison and poison in text):
            raise JudgeUnavailable("the scripted judge died")
        if failure == "length":
            return Reply(text='{"quality"', finish_reason="length", prompt_tokens=len(text), generated_tokens=9)
        if failure is not None:
            return Reply(text=failure, finish_reason="stop", prompt_tokens=len(text), generated_tokens=9)
        low = ask.rubric in self._options.get("low", [])
        reply = json.dumps(_answer(ask.schema, f"{ask.rubric}{text}", low), ensure_ascii=False)
        return Reply(text=reply, finish_reason="stop", prompt_tokens=len(text), generated_tokens=len(reply))

    async def close(self) -> None:
        pass


def _answer(schema: Any, seed: str, low: bool) -> Any:
    draw = hashlib.sha256(seed.encode()).digest()[0]
    if "properties" in schema:
        return {name: _answer(part, seed + name, low) for name, part in schema["properties"].items()}
    if "enum" in schema:
        values = schema["enum"]
        if isinstance(values[0], str):
            return values[draw % len(values)]
        return values[0] if low else values[-1 - draw % 4]
    if schema["type"] == "boolean":
        return not low and draw % 8 != 0
    return "理由"
