"""Replies as judges write them: what is read, what is refused, and for which cause."""

import base64
import inspect
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from coigw_judge.prompting.rubric import Rubric
from coigw_judge.replies.outcome import Cause, Scored, Unscored
from coigw_judge.replies.parse import parse_reply
from coigw_judge.replies.tolerant_json import Broken, JsonObject, NotJson, Prose, pieces, strict


def rubric(
    *dimensions: str,
    check: str = "",
    choice: str = "",
    note: str = "",
    low: float = 0,
    top: float = 10,
    step: float = 1,
) -> Rubric:
    """A rubric of items given as 'key title alias ...'."""

    def item(names: str, **more: Any) -> dict[str, Any]:
        key, title, *aliases = names.split()
        return {"key": key, "title": title.replace("_", " "), "aliases": aliases, **more}

    return Rubric.model_validate(
        {
            **{"name": "test", "title": "Test", "reads": ["answer"], "prompt": "answer"},
            "scale": {"min": low, "max": top, "step": step},
            "dimensions": [item(d, criteria={"a": "b"}, anchors={top: "good", low: "bad"}) for d in dimensions],
            "checks": [item(check, question="?")] if check else [],
            "choices": [item(choice, question="?", options=["诗歌", "散文", "散文诗", "Prose"])] if choice else [],
            "notes": [item(note, question="?")] if note else [],
        }
    )


ONE = rubric("quality 质量 文章质量")
TWO = rubric("quality 质量 文章质量", "creativity 创意")
HALVES = rubric("quality 质量", step=0.5)
CHECK = rubric(check="usable 可用")
CHOICE = rubric(choice="genre 体裁")
NOTE = rubric(note="summary 概要")
ALL = rubric("quality 质量 文章质量", "creativity 创意", check="usable 可用", choice="genre 体裁", note="summary 概要")
BOTH = {"quality": 8, "creativity": 7}


def scores(text: str, of: Rubric = TWO) -> dict[str, float] | Cause:
    found = parse_reply(text, of)
    return dict(found.scores) if isinstance(found, Scored) else found.cause


def only(text: str, of: Rubric) -> float | bool | str | Cause:
    """The single value of a rubric of one item, or the cause."""
    found = parse_reply(text, of)
    if isinstance(found, Unscored):
        return found.cause
    values: list[float | bool | str] = [*found.scores.values(), *found.checks.values()]
    values += [*found.choices.values(), *found.notes.values()]
    assert len(values) == 1
    return values[0]


# -- JSON ------------------------------------------------------------------------------------------


def test_nested_json_gives_every_kind_of_item() -> None:
    reply = {
        "quality": {"reason": "流畅", "score": 8},
        "creativity": {"reason": "新", "score": 7},
        "usable": {"reason": "完整", "value": True},
        "genre": {"reason": "无韵", "choice": "散文"},
        "summary": "写春天",
    }
    text = json.dumps(reply, ensure_ascii=False)
    assert parse_reply(text, ALL) == Scored(
        scores=BOTH,
        reasons={"quality": "流畅", "creativity": "新", "usable": "完整", "genre": "无韵"},
        checks={"usable": True},
        choices={"genre": "散文"},
        notes={"summary": "写春天"},
        raw=text,
    )


def test_flat_json_gives_the_same_without_reasons() -> None:
    text = '{"quality": 8, "creativity": 7, "usable": false, "genre": "散文诗", "summary": ""}'
    found = parse_reply(text, ALL)
    assert isinstance(found, Scored)
    assert (found.scores, found.checks) == (BOTH, {"usable": False})
    assert (found.choices, found.notes, found.reasons) == ({"genre": "散文诗"}, {"summary": ""}, {})


