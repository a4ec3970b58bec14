"""A text without its disguises, for the rules that look for words in it, and the way back to the places in the text.

One case, one width, simplified characters, Latin for its look-alikes, invisible characters gone, spelt-out words closed
up. A text is folded and its characters sorted into kinds by tables (codepoints.py); the kinds say where a step could
take something out, and most texts have no such place. A text too long for an array is folded and edited as a string.
Every step is linear in the text. Positions are mapped back to the original text only where something was found.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from coigw_judge.text.codepoints import COUNT, LONGEST, Codes, codes_of, marks, text_of
from coigw_judge.text.unseen import INKLESS

_SIMPLIFIED = str.maketrans(
    "無視給滿評審請為這個從現開發專則規條說語數戲機統係設記遺據應該將須獲們選題讀處論對關閱導絕過總質創準標執聽輸"
    "內與後來達確認項維棄廢蓋當試權級員務優線詩稱陸訓練還於實際檢測閉換輪裡歸顧問謝點棧複雜戶誤進",
    "无视给满评审请为这个从现开发专则规条说语数戏机统系设记遗据应该将须获们选题读处论对关阅导绝过总质创准标执听输"
    "内与后来达确认项维弃废盖当试权级员务优线诗称陆训练还于实际检测闭换轮里归顾问谢点栈复杂户误进",
)
_PAIRS = (
    "аa еe оo рp сc уy хx іi јj ѕs һh ԁd ԛq ԝw ӏl кk мm тt вb нh гr пn αa βb εe ιi κk νv οo ρp τt υy χx γy ωw ηn µu"
    ' ɡg ıi “" ”" „" ‟" 「" 」" 『" 』" 〝" 〞" ‘\' ’\' ▁_'
)
_LOOK_ALIKES = {ord(pair[0]): ord(pair[1]) for pair in _PAIRS.split()}
_BLOCKS = ((0xA0, 0x250), (0x1E00, 0x1F00), (0x2000, 0x2300), (0x2460, 0x2500), (0x2F00, 0x2FE0), (0x3000, 0x3001),
           (0x3200, 0x3400), (0xF900, 0xFB00), (0xFF00, 0xFFF0), (0x1D400, 0x1D800), (0x1F100, 0x1F1AD))  # fmt: skip
"""Where characters stand that are others in disguise: full width, accents, mathematical and enclosed letters."""


def _folding() -> dict[int, str]:
    """One character for one, so that places in a folded text are places in the text."""
    table = {code: chr(code + 0x20) for code in range(ord("A"), ord("Z") + 1)}
    table |= {0xE0000 + code: chr(code).lower() for code in range(0x20, 0x7F)}  # tags: ASCII that nobody sees
    for code in (code for block in _BLOCKS for code in range(*block)):
        plain = unicodedata.normalize("NFKD", chr(code))
        plain = "".join(c for c in plain if not unicodedata.combining(c)).lower()
        if len(plain) == 1 and plain != chr(code):
            table[code] = plain
    table |= {code: chr(plain) for code, plain in (_SIMPLIFIED | _LOOK_ALIKES).items()}
    for code in (*range(0x391, 0x3AA), *range(0x400, 0x430)):  # Greek and Cyrillic capitals, by their small letters
        small = chr(code).lower()
        table[code] = table.get(ord(small), small) if len(small) == 1 else chr(code)
    return table


_FOLDED = _folding()
_INVISIBLE = rf"{INKLESS}\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff"
"""Marks over other letters too."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});")
_UNSEEN = re.compile(f"[{_INVISIBLE}]+")
# Between Chinese characters no writing needs a blank or an ornament.
_HAN = r"\u3400-\u9fff"
_IN_GAPS = r"[^\w\s。、,;:!?…—\-\"'()《》<>\[\]{}【】〔〕]", r"[ \t_|.\-]"
_ORNAMENTS = rf"(?:{'|'.join(_IN_GAPS)})++"
_GAP = re.compile(rf"(?<=[{_HAN}]){_ORNAMENTS}(?=[{_HAN}\d])|(?<=\d){_ORNAMENTS}(?=[{_HAN}])")
# Four characters or more, each alone between marks: a word spelt out, but for its first letter.
_LONGEST_GAP = 4
_SPELT_GAP = rf"[\W_]{{1,{_LONGEST_GAP}}}+"
_SPELT = re.compile(rf"(?P<gap>{_SPELT_GAP})(?:[^\W_]{_SPELT_GAP}){{4,}}+(?:[^\W_](?![^\W_]))?")
_BETWEEN = re.compile(r"[\W_]{1,4}(?=[^\W_])")
_LONG_WORD = re.compile(r"[a-z0-9]{2}")
_PARTS = re.compile(r"[。!?;\n]")

Edit = Callable[[re.Match[str]], str]
"""What an edit leaves of a match."""


def _nothing(_: re.Match[str]) -> str:
    return ""


def _one_character(entity: re.Match[str]) -> str:
    """`&#24573;` as the character it stands for; what stands for none, or for several, as it is."""
    plain = html.unescape(entity[0]).translate(_FOLDED)
    return plain if len(plain) == 1 else entity[0]


