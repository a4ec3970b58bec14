"""Any OpenAI-compatible servers as a judge, so that a first real job needs no GPU and a large one can use a fleet.

One request per ask: messages (chat_form.py), or token ids where the job names the tokenizer of a vLLM server's model
(token_id_form.py). The job says which of the two, and the server is not asked: a fingerprint must not depend on what
happens to listen at an address. servers.py chooses the server, rate_limits.py says how fast.

What a failure means: 429 and 503 are a server's limit, and the ask waits, however long, as long as any server answers.
400 and the like are the fault of this request alone. 401, 402, 403, 404 and redirects are mistakes in the job as long
as no server has ever answered; later they are a server's trouble. Timeouts, other 5xx, broken connections and pages
that are no completion may be the request's fault or the server's: the ask is tried again, on another server if there is
one. It becomes Unscored only when a server proves to work meanwhile (by an answer to another request, or to a probe).
So an outage costs time and no rows.
The key comes from the environment, goes to the named servers alone (redirects are not followed), and is removed from
their answers. Proxies are httpx's: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.
A declared rate is shared out evenly among the replicas.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx
import xxhash
from pydantic import SecretStr

from coigw_judge.errors import FixJudge
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint import chat_form, probes
from coigw_judge.judges.endpoint.chat_form import Chat, Request
from coigw_judge.judges.endpoint.rate_limits import TokenBucket, retry_after, used_up
from coigw_judge.judges.endpoint.servers import REQUESTS_PER_SERVER, Server, Servers, requests_worth_having
from coigw_judge.judges.endpoint.token_id_form import Completion, check_count
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask
from coigw_judge.replies.outcome import Cause

_TRIES = 5
"""Failures after which it is asked whether the request is to blame; a timeout is asked about at once."""

_LARGEST = 16_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: all of it, or its first _LARGEST bytes and a few."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there was no answer. `cause` is what becomes of the ask if it is to blame."""

    words: str
    cause: Cause = "refused"
    unreachable: bool = False
    took_too_long: bool = False


