"""A small real HTTP server that speaks as an OpenAI-compatible one does, and misbehaves on demand. Nothing is a test.

What it does to a request is a function of yours (`act`): it gets the request and returns a status, headers and a
body, or one of the words below. Its scores follow from the texts alone.
  CUT      close the connection without an answer     HALF   close it in the middle of the body
  HANG     answer nothing until the server ends       DRIP   a byte now and then, without end
"""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT, HALF, HANG, DRIP = "cut", "half", "hang", "drip"
Act = tuple[int, dict[str, str], str] | str


@dataclass
class Got:
    """A request as it came. `number` counts completions from 0, trifles (health checks) apart."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    number: int
    at: float = field(default_factory=time.monotonic)

    @property
    def trifle(self) -> bool:
        return self.body.get("max_tokens") == 1

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def record(self) -> str:
        """The first field as it was sent: what a record's requests have in common."""
        return self.user.split("完】")[0]


class ChatServer:
    """Serves on a port of its own until closed; may be closed and opened again on the same port."""

    def __init__(self, act: Callable[[Got], Act] | None = None, **models: Act) -> None:
        self.act: Callable[[Got], Act] = act or (lambda got: completion(got))
        self.models: Act = models.get("models", (200, {}, '{"data": [{"id": "m", "owned_by": "somebody"}]}'))
        self.health: Act = models.get("health", (404, {}, ""))
        self.got: list[Got] = []
        self.trifles = 0
        self.most = 0
        self._out = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def open(self) -> None:
        self.ended.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """End it: new connections are refused, those that are open are cut."""
        if not self.ended.is_set():
            self.ended.set()
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_all()
            self._thread.join()

    def take(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Act:
        with self._lock:
            got = Got(path, headers, body, len(self.got))
            if got.trifle:
                self.trifles += 1
            else:
                self.got.append(got)
            self._out += 1
            self.most = max(self.most, self._out)
        try:
            return self.act(got)
        finally:
            with self._lock:
                self._out -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: ChatServer

    def __init__(self, *where: Any) -> None:
        self._open: list[socket.socket] = []
        super().__init__(*where)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    def cut_all(self) -> None:
        for connection in self._open:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that went away is no matter."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner = self.server.owner
        self._answer(owner.models if self.path.endswith("/models") else owner.health)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self.server.owner.take(self.path, headers, body))

    def _answer(self, act: Act) -> None:
        self.close_connection = self.server.owner.ended.is_set()
        if isinstance(act, str):
            self.close_connection = True
            self._misbehave(act)
            return
        status, headers, content = act
        data = content.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _misbehave(self, how: str) -> None:
        ended = self.server.owner.ended
        if how == HANG:
            ended.wait()
        if how in (HALF, DRIP):
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "100000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"message"')
            self.wfile.flush()
        while how == DRIP and not ended.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def completion(got: Got | None = None, text: str | None = None, reason: str = "stop", **message: Any) -> Act:
    """An answer as OpenAI's: of a text, or to what the request's schema asks."""
    if text is None and got is not None:
        form = got.body.get("response_format") or {}
        text = json.dumps(scores(form.get("json_schema", {}).get("schema", {}), got.user), ensure_ascii=False)
    usage = {"prompt_tokens": 50, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 16}}
    body = {"choices": [{"message": {"content": text, **message}, "finish_reason": reason}], "usage": usage}
    return 200, {"content-type": "application/json"}, json.dumps(body)


def trouble(status: int, said: str = '{"error": "no"}', **headers: str) -> Act:
    """An answer that is an error; header names with _ for -."""
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, said


def scores(schema: Any, seed: str) -> Any:
    """What a schema asks for, the same for the same text."""
    draw = hashlib.sha256(seed.encode()).digest()[0]
    if "properties" in schema:
        return {name: scores(part, seed + name) for name, part in schema["properties"].items()}
    if "enum" in schema:
        return schema["enum"][-1 - draw % min(4, len(schema["enum"]))]
    return True if schema.get("type") == "boolean" else "理由"