def _closed_up(spelt: re.Match[str]) -> str:
    gap, before = spelt["gap"], spelt.string[max(0, spelt.start() - 2) : spelt.start()]
    # `please i g n o r e` is two words; in `请忽，略，以，上` the first letter hangs on to the word before it.
    parted = _LONG_WORD.match(before) or (_PARTS.search(gap) and len(before) == 2 and before.isalnum())
    return gap + _BETWEEN.sub(_word_gap, spelt[0][len(gap) :]) if parted else _BETWEEN.sub(_word_gap, spelt[0])


def _word_gap(gap: re.Match[str]) -> str:
    """`i g n o r e  a l l`: two blanks part the words there."""
    return " " if len(gap[0]) > 1 and not gap[0].strip() and gap.string[gap.end()].isascii() else ""


@dataclass(frozen=True, slots=True)
class _Step:
    """What is taken out of a folded text, and where it may be: no match begins anywhere else."""

    pattern: re.Pattern[str]
    edit: Edit
    kind: int
    """Some character of this kind is in every match."""
    places: Callable[[Codes], Codes]

    def applied(self, text: str, kinds: Codes | None) -> str | None:
        """The text after the step; None where it finds nothing. `kinds` are the text's; None: look everywhere."""
        if kinds is None:
            edited, count = self.pattern.subn(self.edit, text)
            return edited if count else None
        if not np.bitwise_or.reduce(kinds) & self.kind:
            return None
        parts: list[str] = []
        end = 0
        for place in self.places(kinds).tolist():
            match = self.pattern.match(text, place) if place >= end else None
            if match:
                parts += (text[end:place], self.edit(match))
                end = match.end()
        return "".join((*parts, text[end:])) if end else None


# Kinds of characters, as bits; one that stands before an ornament and the ornament are a shift apart.
_BEFORE_GAP, _IN_GAP, _ALONE, _HIDDEN, _AND = (1 << n for n in range(5))


@cache
def _tables() -> tuple[Codes, Codes]:
    """What every code point is folded to, and its kinds once folded."""
    folds = np.arange(COUNT, dtype=np.uint32)
    for code, plain in _FOLDED.items():
        folds[code] = ord(plain)
    kinds = marks(
        (
            (_BEFORE_GAP, rf"[{_HAN}\d]"),
            *((_IN_GAP, pattern) for pattern in _IN_GAPS),
            (_ALONE, r"[^\W_]"),
            (_HIDDEN, f"[{_INVISIBLE}]"),
            (_AND, "&"),
        )
    )
    return folds, kinds


def _gaps(kinds: Codes) -> Codes:
    return np.flatnonzero((kinds[:-1] << 1) & kinds[1:] & _IN_GAP) + 1


def _spelt(kinds: Codes) -> Codes:
    """Where a word that is spelt out may begin: at the marks before four characters or more that each stand alone."""
    inside = (kinds & _ALONE).astype(np.bool_)
    alone = np.flatnonzero(inside[1:-1] > (inside[:-2] | inside[2:])) + 1
    if len(alone) < 4:
        return alone[:0]
    first = alone[:-3][alone[3:] - alone[:-3] <= 3 * (1 + _LONGEST_GAP)]
    places = np.unique(first[:, None] - np.arange(1, _LONGEST_GAP + 1))
    return places[places >= 0]


_STEPS = (
    _Step(_ENTITY, _one_character, _AND, lambda kinds: np.flatnonzero(kinds & _AND)),
    _Step(_UNSEEN, _nothing, _HIDDEN, lambda kinds: np.flatnonzero(kinds & _HIDDEN)),
    _Step(_GAP, _nothing, _IN_GAP, _gaps),
    _Step(_SPELT, _closed_up, _ALONE, _spelt),
)


@dataclass(frozen=True, slots=True)
class Undisguised:
    """A text without its disguises, as code points too where it is not too long; the steps that made it, each with the
    text before it."""

    text: str
    codes: Codes | None
    steps: tuple[tuple[_Step, str], ...]

    def origin(self, place: int) -> int:
        """The place in the original text of the character at `place` here."""
        for step, before in reversed(self.steps):
            place = _before_edits(step.pattern.finditer(before), step.edit, place)
        return place


def undisguise(text: str) -> Undisguised:
    """The folded text after all steps."""
    folds, kinds = _tables()
    codes = folds.take(codes_of(text)) if len(text) <= LONGEST else None
    view = text.translate(_FOLDED) if codes is None else text_of(codes)
    steps: list[tuple[_Step, str]] = []
    found = None if codes is None else kinds.take(codes)
    for step in _STEPS:
        edited = step.applied(view, found)
        if edited is not None:
            steps.append((step, view))
            view = edited
            if codes is not None:
                codes = codes_of(view)
                found = kinds.take(codes)
    return Undisguised(view, codes, tuple(steps))


def _before_edits(edits: Iterator[re.Match[str]], edit: Edit, place: int) -> int:
    gone = 0  # characters taken out so far
    for match in edits:
        if match.start() - gone > place:
            break
        kept = edit(match)
        if place < match.start() - gone + len(kept):  # within what the edit left: its character by order
            return _within(match, kept, place - (match.start() - gone))
        gone += len(match[0]) - len(kept)
    return place + gone


def _within(match: re.Match[str], kept: str, offset: int) -> int:
    """The place of an edit's kept character; a spelt word's characters stand in it in order."""
    if match.re is _ENTITY:
        return match.start()
    at = match.start() - 1
    for character in kept[: offset + 1]:
        at = at + 1 if character == " " else match.string.index(character, at + 1)
    return at
