"""Labelled statements in a judge's free text: `质量：8分`, `**Quality**: 8/10`, `可用：是`, `[[7]]`.

A statement is an item's name at the beginning of a phrase, a separator, and a value that ends where a
value should. What only looks like one is not read: `8-9` and `8、` behind a name are `Bad`, so that the
number that an earlier draft gave does not stand in for it; words behind a name are no statement at all.
All of it works on the folded text (items.fold), which has the original's positions.

Linear: every pattern spans a fixed window, and of very many names only the last MAX_HITS are looked at.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping

from coigw_judge.prompting.rubric import Check, Choice, Dimension, Item, Note, Rubric, Scale
from coigw_judge.replies.items import NO, OUT_OF, UNIT, YES, Bad, fold, is_score, items_by_name
from coigw_judge.replies.tolerant_json import Value

MAX_HITS = 5_000
"""Names with a separator, counted from the end of the reply. The last statement wins, so the end matters."""
WINDOW = 400
"""Characters behind a name that are looked at; a value is some tens of them."""
TAIL = 400
"""How much of a reply's end is searched for an unlabelled score."""

TOTALS = (
    *("总分", "总评分", "总得分", "最终得分", "最终评分", "综合评分"),
    *("overall", "overall rating", "overall score", "final rating", "final score"),
)
GENERIC = (*TOTALS, "得分", "评分", "分数", "打分", "rating", "score")
"""Names of a score as such: the score's, where only one is asked and the reply ends with it."""

_CLOSE = r"[*_`\"'”’」』】\])]{0,6}+"
_OPEN = r"[\s*_`~\"'“‘「『【\[(<>]{0,12}"
_SEPARATOR = r"(?:[:=|]|—{1,2}|–|->|→|-(?=[ \t])|(?<=】)|(?<=】[ ]))"
_TAIL = (
    rf"{_CLOSE}[ \t]{{0,3}}+(?:得分|评分|分数|打分|score|rating)?{_CLOSE}[ \t]{{0,3}}+"
    rf"(?:\((?P<scale>[^()\n]{{0,40}}+)\))?{_CLOSE}[ \t]{{0,3}}+(?P<separator>{_SEPARATOR})"
)
# A name begins a phrase: after a line's start, punctuation, a number or `分`, never after a letter, so that
# `语言质量` and `answer_quality` are not `质量` and `quality`. A few words may stand before it.
_BEGINS = re.compile(
    r"(?:\A|[\r\n]|[^\w\s]|\d|分(?=[ \t]))[ \t]*(?:(?:the|overall|final|是否|总体|整体|综合|最终)[ \t]?){0,2}"
    r"[ \t*_`#>|\-\"'“‘「『【\[(]*\Z"
)
_LINE_START = re.compile(r"(?:\A|[\r\n])[ \t\d.、*_`#>|\-\"'“‘「『【\[()]*\Z")

