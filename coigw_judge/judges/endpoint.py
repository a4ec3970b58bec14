"""Any OpenAI-compatible server as a judge, so that a first real job needs no GPU.

One chat completion per ask, with the rubric's JSON schema as `response_format`. The key comes from the
environment only. 429, 408 and 5xx answers and broken connections are tried again with growing pauses
(Retry-After is honoured); other 4xx answers condemn this one request, except 401, 403 and 404, after which none
can succeed. Here the server renders the chat template, so control tokens are not ours to encode: what looks
like one in a record's text is broken up with a zero-width space before it is sent.
Not known here: several servers, rate limits (both come with the cluster work).
"""

import asyncio
import os
import re
from typing import Any

import httpx

from coigw_judge.ask import Ask
from coigw_judge.errors import FixJudge, JudgeUnavailable
from coigw_judge.job import JudgeConfig
from coigw_judge.judges import Reply
from coigw_judge.judges.presets import sampling

FORMAT = 1
"""Counts changes of the request's body; part of the judge's fingerprint."""

_CONTROL = re.compile(r"<(?=\|)|<(?=/?(?:think|tool_call|tool_response|s)>)|\[(?=/?INST\])")
_PAUSES = (0.5, 1, 2, 4, 8, 16)
_HOPELESS = {401: "the key is not accepted", 403: "access is forbidden", 404: "no such model or path"}


class EndpointJudge:
    """A Judge behind `judge.base_url`. Raises FixJudge where the key is missing or not accepted."""

    def __init__(self, config: JudgeConfig) -> None:
        if config.base_url is None:
            raise FixJudge("judge.base_url is missing")
        headers = {}
        if config.api_key_env is not None:
            key = os.environ.get(config.api_key_env)
            if not key:
                raise FixJudge(f"judge.api_key_env: the environment variable {config.api_key_env} is not set")
            headers["Authorization"] = f"Bearer {key}"
        self._config = config
        self.concurrency = config.concurrency or 16
        self.context = config.context
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        self._client = httpx.AsyncClient(headers=headers, timeout=config.timeout, limits=limits)

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request; waits out what a server asks to wait for."""
        body = self._body(ask)
        trouble = ""
        for pause in (*_PAUSES, None):
            try:
                response = await self._client.post(self._url, json=body)
            except httpx.TimeoutException:
                return Reply(cause="timeout", detail=f"no reply within {self._config.timeout:g} s (judge.timeout)")
            except httpx.TransportError as error:
                trouble, wait = f"{type(error).__name__}: {error}", None
            else:
                if response.status_code < 400:
                    return _read(response)
                if response.status_code not in (408, 429) and response.status_code < 500:
                    return self._refused(response)
                trouble, wait = f"HTTP {response.status_code}", _retry_after(response)
            if pause is not None:
                await asyncio.sleep(pause if wait is None else wait)
        raise JudgeUnavailable(f"{self._url}: does not answer ({trouble})")

    def tokens(self, text: str) -> int:
        """A character as a token: more than Chinese takes, and all that can be said without a tokenizer."""
        return characters(text)

    def _body(self, ask: Ask) -> dict[str, Any]:
        fields = "\n\n".join(_broken_up(field) for field in ask.prompt.fields)
        drawn = sampling(self._config, ask.attempt)
        top_k = drawn.pop("top_k", None)
        budget = ask.reply_tokens + (self._config.thinking_tokens if self._config.thinking else 0)
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": [
                {"role": "system", "content": ask.prompt.system},
                {"role": "user", "content": f"{fields}\n\n{ask.prompt.task}"},
            ],
            "max_tokens": budget,
            "seed": ask.sample * 1000 + ask.attempt,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": ask.rubric, "schema": dict(ask.schema), "strict": True},
            },
            **drawn,
        }
        if top_k is not None and self._config.sampling.top_k is not None:
            body["top_k"] = top_k
        return body | self._config.extra_body

    def _refused(self, response: httpx.Response) -> Reply:
        text = response.text[:300].replace("\n", " ")
        if response.status_code in _HOPELESS:
            raise FixJudge(f"{self._url}: {_HOPELESS[response.status_code]} (HTTP {response.status_code}: {text})")
        return Reply(cause="refused", detail=f"HTTP {response.status_code}: {text}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _broken_up(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0] + "\u200b", text)


def characters(text: str) -> int:
    """How many characters a text has as it is sent."""
    return len(_broken_up(text))


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(float(value), 120.0) if re.fullmatch(r"\d+(\.\d+)?", value) else None


def _read(response: httpx.Response) -> Reply:
    """A completion's text and token counts; servers differ in what they leave out."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Reply(cause="malformed", text=response.text[:2000], detail="the server's answer is no chat completion")
    usage = body.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    refused = message.get("refusal")
    return Reply(
        text=text if isinstance(text, str) else str(text),
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        generated_tokens=int(usage.get("completion_tokens") or 0),
        cause="refused" if refused else None,
        detail=str(refused) if refused else "",
    )