class EndpointJudge:
    """A Judge behind `judge.base_url`. Raises FixJudge where the job cannot be asked as it stands, also from `ask`."""

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._key = SecretStr(_key(config))
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"} if self._key else {}
        servers_seen = probes.look_at_all(config, headers)
        self.context = _context(config, servers_seen)
        self._form: Chat | Completion = Chat(config) if config.tokenizer is None else Completion(config, self.context)
        per_server = config.concurrency or REQUESTS_PER_SERVER
        self.concurrency = requests_worth_having(len(config.servers), per_server)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=config.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self.concurrency),
        )
        self._check = probes.HealthCheck(self._client, self._form.path, self._form.trifle(), config.timeout)
        self._servers = Servers(config.servers, per_server, config.patience, self._check)
        self.counts = self._servers.counts
        self._down = [seen for seen in servers_seen if seen.trouble]
        self._buckets = _buckets(config)
        self._completed = False

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request; waits out limits and outages. Raises FixJudge where no server has answered for long."""
        request = self._form.request(ask)
        if request.refused is not None:
            return request.refused
        while self._down:  # the first ask: only now there is an event loop
            seen = self._down.pop()
            self._servers.set_aside_url(seen.url, seen.trouble)
        content = json.dumps(request.body, ensure_ascii=False).encode("utf-8", "replace")
        record = xxhash.xxh3_64_intdigest("".join(ask.prompt.fields[:1]).encode())
        self._servers.begin()
        try:
            reply = await self._answered(request, content, record)
        finally:
            self._servers.end()
        return replace(reply, text=self._clean(reply.text), detail=self._clean(reply.detail), flags=request.flags)

    def tokens(self, text: str) -> int:
        """How many tokens a text takes, at the most."""
        return self._form.tokens(text)

    async def _answered(self, request: Request, content: bytes, record: int) -> Reply:
        faults, first = 0, 0.0
        server: Server | None = None
        while True:
            await self._within_rate(request)
            server = await self._servers.take(record, server)
            sent = time.monotonic()
            try:
                outcome = await self._sent(server, request, content)
            finally:
                self._servers.release(server)
            if isinstance(outcome, Reply):
                return outcome
            if outcome is None:
                continue
            if not outcome.unreachable:
                faults, first = faults + 1, first or sent
            if outcome.took_too_long or faults >= _TRIES:
                if await self._servers.proven(server, first):
                    return _blamed(outcome, faults)
                faults, first = 0, 0.0  # it was the server
            await asyncio.sleep(0.1 * 2**faults)

    async def _sent(self, server: Server, request: Request, content: bytes) -> Reply | Fault | None:
        """One try. None where the ask is to be sent again when there is room for it."""
        sent = time.monotonic()
        came = await self._post(server, content)
        outcome = came if isinstance(came, Fault) else self._understood(server, request, came, sent)
        if isinstance(outcome, Fault):
            self._servers.failed(server, self._clean(outcome.words), outcome.unreachable)
        return outcome

    async def _within_rate(self, request: Request) -> None:
        if "requests" in self._buckets:
            await self._buckets["requests"].take(1)
        if "tokens" in self._buckets:
            await self._buckets["tokens"].take(request.tokens)

    async def _post(self, server: Server, content: bytes) -> Answer | Fault:
        headers = {"content-type": "application/json"}
        came = bytearray()
        try:
            async with (
                asyncio.timeout(self._config.timeout),
                self._client.stream(
                    "POST", f"{server.url}{self._form.path}", content=content, headers=headers
                ) as response,
            ):
                async for chunk in response.aiter_bytes():
                    came += chunk
                    if len(came) > _LARGEST:
                        break
        except TimeoutError:
            return Fault(f"no reply within {self._config.timeout:g} s (judge.timeout)", "timeout", took_too_long=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            return Fault(probes.said(error), unreachable=True)
        except httpx.RequestError as error:
            return Fault(probes.said(error))
        return Answer(response.status_code, response.headers, bytes(came))

    def _understood(self, server: Server, request: Request, answer: Answer, sent: float) -> Reply | Fault | None:
        """The reply in an answer; a fault; or None where the server can or may take nothing now."""
        status = answer.status
        if status in (429, 503, 529):
            self._servers.limited(server, retry_after(answer.headers), sent)
            return None
        if status in probes.HOPELESS or 300 <= status < 400:
            self._hopeless(server, answer)
            return None
        if status == 408 or status >= 500:
            return Fault(self._words(answer), "timeout" if status in (408, 504) else "refused")
        reply = self._reply(answer)
        if reply is None:
            return Fault(f"an answer that is no completion: {self._shown(answer)}", "malformed")
        self._servers.answered(server, used_up(answer.headers, request.tokens))
        if "tokens" in self._buckets and reply.prompt_tokens:
            self._buckets["tokens"].give_back(request.tokens - reply.prompt_tokens - reply.generated_tokens)
        check_count(server.url, request, reply)
        return reply

    def _reply(self, answer: Answer) -> Reply | None:
        if len(answer.content) > _LARGEST:
            return Reply(cause="malformed", detail=f"an answer of more than {_LARGEST:,} bytes")
        if answer.status == 413:
            return Reply(cause="too_long", detail=self._words(answer))
        if answer.status >= 400:
            hint = "" if self._completed else _hint(self._config)
            return Reply(cause="refused", detail=f"{self._words(answer)}{hint}")
        reply = chat_form.read(answer.content, answer.headers.get("content-type", ""))
        self._completed = self._completed or reply is not None
        return reply

    def _hopeless(self, server: Server, answer: Answer) -> None:
        words = f"{probes.HOPELESS.get(answer.status, 'a redirect')} ({self._words(answer)})"
        if not self._servers.ever_answered:
            moved = answer.status not in probes.HOPELESS
            raise FixJudge(
                self._clean(probes.redirected(server.url, answer.headers) if moved else f"{server.url}: {words}")
            )
        self._servers.set_aside(server, self._clean(words))

    def _words(self, answer: Answer) -> str:
        return f"HTTP {answer.status}: {self._shown(answer)}"

    def _shown(self, answer: Answer) -> str:
        return self._clean(" ".join(answer.content[:2000].decode("utf-8", "replace").split()))[:300]

    def _clean(self, text: str) -> str:
        """A text without the key: some servers repeat it in their errors."""
        return text.replace(self._key.get_secret_value(), "***") if self._key else text

    async def close(self) -> None:
        """Close the connections."""
        await self._servers.close()
        await self._client.aclose()


def _blamed(fault: Fault, times: int) -> Reply:
    often = f", {times} times" if times > 1 else ""
    return Reply(cause=fault.cause, detail=f"{fault.words}{often}, while the server works")


def _key(config: JudgeConfig) -> str:
    """The key, from the environment. Raises FixJudge without showing it."""
    name = config.api_key_env
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise FixJudge(f"judge.api_key_env: the environment variable {name} is not set")
    if not (key.isascii() and key.isprintable()):
        raise FixJudge(f"judge.api_key_env: what stands in {name} is no key: it holds signs that no header can")
    if key in json.dumps([config.extra_body, config.servers]):
        raise FixJudge(f"judge: the key of {name} stands in extra_body or base_url too; take it out, it is sent anyway")
    return key


def _context(config: JudgeConfig, servers_seen: list[probes.ProbedServer]) -> int | None:
    """What the job says, else the least that vLLM servers state. Raises FixJudge where the job says more."""
    stated = [(seen.context, seen.url) for seen in servers_seen if seen.context is not None]
    if config.context is None:
        return min(stated)[0] if stated else None
    for context, url in stated:
        if context < config.context:
            raise FixJudge(f"judge.context: {config.context} is more than the {context} tokens that {url} takes")
    return config.context


def _buckets(config: JudgeConfig) -> dict[str, TokenBucket]:
    """The declared rate, this replica's part of it."""
    rates = {"requests": config.rate.requests_per_minute, "tokens": config.rate.tokens_per_minute}
    return {kind: TokenBucket(rate / config.replica_range[1]) for kind, rate in rates.items() if rate is not None}


def _hint(config: JudgeConfig) -> str:
    """What to try where a server refuses the very first request."""
    if config.reply_format == "none":
        return "; a key that it does not know is left out by a null in judge.extra_body"
    return (
        f"; if it does not know the response format {config.reply_format}, set judge.reply_format: "
        f"{'json_object or none' if config.reply_format == 'json_schema' else 'none'}"
    )