_DIGITS = r"-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?"
_DENOMINATOR = rf"{OUT_OF}[ \t]{{0,3}}\d{{1,9}}(?:\.\d{{1,9}})?+(?:[ \t]{{0,2}}{UNIT})?+"
_NOT_A_RANGE = (
    r"(?!\.?\d|[%‰]|[ \t]{0,2}(?:[-~–—至到][ \t]{0,2}\d|[制之钟以左右的/?多余半析数段类米]|不[到足]|出头|上下|或)"
    r"|\)[ \t]{0,3}\d)"
)
_DASH = r"(?:-[ \t]|[–—]{1,2})(?![ \t]*\d)"
_LINE_END = r"[ \t]*(?:\Z|[\r\n])"
_NUMBER_ENDS = rf"(?={_CLOSE}(?:{_LINE_END}|[ \t]{{0,4}}(?:,(?!\d)|。(?!\d)|[;!|(<]|\.{_LINE_END}|{_DASH})))"
_SCORE = re.compile(
    rf"{_OPEN}(?P<value>{_DIGITS}[ \t*_`]{{0,4}}"
    rf"(?:{UNIT}[ \t]{{0,3}}{_DENOMINATOR}|{_DENOMINATOR}|{UNIT}){_NOT_A_RANGE}"
    rf"|{_DIGITS}{_NUMBER_ENDS})"
)
# Not one number, but a score all the same: `约 8 分`, `不到8分`, `八分`, `满分`, `N/A`.
_LOOKS_LIKE_SCORE = re.compile(
    rf"{_OPEN}(?:[-+.]?\d|(?:大?约|大概|接近|将?近|不到|不足|不是|不低于|至少|最多|超过|介于|not|about|around|less than"
    r"|more than|at least|at most|under|over|nearly|almost|between)[ \t]{0,2}\d|n/a\b|none\b|null\b|待定|[满零]分"
    r"|(?:无法|不能|不予)[评打给判]|[零一二两三四五六七八九十百半]{1,3}(?:点[零一二三四五六七八九]{1,2})?[ \t]?分)"
)
# The same breath takes it back: `8分，不，应为7分`, `8 (corrected: 7)`.
_SCORE_AGAIN = r"\d{1,9}(?:\.\d{1,9})?[ \t*_`]{0,4}(?:分|/|points?\b|[,。;!?.)\r\n]|\Z)"
_TAKEN_BACK = re.compile(
    r"[^\r\n\d。;]{0,12}?(?:(?:改|更正|修正|订正|调整|应[为是该]|[降升]|提[到为至]|不对|actually|correct|revis|changed|rather|instead)"
    rf"[^\r\n\d]{{0,12}}|不[,，][^\r\n\d。;]{{0,6}}){_SCORE_AGAIN}"
)
# Another number in the same row of a table: which column is the score is not known here.
_CELL = re.compile(
    r"[^\r\n]{0,80}?\|[ \t*_`]{0,6}\d{1,9}(?:\.\d{1,9})?[ \t]{0,2}(?:分|%|/[ \t]?\d{1,9}[ \t]?分?)?[ \t*_`]{0,6}"
    r"(?:\||[\r\n]|\Z)"
)
# What stands behind these is shown, not said.
NOT_MEANT = re.compile(
    r"(?:例如|比如|譬如|示例|样例|举例|参考格式|格式(?:应为|应是|为|是)|e\.g\.|example)[^\w\r\n]{0,4}(?:[\r\n]{1,3}[^\w\r\n]{0,10})?"
    r"(?:```(?:json)?\s{0,3})?\Z|(?:不能|无法|不会|不应|不要|cannot|can't|won't)[^。\r\n\d]{0,6}\Z"
)
_OTHER_SCALE = re.compile(rf"(?:{OUT_OF}|[-~–—至到])[ \t]?[为是:]?[ \t]?(\d{{1,9}})|(\d{{1,9}}|百)分制")
_SCALE_AFTER = re.compile(
    rf"[ \t,(]{{0,4}}(?:(?:{OUT_OF}|总分|of)[ \t]?[为是:]?[ \t]?(\d{{1,9}})"
    r"|(?:按|以|采用|使用)?[ \t]?(\d{1,9}|百)分制)"
)
_BRACKETED = re.compile(rf"\[\[\s{{0,3}}({_DIGITS})\s{{0,3}}\]\]")
_OR = re.compile(r"\s{0,3}(?:[,、/~–-]|or|and|to|或|至|到)?\s{0,3}\[\[")
_VERDICT = re.compile(rf"{_OPEN}(yes|no|是的?|否|不是)(?={_CLOSE}[ \t]*(?:\Z|[\r\n,。;!:]|\.(?![ \t]*\d)))")

Hit = re.Match[str]


