"""From the text of a judge's reply to Scored or Unscored; nothing in between.

The order of attempts: the whole reply as standard JSON; then, thinking removed, the objects amid its
text; then labelled statements. An object with an item in it settles the matter, complete or not, so that
prose around it cannot fill its gaps. Nothing is guessed: a missing item, a score off the scale and two
statements that contradict each other are Unscored, each with its cause. No text makes it raise, and its
time is linear in the text (tolerant_json.py and prose.py say how).
A reply that a token limit cut off is the caller's to tell, who has the `finish_reason`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from coigw_judge.prompting.rubric import Item, Rubric
from coigw_judge.replies.items import Bad, Given, accept, fold, items_by_name, members_given, reason_of, value_of
from coigw_judge.replies.outcome import THINKING_ENDS, Scored, Unscored
from coigw_judge.replies.prose import GENERIC, NOT_MEANT, labels, last_total, statements, unlabelled
from coigw_judge.replies.tolerant_json import Broken, JsonObject, NotJson, Piece, Value, pieces, strict
from coigw_judge.text.unseen import encodable

_THINKING_BEGINS = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_SHOWN = ("example", "examples", "input", "template", "schema", "format", "示例", "格式")
"""Members that show what a reply looks like; they are none."""
_REFUSAL = re.compile(
    r"[\s*_\"'“]*(?:(?:很|非常|十分)?抱歉|对不起|不好意思|我(?:无法|不能)|无法|作为(?:一[个名])?(?:ai|人工智能|语言模型)"
    r"|i(?:'|’)?m sorry|i am sorry|sorry|i can(?:not|'t|’t| not)\b"
    r"|i(?:'m|’m| am) (?:unable|not able)|as an ai\b|content (?:blocked|filtered))"
)


def parse_reply(text: str, rubric: Rubric) -> Scored | Unscored:
    """Read a judge's reply: a value for every item of the rubric, or the cause why not. Never raises."""
    raw = encodable(text)
    whole = _standard_json(raw)
    if whole is not None:
        return _from_objects(whole, rubric, raw) or _verdict({}, rubric, raw)
    answer = _after_thinking(raw)
    if answer is None:
        return _malformed(raw, "the thinking does not end")
    if not answer.strip():
        return Unscored(cause="empty", raw=raw)
    parts = pieces(answer)
    found = _from_objects(parts, rubric, raw)
    if found is not None:
        return found
    return _from_prose("\n".join(part.text for part in parts if not isinstance(part, JsonObject)), rubric, raw)


def _standard_json(text: str) -> list[Piece] | None:
    """The objects of a reply that is standard JSON from end to end; None where it is not, or holds no object."""
    try:
        value = strict(text)
    except NotJson:
        return None
    objects = [value] if isinstance(value, dict) else value if isinstance(value, list) else []
    return [JsonObject(each) for each in objects if isinstance(each, dict)] or None


def _after_thinking(text: str) -> str | None:
    """What follows the thinking; None where thinking began and never ended."""
    end = 0
    for mark in THINKING_ENDS.finditer(text):
        end = mark.end()
    return None if _THINKING_BEGINS.search(text, end) else text[end:]


def _from_objects(parts: Sequence[Piece], rubric: Rubric, raw: str) -> Scored | Unscored | None:
    """The verdict of the last complete object, else of the last that names an item; None where none does."""
    named = items_by_name(rubric)
    given: list[tuple[int, Given]] = []
    for place, part in enumerate(parts):
        if isinstance(part, JsonObject) and not (place and _only_shown(parts[place - 1])):
            given += [(place, each) for each in _statements_of(part.members, named, rubric)]
    complete = [(place, each) for place, each in given if not _missing(each, rubric)]
    unreadable = _malformed(raw, "an object that cannot be read")
    if complete:
        # What follows in a broken object of its own takes nothing from it; loose members are its own remains.
        place, last = complete[-1]
        remains = takewhile(lambda part: not isinstance(part, Broken), parts[place + 1 :])
        return unreadable if _has_loose_members(remains, named, rubric) else _verdict(last, rubric, raw)
    if given:
        return _verdict(given[-1][1], rubric, raw)
    return unreadable if _has_loose_members(parts, named, rubric) else None