@pytest.mark.parametrize(
    "text",
    [
        '{"quality": 8.0, "creativity": 7e0}',
        '{"quality": "8", "creativity": "7/10"}',
        '{"quality": "８ 分", "creativity": "７／１０分"}',
        '{"质量": 8, "创意": 7}',
        '{"Quality": 8, "CREATIVITY": 7, "confidence": 0.3}',
        '{"result": {"quality": 8, "creativity": 7}}',
        '[{"quality": 8, "creativity": 7}]',
        '```json\n{"quality": 8, "creativity": 7}\n```',
        'Here it is: {"quality": 8, "creativity": 7}. Done.',
        '<think>{"quality": 1, "creativity": 1}</think>\n\n{"quality": 8, "creativity": 7}',
        '想了想</think>{"quality": 8, "creativity": 7}',
        "{'quality': 8, 'creativity': 7, 'flag': True, 'other': None}",
        '{"quality": {"reason": "x", "score": 8,}, "creativity": 7,}',
        '{"quality": 8/10, "creativity": 7 分}',
        "｛“quality”：８，“creativity”：７｝",
        '{"quality": {"reason": "他说"好"，"很好", 又说"不"", "score": 8}, "creativity": 7}',
        """{'quality': {'reason': 'it's "fine", isn't it', 'score': 8}, 'creativity': 7}""",
        '{"quality": {"reason": "line\none", "score": 8}, "creativity": 7}',
    ],
)
def test_json_in_all_its_forms(text: str) -> None:
    assert scores(text) == BOTH


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"quality": 8}', "incomplete"),
        ('{"quality": 8, "creativity": null}', "incomplete"),
        ('{"quality": 8, "creativity": {"reason": "none given"}}', "incomplete"),
        ("{}", "incomplete"),
        ('{"quality": 11, "creativity": 7}', "out_of_range"),
        ('{"quality": -1, "creativity": 7}', "out_of_range"),
        ('{"quality": 8.5, "creativity": 7}', "out_of_range"),
        ('{"quality": 1e999, "creativity": 7}', "out_of_range"),
        ('{"quality": "80/100", "creativity": 7}', "out_of_range"),
        ('{"quality": "4/5", "creativity": 7}', "out_of_range"),
        ('{"quality": 80/100, "creativity": 7}', "out_of_range"),
        ('{"quality": true, "creativity": 7}', "malformed"),
        ('{"quality": [8], "creativity": 7}', "malformed"),
        ('{"quality": "good", "creativity": 7}', "malformed"),
        ('{"quality": "8-9", "creativity": 7}', "malformed"),
        ('{"quality": NaN, "creativity": 7}', "malformed"),
        ('{"quality": Infinity, "creativity": 7}', "malformed"),
        ('{"quality": __import__("os").getpid(), "creativity": 7}', "malformed"),
        ('{"quality": 4+4, "creativity": 7}', "malformed"),
        ('{"quality": 8, "creativity": 1', "malformed"),  # of 10, perhaps
        ('{"quality": 8, "creativity": 7', "malformed"),
        ('{"quality": 8, "creativity": "7', "malformed"),
        ('"quality": 8, "creativity": 7}', "malformed"),
        ('{"x": [1,,], "quality": 8, "creativity": 7}', "malformed"),
        ('{"reason": "a",, "quality": 8, "creativity": 7}', "malformed"),
        (
            '{"reason": "he wrote "8", "quality": 9, "creativity": 9}" and more", "quality": 8, "creativity": 7}',
            "malformed",
        ),
        ('<think>{"quality": 8, "creativity": 7}', "malformed"),
        ("<think>thought</think>", "empty"),
        ("", "empty"),
        (" \n\u3000", "empty"),
        ("$ERROR$", "malformed"),
        ("null", "malformed"),
        ("[]", "malformed"),
        ("抱歉，我无法评价这篇文章。", "refused"),
        ("I'm sorry, but I cannot rate this.", "refused"),
        ("抱歉，我无法评价创意。质量：8", "incomplete"),
        ("The author says: I cannot go on.", "malformed"),
    ],
)
def test_what_is_not_scored(text: str, cause: Cause) -> None:
    found = parse_reply(text, TWO)
    assert isinstance(found, Unscored)
    assert (found.cause, found.raw) == (cause, text)


def test_an_unscored_reply_names_what_is_missing() -> None:
    found = parse_reply('{"quality": 8, "genre": "散文"}', ALL)
    assert isinstance(found, Unscored)
    assert found.detail == "missing: creativity, usable, summary"


