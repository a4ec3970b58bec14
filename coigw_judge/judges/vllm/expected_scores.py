"""The expected score: the mean over all values that the judge could have written, by the probabilities of its tokens.

A judge that writes 8 may have been sure of it, or nearly as likely have written 7; the sampled score does not show it.
The expected score is the sum of v * P(v) over the scale's values. P are the probabilities of the tokens at the score's
place, normalised over what the grammar admits there.
The place is found by reading the reply as strict JSON (behind the thinking, if there is any), never by a search for a
digit: reasons may hold `"score":8` too. A token may be a value (`8`, `10`), a value and what follows it (`8}`),
or the beginning of several values (`1` of 1 and 10). What follows a beginning is read from the next token where that
beginning was sampled. Else, where the beginning has more than LEAST of the probability, a probe asks for it: the same
request, continued by one token. A beginning with less is left out.
There is no value, and a cause instead (Missing), where a token holds the number's first byte together with what stands
before it, or might have: the probabilities after it are then not those of the number's beginnings.
All probabilities are given the reply up to the number, so above all given the reason that the judge wrote.
"""

import asyncio
import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coigw_judge.judges.protocol import Missing
from coigw_judge.judges.vllm.token_text import Spelling, number_places

LEAST = 0.01
"""The most probability of a beginning that is not followed up. On a scale of 0 to 10 it moves the expected score by
less than 0.1."""

CUT_OFF = 0.001
"""Probability, as a share of what the grammar admits, that may lie on tokens which are not listed."""

MOST_PROBES = 8
"""Probes for one score. A scale of 0 to 10 needs one at the most."""

_LONGEST_LEAD = 16
"""Characters before a number in which a token may begin that reaches over the number's first byte."""

Chances = Mapping[int, float]
"""Probabilities by token id, of the likeliest tokens at a position at least."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A reply as the judge drew it: its tokens, and the probabilities from which the n-th was drawn."""

    ids: Sequence[int]
    chances: Callable[[int], Chances]


@dataclass(frozen=True, slots=True)
class Probe:
    """A question: which token comes next, after these tokens of the reply, of those that begin what `pattern` admits.

    `pattern` is a regular expression for all that the reply's form forces from there on.
    """

    ids: tuple[int, ...]
    pattern: str


AskProbe = Callable[[Probe], Awaitable[Chances | None]]
"""Answers a probe; None where that failed."""


@dataclass(frozen=True, slots=True)
class ExpectedScores:
    """Per dimension the expected score, or None and under the same key why."""

    values: Mapping[str, float | None]
    missing: Mapping[str, Missing]


async def expected_scores(drawn: Drawn, schema: Mapping[str, Any], spelling: Spelling, ask: AskProbe) -> ExpectedScores:
    """The expected score of every dimension in a reply to `schema` (Rubric.reply_schema). Never raises of itself."""
    scales = _scales(schema)
    text, starts = spelling.laid_out(drawn.ids)
    places = number_places(text) if text == spelling.text(drawn.ids) else {}

    async def one(key: str) -> float | Missing:
        whole = [f"{value:.0f}" for value in scales[key] if value == round(value)]
        if len(whole) < len(scales[key]):
            return "not_whole"
        place = places.get(key)
        if place is None or text[place[0] : place[1]] not in whole:
            return "not_found"
        number = _Number(frozenset(whole), _forced(schema, key), spelling)
        try:
            return await number.expected(drawn, text, starts, place[0], ask)
        except _Lacks as lack:
            return lack.cause

    outcomes = dict(zip(scales, await asyncio.gather(*map(one, scales)), strict=True))
    return ExpectedScores(
        {key: None if isinstance(value, str) else value for key, value in outcomes.items()},
        {key: value for key, value in outcomes.items() if isinstance(value, str)},
    )


def _scales(schema: Mapping[str, Any]) -> dict[str, list[float]]:
    """The dimensions of a reply's schema and the values of each."""
    scales = {}
    for key, part in schema["properties"].items():
        values = part.get("properties", {}).get("score", part).get("enum", ())
        if values and not any(isinstance(value, str) for value in values):
            scales[key] = values
    return scales


def _forced(schema: Mapping[str, Any], key: str) -> str:
    """What the form of a reply forces behind a dimension's number."""
    parts = schema["properties"]
    names = list(parts)
    close = "}" if "properties" in parts[key] else ""
    after = names[names.index(key) + 1 :]
    return f"{close},{json.dumps(after[0])}:{_opening(parts[after[0]])}" if after else close + "}"


def _opening(part: Mapping[str, Any]) -> str:
    """How a value begins, as far as all values of a schema begin alike."""
    if "properties" in part:
        name, first = next(iter(part["properties"].items()))
        return f"{{{json.dumps(name)}:{_opening(first)}"
    values = part.get("enum", ())
    return '"' if part.get("type") == "string" or (values and isinstance(values[0], str)) else ""


