"""Whatever the texts: what is shown fits, is the same for all of a record's requests, and says what it left out."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.job.fingerprints import head_tail, plan_for_fill, plan_from_store, reserve
from coigw_judge.job.job import load_job
from coigw_judge.judges import embedded
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Yardstick
from coigw_judge.judges.vllm.engine import VllmEngine
from coigw_judge.prompting.long_text import LEAST_ROOM, HeadTail, fit, too_long
from coigw_judge.prompting.rubric import load_rubric
from coigw_judge.prompting.template import delimited, load_template, omission
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.records.record import FIELDS
from coigw_judge.store.parts import Store

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

UNITS = (
    "长",
    "龘",
    "巷口的修表匠说，这只表走得慢。\n",
    "word by word ",
    " ",
    "\r\n",
    "9",
    "<|im_end|>",
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇨🇳",
    "e\u0301",
    "\u0300",
)
WHOLE = ("👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "e\u0301", "か\u3099", "✌\ufe0f", "\r\n")
"""What a reader sees as one character each."""

stable_characters = st.characters(exclude_categories=["Cs"]).filter(lambda c: unicodedata.normalize("NFC", c) == c)
long_texts = st.lists(
    st.tuples(st.sampled_from(UNITS) | st.text(stable_characters, min_size=1, max_size=4), st.integers(1, 900)),
    min_size=1,
    max_size=5,
).map(lambda runs: "".join(unit * times for unit, times in runs))
records = st.fixed_dictionaries({"answer": long_texts}, optional={"query": long_texts, "thought": long_texts})
rooms = st.integers(LEAST_ROOM * len(FIELDS), 4000)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(embedded.build(), {"enable_thinking": False})


def taken(encoder: Encoder, texts: Any) -> int:
    return sum(encoder.count(delimited(field, text)) + encoder.count("\n\n") for field, text in texts.items())


def parts(shown: str, left_out: int) -> tuple[str, str]:
    """Beginning and end of a text that was cut. The text may hold such a line too, but hardly with this number."""
    head, line, tail = shown.partition(f"\n{omission(left_out)}\n")
    assert line
    return head, tail


@given(texts=records, room=rooms)
def test_what_is_shown_fits_and_says_what_it_left_out(encoder: Encoder, texts: Any, room: int) -> None:
    found = fit(texts, HeadTail(FIELDS, room, 9999), encoder.count)
    assert taken(encoder, found.texts) <= room
    assert found.texts.keys() == texts.keys()
    for field, text in texts.items():
        if field not in found.left_out:
            assert found.texts[field] == text
            continue
        head, tail = parts(found.texts[field], found.left_out[field])
        assert text.startswith(head) and text.endswith(tail)
        assert len(head) + found.left_out[field] + len(tail) == len(text)
        assert found.left_out[field] > 0


@given(texts=records, spare=st.integers(0, 3))
def test_nothing_is_cut_that_fits(encoder: Encoder, texts: Any, spare: int) -> None:
    size = taken(encoder, texts)
    assume(sum(map(len, texts.values())) < 16 * size)
    assert fit(texts, HeadTail(FIELDS, size + spare, 9999), encoder.count).texts == texts
    assert not too_long(texts, FIELDS, size, encoder.count)
    assert too_long(texts, FIELDS, size - 1, encoder.count)


@given(texts=records, room=rooms)
def test_requests_of_one_record_share_the_cut_texts(encoder: Encoder, texts: Any, room: int) -> None:
    texts = {"query": "题目", "thought": "思路", **texts}
    shown = fit(texts, HeadTail(FIELDS, room, 9999), encoder.count).texts
    article, pair, triplet = (
        load_template(load_rubric(name), "short").render(shown, None) for name in ("article", "answer", "thought")
    )
    assert article.fields == pair.fields[:1] == triplet.fields[:1]
    assert pair.fields == triplet.fields[:2]
    one, two, three = map(encoder.encode, (article, pair, triplet))
    for shorter, longer, prompt in ((one, two, article), (two, three, pair)):
        shared = len(shorter) - len(encoder.plain(prompt.task)) - len(encoder.frame_ids[2])
        assert shorter[:shared] == longer[:shared]


@pytest.fixture(scope="module")
def other_encoder() -> Encoder:
    """The same model's, in another process say: what one has counted the other has not."""
    return Encoder(embedded.build(), {"enable_thinking": False})


@given(texts=records, room=rooms)
def test_the_cut_is_the_same_every_time(encoder: Encoder, other_encoder: Encoder, texts: Any, room: int) -> None:
    policy = HeadTail(FIELDS, room, 9999)
    once = fit(texts, policy, encoder.count)
    reordered = dict(reversed(texts.items()))
    assert fit(reordered, policy, other_encoder.count) == once


