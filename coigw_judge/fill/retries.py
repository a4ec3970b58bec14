"""Which replies are asked again at once (`judge.retries`).

The next try goes to the same engine, which still holds the request's prefix, and is drawn at 0.7 at least
(judges/presets.py). What a later run asks again is for the plan (`--retry-unscored`).
"""

from typing import TypeGuard

from coigw_judge.replies.outcome import Cause, Scored, Unscored

FINAL: tuple[Cause, ...] = ("too_long", "refused", "engine_died")
"""Causes that the next try would have too."""


def another_try(outcome: Scored | Unscored, attempt: int, retries: int) -> TypeGuard[Unscored]:
    """Whether a request is asked once more after try number `attempt` (from 0), of `retries` further ones."""
    return isinstance(outcome, Unscored) and outcome.cause not in FINAL and attempt < retries
