"""What a server is asked beside the job's own requests: who it is, when a judge opens; whether it works, later.

`look` reads /models: a mistake in the job (a key that is not accepted, a redirect, a model that a vLLM server does not
have) is said before any record is read, and so is that no server can be reached. A vLLM server is known there by
`owned_by: vllm`. `Check` asks /health, where there is one, and then for a single token: servers whose engine hangs
may well call themselves healthy.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from coigw_judge.errors import FixJudge, nearest
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint import chat_form

HOPELESS: Mapping[int, str] = {
    401: "the key is not accepted; see judge.api_key_env",
    402: "the account cannot pay",
    403: "access is forbidden; see judge.api_key_env",
    404: "no such model or path; see judge.model and judge.base_url, which ends in /v1 mostly",
}
"""Answers that no request would change."""

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ProbedServer:
    """A server at the start: what is wrong with it, whether it is vLLM's, and the context that it states."""

    url: str
    trouble: str = ""
    reached: bool = True
    vllm: bool = False
    owner: str = ""
    context: int | None = None


def look_at_all(config: JudgeConfig, headers: Mapping[str, str]) -> list[ProbedServer]:
    """Every server of the job, side by side. Raises FixJudge where none can be reached, or one is a mistake."""
    timeout = httpx.Timeout(_SECONDS, connect=config.connect_timeout)
    with httpx.Client(headers=headers, timeout=timeout) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda url: _look(client, url, config.model), config.servers))
    if not any(each.reached for each in found):
        troubles = "; ".join(f"{each.url}: {each.trouble}" for each in found[:4])
        raise FixJudge(f"judge.base_url: no server can be reached ({troubles}); start one, or correct the address")
    if config.tokenizer is not None:
        _require_vllm(found)
    return found


def _look(client: httpx.Client, url: str, model: str) -> ProbedServer:
    try:
        response = client.get(f"{url}/models")
    except httpx.RequestError as error:
        return ProbedServer(url, trouble=said(error), reached=False)
    status = response.status_code
    if response.is_redirect:
        raise FixJudge(redirected(url, response.headers))
    if status == 401:
        raise FixJudge(f"{url}: {HOPELESS[status]} (HTTP {status})")
    if status >= 500 and status != 501:
        return ProbedServer(url, trouble=f"HTTP {status} at /models")
    return _described(url, response.content, model) if status == 200 else ProbedServer(url)


def _described(url: str, content: bytes, model: str) -> ProbedServer:
    """What a list of models says. A vLLM server's is complete, so a model that is not there will not be found."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ProbedServer(url)
    data = body.get("data") if isinstance(body, dict) else None
    cards = [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []
    owner = str(cards[0].get("owned_by", "")) if cards else ""
    if owner != "vllm":
        return ProbedServer(url, owner=owner)
    names = [str(card.get("id")) for card in cards]
    if model not in names:
        raise FixJudge(f"judge.model: {url} serves no {model}{nearest(model, names)}; it serves {', '.join(names[:8])}")
    context = cards[names.index(model)].get("max_model_len")
    return ProbedServer(url, vllm=True, owner=owner, context=context if isinstance(context, int) else None)


def _require_vllm(servers: Sequence[ProbedServer]) -> None:
    for server in servers:
        if not server.vllm and not server.trouble:
            owner = f"its models are owned by {server.owner!r}" if server.owner else "its /models does not say vllm"
            raise FixJudge(
                f"judge.tokenizer: token ids are for vLLM servers, and {server.url} is none ({owner}); leave "
                "judge.tokenizer out, or ask the vLLM server directly and not through another"
            )


class HealthCheck:
    """Whether a server works, by /health and a request for one token. Called with an address, says what is wrong."""

    def __init__(self, client: httpx.AsyncClient, path: str, body: Mapping[str, Any], longest: float) -> None:
        self._client = client
        self._path = path
        self._body = dict(body)
        self._longest = min(longest, 2 * _SECONDS)

    async def __call__(self, url: str) -> str:
        """Empty where all is well."""
        try:
            async with asyncio.timeout(self._longest):
                health = await self._client.get(f"{url.removesuffix('/v1')}/health")
                if health.status_code >= 500:
                    return f"HTTP {health.status_code} at /health"
                response = await self._client.post(f"{url}{self._path}", json=self._body)
        except TimeoutError:
            return f"not even one token within {self._longest:g} s"
        except httpx.RequestError as error:
            return said(error)
        status = response.status_code
        if status >= 500 or status in HOPELESS or response.is_redirect:
            return f"HTTP {status}"
        if status < 300 and chat_form.read(response.content, response.headers.get("content-type", "")) is None:
            return "it answers something else than a completion"
        return ""


def said(error: Exception) -> str:
    """An error of httpx in a few words."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def redirected(url: str, headers: Mapping[str, str]) -> str:
    """What to say of a redirect: it is not followed, for the key must go nowhere else."""
    return f"{url}: redirects to {headers.get('location', 'nowhere')[:200]}; set judge.base_url to where it should go"
