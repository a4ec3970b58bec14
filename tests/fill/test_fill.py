"""The record coroutine without Ray: retries, durability, sharing, and what ends a block."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from full_disk import no_room

from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan
from coigw_judge.errors import FixJudge, FixStore, JudgeUnavailable
from coigw_judge.fill.filler import Filler
from coigw_judge.fill.self_test import self_test
from coigw_judge.job.job import load_job
from coigw_judge.job.recipe import Recipe, make_recipe
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.long_text import HeadTail
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.template import omission
from coigw_judge.records.record import Record
from coigw_judge.store.fact import DECIDING_COLUMNS, SCHEMA
from coigw_judge.store.half_done import HalfDoneFacts
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer

NOTHING = HalfDoneFacts(SCHEMA.empty_table())
GOOD = '{"quality":{"reason":"好","score":8},"creativity":{"reason":"新","score":9}}'


class FakeJudge:
    """Answers by a function of the ask; remembers how many were in flight at most."""

    def __init__(self, answer: Callable[[Ask], Reply], concurrency: int = 4) -> None:
        self.concurrency = concurrency
        self.asked: list[Ask] = []
        self.most = self._now = 0
        self._answer = answer

    async def ask(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.001)
        self._now -= 1
        return self._answer(ask)

    async def close(self) -> None:
        pass


def good(_: Ask) -> Reply:
    return Reply(text=GOOD, finish_reason="stop", prompt_tokens=10, generated_tokens=3)


def records(count: int) -> list[Record]:
    return [Record({"answer": f"文{n}", "query": f"题{n}"}, id=str(n), genre=None) for n in range(count)]


@pytest.fixture
def recipe(write_job) -> Recipe:
    job = load_job(
        write_job([], rubrics=["query", "answer"], gate={"each": 8}, judge={"model": "embedded", "retries": 2})
    )
    plan = Plan(job.rubrics, (), Gate(each=8, over=job.gate.over, tops=job.gate.tops), {"query": "q", "answer": "a"})
    return make_recipe(job, plan, "judge", "run", retry_unscored=False)


def run(recipe: Recipe, judge: Any, store: Store, blocks: list[list[Record]], known: Any = None) -> Filler:
    async def all_blocks() -> Filler:
        filler = Filler(recipe, judge, Writer(store, "run"), known or NOTHING, flush_seconds=0.2)
        flusher = asyncio.create_task(filler.flush_forever())
        try:
            await asyncio.gather(*(filler.block(block) for block in blocks))
        finally:
            flusher.cancel()
        return filler

    return asyncio.run(all_blocks())


def test_when_a_block_is_done_its_facts_are_on_disk(recipe, tmp_path):
    store = Store(str(tmp_path / "facts"))
    filler = run(recipe, FakeJudge(good), store, [records(5)])
    assert store.read().num_rows == filler.tally.made == 10
    assert filler.tally.rows == 5 and filler.tally.tokens.prompt == 100


def test_no_more_requests_than_the_judge_wants_are_in_flight(recipe, tmp_path):
    judge = FakeJudge(good, concurrency=3)
    run(recipe, judge, Store(str(tmp_path / "facts")), [records(40)])
    assert judge.most == 3


def test_a_reply_without_scores_is_asked_again_within_the_budget(recipe, tmp_path):
    def second_time(ask: Ask) -> Reply:
        return good(ask) if ask.attempt == 1 else Reply(text="嗯", finish_reason="stop", prompt_tokens=10)

    judge, store = FakeJudge(second_time), Store(str(tmp_path / "facts"))
    run(recipe, judge, store, [records(1)])
    facts = store.read(("attempt", "cause", "prompt_tokens")).to_pylist()
    assert facts == [{"attempt": 1, "cause": None, "prompt_tokens": 20}] * 2

    judge, store = FakeJudge(lambda _: Reply(text="嗯", finish_reason="stop")), Store(str(tmp_path / "other"))
    run(recipe, judge, store, [records(1)])
    assert len(judge.asked) == 6 and set(store.read(("cause",))["cause"].to_pylist()) == {"malformed"}


def test_what_can_not_fit_is_not_asked_again(recipe, tmp_path):
    judge = FakeJudge(lambda _: Reply(cause="too_long", detail="9 tokens"))
    run(recipe, judge, Store(str(tmp_path / "facts")), [records(1)])
    assert len(judge.asked) == 2


def test_equal_texts_share_one_request(recipe, tmp_path):
    judge = FakeJudge(good)
    run(recipe, judge, Store(str(tmp_path / "facts")), [records(1) * 4, records(1)])
    assert len(judge.asked) == 2


def test_known_facts_are_not_asked(recipe, tmp_path):
    store, judge = Store(str(tmp_path / "facts")), FakeJudge(good)
    run(recipe, judge, store, [records(3)])
    again = FakeJudge(good)
    filler = run(recipe, again, store, [records(4)], HalfDoneFacts(store.read(DECIDING_COLUMNS)))
    assert len(again.asked) == 2 and filler.tally.from_store == 6


def test_a_long_record_is_cut_once_for_all_its_requests(recipe, tmp_path):
    plan = replace(recipe.plan, head_tail=HeadTail(("answer", "query"), 1500, 4000))
    judge, store = FakeJudge(good), Store(str(tmp_path / "facts"))
    long = Record({"answer": "甲" * 9000, "query": "题目"}, id="long", genre=None)
    run(replace(recipe, plan=plan), judge, store, [[long, *records(1)]])
    shown = {ask.prompt.fields[0] for ask in judge.asked}
    assert len(judge.asked) == 4 and len(shown) == 2, "both requests of a record show the same article"
    assert all(len("".join(ask.prompt.fields)) <= 1500 for ask in judge.asked)
    cut = next(field for field in shown if "甲" in field)
    left_out = 9000 - cut.count("甲")
    assert omission(left_out) in cut
    flags = sorted(store.read(("flags", "key"))["flags"].to_pylist())
    assert flags == [[], [], *[[f"head_tail:answer {left_out}"]] * 2]


def test_a_judge_that_counts_tokens_is_asked_for_them(recipe, tmp_path):
    class Counting(FakeJudge):
        context = 4000

        def tokens(self, text: str) -> int:
            return 2 * len(text)

    policy = HeadTail(("answer", "query"), 1500, 4000)
    judge, long = Counting(good), Record({"answer": "长" * 9000, "query": "题目"}, id="long", genre=None)
    run(replace(recipe, plan=replace(recipe.plan, head_tail=policy)), judge, Store(str(tmp_path / "facts")), [[long]])
    assert all(600 < len("".join(ask.prompt.fields)) <= 750 for ask in judge.asked)
    wrong = replace(recipe, plan=replace(recipe.plan, head_tail=replace(policy, context=5000)))
    with pytest.raises(FixJudge, match="context is 4000 tokens and the model's files say 5000"):
        asyncio.run(self_test(wrong, judge))


def test_a_full_disk_ends_the_block_and_keeps_the_facts(recipe, tmp_path):
    store = Store(str(tmp_path / "facts"))

    async def fill() -> None:
        filler = Filler(recipe, FakeJudge(good), Writer(store, "run"), NOTHING, flush_seconds=0.1)
        flusher = asyncio.create_task(filler.flush_forever())
        with no_room(), pytest.raises(FixStore, match="make room or mend it"):
            await asyncio.wait_for(filler.block(records(2)), 5)
        await filler.flush()
        flusher.cancel()

    asyncio.run(fill())
    assert store.read().num_rows == 4


def test_a_dead_judge_ends_the_block_and_the_others_facts_stay(recipe, tmp_path):
    def dying(ask: Ask) -> Reply:
        if any("文2" in field for field in ask.prompt.fields):
            raise JudgeUnavailable("the engine died")
        return good(ask)

    store = Store(str(tmp_path / "facts"))

    async def fill() -> None:
        filler = Filler(recipe, FakeJudge(dying), Writer(store, "run"), NOTHING, flush_seconds=60)
        with pytest.raises(JudgeUnavailable, match="the engine died"):
            await filler.block(records(3))
        await filler.flush()

    asyncio.run(fill())
    assert store.read().num_rows >= 1


def test_further_samples_are_asked_drawn_and_counted_apart(recipe, tmp_path):
    gate = Gate(each=8, over=recipe.plan.gate.over, tops=recipe.plan.gate.tops, review_each=1)
    several = replace(recipe, plan=replace(recipe.plan, gate=gate, samples=Resampling(borderline=3, temperature=0.5)))
    judge, store = (
        FakeJudge(lambda ask: good(ask) if ask.sample != 3 else Reply(text="嗯")),
        Store(str(tmp_path / "facts")),
    )
    filler = run(several, judge, store, [records(2)])
    asked = sorted({(ask.rubric, ask.sample, ask.temperature, ask.seed - ask.attempt) for ask in judge.asked})
    assert asked == [(r, s, t, 1000 * s) for r in ("answer", "query") for s, t in ((0, None), (2, 0.5), (3, 0.5))]
    assert (filler.tally.made, filler.tally.extra) == (12, 8)
    assert (filler.tally.extra_tokens.prompt, filler.tally.tokens.prompt) == (40, 80)
    flags = sorted({(fact["sample"], *fact["flags"]) for fact in store.read(("sample", "flags", "key")).to_pylist()})
    assert flags == [(0,), (2, "sampled:temperature 0.5, seed 2000"), (3, "sampled:temperature 0.7, seed 3002")], (
        "a further try is drawn at 0.7 at least"
    )
    again = FakeJudge(good)
    run(several, again, store, [records(2)], HalfDoneFacts(store.read(DECIDING_COLUMNS)))
    assert again.asked == []


def test_who_is_given_up_among_further_samples_keeps_what_it_has(recipe, tmp_path):
    gate = Gate(each=8, over=recipe.plan.gate.over, tops=recipe.plan.gate.tops, review_each=1)
    several = replace(recipe, plan=replace(recipe.plan, gate=gate, samples=Resampling(borderline=3)))
    store = Store(str(tmp_path / "facts"))
    run(several, FakeJudge(good), store, [records(1)])
    table = store.read(("sample", *DECIDING_COLUMNS))
    left = HalfDoneFacts(table.filter(pc.not_equal(table["sample"], 3)).select(list(DECIDING_COLUMNS)))

    async def give_up() -> None:
        writer = Writer(store, "other")
        await Filler(several, FakeJudge(good), writer, left, flush_seconds=60).give_up(records(1)[0], "it died")

    asyncio.run(give_up())
    facts = store.read(("run", "sample", "cause", "rubric"))
    gone = facts.filter(pc.equal(facts["run"], "other")).to_pylist()
    assert gone == [], "its facts count already, and the earlier of two that stand under one key"
    loose = [
        row
        for path in (tmp_path / "facts" / "parts").iterdir()
        for row in pq.read_table(path).to_pylist()
        if row["run"] == "other"
    ]
    assert {(row["sample"], row["cause"]) for row in loose} == {(3, "engine_died")} and len(loose) == 2


def test_facts_have_the_columns_that_users_rely_on(recipe, tmp_path):
    store = Store(str(tmp_path / "facts"))
    run(recipe, FakeJudge(good), store, [records(1)])
    (fact, _) = store.read(
        ("rubric", "scores", "reasons", "raw", "finish_reason", "generated_tokens", "run")
    ).to_pylist()
    assert dict(fact["scores"]) == {"quality": 8, "creativity": 9} and dict(fact["reasons"])["quality"] == "好"
    assert json.loads(fact["raw"]) and fact["finish_reason"] == "stop" and fact["generated_tokens"] == 3
