"""Several servers: who gets a request, limits that slow and never fail, servers that die and come back."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from asking import an_ask, config, replies, with_judge
from chat_server import CUT, HANG, Act, Got, completion, trouble

from coigw_judge import load_rubric
from coigw_judge.errors import FixJudge
from coigw_judge.judges.endpoint.judge import EndpointJudge
from coigw_judge.judges.endpoint.rate_limits import TokenBucket, duration, retry_after, used_up
from coigw_judge.judges.endpoint.servers import Servers
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.replies.outcome import Scored

RUBRIC = load_rubric("query")


def slowly(got: Got) -> Act:
    time.sleep(0.02)
    return completion(got)


def all_scored(found: list) -> bool:
    return all(isinstance(read_reply(reply, RUBRIC), Scored) for reply in found)


def many(count: int) -> list:
    return [an_ask(f"第{n}只表走得慢") for n in range(count)]


async def well(_url: str) -> str:
    return ""


# Choice


def test_the_least_loaded_server_is_taken_and_a_record_stays_with_its_own():
    async def scene() -> None:
        servers = Servers(["a", "b", "c"], 8, 60, well)
        first = [await servers.take(record) for record in range(6)]
        assert Counter(server.url for server in first) == {"a": 2, "b": 2, "c": 2}, "spread evenly"
        for server in first:
            servers.release(server)
        again = [await servers.take(record) for record in range(6)]
        assert again == first, "each where its prefix is"
        home = first[0]
        stayed = 0
        while (await servers.take(0)) is home:
            stayed += 1
        others = [server for server in {*first} if server is not home]
        assert home.out > min(server.out for server in others), "it may have more out than others"
        assert home.out - 1 <= min(server.out for server in others) + 2, "but not without bound"
        assert stayed <= 3

    asyncio.run(scene())


def test_a_place_is_waited_for_and_given_in_turn():
    async def scene() -> None:
        servers = Servers(["a"], 2, 60, well)
        held = [await servers.take(n) for n in range(2)]
        waiting = [asyncio.create_task(servers.take(n)) for n in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        for server in held:
            servers.release(server)
        await asyncio.wait(waiting[:2], timeout=10)
        assert [task.done() for task in waiting] == [True, True, False]
        waiting[2].cancel()

    asyncio.run(scene())


def test_a_free_place_goes_to_a_record_of_its_own_server():
    async def scene() -> None:
        servers = Servers(["a", "b"], 1, 60, well)
        one, other = await servers.take(1), await servers.take(2)
        assert one is not other
        new, second, first = (asyncio.create_task(servers.take(record)) for record in (3, 2, 1))
        await asyncio.sleep(0)
        servers.release(one)
        assert (await first) is one, "though it came last"
        servers.release(other)
        assert (await second) is other
        servers.release(one)
        assert (await new) is one
        foreign = asyncio.create_task(servers.take(1))
        await asyncio.sleep(0)
        servers.release(other)
        assert (await foreign) is other, "rather than that a server is idle"

    asyncio.run(scene())


def test_what_failed_at_one_server_goes_to_another():
    async def scene() -> None:
        servers = Servers(["a", "b"], 4, 60, well)
        home = await servers.take(1)
        servers.release(home)
        other = await servers.take(1, home)
        assert other is not home
        held = [await servers.take(1) for _ in range(3)]
        assert held[0] is other, "and stays there"
        while other.out < 4:
            await servers.take(1, home)
        assert await servers.take(1, other) is home

    asyncio.run(scene())


def test_who_waits_for_a_server_that_is_gone_is_served_in_turn():
    async def scene() -> None:
        servers = Servers(["a", "b"], 1, 60, well)
        gone, there = await servers.take(1), await servers.take(2)
        waiting = [asyncio.create_task(servers.take(record)) for record in (1, 3, 4)]
        await asyncio.sleep(0)
        servers.limited(gone, 3600, 0.0)
        servers.release(gone)
        for task in waiting:
            servers.release(there)
            assert await asyncio.wait_for(task, 10) is there, "the oldest first, not only when nobody else is left"
        assert servers.counts["limited"] == 1

    asyncio.run(scene())


def test_all_servers_work_and_a_records_requests_go_to_one(start):
    servers = [start(slowly) for _ in range(3)]
    asks = [an_ask(f"第{n}只表走得慢", rubric=rubric) for n in range(60) for rubric in ("query", "answer")]
    found = replies(config(*(server.url for server in servers), concurrency=4), asks)
    assert all(reply.cause is None for reply in found)
    assert all(len(server.got) > 12 for server in servers) and sum(len(server.got) for server in servers) == 120
    assert all(server.most <= 4 for server in servers), "each server's own concurrency"
    where = defaultdict(set)
    for server in servers:
        for got in server.got:
            where[got.record].add(server.port)
    alone = sum(len(ports) == 1 for ports in where.values())
    assert len(where) == 60 and alone > 30, f"{alone} of 60 records stayed on one server"


def test_a_fast_server_gets_more_than_a_slow_one(start):
    def very_slowly(got: Got) -> Act:
        time.sleep(0.4)
        return completion(got)

    fast, slow = start(slowly), start(very_slowly)
    assert all_scored(replies(config(fast.url, slow.url, concurrency=4), many(80)))
    assert len(fast.got) > 2 * len(slow.got) > 0


def test_how_many_requests_are_worth_having(start):
    urls = [start().url, start().url]
    for keys, places in (({}, 32), ({"concurrency": 5}, 10)):
        made = config(*urls, **keys)
        assert engine_of(made).requests_at_once() == EndpointJudge(made).concurrency > places, (
            "some wait, to be chosen from"
        )
    assert engine_of(config(urls[0], concurrency=5)).requests_at_once() == 5


# Limits


class Limited:
    """A server that takes `most` requests at once, or `per_second`, and answers 429 to more."""

    def __init__(self, most: int = 1000, headers: Callable[[], dict[str, str]] = dict) -> None:
        self.most = most
        self.headers = headers
        self.out = 0
        self.refused = 0
        self.lock = threading.Lock()

    def __call__(self, got: Got) -> Act:
        with self.lock:
            self.out += 1
            over = self.out > self.most
            self.refused += over
        try:
            if over:
                return trouble(429, **self.headers())
            time.sleep(0.05)
            return completion(got)
        finally:
            with self.lock:
                self.out -= 1


@pytest.mark.parametrize("headers", [dict, lambda: {"retry_after": "0"}, lambda: {"retry_after_ms": "100"}])
def test_a_limit_slows_and_fails_nothing(start, headers):
    limit = Limited(2, headers)
    server = start(limit)
    found = replies(config(server.url, concurrency=8), many(24))
    assert all_scored(found) and limit.refused > 0
    assert limit.refused < 24, "fewer are sent after the first refusals"


@pytest.mark.parametrize(
    "stated",
    [lambda: "1", lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)],
    ids=["seconds", "date"],
)
def test_nothing_is_sent_before_retry_after(start, stated):
    refused: list[float] = []

    def act(got: Got) -> Act:
        if got.number == 0:
            refused.append(time.monotonic())
            return trouble(429, retry_after=stated())
        return completion(got)

    server = start(act)
    assert all_scored(replies(config(server.url), many(1)))
    assert server.got[1].at - refused[0] >= 0.9


def test_what_the_headers_say_is_left_is_kept_to(start):
    def act(got: Got) -> Act:
        status, headers, body = completion(got)
        left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "600ms"} if got.number == 0 else {}
        return status, headers | left, body

    server = start(act)
    assert all_scored(replies(config(server.url, concurrency=1), many(2)))
    assert server.got[1].at - server.got[0].at >= 0.55


def test_a_limited_server_leaves_its_share_to_another(start):
    limited, free = start(lambda _: trouble(429, retry_after="3600")), start(slowly)
    assert all_scored(replies(config(limited.url, free.url, concurrency=4), many(40)))
    assert len(limited.got) <= 4 and len(free.got) == 40


def test_a_declared_rate_is_kept(start):
    server = start()
    began = time.monotonic()
    assert all_scored(replies(config(server.url, rate={"requests_per_minute": 200}), many(25)))
    assert time.monotonic() - began >= 1.4, "20 of the 25 at once, the others within the rate"
    assert len(server.got) == 25


def test_declared_tokens_are_counted_as_used(start):
    """A request is taken to cost its characters and its longest reply; what the server counts is less, and given back."""
    server = start()
    ask = an_ask()
    characters = len(ask.prompt.system) + sum(map(len, ask.prompt.fields)) + len(ask.prompt.task)
    assert characters > 3 * 70
    began = time.monotonic()
    found = replies(config(server.url, rate={"tokens_per_minute": 60 * 70 * 20}), [ask] * 40, at_once=1)
    assert all_scored(found)
    taken = time.monotonic() - began
    assert taken < 40 * (characters + 300) / (70 * 20), "what the first estimate would have taken"


def test_a_bucket_waits_for_what_is_not_there():
    async def scene() -> tuple[float, float]:
        bucket = TokenBucket(600)
        began = time.monotonic()
        await bucket.take(60)
        full = time.monotonic() - began
        await bucket.take(5)
        return full, time.monotonic() - began

    full, all_of_it = asyncio.run(scene())
    assert full < 0.4 <= all_of_it


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "99999999999"}, 86_400),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Wed, 99 Xxx 2015 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


def test_durations_and_what_is_used_up():
    assert [duration(text) for text in ("1s", "6m0s", "120ms", "12", "1h2m", "0s")] == [1, 360, 0.12, 12, 3720, 0]
    assert [duration(text) for text in (None, "", "soon", "1732212121", "1d", "5 s")] == [None] * 6
    left = {"x-ratelimit-remaining-tokens": "10", "x-ratelimit-reset-tokens": "3s"}
    assert (used_up(left, 11), used_up(left, 10), used_up({}, 5)) == (3, 0, 0)
    assert used_up({"x-ratelimit-remaining-requests": "0"}, 1) == 0


# Trouble


def test_a_server_that_dies_and_comes_back_loses_no_row(start):
    """Its last requests are cut, the other goes on, and it works again when it is there."""
    dying, steady = start(), start(slowly)
    events: list[str] = []

    def act(got: Got) -> Act:
        if got.number == 10:
            threading.Thread(target=revive).start()
            return CUT
        time.sleep(0.02)
        return completion(got)

    def revive() -> None:
        dying.close()
        events.append("closed")
        time.sleep(1)
        dying.open()
        events.append(f"open after {len(dying.got)}")

    dying.act = act
    made = config(dying.url, steady.url, concurrency=4)

    async def scene(judge: EndpointJudge) -> bool:
        """Ask until the server that died has answered again; a minute at the most."""
        until = time.monotonic() + 60
        good = True
        while time.monotonic() < until and (len(events) < 2 or len(dying.got) <= int(events[1].split()[-1])):
            good = good and all_scored(await asyncio.gather(*(judge.ask(ask) for ask in many(16))))
        return good

    assert with_judge(made, scene), "no row is lost"
    assert len(events) == 2 and len(dying.got) > int(events[1].split()[-1]), "it got requests again"


def test_a_server_that_is_down_at_the_start_joins_when_it_is_there(start):
    late, steady = start(), start(slowly)
    late.close()
    made = config(late.url, steady.url, concurrency=2)

    async def scene(judge: EndpointJudge) -> None:
        assert all_scored(await asyncio.gather(*(judge.ask(ask) for ask in many(10))))
        assert not late.got and len(steady.got) == 10
        late.open()
        until = time.monotonic() + 60
        while not late.got and time.monotonic() < until:
            await asyncio.gather(*(judge.ask(ask) for ask in many(8)))
        assert late.got

    with_judge(made, scene)


@pytest.mark.slow
def test_a_hanging_server_takes_no_row_with_it(start):
    """It says that it is healthy, and answers nothing: a trifle shows it."""
    hanging, steady = start(lambda _: HANG, health=(200, {}, "")), start(slowly)
    found = replies(config(hanging.url, steady.url, concurrency=2, timeout=6), many(12))
    assert all_scored(found), [reply for reply in found if reply.cause]
    assert 0 < len(hanging.got) <= 4


@pytest.mark.parametrize("status", [500, 502, 404, 401, 402])
def test_a_server_that_turns_bad_is_left_alone(start, status):
    bad = start(lambda got: completion(got) if got.number < 3 else trouble(status))
    steady = start(slowly)
    assert all_scored(replies(config(bad.url, steady.url, concurrency=3), many(40)))
    assert len(bad.got) < 25


def test_an_outage_is_waited_out(start):
    """All servers gone for a while: asks wait, none becomes a failure."""
    server = start(slowly)
    made = config(server.url, concurrency=4)

    async def scene(judge: EndpointJudge) -> None:
        assert all_scored(await asyncio.gather(*(judge.ask(ask) for ask in many(4))))
        server.close()
        waiting = [asyncio.create_task(judge.ask(ask)) for ask in many(12)]
        done, _ = await asyncio.wait(waiting, timeout=2)
        assert not done
        server.open()
        assert all_scored(await asyncio.wait_for(asyncio.gather(*waiting), 60))

    with_judge(made, scene)


@pytest.mark.parametrize(
    "act",
    [None, lambda _: trouble(503), lambda _: trouble(500), lambda _: trouble(429), lambda _: CUT],
    ids=["gone", "503", "500", "429", "cut"],
)
def test_an_outage_that_does_not_end_ends_the_job_and_is_no_score(start, act):
    server = start()
    made = config(server.url, concurrency=4, patience=1.5)

    async def scene(judge: EndpointJudge) -> None:
        assert all_scored(await asyncio.gather(*(judge.ask(ask) for ask in many(4))))
        if act is None:
            server.close()
        else:
            server.act = act
        waiting = [asyncio.create_task(judge.ask(ask)) for ask in many(12)]
        done, not_done = await asyncio.wait(waiting, timeout=120)
        assert not not_done
        for task in done:
            error = task.exception()
            assert isinstance(error, FixJudge), task.result()
            assert "no server has answered for 1.5 s (judge.patience); at last: http://127.0.0.1" in str(error)

    with_judge(made, scene)


def test_a_retry_after_longer_than_patience_is_honoured(start):
    server = start(lambda got: trouble(429, retry_after="3") if got.number == 1 else completion(got))

    async def scene(judge: EndpointJudge) -> None:
        found = [await judge.ask(ask) for ask in many(2)]
        assert all_scored(found)

    with_judge(config(server.url, patience=0.5), scene)


def test_patience_is_not_lost_while_nobody_asks(start):
    """A judge may wait long for its first record, or between two; that is no server's silence."""
    server = start(lambda got: trouble(429) if got.number in (0, 3) else completion(got))

    async def scene(judge: EndpointJudge) -> None:
        for _ in range(2):
            await asyncio.sleep(0.8)
            assert all_scored([await judge.ask(ask) for ask in many(2)])

    with_judge(config(server.url, patience=0.7), scene)
    assert len(server.got) == 6
