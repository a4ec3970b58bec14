"""vLLM's own server for the tools that speak to one, with the job's checkpoint and engine arguments.

It is watched at its /metrics: when it first had a request, when it had answered the last, and how many tokens it read,
took from its cache and wrote. The tools themselves do not tell what came from the cache. Two polls are 0.2 s apart, by
which both ends may be late. The engine counts a request only after the step that read it: the beginning is late by its
first step, in the tool's favour.
"""

import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import psutil
from asked import Request, cause, requests, sampled
from prometheus_client.parser import text_string_to_metric_families
from systems import WARM_UP, Ran
from turns import environment

from coigw_judge.job.job import LoadedJob
from coigw_judge.judges.presets import template_arguments
from coigw_judge.judges.vllm.arguments import engine_arguments, model_dir

MODEL = "judge"
"""The name under which the model is served."""
_COUNTED = {
    "vllm:prompt_tokens": "prompt_tokens",
    "vllm:prefix_cache_hits": "cached_tokens",
    "vllm:generation_tokens": "generated_tokens",
    "vllm:request_success": "requests",
}
_OPENAI = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
_URL = "COIGW_PEERS_SERVER"
_POLL_S = 0.2
_START_S = 300


def body(job: LoadedJob, schema: str, max_tokens: int) -> dict[str, Any]:
    """All of a chat request's body but model and messages."""
    reply = {"type": "json_schema", "json_schema": {"name": "reply", "schema": json.loads(schema)}}
    template = template_arguments(job.config.judge)
    return {**sampled(job), "max_tokens": max_tokens, "response_format": reply, "chat_template_kwargs": template}


def openai_arguments(job: LoadedJob, schema: str, max_tokens: int) -> dict[str, Any]:
    """The same as arguments of the openai package, which takes by name only what OpenAI's own service knows."""
    everything = body(job, schema, max_tokens)
    known = {name: everything.pop(name) for name in (*_OPENAI, "max_tokens") if name in everything}
    return {**known, "extra_body": everything}


def by_rubric(asked: Sequence[Request]) -> dict[str, list[Request]]:
    """The requests of each rubric: what a tool needs that sets schema and token limit once for a whole column."""
    found: dict[str, list[Request]] = {}
    for each in asked:
        found.setdefault(each.rubric, []).append(each)
    return found


class Server:
    """A warmed server, watched from now on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._before = _metrics(url)
        self._first = self._last = 0.0
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def ran(self, job: LoadedJob, records: int, replies: Sequence[tuple[str, str]]) -> Ran:
        """What came of it, given every reply as (rubric, text)."""
        counted = {name: value - self._before[name] for name, value in _metrics(self.url).items()}
        if counted["requests"] != len(replies):
            raise SystemExit(f"the server answered {counted['requests']} requests, the tool brought {len(replies)}")
        causes = Counter(found for rubric, text in replies if (found := cause(job, rubric, text)) is not None)
        time.sleep(2 * _POLL_S)
        self._over.set()
        return Ran(records=records, first=self._first, last=self._last, unscored=dict(causes), **counted)

    def _watch(self) -> None:
        """Note when it has its first request and when its last answer."""
        answered = self._before["requests"]
        while not self._over.wait(_POLL_S):
            now, at = _metrics(self.url), time.time()
            if not self._first and now["prompt_tokens"] > self._before["prompt_tokens"]:
                self._first = at
            if now["requests"] > answered:
                answered, self._last = now["requests"], at


@contextmanager
def started(job: LoadedJob, log: IO[bytes]) -> Iterator[psutil.Process]:
    """A server for the tools of one round, one after another; they find it in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_flags(job, port)]
    variables = {**environment(), "VLLM_SERVER_DEV_MODE": "1"}  # it has a call that empties the cache
    process = psutil.Popen(command, env=variables, stdout=log, stderr=log)
    try:
        _wait(url, process)
        os.environ[_URL] = url
        yield process
    finally:
        process.terminate()
        process.wait(60)


def at_server(job: LoadedJob) -> "Server":
    """The round's server with an emptied cache, warmed by one request per rubric, as every system is warmed."""
    url = os.environ[_URL]
    _post(f"{url}/reset_prefix_cache", {})
    for each in requests(job, [WARM_UP]):
        asked = {"model": MODEL, "messages": each.messages, **body(job, each.schema, each.max_tokens)}
        _post(f"{url}/v1/chat/completions", asked)
    return Server(url)


def _flags(job: LoadedJob, port: int) -> list[str]:
    flags = ["--model", str(model_dir(job.config.judge)[0]), "--served-model-name", MODEL, "--port", str(port)]
    flags += ["--host", "127.0.0.1", "--disable-uvicorn-access-log"]
    for name, value in engine_arguments(job.config.judge).items():
        if name == "disable_log_stats":  # without them /metrics says nothing
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", value if isinstance(value, str) else json.dumps(value)]
    return flags


def _wait(url: str, process: psutil.Popen) -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise SystemExit("vLLM's server did not start")


def _post(url: str, asked: Mapping[str, Any]) -> None:
    data = json.dumps(asked).encode()
    urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=300).close()


def _metrics(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: Counter[str] = Counter()
    for family in families:
        if name := _COUNTED.get(family.name):
            found[name] += int(sum(each.value for each in family.samples if each.name == f"{family.name}_total"))
    return {name: found[name] for name in _COUNTED.values()}