@pytest.mark.parametrize(
    "text",
    [
        '{"quality": 1, "quality": 8, "creativity": 7}',
        '{"质量": 1, "creativity": 7, "quality": 8}',
        '{"quality": 1, "质量": 2, "creativity": 7, "quality": 8}',
        'So: {"quality": 1, "质量": 2, "creativity": 7, "quality": 8}',
        '{"quality": 1, "creativity": 1}\n更正：{"quality": 8, "creativity": 7}',
        '{"quality": 8, "creativity": 7}\n{"quality": 1}',
        '{"quality": 8, "creativity": 7}\n{"quality": 1, "crea',
        '{"quality": 1, oops\n```json\n{"quality": 8, "creativity": 7}\n```',
        "质量：1\n质量：8\n创意：7",
        "草稿 —— 质量：1分，创意：1分。\n最终质量：8分，创意：7分。",
    ],
)
def test_the_last_one_wins(text: str) -> None:
    assert scores(text) == BOTH


def test_a_complete_last_answer_off_the_scale_is_not_replaced_by_an_earlier_one() -> None:
    assert scores('{"quality": 8, "creativity": 7} {"quality": 11, "creativity": 7}') == "out_of_range"
    assert scores("质量：8\n创意：7\n质量：8-9") == "malformed"


def test_an_object_is_not_completed_from_the_prose_around_it() -> None:
    assert scores('创意：7\n{"quality": 8}') == "incomplete"


def test_long_reasons_stay_whole_and_lone_surrogates_can_be_stored() -> None:
    reason = "长" * 100_000
    found = parse_reply(json.dumps({"quality": {"reason": reason + "\ud800", "score": 8}}), ONE)
    assert isinstance(found, Scored)
    assert found.reasons["quality"] == reason + "\ufffd"
    raw = parse_reply("质量：8\udfff", ONE).raw
    assert raw.encode() == "质量：8\ufffd".encode()


def test_escapes_of_the_tolerant_reader_are_those_of_json() -> None:
    text = json.dumps({"quality": {"reason": 'a "b" \\ / \n\t é 😹', "score": 8}})
    strictly, tolerantly = parse_reply(text, ONE), parse_reply(f"So: {text}", ONE)
    assert isinstance(strictly, Scored) and isinstance(tolerantly, Scored)
    assert strictly.reasons == tolerantly.reasons == {"quality": 'a "b" \\ / \n\t é 😹'}


def test_a_nearly_full_stack_is_no_reason_to_raise() -> None:
    def deeper(frames: int) -> Scored | Unscored:
        return deeper(frames - 1) if frames else parse_reply("[" * 400 + "]" * 400, ONE)

    used = len(inspect.stack(context=0))
    assert isinstance(deeper(sys.getrecursionlimit() - used - 200), Unscored)


def test_pieces_are_prose_objects_and_what_broke() -> None:
    assert pieces('a {"k": 1} b {x} {"k": ') == [
        Prose("a "),
        JsonObject({"k": 1.0}),
        Prose(" b {x} "),
        Broken('{"k": '),
    ]