class _Lacks(Exception):
    """Inside this module only: a number has no expected value."""

    def __init__(self, cause: Missing) -> None:
        super().__init__(cause)
        self.cause: Missing = cause


@dataclass(frozen=True, slots=True)
class _Begun:
    """The beginning of several values, the tokens of the reply up to its end, and its probability."""

    digits: str
    ids: tuple[int, ...]
    weight: float


_DIGITS = re.compile(r"-?[0-9]*")


class _Number:
    """A number in a reply. `values`: all that it may be, spelt out; `forced`: what stands behind it."""

    def __init__(self, values: frozenset[str], forced: str, spelling: Spelling) -> None:
        self._values = values
        self._forced = forced
        self._spelling = spelling
        self._settled: defaultdict[str, float] = defaultdict(float)

    async def expected(self, drawn: Drawn, text: str, starts: Sequence[int], begin: int, ask: AskProbe) -> float:
        """The expected value of the number whose first character is at `begin`. Raises _Lacks."""
        first = bisect_right(starts, begin) - 1
        if starts[first] != begin or self._is_crossed(drawn, text, starts, begin, first):
            raise _Lacks("crosses")
        waiting = self._sampled(drawn, first)
        probes = 0
        while sum(begun.weight for begun in waiting) > LEAST:
            likeliest = max(waiting, key=lambda begun: begun.weight)
            waiting.remove(likeliest)
            probes += 1
            if probes > MOST_PROBES:
                raise _Lacks("too_many_probes")
            chances = await ask(Probe(likeliest.ids, self._pattern(likeliest.digits)))
            if chances is None:
                raise _Lacks("probe_failed")
            waiting += self._expand(likeliest, chances)
        whole = sum(self._settled.values())
        if whole <= 0:
            raise _Lacks("cut_off")
        # Six digits: probabilities have no more, and a judge that is sure of its 8 gets 8, not 7.999999999.
        return round(sum(int(value) * weight for value, weight in self._settled.items()) / whole, 6)

    def _sampled(self, drawn: Drawn, first: int) -> list[_Begun]:
        """Settle what the reply's own tokens settle; the beginnings that were not sampled are still open."""
        waiting: list[_Begun] = []
        at, begun = first, _Begun("", tuple(drawn.ids[:first]), 1.0)
        while True:
            longer = self._expand(begun, drawn.chances(at))
            taken = next((further for further in longer if further.ids[-1] == drawn.ids[at]), None)
            waiting += [further for further in longer if further is not taken]
            if taken is None:
                return waiting
            at, begun = at + 1, taken
            if at == len(drawn.ids):
                return [*waiting, begun]

    def _expand(self, begun: _Begun, chances: Chances) -> list[_Begun]:
        """Share a beginning's weight out among what may follow it. Raises _Lacks where too much of that is not listed.

        Where probabilities were taken before the grammar's mask, much of them is on tokens that it does not admit.
        """
        legal = [(token, self._reads(begun.digits, self._spelling.token(token)), p) for token, p in chances.items()]
        admitted = sum(p for _, reads, p in legal if reads is not None)
        if admitted <= 0 or 1 - sum(chances.values()) > CUT_OFF * admitted:
            raise _Lacks("cut_off")
        still: list[_Begun] = []
        for token, reads, p in legal:
            if reads is None or p <= 0:
                continue
            digits, complete = reads
            weight = begun.weight * p / admitted
            if complete:
                self._settled[digits] += weight
            else:
                still.append(_Begun(digits, (*begun.ids, token), weight))
        return still

    def _reads(self, digits: str, text: str) -> tuple[str, bool] | None:
        """What a beginning and a token come to: a value (True) or a longer beginning; None where neither."""
        if not text:
            return None
        joined = digits + text
        match = _DIGITS.match(joined)
        number = "" if match is None else match[0]
        behind = joined[len(number) :]
        if behind:
            ends = behind.lstrip(" \t\r\n")[:1] in ("", ",", "}")
            return (number, True) if number in self._values and ends else None
        possible = [value for value in self._values if value.startswith(number)]
        return (possible[0], True) if len(possible) == 1 else (number, False) if possible else None

    def _pattern(self, digits: str) -> str:
        """What may follow a beginning, as a regular expression."""
        rest = sorted(value[len(digits) :] for value in self._values if value.startswith(digits))
        more = "|".join(filter(None, rest))
        return (f"({more})" if more else "") + ("?" if more and "" in rest else "") + re.escape(self._forced)

    def _is_crossed(self, drawn: Drawn, text: str, starts: Sequence[int], begin: int, first: int) -> bool:
        """Whether a token before the number might have reached into it: the sampled one is then no fair beginning."""
        for at in range(first - 1, -1, -1):
            lead = text[starts[at] : begin]
            if len(lead) > _LONGEST_LEAD:
                break
            over = 0.0
            for token, p in drawn.chances(at).items():
                piece = self._spelling.token(token)
                if lead and piece.startswith(lead) and self._reads("", piece[len(lead) :]) is not None:
                    over += p
            if over > LEAST:
                return True
        return False
