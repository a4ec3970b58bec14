"""The dry run's figures: tokens as an ideal prefix cache would see them, shares of early exit, rates, disk, text."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from estimated_rows import triplets
from hypothesis import given
from hypothesis import strategies as st
from small import plan, rubric, subject, walk

from coigw_judge import estimate
from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Waits
from coigw_judge.errors import FixJob, FixStore
from coigw_judge.estimate import disk, history, speed
from coigw_judge.estimate import text as estimate_text
from coigw_judge.estimate.history import FactHistory
from coigw_judge.estimate.make import further_asks
from coigw_judge.fill.filler import Filler
from coigw_judge.fill.ledger import FillTally, TokensSpent
from coigw_judge.job.job import EstimateConfig, load_job
from coigw_judge.job.recipe import make_recipe
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Identity, Reply
from coigw_judge.judges.vllm.engine import VllmEngine
from coigw_judge.judges.vllm.prefix_cache import PrefixCache
from coigw_judge.pipeline import passes
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.records.record import record_digest
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.run import estimates, stages
from coigw_judge.run.manifest import estimate_error
from coigw_judge.run_folder.manifest import Asks, Manifest, PlannedFigures, Tokens
from coigw_judge.scan import rows as scanning
from coigw_judge.standing.survey import SurveyCounts
from coigw_judge.store.fact import SCHEMA, Fact
from coigw_judge.store.half_done import HalfDoneFacts
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer
from coigw_judge.text.terminal import aligned, cells

# Prefixes


def ideal(sent: list[list[int]], block: int) -> list[int]:
    """Cached tokens of each request by the book: the longest beginning shared with any before, in whole blocks."""
    found = []
    for n, ids in enumerate(sent):
        shared = max((common(ids, other) for other in sent[:n]), default=0)
        found.append(min(shared, max(0, len(ids) - 1)) // block * block)
    return found


def common(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(st.lists(st.lists(st.integers(0, 1), max_size=24), max_size=12), st.integers(1, 5))
def test_the_cache_holds_whole_blocks_of_what_was_sent_before(sent, block):
    cache = PrefixCache(block)
    assert [cache.ask(ids) for ids in sent] == ideal(sent, block)


def test_a_cache_forgets_what_was_not_used_for_long():
    cache, used = PrefixCache(1, generation=50), [1] * 20
    for n in range(40):
        assert cache.ask([*used, 100 + n, 1]) == (20 if n else 0), "what is used all the time stays"
        cache.ask([1000 + 50 * n + i for i in range(30)])
    assert cache.ask([1000 + i for i in range(30)]) == 0


def best(schema: Any) -> Any:
    if "properties" in schema:
        return {name: best(part) for name, part in schema["properties"].items()}
    return schema["enum"][-1] if "enum" in schema else schema["type"] == "boolean" or "好"


class Recorder:
    """A judge that gives the best scores and remembers what it was asked, in order; one request at a time."""

    concurrency = 1

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def ask(self, ask: Any) -> Reply:
        self.asked.append(ask)
        return Reply(text=json.dumps(best(ask.schema)), finish_reason="stop")

    async def close(self) -> None:
        pass


def made_of(job: Any, most: int = 2000) -> estimate.RunEstimate:
    """The estimate of a job whose input is scanned here, as a run makes it."""
    stage = stages.begin(job, for_fill=True)
    return estimate.make(estimates.inquiry(stage, passes.survey(stage.inputs()), most))


@pytest.mark.parametrize("block", [16, 32])
def test_tokens_are_those_of_the_ids_sent_and_of_an_ideal_cache_over_them(write_job, ray_cluster, block):
    """What the coroutine of each record sends, one record after another, into a cache that never forgets."""
    judge = {"engine": "vllm", "model": "embedded", "engine_args": {"block_size": block}}
    job = load_job(
        write_job(triplets(23), judge=judge, rubrics=["answer", "query", "coherence", "thought"], early_exit=False)
    )
    made = made_of(job)
    stage = stages.begin(job, for_fill=True)
    recipe = make_recipe(job, stage.planned.plan, "", "run", False)
    recorder = Recorder()

    async def fill() -> None:
        filler = Filler(recipe, recorder, Writer(Store(job.store), "run"), HalfDoneFacts(SCHEMA.empty_table()), 5)
        flusher = asyncio.create_task(filler.flush_forever())
        for number in range(len(stage.scan.splits)):
            for _, record in scanning.records(stage.scan, number, {}, None):
                await filler.block([record])
        flusher.cancel()

    asyncio.run(fill())
    encoder = VllmEngine(job.config.judge).encoder()
    sent = [encoder.encode(ask.prompt) for ask in recorder.asked]
    hits = ideal(sent, block)
    for each in made.rubrics:
        mine = [n for n, ask in enumerate(recorder.asked) if ask.rubric == each.name]
        assert each.requests == each.open == len(mine) == 23
        assert each.prompt == pytest.approx(sum(len(sent[n]) for n in mine), abs=1e-6)
        assert each.cached == pytest.approx(sum(hits[n] for n in mine), abs=1e-6)
    assert made.whole and made.prompt_low is None
    assert made.total("cached") > 0.4 * made.total("prompt")


def test_without_prefix_caching_everything_is_prefilled(write_job, ray_cluster):
    judge = {"engine": "vllm", "model": "embedded", "engine_args": {"enable_prefix_caching": False}}
    made = made_of(load_job(write_job(triplets(4), judge=judge)))
    assert made.total("cached") == 0 and made.prefilled == made.total("prompt") > 0


def test_a_request_over_the_context_takes_no_tokens_and_no_reply(write_job, ray_cluster):
    judge = {"engine": "vllm", "model": "embedded", "engine_args": {"max_model_len": 6000}}
    rows = [*triplets(3), {"id": "long", "answer": "长" * 90_000, "query": "题", "thought": "思"}]
    short = made_of(load_job(write_job(triplets(3), judge=judge)))
    made = made_of(load_job(write_job(rows, judge=judge)))
    assert [each.too_long for each in made.rubrics] == [1, 1, 1] and made.long_records == 1
    assert made.requests == 12 and made.total("prompt") == pytest.approx(short.total("prompt"))
    assert made.total("generated") == pytest.approx(short.total("generated"), rel=0.05)
    assert "over the context: 1 of 4 sampled records" in estimate_text.as_text(made)


# Early exit

A, B, C = (rubric(name, dimensions=("d",)) for name in "abc")
GATE = Gate(each=8, over=("a.d", "b.d", "c.d"), tops={"a.d": 10, "b.d": 10, "c.d": 10})


def scored(value: float) -> Scored:
    return Scored(scores={"d": value})


def walked(plan_: Any, *records: dict[str, Any]) -> FactHistory:
    counts = history.Walked()
    for facts in records:
        history.count_walk(plan_, facts, counts)
    return FactHistory(
        reached={n: counts.reached[n] for n in "abc"},
        ended={n: counts.ended[n] for n in "abc"},
        complete=counts.complete,
        passed=counts.passed,
        near=counts.near,
        further={n: counts.further[n] for n in "abc"},
    )


def test_shares_are_conditional_and_the_same_with_early_exit_and_without():
    rows = [(9, 9, 9), (9, 9, 9), (9, 9, 2), (9, 2, 9), (9, 2, 2), (2, 9, 9), (2, 2, 9), (2, 9, 2)]
    full = [dict(zip("abc", map(scored, row), strict=True)) for row in rows]
    early = []
    for facts in full:
        kept: dict[str, Any] = {}
        for name in "abc":
            kept[name] = facts[name]
            if facts[name].scores["d"] < 8:
                break
        early.append(kept)
    for records in (full, early):
        seen = walked(plan(A, B, C, gate=GATE), *records)
        assert (seen.reached, seen.ended) == ({"a": 8, "b": 5, "c": 3}, {"a": 3, "b": 2, "c": 1})
        assert (seen.complete, seen.passes) == (2, 1.0)
        chances = seen.chances(plan(A, B, C, gate=GATE), ["a", "b", "c"])
        assert chances == pytest.approx([1, 5 / 8, 3 / 8]), "the very share of records that are asked each"
        assert sum(chances) * len(rows) == pytest.approx(sum(map(len, early)))


def test_then_is_asked_of_what_survives_and_of_a_record_that_waits_for_nothing_else_for_sure():
    then = rubric("n")
    asked = plan(A, B, then=[then], gate=replace(GATE, over=("a.d", "b.d")))
    seen = walked(
        asked, {"a": scored(9), "b": scored(9)}, {"a": scored(9), "b": scored(1)}, {"a": scored(1)}, {"a": scored(1)}
    )
    assert seen.chances(asked, ["a", "b", "n"]) == pytest.approx([1, 0.5, 0.25])
    assert seen.chances(asked, ["n"]) == [1.0]
    assert seen.chances(replace(asked, early_exit=False), ["a", "b", "n"]) == pytest.approx([1, 1, 0.25])


def test_further_samples_are_foreseen_by_the_share_that_was_near_and_that_gets_there():
    near = replace(GATE, over=("a.d", "b.d"), each=8, total=None, review_each=1)
    several = plan(A, B, then=[rubric("n")], gate=near, samples=Resampling(borderline=3))
    seen = walked(
        several, *({"a": scored(a), "b": scored(b)} for a, b in ((10, 10), (10, 9), (7, 8), (10, 2))), {"a": scored(1)}
    )
    assert (seen.complete, seen.near) == (3, 2)
    alive = (1 - 1 / 5) * (1 - 1 / 4)
    assert seen.further_samples(several, ["a", "b", "n"]) == pytest.approx({"a": alive * 2 / 3, "b": alive * 4 / 3})
    assert seen.further_samples(several, ["n"]) == {}, "its further samples are known, or open and counted"
    assert FactHistory().further_samples(several, ["a", "b"]) == {"a": 0, "b": 0}
    assert FactHistory().further_samples(replace(several, samples=Resampling(count=3, borderline=3)), ["a", "b"]) == {
        "a": 2,
        "b": 2,
    }
    all_of_them = replace(several, samples=Resampling(count=2, borderline=3, dropped=True), early_exit=False)
    assert sum(seen.further_samples(all_of_them, ["a", "b"]).values()) > 2 * (1 - alive)
    inquiry: Any = SimpleNamespace(history=seen, planned=SimpleNamespace(plan=several))
    for first, in_full in ((9, 0), (0, 9), (5, 4)):
        waiting = {Waits(SampleKind.FIRST, ("a", "b")): first, Waits(SampleKind.IN_FULL, ("a", "b")): in_full}
        counts = SurveyCounts(waiting=Counter({**waiting, Waits(SampleKind.FURTHER, ("b", "b")): 1}))
        assert further_asks(inquiry, counts) == pytest.approx({"a": 6 * alive, "b": 12 * alive + 2}), (
            "asked in full or not"
        )


def test_where_no_facts_are_nothing_is_assumed_to_be_saved():
    asked = plan(A, B, C, then=[rubric("n")], gate=GATE)
    assert FactHistory().chances(asked, ["a", "b", "c", "n"]) == [1, 1, 1, 1]


def test_a_rubric_that_does_not_apply_is_passed_over_and_a_failure_ends_nothing():
    asked = plan(A, B, C, gate=GATE)
    seen = walked(asked, {"a": scored(9), "c": scored(9)}, {"a": Unscored(cause="truncated"), "b": scored(9)})
    assert seen.reached == {"a": 2, "b": 1, "c": 1} and not any(seen.ended.values())


def test_a_floor_ends_only_what_lies_below_it():
    asked = plan(A, B, C, gate=GATE, floor=6)
    seen = walked(asked, {"a": scored(7), "b": scored(9), "c": scored(9)}, {"a": scored(5)})
    assert (seen.reached["b"], seen.ended["a"]) == (1, 1)


def test_a_record_that_is_asked_in_full_is_asked_everything_but_then_for_sure():
    then = rubric("n")
    asked = plan(A, B, then=[then], gate=replace(GATE, over=("a.d", "b.d")))
    seen = walked(
        asked, {"a": scored(9), "b": scored(9)}, {"a": scored(9), "b": scored(1)}, {"a": scored(1)}, {"a": scored(1)}
    )
    assert seen.chances(asked, ["a", "b", "n"], SampleKind.IN_FULL) == pytest.approx([1, 1, 0.25])


def test_after_a_change_of_order_the_shares_come_from_records_asked_in_full(tmp_path):
    """Facts of an early exit in the order a, b say of b only how often it ends what a let through."""
    dice, store = random.Random(3), Store(str(tmp_path))
    before = plan(A, B, gate=replace(GATE, over=("a.d", "b.d")), exhaustive=0.25)
    writer = Writer(store, "run")
    truth = Counter()
    for n in range(2000):
        who = subject(f"第{n}篇")
        low = {"a": dice.random() < 0.4, "b": dice.random() < 0.4}
        low["b"] = low["a"] if dice.random() < 0.7 else low["b"]
        truth["b"] += low["b"]
        answers = {name: scored(2 if each else 9) for name, each in low.items()}
        facts, _ = walk(before, who, answers)
        names = {key: name for name, key in before.keys(who, {}).items()}
        for key, outcome in facts.items():
            writer.append(a_fact(key, names[key], who, outcome))
    writer.flush()
    pairs = (("a", "j"), ("b", "j"))
    same = history.look(store, store.parts(), before, pairs, "none")
    assert not same.from_share and same.reached["a"] == 2000
    turned = history.look(store, store.parts(), replace(before, rubrics=(B, A)), pairs, "none")
    assert turned.from_share and 400 < turned.reached["b"] < 600 and turned.share.lacking == 0
    assert turned.ends("b") == pytest.approx(truth["b"] / 2000, abs=0.07)
    blind = history.look(store, store.parts(), replace(before, rubrics=(B, A), exhaustive=0.0), pairs, "none")
    assert blind.ends("b") < 0.7 * truth["b"] / 2000, "what early exit left is another sort of record"


def a_fact(key: bytes, name: str, who: Any, outcome: Any) -> Fact:
    home = who.digests["answer"]
    made = {
        "finish_reason": "stop",
        "attempt": 0,
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "generated_tokens": 1,
        "seconds": 0.1,
    }
    known = {"rubric": name, "rubric_fingerprint": name, "judge_fingerprint": "j", "sample": 0, "outcome": outcome}
    return Fact(key=key, record=record_digest(who.digests), home=home, **known, **made)


def test_looking_at_a_store_reads_means_per_rubric(write_job, tmp_path, ray_cluster):
    from coigw_judge.cli.main import main

    path = write_job(triplets(30), early_exit=False)
    assert main(["run", str(path)]) == 0
    job = load_job(path)
    stage = stages.begin(job, for_fill=True)
    store = Store(job.store)
    seen = history.look(store, store.parts(), stage.planned.plan, stage.planned.pairs, "short")
    table = store.read(("rubric", "generated_tokens", "prompt_tokens"))
    for name in ("answer", "query", "thought"):
        mine = table.filter(pa.compute.equal(table["rubric"], name)).to_pylist()
        assert seen.spent[name].facts == len(mine) == 30
        assert seen.spent[name].generated == pytest.approx(sum(row["generated_tokens"] for row in mine) / 30)
        assert seen.spent[name].prompt == pytest.approx(sum(row["prompt_tokens"] for row in mine) / 30)
    sizes = sum(part.size for part in store.parts())
    assert seen.bytes_each == pytest.approx(sizes / 90)
    assert history.look(store, store.parts(), stage.planned.plan, (("other", "judge"),), "short").records == 0
    others = history.look(store, store.parts(), stage.planned.plan, stage.planned.pairs, "none")
    assert others.records == 30 and others.spent == {}, "other reasons, other lengths; the same shares"
    some = history.look(store, store.parts(), stage.planned.plan, stage.planned.pairs, "short", most=30)
    assert 0 < some.records < 30, "a span of homes, and in it records whole"
    assert len({each.facts for each in some.spent.values()}) == 1


# Rates


@pytest.mark.parametrize(
    "judge, gpus",
    [
        ({"model": "Qwen/Qwen3-235B-A22B-FP8"}, 4),
        ({"model": "Qwen/Qwen3-235B-A22B"}, 8),
        ({"model": "Qwen/Qwen3-235B-A22B", "gpus_per_replica": 0}, 0),
        ({"model": "embedded"}, 0),
    ],
)
def test_a_model_that_spans_gpus_is_planned_so_also_where_there_are_none(write_job, judge, gpus):
    assert engine_of(load_job(write_job([], judge=judge)).config.judge).gpus_planned() == gpus


def test_a_given_rate_adds_prefill_and_decode():
    rates = speed.Rates(EstimateConfig(prefill=1000, decode=100))
    assert rates.source == "given" and rates.seconds(7, 5000, 300) == pytest.approx(8)
    assert rates.seconds(7, None, 300) is None and rates.seconds(0, 0, 0) == 0


def measured(**keys: Any) -> speed.Measured:
    stated = {
        "run": "job-20260101-000000-aa",
        "judge": "j",
        "device": "H100",
        "replicas": 2,
        "gpus": 4.0,
        "seconds": 100.0,
    }
    stated |= {"startup": 60.0, "requests": 1000, "prefilled": 150_000, "generated": 50_000}
    return speed.Measured(**{**stated, **keys})


def test_a_measured_rate_is_per_replica_and_falls_back_to_requests():
    rates = speed.Rates(EstimateConfig(), measured())
    assert rates.source == "measured" and rates.seconds(10, 1500, 500) == pytest.approx(2)
    assert rates.seconds(10, None, None) == pytest.approx(2)
    assert speed.Rates(EstimateConfig()).seconds(10, 1, 1) is None


def test_the_largest_fill_of_the_same_judge_on_as_many_gpus_counts(tmp_path):
    store = Store(str(tmp_path))
    assert speed.recall(store, "j", 4) is None
    for number, keys in enumerate(
        ({}, {"requests": 5000}, {"gpus": 8.0, "requests": 9000}, {"judge": "k", "requests": 9000})
    ):
        speed.keep(store, measured(run=f"job-20260101-00000{number}-aa", **keys))
    found = speed.recall(store, "j", 4)
    assert found is not None and found.requests == 5000
    (tmp_path / "rates" / "broken.json").write_text("{")
    with pytest.raises(FixStore, match=r"broken.json: is no measured rate"):
        speed.recall(store, "j", 4)


def test_a_fill_that_asked_nothing_or_whose_replicas_varied_measures_nothing():
    tally, config = (
        FillTally(outcomes={"a": Counter(scored=5)}, tokens=TokensSpent(prompt=900, cached=400, generated=50)),
        JudgeConfig(model="m"),
    )
    took = speed.of_fill("r", "j", "CPU", 0, config, {"fill": 2.0, "startup": 1.0}, tally)
    assert took is not None and (took.prefilled, took.generated, took.tokens_per_second) == (500, 50, 275)
    assert speed.of_fill("r", "j", "CPU", 0, config, {"fill": 2.0}, FillTally()) is None
    assert (
        speed.of_fill("r", "j", "CPU", 0, config.model_copy(update={"replicas": (1, 4)}), {"fill": 2.0}, tally) is None
    )


@pytest.mark.parametrize(
    "text", ["", "prefill=1", "prefill=1,prefill=2", "prefill=a,decode=2", "speed=1,decode=2", "1000"]
)
def test_a_rate_that_is_none_is_refused_with_the_way_to_write_it(text):
    with pytest.raises(FixJob, match="write prefill=TOKENS,decode=TOKENS"):
        speed.parse_rate(text)


def test_a_rate_of_zero_is_refused_by_the_job(write_job):
    job = write_job([])
    with pytest.raises(FixJob, match=r"estimate.prefill"):
        load_job(job, ["estimate.prefill=0", "estimate.decode=5"])
    with pytest.raises(FixJob, match="both prefill and decode"):
        load_job(job, ["estimate.prefill=10"])


# Afterwards


def a_manifest(estimate: PlannedFigures | None) -> Manifest:
    return Manifest(
        run="r",
        judge=Identity(engine="vllm", model="m", revision=None, fingerprint="f" * 32),
        asks=Asks(made=110),
        tokens=Tokens(prompt=950, prompt_cached=0, generated=40),
        seconds={"fill": 30.0},
        estimate=estimate,
    )


def test_the_error_is_of_what_was_planned_and_only_of_that():
    planned = PlannedFigures(
        requests=100,
        requests_at_most=100,
        prompt_tokens=1000,
        cached_tokens=0,
        generated_tokens=None,
        seconds=None,
        sampled=1,
        whole=False,
        replies_from={},
        rate_from="unknown",
    )
    found = estimate_error(a_manifest(planned))
    assert found == {"requests": 0.1, "prompt_tokens": -0.05, "cached_tokens": 0.0}
    assert estimate_error(a_manifest(None)) == {}


# Disk and text


def test_a_disk_that_is_too_small_is_said(tmp_path):
    (room,) = disk.rooms({str(tmp_path / "not" / "yet"): 1e18, str(tmp_path): 5.0, "s3://bucket/facts": 9.0})
    assert not room.fits and room.needed == 1e18 + 5 and len(room.paths) == 2
    made = SimpleNamespace(
        bytes=dict.fromkeys(("facts", "verdicts", "folders", "scan", "work"), 1e18),
        rooms=(room,),
        fact_bytes_from="facts",
    )
    text = "\n".join(estimate_text.disk_lines(made))
    assert "! DOES NOT FIT" in text and "make room" in text and str(tmp_path) in text


def test_a_reply_at_its_limits_fits_its_schema():
    one = rubric("r", dimensions=("d",), checks=("c",), notes=("n",))
    for reasons in ("none", "short", "full"):
        reply = disk.longest_reply(one.reply_schema(reasons), "雨停了。 修表匠")
        assert set(reply) == {"d", "c", "n"} and len(reply["n"]) == one.notes[0].max_chars
        if reasons != "none":
            assert len(reply["d"]["reason"]) == {"short": 80, "full": 400}[reasons]


def test_columns_stand_in_line_where_names_are_chinese():
    lines = aligned([("rubric", "to ask"), ["文章评分", "1,200"], ["answer", "7"]], indent="")
    assert len(set(map(cells, lines))) == 1
    assert lines[1].endswith("1,200") and lines[2].endswith("    7")


@pytest.mark.parametrize(
    "count, text", [(17, "17 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (5000 * 2**40, "5,000.0 TiB")]
)
def test_sizes_have_units(count, text):
    assert estimate_text.size(count) == text


def test_what_is_assumed_about_replies_is_said_with_the_setting(write_job, ray_cluster):
    judge = {"engine": "vllm", "model": "embedded"}
    long = made_of(load_job(write_job(triplets(3), judge=judge, reasons="full")))
    short = made_of(load_job(write_job(triplets(3), judge=judge)))
    assert {each.replies_from for each in short.rubrics} == {"assumed"}
    assert long.total("generated") > 2 * short.total("generated") > 0
    assert "ASSUMED for answer, query, thought: every reason takes its 80 characters" in estimate_text.as_text(short)


def test_gpu_hours_and_price_follow_from_the_given_rate(write_job, ray_cluster):
    judge = {"engine": "vllm", "model": "embedded", "gpus_per_replica": 4, "replicas": [1, 2]}
    rates = ["estimate.prefill=10", "estimate.decode=5", "estimate.price_per_gpu_hour=2.5"]
    made = made_of(load_job(write_job(triplets(3), judge=judge), rates))
    alone = made.prefilled / 10 + made.total("generated") / 5
    assert made.seconds == pytest.approx((alone, alone / 2))
    assert made.gpu_hours == pytest.approx((alone * 4 / 3600, alone * 4 / 3600))
    text = estimate_text.as_text(made)
    assert "as given, 10 prompt tokens prefilled and 5 generated per second and replica; not measured" in text
    assert f"price: {made.gpu_hours[0] * 2.5:,.2f}" in text and "1 to 2 replicas (4 GPUs each)" in text
    assert json.loads(json.dumps(made.as_json()))["totals"]["requests"] == 9


def test_an_estimate_key_changes_no_request(write_job, tmp_path: Path):
    from coigw_judge.job.fingerprints import plan_for_fill

    job, store = write_job([]), Store(str(tmp_path / "facts"))
    plain = plan_for_fill(load_job(job), store)
    rated = plan_for_fill(load_job(job, ["estimate.prefill=1", "estimate.decode=2"]), store)
    assert rated.plan.fingerprints == plain.plan.fingerprints