# -- Statements ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "质量：8分\n创意：7分",
        "**质量**: 8/10\n**创意：** 7",
        "文章质量（满分10）：8\n创意 —— 7",
        "质量：8，创意：7。",
        "质量：8分 创意：7分",
        "| 质量 | 8 |\n| 创意 | 7 |",
        "【质量】8分\n【创意】7分",
        "1. **质量（Quality）**：8 分\n2. **创意**：**7** 分",
        "- 质量得分：８．０分，语言流畅\n- 创意评分：７／１０，新颖",
        "Quality: 8/10 - well made\nCREATIVITY SCORE (0-10): 7 (fresh)",
        "quality = 8; creativity = 7",
        "Overall quality: 8 out of 10\nThe creativity: 7 points",
        "质量：\n8\n\n创意：\n7",
        "```\n质量：8\n创意：7\n```",
        "先看质量，再看创意。\n质量：8\n创意：7\n质量方面语言好。",
    ],
)
def test_labelled_scores(text: str) -> None:
    assert scores(text) == BOTH


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("质量：8", "incomplete"),
        ("语言质量：8\n创意：7", "incomplete"),
        ("answer_quality: 8\ncreativity: 7", "incomplete"),
        ("质量：很好\n创意：7", "incomplete"),
        ("质量 10 分要求通篇无疵。创意：7", "incomplete"),
        ("质量：80/100\n创意：7", "out_of_range"),
        ("质量：4/5\n创意：7", "out_of_range"),
        ("质量（满分100）：8\n创意：7", "out_of_range"),
        ("质量（百分制）：8\n创意：7", "out_of_range"),
        ("质量：8分（满分100分）\n创意：7", "out_of_range"),
        ("质量：-3\n创意：7", "out_of_range"),
        ("质量：85分\n创意：7", "out_of_range"),
        ("质量：8-9分\n创意：7", "malformed"),
        ("质量：8到9分\n创意：7", "malformed"),
        ("质量：8分以上\n创意：7", "malformed"),
        ("质量：10分制\n创意：7", "malformed"),
        ("质量：8%\n创意：7", "malformed"),
        ("质量：1、语言流畅\n创意：7", "malformed"),
        ("质量：1. 语言流畅\n创意：7", "malformed"),
        ("质量：2处病句\n创意：7", "malformed"),
        ("quality: 5 paragraphs are good\ncreativity: 7", "malformed"),
    ],
)
def test_what_only_looks_like_a_labelled_score(text: str, cause: Cause) -> None:
    assert scores(text) == cause


@pytest.mark.parametrize(
    "text",
    [
        # not one number
        *(
            "质量：八分",
            "质量：八点五分",
            "质量：8点5分",
            "质量：8分半",
            "质量：8½",
            "质量：8。5",
            "质量：满分",
            "质量：零分",
        ),
        *(
            "质量：不到8分",
            "质量：8 分不到",
            "质量：不是8分",
            "质量：约8分",
            "质量：至少 8 分",
            "质量：8分？",
            "质量：8/10分以上",
        ),
        *(
            "质量：08",
            "质量：+8",
            "质量：0x8",
            "质量：1e1",
            "质量：.8",
            "质量：8,5",
            "质量：8 of 10",
            "质量：8->9",
            "08",
            "[[08]]",
        ),
        *(
            "质量：7-8",
            "质量：7~8分",
            "质量：7 到 8",
            "质量：7或8",
            "质量：8分或7分",
            "质量：8 or 7",
            "[[8]] or [[7]]",
            "[[8]] [[7]]",
        ),
        # taken back in the same breath
        *(
            "质量：8分，不，应为7分",
            "质量：8 分？不，7 分",
            "质量：8分改为7分",
            "质量：8分，但改为7分",
            "质量：8分（更正：7分）",
        ),
        *("质量：8 (corrected: 7)", "质量：原为8分，改为7分"),
        # on another scale, or in one of several columns
        *(
            "质量：80%",
            "评分：8分（百分制）",
            "| 质量 | 10 | 8 |",
            "| 质量 | 8 | 7 |",
            "| 质量 | 30% | 8 |",
            "| 质量 | 8 | 8/10 |",
        ),
        # not said, only shown
        *(
            "例如“质量：8分”",
            "参考格式：质量：8",
            "我不会给 质量：8 分",
            "不要写成 质量：8",
            "质量不是 8 分",
            "质量：无法评分",
            "质量：N/A",
        ),
        *('格式应为 {"quality": 8}', 'Example: {"quality": 8}', '示例：\n```json\n{"quality": 8}\n```'),
    ],
)
def test_a_number_that_the_judge_did_not_give_is_not_read(text: str) -> None:
    assert only(text, ONE) == "malformed"


def test_a_refusal_that_shows_the_form_is_a_refusal() -> None:
    assert only('抱歉，我不能评分。格式应为 {"quality": 8}', ONE) == "refused"
    assert only('对不起，上次写错了：{"quality": 8}', ONE) == 8


