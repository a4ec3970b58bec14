"""The watch over a judge: silence is a hang, a long queue is none, and what a judge should not raise is told."""

import asyncio
from typing import Any

import pytest

from coigw_judge.errors import FixJudge, JudgeUnavailable
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import open_judge
from coigw_judge.judges.hang_watch import Watched
from coigw_judge.judges.protocol import Judge, Reply
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.template import Prompt

ASK = Ask(key=b"k", rubric="r", prompt=Prompt(system="", fields=(), task=""), schema={}, reply_tokens=1)


class OneByOne:
    """Answers one request at a time, so that the last of many waits long; `after` that many it falls silent."""

    def __init__(self, seconds: float = 0.0, after: int = 1000, error: BaseException | None = None) -> None:
        self.concurrency = 7
        self._seconds, self._left, self._error = seconds, after, error
        self._turn = asyncio.Lock()
        self.cancelled = 0

    async def ask(self, ask: Ask) -> Reply:
        try:
            async with self._turn:
                if self._error is not None:
                    raise self._error
                await asyncio.sleep(self._seconds if self._left else 60)
                self._left -= 1
                return Reply(text="r")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        pass


def asks(judge: Any, patience: float | None, count: int) -> list[Any]:
    async def together() -> list[Any]:
        watched = Watched(judge(), patience)
        return await asyncio.gather(*(watched.ask(ASK) for _ in range(count)), return_exceptions=True)

    return asyncio.run(together())


def test_a_long_queue_is_no_hang():
    """Forty requests take eight times the patience, but one comes back every little while."""
    assert asks(lambda: OneByOne(0.02), 0.1, 40) == [Reply(text="r")] * 40


def test_silence_is_a_hang_for_all_that_are_out():
    found = asks(lambda: OneByOne(0.01, after=3), 0.2, 8)
    assert found[:3] == [Reply(text="r")] * 3
    assert all(
        isinstance(error, JudgeUnavailable) and "no reply for 0.2 s (judge.timeout)" in str(error)
        for error in found[3:]
    )


def test_the_clock_stands_still_while_nothing_is_out():
    async def now_and_then() -> list[Reply]:
        watched = Watched(OneByOne(0.01), 0.1)
        replies = [await watched.ask(ASK)]
        await asyncio.sleep(0.3)
        return [*replies, await watched.ask(ASK)]

    assert asyncio.run(now_and_then()) == [Reply(text="r")] * 2


def test_without_patience_nobody_looks_at_the_clock():
    assert asks(lambda: OneByOne(0.3), None, 1) == [Reply(text="r")]


@pytest.mark.parametrize(
    "raised, seen, words",
    [
        (KeyError("shard"), JudgeUnavailable, "asking the judge raised KeyError: 'shard'"),
        (asyncio.CancelledError(), JudgeUnavailable, "the judge dropped a request"),
        (FixJudge("the key is not accepted"), FixJudge, "the key is not accepted"),
        (JudgeUnavailable("gone"), JudgeUnavailable, "gone"),
    ],
)
def test_what_a_judge_raises_is_an_error_of_ours(raised, seen, words):
    (found,) = asks(lambda: OneByOne(error=raised), 5, 1)
    assert type(found) is seen and str(found) == words


def test_a_request_that_is_given_up_is_taken_back_from_the_judge():
    async def give_up() -> int:
        judge = OneByOne(60)
        task = asyncio.create_task(Watched(judge, 5).ask(ASK))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        return judge.cancelled

    assert asyncio.run(give_up()) == 1


def test_a_judge_of_ones_own_is_watched():
    judge = open_judge(JudgeConfig(engine="scripted_judge:ScriptedJudge", concurrency=3))
    assert isinstance(judge, Watched) and isinstance(judge, Judge) and judge.concurrency == 3
