"""The gate: the paper's numbers, what is not known, and laws that hold for any scores."""

import math
from fractions import Fraction
from typing import Any

import pytest
from gates import SIX, cards, check_values, gates, score
from hypothesis import given
from hypothesis import strategies as st

from coigw_judge.decide.gate import Decision, Gate

PAPER = Gate(total=50, each=8, over=tuple(SIX), tops=dict.fromkeys(SIX, 10))
RANK = {"dropped": 0, "review": 1, "kept": 2}


def of(*scores: float | None) -> dict[str, float | None]:
    return dict(zip(SIX, scores, strict=True))


@pytest.mark.parametrize(
    ("scores", "decision", "reasons"),
    [
        ((8, 8, 8, 8, 8, 8), "dropped", ["total 48 < 50"]),
        ((9, 8, 8, 8, 8, 8), "dropped", ["total 49 < 50"]),
        ((9, 9, 8, 8, 8, 8), "kept", []),
        ((10, 8, 8, 8, 8, 8), "kept", []),
        ((10, 10, 10, 10, 10, 7), "dropped", ["thought.creativity 7 < 8"]),
        ((7, 8, 8, 8, 8, 8), "dropped", ["answer.quality 7 < 8", "total 47 < 50"]),
        ((10, 10, 10, 10, 10, 7.5), "dropped", ["thought.creativity 7.5 < 8"]),
    ],
)
def test_the_papers_gate(scores: tuple[float, ...], decision: str, reasons: list[str]) -> None:
    found = PAPER.decide(of(*scores))
    assert found.decision == decision
    assert [reason.text for reason in found.reasons] == reasons
    assert found.total == sum(scores)


@pytest.mark.parametrize(
    ("scores", "decision"),
    [
        ((8, 8, 8, 8, 8, 8), "review"),  # total 48: two below
        ((8, 8, 8, 8, 8, 7), "dropped"),  # total 47: three below
        ((10, 10, 10, 10, 10, 7), "review"),  # one dimension, one below
        ((10, 10, 10, 10, 10, 6), "dropped"),
        ((9, 9, 8, 8, 8, 8), "kept"),
    ],
)
def test_the_review_band(scores: tuple[float, ...], decision: str) -> None:
    gate = Gate(total=50, each=8, over=tuple(SIX), review_total=2, review_each=1)
    assert gate.decide(of(*scores)).decision == decision


def test_review_says_what_the_gate_missed() -> None:
    found = Gate(each=8, review_each=1).decide({"a": 7, "b": 9})
    assert found == Decision("review", found.reasons, 16)
    assert [(reason.kind, reason.text) for reason in found.reasons] == [("each", "a 7 < 8")]


def test_each_may_differ_by_dimension_and_leaves_the_others_free() -> None:
    gate = Gate(each={"a": 8, "b": 6.5})
    assert gate.decide({"a": 8, "b": 6.5, "c": 0}).decision == "kept"
    assert gate.decide({"a": 8, "b": 6.4, "c": 10}).decision == "dropped"
    assert (gate.floor("a"), gate.floor("c")) == (8, None)


def test_a_sum_is_at_most_so_much_only_where_a_score_of_it_is_not_known() -> None:
    gate = Gate(total=16, over=("a", "b"), require=("c.one",), tops={"a": 10, "b": 10})
    assert [reason.text for reason in gate.decide({"a": 7, "b": 8}).reasons] == ["total 15 < 16"]
    assert [reason.text for reason in gate.decide({"a": 5}).reasons] == ["total at most 15 < 16"]


def test_over_names_what_counts() -> None:
    gate = Gate(total=16, each=8, over=("a", "b"))
    assert gate.decide({"a": 8, "b": 8, "c": 0}) == Decision("kept", (), 16)
    assert gate.decide({"a": 8, "c": 10}).decision == "pending"


@pytest.mark.parametrize(
    ("values", "decision"), [((True, True), "kept"), ((True, False), "dropped"), ((True, None), "pending")]
)
def test_required_checks_must_be_true_and_no_band_excuses_them(values: tuple[bool | None, ...], decision: str) -> None:
    gate = Gate(require=("c.one", "c.two"), review_total=100, review_each=100)
    found = gate.decide({"a": 3}, dict(zip(gate.require, values, strict=True)))
    assert found.decision == decision
    if decision == "dropped":
        assert [(reason.kind, reason.text) for reason in found.reasons] == [("require", "c.two is false")]


def test_checks_that_are_not_required_do_not_count() -> None:
    assert Gate(each=8).decide({"a": 9}, {"c.one": False}).decision == "kept"


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_is_not_known_is_pending_and_has_no_total(nothing: float | None) -> None:
    found = PAPER.decide(of(9, 9, 8, 8, 8, nothing))
    assert (found.decision, found.total) == ("pending", None)
    assert [(reason.kind, reason.text) for reason in found.reasons] == [("unknown", "thought.creativity is not known")]


