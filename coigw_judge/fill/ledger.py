"""What a process of a fill keeps count of, and what it logs of each request.

One flat counter, which can be summed over processes:

    rows                        records done                 asks.made, asks.from_store, asks.retried
    asks.failed.<cause>         requests without a score     tokens.prompt, tokens.cached, tokens.generated,
                                tokens.shareable of tokens.measured, where the judge says
    asks.extra                  further samples (decide/resampling.py), and their part of those: tokens.extra_<kind>
    outcome.<outcome>.<rubric>  requests: `scored` or the cause why not     retried.<rubric>
    seconds.<span>.<rubric>     requests by how long they took: the number of a span of REQUEST_SECONDS
    flush.<span>                flushes likewise, of FLUSH_SECONDS          flush.failed, facts

A span is a number, so that a second's requests travel as a few counts and not one by one.
Not known here: who adds up, who is shown what (manifest.py, pipeline/metrics.py), where lines go (logs.py).
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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
_LOGGED = 100
"""So many failures of a rubric for one cause are logged one by one; then every power of ten, with its count."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """A record without its texts: their digests, its own, and where it stood in the input."""

    digests: Mapping[FieldName, bytes]
    identity: bytes
    row_id: str | None


def case_of(record: Record) -> Case:
    """The case that a record is."""
    digests = record.digests()
    return Case(digests, record_digest(digests), record.row_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of a request: its outcome, the last reply, and what all attempts took. `seconds` is None where nobody
    was asked."""

    outcome: Scored | Unscored
    reply: Reply = field(default_factory=Reply)
    spent: Mapping[str, int] = field(default_factory=Counter)
    attempt: int = 0
    seconds: float | None = None


class Ledger:
    """`tally` counts what was done, `now` what is in hand: records, blocks, blocks_flushing, requests_waiting,
    requests_in_flight."""

    def __init__(self) -> None:
        self.tally: Counter[str] = Counter()
        self.now: Counter[str] = Counter()

    @contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Something is in hand for as long as this lasts."""
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
        tally["asks.made"] += 1
        tally["asks.retried"] += made.attempt
        tally[f"outcome.{cause or SCORED}.{rubric}"] += 1
        if made.attempt:
            tally[f"retried.{rubric}"] += made.attempt
        if cause is not None:
            tally[f"asks.failed.{cause}"] += 1
        if made.seconds is not None:
            tally[f"seconds.{bisect_left(REQUEST_SECONDS, made.seconds)}.{rubric}"] += 1
        for kind, tokens in made.spent.items():
            tally[f"tokens.{kind}"] += tokens
        if SampleKind.of(need.sample) is SampleKind.FURTHER:
            tally["asks.extra"] += 1
            tally.update({f"tokens.extra_{kind}": tokens for kind, tokens in made.spent.items()})
        count = tally[f"outcome.{cause}.{rubric}"] if cause else 0
        shown = 0 < count <= _LOGGED or (count and count == 10 ** (len(str(count)) - 1))
        _tell_settled(case, need, made, logging.INFO if shown else logging.DEBUG, count)

    def flushed(self, facts: int, seconds: float) -> None:
        """A flush wrote something."""
        if facts:
            self.tally["facts"] += facts
            self.tally[f"flush.{bisect_left(FLUSH_SECONDS, seconds)}"] += 1
            event(_log, logging.DEBUG, "flushed", facts=facts, seconds=round(seconds, 3))

    def not_flushed(self, trouble: str) -> None:
        """The store could not be written; `trouble` is its error's text."""
        self.tally["flush.failed"] += 1
        event(_log, logging.WARNING, "flush_failed", trouble=trouble)


def _tell_settled(case: Case, need: Need, made: Settled, level: int, count: int) -> None:
    """Every request at debug; at info those without a score, as long as they are few."""
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
        prompt_tokens=made.spent.get("prompt", 0),
        cached_tokens=made.spent.get("cached", 0),
        generated_tokens=made.spent.get("generated", 0),
    )


def _tell(name: str, level: int, case: Case, need: Need, **fields: Any) -> None:
    if _log.isEnabledFor(level):
        ids = {"row_id": case.row_id, "record": case.identity.hex(), "rubric": need.rubric, "key": need.key.hex()}
        event(_log, level, name, **ids, sample=need.sample, **fields)


def under(tally: Mapping[str, float], prefix: str) -> Iterator[tuple[str, float]]:
    """The counts whose names begin with `<prefix>.`, by the rest of their names."""
    for name, value in tally.items():
        if name.startswith(f"{prefix}."):
            yield name[len(prefix) + 1 :], value