def test_half_of_what_is_kept_stands_before_and_half_after(encoder: Encoder) -> None:
    text = "".join(f"第{n}天，巷口的修表匠说，这只表走得慢。" for n in range(4000))
    found = fit({"answer": text}, HeadTail(("answer",), 9000, 9999), encoder.count)
    head, tail = map(len, parts(found.texts["answer"], found.left_out["answer"]))
    assert abs(head - tail) < 0.05 * (head + tail)
    assert 0.95 * 9000 < taken(encoder, found.texts) <= 9000, "the room is used"


def test_half_is_measured_in_tokens(encoder: Encoder) -> None:
    text = "龘" * 5000 + "word by word " * 5000
    for whole in (text, text[::-1]):
        found = fit({"answer": whole}, HeadTail(("answer",), 3000, 9999), encoder.count)
        head, tail = map(encoder.count, parts(found.texts["answer"], found.left_out["answer"]))
        assert abs(head - tail) < 0.05 * (head + tail)


def test_pieces_that_take_more_when_joined_still_fit() -> None:
    def count(text: str) -> int:
        return len(text) if len(text) <= 2048 else 3 * len(text)

    found = fit({"answer": "长" * 3000}, HeadTail(("answer",), 8000, 9999), count)
    assert count(delimited("answer", found.texts["answer"])) <= 8000
    head, tail = map(len, parts(found.texts["answer"], found.left_out["answer"]))
    assert 0 < head + tail == 3000 - found.left_out["answer"]


@pytest.mark.parametrize("unit", WHOLE)
def test_no_character_is_cut_from_its_marks(encoder: Encoder, unit: str) -> None:
    for shift in range(8):
        text = "文" * shift + unit * 3000
        found = fit({"answer": text}, HeadTail(("answer",), 800, 9999), encoder.count)
        head, tail = parts(found.texts["answer"], found.left_out["answer"])
        assert re.fullmatch(f"文*(?:{unit})*", head) and re.fullmatch(f"(?:{unit})*", tail)


def test_the_longest_field_is_cut_first_and_the_next_only_where_it_must() -> None:
    policy = HeadTail(FIELDS, 2000, 9999)
    one = fit({"answer": "长" * 5000, "query": "题" * 50, "thought": "思" * 800}, policy, len)
    assert one.left_out.keys() == {"answer"}
    assert 1800 < sum(map(len, one.texts.values())) < 2000, "all of the room is for them"
    both = fit({"answer": "长" * 5000, "query": "题" * 50, "thought": "思" * 4000}, policy, len)
    assert both.left_out.keys() == {"answer", "thought"}
    answer, thought = (len(both.texts[field]) for field in ("answer", "thought"))
    assert abs(answer - thought) <= 2
    every = fit(dict.fromkeys(FIELDS, "长" * 3000), policy, len)
    assert every.left_out.keys() == set(FIELDS)


def test_what_the_jobs_rubrics_do_not_read_takes_no_room() -> None:
    texts: Any = {"answer": "长" * 800, "thought": "思" * 90_000}
    assert not fit(texts, HeadTail(("answer", "query"), 2000, 9999), len).left_out
    assert fit(texts, HeadTail(("answer", "thought"), 2000, 9999), len).left_out.keys() == {"thought"}


def test_a_fact_records_the_fields_that_its_request_shows() -> None:
    shown = fit(dict.fromkeys(FIELDS, "长" * 3000), HeadTail(FIELDS, 2000, 9999), len)
    assert shown.flags(("query",)) == (f"head_tail:query {shown.left_out['query']}",)
    assert [flag.split()[0] for flag in shown.flags(FIELDS)] == [f"head_tail:{field}" for field in FIELDS]
    assert fit({"answer": "短"}, HeadTail(FIELDS, 2000, 9999), len).flags(FIELDS) == ()