def test_a_total_out_of_reach_decides_early_by_the_scales_top() -> None:
    assert PAPER.decide(of(8, 8, 8, None, None, None)).decision == "pending"  # 54 at the most
    low = PAPER.decide(of(8, 1, 8, None, None, None))
    assert [reason.text for reason in low.reasons] == ["answer.creativity 1 < 8", "total at most 47 < 50"]
    assert (low.decision, low.total) == ("dropped", None)
    only_total = Gate(total=50, over=tuple(SIX), tops=dict.fromkeys(SIX, 10))
    assert only_total.decide(of(4, 5, None, None, None, None)).decision == "dropped"  # 49 at the most
    assert only_total.decide(of(4, 6, None, None, None, None)).decision == "pending"  # 50 at the most
    assert only_total.decide(of(4, 5, None, None, None, None)).reasons[0].text == "total at most 49 < 50"


def test_without_tops_a_total_can_still_be_reached() -> None:
    assert Gate(total=50, over=("a", "b")).decide({"a": 0}).decision == "pending"


@pytest.mark.parametrize(
    ("scores", "total", "decision"),
    [
        ([8.5, 8.5, 8.5, 8.5, 8, 8], 50, "kept"),
        ([8.5, 8.5, 8.5, 8, 8, 8], 50, "dropped"),  # 49.5 is not rounded up
        ([25 / 3] * 6, 50, "kept"),
        ([1 / 3] * 3, 1, "kept"),
        ([0.1] * 10, 1, "kept"),  # a plain sum would say 0.9999999999999999
        ([49.999999999], 50, "dropped"),
        ([49.5], 49.5, "kept"),
    ],
)
def test_totals_are_compared_unrounded(scores: list[float], total: float, decision: str) -> None:
    assert Gate(total=total).decide({f"d{n}": value for n, value in enumerate(scores)}).decision == decision


@given(gates(), cards(), check_values(), st.randoms())
def test_the_order_of_names_decides_nothing(gate: Gate, scores: dict, checks: dict, random: Any) -> None:
    names = list(scores)
    random.shuffle(names)
    shuffled = {name: scores[name] for name in names}
    turned = Gate(
        gate.total, gate.each, tuple(names), gate.require[::-1], gate.review_total, gate.review_each, gate.tops
    )
    one, other = gate.decide(scores, checks), turned.decide(shuffled, dict(reversed(checks.items())))
    assert (one.decision, one.total) == (other.decision, other.total)
    assert set(one.reasons) == set(other.reasons)


@given(gates(), cards(score), check_values(st.booleans()), st.sampled_from(SIX[:4]), st.floats(0, 10))
def test_a_higher_score_never_makes_it_worse(gate: Gate, scores: dict, checks: dict, name: str, more: float) -> None:
    raised = {**scores, name: min(10, scores[name] + more)}
    assert RANK[gate.decide(raised, checks).decision] >= RANK[gate.decide(scores, checks).decision]


@given(gates(), cards(score), check_values(st.booleans()), st.floats(0, 10), st.floats(0, 10))
def test_a_lower_threshold_never_makes_it_worse(
    gate: Gate, scores: dict, checks: dict, less_total: float, less_each: float
) -> None:
    each = {name: gate.floor(name) for name in gate.over or ()}
    lower = Gate(
        total=None if gate.total is None else gate.total - less_total,
        each={name: floor - less_each for name, floor in each.items() if floor is not None},
        over=gate.over,
        require=gate.require[:1],
        review_total=gate.review_total,
        review_each=gate.review_each,
        tops=gate.tops,
    )
    assert RANK[lower.decide(scores, checks).decision] >= RANK[gate.decide(scores, checks).decision]


@given(gates(), cards(), check_values(), cards(score), check_values(st.booleans()))
def test_dropped_early_is_dropped_whatever_comes(gate: Gate, part: dict, some: dict, rest: dict, others: dict) -> None:
    if gate.decide(part, some).decision != "dropped":
        return
    full = {name: rest[name] if value is None else value for name, value in part.items()}
    known = {name: others[name] if value is None else value for name, value in some.items()}
    assert gate.decide(full, known).decision == "dropped"


@given(gates(), cards(), check_values())
def test_pending_means_that_the_best_would_pass(gate: Gate, scores: dict, checks: dict) -> None:
    found = gate.decide(scores, checks)
    best = gate.decide(
        {name: 10 if value is None else value for name, value in scores.items()},
        {name: True if value is None else value for name, value in checks.items()},
    )
    unknown = None in scores.values() or any(checks[name] is None for name in gate.require)
    if found.decision == "pending":
        assert unknown
        assert best.decision in ("kept", "review")
    if found.decision == "dropped" and unknown:
        assert best.decision == "dropped"
    if not unknown:
        assert found.decision != "pending"


@given(gates(), cards(), check_values())
def test_whoever_is_not_kept_is_told_why_and_never_by_what_is_not_known(gate: Gate, scores: dict, checks: dict) -> None:
    found = gate.decide(scores, checks)
    assert (found.decision == "kept") == (not found.reasons)
    for reason in found.reasons:
        if reason.kind in ("each", "require"):
            name = reason.text.split()[0]
            assert {**scores, **checks}[name] is not None


@given(st.lists(st.fractions(0, 10, max_denominator=12), min_size=1, max_size=8), st.integers(0, 60))
def test_the_total_is_the_exact_sum_rounded_once(scores: list[Fraction], total: int) -> None:
    values = {f"d{n}": float(value) for n, value in enumerate(scores)}
    exact = float(sum(map(Fraction, values.values())))
    found = Gate(total=total).decide(values)
    assert found.total == exact
    assert (found.decision == "kept") == (exact >= total)
