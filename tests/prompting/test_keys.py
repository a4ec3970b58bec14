"""Keys name requests for good: they stay as they are, and anything that the judge would see otherwise changes them."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from small import plan, rubric, subject

from coigw_judge.hashing import digest, fingerprint
from coigw_judge.job.fingerprints import ask_fingerprint
from coigw_judge.job.job import load_job
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Identity
from coigw_judge.judges.vllm.arguments import NEUTRAL_ARGS, engine_arguments
from coigw_judge.prompting import long_text
from coigw_judge.prompting.long_text import HeadTail
from coigw_judge.prompting.request import request_key
from coigw_judge.prompting.rubric import load_rubric
from coigw_judge.records.record import Record, record_digest

TRIPLET = rubric("r", reads=("query", "answer", "thought"), notes=("n",))
RECORD = Record({"answer": "文章", "query": "题目"}, None, None)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
parts = st.lists(st.none() | st.binary(max_size=12), max_size=5)


def key(
    texts: dict[str, str], guidance: str | None = None, sample: int = 0, asked: str = "ask", of: Any = TRIPLET
) -> bytes:
    digests = {field: digest([text.encode()]) for field, text in texts.items()}
    return request_key(asked, of, digests, guidance, sample)


# These values stand in users' stores. Where one changes, all their facts are lost: raise PROTOCOL and say so.


def test_pinned_digests() -> None:
    assert digest([]).hex() == "99aa06d3014798d86001c324468d497f"
    assert digest([None]).hex() == "dc6b20d207425aa58b3249d34c2ef0b0"
    assert digest([b""]).hex() == "2c0a8a99dc147d5445c3b49d035665b2"
    assert digest(["文".encode(), None]).hex() == "58217b877510f8ac789f6bad0c9a32f9"
    assert fingerprint({"b": 1, "a": ["文", None, 0.5]}) == "fc7b987016f882fd9c2d07df61fb0c90"


def test_pinned_record() -> None:
    digests = RECORD.digests()
    assert digests["answer"].hex() == "1994676f590868b6ea29e010242ad6ff"
    assert record_digest(digests).hex() == "d48187ccb5127e9361ed0a209d6c8833"


def test_pinned_request_keys() -> None:
    assert key(dict(RECORD.texts), "提示", 3).hex() == "a521e251919ccf8d0b6df96ec06a7d90"
    assert key(dict(RECORD.texts), of=rubric(notes=("n",))).hex() == "79c56b0da97662efc8436a2f6e915471"


@given(parts, parts)
def test_different_parts_have_different_digests(one: list, other: list) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_a_byte_that_moves_over_a_border_changes_the_digest(data: bytes, cut: int, other: int) -> None:
    assume(min(cut, len(data)) != min(other, len(data)))
    assert digest([data[:cut], data[cut:]]) != digest([data[:other], data[other:]])


@given(texts, texts)
def test_a_character_that_moves_between_fields_changes_the_key(answer: str, query: str) -> None:
    moved = {"answer": answer + query[0], "query": query[1:]}
    assert key({"answer": answer, "query": query}) != key(moved)
    assert record_digest(Record({"answer": answer, "query": query}, None, None).digests()) != record_digest(
        Record(moved, None, None).digests()
    )


@given(texts, texts)
def test_exchanged_fields_are_another_request(one: str, other: str) -> None:
    assume(one != other)
    assert key({"answer": one, "query": other}) != key({"answer": other, "query": one})


BASE: dict[str, Any] = {"texts": {"answer": "文", "query": "题"}}


@pytest.mark.parametrize(
    "change",
    [
        {"texts": {"answer": "文 ", "query": "题"}},
        {"texts": {"answer": "文", "query": "问"}},
        {"texts": {"answer": "文"}},
        {"texts": {"answer": "文", "query": "题", "thought": ""}},
        {"texts": {"answer": "文", "query": ""}},
        {"guidance": ""},
        {"guidance": "看意象"},
        {"sample": 1},
        {"asked": "ask2"},
    ],
    ids=str,
)
def test_whatever_the_judge_sees_is_in_the_key(change: dict[str, Any]) -> None:
    assert key(**{**BASE, **change}) != key(**BASE)


def test_what_the_judge_does_not_see_is_not_in_the_key() -> None:
    article = rubric("r", notes=("n",))
    assert key({"answer": "文", "query": "题"}, of=article) == key({"answer": "文"}, of=article)
    one = Record({"answer": "文"}, "1", "诗歌")
    assert one.digests() == Record({"answer": "文"}, "2", None).digests()


def test_the_genre_is_in_the_key_only_by_the_guidance_it_brings() -> None:
    guided = rubric("r", notes=("n",), by_genre={"诗歌": "看意象", "标语": "看意象"})
    keys = {genre: plan(guided).keys(subject(genre=genre), {})["r"] for genre in (None, "散文", "诗歌", "标语")}
    assert keys[None] == keys["散文"] != keys["诗歌"] == keys["标语"]


# Texts that may be cut: what the cut hangs on is in the key, of long records alone


POLICY = HeadTail(("answer", "thought"), 4000, 8000)
ARTICLE = rubric("article", notes=("n",))


def cut_key(policy: HeadTail | None = POLICY, chars: int = 5000, **texts: str) -> bytes:
    record = subject(**{"answer": "文", "query": "题", "thought": "思", **texts})
    return plan(ARTICLE, head_tail=policy).keys(replace(record, chars=chars), {})["article"]


def test_a_record_that_fits_has_the_key_it_would_have_without_the_policy() -> None:
    assert cut_key(chars=900) == cut_key(None, chars=900) == cut_key(None)
    assert cut_key(chars=900, thought="别的") == cut_key(chars=900)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"chars": 6000}, True),
        ({"query": "别的"}, True),
        ({"policy": replace(POLICY, context=9000)}, True),
        ({"thought": "别的"}, False),  # it takes room from the article
        ({"answer": "别的"}, False),
        ({"policy": replace(POLICY, room=4100)}, False),
        ({"policy": replace(POLICY, fields=("answer",))}, False),
        ({"policy": None}, False),
    ],
    ids=str,
)
def test_a_long_records_key_holds_what_its_cut_hangs_on(change: dict[str, Any], same: bool) -> None:
    assert (cut_key(**change) == cut_key()) == same


def test_the_words_of_the_cut_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cut_key()
    monkeypatch.setattr(long_text, "OMISSION", "[{chars}]")
    assert cut_key() != before


ANSWER = yaml.safe_load(Path(load_rubric("answer").path).read_text(encoding="utf-8"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value and of every free key in a rubric file."""
    if isinstance(value, dict):
        return [place for name, below in value.items() for place in leaves(below, (*path, name))]
    if isinstance(value, list):
        return [place for n, below in enumerate(value) for place in leaves(below, (*path, n))]
    return [path]


