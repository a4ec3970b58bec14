"""Engines: one object per kind of judge, found by `judge.engine`, that loads nothing it does not need."""

import inspect
from math import inf
from typing import Any

import pytest
from pydantic import ValidationError
from test_layers import MODULES

from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint.engine import EndpointEngine
from coigw_judge.judges.engines import engine_of, open_judge
from coigw_judge.judges.own_class import OwnClassEngine
from coigw_judge.judges.protocol import Engine
from coigw_judge.judges.vllm.engine import VllmEngine

VLLM: dict[str, Any] = {"model": "embedded"}
ENDPOINT: dict[str, Any] = {"engine": "endpoint", "model": "m", "base_url": "http://a/v1"}
OWN: dict[str, Any] = {"engine": "scripted_judge:ScriptedJudge"}


@pytest.mark.parametrize(("keys", "kind"), [(VLLM, VllmEngine), (ENDPOINT, EndpointEngine), (OWN, OwnClassEngine)])
def test_a_job_names_its_engine(keys: dict[str, Any], kind: type[Engine]) -> None:
    engine = engine_of(JudgeConfig(**keys))
    assert type(engine) is kind and inspect.getdoc(kind)


def test_no_module_asks_which_engine_it_is() -> None:
    asking = ("engine ==", "engine !=", "engine in (", "engine_kind ==")
    found = {
        module: word
        for module, path in MODULES.items()
        for word in asking
        if f".{word}" in path.read_text(encoding="utf-8")
    }
    assert not found, "ask the Engine object instead"


def test_what_differs_by_engine_before_one_is_started() -> None:
    vllm, endpoint, own = (engine_of(JudgeConfig(**keys)) for keys in (VLLM, ENDPOINT, OWN))
    assert (endpoint.times_out_itself, vllm.times_out_itself, own.times_out_itself) == (True, False, False)
    assert endpoint.why_no_expected and not vllm.why_no_expected and not own.why_no_expected
    assert endpoint.needs_stated_context and not vllm.needs_stated_context and not own.needs_stated_context
    assert (endpoint.requests_at_once(), own.requests_at_once()) == (16, 16)
    assert endpoint.encoder() is own.encoder() is None
    assert endpoint.yardstick() is own.yardstick() is None, "their context is not known"
    assert endpoint.processors(0) == own.processors(4) == 1.0
    on_processors, on_gpus = (VllmEngine(JudgeConfig(**VLLM), cpu_build=cpu) for cpu in (True, False))
    assert (on_processors.processors(0), on_gpus.processors(4)) == (inf, 5.0)


def test_only_vllm_checks_a_preset_before_ray_starts() -> None:
    for keys in (ENDPOINT, OWN):
        engine_of(JudgeConfig(**keys, preset="nonsense")).check()
    with pytest.raises(FixJob, match=r"judge\.preset: nonsense is not known"):
        engine_of(JudgeConfig(**VLLM, preset="nonsense")).check()


@pytest.mark.parametrize(
    ("engine", "error", "said"),
    [
        ("no_such_module:Judge", FixJob, "no_such_module:Judge cannot be imported"),
        ("scripted_judge:Nobody", FixJob, "scripted_judge:Nobody cannot be imported"),
        ("scripted_judge:__doc__", FixJob, "is not a class"),
        ("builtins:dict", FixJudge, "is no Judge: it needs `concurrency`, `ask` and `close`"),
    ],
)
def test_a_class_that_is_no_judge_is_refused(engine: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        open_judge(JudgeConfig(engine=engine))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "model is missing"),
        ({**ENDPOINT, "model": ""}, "model is missing"),
        ({"engine": "endpoint", "model": "m"}, "base_url belongs to `engine: endpoint`, which needs it"),
        ({**VLLM, "base_url": "http://a/v1"}, "base_url belongs to"),
        ({**OWN, "base_url": "http://a/v1"}, "base_url belongs to"),
        ({**VLLM, "tokenizer": "m"}, "tokenizer, reply_format and rate belong to"),
        ({**OWN, "reply_format": "none"}, "tokenizer, reply_format and rate belong to"),
        ({**VLLM, "rate": {"tokens_per_minute": 1}}, "tokenizer, reply_format and rate belong to"),
        ({**ENDPOINT, "engine_args": {"seed": 1}}, "engine_args are vLLM's"),
        ({**OWN, "engine_args": {"seed": 1}}, "engine_args are vLLM's"),
        ({**ENDPOINT, "expert_parallel": True}, "the server's own affair"),
        ({**VLLM, "context": 1}, "context is an endpoint's or your own judge's"),
        ({"engine": "own class", "model": "m"}, "is none of vllm, endpoint, package.module:Class"),
    ],
    ids=str,
)
def test_a_key_that_the_engine_does_not_take_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        JudgeConfig(**keys)


def test_keys_that_an_engine_takes_are_taken() -> None:
    JudgeConfig(**ENDPOINT, tokenizer="embedded", reply_format="none", context=9)
    JudgeConfig(**OWN, model="m", context=9, tensor_parallel=2, options={"a": 1})
    JudgeConfig(**VLLM, engine_args={"seed": 1}, expert_parallel=True)
