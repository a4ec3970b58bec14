"""A record is a coroutine: its asks, their replies, the facts they become.

One record's asks run one after the other or together, as plan.next says, beside hundreds of other records'.
They land on one engine while the record's prefix is cached, stop as soon as the gate is decided, and one long
answer delays no other record. A semaphore admits requests, not records: otherwise early exit would starve the engine.
Every fact goes to the store's writer; a block of records is done when its facts are on disk.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from coigw_judge.decide.further_samples import FLAG as SAMPLED
from coigw_judge.decide.plan import Subject
from coigw_judge.errors import FixJudge, FixStore, JudgeUnavailable
from coigw_judge.fill.expected import with_expected
from coigw_judge.fill.ledger import Case, Ledger, Settled, TokensSpent, case_of
from coigw_judge.fill.retries import another_try
from coigw_judge.job.recipe import Recipe
from coigw_judge.judges.presets import tried_at
from coigw_judge.judges.protocol import Judge, Measures, Reply
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.prompting.long_text import Shown, fit
from coigw_judge.prompting.request import Ask, Need, seed
from coigw_judge.records.record import Record
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.store.fact import Fact
from coigw_judge.store.half_done import HalfDoneFacts
from coigw_judge.store.writer import Writer

FLUSH_SECONDS = 5.0
"""What a killed process may lose of a judge's work, on a local disk; ten times that on an object store."""

_REMEMBERED = 20_000


