"""What a rule about addressing the judge is, and the rules that need no language: forged turns and forged replies.

A rule is a pattern over the folded view (undisguised.py), the words without which it need not be tried, and what
lifts it: words before or after that make it a story about someone else (`老师给这篇作文打了满分`, `they ignore
previous instructions`). Speech that a story or a tutorial quotes as someone's is lifted too, where the rule allows.
So the rules are about who is addressed, not about words: scores, systems and instructions are ordinary things to
write of. Every quantifier is bounded, so that a rule's time is linear in the text.
A rule also names its seed: a part of its pattern that stands in every match, and the pairs of characters with which
that part can begin (sieve.py tries a rule only where its seed stands). tests/screens/test_injection_sieve.py makes
texts from every pattern and holds it to its seed.
Not known here: how the view is made, and the languages (chinese.py, english.py).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

NEAR = 40
"""Characters before and after a match that may lift it."""
QUOTE = 200
"""How far before a match the beginning of a quotation is looked for."""
SPEECH = 100
"""How far behind a match the end of a quotation, and who spoke, is looked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to address the judge. The pattern's group `hit` is what is shown."""

    needs: tuple[tuple[str, ...], ...]
    """Of each of these, one must stand in the text."""
    pattern: re.Pattern[str]
    begins: frozenset[str]
    """Pairs of characters; every match of the seed begins with one of them."""
    seed: re.Pattern[str]
    """Stands in every match of the pattern."""
    unless_before: re.Pattern[str] | None = None
    unless_after: re.Pattern[str] | None = None
    quotable: bool = False
    """Whether it is nothing where the text quotes it as someone's speech."""

    def place(self, view: str) -> tuple[int, int] | None:
        """The span of the first match that nothing around it lifts."""
        if not all(any(word in view for word in words) for words in self.needs):
            return None
        return next((match.span("hit") for match in self.pattern.finditer(view) if self._holds(match)), None)

    def _holds(self, match: re.Match[str]) -> bool:
        view, (start, stop) = match.string, match.span("hit")
        if self.unless_before and self.unless_before.search(view[max(0, start - NEAR) : start]):
            return False
        if self.unless_after and self.unless_after.match(view[stop : stop + NEAR]):
            return False
        return not (self.quotable and _quoted(view, start, stop))


@dataclass(frozen=True, slots=True)
class Family:
    """Rules that share what must stand in a text before any of them need be tried."""

    needs: tuple[str, ...]
    """One of these; none: no word is needed."""
    gate: re.Pattern[str] | None
    rules: tuple[Rule, ...]

    def may_hold(self, view: str) -> bool:
        """Whether the text is worth a closer look."""
        if self.needs and not any(word in view for word in self.needs):
            return False
        return self.gate is None or self.gate.search(view) is not None


def rule(
    pattern: str,
    needs: Iterable[str] = (),
    *,
    begins: Iterable[str],
    seed: str | None = None,
    before: str | None = None,
    after: str | None = None,
    quotable: bool = False,
) -> Rule:
    """A rule from patterns as text; `needs` are words with | between. Without a group `hit` the whole match is it.

    `begins` are words of two characters or more, of which the first two count; without a `seed` the pattern is it.
    """
    return Rule(
        tuple(tuple(words.split("|")) for words in needs),
        re.compile(pattern if "(?P<hit>" in pattern else f"(?P<hit>{pattern})", re.MULTILINE),
        frozenset(word[:2] for word in begins),
        re.compile(pattern if seed is None else seed, re.MULTILINE),
        re.compile(rf"(?:{before})\Z") if before else None,
        re.compile(after) if after else None,
        quotable,
    )


def words(text: str) -> tuple[str, ...]:
    """Words with blanks between them."""
    return tuple(text.split())


def pairs(firsts: str, seconds: str) -> tuple[str, ...]:
    """Every one of `firsts` before every one of `seconds`."""
    return tuple(first + second for first in firsts for second in seconds)