def changed(place: tuple[Any, ...]) -> dict[str, Any]:
    raw = yaml.safe_load(yaml.safe_dump(ANSWER, allow_unicode=True))
    target = raw
    for step in place[:-1]:
        target = target[step]
    old = target[place[-1]]
    if place[0] == "reads":
        target[place[-1]] = "thought"
    elif place == ("scale", "step"):
        target[place[-1]] = 0.5
    elif place[0] == "scale":
        target[place[-1]] = old + (10 if place[-1] == "max" else -1)
    else:
        target[place[-1]] = f"{old}x"
    return raw


def print_of(raw: dict[str, Any]) -> str:
    from coigw_judge.prompting.rubric import Rubric

    return Rubric.model_validate(raw).fingerprint()


@pytest.mark.parametrize("place", [p for p in leaves(ANSWER) if p[0] != "by_genre"], ids=str)
def test_every_word_of_a_rubric_is_in_its_fingerprint(place: tuple[Any, ...]) -> None:
    assert print_of(changed(place)) != print_of(ANSWER)


def test_the_order_of_items_is_in_the_fingerprint_and_that_of_keys_is_not() -> None:
    turned = {**ANSWER, "dimensions": ANSWER["dimensions"][::-1]}
    assert print_of(turned) != print_of(ANSWER)
    assert print_of(dict(reversed(ANSWER.items()))) == print_of(ANSWER)


def test_guidance_and_place_are_not_in_the_fingerprint(tmp_path: Path) -> None:
    assert print_of({**ANSWER, "by_genre": {"诗歌": "别的"}}) == print_of(ANSWER)
    copy = tmp_path / "answer.yaml"
    copy.write_text(yaml.safe_dump(ANSWER, allow_unicode=True), encoding="utf-8")
    assert load_rubric(copy).path != load_rubric("answer").path
    assert load_rubric(copy).fingerprint() == load_rubric("answer").fingerprint() == print_of(ANSWER)


# The judge's part of the fingerprint


def endpoint(**keys: Any) -> Identity:
    return engine_of(JudgeConfig(**{"engine": "endpoint", "base_url": "http://a/v1", "model": "m", **keys})).identify()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"revision": "2"},
        {"extra_body": {"enable_thinking": False}},
        {"sampling": {"temperature": 0.3}},
        {"retries": 0},
        {"thinking": True},
    ],
    ids=str,
)
def test_what_an_endpoint_is_told_is_in_its_fingerprint(change: dict[str, Any]) -> None:
    assert endpoint(**change).fingerprint != endpoint().fingerprint


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"base_url": "http://b/v1"},
            {"api_key_env": "KEY"},
            {"timeout": 5},
            {"concurrency": 3},
            {"replicas": [1, 4]},
        ),
        {"context": 8192},
    ],
    ids=str,
)
def test_where_an_endpoint_is_and_how_fast_is_not(change: dict[str, Any]) -> None:
    assert endpoint(**change).fingerprint == endpoint().fingerprint