class Filler:
    """Runs records against one judge and one store's writer, in one event loop.

    `tally` counts what was done, `now` what is in progress (ledger.py). Its owner runs `flush_forever` as a task.
    `half_done` are facts of records that an earlier fill or process began.
    """

    def __init__(
        self, recipe: Recipe, judge: Judge, writer: Writer, half_done: HalfDoneFacts, flush_seconds: float
    ) -> None:
        self._recipe = recipe
        self._rubrics = {rubric.name: rubric for rubric in (*recipe.plan.rubrics, *recipe.plan.then)}
        self._judge = judge
        self._tokens = judge.tokens if isinstance(judge, Measures) else len
        self._writer = writer
        self._half_done = half_done
        self._flush_seconds = flush_seconds
        self._admit = asyncio.Semaphore(judge.concurrency)
        self._open = asyncio.Event()
        self._open.set()
        self._asked: dict[bytes, asyncio.Task[Scored | Unscored]] = {}
        self._flushed = asyncio.Condition()
        self._flushes = 0
        self._trouble = ""
        self._concurrency = judge.concurrency
        self._unfinished = 0
        self._waiting = 0
        self._hungry = asyncio.Event()
        self._ledger = Ledger()
        self.tally, self.now = self._ledger.tally, self._ledger.now

    async def block(self, records: list[Record]) -> None:
        """Judge a block of records; returns when their facts are on disk.

        Raises JudgeUnavailable or FixJudge as soon as one record does; the others' facts are kept.
        """
        self._unfinished += len(records)
        try:
            with self._ledger.holding("blocks"):
                async with asyncio.TaskGroup() as group:
                    for record in records:
                        group.create_task(self._counted(record))
        except* (JudgeUnavailable, FixJudge) as errors:
            raise _first(errors) from errors
        self._waiting += 1
        self._flush_where_hungry()
        try:
            with self._ledger.holding("blocks_flushing"):
                await self._durable()
        finally:
            self._waiting -= 1

    async def _counted(self, record: Record) -> None:
        try:
            await self._record(record)
        finally:
            self._unfinished -= 1
            self._flush_where_hungry()

    def _flush_where_hungry(self) -> None:
        """Flush early once fewer records are in progress than twice what the judge answers at a time.

        Blocks that wait for a flush keep new ones from coming, so the judge would have too little to do.
        """
        if self._waiting and self._unfinished < 2 * self._concurrency:
            self._hungry.set()

    async def _record(self, record: Record) -> None:
        with self._ledger.holding("records"):
            await self._ask_for(record, case_of(record))
        self.tally.rows += 1

    async def _ask_for(self, record: Record, case: Case) -> None:
        """Ask what a record needs, until it needs nothing."""
        digests = case.digests
        subject = Subject(digests, record.genre, record.chars)
        facts = self._from_store(digests["answer"], self._recipe.plan.first_keys(subject))
        shown: Shown | None = None
        self.tally.from_store += len(facts)
        while needs := self._recipe.plan.next(subject, facts):
            fresh = self._from_store(digests["answer"], [need.key for need in needs])
            self.tally.from_store += len(fresh)
            missing = [need for need in needs if need.key not in fresh]
            shown = shown or fit(record.texts, self._recipe.plan.head_tail, self._tokens)
            answers = await asyncio.gather(*(self._once(need, shown, case) for need in missing))
            facts |= fresh | {need.key: answer for need, answer in zip(missing, answers, strict=True)}

    async def give_up(self, record: Record, detail: str) -> None:
        """Write `engine_died` for what this record still needs: it was alone when the engine died, twice."""
        case = case_of(record)
        digests = case.digests
        subject = Subject(digests, record.genre, record.chars)
        facts = self._from_store(digests["answer"], self._recipe.plan.first_keys(subject))
        outcome = Unscored(cause="engine_died", detail=detail)
        while needs := self._recipe.plan.next(subject, facts):
            fresh = self._from_store(digests["answer"], [need.key for need in needs])
            missing = [need for need in needs if need.key not in fresh]
            for need in missing:
                self._append(need, case, Settled(outcome=outcome))
            facts |= fresh | {need.key: outcome for need in missing}
        self.tally.rows += 1
        await self.flush()

    def _from_store(self, home: bytes, keys: list[bytes]) -> dict[bytes, Scored | Unscored]:
        return self._half_done.find(home, keys)

    async def _once(self, need: Need, shown: Shown, case: Case) -> Scored | Unscored:
        """Ask, unless the same request is under way or was just answered: equal texts share one fact."""
        task = self._asked.get(need.key)
        if task is None:
            task = asyncio.create_task(self._settle(need, shown, case))
            self._asked[need.key] = task
            if len(self._asked) > _REMEMBERED:
                oldest = next(iter(self._asked))
                if self._asked[oldest].done():
                    del self._asked[oldest]
        return await asyncio.shield(task)  # another record may wait for it too

    async def _settle(self, need: Need, shown: Shown, case: Case) -> Scored | Unscored:
        """Ask until there are scores or the budget of tries is spent; append the fact."""
        rubric = self._rubrics[need.rubric]
        started = time.monotonic()
        spent = TokensSpent()
        attempt = 0
        while True:
            reply = await self._reply(need, shown, attempt)
            spent += _tokens(reply)
            outcome = read_reply(reply, rubric)
            if not another_try(outcome, attempt, self._recipe.retries):
                break
            self._ledger.again(case, need, outcome, attempt)
            attempt += 1
        flags = (*shown.flags(rubric.fields), *reply.flags, *_how_drawn(need, attempt))
        outcome = replace(outcome, flags=flags)
        if isinstance(outcome, Scored) and need.rubric in self._recipe.expected:
            outcome = with_expected(outcome, reply, rubric)
        seconds = time.monotonic() - started
        self._append(need, case, Settled(outcome=outcome, reply=reply, spent=spent, attempt=attempt, seconds=seconds))
        return outcome

    async def _reply(self, need: Need, shown: Shown, attempt: int) -> Reply:
        """The judge's reply, as soon as it has room for the request."""
        with self._ledger.holding("requests_waiting"):
            await self._admit.acquire()
        try:
            await self._open.wait()
            with self._ledger.holding("requests_in_flight"):
                return await self._judge.ask(self._ask(need, shown, attempt))
        except JudgeUnavailable:
            self._open.clear()  # the judge is gone: requests that still wait must not be sent
            raise
        finally:
            self._admit.release()

    def _append(self, need: Need, case: Case, made: Settled) -> None:
        self._writer.append(
            Fact(
                key=need.key,
                record=case.identity,
                home=case.digests["answer"],
                rubric=need.rubric,
                rubric_fingerprint=self._recipe.rubric_fingerprints[need.rubric],
                judge_fingerprint=self._recipe.judge_fingerprint,
                sample=need.sample,
                outcome=made.outcome,
                finish_reason=made.reply.finish_reason,
                attempt=made.attempt,
                prompt_tokens=made.spent.prompt,
                cached_tokens=made.spent.cached,
                generated_tokens=made.spent.generated,
                seconds=made.seconds or 0.0,
            )
        )
        self._ledger.settled(case, need, made)

    def _ask(self, need: Need, shown: Shown, attempt: int) -> Ask:
        name = need.rubric
        return Ask(
            key=need.key,
            rubric=name,
            prompt=self._recipe.templates[name].render(shown.texts, need.guidance),
            schema=self._recipe.schemas[name],
            reply_tokens=self._recipe.reply_tokens[name],
            sample=need.sample,
            attempt=attempt,
            temperature=need.temperature,
            expected=name in self._recipe.expected,
        )

    async def _durable(self) -> None:
        """Wait for the next flush that begins after now."""
        async with self._flushed:
            target = self._flushes + 1
            await self._flushed.wait_for(lambda: self._flushes >= target or self._trouble)
        if self._trouble:
            raise FixStore(self._trouble)

    async def flush_forever(self) -> None:
        """Flush every few seconds, and as soon as blocks that wait for it leave the judge too little to do."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hungry.wait(), self._flush_seconds)
            await asyncio.sleep(self._flush_seconds / 100)  # blocks that ended together share one part
            self._hungry.clear()
            await self.flush()

    async def finish(self) -> None:
        """Ask nothing more from now on, and write what was answered."""
        self._open.clear()
        await self.flush()

    async def flush(self) -> None:
        """Write the facts so far, in a thread, and release the blocks that wait for it.

        Where the store cannot be written, these blocks raise FixStore; the facts stay for the next try.
        """
        async with self._flushed:
            started = time.monotonic()
            try:
                facts = await asyncio.to_thread(self._writer.flush)
            except FixStore as error:
                self._trouble = str(error)
                self._ledger.not_flushed(self._trouble)
            else:
                self._flushes += 1
                self._trouble = ""
                self._ledger.flushed(facts, time.monotonic() - started)
            self._flushed.notify_all()


def _tokens(reply: Reply) -> TokensSpent:
    shareable, prompt = reply.shareable_tokens, reply.prompt_tokens
    return TokensSpent(
        prompt=prompt,
        cached=reply.cached_tokens,
        generated=reply.generated_tokens,
        shareable=shareable or 0,
        measured=0 if shareable is None else prompt,
    )


def _how_drawn(need: Need, attempt: int) -> tuple[str, ...]:
    """What a fact says of how a further sample was drawn."""
    if need.temperature is None:
        return ()
    at = tried_at(need.temperature, attempt)
    return (f"{SAMPLED}:temperature {at:g}, seed {seed(need.sample, attempt)}",)


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
