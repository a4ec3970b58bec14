"""What an item of a rubric accepts as its value, and by which names it goes.

A value is accepted whole or not at all: `8/10` on a scale to 10 is 8, `80/100` is not; a choice is one
of its options and no prefix of one. What is refused is `Bad`, with the cause that the record will carry.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from coigw_judge.prompting.rubric import Check, Choice, Dimension, Item, Rubric, Scale
from coigw_judge.replies.tolerant_json import Value
from coigw_judge.text.unseen import encodable


@dataclass(frozen=True, slots=True)
class Bad:
    """A value was given, but not one that the item can take."""

    cause: Literal["malformed", "out_of_range"]
    why: str
    """What the value was and what it should be, for a person."""


Given = Mapping[str, Value | Bad]
"""What a reply says of each item, by the item's key, as it stood there."""

# One character for one, so that places in a folded text are places in the text. NFKC would also do more
# than wanted, and takes quadratic time on a run of combining marks.
_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xA0: 0x20}
_FOLD |= {code: code + 0x20 for code in range(ord("A"), ord("Z") + 1)}
_FOLD |= {full: ord("a") + number for number, full in enumerate(range(0xFF21, 0xFF3B))}

YES = ("是", "是的", "对", "通过", "合格", "yes", "true", "✓", "✔", "✅", "√")
NO = ("否", "不", "不是", "不对", "不通过", "未通过", "不合格", "no", "false", "✗", "✘", "❌", "×")
UNIT = r"(?:分|points?\b|pts?\b)"
OUT_OF = r"(?:/|out of|满分)"
_NUMBER = r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?"
_SCORE = re.compile(rf"(-?{_NUMBER})\s{{0,3}}{UNIT}?\s{{0,3}}(?:{OUT_OF}\s{{0,3}}({_NUMBER})\s{{0,3}}{UNIT}?)?")
_VALUE_NAMES: dict[type[Item], tuple[str, ...]] = {
    Dimension: ("score", "value", "rating", "分数", "评分", "得分"),
    Check: ("value", "answer", "结果"),
    Choice: ("choice", "value", "选项"),
}
_TOP_NAMES = ("max", "max_score", "maximum", "out_of", "full_score", "满分")
_REASON_NAMES = ("reason", "reasons", "explanation", "理由")


def fold(text: str) -> str:
    """Full-width to half-width and ASCII to lower case, character for character."""
    return text.translate(_FOLD)


def items_by_name(rubric: Rubric) -> dict[str, Item]:
    """Every name that leads to an item, folded. A title or alias that two items share leads to neither."""
    found: dict[str, Item] = {}
    shared: set[str] = set()
    for item in rubric.items:
        for name in {fold(label).strip() for label in (item.title, *item.aliases)}:
            if found.setdefault(name, item) is not item:
                shared.add(name)
    keys: dict[str, Item] = {item.key: item for item in rubric.items}
    return {name: item for name, item in found.items() if name not in shared} | keys


def members_given(members: Mapping[str, Value], named: Mapping[str, Item]) -> dict[str, Value]:
    """The members of a JSON object that are items, by the items' keys; the last wins."""
    return {named[name].key: value for key, value in members.items() if (name := fold(key).strip()) in named}


def value_of(item: Item, given: Value | Bad) -> Value | Bad:
    """The value of a plain or nested statement, None where it has none."""
    if not isinstance(given, dict):
        return given
    if type(item) not in _VALUE_NAMES:
        return Bad("malformed", "an object where text was asked")
    values = [value for value in _named(given, _VALUE_NAMES[type(item)]) if value is not None]
    if len({said for value in values if (said := _said(item, value)) is not None}) > 1:
        return Bad("malformed", "two values that differ")
    if not isinstance(item, Dimension):
        return values[0] if values else None
    return _with_its_scale(values[0], given) if values else None


def _said(item: Item, value: Value) -> str | float | bool | None:
    """What a value says where it is one that the item could take, for comparison."""
    if isinstance(item, Check):
        truth = value if isinstance(value, bool) else _truth(value) if isinstance(value, str) else None
        return truth if isinstance(truth, bool) else None
    if isinstance(item, Choice):
        return fold(value).strip() if isinstance(value, str) else None
    if isinstance(value, str):
        score = _SCORE.fullmatch(fold(value).strip()) if len(value) < 60 else None
        return float(score[1]) if score else None
    return value if isinstance(value, float) else None


def _with_its_scale(value: Value, given: dict[str, Value]) -> Value:
    """`{"score": 8, "max": 100}` as `8/100`: the item decides whether that is its scale."""
    top = next((top for top in _named(given, _TOP_NAMES) if isinstance(top, float)), None)
    return value if top is None or not isinstance(value, float) else f"{value:g}/{top:g}"


def reason_of(given: Value | Bad) -> str | None:
    """The reason of a nested statement, where it has one."""
    if not isinstance(given, dict):
        return None
    return next((text for text in _named(given, _REASON_NAMES) if isinstance(text, str)), None)


def accept(item: Item, value: Value | Bad, scale: Scale) -> float | bool | str | Bad:
    """The item's value in its final form: a score of the scale, a truth, an option of the menu, or text."""
    match item, value:
        case _, Bad():
            return value
        case Dimension(), _:
            return _score(value, scale)
        case Check(), bool():
            return value
        case Check(), str():
            return _truth(value)
        case Choice(), str():
            return _option(item, value)
        case Check() | Choice(), _:
            return Bad("malformed", f"{_shown(value)} is not an answer")
        case _, str():
            return encodable(value)
        case _:
            return Bad("malformed", f"{_shown(value)} is not text")


def is_score(text: str) -> bool:
    """Whether the whole text is a number as scores are written."""
    return len(text) < 60 and _SCORE.fullmatch(fold(text).strip()) is not None


def _named(members: Mapping[str, Value], wanted: tuple[str, ...]) -> Iterator[Value]:
    folded = {fold(key).strip(): value for key, value in members.items()}
    return (folded[name] for name in wanted if name in folded)


def _score(value: Value, scale: Scale) -> float | Bad:
    number = value
    if isinstance(value, str) and len(value) < 60 and (match := _SCORE.fullmatch(fold(value).strip())):
        if match[2] is not None and float(match[2]) != scale.max:
            return Bad("out_of_range", f"{_shown(value)} where the scale ends at {scale.max:g}")
        number = float(match[1])
    if not isinstance(number, float):  # a truth is none either
        return Bad("malformed", f"{_shown(value)} is not a number")
    if not scale.holds(number):
        return Bad("out_of_range", f"{number:g} is not on the scale {scale.min:g} to {scale.max:g} by {scale.step:g}")
    # The scale's own number, so that 7.9999999 cannot leave as what it is.
    return scale.values()[round((number - scale.min) / scale.step)]


def _truth(value: str) -> bool | Bad:
    word = fold(value[:20]).strip(" \t\r\n.。!")
    if len(value) < 20 and word in YES:
        return True
    if len(value) < 20 and word in NO:
        return False
    return Bad("malformed", f"{_shown(value)} is neither yes nor no")


def _option(item: Choice, value: str) -> str | Bad:
    if value in item.options:
        return value
    word = fold(value).strip()
    for option in item.options:
        if fold(option).strip() == word:
            return option
    return Bad("out_of_range", f"{_shown(value)} is none of the options")


def _shown(value: object) -> str:
    """A value for a message: short, and encodable."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, (bool, float)) else type(value).__name__
    return encodable(text if len(text) <= 40 else f"{text[:40]}...")
