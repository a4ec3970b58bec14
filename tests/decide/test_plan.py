"""What a record still needs: plan.next against an oracle that answers every request."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import FAILED, LATER, PAIR, TRIPLET, A, B, C, oracles, plans, subjects
from small import genre_rubric, plan, rubric, subject, walk

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.replies.outcome import Scored, Unscored


@given(plans(), subjects, oracles())
def test_it_ends_and_a_second_walk_asks_nothing(some: Plan, who: object, answers: dict) -> None:
    facts, asked = walk(some, who, answers)
    assert len(asked) == len(set(asked)) <= 4
    assert some.next(who, facts) == []


@given(plans(), subjects, oracles())
def test_early_exit_decides_as_asking_everything_does(some: Plan, who: object, answers: dict) -> None:
    early, late = replace(some, early_exit=True), replace(some, early_exit=False, floor=None)
    some_facts, some_asked = walk(early, who, answers)
    all_facts, all_asked = walk(late, who, answers)
    assert set(some_asked) <= set(all_asked)
    one, _ = early.card(who, some_facts).final(early.gate, complete=True)
    other, _ = late.card(who, all_facts).final(late.gate, complete=True)
    assert one == other != "pending"


@given(plans(), subjects, oracles(), st.integers(0, 3))
def test_a_walk_that_was_broken_off_goes_on_where_it_stopped(some: Plan, who: object, answers: dict, stop: int) -> None:
    facts, asked = walk(some, who, answers)
    part = dict(list(facts.items())[:stop])
    again: list[str] = []
    while needs := some.next(who, part):
        again += [need.rubric for need in needs]
        part |= {need.key: answers[need.rubric] for need in needs}
    assert again == asked[stop:]
    assert part == facts


@given(plans(), subjects, oracles())
def test_then_is_asked_of_kept_and_review_alone(some: Plan, who: object, answers: dict) -> None:
    facts, asked = walk(some, who, answers)
    decision = some.card(who, facts).decide(some.gate).decision
    assert ("later" in asked) == (decision in ("kept", "review"))
    assert "later" not in asked[:-1]


@given(plans(), subjects, oracles())
def test_keys_name_what_next_asks(some: Plan, who: object, answers: dict) -> None:
    facts, asked = walk(some, who, answers)
    keys = some.keys(who, facts)
    assert {keys[name] for name in asked} == set(facts)
    assert set(keys) == {r.name for r in (*some.rubrics, *some.then) if all(f in who.digests for f in r.reads)}
    assert sorted(some.first_keys(who)) == sorted(keys.values())


@given(plans(), subjects, oracles())
def test_a_failed_judge_is_never_a_bad_article(some: Plan, who: object, answers: dict) -> None:
    """Whether a fact failed or scored at its best, nobody is dropped for it."""
    failed = dict.fromkeys(answers, FAILED)
    facts, _ = walk(some, who, failed)
    final, decision = some.card(who, facts).final(some.gate, complete=True)
    best = {
        r.name: Scored(scores={d.key: 10 for d in r.dimensions}, checks={c.key: True for c in r.checks})
        for r in (A, B, C)
    }
    top, _ = walk(replace(some, then=()), who, best)
    if final == "dropped":
        assert some.card(who, top).decide(some.gate).decision == "dropped"
    assert decision.total is None or not some.gate.over


@pytest.mark.parametrize(("score", "asked"), [(9, ["a", "later"]), (7, ["a", "later"]), (6, ["a"])])
def test_then_follows_a_review_too(score: float, asked: list[str]) -> None:
    some = plan(A, then=[LATER], gate=Gate(each=8, over=("a.x", "a.y"), review_each=1))
    answers = {"a": Scored(scores={"x": score, "y": 9}), "later": Scored(notes={"n": "注"})}
    assert walk(some, PAIR, answers)[1] == asked


def test_rubrics_are_asked_one_by_one_with_early_exit_and_together_without() -> None:
    some = plan(A, B, C)
    assert [need.rubric for need in some.next(TRIPLET, {})] == ["a"]
    assert [need.rubric for need in replace(some, early_exit=False).next(TRIPLET, {})] == ["a", "b", "c"]


def test_what_was_asked_out_of_turn_is_not_asked_again() -> None:
    some = plan(A, B, C)
    keys = some.keys(TRIPLET, {})
    facts = {keys["a"]: Scored(scores={"x": 9, "y": 9}), keys["c"]: FAILED}
    assert [need.rubric for need in some.next(TRIPLET, facts)] == ["b"]


@pytest.mark.parametrize(("floor", "asked"), [(None, ["a"]), (6, ["a", "b"]), (7, ["a", "b"]), (8, ["a"])])
def test_a_floor_goes_on_asking_unless_a_score_lies_below_it(floor: float | None, asked: list[str]) -> None:
    gate = Gate(each=8, over=("a.x", "a.y", "b.x"))
    some = plan(A, B, gate=gate, floor=floor)
    answers = {"a": Scored(scores={"x": 7, "y": 9}), "b": Scored(scores={"x": 9}, checks={"ok": True})}
    assert walk(some, PAIR, answers)[1] == asked


@pytest.mark.parametrize(
    ("who", "asked"),
    [(subject(), ["a"]), (PAIR, ["a", "b"]), (TRIPLET, ["a", "b", "c"]), (subject(thought="思"), ["a"])],
)
def test_rubrics_that_do_not_apply_are_not_asked(who: object, asked: list[str]) -> None:
    good = {
        "a": Scored(scores={"x": 9, "y": 9}),
        "b": Scored(scores={"x": 9}, checks={"ok": True}),
        "c": Scored(checks={"ok": True, "sound": True}),
    }
    some = plan(A, B, C)
    facts, found = walk(some, who, good)
    assert found == asked
    assert set(some.card(who, facts).not_applicable) == {"a", "b", "c"} - set(asked)


def test_an_optional_field_is_shown_where_it_is_there() -> None:
    either = rubric("e", reads_if_present=("thought",), notes=("n",))
    some = plan(either)
    assert some.keys(subject(), {}).keys() == some.keys(subject(thought="思"), {}).keys() == {"e"}
    assert some.keys(subject(), {}) != some.keys(subject(thought="思"), {})
    assert some.keys(subject(), {}) == some.keys(PAIR, {}), "a field that it does not read is none of its business"


def test_what_does_not_apply_leaves_each_and_require_but_not_a_total() -> None:
    good = {"a": Scored(scores={"x": 9, "y": 9}), "b": Scored(scores={"x": 9}, checks={"ok": True})}
    each = plan(A, B, gate=Gate(each=8, over=("a.x", "a.y", "b.x"), require=("b.ok",)))
    facts, _ = walk(each, subject(), good)
    assert each.card(subject(), facts).decide(each.gate).decision == "kept"
    total = replace(each, gate=replace(each.gate, total=25, tops=dict.fromkeys(each.gate.over, 10)))
    assert total.next(subject(), {}) == [], "no score can make up for what does not apply"
    decision = total.card(subject(), facts).decide(total.gate)
    assert decision.decision == "dropped"
    assert [reason.text for reason in decision.reasons] == ["total 18 < 25", "does not apply: b"]
    assert [reason.kind for reason in decision.reasons] == ["total", "not_applicable"]


def test_a_record_to_which_nothing_of_the_gate_applies_has_not_passed_it() -> None:
    some = plan(A, B, gate=Gate(each=8, over=("b.x",)))
    decision = some.card(subject(), {}).decide(some.gate)
    assert decision.decision == "dropped"
    assert [reason.text for reason in decision.reasons] == ["no rubric of the gate applies (b)"]


def genre_plan() -> tuple[Plan, dict[str, Scored | Unscored]]:
    guided = rubric("g", dimensions=("x",), by_genre={"诗歌": "诗不问情节", "散文": "看取舍"})
    answers = {"genre": Scored(choices={"genre": "诗歌"}), "g": Scored(scores={"x": 9})}
    return plan(genre_rubric("诗歌", "散文"), guided), answers


@pytest.mark.parametrize("early_exit", [True, False])
def test_a_missing_genre_is_asked_first_and_guides_the_rest(early_exit: bool) -> None:
    some, answers = genre_plan()
    some = replace(some, early_exit=early_exit)
    assert [need.rubric for need in some.next(subject(), {})] == ["genre"]
    facts, asked = walk(some, subject(), answers)
    assert asked == ["genre", "g"]
    assert some.genre(subject(), facts) == "诗歌"
    assert (
        some.keys(subject(), facts)["g"] == some.keys(subject(genre="诗歌"), {})["g"] != some.keys(subject(), {})["g"]
    )
    assert some.first_keys(subject()) == [some.keys(subject(), {})["genre"]]


def test_the_inputs_own_genre_goes_before_the_judges() -> None:
    some, answers = genre_plan()
    facts, _ = walk(some, subject(genre="散文"), answers)
    assert some.genre(subject(genre="散文"), facts) == "散文"
    assert [need.guidance for need in plan(some.rubrics[1]).next(subject(genre="散文"), {})] == ["看取舍"]


def test_nobody_waits_for_a_genre_that_the_input_gives() -> None:
    some = replace(genre_plan()[0], early_exit=False)
    assert [need.rubric for need in some.next(subject(genre="散文"), {})] == ["genre", "g"]


def test_the_genre_is_asked_without_guidance() -> None:
    guided = genre_rubric("诗歌", "散文").model_copy(update={"by_genre": {"诗歌": "看断行"}})
    who = subject(genre="诗歌")
    assert plan(guided).next(who, {})[0].guidance is None
    assert walk(plan(guided), subject(), {"genre": Scored(choices={"genre": "诗歌"})})[1] == ["genre"]


def test_a_genre_that_failed_guides_nobody_and_blocks_nobody() -> None:
    some, answers = genre_plan()
    facts, asked = walk(some, subject(), {**answers, "genre": FAILED})
    assert asked == ["genre", "g"]
    assert some.genre(subject(), facts) is None


def test_the_judges_genre_guides_nobody_where_it_is_not_asked_first() -> None:
    some, answers = genre_plan()
    turned = plan(*some.rubrics[::-1])
    facts, asked = walk(turned, subject(), answers)
    assert asked == ["g", "genre"]
    assert turned.genre(subject(), facts) is None
    assert all(need.guidance is None for need in turned.next(subject(), {}))


def test_the_category_guides_where_the_genre_is_not_named() -> None:
    guided = rubric("g", dimensions=("x",), by_genre={"搞笑文学": "看包袱"})
    some = plan(guided)
    assert some.next(subject(genre="谐音梗"), {})[0].guidance == "看包袱"
    assert some.next(subject(genre="诗歌"), {})[0].guidance is None


GATE = Gate(each=8, over=("a.x", "b.x"), require=("c.ok",), tops={"a.x": 10, "b.x": 10})


@pytest.mark.parametrize(
    ("facts", "complete", "final"),
    [
        ({"a": Scored(scores={"x": 9}), "b": Scored(scores={"x": 9}), "c": Scored(checks={"ok": True})}, True, "kept"),
        ({"a": Scored(scores={"x": 7}), "b": None, "c": None}, True, "dropped"),
        ({"a": Scored(scores={"x": 7}), "b": FAILED, "c": None}, True, "dropped"),  # decided without what failed
        ({"a": Scored(scores={"x": 9}), "b": FAILED, "c": Scored(checks={"ok": True})}, True, "unscored"),
        ({"a": Scored(scores={"x": 9}), "b": Scored(scores={"x": 9}), "c": FAILED}, True, "unscored"),
        ({"a": Scored(scores={"x": 9}), "b": FAILED, "c": None}, False, "pending"),
        ({"a": Scored(scores={"x": 9}), "b": None, "c": None}, False, "pending"),
        ({"a": Scored(scores={"x": 9}), "b": None, "c": None}, True, "pending"),  # a defect, and said to be one
    ],
)
def test_final_says_unscored_only_where_what_failed_decides(facts: dict, complete: bool, final: str) -> None:
    assert Scorecard(facts).final(GATE, complete)[0] == final


@pytest.mark.parametrize(
    ("removal", "final", "action"),
    [
        (True, "kept", "accept"),
        (True, "dropped", "refine"),
        (True, "review", None),
        (True, "unscored", None),
        (False, "dropped", "remove"),
        (False, "kept", "remove"),
    ],
)
def test_action_is_what_people_do_next(removal: bool, final: str, action: str | None) -> None:
    card = Scorecard({"removal": Scored(checks={"facts": removal}), "a": Scored(checks={"ok": False})})
    assert card.action(final) == action


def test_a_card_names_items_by_rubric_and_leaves_out_what_failed() -> None:
    full = Scored(scores={"x": 8}, reasons={"x": "因"}, checks={"ok": True}, choices={"k": "甲"}, notes={"n": "注"})
    card = Scorecard({"a": full, "b": FAILED, "c": None}, ("d",))
    assert (card.scores(), card.checks(), card.choices()) == ({"a.x": 8}, {"a.ok": True}, {"a.k": "甲"})
    assert (card.reasons(), card.notes(), card.failed()) == ({"a.x": "因"}, {"a.n": "注"}, {"b": FAILED})


def test_a_gate_over_every_score_stays_one_on_a_card() -> None:
    card = Scorecard({"a": Scored(scores={"x": 3})})
    assert card.decide(Gate(each=8)).decision == "dropped"