@pytest.mark.parametrize("later", ["八分", "不到8分", "N/A", "8分？", "无法评分", "约6分"])
def test_an_earlier_draft_does_not_stand_in_for_what_can_not_be_read(later: str) -> None:
    assert only(f"质量：7\n修改后：\n质量：{later}", ONE) == "malformed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("质量：8分，语言无可更改，有 3 处妙笔", 8),
        ("质量：8分。应为佳作，第2段尤好", 8),
        ("| 质量 | 8 | 有3处病句 |", 8),
        ("| 质量 | 8/10 | 好 |", 8),
        ("质量：0", 0),
        ("质量：8.0分", 8),
        ("质量：8（满分10）", 8),
        ("质量：8分（10分制）", 8),
        ('按格式要求作答：{"quality": 8}', 8),
        ('{"quality": {"score": 8, "max": 10}}', 8),
        ('{"quality": {"score": 8, "value": "8/10"}}', 8),
        ('{"quality": {"score": 8, "max": 100}}', "out_of_range"),
        ('{"quality": {"score": 8, "value": 7}}', "malformed"),
        ('{"rating": 8, "score": 7}', "malformed"),
        ('{"example": {"quality": 8}}', "incomplete"),
        ('{"quality": "08"}', "malformed"),
    ],
)
def test_what_is_said_beside_a_score(text: str, value: float | Cause) -> None:
    assert only(text, ONE) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("可用：是。不，应为否", "malformed"),
        ("可用：是（否）", "malformed"),
        ("Yes, but no", "malformed"),
        ("Yes. It is long.\nFinal answer: No", "malformed"),
        ("No. On reflection, yes.", "malformed"),
        ("是，不是", "malformed"),
        ('{"usable": {"value": true, "answer": "否"}}', "malformed"),
        ('{"usable": {"value": true, "answer": "yes"}}', True),
        ("Yes. No character is flat.", True),
        ("是。不足之处很少。", True),
        ("No, because yes-men abound.", False),
        ("Yes. It is long.\nFinal answer: Yes", True),
    ],
)
def test_a_yes_that_is_taken_back(text: str, value: bool | Cause) -> None:
    assert only(text, CHECK) == value


@pytest.mark.parametrize(
    "text", ["体裁：诗歌（散文）", "体裁：诗歌，不，散文", '{"genre": {"choice": "诗歌", "value": "散文"}}']
)
def test_two_options_are_no_choice(text: str) -> None:
    assert only(text, CHOICE) == "malformed"


def test_the_longest_name_wins() -> None:
    of = rubric("quality 质量", "article 文章质量", "creativity 创意")
    assert scores("文章质量：9\n创意：7\n质量：8", of) == {"quality": 8, "article": 9, "creativity": 7}
    assert scores("文章质量：9\n创意：7", of) == "incomplete"
    assert scores("质量评分：9\n质量：8", rubric("quality 质量", "rating 质量评分")) == {"quality": 8, "rating": 9}


def test_a_name_of_two_items_leads_to_neither() -> None:
    of = rubric("quality 质量 总评", "creativity 创意 总评")
    assert scores("总评：8", of) == "malformed"
    assert scores('{"总评": 8}', of) == "incomplete"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("可用：是", True),
        ("可用：Yes - complete", True),
        ("usable: TRUE", True),
        ("**可用**：通过。", True),
        ("可用：不通过", False),
        ("是否可用：否，残缺", False),
        ("usable: no", False),
        ('{"usable": "否"}', False),
        ("{'usable': {'reason': 'r', 'value': False}}", False),
        ("可用：是 / 否", "malformed"),
        ("可用：是|否", "malformed"),
        ("可用：是否完整", "malformed"),
        ("可用：通过率低", "malformed"),
        ("可用：不可用", "malformed"),
        ('{"usable": 1}', "malformed"),
        ("Yes", True),
        ("**No.** The story", False),
        ("是。结构完整", True),
        ("否", False),
        ("是否可用，难说", "malformed"),
        ("No doubt it is", "malformed"),
        ("No. 1 of all", "malformed"),
        ("Yes/No", "malformed"),
        ("Yes\n可用：否", "malformed"),
        ("The answer is yes", "malformed"),
    ],
)
def test_checks(text: str, value: bool | Cause) -> None:
    assert only(text, CHECK) == value


