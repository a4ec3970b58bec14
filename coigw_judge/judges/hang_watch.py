"""A judge under watch: one that hangs, or raises what it should not, is gone (JudgeUnavailable) and gets replaced.

A deadline per request would shoot a healthy engine whose queue is long. So the clock runs while requests are out and
starts again with every reply: only an engine that gives nothing back for `patience` seconds counts as hung.
Not watched: a judge's constructor (vLLM has a limit of its own, VLLM_ENGINE_READY_TIMEOUT_S), and a judge that blocks
the event loop it is asked in.
"""

import asyncio
import time
from collections.abc import Mapping

from coigw_judge.errors import CoigwError, JudgeUnavailable
from coigw_judge.judges.protocol import Judge, Measures, Reply
from coigw_judge.prompting.request import Ask


class Watched:
    """A Judge in front of another, which Measures where that does. `patience` is None where it keeps time by itself."""

    def __init__(self, judge: Judge, patience: float | None) -> None:
        self.concurrency = judge.concurrency
        self.counts: Mapping[str, float] = getattr(judge, "counts", {})  # what a judge counts of its own, if it does
        if isinstance(judge, Measures):
            self.context = judge.context
            self.tokens = judge.tokens
        self._judge = judge
        self._patience = patience
        self._out = 0
        self._heard = 0.0

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request. Raises JudgeUnavailable where requests are out and none has come back for too long."""
        if not self._out:
            self._heard = time.monotonic()
        self._out += 1
        answer = asyncio.ensure_future(self._judge.ask(ask))
        try:
            await self._answered(answer)
        finally:
            self._out -= 1
            answer.cancel()
        self._heard = time.monotonic()
        if answer.cancelled():
            raise JudgeUnavailable("the judge dropped a request")
        error = answer.exception()
        if error is not None and not isinstance(error, CoigwError):
            raise JudgeUnavailable(f"asking the judge raised {type(error).__name__}: {error}") from error
        return answer.result()

    async def _answered(self, answer: "asyncio.Future[Reply]") -> None:
        while not answer.done():
            left = None if self._patience is None else self._heard + self._patience - time.monotonic()
            if left is not None and left <= 0:
                raise JudgeUnavailable(
                    f"{self._out} requests out and no reply for {self._patience:g} s (judge.timeout)"
                )
            await asyncio.wait({answer}, timeout=left)

    async def close(self) -> None:
        """Close the judge."""
        await self._judge.close()
