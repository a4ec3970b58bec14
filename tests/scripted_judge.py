"""A judge that answers by rule, for what a real one cannot be made to do on demand.

Scores follow from the record's texts alone, so two runs agree. `options`:
  log      a file that gets one line per ask
  whence   a file that gets a line per process: its niceness, and where our package was imported from
  seconds  how long an answer takes; `pace`: a file that says so, and may change meanwhile
  fail     rubric -> what it answers instead; `low`: rubrics that score 0
  cached   half of a prompt's tokens are said to come from the cache
  unsteady further samples (2 and on) answer each for themselves; `lose`: those numbers of them fail
  poison   a text at which it dies, with all that is out; `once`: a file, only the process that creates it dies
  counts   names of what it counts of its own, once per request
  words    what it dies with; `reason`: what it gives as the reason of a score
  child    hold a child process that stands for the engine; it dies when that is gone
  expected rubric -> what is taken off its scores to give the expected ones (not below 0); null: it has none
  hang     a file: the process that creates it answers `hang_after` asks, and then nothing any more
  broken   what the constructor raises; `stillborn`: what the very first request, the self-test's, does
"""

import asyncio
import hashlib
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import coigw_judge
from coigw_judge.errors import JudgeUnavailable
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask


class ScriptedJudge:
    meaningless = True
    concurrency = 64

    def __init__(self, config: JudgeConfig) -> None:
        self._options = config.options
        self.concurrency = config.concurrency or self.concurrency
        self.counts: Counter[str] = Counter()
        self._asked = 0
        self._dead = ""
        self._hangs = "hang" in self._options and _first(Path(self._options["hang"]))
        if "whence" in self._options:
            with Path(self._options["whence"]).open("a") as whence:
                whence.write(f"{os.nice(0)} {coigw_judge.__file__}\n")
        if "broken" in self._options:
            raise KeyError(self._options["broken"])
        # `cat` ends when the pipe does: with this process, however that ends.
        self._child = subprocess.Popen(["cat"], stdin=subprocess.PIPE) if self._options.get("child") else None

    async def ask(self, ask: Ask) -> Reply:
        if "log" in self._options and ask.key:
            with Path(self._options["log"]).open("a") as log:
                drawn = f" {ask.sample} {ask.temperature} {ask.seed}" if ask.sample > 1 else ""
                log.write(f"{ask.rubric} {ask.key.hex()} {ask.attempt}{drawn}\n")
        if "stillborn" in self._options:
            raise RuntimeError(self._options["stillborn"])
        text = "\n".join(ask.prompt.fields)
        poison = self._options.get("poison")
        if (
            ask.key
            and poison
            and poison in text
            and ("once" not in self._options or _first(Path(self._options["once"])))
        ):
            self._dead = self._options.get("words", "the scripted judge died")
        await asyncio.sleep(self._seconds())
        if self._child is not None and self._child.poll() is not None:
            self._dead = "the scripted judge's engine is gone"
        self._asked += bool(ask.key)
        self.counts.update(self._options.get("counts", []) if ask.key else [])
        if self._hangs and self._asked > self._options.get("hang_after", 0):
            await asyncio.Event().wait()
        failure = self._options.get("fail", {}).get(ask.rubric) if ask.key else None
        if failure == "die" or (ask.key and self._dead):
            raise JudgeUnavailable(self._dead or "the scripted judge died")
        if failure == "length":
            return Reply(text='{"quality"', finish_reason="length", prompt_tokens=len(text), generated_tokens=9)
        if failure is not None:
            return Reply(text=failure, finish_reason="stop", prompt_tokens=len(text), generated_tokens=9)
        if ask.key and ask.sample in self._options.get("lose", []):
            return Reply(text="嗯", finish_reason="stop", prompt_tokens=len(text), generated_tokens=1)
        low = ask.rubric in self._options.get("low", [])
        seed = f"{ask.rubric}{text}" + (f"#{ask.sample}" if self._options.get("unsteady") and ask.sample > 1 else "")
        reply = json.dumps(_answer(ask.schema, seed, low, self._options.get("reason", "理由")), ensure_ascii=False)
        cached = len(text) // 2 if self._options.get("cached") else 0
        tokens = {"prompt_tokens": len(text), "cached_tokens": cached, "generated_tokens": len(reply)}
        return Reply(text=reply, finish_reason="stop", **tokens, **(self._expected(ask, reply) if ask.expected else {}))

    def _expected(self, ask: Ask, reply: str) -> dict[str, dict[str, Any]]:
        if "expected" not in self._options:
            return {}
        less = self._options["expected"].get(ask.rubric, 0)
        scores = {key: item["score"] for key, item in json.loads(reply).items() if "score" in item}
        if less is None:
            return {"expected": dict.fromkeys(scores), "expected_missing": dict.fromkeys(scores, "crosses")}
        return {"expected": {key: max(0.0, score - less) for key, score in scores.items()}}

    def _seconds(self) -> float:
        if "pace" in self._options:
            return float(Path(self._options["pace"]).read_text())
        return float(self._options.get("seconds", 0))

    async def close(self) -> None:
        pass


def _first(path: Path) -> bool:
    """Whether this process is the first that creates the file."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _answer(schema: Any, seed: str, low: bool, reason: str) -> Any:
    draw = hashlib.sha256(seed.encode()).digest()[0]
    if "properties" in schema:
        return {name: _answer(part, seed + name, low, reason) for name, part in schema["properties"].items()}
    if "enum" in schema:
        values = schema["enum"]
        if isinstance(values[0], str):
            return values[draw % len(values)]
        return values[0] if low else values[-1 - draw % 4]
    if schema["type"] == "boolean":
        return not low and draw % 8 != 0
    return reason