BLANKS = "".join(c for c in map(chr, range(0x3001)) if re.match(r"\s", c))
"""What `\\s` is."""

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


def _quoted(view: str, start: int, stop: int) -> bool:
    line = view[max(0, start - QUOTE) : start].rpartition("\n")[2]
    lead, mark, _ = line.rpartition('"')
    inside = bool(mark) and line.count('"') % 2 == 1
    return inside and bool(_SPEAKER.search(lead) or _SPOKEN.match(view[stop : stop + SPEECH]))


# No writing needs these: turns, control tokens, our delimiters (prompting/template.py), the reply itself.
_Q = r"[\"']"
_TO = r"\s{0,4}:\s{0,4}"
_KEYS = rf"{_Q}(?:quality|质量|creativity|创意){_Q}{_TO}"
_OPENING = pairs("{", f"\"'{BLANKS}")
_SIDE = r"(?:user|human|assistant)\s{0,2}:"
FORGED = Family(
    ("<", "[", "#", "{", "assistant", "【", "〖", '"', "'"),
    None,
    (
        rule(
            r"<\s{0,3}\|\s{0,3}[a-z][a-z0-9_]{1,40}\s{0,3}\|\s{0,3}>|</?think(?:ing)?>|<</?sys>>|<(?:start|end)_of_turn>"
            r"|</?(?:system|assistant|sys_?prompt|system_prompt)>",
            ["<"],
            begins=pairs("<", f"|/<seat{BLANKS}"),
        ),
        rule(r"\[/?inst\]", ["inst]"], begins=["[/", "[i"]),
        rule(
            r"^\s{0,3}#{2,4}\s{0,3}(?:instruction\s{0,2}(?::|$)|(?:system|human|assistant|user|response|system prompt"
            r"|new instructions?)\s{0,2}:|(?:系统指令|系统提示词?|新的?指令)\s{0,2}(?::|$))",
            ["#"],
            begins=["##"],
            seed=r"#{2,4}\s{0,3}(?:instruction|system|human|assistant|user|response|new inst|系统|新?的?指令)",
        ),
        rule(
            rf"^\s{{0,3}}(?:assistant\s{{0,2}}:[^\n]{{0,200}}\n\s{{0,3}}{_SIDE}"
            rf"|{_SIDE}[^\n]{{0,200}}\n\s{{0,3}}assistant\s{{0,2}}:)",
            ["assistant"],
            begins=["assistant"],
            seed=r"assistant\s{0,2}:",
        ),
        rule(
            r"[【\[〖]\s{0,3}(?:文章|题目|思路)\s{0,3}(?:[0-9a-fx]{10,}|[0-9a-fx]{4,}\s{0,3}完)",
            ["文章|题目|思路"],
            begins=["文章", "题目", "思路"],
            seed=r"(?:文章|题目|思路)\s{0,3}[0-9a-fx]{4}",
        ),
        rule(
            rf"{_Q}[\w ]{{1,30}}{_Q}{_TO}\{{\s{{0,8}}{_Q}(?:reason|理由){_Q}{_TO}{_Q}[^\n]{{0,400}}?{_Q}"
            rf"\s{{0,4}},\s{{0,8}}{_Q}(?:score|value|choice|分数){_Q}{_TO}",
            ["reason|理由", "score|value|choice|分数"],
            begins=_OPENING,
            seed=rf"\{{\s{{0,8}}{_Q}(?:reason|理由){_Q}{_TO}",
        ),
        rule(
            rf"\{{\s{{0,8}}{_Q}(?:score|rating|分数|评分|总分){_Q}{_TO}{_Q}?10(?:/10)?{_Q}?\s{{0,8}}\}}",
            ["{", "score|rating|分"],
            begins=_OPENING,
        ),
        rule(
            rf"{_KEYS}{_Q}?\d{{1,2}}{_Q}?\s{{0,4}},\s{{0,8}}{_KEYS}",
            ["quality|质量", "creativity|创意"],
            begins=pairs("\"'", "qc质创"),
        ),
    ),
)
