"""The order of asks: the cheapest one against brute force, what may be said of it, and the share that tells rates."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plans import A, B, C, oracles, plans, subjects
from small import genre_rubric, plan, rubric, stable, subject, walk

from coigw_judge.decide.ask_order import can_end, fewest_fields, tied
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan, Subject
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.estimate.ask_order import suggestion
from coigw_judge.estimate.ask_order.cheapest import Suggestion, suggest
from coigw_judge.estimate.ask_order.lengths import Lengths
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.records.record import record_digest
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.report import page
from coigw_judge.standing import asked_in_full
from coigw_judge.standing.asked_in_full import AskedInFull, ShareCounts, add_card, enough, of_records, read

NOTE = rubric("n", reads=("query", "answer", "thought"), notes=("n",))
GENRE = genre_rubric("诗歌", "散文")
FIELD_TOKENS = {"answer": 1000.0, "query": 150.0, "thought": 600.0}


# The share that is asked in full


@given(plans(), subjects, oracles(), st.sampled_from([0.0, 0.3, 1.0]))
def test_asking_in_full_changes_no_decision_and_asks_what_early_exit_spares(
    some: Plan, who: Subject, answers: dict, share: float
) -> None:
    some = replace(some, exhaustive=share)
    lean = replace(some, exhaustive=0.0)
    facts, asked = walk(some, who, answers)
    fewer, spared = walk(lean, who, answers)
    final, _ = some.card(who, facts).final(some.gate, complete=True)
    assert final == lean.card(who, fewer).final(some.gate, complete=True)[0]
    assert set(fewer) <= set(facts)
    if some.asked_in_full(who):
        everything, _ = walk(replace(lean, early_exit=False), who, answers)
        assert set(facts) == set(everything)
        assert set(some.beyond_early_exit(who, facts)) == set(asked) - set(spared) - {"later"}
    else:
        assert asked == spared
    in_share = SampleKind.IN_FULL.draws(record_digest(who.digests), share)
    assert some.asked_in_full(who) == (some.early_exit and in_share)


def test_in_full_is_asked_at_once_and_the_second_sample_is_not() -> None:
    some = plan(A, B, C, exhaustive=1.0, repeat=1.0, gate=Gate(each=8, over=("a.x",)))
    triplet = subject(query="题", thought="思")
    assert [need.rubric for need in some.next(triplet, {})] == ["a", "b", "c"]
    low = {"a": Scored(scores={"x": 1, "y": 1}), "b": Scored(scores={"x": 1}), "c": Scored()}
    _, asked = walk(some, triplet, low)
    assert asked == ["a", "b", "c", "a"], "of a second sample only what the decision needs"


def test_the_shares_are_as_large_as_said_and_do_not_hang_together() -> None:
    digests = [stable(f"记录{n}") for n in range(40_000)]
    chosen = [SampleKind.IN_FULL.draws(each, 0.05) for each in digests]
    repeated = [SampleKind.REPEAT.draws(each, 0.1) for each in digests]
    both = sum(a and b for a, b in zip(chosen, repeated, strict=True))
    assert sum(chosen) == pytest.approx(2000, rel=0.1) and both == pytest.approx(200, rel=0.3)
    assert all(SampleKind.IN_FULL.draws(each, 0.06) for each, there in zip(digests, chosen, strict=True) if there)


# The cheapest order


def lengths(rubrics: Sequence[Rubric], tasks: Sequence[float], replies: Sequence[float], weight: float) -> Lengths:
    names = [r.name for r in rubrics]
    shown = {r.name: [(f, FIELD_TOKENS[f]) for f in r.fields] for r in rubrics}
    return Lengths(
        shown=shown,
        tasks=dict(zip(names, tasks, strict=True)),
        replies=dict(zip(names, replies, strict=True)),
        weight=weight,
    )


def by_walking(
    some: Plan, order: Sequence[str], cards: Sequence[tuple[Subject, dict]], given_lengths: Lengths
) -> float:
    """Mean tokens per record when the plan itself is walked in an order: what was asked, request by request."""
    by_name = {r.name: r for r in some.rubrics}
    walked = replace(some, rubrics=tuple(by_name[name] for name in order), then=(), exhaustive=0.0)
    total = 0.0
    for who, answers in cards:
        shown: set[tuple[str, ...]] = set()
        for name in walk(walked, who, answers)[1]:
            fields = by_name[name].fields
            new = [n for n in range(len(fields)) if fields[: n + 1] not in shown]
            total += sum(FIELD_TOKENS[fields[n]] for n in new)
            total += given_lengths.tasks[name] + given_lengths.weight * given_lengths.replies[name]
            shown |= {fields[: n + 1] for n in range(len(fields))}
    return total / len(cards)


def share_of(some: Plan, cards: Iterable[Scorecard], records: int = 1) -> AskedInFull:
    share = ShareCounts()
    for card in cards:
        add_card(share, some, card, records)
    return read(share)


def known_of(some: Plan, cards: Sequence[tuple[Subject, dict]]) -> AskedInFull:
    whole = replace(some, early_exit=False, then=())
    return share_of(some, (whole.card(who, walk(whole, who, answers)[0]) for who, answers in cards))


@settings(max_examples=40)
@given(
    plans(),
    st.lists(st.tuples(subjects, oracles()), min_size=1, max_size=12),
    st.sampled_from(["", "note", "genre"]),
    st.data(),
)
def test_the_suggested_order_is_the_cheapest_of_all(some: Plan, cards: list, extra: str, data: st.DataObject) -> None:
    """Against every permutation, each walked by the plan itself; those of rubrics that can end nothing included."""
    more = {"": (), "note": (NOTE,), "genre": (GENRE,)}[extra]
    some = replace(
        plan(*more, *some.rubrics, gate=some.gate, floor=some.floor),
        fingerprints=some.fingerprints | {r.name: r.name for r in more},
    )
    cards = [(who, answers | {"n": Scored(), "genre": Scored(choices={"genre": "诗歌"})}) for who, answers in cards]
    if extra == "genre":  # asked of whoever has none, even where nothing of the gate applies; which, no card tells
        cards = [(who, answers) for who, answers in cards if not some.ends(some.card(who, {}))]
        assume(cards)
    tokens = st.integers(1, 2000)
    count = len(some.rubrics)
    given_lengths = lengths(
        some.rubrics,
        data.draw(st.lists(tokens, min_size=count, max_size=count)),
        data.draw(st.lists(tokens, min_size=count, max_size=count)),
        data.draw(st.sampled_from([1.0, 7.5])),
    )
    listed = [r.name for r in some.rubrics]
    orders = [order for order in permutations(listed) if extra != "genre" or order[0] == "genre"]
    costs = {order: by_walking(some, order, cards, given_lengths) for order in orders}
    made = suggest(some, known_of(some, cards), given_lengths)
    assert made.tokens_listed == pytest.approx(costs[tuple(listed)])
    assert made.tokens_suggested == pytest.approx(min(costs.values()))
    if made.suggested:
        assert costs[made.suggested] == pytest.approx(min(costs.values()))
    if made.why == "listed":
        assert costs[tuple(listed)] == pytest.approx(min(costs.values()))


NAMES = ("a", "b", "c")
FREE = [rubric(name, dimensions=("d",)) for name in NAMES]
GATE = Gate(each=8, over=tuple(f"{name}.d" for name in NAMES), tops=dict.fromkeys((f"{name}.d" for name in NAMES), 10))


def crawl(ends: dict[str, float], count: int, seed: int = 1) -> AskedInFull:
    """Records whose rubrics fail independently at known rates."""
    dice, cards = random.Random(seed), []
    some = plan(*(rubric(name, dimensions=("d",)) for name in ends), gate=gate_of(ends))
    for _ in range(count):
        facts = {name: Scored(scores={"d": 7.0 if dice.random() < share else 9.0}) for name, share in ends.items()}
        cards.append(Scorecard(facts))
    return share_of(some, cards)


def gate_of(names: Sequence[str]) -> Gate:
    over = tuple(f"{name}.d" for name in names)
    return Gate(each=8, over=over, tops=dict.fromkeys(over, 10))


def alike(names: Sequence[str], tokens: float = 100) -> Lengths:
    """Requests that share nothing and cost the same."""
    return Lengths(shown=dict.fromkeys(names, ()), tasks=dict.fromkeys(names, tokens))


def test_the_likeliest_to_end_per_token_goes_first_as_a_database_orders_predicates() -> None:
    found = crawl({"a": 0.1, "b": 0.6, "c": 0.3}, 2000)
    some = plan(*FREE, gate=GATE)
    made = suggest(some, found, alike(NAMES))
    assert made.suggested == ("b", "c", "a") and made.why == ""
    assert made.tokens_listed == pytest.approx(100 * (1 + 0.9 + 0.9 * 0.4), rel=0.05)
    assert made.tokens_suggested == pytest.approx(100 * (1 + 0.4 + 0.4 * 0.7), rel=0.05)
    assert 0 < made.low < made.saving < made.high
    assert [rate.ends for rate in made.rates] == pytest.approx([0.1, 0.6, 0.3], abs=0.04)
    dear = replace(alike(NAMES), tasks={"a": 10.0, "b": 1000.0, "c": 100.0})
    assert suggest(some, found, dear).suggested == ("a", "c", "b"), "0.1 / 10 > 0.3 / 100 > 0.6 / 1000"


def test_a_sum_that_only_two_can_miss_is_seen_by_sets() -> None:
    """Neither a nor b ends a record alone, together they end most; c ends a few."""
    gate = Gate(total=20, over=GATE.over, tops=GATE.tops)
    facts = [{"a": 4.0, "b": 4.0, "c": 10.0}] * 80 + [{"a": 10.0, "b": 10.0, "c": 10.0}] * 20
    some = plan(FREE[0], FREE[2], FREE[1], gate=gate)
    cards = (Scorecard({n: Scored(scores={"d": v}) for n, v in each.items()}) for each in facts)
    made = suggest(some, share_of(some, cards), alike(NAMES))
    assert made.suggested == ("a", "b", "c") and [rate.ends for rate in made.rates] == [0, 0, 0]


def test_equals_stay_as_listed() -> None:
    found = crawl(dict.fromkeys(NAMES, 0.5), 4000)
    even = AskedInFull(tuple((card, 100) for card, _ in found.cards))
    for order in permutations(FREE):
        made = suggest(plan(*order, gate=GATE), even, alike(NAMES))
        assert (made.why, made.saving) == ("listed", 0)


def unsure() -> AskedInFull:
    """A few records at equal rates of which another order than a, b, c happens to look better."""
    some = plan(*FREE, gate=GATE)
    drawn_ones = (crawl(dict.fromkeys(NAMES, 0.4), 60, seed) for seed in range(30))
    return next(found for found in drawn_ones if suggest(some, found, alike(NAMES)).why == "unsure")


def test_an_order_that_only_seems_better_is_not_suggested() -> None:
    """Records at equal rates: on a few of them some order always looks best; it must not be suggested often."""
    some = plan(*FREE, gate=GATE)
    told = [suggest(some, crawl(dict.fromkeys(NAMES, 0.4), 60, seed), alike(NAMES)) for seed in range(30)]
    assert sum(bool(made.suggested) for made in told) <= 2
    assert any(made.why == "unsure" and made.tokens_suggested < made.tokens_listed for made in told)


def test_of_a_dozen_rubrics_the_likeliest_to_end_go_first() -> None:
    ends = {f"r{n}": 0.05 + 0.07 * n for n in range(12)}
    found = crawl(ends, 1500)
    some = plan(*(rubric(name, dimensions=("d",)) for name in ends), gate=gate_of(ends))
    made = suggest(some, found, alike(list(ends)))
    assert made.suggested[:2] == ("r11", "r10") and sorted(made.suggested) == sorted(ends)
    assert made.low > 0.5


# What ends nothing, and the fewest fields


def test_what_can_end_a_record_is_what_the_gate_looks_at() -> None:
    checks, both = rubric("k", checks=("ok",)), rubric("b", dimensions=("x",), checks=("ok",))
    assert can_end(both, Gate(each=8, over=("b.x",))) and can_end(both, Gate(total=8, over=("b.x",)))
    assert can_end(both, Gate(require=("b.ok",), over=())) and not can_end(both, Gate(over=("b.x",)))
    assert not can_end(both, Gate(each={"c.x": 8}, over=("b.x", "c.x"))) and not can_end(
        checks, Gate(each=8, over=("b.x",))
    )
    assert can_end(both, Gate(over=()), floor=5) and not can_end(NOTE, Gate(each=8, over=("b.x",)), floor=5)


def test_the_fewest_fields_go_first_genre_before_and_what_ends_nothing_last() -> None:
    gate = Gate(each=8, over=("a.x", "b.x"), require=("c.ok",))
    order = fewest_fields([GENRE, NOTE, C, B, A], gate)
    assert [each.name for each in order] == ["genre", "a", "b", "c", "n"]
    assert tied([GENRE, NOTE, C, B, A], gate) == (["genre"], ["c", "b", "a"], ["n"])
    assert [each.name for each in fewest_fields([C, GENRE, A], gate)] == ["a", "c", "genre"], (
        "genre guides only where it is first"
    )


# What is known in full, as counts


@given(plans(), subjects, oracles())
def test_a_card_that_was_counted_ends_where_the_record_does(some: Plan, who: Subject, answers: dict) -> None:
    whole = replace(some, early_exit=False)
    card = whole.card(who, walk(whole, who, answers)[0])
    ((again, count),) = share_of(some, [card], 3).cards
    assert count == 3 and set(again.not_applicable) == set(card.not_applicable)
    asked = [rubric.name for rubric in some.rubrics if rubric.name in card.facts]
    for n in range(len(asked) + 1):
        ends = [
            some.ends(Scorecard({k: (v if k in asked[:n] else None) for k, v in one.facts.items()}, one.not_applicable))
            for one in (card, again)
        ]
        assert ends[0] == ends[1]


def test_where_the_gate_uses_expected_scores_a_card_ends_by_those() -> None:
    fact = Scored(scores={"d": 9.0}, expected={"d": 7.4})
    for use, ends in (("sampled", False), ("expected", True)):
        some = plan(FREE[0], gate=replace(gate_of("a"), use=use))
        ((card, _),) = share_of(some, [Scorecard({"a": fact})]).cards
        assert some.ends(card) == some.ends(Scorecard({"a": fact})) == ends


def test_records_known_in_part_are_counted_apart_and_too_many_of_them_spoil_the_rates() -> None:
    some = plan(A, B, exhaustive=1.0)
    good, failed = Scored(scores={"x": 9, "y": 9}), Unscored(cause="malformed")
    records = {stable("甲"): {"a": good, "b": failed}, stable("乙"): {"a": good}, stable("丙"): {}}
    found = of_records(some, records)
    assert (found.records, found.lacking) == (1, 1)
    assert of_records(replace(some, exhaustive=0.0), records) == AskedInFull()
    assert share_of(some, [Scorecard({"a": good, "b": None})]) == AskedInFull(lacking=1)
    assert share_of(some, [Scorecard({"a": None, "b": None})]) == AskedInFull()
    assert (
        enough(AskedInFull(found.cards * 30, 3), 30)
        and not enough(AskedInFull(found.cards * 30, 4), 30)
        and not enough(found, 30)
    )


# What is said


def said(some: Plan, found: AskedInFull, lengths_of: Lengths | None) -> tuple[Suggestion | None, str]:
    made = suggestion.ordering(some, found, lambda: lengths_of)
    return made, "\n".join(suggestion.lines(suggestion.as_json(made)))


def test_without_rates_the_listed_order_stands_beside_the_fewest_fields() -> None:
    gate = Gate(each=8, over=("a.x", "b.x"), require=("c.ok",))
    some = plan(C, B, A, gate=gate)
    tokens = lengths(some.rubrics, [100, 100, 100], [10, 10, 10], 1)
    made, text = said(some, AskedInFull(), tokens)
    assert made is not None and made.why == "few" and (made.first_listed, made.first_fewest) == (1850, 1100)
    assert "no rates yet: 0 records that were asked in full" in text and "and 30 are needed" in text
    assert (
        "prefills 1,850 tokens as listed, and 1,100 with the fewest fields first (order: fewest_fields):\n  rubrics: [a, b, c]"
        in text
    )
    _, text = said(plan(A, B, C, gate=gate), AskedInFull(), tokens)
    assert text.endswith("prefills 1,100 tokens as listed; no first ask with fewer fields takes less")
    first = replace(tokens, shown=tokens.shown | {"genre": [("answer", 1000.0)]}, tasks=tokens.tasks | {"genre": 50.0})
    made, _ = said(plan(GENRE, C, A, gate=gate), AskedInFull(), first)
    assert made is not None and (made.first_listed, made.first_fewest) == (1050 + 850, 1050 + 100), (
        "genre is asked before it"
    )


def test_thin_or_biased_data_is_refused_and_what_is_known_is_said() -> None:
    some = plan(*FREE, gate=GATE)
    full = crawl({"a": 0.1, "b": 0.6, "c": 0.3}, 300)
    made, text = said(some, crawl({"a": 0.1, "b": 0.9, "c": 0.3}, 29), alike(NAMES))
    assert made is not None and (made.why, made.suggested) == ("few", ()) and "29 records" in text
    made, text = said(some, replace(full, lacking=300), alike(NAMES))
    assert (
        made is not None
        and (made.why, made.suggested) == ("lacking", ())
        and "of 300 others of that share only a part is known" in text
    )
    made, text = said(some, unsure(), alike(NAMES))
    assert made is not None and made.why == "unsure" and "none is surely cheaper" in text and "rubrics:" not in text
    made, text = said(some, full, alike(NAMES))
    assert made is not None and made.why == "" and "  rubrics: [b, c, a]" in text and "it saves " in text
    assert "by 300 records that were asked in full" in text and "asked first each ends: a " in text
    _, text = said(plan(FREE[1], FREE[2], FREE[0], gate=GATE), full, alike(NAMES))
    assert text.startswith("order of asks: the listed one is the cheapest known")


@pytest.mark.parametrize("why", ["few", "lacking", "listed", "unsure", ""])
def test_the_report_says_it_too(why: str) -> None:
    full = crawl({"a": 0.1, "b": 0.6, "c": 0.3}, 300)
    found = {"few": AskedInFull(), "lacking": replace(full, lacking=300), "unsure": unsure()}.get(why, full)
    order = (1, 2, 0) if why == "listed" else (0, 1, 2)
    made, _ = said(plan(*(FREE[n] for n in order), gate=GATE), found, alike(NAMES))
    assert made is not None and made.why == why
    manifest = {"order": suggestion.as_json(made), "exhaustive": {"share": 0.01, "rows": made.records}}
    environment = page.templates()
    shown = environment.from_string("{% from 'order.html' import asking_order %}{{ asking_order(m) }}").render(
        m=manifest
    )
    words = {
        "few": "too few to say",
        "lacking": "only a part is known",
        "listed": "is the cheapest known",
        "unsure": "surely cheaper",
        "": "[b, c, a]",
    }
    assert words[why] in shown and ("<table>" in shown) == (why not in ("few", "lacking"))
    assert (why == "") == ("rubrics: [" in shown)
    nothing = environment.from_string("{% from 'order.html' import asking_order %}{{ asking_order(m) }}")
    assert not nothing.render(m={"order": None}).strip() and not nothing.render(m={}).strip(), (
        "an older run has no such key"
    )


def test_nothing_is_said_where_no_order_saves_anything() -> None:
    full = crawl({"a": 0.1, "b": 0.6, "c": 0.3}, 300)
    assert said(plan(*FREE, gate=GATE, early_exit=False), full, alike(NAMES)) == (None, "")
    assert said(plan(FREE[0], gate=gate_of("a")), full, alike(NAMES)) == (None, "")
    assert said(plan(*FREE, gate=GATE), full, None) == (None, ""), "nothing was sampled"
    assert asked_in_full.names(("a", "b")) == "[a, b]"
