"""One request to an endpoint: what is sent, what is read from the answer, whose fault a failure is."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from asking import an_ask, config, replies
from chat_server import CUT, DRIP, HALF, HANG, Act, ChatServer, Got, completion, trouble

from coigw_judge import load_rubric
from coigw_judge.errors import FixJudge
from coigw_judge.judges.endpoint import chat_form
from coigw_judge.judges.endpoint.judge import EndpointJudge
from coigw_judge.judges.engines import engine_of, open_judge
from coigw_judge.judges.protocol import Measures, Reply
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.replies.outcome import Scored, Unscored

RUBRIC = load_rubric("query")
GOOD = '{"quality":{"reason":"好","score":8},"creativity":{"reason":"新","score":9}}'


@pytest.fixture
def server(start: Callable[[], ChatServer]) -> ChatServer:
    return start()


def steps(*acts: Act) -> Callable[[Got], Act]:
    """Answer the n-th request by the n-th act, the last one from then on; trifles as a server in order does."""
    return lambda got: completion(text="1") if got.trifle else acts[min(got.number, len(acts) - 1)]


def ask(server: ChatServer, *acts: Act, answer: str = "文", **keys: Any) -> Reply:
    if acts:
        server.act = steps(*acts)
    (reply,) = replies(config(server.url, **keys), [an_ask(answer)])
    return reply


# What is sent


def test_a_reply_with_its_token_counts(server):
    reply = ask(server, completion(text=GOOD), extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert isinstance(read_reply(reply, RUBRIC), Scored)
    assert (reply.prompt_tokens, reply.cached_tokens, reply.generated_tokens) == (50, 16, 20)
    (got,) = server.got
    assert got.path == "/v1/chat/completions"
    assert got.body["model"] == "m" and got.body["temperature"] == 0 and got.body["max_tokens"] == 300
    assert got.body["response_format"]["json_schema"]["schema"] == RUBRIC.reply_schema("short")
    assert got.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert [message["role"] for message in got.body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("reply_format", "sent"),
    [("json_object", {"type": "json_object"}), ("none", None)],
)
def test_a_server_without_schemas_is_sent_none(server, reply_format, sent):
    reply = ask(server, completion(text="质量：8/10，创意：9/10"), reply_format=reply_format)
    assert server.got[0].body.get("response_format") == sent
    assert isinstance(read_reply(reply, RUBRIC), Scored), "free-form replies are read too"


def test_a_null_leaves_a_key_out(server):
    ask(server, extra_body={"temperature": None, "max_tokens": None, "max_completion_tokens": 999})
    body = server.got[0].body
    assert "temperature" not in body and "max_tokens" not in body and body["max_completion_tokens"] == 999


def test_proxies_come_from_the_environment(server, monkeypatch):
    seen: list[str] = []

    def proxied(got: Got) -> Act:
        seen.append(got.path)
        return completion(got)

    server.act = proxied
    server.models = trouble(404)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (reply,) = replies(config("http://nowhere.invalid/v1"), [an_ask()])
    assert isinstance(read_reply(reply, RUBRIC), Scored)
    assert seen == ["http://nowhere.invalid/v1/chat/completions"]


# What comes back


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (completion(text='{"quality"', reason="length"), "truncated"),
        (completion(refusal="I can not help"), "refused"),
        (completion(reason="content_filter"), "refused"),
        (completion(text=""), "empty"),
        (completion(), "empty"),
        (completion(text="好文章"), "malformed"),
        (trouble(400), "refused"),
        (trouble(422), "refused"),
        (trouble(413), "too_long"),
    ],
)
def test_an_answer_without_scores_is_unscored(server, act, cause):
    outcome = read_reply(ask(server, act), RUBRIC)
    assert isinstance(outcome, Unscored) and outcome.cause == cause
    assert len(server.got) == 1, "asked once; trying again is for the caller"


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        [{"type": "text", "text": GOOD[:20]}, {"type": "text", "text": GOOD[20:]}],
    ],
)
def test_content_comes_whole_or_in_parts(server, content):
    assert ask(server, completion(text=content)).text == GOOD


def test_thinking_in_a_field_of_its_own_is_no_reply(server):
    reply = ask(server, completion(text=GOOD, reasoning_content="先想：quality 3 分"))
    outcome = read_reply(reply, RUBRIC)
    assert isinstance(outcome, Scored) and outcome.scores == {"quality": 8, "creativity": 9}
    misplaced = ask(server, completion(text=None, reasoning_content=GOOD))
    assert misplaced.cause == "empty" and "reasoning parser" in misplaced.detail
    assert isinstance(read_reply(misplaced, RUBRIC), Unscored)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "many",
        {"prompt_tokens": "5"},
        {"prompt_tokens": -1},
        {"prompt_tokens": 2**40},
        {"prompt_tokens_details": 3},
    ],
)
def test_counts_that_are_none_count_as_nothing(usage):
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage})
    reply = chat_form.read(body.encode(), "application/json")
    assert reply is not None and (reply.prompt_tokens, reply.cached_tokens, reply.finish_reason) == (0, 0, None)


@pytest.mark.parametrize(
    "content",
    ["<html>busy</html>", "", "{}", "[1, 2]", "7", "null", '{"choices": []}', '{"choices": {}}', '{"choices": [null]}',
     '{"choices": [{}]}', '{"choices": [{"message": null}]}', '{"error": "overloaded"}', "[" * 100_000, '{"choices": [{"message":'],
)  # fmt: skip
def test_what_is_no_completion_is_none(content):
    assert chat_form.read(content.encode(), "application/json") is None
    assert chat_form.read(b"\xff\xfe\x00", "application/json") is None


def test_a_server_that_only_streams_is_read(server):
    parts = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in (GOOD[:10], GOOD[10:])]
    parts += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {"prompt_tokens": 7}}]
    whole = [f"data: {json.dumps(part)}\n\n" for part in parts]
    stream = (200, {"content-type": "text/event-stream; charset=utf-8"}, "".join([*whole, "data: [DONE]\n\n"]))
    reply = ask(server, stream)
    assert (reply.text, reply.finish_reason, reply.prompt_tokens) == (GOOD, "stop", 7)
    cut = "".join(whole[:2])
    assert chat_form.read(cut.encode(), "text/event-stream") is None, "its end is missing, and with it maybe a score"


def test_an_answer_of_any_length_is_not_kept(server):
    reply = ask(server, completion(text="x" * 17_000_000))
    assert (reply.cause, reply.text) == ("malformed", "") and "16,000,000 bytes" in reply.detail


# Whose fault it is


@pytest.mark.parametrize(
    "act",
    [trouble(429), trouble(429, retry_after="0"), trouble(500), trouble(502), trouble(503), trouble(504), trouble(408), CUT, HALF,
     (200, {}, "<html>be right back</html>"), (200, {}, '{"choices": []}')],
    ids=str,
)  # fmt: skip
def test_what_passes_is_waited_out(server, act):
    reply = ask(server, act, act, completion(text=GOOD))
    assert (reply.text, reply.cause) == (GOOD, None)
    assert len(server.got) == 3


@pytest.mark.parametrize(
    ("act", "cause"),
    [(trouble(500), "refused"), (CUT, "refused"), ((200, {}, "<html>?</html>"), "malformed")],
    ids=str,
)
def test_a_request_that_alone_fails_time_and_again_is_unscored(server, act, cause):
    """The server answers a trifle between: it is this request that it cannot take."""
    reply = ask(server, act)
    assert reply.cause == cause and reply.detail.endswith("5 times, while the server works")
    assert len(server.got) == 5 and server.trifles >= 1
    assert isinstance(read_reply(reply, RUBRIC), Unscored)


@pytest.mark.parametrize("act", [HANG, DRIP])
def test_a_request_that_takes_too_long_is_unscored(server, act):
    reply = ask(server, act, timeout=2)
    assert reply.cause == "timeout" and "while the server works" in reply.detail
    assert server.trifles >= 1


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "the key is not accepted"), (402, "cannot pay"), (403, "forbidden"), (404, "no such model or path")],
)
def test_what_can_never_succeed_ends_the_job(server, status, said):
    with pytest.raises(FixJudge, match=rf"{server.url}: .*{said}.*HTTP {status}"):
        ask(server, trouble(status))


def test_a_redirect_is_not_followed(server):
    elsewhere = ChatServer()
    moved = trouble(307, location=f"{elsewhere.url}/chat/completions")
    try:
        with pytest.raises(FixJudge, match=r"redirects to http://127.*; set judge.base_url"):
            ask(server, moved)
        server.models = trouble(301, location="https://example.com/v1/models")
        with pytest.raises(FixJudge, match=r"redirects to https://example.com"):
            EndpointJudge(config(server.url))
        assert not elsewhere.got
    finally:
        elsewhere.close()


def test_a_server_that_is_not_there_is_said_at_once(server):
    server.close()
    with pytest.raises(
        FixJudge, match=rf"no server can be reached \({server.url}: ConnectError.*; start one, or correct"
    ):
        EndpointJudge(config(server.url))
    with pytest.raises(FixJudge, match="no server can be reached"):
        EndpointJudge(config("http://nowhere.invalid/v1"))


def test_a_key_that_is_not_accepted_is_said_before_the_first_request(server):
    server.models = trouble(401)
    with pytest.raises(FixJudge, match=r"the key is not accepted; see judge\.api_key_env"):
        EndpointJudge(config(server.url))


def test_a_server_that_knows_no_schema_gets_plain_words(server):
    server.act = lambda got: trouble(400) if "response_format" in got.body else completion(text=GOOD)
    reply = ask(server)
    assert reply.cause == "refused" and "judge.reply_format: json_object or none" in reply.detail
    assert ask(server, reply_format="none").text == GOOD


# Token ids


def test_ids_are_for_vllm_alone(server):
    with pytest.raises(
        FixJudge, match=r"token ids are for vLLM servers, and .* is none \(its models are owned by 'somebody'\)"
    ):
        EndpointJudge(config(server.url, tokenizer="embedded"))
    server.models = trouble(404)
    with pytest.raises(FixJudge, match="does not say vllm"):
        EndpointJudge(config(server.url, tokenizer="embedded"))


def test_a_server_that_counts_other_ids_than_it_was_sent_ends_the_job(server):
    pytest.importorskip("transformers")
    server.models = (200, {}, '{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}')
    server.act = lambda got: completion(text=GOOD)
    with pytest.raises(FixJudge, match="it does not take ids as they are"):
        replies(config(server.url, tokenizer="embedded"), [an_ask()])
    assert isinstance(server.got[0].body["prompt"][0], int) and server.got[0].path == "/v1/completions"


def test_a_tokenizer_that_is_not_there(server):
    server.models = (200, {}, '{"data": [{"id": "m", "owned_by": "vllm"}]}')
    with pytest.raises(FixJudge, match=r"judge\.tokenizer: /nowhere: no such folder"):
        engine_of(config(server.url, tokenizer="/nowhere")).identify()


# Who it is, and how long texts are


def test_a_character_is_counted_as_a_token_as_it_is_sent(server):
    measure = engine_of(config(server.url, context=8192)).yardstick()
    assert measure is not None and measure.context == 8192
    ask(server, answer="文<|im_end|>" * 30)
    sent = server.got[0].user
    prompt = an_ask("文<|im_end|>" * 30).prompt
    counted = sum(measure.tokens(part) for field in prompt.fields for part in (field, "\n\n"))
    assert counted + measure.tokens(prompt.task) == len(sent)
    opened = open_judge(config(server.url, context=8192))
    assert (
        isinstance(opened, Measures) and opened.context == 8192 and opened.tokens("<|a") == measure.tokens("<|a") == 4
    )
    asyncio.run(opened.close())


@pytest.mark.parametrize(
    "neutral",
    [
        *(
            {"base_url": "http://b/v1"},
            {"base_url": ["http://a/v1", "http://b/v1"]},
            {"api_key_env": "K"},
            {"timeout": 5},
        ),
        *({"connect_timeout": 5}, {"patience": 5}, {"rate": {"requests_per_minute": 5}}, {"concurrency": 3}),
    ],
    ids=str,
)
def test_where_and_how_fast_is_in_no_fingerprint(neutral):
    assert engine_of(config("http://a/v1", **neutral)).identify() == engine_of(config("http://a/v1")).identify()


def test_what_a_server_is_sent_is_in_the_fingerprint():
    pytest.importorskip("transformers")
    keys = [
        {},
        {"model": "n"},
        {"revision": "2"},
        {"extra_body": {"a": 1}},
        {"reply_format": "none"},
        {"tokenizer": "embedded"},
    ]
    prints = [engine_of(config("http://a/v1", **each)).identify().fingerprint for each in keys]
    assert len(set(prints)) == len(keys)
    assert engine_of(config("http://a/v1", tokenizer="embedded")).identify().meaningless
