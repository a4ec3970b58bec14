"""Several servers of one model: which of them gets the next request, and which are left alone for now.

Choice. A record's first request goes where the fewest are out; its further ones go to the same server, whose cache
has their prefix, unless that one is full or has `slack` more requests out than the least loaded: a prefix saves part
of one request, an idle server wastes whole ones. Where all are full, a place that becomes free goes to a waiting
request of a record of that server first; so some more should wait than there are places
(`requests_worth_having`). Only the last records are remembered.
Limits. Each server has a window of its own for requests in flight. A 429 (or 503) halves it, once for all requests
that were out together, every answer widens it by a part of a request, and nothing is sent before Retry-After is over.
Trouble. A server that cannot be reached, or fails three times with no answer between, is set aside. A task of its
own looks after it with growing pauses until it works again; the others go on. Where all are aside, asks wait. When no
server has answered for `patience` seconds (of which a stated Retry-After does not count), they raise FixJudge:
starting this process anew would not bring a server back.
"""

import asyncio
import logging
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from coigw_judge.errors import FixJudge

REQUESTS_PER_SERVER = 16
"""Requests in flight at a server, where the job does not say."""


FIRST_PATIENCE = 120.0
"""Patience, in seconds, as long as no server has ever answered: then the job is likelier wrong than the servers."""

_FAILURES = 3
_LONGEST_PAUSE = 30.0
_LONGEST_BACKOFF = 60.0
_REMEMBERED = 20_000
_log = logging.getLogger(__name__)