def test_a_yes_at_the_beginning_counts_only_where_nothing_else_is_asked() -> None:
    assert only("Yes, indeed", rubric("quality 质量", check="usable 可用")) == "malformed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"genre": "诗歌"}', "诗歌"),
        ("体裁：散文诗。意象连贯", "散文诗"),
        ("体裁: 「prose」", "Prose"),
        ("体裁：诗歌类", "malformed"),
        ("体裁：散文、诗歌", "malformed"),
        ("体裁：散文，诗歌", "malformed"),
        ("体裁：小说", "out_of_range"),
        ('{"genre": "小说"}', "out_of_range"),
        ('{"genre": 3}', "malformed"),
    ],
)
def test_choices(text: str, value: str) -> None:
    assert only(text, CHOICE) == value


def test_a_note_goes_on_to_the_next_name_that_begins_a_line() -> None:
    found = parse_reply("质量：8\n**概要**：写春天，\n写故乡。质量：10\n创意：7\n可用：是\n体裁：散文", ALL)
    assert isinstance(found, Scored)
    assert (found.notes, found.scores) == ({"summary": "写春天，\n写故乡。质量：10"}, BOTH)
    assert only("概要：  \n", NOTE) == "malformed"
    assert only('{"summary": 3}', NOTE) == "malformed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Good. [[7]]", 7),
        ("not [[3]] but Rating: [[7]].", 7),
        ("Fine work.\nRating: 7", 7),
        ("**Final Score: 7/10**", 7),
        ("【得分】3分\n【总分】7分", 7),
        ("评分：7（尚可）", 7),
        ("7", 7),
        ("7 / 10 分", 7),
        ('{"reason": "fine", "score": 7}', 7),
        ("质量：7\nRating: [[7]]", 7),
        ("质量：8\nRating: [[7]]", "malformed"),
        ("质量：8\n总分：7分。\n其余见上，共 3 条。", "malformed"),
        ("Rating: 7\n\nThough on reflection it may be worse.", "malformed"),
        ("Rating: 7, or 8", "malformed"),
        ("Rating: 7-8", "malformed"),
        ("I give it 7", "malformed"),
        ("[[7.5]]", "out_of_range"),
        ("Rating: 70/100", "out_of_range"),
        ("[[nan]]", "malformed"),
        ('{"creativity": {"score": 7}}', "incomplete"),
        ('see {"x": [1,,], "score": 7}', "malformed"),
    ],
)
def test_a_sole_score_may_come_without_its_name(text: str, value: float | Cause) -> None:
    assert only(text, ONE) == value


def test_two_scores_may_not() -> None:
    assert scores("[[7]]") == "malformed"


@pytest.mark.parametrize(("text", "value"), [("质量：8.5分", 8.5), ("[[8.5]]", 8.5), ("8.25", "out_of_range")])
def test_a_scale_of_halves(text: str, value: float | Cause) -> None:
    assert only(text, HALVES) == value


def test_a_score_is_the_scales_own_number() -> None:
    assert only('{"quality": 7.9999999}', ONE) == 8
    assert only('{"quality": 7.99}', ONE) == "out_of_range"


# -- What other judges really wrote ----------------------------------------------------------------


