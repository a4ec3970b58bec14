"""No text makes parse_reply raise, hang or leave the scale; what the schema allows comes back as it was."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coigw_judge.prompting.rubric import Reasons, Rubric
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.replies.parse import parse_reply

OPTIONS = ["诗歌", "散文", "散文诗", "Prose, or so"]


def rubric(step: float, *, kinds: str = "dcon") -> Rubric:
    named = {"question": "?"}
    dimension = {"criteria": {"a": "b"}, "anchors": {0: "bad", 10: "good"}}
    return Rubric.model_validate(
        {
            **{"name": "test", "title": "Test", "reads": ["answer"], "prompt": "answer", "scale": {"step": step}},
            "dimensions": [
                {"key": "quality", "title": "质量", "aliases": ["文章质量"], **dimension},
                {"key": "creativity", "title": "创意", **dimension},
            ][: 2 if "d" in kinds else 1 if "1" in kinds else 0],
            "checks": [{"key": "usable", "title": "可用", **named}] if "c" in kinds else [],
            "choices": [{"key": "genre", "title": "体裁", "options": OPTIONS, **named}] if "o" in kinds else [],
            "notes": [{"key": "summary", "title": "概要", **named}] if "n" in kinds else [],
        }
    )


RUBRICS = [rubric(1), rubric(0.5), rubric(1, kinds="1"), rubric(1, kinds="c"), rubric(0.5, kinds="d")]
rubrics = st.sampled_from(RUBRICS)
anything = st.text(st.characters(codec=None, categories=None))
shards = [*"{}[]\"'“”：:，,、。｛｝\\/*_|-—\n\u3000\ud800\x00 ", "```json\n", "```", "<think>", "</think>", "\\u"]
shards += [
    "质量",
    "文章质量",
    "创意",
    "可用",
    "体裁",
    "概要",
    "总分",
    "quality",
    "Rating",
    "score",
    "reason",
    '"quality":',
]
shards += ["8", "８", "8.5", "10", "11", "-1", "1e9", "8/10", "80/100", "8分", "（满分10）", "[[7]]", "NaN", "Infinity"]
shards += [
    "改为",
    "不，",
    "例如：",
    "格式应为",
    "不到",
    "约",
    "八分",
    "半",
    "08",
    "百分制",
    "| 10 |",
    '"max": 100',
    "Final answer: ",
]
shards += ["是", "否", "Yes", "No", "True", "None", "null", "诗歌", "散文诗", "\u0301", "٣", "²", "抱歉"]
patchwork = st.lists(st.one_of(st.sampled_from(shards), anything), max_size=40).map("".join)


def sound(found: Scored | Unscored, of: Rubric) -> bool:
    """Whether a result holds only what the rubric admits, in full, and can be stored."""
    found.raw.encode()
    if isinstance(found, Unscored):
        found.detail.encode()
        return True
    texts = [*found.reasons.values(), *found.notes.values()]
    return (
        [*found.scores] == [d.key for d in of.dimensions]
        and all(value in of.scale.values() and not math.isnan(value) for value in found.scores.values())
        and not any(isinstance(value, bool) for value in found.scores.values())
        and [*found.checks] == [c.key for c in of.checks]
        and all(isinstance(value, bool) for value in found.checks.values())
        and [*found.choices] == [c.key for c in of.choices]
        and all(value in OPTIONS for value in found.choices.values())
        and [*found.notes] == [n.key for n in of.notes]
        and all(type(text) is str and text.encode() is not None for text in texts)
        and found.reasons.keys() <= {item.key for item in of.items}
    )


@given(st.one_of(anything, patchwork), rubrics)
@settings(max_examples=1500, deadline=None)
def test_any_text_is_read_or_refused(text: str, of: Rubric) -> None:
    assert sound(parse_reply(text, of), of)


@st.composite
def replies(draw: st.DrawFn, of: Rubric, reasons: Reasons) -> dict[str, Any]:
    """What of.schema(reasons) admits."""
    free = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    values: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
        **{d.key: ("score", st.sampled_from(of.scale.values())) for d in of.dimensions},
        **{c.key: ("value", st.booleans()) for c in of.checks},
        **{c.key: ("choice", st.sampled_from(c.options)) for c in of.choices},
    }
    reply: dict[str, Any] = {}
    for key, (name, value) in values.items():
        reply[key] = draw(value) if reasons == "none" else {"reason": draw(free), name: draw(value)}
    return reply | {n.key: draw(free) for n in of.notes}


def as_read(reply: dict[str, Any], of: Rubric, raw: str) -> Scored:
    """The Scored that says what a reply in the schema's shape says."""
    nested = {key: value for key, value in reply.items() if isinstance(value, dict)}
    flat = {key: [*value.values()][1] if key in nested else value for key, value in reply.items()}
    return Scored(
        scores={d.key: flat[d.key] for d in of.dimensions},
        reasons={key: value["reason"] for key, value in nested.items()},
        checks={c.key: flat[c.key] for c in of.checks},
        choices={c.key: flat[c.key] for c in of.choices},
        notes={n.key: flat[n.key] for n in of.notes},
        raw=raw,
    )


