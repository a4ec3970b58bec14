"""An endpoint's key comes from the environment, and nowhere else does it appear."""

import pickle
from collections.abc import Callable

import pytest
from asking import an_ask, config, replies
from chat_server import ChatServer, completion, trouble
from pydantic import ValidationError

from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.job.job import load_job
from coigw_judge.judges.config import check_addresses, check_extra_body
from coigw_judge.judges.endpoint.judge import EndpointJudge

KEY = "sk-0123456789abcdefSECRET"


@pytest.fixture
def server(start: Callable[[], ChatServer], monkeypatch: pytest.MonkeyPatch) -> ChatServer:
    monkeypatch.setenv("TEST_JUDGE_KEY", f"{KEY}\n")
    return start()


def test_the_key_is_sent_and_shown_nowhere(server, caplog):
    made = config(server.url, api_key_env="TEST_JUDGE_KEY")
    server.act = lambda got: trouble(400, f'{{"error": "Incorrect API key provided: {KEY}"}}')
    (reply,) = replies(made, [an_ask()])
    assert server.got[0].headers["authorization"] == f"Bearer {KEY}"
    assert reply.cause == "refused" and "***" in reply.detail
    server.act = lambda got: completion(text=f"你的密钥是 {KEY}")
    (echoed,) = replies(made, [an_ask()])
    judge = EndpointJudge(made)
    shown = [reply, echoed, judge, judge.__dict__, made, made.model_dump_json(), caplog.text, pickle.dumps(made)]
    assert all(KEY not in str(each) for each in shown)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_no_error_shows_it(server, status):
    server.act = lambda got: trouble(status, f"bad key {KEY}")
    with pytest.raises(FixJudge, match=r"bad key \*\*\*") as refused:
        replies(config(server.url, api_key_env="TEST_JUDGE_KEY"), [an_ask()])
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "said"), [("", "is not set"), ("  ", "is not set"), ("钥匙", "is no key"), ("a\nb", "is no key")]
)
def test_a_variable_without_a_key(server, monkeypatch, value, said):
    monkeypatch.setenv("TEST_JUDGE_KEY", value)
    with pytest.raises(FixJudge, match=rf"judge\.api_key_env: .*TEST_JUDGE_KEY.*{said}"):
        EndpointJudge(config(server.url, api_key_env="TEST_JUDGE_KEY"))


def test_a_key_that_stands_in_the_job_too(server, monkeypatch):
    monkeypatch.setenv("TEST_JUDGE_KEY", "plain-words-1")
    with pytest.raises(FixJudge, match="stands in extra_body or base_url too") as refused:
        EndpointJudge(config(server.url, api_key_env="TEST_JUDGE_KEY", extra_body={"user": "plain-words-1"}))
    assert "plain-words-1" not in str(refused.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"base_url": f"http://me:{KEY}@a/v1"},
        {"base_url": f"http://{KEY}@a/v1"},
        {"base_url": f"http://a/v1?key={KEY}"},
        {"base_url": ["http://a/v1", f"http://b/v1#{KEY}"]},
        {"api_key_env": KEY},
        {"extra_body": {"api_key": KEY}},
        {"extra_body": {"headers": {"X-Api-Key": "abc"}}},
        {"extra_body": {"deep": [{"Authorization": "abc"}]}},
        {"extra_body": {"user": KEY}},
        {"extra_body": {"user": f"Bearer {KEY}"}},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_a_job_that_holds_a_key_is_refused_without_showing_it(tmp_path, keys):
    path = tmp_path / "job.yaml"
    judge = {"engine": "endpoint", "model": "m", "base_url": "http://a/v1"} | keys
    path.write_text(f"name: x\ninput: {{paths: [a.jsonl]}}\nrubrics: [answer]\njudge: {judge!r}\n")
    with pytest.raises(FixJob, match=r"judge\.(base_url|api_key_env|extra_body): ") as refused:
        load_job(path)
    assert KEY not in str(refused.value) and "\n" not in str(refused.value)
    assert "api_key_env" in str(refused.value) or "environment" in str(refused.value) or "no ?" in str(refused.value)


def test_plain_keys_are_no_secrets():
    check_extra_body(
        {"max_tokens": 5, "top_k": 3, "user": "team-a", "tokenize": True, "stop_token_ids": [1], "token_budget": "x"}
    )
    check_addresses(["http://a:8000/v1", "https://b.example/api/v1/", "http://[::1]:8000/v1"])


@pytest.mark.parametrize(
    "address", ["a:8000/v1", "ftp://a/v1", "http://", "http://a:0/v1", "http://a:x/v1", "http://a b/v1", ""]
)
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match="write an address as"):
        check_addresses([address])


def test_a_server_named_twice_and_keys_that_are_ours():
    with pytest.raises(ValidationError, match="named twice"):
        config("http://a/v1", "http://a/v1/")
    for key in ("model", "messages", "prompt"):
        with pytest.raises(ValidationError, match=f"{key} is set by"):
            config("http://a/v1", extra_body={key: "x"})
