"""The join in columns says of every record what plan and card say of it alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Row, genre_rubric, plan, rubric, scan_rows

from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan, Subject
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.long_text import HeadTail
from coigw_judge.prompting.request import Need
from coigw_judge.prompting.samples import REPEAT
from coigw_judge.records.record import Record, record_digest, to_record
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.select.verdicts import decide_bucket
from coigw_judge.standing import join
from coigw_judge.standing.join import JoinInput
from coigw_judge.store.fact import Fact
from coigw_judge.store.writer import Writer

GENRE = genre_rubric("诗歌", "散文")
GUIDED = rubric("guided", dimensions=("quality",), by_genre={"诗歌": "看断行", "散文": "看闲笔"})
PAIR = rubric("pair", reads=("query", "answer"), checks=("ok",))
LOOSE = rubric("loose", reads=("answer",), reads_if_present=("thought",), dimensions=("quality",))
LATER = rubric("later", notes=("summary",))
GATE = Gate(
    total=13,
    each=6,
    over=("guided.quality", "loose.quality"),
    require=("pair.ok",),
    review_each=1,
    tops={"guided.quality": 10, "loose.quality": 10},
)

rows = st.fixed_dictionaries(
    {"answer": st.sampled_from(["甲", "乙", "丙", "长" * 300, "短" * 300, " "])},
    optional={
        "query": st.sampled_from(["题", "目"]),
        "thought": st.just("思"),
        "genre": st.sampled_from(["诗歌", "散文", "小说"]),
    },
)
RESAMPLED = (
    Resampling(),
    Resampling(borderline=3),
    Resampling(count=2, borderline=4, use="mean"),
    Resampling(count=3, borderline=3, dropped=True),
)

means = st.none() | st.sampled_from([4.5, 5.999, 6.0, 8.25])
scores = st.builds(
    lambda n, mean: Scored(scores={"quality": float(n)}, expected={"quality": mean}), st.integers(4, 9), means
)
failed = st.sampled_from([Unscored(cause="malformed", detail="x"), Unscored(cause="truncated")])
answers = {
    "genre": st.sampled_from(["诗歌", "散文"]).map(lambda name: Scored(choices={"genre": name})) | failed,
    "guided": scores | failed,
    "loose": scores | failed,
    "pair": st.booleans().map(lambda ok: Scored(checks={"ok": ok})) | failed,
    "later": st.just(Scored(notes={"summary": "概"})),
}


def fill(some: Plan, view: JoinInput, records: list[Record], data: st.DataObject) -> dict[bytes, Any]:
    """Answer some of what the plan asks of each record, as a fill that was cut off would."""
    from coigw_judge.store.parts import Store

    facts: dict[bytes, Any] = {}
    writer = Writer(Store(view.store), "run")
    for record in records:
        subject = Subject(record.digests(), record.genre, record.chars)
        for _ in range(data.draw(st.integers(0, 8))):
            needs = some.next(subject, facts)
            for need in needs[: data.draw(st.integers(1, 9))]:  # a fill may end in the midst of a step
                facts[need.key] = data.draw(answers[need.rubric])
                writer.append(a_fact(need, subject, facts[need.key]))
    writer.flush()
    return facts


def a_fact(need: Need, subject: Subject, outcome: Any) -> Fact:
    return Fact(
        key=need.key, record=record_digest(subject.digests), home=subject.digests["answer"], rubric=need.rubric, rubric_fingerprint=need.rubric,
        judge_fingerprint="j", sample=need.sample, outcome=outcome, finish_reason="stop", attempt=0,
        prompt_tokens=1, cached_tokens=0, generated_tokens=1, seconds=0.1,
    )  # fmt: skip


def plain(outcome: Any) -> Any:
    """What of a further sample a decision may rest on."""
    return (outcome.scores, outcome.checks) if isinstance(outcome, Scored) else outcome


def deciding(card: Scorecard, use: str) -> Scorecard:
    """A card without what no decision rests on: of that a pattern has one record's, and others may have another's."""
    none: Any = {"notes": {}, "choices": {}} | ({"expected": {}} if use == "sampled" else {})
    return replace(card, facts={r: replace(f, **none) if isinstance(f, Scored) else f for r, f in card.facts.items()})


@settings(max_examples=40)
@given(
    st.lists(rows, max_size=12), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 3]), st.booleans(), st.sampled_from(RESAMPLED), st.sampled_from(["sampled", "expected"]), st.data(),
)  # fmt: skip
def test_joined_in_columns_or_alone_every_record_stands_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    given_rows: list[Row],
    genre_first: bool,
    early: bool,
    repeat: float,
    whole: float,
    per_bucket: int,
    cuts: bool,
    samples: Resampling,
    use: Any,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("bucket")
    policy = HeadTail(("answer", "query", "thought"), 600, 1000) if cuts else None
    asked = (GENRE, GUIDED, LOOSE, PAIR) if genre_first else (GUIDED, LOOSE, PAIR)
    resampled = samples if use == "sampled" else Resampling()  # a job may not have both
    some = plan(
        *asked,
        then=[LATER],
        gate=replace(GATE, use=use),
        early_exit=early,
        repeat=repeat,
        exhaustive=whole,
        head_tail=policy,
        samples=resampled,
    )
    store, scan = scan_rows(folder, [given_rows])
    pairs = tuple((r.name, "j") for r in (*some.rubrics, *some.then))
    view = JoinInput(
        store=store.root, scan=scan, plan=some, pairs=pairs, drop_duplicates=False, rows_per_bucket=per_bucket
    )
    records = [record for row in given_rows if isinstance(record := to_record(row, {}), Record)]
    facts = fill(some, view, records, data)
    seen = 0
    wanted = {}
    for number in range(view.buckets):
        found = join.read(view, number)
        decide_bucket(view, number, str(folder / "verdicts"))
        for at, row in enumerate(found.judged.tolist()):
            record = to_record(given_rows[found.rows["row"][row].as_py()], {})
            subject = Subject(record.digests(), record.genre, record.chars)
            standing = found.standings[found.pattern[at]]
            reached = some.reached(subject, facts)
            card = some.card(subject, facts)
            assert deciding(standing.reached.card, use) == deciding(card, use)
            assert (standing.final, standing.decision) == card.final(some.gate, complete=not reached.open)
            for needs in (lambda it: it.open, lambda it: it.open_repeat, lambda it: it.due):
                assert [need.rubric for need in needs(standing.reached)] == [need.rubric for need in needs(reached)]
            repeat = standing.reached.repeat
            assert (repeat is not None) == some.repeats(subject)
            assert repeat is None or deciding(repeat, use) == deciding(some.card_of(subject, facts, REPEAT), use)
            in_full = some.asked_in_full(subject)
            assert standing.reached.asked_in_full == in_full
            assert standing.beyond_early_exit == (len(some.beyond_early_exit(subject, facts)) if in_full else 0)
            assert standing.reached.waits() == reached.waits()
            assert found.genres[at].as_py() == some.genre(subject, facts)
            due = reached.due
            assert bool(standing.others) == bool(due)
            others = [each for asked in standing.others.values() for each in asked]
            assert [plain(facts.get(need.key)) for need in due] == [plain(each) for each in others]
            assert deciding(standing.reached.first, use) == deciding(some.card_of(subject, facts), use)
            place = (found.rows["split"][row].as_py(), found.rows["position"][row].as_py())
            wanted[place] = (card.scores(), card.spread, card.samples)
            seen += 1
        assert sum(each.count for each in found.standings) == len(found.judged)
    assert seen == len(records)
    if seen:
        check_verdicts(folder, wanted)


def check_verdicts(folder: Path, wanted: dict[tuple[int, int], Any]) -> None:
    """The columns of the verdicts hold the scores that the gate saw."""
    for row in pq.read_table(folder / "verdicts").to_pylist():
        scores, spread, samples = wanted.get((0, row["position"]), ({}, {}, {}))
        assert {name: row[name] for name in ("guided.quality", "loose.quality") if row[name] is not None} == scores
        assert dict(row["spread"] or ()) == spread
        assert row["samples"] == (max(samples.values(), default=1) if row["asked"] else None)


def test_further_samples_are_looked_up_for_those_near_a_threshold_alone(tmp_path: Path) -> None:
    gate = Gate(each=6, over=("guided.quality",), review_each=1, tops={"guided.quality": 10})
    some = plan(GUIDED, gate=gate, samples=Resampling(borderline=3))
    rows = [{"answer": f"第{n}篇"} for n in range(20)]
    store, scan = scan_rows(tmp_path, [rows])
    view = JoinInput(store=store.root, scan=scan, plan=some, pairs=(("guided", "j"),))
    known: dict[bytes, Any] = {}
    writer = Writer(store, "run")
    for n, row in enumerate(rows):
        subject = Subject(to_record(row, {}).digests(), None, 3)
        for need in some.next(subject, {}):
            known[need.key] = Scored(scores={"quality": 9.0 if n % 2 else 7.0})
            writer.append(a_fact(need, subject, known[need.key]))
    writer.flush()
    (far, near) = sorted(join.read(view, 0).standings, key=lambda each: len(each.reached.open))
    assert (far.count, far.reached.open, far.final, far.others) == (10, [], "kept", {})
    assert [(need.sample, need.temperature) for need in near.reached.open] == [(2, 0.7), (3, 0.7)]
    assert (near.count, near.final, near.near) == (10, "pending", True)
    every = join.read(view, 0, every_sample=True)
    assert [list(each.others) for each in every.standings] == [["guided"], ["guided"]]


def test_patterns_are_few_where_records_are_many(tmp_path: Path) -> None:
    some = plan(GUIDED, gate=Gate(each=6, over=("guided.quality",), tops={"guided.quality": 10}))
    store, scan = scan_rows(tmp_path, [[{"answer": f"第{n}篇"} for n in range(500)]])
    view = JoinInput(store=store.root, scan=scan, plan=some, pairs=(("guided", "j"),))
    assert len(join.read(view, 0).standings) == 1
