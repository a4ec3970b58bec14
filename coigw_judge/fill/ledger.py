"""What a process of a fill counts, and what it logs of each request.

Times are counted by span (REQUEST_SECONDS), so that a second's requests travel as a few counts and not one by one.
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import Field

from coigw_judge.counts import Counts
from coigw_judge.judges.protocol import Reply
from coigw_judge.logs import event
from coigw_judge.prompting.request import Need
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.records.record import FieldName, Record, record_digest
from coigw_judge.replies.outcome import Scored, Unscored

REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Upper bounds of the spans of a request's time, retries and waiting for a place in the engine included."""

FLUSH_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0)
"""Upper bounds of the spans of a flush's time."""

SCORED = "scored"
"""The outcome of a request that has a score; every other one is the cause why it has none."""

Held = Literal["records", "blocks", "blocks_flushing", "requests_waiting", "requests_in_flight", "requests_capacity"]
"""What is in progress in a process, and how many requests are worth having in flight."""
HELD: tuple[Held, ...] = get_args(Held)
_LOGGED = 100
"""How many failures of a rubric for one cause are logged one by one; after them every power of ten, with its count."""

_log = logging.getLogger(__name__)


class TokensSpent(Counts):
    """Tokens of requests, over all their tries."""

    prompt: int = 0
    cached: int = 0
    """Of the prompt, from the prefix cache."""
    generated: int = 0
    shareable: int = 0
    """What a cache that forgets nothing would have held, of `measured` prompt tokens, where the judge says."""
    measured: int = 0


class FillTally(Counts):
    """What a process of a fill has done."""

    rows: int = 0
    """Records to which nothing is left to ask."""
    from_store: int = 0
    """Requests that the store answered."""
    outcomes: dict[str, Counter[str]] = Field(default_factory=dict)
    """Requests by rubric and what came of them: SCORED, or the cause why not."""
    retries: Counter[str] = Field(default_factory=Counter)
    """Tries beyond the first, by rubric."""
    seconds: dict[str, Counter[int]] = Field(default_factory=dict)
    """Requests by rubric and how long they took: the number of a span of REQUEST_SECONDS."""
    tokens: TokensSpent = TokensSpent()
    extra: int = 0
    """Of the requests, further samples; `extra_tokens`: their part of the tokens."""
    extra_tokens: TokensSpent = TokensSpent()
    facts: int = 0
    """Written to the store."""
    flushes: Counter[int] = Field(default_factory=Counter)
    """Flushes that wrote facts, by the number of a span of FLUSH_SECONDS."""
    failed_flushes: int = 0
    """Flushes that the store refused."""
    server: Counter[str] = Field(default_factory=Counter)
    """What the judge itself counts (`counts`, where it has them)."""

    @property
    def made(self) -> int:
        """Requests."""
        return sum(outcomes.total() for outcomes in self.outcomes.values())

    @property
    def retried(self) -> int:
        """Tries beyond the first."""
        return self.retries.total()

    @property
    def unscored(self) -> Counter[str]:
        """Requests without a score, by cause."""
        causes = sum(self.outcomes.values(), Counter[str]())
        del causes[SCORED]
        return causes

    @property
    def answered(self) -> int:
        """Requests but those whose engine died."""
        return self.made - self.unscored["engine_died"]


@dataclass(frozen=True, slots=True)
class Case:
    """A record without its texts."""

    digests: Mapping[FieldName, bytes]
    """Of its texts."""
    identity: bytes
    """The digest of the record."""
    row_id: str | None
    """Where it stood in the input."""


def case_of(record: Record) -> Case:
    """A record's case."""
    digests = record.digests()
    return Case(digests, record_digest(digests), record.row_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of a request."""

    outcome: Scored | Unscored
    reply: Reply = field(default_factory=Reply)
    """The last one."""
    spent: TokensSpent = field(default_factory=TokensSpent)
    """Over all tries."""
    attempt: int = 0
    """The number of the last try, from 0."""
    seconds: float | None = None
    """Over all tries; None where the judge was not asked."""


class Ledger:
    """`tally` counts what was done, `now` what is in progress."""

    def __init__(self) -> None:
        self.tally = FillTally()
        self.now: Counter[Held] = Counter()

    @contextmanager
    def holding(self, what: Held) -> Iterator[None]:
        """Count something as in progress while the context lasts."""
        self.now[what] += 1
        try:
            yield
        finally:
            self.now[what] -= 1

    def again(self, case: Case, need: Need, outcome: Unscored, attempt: int) -> None:
        """A reply gave no score, and the request is asked again."""
        _tell("asked_again", logging.DEBUG, case, need, cause=outcome.cause, attempt=attempt, detail=outcome.detail)

    def settled(self, case: Case, need: Need, made: Settled) -> None:
        """A request became a fact."""
        outcome, tally, rubric = made.outcome, self.tally, need.rubric
        cause = outcome.cause if isinstance(outcome, Unscored) else None
        outcomes = tally.outcomes.setdefault(rubric, Counter())
        outcomes[cause or SCORED] += 1
        if made.attempt:
            tally.retries[rubric] += made.attempt
        if made.seconds is not None:
            tally.seconds.setdefault(rubric, Counter())[bisect_left(REQUEST_SECONDS, made.seconds)] += 1
        tally.tokens += made.spent
        if SampleKind.of(need.sample) is SampleKind.FURTHER:
            tally.extra += 1
            tally.extra_tokens += made.spent
        count = outcomes[cause] if cause else 0
        shown = 0 < count <= _LOGGED or (count and count == 10 ** (len(str(count)) - 1))
        _tell_settled(case, need, made, logging.INFO if shown else logging.DEBUG, count)

    def flushed(self, facts: int, seconds: float) -> None:
        """A flush wrote something."""
        if facts:
            self.tally.facts += facts
            self.tally.flushes[bisect_left(FLUSH_SECONDS, seconds)] += 1
            event(_log, logging.DEBUG, "flushed", facts=facts, seconds=round(seconds, 3))

    def not_flushed(self, trouble: str) -> None:
        """The store could not be written; `trouble` is its error's text."""
        self.tally.failed_flushes += 1
        event(_log, logging.WARNING, "flush_failed", trouble=trouble)


def _tell_settled(case: Case, need: Need, made: Settled, level: int, count: int) -> None:
    """Log a request: at debug every one; at info those without a score, as long as they are few."""
    if not _log.isEnabledFor(level):
        return
    outcome = made.outcome
    failed = {"cause": outcome.cause, "detail": outcome.detail} if isinstance(outcome, Unscored) else {}
    _tell(
        "unscored" if failed else SCORED,
        level,
        case,
        need,
        **failed,
        count=count or None,
        attempt=made.attempt,
        finish_reason=made.reply.finish_reason,
        seconds=None if made.seconds is None else round(made.seconds, 3),
        prompt_tokens=made.spent.prompt,
        cached_tokens=made.spent.cached,
        generated_tokens=made.spent.generated,
    )


def _tell(name: str, level: int, case: Case, need: Need, **fields: Any) -> None:
    if _log.isEnabledFor(level):
        ids = {"row_id": case.row_id, "record": case.identity.hex(), "rubric": need.rubric, "key": need.key.hex()}
        event(_log, level, name, **ids, sample=need.sample, **fields)