def test_an_endpoints_identity_is_what_the_job_declares() -> None:
    found = endpoint(revision="2024-11")
    assert (found.engine, found.model, found.revision, found.meaningless) == ("endpoint", "m", "2024-11", False)


def test_a_judge_of_ones_own_is_known_by_its_class_and_options() -> None:
    prints = [
        engine_of(JudgeConfig(engine=engine, options=options)).identify().fingerprint
        for engine in ("builtins:dict", "builtins:list")
        for options in ({}, {"a": 1})
    ]
    assert len(set(prints)) == 4


def test_neutral_arguments_are_those_that_an_answer_does_not_hang_on() -> None:
    assert {"tensor_parallel_size", "max_num_seqs", "gpu_memory_utilization", "block_size"} <= NEUTRAL_ARGS
    assert not NEUTRAL_ARGS & {"quantization", "dtype", "kv_cache_dtype", "max_model_len", "reasoning_parser", "seed"}
    small = engine_arguments(JudgeConfig(model="Qwen/Qwen3-235B-A22B-FP8"))
    large = engine_arguments(
        JudgeConfig(model="Qwen/Qwen3-235B-A22B-FP8", tensor_parallel=8, engine_args={"max_num_seqs": 7})
    )
    assert {name for name in small.keys() | large.keys() if small.get(name) != large.get(name)} <= NEUTRAL_ARGS


@pytest.fixture(scope="module")
def embedded_print() -> Any:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("without vLLM nobody is identified who needs it")
    return lambda **keys: engine_of(JudgeConfig(model="embedded", **keys)).identify().fingerprint


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({}, True),
        ({"tensor_parallel": 2}, True),
        ({"replicas": 4, "concurrency": 9, "timeout": 1}, True),
        ({"engine_args": {"max_num_seqs": 3, "block_size": 16}}, True),
        ({"thinking_tokens": 7}, True),  # without thinking nobody counts them
        ({"engine_args": {"dtype": "bfloat16"}}, False),
        ({"engine_args": {"max_model_len": 4096}}, False),
        ({"thinking": True}, False),
        ({"retries": 1}, False),
        ({"sampling": {"temperature": 0.2}}, False),
    ],
    ids=str,
)
def test_a_vllm_judge_is_known_by_what_changes_its_answers(
    embedded_print: Any, keys: dict[str, Any], same: bool
) -> None:
    assert (embedded_print(**keys) == embedded_print()) == same


def test_the_ask_fingerprint_covers_judge_rubric_prompt_and_schema(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: x\ninput: {paths: [a.jsonl]}\nrubrics: [answer, query]\njudge: {model: embedded}\n")
    loaded = load_job(job)
    answer, query = loaded.rubrics
    one = Identity(engine="vllm", model="m", revision="1", fingerprint="one")
    other = Identity(engine="vllm", model="m", revision="1", fingerprint="other")
    asked = ask_fingerprint(loaded, answer, one)
    assert asked == ask_fingerprint(load_job(job), answer, one)
    assert asked != ask_fingerprint(loaded, answer, other)
    assert asked != ask_fingerprint(loaded, query, one)
    assert asked != ask_fingerprint(load_job(job, ["reasons=none"]), answer, one)
    for neutral in (
        "order=fewest_fields",
        "samples.exhaustive=0.5",
        "gate.each=9",
        "max_unscored=1",
        "early_exit=false",
        "then=[answer_analysis]",
        "write=[all]",
    ):
        assert asked == ask_fingerprint(load_job(job, [neutral]), answer, one)
    assert asked == ask_fingerprint(load_job(job, ["long_text=head_tail"]), answer, one), (
        "cut texts say so in their key"
    )


def test_editing_one_rubric_leaves_the_others_requests_alone(tmp_path: Path) -> None:
    for name in ("answer", "query"):
        path = Path(load_rubric(name).path)
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    job = tmp_path / "job.yaml"
    job.write_text(
        "name: x\ninput: {paths: [a.jsonl]}\nrubrics: [./answer.yaml, ./query.yaml]\njudge: {model: embedded}\n"
    )
    who = Identity(engine="vllm", model="m", revision="1", fingerprint="one")
    before = [ask_fingerprint(load_job(job), rubric, who) for rubric in load_job(job).rubrics]
    edited = tmp_path / "query.yaml"
    edited.write_text(
        edited.read_text(encoding="utf-8").replace("title: 题目评分", "title: 题目的评分"), encoding="utf-8"
    )
    after = [ask_fingerprint(load_job(job), rubric, who) for rubric in load_job(job).rubrics]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
