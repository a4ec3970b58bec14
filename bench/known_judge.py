"""A judge that fails a known share of a crawl under each rubric, and counts a character as a token.

`options`: `fails`: rubric -> share of the records that it fails; `together`: all rubrics draw the same number for a
record, so that whoever fails at a low rate fails at every higher one (else each draws its own). Its prefix cache is
ideal: the system text, and the fields of a record that an earlier request to this process began with.
"""

import hashlib
import json

from free_judge import answer

from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask

REPLY_TOKENS = 40
_BETWEEN = 2
"""Characters between two parts of a prompt."""


class KnownJudge:
    meaningless = True

    def __init__(self, config: JudgeConfig) -> None:
        self.concurrency = config.concurrency or 256
        self._fails = config.options["fails"]
        self._together = config.options.get("together", False)
        self._shown: dict[bytes, set[tuple[str, ...]]] = {}

    async def ask(self, ask: Ask) -> Reply:
        fields = ask.prompt.fields
        home = hashlib.blake2b(fields[0].encode(), digest_size=8)
        shown = self._shown.setdefault(home.digest(), set())
        shared = max((n for n in range(len(fields) + 1) if fields[:n] in shown), default=0)
        shown.update(fields[:n] for n in range(1, len(fields) + 1))
        if not self._together:
            home.update(ask.rubric.encode())
        draw = int.from_bytes(home.digest(), "big") / 2**64
        bad = bool(ask.key) and draw < self._fails[ask.rubric]
        text = json.dumps(answer(ask.schema, bad), ensure_ascii=False)
        return Reply(
            text=text,
            finish_reason="stop",
            prompt_tokens=length((ask.prompt.system, *fields, ask.prompt.task)),
            cached_tokens=length((ask.prompt.system, *fields[:shared])),
            generated_tokens=REPLY_TOKENS,
        )

    async def close(self) -> None:
        pass


def length(parts: tuple[str, ...]) -> int:
    """Characters of a prompt's parts, what stands behind each included."""
    return sum(len(part) + _BETWEEN for part in parts)
