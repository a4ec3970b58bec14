"""Lines that come from a site or an advertiser rather than from the author.

A line counts where it is short and holds one of the phrases of data/boilerplate.yaml: a paragraph in which someone
follows an account is a story. Most texts hold no phrase at all, and then no line is looked at: two characters that
phrases share are looked for first, for all phrases at once.
Advertising as a genre is exempt (config.py).
"""

import re
from collections import Counter
from pathlib import Path

import yaml

from coigw_judge.screens.characters import Characters
from coigw_judge.text.codepoints import PairFinder

LONGEST = 80
"""Characters of the longest line that counts."""

PHRASES: dict[str, re.Pattern[str] | None] = {
    phrase: re.compile(pattern) if pattern else None
    for phrase, pattern in yaml.safe_load(
        (Path(__file__).parents[1] / "data" / "boilerplate.yaml").read_text(encoding="utf-8")
    ).items()
}
"""Every phrase, with what must stand in the line beside it where it is also an ordinary word."""


def _stems() -> dict[str, tuple[str, ...]]:
    """Pairs of characters that several phrases share, so that a few look-ups settle most texts."""
    left, stems = set(PHRASES), {}
    while left:
        pairs = Counter(pair for phrase in left for pair in {phrase[n : n + 2] for n in range(len(phrase) - 1)})
        stem = max(sorted(pairs), key=lambda pair: pairs[pair])
        stems[stem] = tuple(phrase for phrase in PHRASES if phrase in left and stem in phrase)
        left -= set(stems[stem])
    return stems


_STEMS = _stems()
# A line that is little else than a way to reach someone: a number, an address, with a word before it at the most.
CONTACT = re.compile(
    r"^\W{0,3}(?:[\u4e00-\u9fff]{0,6}(?:电话|手机|热线|QQ|qq|邮箱|网址|官网|E-?mail)\s{0,2}[:：]?\s{0,2})"
    r"[\w.+@:/\- ]{5,60}\W{0,3}$"
)
CONTACT_WORDS = ("电话", "手机", "热线", "QQ", "qq", "邮箱", "网址", "官网", "mail")
_PAIRS = PairFinder([*_STEMS, *(word[:2] for word in CONTACT_WORDS)])


def boilerplate(text: str, characters: Characters) -> tuple[int, int, str]:
    """How many lines advertise or come from the site, of how many that are not blank; and the first such line."""
    places = _PAIRS.places(characters.codes)
    stems = {text[place : place + 2] for place in places}
    phrases = [phrase for stem in stems for phrase in _STEMS.get(stem, ()) if phrase in text]
    contact = any(text.startswith(CONTACT_WORDS, place) for place in places)
    if not phrases and not contact:
        return 0, 0, ""
    lines = [bare for line in text.splitlines() if (bare := line.strip())]
    hits = [line for line in lines if len(line) <= LONGEST and _counts(line, phrases, contact)]
    return len(hits), len(lines), hits[0] if hits else ""


def _counts(line: str, phrases: list[str], contact: bool) -> bool:
    for phrase in phrases:
        if phrase in line:
            beside = PHRASES[phrase]
            if beside is None or beside.search(line):
                return True
    return contact and CONTACT.match(line) is not None