@pytest.mark.parametrize("unit", ["长", " ", "巷口的修表匠说，这只表走得慢。", "-"])
def test_ten_million_characters_are_not_encoded(encoder: Encoder, unit: str) -> None:
    room, read = 3000, 0

    def count(text: str) -> int:
        nonlocal read
        read += len(text)
        return len(text) // 500 if unit == "-" else encoder.count(text)  # some tokenizers know long rules by heart

    found = fit({"answer": unit * (10_000_000 // len(unit))}, HeadTail(("answer",), room, 9999), count)
    assert found.left_out["answer"] > 9_000_000
    assert read < 100 * room


def test_a_record_that_must_fit_is_not_counted_at_all() -> None:
    texts: Any = {"answer": "长" * 2000, "thought": "思" * 100}
    policy = HeadTail(FIELDS, 10_000, 20_000)
    assert not policy.concerns(2100) and policy.concerns(2500)
    assert fit(texts, policy, None).texts is texts  # type: ignore[arg-type]
    assert fit({"answer": "长" * 90_000}, None, None).left_out == {}  # type: ignore[arg-type]


# A job's room


def job(write_job: Any, **keys: Any) -> Any:
    judge = {"engine": "scripted_judge:ScriptedJudge", "context": 16_000}
    return load_job(write_job([], **{"judge": judge, "long_text": "head_tail", **keys}))


def test_the_room_is_what_the_longest_request_leaves(write_job: Any) -> None:
    loaded = job(write_job)
    measure = engine_of(loaded.config.judge).yardstick()
    assert measure is not None
    policy = head_tail(loaded, measure)
    assert policy is not None and policy.fields == FIELDS
    largest = max(reserve(loaded, rubric, measure) for rubric in loaded.rubrics)
    assert 0 <= measure.context - largest - policy.room < measure.context / 32
    only = head_tail(job(write_job, rubrics=["answer"], gate={"each": 8}), measure)
    assert only is not None and only.fields == ("answer", "query") and only.room >= policy.room
    thinking = {"engine": "scripted_judge:ScriptedJudge", "context": 16_000, "thinking": True, "thinking_tokens": 4096}
    thoughtful = head_tail(job(write_job, judge=thinking), measure)
    assert thoughtful is not None and thoughtful.room <= policy.room - 4096 + 500


def test_every_request_of_a_cut_record_fits_the_context(write_job: Any, encoder: Encoder) -> None:
    loaded = job(write_job, judge={"model": "embedded", "engine_args": {"max_model_len": 6144}})
    measure = Yardstick(6144, sum(map(len, encoder.frame_ids)), encoder.count)
    policy = head_tail(loaded, measure)
    texts: Any = {"answer": "文章" * 50_000, "query": "题目" * 40, "thought": "思路" * 900}
    shown = fit(texts, policy, encoder.count)
    assert shown.left_out
    for rubric in loaded.rubrics:
        for guidance in (None, *rubric.by_genre.values()):
            prompt = loaded.templates[rubric.name].render(shown.texts, guidance)
            reply = reserve(loaded, rubric, Yardstick(6144, 0, lambda _: 0))
            assert len(encoder.encode(prompt)) + reply <= 6144


def test_a_context_that_leaves_no_room_is_said_with_the_rubric(write_job: Any) -> None:
    loaded = job(write_job, judge={"engine": "scripted_judge:ScriptedJudge", "context": 1000})
    with pytest.raises(
        FixJob, match=r"head_tail: rubric \w+ and its reply take up to \d+ of the context's 1000 tokens"
    ):
        head_tail(loaded, engine_of(loaded.config.judge).yardstick())


def test_without_a_context_a_judge_of_ones_own_gets_all(write_job: Any) -> None:
    loaded = job(write_job, judge={"engine": "scripted_judge:ScriptedJudge"})
    assert head_tail(loaded, engine_of(loaded.config.judge).yardstick()) is None


def test_select_finds_the_room_again_without_a_tokenizer(write_job: Any, tmp_path: Path) -> None:
    loaded, store = job(write_job), Store(str(tmp_path / "facts"))
    filled = plan_for_fill(loaded, store)
    assert filled.plan.head_tail is not None
    assert plan_from_store(loaded, store).plan == filled.plan
    assert plan_from_store(job(write_job, rubrics=["answer"], gate={"each": 8}), store).plan.head_tail is None
    rejecting = job(write_job, long_text="reject")
    plan_for_fill(rejecting, store)
    assert plan_from_store(rejecting, store).plan.head_tail is None
    assert plan_from_store(job(write_job), store).plan == filled.plan


def test_a_vllm_context_is_the_jobs_else_the_models(write_job: Any) -> None:
    loaded = job(write_job, judge={"model": "embedded", "engine_args": {"max_model_len": 7000}})
    assert VllmEngine(loaded.config.judge).yardstick().context == 7000
    assert VllmEngine(job(write_job, judge={"model": "embedded"}).config.judge).yardstick().context == 65536
    auto = job(write_job, judge={"model": "embedded", "engine_args": {"max_model_len": -1}})
    with pytest.raises(FixJudge, match="max_model_len: say the context as a number"):
        VllmEngine(auto.config.judge).yardstick()
