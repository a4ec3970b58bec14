"""Scored | Unscored(cause), and both as plain values: columns of a fact, JSON of what is counted."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """By dimension, on the rubric's scale."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """By item, where the reply gives one."""
    checks: Mapping[str, bool] = field(default_factory=dict)
    """By check; true is good."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """By choice, one of its options."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """By note, in the judge's words."""
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
    """The reply, as Scored has it; empty where there was none."""
    detail: str = ""
    """The cause in words, for a person."""
    flags: tuple[str, ...] = ()
    """As Scored has them."""


MAPPED = ("scores", "reasons", "checks", "choices", "notes", "expected")
"""What a Scored says, by item of its rubric."""

_SCORED, _UNSCORED = (*MAPPED, "raw", "flags"), ("cause", "detail", "raw", "flags")


def to_values(outcome: Scored | Unscored, names: Collection[str] | None = None) -> dict[str, Any]:
    """An outcome as plain values by the names of its fields. `names`: only these of them."""
    own = _SCORED if isinstance(outcome, Scored) else _UNSCORED
    return {name: _plain(getattr(outcome, name)) for name in own if names is None or name in names}


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value


def from_values(values: Mapping[str, Any]) -> Scored | Unscored:
    """What `to_values` gave, also as Arrow gives it back; fields that are missing or null are empty."""
    raw, flags = values.get("raw") or "", tuple(values.get("flags") or ())
    if values.get("cause") is not None:
        return Unscored(cause=values["cause"], raw=raw, detail=values.get("detail") or "", flags=flags)
    return Scored(**{name: dict(values.get(name) or ()) for name in MAPPED}, raw=raw, flags=flags)


THINKING_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
