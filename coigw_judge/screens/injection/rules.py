"""What a rule about addressing the judge is, and how it is tried. The rules are data: data/injection/, by language.

A rule is a pattern over a text without its disguises (undisguised.py), words that must stand in the text besides, and
what lifts a match: words before or after it that make it a story about someone else (`老师给这篇作文打了满分`, `they
ignore previous instructions`). Speech that a story or a tutorial quotes as someone's is lifted too, where the rule
allows. So the rules are about who is addressed, not about words: scores, systems and instructions are ordinary
things to write of. Every quantifier is bounded, so that a rule's time is linear in the text.
A rule also has a seed: a part of its pattern that stands in every match, and the pairs of characters with which that
part can begin, so that most rules are not tried on most texts (detect.py). tests/screens/test_injection_sieve.py makes
texts from every pattern and holds it to its seed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

NEAR = 40
"""Characters before and after a match that may lift it."""
QUOTE = 200
"""How far before a match the beginning of a quotation is looked for."""
SPEECH = 100
"""How far behind a match the end of a quotation, and who spoke, is looked for."""

_FOLDER = Path(__file__).parents[2] / "data" / "injection"
_WORD = re.compile(r"<([A-Z_]+)>")
_CHARACTER_OR_CLASS = re.compile(r"\[([^\]]+)\]|(.)")
_BLANKS = "".join(c for c in map(chr, range(0x3001)) if re.match(r"\s", c))
"""What `\\s` is."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WrittenRule(_Strict):
    """A rule as its file has it."""

    finds: tuple[str, ...] = Field(min_length=1, description="texts that it finds, for readers and for a test")
    pattern: str = Field(description="its group `hit` is what is shown; without one the whole match is")
    needs: tuple[str, ...] = Field(
        default=(), description="words with | between: of each of these one stands in the text"
    )
    begins: str = Field(description="beginnings of the seed, of which two characters count; [ab][cd] stands for four")
    seed: str | None = Field(default=None, description="stands in every match of the pattern; None: the pattern itself")
    unless_before: str | None = Field(default=None, description="lifts a match where it ends just before it")
    unless_after: str | None = Field(default=None, description="lifts a match where it begins just behind it")
    quotable: bool = Field(default=False, description="whether it is nothing where it is quoted as someone's speech")


class _Group(_Strict):
    needs: tuple[str, ...] = Field(default=(), description="as a rule's: of all its rules")
    gate: str | None = Field(default=None, description="a pattern that stands somewhere in the text, for all its rules")
    rules: tuple[WrittenRule, ...]


class _File(_Strict):
    words: dict[str, str] = Field(description="fragments, by the names under which patterns have them: <NAME>")
    groups: tuple[_Group, ...]


@dataclass(frozen=True, slots=True, eq=False)
class InjectionRule:
    """One way to address the judge: a WrittenRule with its words put in and its patterns compiled."""

    written: WrittenRule
    needs: tuple[tuple[str, ...], ...]
    """Of each of these, one must stand in the text."""
    gate: re.Pattern[str] | None
    """What must stand in the text besides."""
    pattern: re.Pattern[str]
    begins: frozenset[str]
    """Pairs of characters; every match of the seed begins with one of them."""
    seed: re.Pattern[str]
    unless_before: re.Pattern[str] | None
    unless_after: re.Pattern[str] | None

    def place(self, text: str) -> tuple[int, int] | None:
        """The span of the first match that nothing around it lifts."""
        if not all(any(word in text for word in words) for words in self.needs):
            return None
        if self.gate and not self.gate.search(text):
            return None
        return next((match.span("hit") for match in self.pattern.finditer(text) if self._holds(match)), None)

    def _holds(self, match: re.Match[str]) -> bool:
        text, (start, stop) = match.string, match.span("hit")
        if self.unless_before and self.unless_before.search(text[max(0, start - NEAR) : start]):
            return False
        if self.unless_after and self.unless_after.match(text[stop : stop + NEAR]):
            return False
        return not (self.written.quotable and _quoted(text, start, stop))


def read_rules(language: str) -> list[InjectionRule]:
    """The rules of a file of data/injection/."""
    file = _File.model_validate(yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8")))
    return [compiled(rule, file.words, group.needs, group.gate) for group in file.groups for rule in group.rules]


def compiled(
    rule: WrittenRule, words: Mapping[str, str], needs: tuple[str, ...] = (), gate: str | None = None
) -> InjectionRule:
    """A rule ready to be tried, with what its group needs. Raises KeyError for a word that `words` lacks."""

    def full(text: str) -> str:
        while (put_in := _WORD.sub(lambda name: words[name[1]], text)) != text:
            text = put_in
        return text.replace("\n", "")

    pattern = full(rule.pattern)
    return InjectionRule(
        rule,
        tuple(tuple(either.split("|")) for either in (*needs, *rule.needs)),
        re.compile(full(gate)) if gate else None,
        re.compile(pattern if "(?P<hit>" in pattern else f"(?P<hit>{pattern})", re.MULTILINE),
        frozenset(pair for beginning in full(rule.begins).split() for pair in _pairs(beginning)),
        re.compile(pattern if rule.seed is None else full(rule.seed), re.MULTILINE),
        re.compile(rf"(?:{full(rule.unless_before)})\Z") if rule.unless_before else None,
        re.compile(full(rule.unless_after)) if rule.unless_after else None,
    )


def _pairs(beginning: str) -> list[str]:
    """The pairs of characters that a beginning stands for."""
    first, second = [one or each for each, one in _CHARACTER_OR_CLASS.findall(beginning)[:2]]
    return ["".join(pair) for pair in product(first, second.replace(r"\s", _BLANKS))]


# Whose speech it is: named before the quotation, or behind it.
_SPEAKER = re.compile(
    r"(?:[他她它们谁]|有人|攻击者|黑客|用户|老师|同学|学生|孩子|写[入上下道着]|输入|敲下|打[下出]|例如|比如|诸如|所谓|类似"
    r"|[说喊问吼道叫])[^。\"\n]{0,14}\Z"
    r"|\b(?:he|she|they|it|user|attacker|who|says?|said|typed|wrote|like|as)\b[^.\"\n]{0,20}\Z"
)
_SPOKEN = re.compile(
    r"[^\"\n]{0,80}\"[,，]?\s?(?:[^。!?\"\n]{0,12}(?:说|道|喊|吼|问|央求|命令|叫|念|笑|嚷|之类|这样的|这类|的话)"
    r"|[^.\"\n]{0,20}\b(?:said|says|asked|typed|wrote|shouted)\b)"
)


def _quoted(text: str, start: int, stop: int) -> bool:
    """Whether a match stands in a quotation that is named as someone's speech."""
    line = text[max(0, start - QUOTE) : start].rpartition("\n")[2]
    lead, mark, _ = line.rpartition('"')
    inside = bool(mark) and line.count('"') % 2 == 1
    return inside and bool(_SPEAKER.search(lead) or _SPOKEN.match(text[stop : stop + SPEECH]))
