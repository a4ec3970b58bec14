"""Asks of the shipped rubrics, sent to an endpoint judge. Nothing here is a test."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from coigw_judge import load_rubric
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint.judge import EndpointJudge
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.template import load_template

T = TypeVar("T")


def an_ask(answer: str = "文", query: str = "题", rubric: str = "query", attempt: int = 0) -> Ask:
    loaded = load_rubric(rubric)
    prompt = load_template(loaded, "short").render({"answer": answer, "query": query}, None)
    return Ask(
        key=b"", rubric=rubric, prompt=prompt, schema=loaded.reply_schema("short"), reply_tokens=300, attempt=attempt
    )


def config(*urls: str, **keys: Any) -> JudgeConfig:
    where = urls[0] if len(urls) == 1 else urls
    return JudgeConfig(**{"engine": "endpoint", "model": "m", "base_url": where, "timeout": 60, **keys})


def with_judge(made: JudgeConfig, use: Callable[[EndpointJudge], Awaitable[T]]) -> T:
    """Open a judge, use it in an event loop, close it."""

    async def within() -> T:
        judge = EndpointJudge(made)
        try:
            return await use(judge)
        finally:
            await judge.close()

    return asyncio.run(within())


def replies(made: JudgeConfig, asks: Sequence[Ask], at_once: int | None = None) -> list[Reply]:
    """All replies, as many asks at once as the judge takes."""

    async def all_of_them(judge: EndpointJudge) -> list[Reply]:
        admit = asyncio.Semaphore(at_once or judge.concurrency)

        async def one(ask: Ask) -> Reply:
            async with admit:
                return await judge.ask(ask)

        return await asyncio.gather(*map(one, asks))

    return with_judge(made, all_of_them)
