"""Damage by encoding: how much of a text was decoded as what it is not, or lost on the way.

Counted are: characters that no text holds (U+FFFD, U+0080 to U+009F, lone surrogates); ASCII's control characters
where they are a fifth of a text (UTF-16 read as something else; fewer do no harm); private use where it is a tenth
(pages that hide text in fonts of their own; less are emoji, or rare characters of classics); 锟斤拷 twice in a row;
UTF-8 read as Latin-1 (`ä½œè€…`); GBK read as Latin-1 (`ÄãºÃ£¬`); UTF-8 read as GBK (`浣犲ソ锛`); texts mostly of `?`.
One 锟斤拷 is not: people joke about it, in a genre that is collected here.
Damage that leaves other sound Chinese characters (Big5 read as GBK) is not seen.
"""

import re

from coigw_judge.screens.characters import BROKEN, PRIVATE, Characters

_CONTINUATION = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # bytes 80-BF as Latin-1, and as Windows has it
_UTF8_AS_LATIN1 = re.compile(
    rf"[\u00c2-\u00df]{_CONTINUATION}|[\u00e0-\u00ef]{_CONTINUATION}{{2}}|[\u00f0-\u00f4]{_CONTINUATION}{{3}}"
)
_GBK_AS_LATIN1 = re.compile(r"[\u00a1-\u00fe]{6,}")
_KUN_JIN_KAO = re.compile(r"(?:锟斤拷){2,}[锟斤]*")
_LOST = re.compile(r"\?{2,}")
_UTF8_AS_GBK = "锛銆鐨鈥"
"""The first halves of ，。 的 — when UTF-8 is read as GBK: together one in thirty characters there, none elsewhere."""

_FEWEST = 3
_FEW = 0.3
"""Fewer than three damaged characters are no broken text, unless they are this share of it."""

_LATIN1_LETTERS = (0xA1, 0xFF)
_PRIVATE_SHARE = 0.1
_CONTROL_SHARE = 0.2


def damage(text: str, characters: Characters) -> tuple[float, str]:
    """The share of a text's characters that are damaged, and what some of it looks like."""
    total = characters.visible
    if not total:
        return 0.0, ""
    runs = [*_runs(text, characters)]
    private = characters.counts[PRIVATE] if characters.counts[PRIVATE] > _PRIVATE_SHARE * total else 0
    control = int(((characters.kinds == BROKEN) & (characters.codes < 0x80)).sum()) if characters.counts[BROKEN] else 0
    broken = characters.counts[BROKEN] + private - (control if control < _CONTROL_SHARE * total else 0)
    count = broken + sum(size for size, _ in runs)
    share = min(1.0, count / total)
    if not count or (count < _FEWEST and share < _FEW):
        return 0.0, ""
    kinds = (BROKEN, PRIVATE) if private else (BROKEN,)
    shown = runs[0][1] if runs else _first_broken(characters, kinds)
    return share, shown


def _runs(text: str, characters: Characters) -> list[tuple[int, str]]:
    """Wrongly decoded runs: their sizes, and the first of each kind as it looks."""
    runs: list[tuple[int, str]] = []
    low, high = _LATIN1_LETTERS
    if int(((characters.codes >= low) & (characters.codes <= high)).sum()) >= _FEWEST:
        runs += _sum(_UTF8_AS_LATIN1.findall(text))
        if not runs:
            runs += _sum([run for run in _GBK_AS_LATIN1.findall(text) if len(set(run)) >= 4])
    if "锟斤拷锟" in text:
        runs += _sum(_KUN_JIN_KAO.findall(text))
    if sum(map(text.count, _UTF8_AS_GBK)) * 200 > characters.visible:
        at = min(text.find(mark) for mark in _UTF8_AS_GBK if mark in text)
        runs.append((characters.visible, text[max(0, at - 6) : at + 6]))
    if characters.visible >= 20 and 10 * text.count("?") > 3 * characters.visible:
        runs += _sum(_LOST.findall(text))
    return runs


def _sum(runs: list[str]) -> list[tuple[int, str]]:
    return [(sum(map(len, runs)), "".join(runs[:6])[:12])] if runs else []


def _first_broken(characters: Characters, kinds: tuple[int, ...]) -> str:
    at = next(n for n, kind in enumerate(characters.kinds.tolist()) if kind in kinds)
    return f"U+{int(characters.codes[at]):04X}"