def stored(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def tally(pairs: list[tuple[str, Rubric, float | bool | None]]) -> Counter[str]:
    """How often parse_reply agrees with the stored value, gives another, or says why it gives none."""
    counted: Counter[str] = Counter()
    for reply, of, gold in pairs:
        value = only(reply, of)
        counted[value if isinstance(value, str) else "agrees" if value == gold else "differs"] += 1
    return counted


@pytest.mark.parametrize(("title", "agreeing"), [("质量", 193), ("总分", 198), ("得分", 76)])
def test_gaokao_replies(shared_data: Path, title: str, agreeing: int) -> None:
    """`得分` also labels the parts there, so that most replies seem to contradict themselves and are given up."""
    rows = stored(shared_data, "replies_gaokao_zh.jsonl")
    found = tally(
        [(r["reply"], rubric(f"total {title}", top=r["max_score"], step=0.5), r["gold_total"][-1]) for r in rows]
    )
    assert found.keys() <= {"agrees", "malformed", "out_of_range"}
    assert (found.total(), found["agrees"]) == (200, agreeing)


def test_mtbench_replies(shared_data: Path) -> None:
    rows = stored(shared_data, "replies_mtbench_en.jsonl")
    found = tally([(r["reply"], rubric("quality 质量", low=1), r["gold"]["rating"]) for r in rows])
    assert found == {"agrees": 116, "malformed": 4}  # four are $ERROR$


def test_ttcw_replies(shared_data: Path) -> None:
    gold = {"Yes": True, "No": False, "None": None, None: None}
    rows = stored(shared_data, "replies_ttcw_yesno.jsonl")
    found = tally(
        [
            (r["reply"], rubric(check=f"passed {r['dimension'].replace(' ', '_')}"), gold[r["gold_verdict"]])
            for r in rows
        ]
    )
    assert found == {"agrees": 234, "refused": 1}  # one is 'Content Blocked'


# -- JSON torture ----------------------------------------------------------------------------------

LIBERTIES = {
    "n_array_comma_after_close",
    "n_array_extra_comma",
    "n_array_number_and_comma",
    "n_number_U+FF11_fullwidth_digit_one",
    "n_object_lone_continuation_byte_in_key_and_trailing_comma",
    "n_object_single_quote",
    "n_object_trailing_comma",
    "n_object_with_single_string",  # { "foo" : "bar", "a" } is one string with unescaped quotes
    "n_string_single_quote",
    "n_string_unescaped_newline",
    "n_string_unescaped_tab",
    "n_structure_capitalized_True",
    "n_structure_object_followed_by_closing_object",  # what stands behind a complete object is prose
}
"""Rejected by JSON, read beside a sound score: the liberties that parse_reply is asked to allow."""


def torture(shared_data: Path, *expected: str) -> list[tuple[str, str]]:
    return [
        (Path(row["id"]).stem, base64.b64decode(row["bytes_b64"]).decode("utf-8", "surrogateescape"))
        for row in stored(shared_data, "json_torture.jsonl")
        if row["expect"] in expected
    ]


def test_the_strict_reader_accepts_and_rejects_as_it_must(shared_data: Path) -> None:
    for name, text in torture(shared_data, "must_accept"):
        assert strict(text) == json.loads(text, parse_int=float), name
    for name, text in torture(shared_data, "must_reject"):
        with pytest.raises(NotJson):
            strict(text)
            pytest.fail(name)
    for _, text in torture(shared_data, "either", "transform"):
        parse_reply(text, ONE)


@pytest.mark.parametrize("of", [ONE, TWO, CHECK, CHOICE, NOTE], ids=lambda of: of.items[0].key)
def test_no_torture_document_is_a_reply(shared_data: Path, of: Rubric) -> None:
    for name, text in torture(shared_data, "must_reject", "must_accept", "either", "transform"):
        assert isinstance(parse_reply(text, of), Unscored), name


@pytest.mark.parametrize(
    "reply",
    [
        '{"quality": %s}',
        '{"quality": 8, "x": %s}',
        '{"x": %s, "quality": 8}',
        '{"quality": {"reason": %s, "score": 8}}',
        '```json\n{"x": %s, "quality": 8}\n```',
        'So: {"quality": %s}',
    ],
)
def test_an_unsound_neighbour_makes_a_score_unsound(shared_data: Path, reply: str) -> None:
    scored = {
        name for name, text in torture(shared_data, "must_reject") if isinstance(parse_reply(reply % text, ONE), Scored)
    }
    assert scored <= (set() if reply.endswith('"quality": %s}') else LIBERTIES)
    if reply.startswith('{"quality": 8,'):
        assert scored == LIBERTIES