def requests_worth_having(servers: int, per_server: int) -> int:
    """As many as may be out, and some that wait, so that a free place finds one of its server's own records."""
    return per_server * servers + (0 if servers == 1 else max(8, servers * per_server // 2))


@dataclass(slots=True, eq=False)
class Server:
    """One server as its requests went. Moments are time.monotonic(); `trouble` is empty while it gets requests."""

    url: str
    most: int
    window: float
    out: int = 0
    heard: float = 0.0
    proved: float = 0.0
    failures: int = 0
    relapses: int = 0
    limited: int = 0
    halved: float = 0.0
    not_before: float = 0.0
    ordered: float = 0.0
    trouble: str = ""
    doubt: asyncio.Lock = field(default_factory=asyncio.Lock)

    def has_room(self, now: float) -> bool:
        """Whether it may be sent a request now."""
        return not self.trouble and now >= self.not_before and self.out < int(self.window)


class Servers:
    """The servers of one judge. `per_server` is how many requests one may have at a time, at the most.

    `works` asks a server a trifle and returns what is wrong with it, or an empty string. `counts` says how often one
    was `set_aside`, and how many requests were `limited`.
    """

    def __init__(
        self, urls: Sequence[str], per_server: int, patience: float, works: Callable[[str], Awaitable[str]]
    ) -> None:
        self._servers = [Server(url, per_server, float(per_server)) for url in random.sample(urls, len(urls))]
        self._slack = max(2, per_server // 4)
        self._patience = patience
        self._works = works
        self._homes: OrderedDict[int, Server] = OrderedDict()
        self._waiting: dict[asyncio.Future[Server], int] = {}
        self._nurses: set[asyncio.Task[None]] = set()
        self._asks = 0
        self.counts: Counter[str] = Counter()
        self._since = time.monotonic()
        self._heard = False
        self._over = ""

    @property
    def ever_answered(self) -> bool:
        """Whether any server has answered a request."""
        return self._heard

    def begin(self) -> None:
        """Somebody has something to ask. Patience is lost only as long as this is so."""
        if not self._asks:
            self._since = time.monotonic()
        self._asks += 1

    def end(self) -> None:
        """Somebody has an answer, or no hope of one."""
        self._asks -= 1

    async def take(self, record: int, failed: Server | None = None) -> Server:
        """A place at a server for a request about this record; give it back by `release`. Raises FixJudge.

        `failed` is where the request was just in vain: another server is taken where one has room.
        """
        while (chosen := self._choose(record, failed)) is None:
            self._lose_patience()
            place: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
            self._waiting[place] = record
            try:
                await asyncio.wait({place}, timeout=self._next_look())
            except asyncio.CancelledError:
                if place.done():
                    self.release(place.result())
                raise
            finally:
                self._waiting.pop(place, None)
            if place.done():
                return place.result()
        return self._given(chosen, record)

    def _choose(self, record: int, failed: Server | None) -> Server | None:
        now = time.monotonic()
        ready = [server for server in self._servers if server.has_room(now)]
        if not ready:
            return None
        least = min(ready, key=lambda server: (server is failed, server.out))
        home = self._homes.get(record)
        return home if home is not failed and home in ready and home.out <= least.out + self._slack else least

    def _given(self, server: Server, record: int) -> Server:
        server.out += 1
        self._homes[record] = server
        self._homes.move_to_end(record)
        if len(self._homes) > _REMEMBERED:
            self._homes.popitem(last=False)
        return server

    def _hand_out(self, server: Server) -> None:
        """Give a server's free places to those that wait: its own records first, then new ones, then others."""
        while self._waiting and server.has_room(now := time.monotonic()):
            place = min(self._waiting, key=lambda waiter: self._strangeness(server, self._waiting[waiter], now))
            place.set_result(self._given(server, self._waiting.pop(place)))

    def _strangeness(self, server: Server, record: int, now: float) -> int:
        """Who waits for a server that takes nothing now is as good as new; else it might wait for ever."""
        home = self._homes.get(record)
        if home is server:
            return 0
        return 1 if home is None or home.trouble or now < home.not_before else 2

    def _next_look(self) -> float:
        """Seconds after which a place may have become free by itself."""
        now = time.monotonic()
        pauses = [server.not_before - now for server in self._servers if server.not_before > now]
        return min([1.0, *pauses]) + 0.001

    def _lose_patience(self) -> None:
        if self._over:
            raise FixJudge(self._over)
        now = time.monotonic()
        if any(not server.trouble and now >= server.not_before for server in self._servers):
            return  # one is only full
        patience = self._patience if self._heard else min(self._patience, FIRST_PATIENCE)
        if now - max(self._since, *(server.ordered for server in self._servers)) > patience:
            troubles = "; ".join(f"{s.url}: {s.trouble or 'too many requests'}" for s in self._servers[:4])
            self._over = f"no server has answered for {patience:g} s (judge.patience); at last: {troubles}"
            raise FixJudge(self._over)

    def release(self, server: Server) -> None:
        """Give a place back."""
        server.out -= 1
        self._hand_out(server)

    def answered(self, server: Server, pause: float) -> None:
        """A request was answered; `pause` seconds are to pass until the next one (rate_limits.used_up)."""
        now = time.monotonic()
        self._since = server.heard = now
        self._heard = True
        server.failures = server.relapses = server.limited = 0
        server.not_before = max(server.not_before, now + pause)
        server.window = min(server.most, server.window + 1 / server.window)
        if server.trouble:
            self._back(server)

    def limited(self, server: Server, pause: float | None, sent: float) -> None:
        """A request sent at that moment was one too many; `pause` is what the server asks for."""
        now = time.monotonic()
        if sent >= server.halved:
            server.window, server.halved = max(1.0, server.window / 2), now
            server.limited += 1
        self.counts["limited"] += 1
        backoff = min(_LONGEST_BACKOFF, 0.25 * 2**server.limited)
        if pause is not None:
            server.ordered = max(server.ordered, now + pause)
            backoff = pause if server.limited < 6 else max(pause, backoff)
        server.not_before = max(server.not_before, now + backoff)

    def failed(self, server: Server, words: str, unreachable: bool) -> None:
        """A request was not answered. A server that cannot be reached is set aside at once."""
        server.failures += 1
        if unreachable or server.failures >= _FAILURES:
            self.set_aside(server, words)

    def set_aside(self, server: Server, words: str) -> None:
        """Send this server nothing until it works again."""
        if server.trouble:
            return
        server.trouble = words
        server.relapses += 1
        self.counts["set_aside"] += 1
        _log.warning("judge server %s is set aside: %s", server.url, words)
        nurse = asyncio.create_task(self._nurse(server))
        self._nurses.add(nurse)
        nurse.add_done_callback(self._nurses.discard)

    def set_aside_url(self, url: str, words: str) -> None:
        """The same by address, for servers that were found down at the start."""
        for server in self._servers:
            if server.url == url:
                self.set_aside(server, words)

    async def _nurse(self, server: Server) -> None:
        pause = min(_LONGEST_PAUSE, 0.25 * 2 ** min(server.relapses, 10))
        while server.trouble:
            await asyncio.sleep(pause)
            words = await self._works(server.url)
            if not server.trouble:
                return  # an answer that was still out came in
            if not words:
                server.proved = time.monotonic()
                self._back(server)
                return
            server.trouble = words
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _back(self, server: Server) -> None:
        server.trouble = ""
        server.failures = 0
        server.window = max(1.0, server.window / 2)
        _log.warning("judge server %s is back", server.url)
        self._hand_out(server)

    async def proven(self, server: Server, since: float) -> bool:
        """Whether a server has answered anything since that moment, or does now: then trouble is the request's."""
        async with server.doubt:
            if max(server.heard, server.proved) > since:
                return True
            if server.trouble:
                return False
            words = await self._works(server.url)
            if words:
                self.set_aside(server, words)
                return False
            server.proved = time.monotonic()
            return True

    async def close(self) -> None:
        """Stop looking after servers."""
        for nurse in list(self._nurses):
            nurse.cancel()
            with suppress(asyncio.CancelledError):
                await nurse
