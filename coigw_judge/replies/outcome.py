"""Scored | Unscored(cause)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MISSING_EXPECTED = "expected_"


Cause = Literal[
    "truncated",  # the reply hit its token limit
    "malformed",  # no readable answer in it
    "incomplete",  # an item of the rubric is missing
    "out_of_range",  # a score off the scale, a choice off the menu
    "empty",  # no text at all
    "refused",  # the judge or its server declined to answer
    "too_long",  # the request does not fit the context; never sent
    "timeout",  # no reply in time
    "engine_died",  # the engine died on this request, twice, alone
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A complete reply: every item of the rubric has a value from its scale or menu."""

    scores: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    raw: str = ""
    """The reply, its lone surrogates as U+FFFD so that it can be stored."""
    flags: tuple[str, ...] = ()
    """What a reader must know of how it was asked: `head_tail:answer 12034`, characters of a field not shown."""
    expected: Mapping[str, float | None] = field(default_factory=dict)
    """Probability-weighted scores beside the sampled ones (expected.py), None where there is none; or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """No score was given, and why. Never to be read as a number."""

    cause: Cause
    raw: str = ""
    detail: str = ""
    flags: tuple[str, ...] = ()


THINKING_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