@pytest.mark.parametrize("reasons", ["none", "short", "full"])
@pytest.mark.parametrize("wrapped", ["{}", "```json\n{}\n```", "<think>so</think>\n{}", "My verdict: {}\nThat is all."])
@given(data=st.data(), of=rubrics, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
@settings(max_examples=60, deadline=None)
def test_what_the_schema_admits_comes_back(
    reasons: Reasons, wrapped: str, data: st.DataObject, of: Rubric, ascii_only: bool, indent: int | None
) -> None:
    reply = data.draw(replies(of, reasons))
    text = wrapped.replace("{}", json.dumps(reply, ensure_ascii=ascii_only, indent=indent))
    if wrapped != "{}" and ("```" in text[3:-3] or "think>" in text[12:]):
        return  # a fence or a mark of thinking inside the reply's own strings: refused, see the next test
    assert parse_reply(text, of) == as_read(reply, of, text)


@given(data=st.data(), of=rubrics, mark=st.sampled_from(["```", "</think>", "<think>", '"quality": 3}', "质量：3"]))
@settings(max_examples=200, deadline=None)
def test_a_reply_quoting_its_own_frame_is_read_right_or_not_at_all(data: st.DataObject, of: Rubric, mark: str) -> None:
    reply = data.draw(replies(of, "full"))
    for value in reply.values():
        if isinstance(value, dict):
            value["reason"] += mark
    for text in (json.dumps(reply), f"Reply:\n```json\n{json.dumps(reply)}\n```"):
        found = parse_reply(text, of)
        assert found == as_read(reply, of, text) or (isinstance(found, Unscored) and not text.startswith("{"))


@given(data=st.data(), of=rubrics, reasons=st.sampled_from(["none", "full"]), python=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_cut_reply_is_never_scored(data: st.DataObject, of: Rubric, reasons: Reasons, python: bool) -> None:
    reply = data.draw(replies(of, reasons))
    text = repr(reply) if python else json.dumps(reply, ensure_ascii=False)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert isinstance(parse_reply(text[:cut], of), Unscored)


@given(data=st.data(), of=rubrics)
@settings(max_examples=400, deadline=None)
def test_a_mutated_reply_stays_sound(data: st.DataObject, of: Rubric) -> None:
    text = json.dumps(data.draw(replies(of, "full")), ensure_ascii=False)
    for _ in range(data.draw(st.integers(1, 4))):
        at, gone = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
        text = text[:at] + data.draw(st.sampled_from(["", *shards])) + text[at + gone :]
    assert sound(parse_reply(text, of), of)


@given(
    st.sampled_from(rubric(0.5).scale.values()),
    st.sampled_from(["质量：{}", "**文章质量**（满分10）: {}/10", "Quality = {} 分"]),
)
def test_a_labelled_score_is_that_score(score: float, form: str) -> None:
    of = rubric(0.5, kinds="1")
    assert parse_reply(form.format(score), of) == Scored(scores={"quality": score}, raw=form.format(score))


@given(st.floats() | st.integers(), st.sampled_from([0.5, 1]))
def test_a_number_off_the_scale_is_never_moved_onto_it(number: float, step: float) -> None:
    of = rubric(step, kinds="1")
    found = parse_reply(json.dumps({"quality": number}), of)
    if isinstance(found, Scored):
        assert found.scores["quality"] == pytest.approx(number, abs=1e-5)
    else:
        assert found.cause == ("out_of_range" if math.isfinite(number) else "malformed")


HUGE = 160_000
SEEDS = [
    "[",
    "{",
    '{"a":',
    '{"quality":',
    '{"a":[',
    '{"a":"b", "',
    '"',
    '\\"',
    "```",
    '```{"a":"',
    '{"a":1}',
    "质量",
    "质量：",
]
SEEDS += [
    "质量：8\n",
    "质量（",
    "**质量",
    "概要：",
    "概要：x\n",
    "可用：是\n",
    "总分：9\n",
    "[[",
    "[[7]]",
    "<think></think>",
    " ",
    "\n",
]
SEEDS += [
    "*",
    "(",
    "8",
    "9/",
    "\ud800",
    "\x00",
    "\u0301\u0316",
    "yes ",
    '", "a":',
    "{'a': \"b\", ",
    '{"a":1,}',
    "质量：8          ",
]
SEEDS += [
    "质量：8分，不",
    "质量：约",
    "| 质量 | 8 | ",
    '例如：{"quality": 8}',
    "[[8]] or ",
    "Yes, no ",
    '{"quality":{"score":8,"value":7}},',
]


@pytest.mark.parametrize("seed", SEEDS)
def test_time_is_linear(seed: str) -> None:
    """A quadratic step shows as a factor of 16 between the lengths; what is allowed is 4, with room for noise."""
    for of in (RUBRICS[0], RUBRICS[2]):
        for opening in ("", '{"x": "'):
            short, long = (opening + (seed * size)[:size] for size in (HUGE // 4, HUGE))
            # Noise passes by, a quadratic step does not: it shows each time.
            assert any(_seconds(long, of) < 9 * _seconds(short, of) + 0.1 for _ in range(4))


def _seconds(text: str, of: Rubric) -> float:
    best = math.inf
    for _ in range(2):
        start = time.process_time()
        parse_reply(text, of)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"quality":' * 1_000_000, '{"quality": ' + "9" * 1_000_000 + "}"])
def test_depth_and_length_do_not_raise(text: str) -> None:
    assert isinstance(parse_reply(text, RUBRICS[2]), Unscored)