def _only_shown(before: Piece) -> bool:
    """Whether the object behind this text is an example: `格式应为 {...}`, `for example: {...}`."""
    return not isinstance(before, JsonObject) and NOT_MEANT.search(fold(before.text[-40:])) is not None


def _statements_of(members: dict[str, Value], named: Mapping[str, Item], rubric: Rubric) -> Iterator[Given]:
    """The items in an object, or in the objects that it only wraps: `{"result": {...}}`."""
    if len(rubric.items) == len(rubric.dimensions) == 1 and not members_given(members, named):
        only = rubric.dimensions[0]
        if value_of(only, members) is not None and any(fold(key).strip() in GENERIC for key in members):
            yield {only.key: members}  # {"reason": ..., "score": 8} where there is but one score to give
            return
    waiting: list[Value] = [members]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and (given := members_given(value, named)):
            yield given
        elif isinstance(value, dict):
            waiting += reversed([each for key, each in value.items() if fold(key).strip() not in _SHOWN])
        elif isinstance(value, list):
            waiting += reversed(value)


def _has_loose_members(parts: Iterable[Piece], named: Mapping[str, Item], rubric: Rubric) -> bool:
    """Whether `"quality":` stands outside all sound objects: the rest of one that broke, or that ended too early."""
    generic = GENERIC if len(rubric.dimensions) == 1 else ()
    member = re.compile(rf"""["'](?:{labels({*named, *generic})})["']\s{{0,20}}:""")
    return any(member.search(fold(part.text)) for part in parts if not isinstance(part, JsonObject))


def _from_prose(text: str, rubric: Rubric, raw: str) -> Scored | Unscored:
    """The verdict of the last labelled statements, and of a sole item's value without its label."""
    given = statements(text, rubric)
    bare = unlabelled(text, rubric)
    witness = bare or last_total(text, rubric)
    if witness is not None and witness[0] in given and not _agree(given[witness[0]], witness, rubric):
        return _malformed(raw, f"{witness[0]}: two values that differ")
    if bare is not None:
        given.setdefault(*bare)
    if given:
        return _verdict(given, rubric, raw)
    if _REFUSAL.match(fold(text[:80])):
        return Unscored(cause="refused", raw=raw)
    return _malformed(raw, "no item of the rubric in it")


def _agree(value: Value | Bad, witness: tuple[str, Value | Bad], rubric: Rubric) -> bool:
    item = next(item for item in rubric.items if item.key == witness[0])
    return accept(item, value, rubric.scale) == accept(item, witness[1], rubric.scale)


def _malformed(raw: str, detail: str) -> Unscored:
    return Unscored(cause="malformed", raw=raw, detail=detail)


def _missing(given: Given, rubric: Rubric) -> list[str]:
    return [item.key for item in rubric.items if value_of(item, given.get(item.key)) is None]


def _verdict(given: Given, rubric: Rubric, raw: str) -> Scored | Unscored:
    """Accept every item's value, or say what is missing, else what is wrong."""
    if missing := _missing(given, rubric):
        return Unscored(cause="incomplete", raw=raw, detail=f"missing: {', '.join(missing)}")
    scores: dict[str, float] = {}
    checks: dict[str, bool] = {}
    texts: dict[str, str] = {}
    for item in rubric.items:
        match accept(item, value_of(item, given[item.key]), rubric.scale):
            case Bad() as bad:
                return Unscored(cause=bad.cause, raw=raw, detail=f"{item.key}: {bad.why}")
            case bool() as truth:
                checks[item.key] = truth
            case str() as words:
                texts[item.key] = words
            case number:
                scores[item.key] = number
    menu = {item.key for item in rubric.choices}
    return Scored(
        scores=scores,
        reasons={key: encodable(text) for key in given if (text := reason_of(given[key])) is not None},
        checks=checks,
        choices={key: text for key, text in texts.items() if key in menu},
        notes={key: text for key, text in texts.items() if key not in menu},
        raw=raw,
    )
