"""A sweep says of every gate of a grid what select under that gate says."""

import json
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.errors import FixJob
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.select import sweep

OVER = ("a.x", "a.y", "b.x")
GATE = Gate(total=20, each=6, over=OVER, tops=dict.fromkeys(OVER, 10))


def test_a_grid_is_read() -> None:
    assert sweep.parse_grid("total=44:46,each=6:7:0.5") == {"total": (44, 45, 46), "each": (6, 6.5, 7)}
    assert sweep.parse_grid("each=0:1:0.1")["each"][-1] == pytest.approx(1.0)
    assert sweep.parse_grid(" total=50 ") == {"total": (50,)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "total",
        "total=",
        "total=5:4",
        "each=1:2:0",
        "sum=1:2",
        "total=1:2,total=3:4",
        "each=a:b",
        "total=0:1e9",
        "each=0:100000",
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(FixJob, match="--sweep"):
        sweep.parse_grid(text)


number = st.integers(3, 10).map(float)
a = (
    st.none()
    | st.tuples(number, number).map(lambda s: Scored(scores={"x": s[0], "y": s[1]}))
    | st.just(Unscored(cause="truncated"))
)
b = st.none() | number.map(lambda s: Scored(scores={"x": s})) | st.just(Unscored(cause="malformed"))


@settings(max_examples=80)
@given(st.lists(st.tuples(a, b, st.booleans()), max_size=15))
def test_every_gate_keeps_what_it_would_keep_alone(records: list[tuple[Any, Any, bool]]) -> None:
    cards = [
        Scorecard({"a": one}, ("b",)) if lacks else Scorecard({"a": one, "b": other}) for one, other, lacks in records
    ]
    counted = [{text: 1} for text in map(sweep.card_as_json, cards)]
    grid = {"total": (15.0, 20.0, 27.0), "each": (4.0, 6.0, 8.0)}
    for found in sweep.yields(GATE, grid, counted):
        gate = Gate(total=found.total, each=found.each, over=OVER, tops=GATE.tops)
        decisions = [card.decide(gate).decision for card in cards]
        assert (found.kept, found.review, found.judged) == (
            decisions.count("kept"),
            decisions.count("review"),
            len(cards),
        )
        best = Scored(scores={"x": 10, "y": 10})
        hoped = [
            Scorecard({r: best if f is None else f for r, f in card.facts.items()}, card.not_applicable)
            for card in cards
        ]
        assert found.kept + found.possible == sum(card.decide(gate).decision == "kept" for card in hoped)


others = st.lists(
    st.none() | number.map(lambda s: Scored(scores={"x": s})) | st.just(Unscored(cause="malformed")), max_size=2
)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(a, b, others), max_size=12),
    st.sampled_from(
        [
            Resampling(borderline=3),
            Resampling(count=2, borderline=3, use="mean"),
            Resampling(count=3, borderline=3, dropped=True),
        ]
    ),
)
def test_every_gate_takes_the_samples_that_it_wants(records: list[tuple[Any, Any, Any]], samples: Resampling) -> None:
    """A gate near whose thresholds a record lies decides on all samples, and cannot tell yet where one is missing."""
    bands = Gate(total=20, each=6, over=OVER, tops=GATE.tops, review_each=1, review_total=2)
    cards = [Scorecard({"a": one, "b": other}) for one, other, _ in records]
    counted = [
        {sweep.card_as_json(card, {"b": further}): 1} for card, (_, _, further) in zip(cards, records, strict=True)
    ]
    for found in sweep.yields(bands, {"total": (15.0, 22.0), "each": (4.0, 6.0, 8.0)}, counted, samples):
        gate = replace(bands, total=found.total, each=found.each)
        kept = review = open_ = 0
        for card, (_, other, further) in zip(cards, records, strict=True):
            due = samples.due(card, gate)
            there = [each for each in further[: due.get("b", 1) - 1] if each is not None]
            if due.get("a") or len(there) < due.get("b", 1) - 1:
                open_ += 1
                continue
            scored = [other, *there] if due.get("b") else [other]
            values = [each.scores["x"] for each in scored if isinstance(each, Scored)]
            whole = (
                Scored(scores={"x": median(values) if samples.use == "median" else fmean(values)}) if values else other
            )
            decision = Scorecard({"a": card.facts["a"], "b": whole}).decide(gate).decision
            kept, review = kept + (decision == "kept"), review + (decision == "review")
            if decision == "pending" and not card.failed():
                best = Scored(scores={"x": 10, "y": 10})
                hoped = Scorecard({"a": card.facts["a"] or best, "b": whole or best})
                open_ += hoped.decide(gate).decision == "kept"
        assert (found.kept, found.review, found.possible) == (kept, review, open_)


def test_the_table_shows_ranges_where_facts_are_missing() -> None:
    cards = [
        Scorecard({"a": Scored(scores={"x": 9, "y": 9}), "b": None}),
        Scorecard({"a": Scored(scores={"x": 9, "y": 9}), "b": Scored(scores={"x": 9})}),
    ]
    counted = [{sweep.card_as_json(cards[0]): 3, sweep.card_as_json(cards[1]): 5}]
    text = sweep.as_text(sweep.yields(GATE, {"each": (8.0, 9.5)}, counted), 10)
    assert "each 8" in text and "5-8" in text and "8 judged rows (10 in all)" in text and "never asked" in text
    assert json.loads(sweep.card_as_json(cards[0]))[1] == ["b"]