def _contrary(words: Iterable[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """These words directly behind another value, and as the last thing concluded."""
    said = rf"(?:{'|'.join(sorted(words, key=len, reverse=True))})(?=[*_`\"'”’)]{{0,4}}(?:[,.;。!)\r\n]|\Z))"
    turn = r"(?:不[,，]|但是?|不过|but|on reflection|actually|rather|or)?,?\s{0,3}(?:应[为是该]|改为)?\s{0,3}"
    end = r"(?:final answer|answer|verdict|conclusion|结论|答案)\s{0,3}(?:[:=]|is\b|是|为)"
    return re.compile(rf"[\s,.;。!:(]{{0,6}}{turn}{said}"), re.compile(rf"{end}{_OPEN}{said}")


_CONTRARY = {True: _contrary(NO), False: _contrary(YES)}
"""By whether yes was said."""


def labels(names: Iterable[str]) -> str:
    """A pattern of the names, longest first, so that 文章质量 is never read as 质量."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def statements(text: str, rubric: Rubric) -> dict[str, Value | Bad]:
    """The last statement about each item, by the item's key."""
    named = items_by_name(rubric)
    folded = fold(text)
    hits = _hits(folded, named)
    given: dict[str, Value | Bad] = {}
    resume = 0
    for place, hit in enumerate(hits):
        item = named[hit["label"]]
        if hit.start() < resume:
            continue  # a name within a note
        if isinstance(item, Note):
            resume = _note_end(folded, hits, place)
            value: Value | Bad = text[hit.end() : resume].strip(" \t\r\n*_#|") or None
        else:
            stop = hits[place + 1].start() if place + 1 < len(hits) else len(folded)
            value, _ = _value(item, rubric.scale, hit, folded, stop)
        if value is not None:
            given[item.key] = value
    return given


def unlabelled(text: str, rubric: Rubric) -> tuple[str, Value | Bad] | None:
    """The one thing asked, said without its name: `[[7]]` or `Rating: 7` at the end, `8/10` alone, `Yes.` first."""
    if len(rubric.dimensions) == 1:
        score = text.strip() if is_score(text.strip()) else _closing_score(text, rubric)
        return None if score is None else (rubric.dimensions[0].key, score)
    if len(rubric.items) == 1 and rubric.checks:
        verdict = _VERDICT.match(fold(text.lstrip()[:60]))
        if verdict is None:
            return None
        said = verdict[1]
        rest = fold(text.lstrip())[verdict.end(1) :]
        return rubric.checks[0].key, Bad("malformed", f"{said!r} is taken back") if _withdrawn(said, rest) else said
    return None


def _withdrawn(said: str, rest: str) -> bool:
    """Whether the contrary of a yes or no follows at once, or as the reply's conclusion."""
    if said not in YES and said not in NO:
        return False
    contrary = _CONTRARY[said in YES]
    return contrary[0].match(rest) is not None or contrary[1].search(rest[-TAIL:]) is not None


def last_total(text: str, rubric: Rubric) -> tuple[str, Value | Bad] | None:
    """The last total, wherever it stands: no more than a witness against another score given as the sole one's."""
    others = set(TOTALS) - items_by_name(rubric).keys()
    if len(rubric.dimensions) != 1 or not others:
        return None
    dimension, folded = rubric.dimensions[0], fold(text)
    values = [_value(dimension, rubric.scale, hit, folded, len(folded))[0] for hit in _hits(folded, others)]
    return next(((dimension.key, value) for value in reversed(values) if value is not None), None)


def _hits(folded: str, named: Iterable[str]) -> list[Hit]:
    """Where a name begins a phrase and a separator follows."""
    pattern = re.compile(rf"(?P<label>{labels(named)}){_TAIL}")
    hits = ((hit, _before(folded, hit)) for hit in deque(pattern.finditer(folded), maxlen=MAX_HITS))
    return [hit for hit, before in hits if _BEGINS.search(before) and not NOT_MEANT.search(before)]


def _before(folded: str, hit: Hit) -> str:
    """A little of the text before a name; the x says that the text begins earlier."""
    start = hit.start()
    return folded[:start] if start <= 40 else "x" + folded[start - 40 : start]


def _note_end(folded: str, hits: list[Hit], place: int) -> int:
    """A note goes on to the next name that begins a line, or to the end."""
    for following in range(place + 1, len(hits)):
        before = _before(folded, hits[following])
        if line := _LINE_START.search(before):
            return max(hits[place].end(), hits[following].start() - (len(before) - line.start()))
    return len(folded)


def _value(item: Item, scale: Scale, hit: Hit, folded: str, stop: int) -> tuple[Value | Bad, int]:
    """The value behind a name and where it ends; None where there is only talk."""
    stop = min(stop, hit.end() + WINDOW)
    stop = hit.end() + len(folded[hit.end() : stop].rstrip(" \t*_`#>|-\"'“‘「『【[("))
    if isinstance(item, Dimension):
        return _score_value(scale, hit, folded, stop)
    if isinstance(item, Choice):
        return _word_value([fold(option).strip() for option in item.options], hit, folded, stop, closed=True)
    return _word_value([*YES, *NO], hit, folded, stop, closed=not isinstance(item, Check))


def _score_value(scale: Scale, hit: Hit, folded: str, stop: int) -> tuple[Value | Bad, int]:
    match = _SCORE.match(folded, hit.end(), stop)
    if match is None:
        if _LOOKS_LIKE_SCORE.match(folded, hit.end(), stop):
            return Bad("malformed", f"{folded[hit.end() : hit.end() + 20]!r} is not one number"), hit.end()
        return None, hit.end()
    after = _SCALE_AFTER.match(folded, match.end(), stop)
    for other in (_OTHER_SCALE.search(hit["scale"] or ""), after):
        ends_at = other and (other[1] or other[other.re.groups]).replace("百", "100")
        if ends_at is not None and ends_at != f"{scale.max:g}":
            return Bad("out_of_range", f"given on another scale than to {scale.max:g}"), match.end()
    rest = (folded, match.end(), stop)
    if _TAKEN_BACK.match(*rest) or ("|" in hit["separator"] and _CELL.match(*rest)):
        return Bad("malformed", f"{folded[hit.end() : match.end() + 20]!r} is more than one number"), match.end()
    return re.sub(r"[*_`]", "", match["value"]), match.end()


def _word_value(words: list[str], hit: Hit, folded: str, stop: int, *, closed: bool) -> tuple[Value | Bad, int]:
    any_word = labels(words)
    ends = rf"{_CLOSE}(?:{_LINE_END}|[ \t]{{0,4}}(?:[,;。.!|(<:]|{_DASH}))"
    # `是 | 否` and `小说，诗歌` repeat the menu; they do not choose from it.
    another = rf"{_CLOSE}[ \t]{{0,4}}[,;|(][ \t]{{0,4}}(?:(?:不|或|or)[,，]?[ \t]{{0,2}})?(?:{any_word})(?![^\W_])"
    match = re.compile(rf"{_OPEN}(?P<value>{any_word})(?!{another})(?={ends})").match(folded, hit.end(), stop)
    if match is not None and _withdrawn(match["value"], folded[match.end() : min(stop, match.end() + WINDOW)]):
        return Bad("malformed", f"{match['value']!r} is taken back"), match.end()
    if match is not None:
        return match["value"], match.end()
    if re.compile(rf"{_OPEN}(?:{any_word})").match(folded, hit.end(), stop):
        return Bad("malformed", f"{folded[hit.end() : hit.end() + 20]!r} is not one answer"), hit.end()
    line = re.compile(r"[ \t]*([^\r\n。,;!?]{1,20})(?=[\r\n]|\Z)").match(folded, hit.end(), stop)
    if closed and line is not None and line[1].strip(" *_`|"):
        return Bad("out_of_range", f"{line[1].strip()!r} is none of the options"), line.end()
    return None, hit.end()


def _closing_score(text: str, rubric: Rubric) -> Value:
    """The score that a reply ends with: behind it no digit, no further line, and few words."""
    tail = fold(text.rstrip()[-TAIL:])
    ends: Mapping[int, Value] = {match.end(): match[1] for match in _BRACKETED.finditer(tail)}
    for hit in _hits(tail, GENERIC):
        value, end = _value(rubric.dimensions[0], rubric.scale, hit, tail, len(tail))
        if isinstance(value, str):
            ends = {**ends, end: value}
    if not ends:
        return None
    last = max(ends)
    if any(value != ends[last] and _OR.match(tail, end, last) for end, value in ends.items()):
        return None  # `[[8]] or [[7]]`
    rest = tail[last:]
    return None if len(rest) > 100 or re.search(r"[\d\r\n]", rest) else ends[last]
